/* SPDX-License-Identifier: MIT */
/* Descriptors on their way from old to new, and what new need not claim of them. */
#include "supervisor/process/fds_message.h"
#include "supervisor/roll/private.h"

/* On the way back to a version that served before: what it never had it need not claim, and what only the newer one knows is no
 * reason to keep it. */
static void mark_added(struct roll *roll, size_t first)
{
	const struct fd_names *known = roll->options.known;

	for (size_t i = first; known && i < roll->custody.n; i++)
		if (!fd_names_have(known, &roll->custody.entries[i]))
			roll->custody.entries[i].optional = true;
}

/* A library that does not know that something is optional would refuse what nobody claims. A door that its program never had is
 * not handed to it, then. */
static bool is_withheld(const struct roll *roll, const struct custody_entry *entry)
{
	return !roll->new->hello->hello->leaves && roll->options.known && entry->optional && entry->door != DOOR_NONE;
}

size_t roll_lend_kept(struct roll *roll)
{
	size_t first = roll->custody.n;

	if (roll->options.kept)
		roll->n_lent = (uint32_t)custody_lend_doors(roll->options.kept, &roll->custody);
	return first;
}

void roll_hand_on(struct roll *roll, size_t first, bool last)
{
	struct fds_message message;

	mark_added(roll, first);
	fds_message_init(&message);
	for (size_t i = first; i < roll->custody.n && message.fds.n_fds < WIRE_FDS_MAX; i++) {
		const struct custody_entry *entry = &roll->custody.entries[i];

		if (is_withheld(roll, entry)) {
			roll->n_withheld++;
			roll_note_left(roll, entry->name, entry->tag);
			continue;
		}
		fds_message_add(&message, entry->name, entry->tag, entry->ref)->optional = entry->optional;
	}
	fds_message_send(&message, roll->new, last, roll->next_tag);
}
