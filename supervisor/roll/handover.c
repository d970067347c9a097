/* SPDX-License-Identifier: MIT */
/* Descriptors on their way from old to new, and what new need not claim of them. */
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
	Upgraded__Wire__FdInfo infos[WIRE_FDS_MAX], *list[WIRE_FDS_MAX];
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
	struct fd_ref *refs[WIRE_FDS_MAX];

	mark_added(roll, first);
	fds.fds = list;
	fds.last = last;
	fds.next_tag = last ? roll->next_tag : 0;
	for (size_t i = first; i < roll->custody.n && fds.n_fds < WIRE_FDS_MAX; i++) {
		const struct custody_entry *entry = &roll->custody.entries[i];

		if (is_withheld(roll, entry)) {
			roll->n_withheld++;
			roll_note_left(roll, entry->name, entry->tag);
			continue;
		}
		upgraded__wire__fd_info__init(&infos[fds.n_fds]);
		infos[fds.n_fds].name = entry->name;
		infos[fds.n_fds].tag = entry->tag;
		infos[fds.n_fds].optional = entry->optional;
		list[fds.n_fds] = &infos[fds.n_fds];
		refs[fds.n_fds++] = entry->ref;
	}
	instance_send(roll->new, &message, refs, fds.n_fds);
}
