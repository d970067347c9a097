/* SPDX-License-Identifier: MIT */
/* The way back after the commit: what is still there is tried in the order of what it costs.
 *
 *     parked in memory  ->  image  ->  the last good version, started empty
 *
 * New has ended and was reaped before any of it begins, so that nobody else writes to the connections.
 */
#include "supervisor/roll/private.h"

#include "base/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>

#define LOOK_AGAIN_US (5 * USEC_PER_MSEC)
#define DYING_US USEC_PER_SEC /* for children of old to be dead once it is */

/* Nothing of new is in old's way, and it may be in the middle of answering somebody: it is given time for that. One that does not
 * answer is not. */
static bool lets_new_drain(const struct roll *roll)
{
	return roll->record.moves_nothing && roll->record.state != ROLL_COLD && instance_is_alive(roll->new) &&
	       !roll->new->killed && !roll->new_hangs;
}

void roll_do_kill_new(struct roll *roll)
{
	if (instance_is_over(roll->new)) {
		roll_happen(roll, ROLL_EV_NEW_GONE);
	} else if (lets_new_drain(roll)) {
		roll->report.lines = roll->new->lines;
		roll->new = graveyard_bury(roll->site->graveyard, roll->new);
		roll_happen(roll, ROLL_EV_NEW_GONE);
	} else {
		instance_kill(roll->new, SIGKILL); /* nothing happens where its end is about to be told */
	}
}

void roll_do_choose(struct roll *roll)
{
	bool old_ends = roll->old && roll->old->life == INSTANCE_LAST_WORDS;

	/* Its end is about to be told: then there is one rung less, and it is time to choose. */
	if (old_ends)
		return;
	switch (record_retreat(&roll->record, !instance_is_over(roll->new), instance_is_alive(roll->old))) {
	case RETREAT_AWAIT_NEW:
		break;
	case RETREAT_END_OLD:
		instance_kill(roll->old, SIGKILL);
		break;
	case RETREAT_PARKED:
		roll_happen(roll, ROLL_EV_RUNG_PARKED);
		break;
	case RETREAT_IMAGE:
		roll_happen(roll, ROLL_EV_RUNG_IMAGE);
		break;
	case RETREAT_COLD:
		roll_happen(roll, ROLL_EV_RUNG_COLD);
		break;
	}
}

/* ---- parked ---- */

void roll_note_loss(struct roll *roll)
{
	Upgraded__Wire__RollReport *report = &roll->report.wire;

	if (!roll->record.moves_nothing && report->commit_us && report->died_us > report->commit_us)
		report->lost_us = report->died_us - report->commit_us;
}

static const char *from_where(const struct roll *roll)
{
	return roll->record.old == OLD_RESTORED ? "from its image" : "from memory";
}

static void resume_without_journal(struct roll *roll)
{
	const Upgraded__Wire__RollReport *report = &roll->report.wire;

	if (roll->record.moves_nothing) {
		roll_say(roll, "resume", roll->old, "%s; version %s (pid %d) has served all the time, and goes on",
			 roll->report.cause.text, roll->record.from, roll->old->pid);
		return;
	}
	roll_settle_connections(roll);
	roll_note_loss(roll);
	roll_say(roll, "resume", roll->old, "%s; version %s comes back %s: %u connections go on, %u are reset",
		 roll->report.cause.text, roll->record.from, from_where(roll), report->kept, report->reset);
	if (report->lost_us)
		roll_note(roll, "resume", roll->old, "what was written in the %" PRIu64 ".%03" PRIu64 " s since the commit is lost",
			 report->lost_us / USEC_PER_SEC, report->lost_us % USEC_PER_SEC / 1000);
}

void roll_do_resume(struct roll *roll)
{
	Upgraded__Wire__Resume resume = UPGRADED__WIRE__RESUME__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME, .resume = &resume);
	struct fd_ref *fds[2] = { roll_journal_resume(roll) };
	size_t n = fds[0] != NULL;

	instance_go_on(roll->old);
	instance_set_place(roll->old, INSTANCE_SERVES);
	resume.journal = n > 0;
	if (roll->old->output) {
		fds[n++] = roll->old->output;
		resume.output = roll->old->output_before;
	}
	instance_set_victim(roll->old, false);
	if (!resume.journal)
		resume_without_journal(roll);
	instance_send(roll->old, &message, fds, n);
	roll->old->output = fd_ref_drop(roll->old->output);
	roll_send_custody(roll);
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
	roll->record.image = IMAGE_SPENT;
	roll_say(roll, "restore", NULL, "the image could not be restored: %s", reason);
	roll_happen(roll, ROLL_EV_RESTORE_FAILED);
}

