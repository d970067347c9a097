/* SPDX-License-Identifier: MIT */
/* A roll's journal: new writes it, and after new's end old reads it. The supervisor creates the journal, keeps it, and keeps
 * duplicates of what new opens, so that both are still there when new is not.
 *
 * The journal is tried once. Whatever goes wrong with it may go wrong again, and the rung below must not fail of the same.
 */
#include "supervisor/roll/private.h"

#include "supervisor/custody/journal_memory.h"
#include "wire/journal.h"

#include <inttypes.h>
#include <stdio.h>

/* "64K", "16M", "2G": as JournalSize= is written. */
static const char *size_text(char *text, size_t room, uint64_t bytes)
{
	static const char units[] = "KMGT";
	uint64_t n = bytes >> 10;
	size_t i = 0;

	for (; n && n % 1024 == 0 && units[i + 1]; i++)
		n /= 1024;
	snprintf(text, room, "%" PRIu64 "%c", n, units[i]);
	return text;
}

bool roll_journal_usable(const struct roll *roll)
{
	return roll->journal && roll->record.journal == JOURNAL_WRITTEN;
}

static void note(struct roll *roll, enum roll_journal journal)
{
	roll->record.journal = journal;
	/* What the report says: changes are, or were, written down without a gap. */
	roll->report.wire.journal = journal == JOURNAL_WRITTEN || journal == JOURNAL_TAKEN;
}

