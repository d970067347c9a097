/* SPDX-License-Identifier: MIT */
/* Which connections may go on after a way back.
 *
 * A connection that the failed version has read from or written to is not old's to continue: what was consumed is gone. The
 * kernel's counters tell, see custody/conntable.h. While new serves, a few connections at a time are looked at: when new dies,
 * clients wait for what is not known by then.
 */
#include "supervisor/process/fds_message.h"
#include "supervisor/roll/private.h"

/* In one message: old has its numbers taken still, so each batch is on top of what it may have open. */
#define RESUME_FDS 16u
/* A thousand connections in less than a second, for 0.3 % of a processor. */
#define LOOK_AT 64u
#define LOOK_EVERY_US (50 * USEC_PER_MSEC)

static void on_look(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, look);

	if (instance_is_alive(roll->new) &&
	    custody_note_moved(&roll->custody, roll->site->conntable, &roll->before, LOOK_AT))
		timer_arm(roll->site->loop, &roll->look, clock_now_us() + LOOK_EVERY_US, on_look);
}

void roll_watch_connections(struct roll *roll)
{
	if (roll->unit->on_dirty != DIRTY_KEEP)
		timer_arm(roll->site->loop, &roll->look, clock_now_us() + LOOK_EVERY_US, on_look);
}

static bool stood_still(const struct roll *roll, const struct conn_sample *after, const struct custody_entry *entry)
{
	return roll->before.n && after->n && conntable_compare(&roll->before, after, entry->id.inode) == CONN_SAME;
}

static bool may_go_on(const struct roll *roll, const struct conn_sample *after, const struct custody_entry *entry)
{
	if (entry->given_up)
		return false;
	if (roll->unit->on_dirty == DIRTY_KEEP && !entry->since_commit)
		return true;
	return stood_still(roll, after, entry);
}

void roll_count_clients(struct roll *roll)
{
	Upgraded__Wire__RollReport *report = &roll->report.wire;

	/* What the watch has not come to yet. */
	custody_note_moved(&roll->custody, roll->site->conntable, &roll->before, LOOK_AT);
	report->clients = report->clients_moved = 0;
	for (size_t i = 0; i < roll->custody.n; i++) {
		const struct custody_entry *entry = &roll->custody.entries[i];

		report->clients += entry->is_tcp && !entry->since_commit;
		report->clients_moved += entry->known_moved;
	}
	if (report->clients)
		roll_note(roll, "bake", roll->new, "version %s has read or written on %u of the %u connections of version %s",
			 roll->record.to, report->clients_moved, report->clients, roll->record.from);
}

bool roll_answers(struct roll *roll)
{
	return custody_was_written(&roll->custody, roll->site->conntable, &roll->before);
}

/* Those that may not are marked, and reset when old serves: a thousand resets take longer than all the rest, and nobody waits for
 * them. */
void roll_settle_connections(struct roll *roll)
{
	struct conn_sample after;

	/* Again for each rung: what came back and failed may have read and written, too. */
	roll->report.wire.kept = roll->report.wire.reset = 0;
	custody_sample(&roll->custody, roll->site->conntable, &after);
	for (size_t i = 0; i < roll->custody.n; i++) {
		struct custody_entry *entry = &roll->custody.entries[i];

		if (!entry->is_tcp)
			continue;
		if (may_go_on(roll, &after, entry)) {
			roll->report.wire.kept++;
		} else {
			roll->report.wire.reset++;
			entry->given_up = true;
		}
	}
	conn_sample_done(&after);
}

uint32_t roll_mark_moved(struct roll *roll)
{
	struct conn_sample after;
	uint32_t moved = 0;

	custody_sample(&roll->custody, roll->site->conntable, &after);
	for (size_t i = 0; i < roll->custody.n; i++) {
		struct custody_entry *entry = &roll->custody.entries[i];

		entry->moved = entry->is_tcp && roll->unit->on_dirty != DIRTY_KEEP && !stood_still(roll, &after, entry);
		moved += entry->moved;
	}
	conn_sample_done(&after);
	return moved;
}

/* As many as go into one message, from @at on. */
static void fill(struct roll *roll, size_t *at, struct fds_message *message)
{
	for (; *at < roll->custody.n && message->fds.n_fds < RESUME_FDS; ++*at) {
		const struct custody_entry *entry = &roll->custody.entries[*at];

		if (entry->given_up || entry->lent)
			continue;
		if (!entry->since_commit && !custody_reopen(entry))
			roll_note_missed(roll, entry->name, entry->tag);
		fds_message_add(message, entry->name, entry->tag, entry->ref)->moved = entry->moved;
	}
}

void roll_send_custody(struct roll *roll)
{
	struct fds_message message;
	size_t at = 0;

	do {
		fds_message_init(&message);
		fill(roll, &at, &message);
		fds_message_send(&message, roll->old, at == roll->custody.n, 0);
	} while (!message.fds.last);
}