static void on_restored(struct image_job *job, int rc, const struct why *why)
{
	struct roll *roll = job->owner;
	FD_CLEANUP int pidfd = job->restored_pidfd;
	struct why reason = { 0 };

	job->restored_pidfd = -1;
	if (rc < 0) {
		restore_failed(roll, why->text);
		return;
	}
	take_back_lent(roll);
	roll->report.wire.restore_us = job->elapsed_us;
	if (instance_adopt(roll->old, job->restored_pid, &reason) < 0) {
		if (pidfd >= 0)
			(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
		restore_failed(roll, reason.text);
		return;
	}
	roll->record.old = OLD_RESTORED;
	/* Once it was tried it is spent: what was restored moves on from it. */
	roll->record.image = IMAGE_SPENT;
	roll_say(roll, "restore", roll->old, "version %s was restored from its image in %" PRIu64 " ms", roll->record.from,
		 job->elapsed_us / 1000);
	roll_happen(roll, ROLL_EV_RESTORED);
}

static void on_pids(struct timer *timer);

static bool image_wants(int fd, void *userdata)
{
	const struct roll *roll = userdata;

	return pins_want(&roll->image->pins, fd);
}

/* Our duplicates must not stand in the way of the restore: a lock that we hold is not to be had, and the reader of a pipe waits for
 * the end of ours. What the image has, too, goes into the restored process as that very open file; the rest is closed. Return: what
 * is left that is no connection, to be released with free(), *@ret_n of them; NULL: nothing. */
static int *custody_files(struct roll *roll, size_t *ret_n)
{
	struct custody *custody = &roll->custody;
	int *files;

	*ret_n = 0;
	custody_drop_files(custody, image_wants, roll);
	files = calloc(custody->n + 1, sizeof(*files));
	for (size_t i = 0; files && i < custody->n; i++)
		if (!custody->entries[i].is_tcp)
			files[(*ret_n)++] = custody->entries[i].ref->fd;
	return files;
}

static void restore(struct roll *roll)
{
	struct image_restore_spec spec = { .criu_path = roll->criu_path, .timeout_us = roll->unit->image_timeout_us };
	const struct imaging *imaging = roll->site->imaging;
	struct why why = { 0 };
	int r, *files;

	/* Its children were killed with it, and are ours to reap. */
	if (imaging->reap_children(roll->image) && clock_now_us() < roll->pids_due_us) {
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
	spec.files = files = custody_files(roll, &spec.n_files);
	r = imaging->restore_start(roll->site->loop, &roll->image_job, roll->image, &spec, on_restored, &why);
	free(files);
	if (r < 0)
		restore_failed(roll, why.text);
}

static void on_pids(struct timer *timer)
{
	restore(container_of(timer, struct roll, ask));
}

void roll_do_restore(struct roll *roll)
{
	roll_say(roll, "restore", roll->old, "%s; restoring version %s from its image", roll->report.cause.text, roll->record.from);
	roll->pids_due_us = clock_now_us() + DYING_US;
	restore(roll);
}

/* ---- empty ---- */

void roll_do_cold_start(struct roll *roll)
{
	struct why why = { 0 };

	/* A roll backward that did not commit, or whose new version ended with the commit: the roll in whose bake it runs goes back
	 * by a rung of its own, which has more of the state than a process that starts empty. */
	if (!roll->record.stands_alone) {
		roll_happen(roll, ROLL_EV_NEW_GONE);
		return;
	}
	if (roll->new)
		roll->report.lines = roll->new->lines;
	if (roll->image)
		roll_say(roll, "cold", NULL, "the image that could not be restored stays in %s", roll->image->path);
	roll_say(roll, "cold", NULL, "no way back is left; version %s starts empty", roll->record.from);
	roll->new = graveyard_bury(roll->site->graveyard, roll->new);
	roll_end_custody(roll);
	if (roll->events->start_empty(roll, roll->record.from, &roll->new, &why) < 0) {
		roll_say(roll, "cold", NULL, "%s", why.text);
		roll_happen(roll, ROLL_EV_NEW_GONE);
		return;
	}
	roll->told_progress_us = 0;
	instance_own(roll->new, &roll_new_events, roll);
}