static void lose(struct roll *roll, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* From here on the way back is as without a journal. */
static void lose(struct roll *roll, const char *fmt, ...)
{
	struct why *why = &roll->report.journal_note;
	va_list args;

	note(roll, JOURNAL_LOST);
	/* All of them are as without one: single ones are of no interest any more. */
	roll->report.wire.uncovered = 0;
	roll->report.wire.journal_size_would_do = 0;
	va_start(args, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
}

/* ---- the way forward ---- */

void roll_journal_begin(struct roll *roll)
{
	struct why why = { 0 };
	int fd;

	if (!roll->unit->journal)
		return;
	if (roll->options.rollback == ROLLBACK_NONE)
		lose(roll, "no journal: without a way back (Rollback=none) there is no use for it");
	else if (!roll->old->hello->hello->journals)
		lose(roll, "no journal: version %s cannot apply changes", roll->record.from);
	else if (!roll->new->hello->hello->journals)
		lose(roll, "no journal: version %s does not write changes down", roll->record.to);
	else if (journal_memory_create(roll->unit->journal_bytes, &fd, &why) < 0)
		lose(roll, "no journal: %s", why.text);
	else if (!(roll->journal = fd_ref_new(fd)))
		lose(roll, "no journal: out of memory");
	else
		note(roll, JOURNAL_WRITTEN);
	if (roll->record.journal == JOURNAL_LOST)
		roll_note(roll, "standby", roll->new, "%s", roll->report.journal_note.text);
}

void roll_journal_limit(const struct roll *roll, Upgraded__Wire__Receive *receive)
{
	const Upgraded__Wire__Hello *old = roll->old->hello->hello;

	if (!roll->journal)
		return;
	receive->n_predecessor = old->n_schemas;
	receive->predecessor = old->schemas;
	receive->no_newcomers = old->no_newcomers;
}

/* ---- what it does not hold ---- */

/* The size that would last for the whole bake, if new goes on to write as it did since the commit; at least twice what there is. */
static uint64_t size_for_bake(const struct roll *roll)
{
	uint64_t have = roll->unit->journal_bytes, since = roll->record.commit_us, now = clock_now_us();
	uint64_t elapsed_us = since && now > since + USEC_PER_MSEC ? now - since : USEC_PER_MSEC, size = have;
	double want = (double)have * 1.25 * (double)roll->options.bake_us / (double)elapsed_us;

	do
		size *= 2;
	while ((double)size < want && size < JOURNAL_BYTES_MAX);
	return size;
}

static void lose_full(struct roll *roll, uint64_t bytes)
{
	char have[24], want[24];

	lose(roll,
	     "version %s could not write on in its journal after %" PRIu64
	     " KiB (JournalSize=%s; at this rate a bake takes JournalSize=%s): what is written since the commit would be lost",
	     roll->record.to, bytes >> 10, size_text(have, sizeof(have), roll->unit->journal_bytes),
	     size_text(want, sizeof(want), size_for_bake(roll)));
}

void roll_journal_hear_full(struct roll *roll, const Upgraded__Wire__JournalFull *full)
{
	if (!roll_journal_usable(roll))
		return;
	if (*full->reason)
		lose(roll, "version %s could not write on in its journal: %.150s: what is written since the commit would be lost",
		     roll->record.to, full->reason);
	else
		lose_full(roll, full->bytes);
	/* While new is being rolled back it is in another roll's hands, and not there. */
	roll_note(roll, "bake", roll->new, "%s", roll->report.journal_note.text);
}

static void note_gaps(struct roll *roll, const Upgraded__Wire__JournalGaps *gaps)
{
	uint64_t n = (uint64_t)gaps->no_room + gaps->others;
	char have[24], want[24], room[120] = "", others[240] = "";

	roll->report.wire.uncovered = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
	roll->report.wire.journal_size_would_do = gaps->size_would_do;
	roll->gaps_note = (struct why){ 0 };
	if (gaps->no_room && gaps->size_would_do)
		snprintf(room, sizeof(room), "; %u found no room in JournalSize=%s, JournalSize=%s would do", gaps->no_room,
			 size_text(have, sizeof(have), roll->unit->journal_bytes),
			 size_text(want, sizeof(want), gaps->size_would_do));
	else if (gaps->no_room)
		snprintf(room, sizeof(room), "; %u found no room, and no JournalSize= would do", gaps->no_room);
	if (gaps->others)
		snprintf(others, sizeof(others), "; %u: %.150s", gaps->others, gaps->reason);
	if (n)
		why_set(&roll->gaps_note, 0, "%" PRIu64 " connections are not in the journal of version %s, and a failure may cost "
			"them%s%s", n, roll->record.to, room, others);
	roll->report.journal_note = roll->gaps_note;
}

/* A service that is busy crosses its limits again and again. So a line is written for the first, and each time that there are twice
 * as many as the last line said; the report always has the number. */
void roll_journal_hear_gaps(struct roll *roll, const Upgraded__Wire__JournalGaps *gaps)
{
	uint32_t n;

	if (!roll_journal_usable(roll))
		return;
	note_gaps(roll, gaps);
	n = roll->report.wire.uncovered;
	if (n < 2 * (uint64_t)roll->gaps_told || !n)
		return;
	roll->gaps_told = n;
	roll_note(roll, roll_is_committed(roll) ? "bake" : "commit", roll->new, "%s", roll->report.journal_note.text);
}

void roll_journal_hear_fds(struct roll *roll, const Upgraded__Wire__Fds *message, struct wire_fds *fds)
{
	size_t first = roll->custody.n;
	struct why why = { 0 };

	/* What it opens is of use to nobody else, unless the journal says what it was. */
	if (!roll_is_committed(roll) || !roll_journal_usable(roll))
		return;
	if (roll_take_fds(roll, message, fds, &why) < 0)
		lose(roll, "version %s: %s", roll->record.to, why.text);
	for (size_t i = first; i < roll->custody.n; i++)
		roll->custody.entries[i].since_commit = true;
}

/* ---- the way back ---- */

/* Nothing is reset before the journal was looked into: what was read from a moved connection may be in there. */
struct fd_ref *roll_journal_resume(struct roll *roll)
{
	const char *from = roll->record.from, *to = roll->record.to;
	uint32_t moved;

	if (!roll_journal_usable(roll)) {
		/* Old ended over it, and comes back from its image without it. */
		if (roll->record.journal == JOURNAL_GIVEN)
			note(roll, JOURNAL_LOST);
		return NULL;
	}
	note(roll, JOURNAL_GIVEN);
	/* What is true if nothing is heard of old any more. */
	why_set(&roll->report.journal_note, 0, "version %s (pid %d) ended over the journal of version %s", from, roll->old->pid,
		to);
	moved = roll_mark_moved(roll);
	roll_say(roll, "resume", roll->old,
		 "%s; version %s comes back %s with the journal of %s: on %u of %zu descriptors something moved",
		 roll->report.cause.text, from, roll->record.old == OLD_RESTORED ? "from its image" : "from memory", to, moved,
		 roll->custody.n);
	return roll->journal;
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
	Upgraded__Wire__RollReport *report = &roll->report.wire;
	uint32_t n = connections(&roll->custody);

	if (roll->record.state != ROLL_RESUME || roll->record.journal != JOURNAL_GIVEN)
		return;
	report->reset = resumed->reset < n ? (uint32_t)resumed->reset : n;
	report->kept = n - report->reset;
	if (*resumed->journal_unused) {
		roll_note_loss(roll);
		lose(roll, "the journal of version %s could not be used: %.150s", roll->record.to, resumed->journal_unused);
		roll_say(roll, "resume", roll->old, "%s; %u connections go on, %u are reset", roll->report.journal_note.text,
			 report->kept, report->reset);
		return;
	}
	note(roll, JOURNAL_TAKEN);
	roll->report.journal_note = roll->gaps_note;
	report->replayed = resumed->replayed;
	report->adopted = resumed->adopted;
	roll_say(roll, "resume", roll->old,
		 "version %s took %" PRIu64 " changes from the journal: %u connections go on, %" PRIu64
		 " of them accepted by version %s; %u are reset",
		 roll->record.from, resumed->replayed, report->kept, resumed->adopted, roll->record.to, report->reset);
}

void roll_journal_hear_refused(struct roll *roll, const char *reason)
{
	if (roll->record.state == ROLL_RESUME && roll->record.journal == JOURNAL_GIVEN)
		lose(roll, "version %s could not take over the journal: %.150s", roll->record.from, reason);
}
