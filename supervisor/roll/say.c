/* SPDX-License-Identifier: MIT */
/* What people are told while a roll goes on, and the cause that its report gives. */
#include "supervisor/roll/private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Where nothing moves, nobody came to rest, saved, loaded or was parked. */
bool roll_is_told(const struct roll *roll, const char *phase)
{
	static const char *const silent[] = { "quiesce", "transfer", "verify", "park" };

	for (size_t i = 0; roll->record.moves_nothing && i < sizeof(silent) / sizeof(silent[0]); i++)
		if (strcmp(phase, silent[i]) == 0)
			return false;
	return true;
}

static void say(struct roll *roll, const char *phase, const struct instance *about, const char *fmt, va_list args)
	__attribute__((format(printf, 4, 0)));
static void say(struct roll *roll, const char *phase, const struct instance *about, const char *fmt, va_list args)
{
	char text[256];

	if (!roll_is_told(roll, phase))
		return;
	vsnprintf(text, sizeof(text), fmt, args);
	log_about(LOG_LEVEL_INFO,
		  &(const struct log_about){
			  .service = roll->unit->name, .roll = roll->record.generation, .phase = phase },
		  "roll %s -> %s: %s: %s", roll->record.from, roll->record.to, phase, text);
	roll_report_say(&roll->report, phase, text);
	roll->events->on_progress(roll, phase, about ? about->pid : 0, text);
}

void roll_say(struct roll *roll, const char *phase, const struct instance *about, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(roll, phase, about, fmt, args);
	va_end(args);
}

void roll_note(struct roll *roll, const char *phase, const struct instance *about, const char *fmt, ...)
{
	va_list args;

	roll->phase.says_note = true;
	va_start(args, fmt);
	say(roll, phase, about, fmt, args);
	va_end(args);
	roll->phase.says_note = false;
}

void roll_lost_rung(struct roll *roll, const struct instance *about, const char *fmt, ...)
{
	struct why *note = &roll->report.way_note;
	unsigned left = record_rungs(&roll->record);
	va_list args;

	va_start(args, fmt);
	vsnprintf(note->text, sizeof(note->text), fmt, args);
	va_end(args);
	roll_note(roll, "bake", about, "a way back is lost: %s; what is left: %s", note->text,
		 left ? record_rungs_text(&roll->record, left) : "an undo while the new version lives, or a cold start");
	log_about(LOG_LEVEL_WARNING,
		  &(const struct log_about){ .service = roll->unit->name, .roll = roll->record.generation },
		  "a way back is lost: %s", note->text);
}

static const struct custody_entry *find(const struct roll *roll, const char *name, uint64_t tag)
{
	for (size_t i = 0; i < roll->custody.n; i++)
		if (roll->custody.entries[i].tag == tag && strcmp(roll->custody.entries[i].name, name) == 0)
			return &roll->custody.entries[i];
	return NULL;
}

static void note_name(struct roll *roll, struct roll_names *names, const char *name, uint64_t tag)
{
	const struct custody_entry *entry;
	char address[ROLL_NAME_BYTES] = "";

	/* First: a service may have any number of them, and for each the custody is searched. */
	if (!roll_names_want(names, name, tag))
		return;
	entry = find(roll, name, tag);
	if (entry)
		door_address(entry->ref->fd, address, sizeof(address));
	roll_names_add(names, name, tag, address);
}

void roll_note_missed(struct roll *roll, const char *name, uint64_t tag)
{
	unsigned before = roll->report.missed.n;

	note_name(roll, &roll->report.missed, name, tag);
	roll->record.misses = true;
	if (roll->report.missed.n != before)
		roll_note(roll, "resume", roll->old, "version %s is back without %s: nothing comes in by it any more",
			 roll->record.from, roll->report.missed.text[before]);
}

void roll_note_left(struct roll *roll, const char *name, uint64_t tag)
{
	const struct custody_entry *entry = find(roll, name, tag);
	unsigned before = roll->report.left.n;

	if (entry && entry->lent)
		return; /* the version before had let go of it */
	note_name(roll, &roll->report.left, name, tag);
	if (roll->report.left.n != before)
		roll_note(roll, "transfer", roll->new, "version %s %s %s of version %s: closed when it takes over",
			 roll->record.to, entry && entry->optional ? "does not know" : "has no use for",
			 roll->report.left.text[before], roll->record.from);
}

