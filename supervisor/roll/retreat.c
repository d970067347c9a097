/* SPDX-License-Identifier: MIT */
/* The way back after the commit: what is still there is tried in the order of what it costs.
 *
 *     parked in memory  ->  image  ->  the last good version, started empty
 *
 * New has ended and was reaped before any of it begins, so that nobody else writes to the connections.
 */
#include "supervisor/roll/roll.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* In one message: old has its numbers taken still, so each batch is on top of what it may have open. */
#define RESUME_FDS 16u
/* A thousand connections in less than a second, for 0.3 % of a processor. */
#define LOOK_AT 64u
#define LOOK_EVERY_US (50 * USEC_PER_MSEC)

#define LOOK_AGAIN_US (5 * USEC_PER_MSEC)
#define DYING_US USEC_PER_SEC /* for children of old to be dead once it is */

void roll_do_choose(struct roll *roll)
{
	bool old_lives = instance_is_alive(roll->old);

	if (instance_is_alive(roll->new))
		return; /* its end comes first */
	if (old_lives && !roll->old_unusable && !(roll->by_image && roll->image)) {
		roll_happen(roll, ROLL_EV_RUNG_PARKED);
		return;
	}
	if (old_lives) {
		/* Its pid must be free, and nothing of it may run beside what comes back. */
		instance_kill(roll->old, SIGKILL);
		return;
	}
	roll_happen(roll, roll->image && !roll->image_bad ? ROLL_EV_RUNG_IMAGE : ROLL_EV_RUNG_COLD);
}

static void on_look(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, look);

	if (instance_is_alive(roll->new) &&
	    custody_note_moved(&roll->custody, roll->site->conntable, &roll->before, LOOK_AT))
		timer_arm(roll->site->loop, &roll->look, clock_now_us() + LOOK_EVERY_US, on_look);
}

/* While new serves, a few at a time: when it dies, clients wait for what is not known by then. */
void roll_watch_connections(struct roll *roll)
{
	if (roll->unit->on_dirty != DIRTY_KEEP)
		timer_arm(roll->site->loop, &roll->look, clock_now_us() + LOOK_EVERY_US, on_look);
}

static bool may_go_on(const struct roll *roll, const struct conn_sample *after, unsigned long long inode)
{
	return roll->before.n && after->n && conntable_compare(&roll->before, after, inode) == CONN_SAME;
}

/* Connections that the dead version has read from or written to are not old's to continue: what it consumed is gone. They are
 * marked, and reset when old serves: a thousand resets take longer than all the rest, and nobody waits for them. */
static void settle_connections(struct roll *roll)
{
	struct conn_sample after;

	/* Again for each rung: what came back and failed may have read and written, too. */
	roll->result.kept = roll->result.reset = 0;
	custody_sample(&roll->custody, roll->site->conntable, &after);
	for (size_t i = 0; i < roll->custody.n; i++) {
		struct custody_entry *entry = &roll->custody.entries[i];

		if (!entry->is_tcp)
			continue;
		if (!entry->given_up && ((roll->unit->on_dirty == DIRTY_KEEP && !entry->since_commit) ||
					 may_go_on(roll, &after, entry->id.inode))) {
			roll->result.kept++;
		} else {
			roll->result.reset++;
			entry->given_up = true;
		}
	}
	conn_sample_done(&after);
}

static void send_custody(struct roll *roll)
{
	Upgraded__Wire__FdInfo infos[RESUME_FDS], *pointers[RESUME_FDS];
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
	int numbers[RESUME_FDS];
	size_t i = 0;

	fds.fds = pointers;
	do {
		size_t n = 0;

		for (; i < roll->custody.n && n < RESUME_FDS; i++) {
			const struct custody_entry *entry = &roll->custody.entries[i];

			if (entry->given_up)
				continue;
			upgraded__wire__fd_info__init(&infos[n]);
			infos[n].name = entry->name;
			infos[n].tag = entry->tag;
			infos[n].moved = entry->moved;
			pointers[n] = &infos[n];
			numbers[n++] = entry->fd;
		}
		fds.n_fds = n;
		fds.last = i == roll->custody.n;
		instance_send(roll->old, &message, numbers, n);
	} while (!fds.last);
}

void roll_note_loss(struct roll *roll)
{
	if (roll->result.died_us > roll->result.commit_us && roll->result.commit_us)
		roll->result.lost_us = roll->result.died_us - roll->result.commit_us;
}

