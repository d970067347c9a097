/* SPDX-License-Identifier: MIT */
/* A roll's journal: new writes, and after its end old reads. The supervisor creates it, keeps it, and keeps duplicates of what new
 * opens, so that both are still there when new is not.
 *
 * It is tried once. Whatever goes wrong with it may go wrong again, and the rung below must not fail of the same.
 */
#include "supervisor/roll/roll.h"

#include "supervisor/custody/journal_memory.h"

#include <inttypes.h>
#include <stdio.h>

bool roll_journal_usable(const struct roll *roll)
{
	return roll->journal_fd >= 0 && roll->result.journal;
}

/* From here on the way back is as without one. */
static void give_up(struct roll *roll, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void give_up(struct roll *roll, const char *fmt, ...)
{
	va_list args;

	roll->result.journal = false;
	va_start(args, fmt);
	vsnprintf(roll->result.journal_note.text, sizeof(roll->result.journal_note.text), fmt, args);
	va_end(args);
}

/* ---- the way forward ---- */

void roll_journal_begin(struct roll *roll)
{
	struct why why = { 0 };

	if (!roll->unit->journal)
		return;
	if (roll->options.rollback == ROLLBACK_NONE)
		give_up(roll, "no journal: without a way back (Rollback=none) there is no use for it");
	else if (!roll->old->hello->hello->journals)
		give_up(roll, "no journal: version %s cannot apply changes", roll->result.from);
	else if (!roll->new->hello->hello->journals)
		give_up(roll, "no journal: version %s does not write changes down", roll->result.to);
	else if (journal_memory_create(roll->unit->journal_bytes, &roll->journal_fd, &why) < 0)
		give_up(roll, "no journal: %s", why.text);
	else
		roll->result.journal = true;
	if (!roll->result.journal)
		roll_say(roll, "standby", roll->new->child.pid, "%s", roll->result.journal_note.text);
}

void roll_journal_hear_full(struct roll *roll, uint64_t bytes)
{
	if (!roll_journal_usable(roll))
		return;
	give_up(roll,
		"version %s could not write on in its journal after %" PRIu64
		" KiB (JournalSize=): what is written since the commit would be lost",
		roll->result.to, bytes >> 10);
	/* While it is being rolled back, new is in another roll's hands. */
	roll_say(roll, "bake", roll->new ? roll->new->child.pid : 0, "%s", roll->result.journal_note.text);
}

void roll_journal_hear_fds(struct roll *roll, const Upgraded__Wire__Fds *message, struct wire_fds *fds)
{
	size_t first = roll->custody.n;
	struct why why = { 0 };

	/* What it opens is of use to nobody else, unless the journal says what it was. */
	if (!roll_has_committed(roll->state) || !roll_journal_usable(roll))
		return;
	if (custody_take(&roll->custody, message, fds, &why) < 0)
		give_up(roll, "version %s: %s", roll->result.to, why.text);
	for (size_t i = first; i < roll->custody.n; i++)
		roll->custody.entries[i].since_commit = true;
}

/* ---- the way back ---- */

/* Nothing is reset before the journal was looked into: what was read from a moved connection may be in there. */
int roll_journal_resume(struct roll *roll)
{
	struct conn_sample after;
	uint32_t moved = 0;

	if (!roll_journal_usable(roll))
		return -1;
	roll->resumed_with_journal = true;
	/* Until it says otherwise. */
	give_up(roll, "version %s (pid %d) ended over the journal of version %s", roll->result.from, roll->old->child.pid,
		roll->result.to);
	custody_sample(&roll->custody, roll->site->conntable, &after);
	for (size_t i = 0; i < roll->custody.n; i++) {
		struct custody_entry *entry = &roll->custody.entries[i];

		entry->moved = entry->is_tcp && roll->unit->on_dirty != DIRTY_KEEP &&
			       (!roll->before.n || !after.n ||
				conntable_compare(&roll->before, &after, entry->id.inode) != CONN_SAME);
		moved += entry->moved;
	}
	conn_sample_done(&after);
	roll_say(roll, "resume", roll->old->child.pid,
		 "%s; version %s comes back %s with the journal of %s: on %u of %zu descriptors something moved",
		 roll->result.cause.text, roll->result.from, roll->from_image ? "from its image" : "from memory",
		 roll->result.to, moved, roll->custody.n);
	return roll->journal_fd;
}

static uint32_t connections(const struct custody *custody)
{
	uint32_t n = 0;

	for (size_t i = 0; i < custody->n; i++)
		n += custody->entries[i].is_tcp;
	return n;
}

void roll_journal_hear_resumed(struct roll *roll, const Upgraded__Wire__Resumed *resumed)
{
	uint32_t n = connections(&roll->custody);

	if (roll->state != ROLL_RESUME || !roll->resumed_with_journal)
		return;
	roll->resumed_with_journal = false;
	roll->result.reset = resumed->reset < n ? (uint32_t)resumed->reset : n;
	roll->result.kept = n - roll->result.reset;
	if (*resumed->journal_unused) {
		roll_note_loss(roll);
		give_up(roll, "the journal of version %s could not be used: %.150s", roll->result.to, resumed->journal_unused);
		roll_say(roll, "resume", roll->old->child.pid, "%s; %u connections go on, %u are reset",
			 roll->result.journal_note.text, roll->result.kept, roll->result.reset);
		return;
	}
	roll->result.journal = true;
	*roll->result.journal_note.text = 0;
	roll->result.replayed = resumed->replayed;
	roll->result.adopted = resumed->adopted;
	roll_say(roll, "resume", roll->old->child.pid,
		 "version %s took %" PRIu64 " changes from the journal: %u connections go on, %" PRIu64
		 " of them accepted by version %s; %u are reset",
		 roll->result.from, resumed->replayed, roll->result.kept, resumed->adopted, roll->result.to, roll->result.reset);
}

void roll_journal_hear_refused(struct roll *roll, const char *reason)
{
	if (roll->state == ROLL_RESUME && roll->resumed_with_journal)
		give_up(roll, "version %s could not take over the journal: %.150s", roll->result.from, reason);
	roll->resumed_with_journal = false;
}