void roll_note_skipped(struct roll *roll, const Upgraded__Wire__Skipped *skipped)
{
	struct roll_skipped *list = &roll->report.skipped;
	char text[SKIPPED_BYTES];

	roll->report.wire.skipped_records += skipped->records;
	if (list->n == sizeof(list->text) / sizeof(*list->text))
		return;
	memcpy(list->text[list->n++], roll_skipped_text(skipped, text), sizeof(text));
	roll_note(roll, "transfer", roll->new, "version %s skipped %s", roll->record.to, text);
}

void roll_blame(struct roll *roll, const char *fmt, ...)
{
	struct why *cause = &roll->report.cause;
	va_list args;

	if (*cause->text)
		return;
	va_start(args, fmt);
	vsnprintf(cause->text, sizeof(cause->text), fmt, args);
	va_end(args);
}

/* Old had the only state, so it is told what became of old, whatever the roll was called off for. */
void roll_blame_old(struct roll *roll, const char *fmt, ...)
{
	char *text = roll->report.cause.text;
	size_t n = strlen(text), room = sizeof(roll->report.cause.text);
	va_list args;

	if (roll->old_blamed || n + 3 > room)
		return;
	roll->old_blamed = true;
	if (n)
		n += (size_t)snprintf(text + n, room - n, "; ");
	va_start(args, fmt);
	vsnprintf(text + n, room - n, fmt, args);
	va_end(args);
}

void roll_note_unanswered(struct roll *roll)
{
	roll->record.unanswered = true;
	roll->report.wire.unanswered_us = roll->record.stops_us;
	roll_say(roll, "abort", roll->old, "version %s has not answered for %" PRIu64 " ms: nobody knows whether it serves",
		 roll->record.from, (clock_now_us() - roll->record.stops_us) / 1000);
}

void roll_blame_delay(struct roll *roll)
{
	const char *from = roll->record.from, *to = roll->record.to;
	uint64_t transfer_ms = roll->unit->transfer_timeout_us / 1000;
	char record[128];
	struct why why = { 0 };

	instance_in_hand(roll->new, record, sizeof(record));
	switch ((int)roll->record.state) {
	case ROLL_STANDBY:
		instance_describe_slow_start(roll->new, roll->unit, roll->told_progress_us, &why);
		roll_blame(roll, "%s", why.text);
		break;
	case ROLL_QUIESCE:
		roll_blame(roll, "version %s (pid %d) did not answer within QuiesceTimeout=", from, roll->old->pid);
		break;
	case ROLL_TRANSFER:
		if (roll->reader_gone)
			roll_blame(roll, "version %s (pid %d) closed the stream before all of the state had come", to,
				   roll->new->pid);
		else
			roll_blame(roll,
				   "the state was not transferred within %" PRIu64
				   " ms (TransferTimeout=): the old version did not finish saving%s%s",
				   transfer_ms, *record ? ", and the new one is at " : "", record);
		break;
	case ROLL_LOADING:
		roll_blame(roll,
			   "the state was not transferred within %" PRIu64
			   " ms (TransferTimeout=): the new version did not finish loading%s%s",
			   transfer_ms, *record ? ": it is at " : "", record);
		break;
	case ROLL_COMMIT:
		roll_blame(roll, "version %s (pid %d) was told to take over and did not", to, roll->new->pid);
		break;
	case ROLL_RESUME:
		roll_say(roll, "resume", roll->old, "version %s (pid %d) was told to serve again and did not", from,
			 roll->old->pid);
		break;
	case ROLL_COLD:
		instance_describe_slow_start(roll->new, roll->unit, roll->told_progress_us, &why);
		roll_say(roll, "cold", roll->new, "%s", why.text);
		break;
	case ROLL_ABORT:
		roll_blame_old(roll, "version %s (pid %d) was told to go on and did not", from, roll->old->pid);
		break;
	default:
		break;
	}
}