void roll_do_resume(struct roll *roll)
{
	Upgraded__Wire__Resume resume = UPGRADED__WIRE__RESUME__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME, .resume = &resume);
	int journal = roll_journal_resume(roll);

	resume.journal = journal >= 0;
	if (!resume.journal) {
		settle_connections(roll);
		roll_note_loss(roll);
		roll_say(roll, "resume", roll->old->child.pid, "%s; version %s comes back %s: %u connections go on, %u are reset",
			 roll->result.cause.text, roll->result.from, roll->from_image ? "from its image" : "from memory",
			 roll->result.kept, roll->result.reset);
		if (roll->result.lost_us)
			roll_say(roll, "resume", roll->old->child.pid, "what was written in the %" PRIu64 ".%03" PRIu64
				 " s since the commit is lost", roll->result.lost_us / USEC_PER_SEC,
				 roll->result.lost_us % USEC_PER_SEC / 1000);
	}
	roll->old_goes_on = false;
	instance_send(roll->old, &message, &journal, resume.journal ? 1 : 0);
	send_custody(roll);
}

/* ---- from the image ---- */

/* A copy here would keep us from hearing of the process's end by its channel and pipe. */
static void take_back_lent(struct roll *roll)
{
	roll->lent_channel = fd_close(roll->lent_channel);
	roll->lent_log = fd_close(roll->lent_log);
}

static void restore_failed(struct roll *roll, const char *reason)
{
	take_back_lent(roll);
	roll->image_bad = true;
	roll_say(roll, "restore", 0, "the image could not be restored: %s", reason);
	roll_happen(roll, ROLL_EV_RESTORE_FAILED);
}

static void on_restored(struct image_job *job, int rc, const struct why *why)
{
	struct roll *roll = job->owner;
	struct why reason = { 0 };

	if (rc < 0) {
		restore_failed(roll, why->text);
		return;
	}
	take_back_lent(roll);
	roll->result.restore_us = job->elapsed_us;
	if (instance_adopt(roll->old, job->restored_pid, &reason) < 0) {
		kill(job->restored_pid, SIGKILL);
		restore_failed(roll, reason.text);
		return;
	}
	roll->old_unusable = false;
	roll->from_image = true;
	/* Once it was tried it is spent: what was restored has moved on from it. */
	roll->image_bad = true;
	roll_say(roll, "restore", job->restored_pid, "version %s was restored from its image in %" PRIu64 " ms", roll->result.from,
		 job->elapsed_us / 1000);
	roll_happen(roll, ROLL_EV_RESTORED);
}

static void on_pids(struct timer *timer);

static void restore(struct roll *roll)
{
	struct image_restore_spec spec = { .criu_path = roll->criu_path, .timeout_us = roll->unit->image_timeout_us };
	struct why why = { 0 };
	int r;

	/* Its children were killed with it, and are ours to reap. */
	if (image_reap_children(roll->image) && clock_now_us() < roll->pids_due_us) {
		timer_arm(roll->site->loop, &roll->ask, clock_now_us() + LOOK_AGAIN_US, on_pids);
		return;
	}
	r = instance_reconnect(roll->old, &roll->lent_channel, &roll->lent_log, &why);
	if (r < 0) {
		restore_failed(roll, why.text);
		return;
	}
	spec.control = roll->lent_channel;
	spec.stdout_fd = spec.stderr_fd = roll->lent_log;
	r = image_restore_start(roll->site->loop, &roll->image_job, roll->image, &spec, on_restored, &why);
	if (r < 0)
		restore_failed(roll, why.text);
}

static void on_pids(struct timer *timer)
{
	restore(container_of(timer, struct roll, ask));
}

void roll_do_restore(struct roll *roll)
{
	roll_say(roll, "restore", roll->image->pid, "%s; restoring version %s from its image", roll->result.cause.text,
		 roll->result.from);
	roll->pids_due_us = clock_now_us() + DYING_US;
	restore(roll);
}

/* ---- empty ---- */

void roll_do_cold_start(struct roll *roll)
{
	struct why why = { 0 };

	if (roll->options.backward) { /* whoever began this roll has a ladder of its own */
		roll_happen(roll, ROLL_EV_NEW_GONE);
		return;
	}
	if (roll->new)
		roll->result.lines = roll->new->lines;
	if (roll->image)
		roll_say(roll, "cold", 0, "the image that could not be restored stays in %s", roll->image->path);
	roll_say(roll, "cold", 0, "no way back is left; version %s starts empty", roll->result.from);
	roll->new = graveyard_bury(roll->site->graveyard, roll->new);
	roll_end_custody(roll);
	if (instance_start(roll->site->loop, roll->unit, roll->result.from, &roll_new_events, roll, &roll->new, &why) < 0) {
		roll_say(roll, "cold", 0, "%s", why.text);
		roll_happen(roll, ROLL_EV_NEW_GONE);
	}
}
