/* SPDX-License-Identifier: MIT */
/* The actions on the way forward, and of calling off. */
#include "supervisor/roll/roll.h"

#include "supervisor/image/store.h"
#include "supervisor/criu/obstacles.h"
#include "supervisor/process/schema_path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASK_AGAIN_US (10 * USEC_PER_MSEC)
#define STATE_PIPE_BYTES (1 << 20)
#define COMMIT_GRACE_US (5 * USEC_PER_SEC)

/* ---- is there a way for every type? ---- */

int roll_compatible(const struct roll *roll, struct why *why)
{
	struct schema_holder old = { .version = roll->result.from }, new = { .version = roll->result.to };

	if (!roll->old->hello)
		return why_set(why, -EPROTO, "version %s (pid %d) never said hello", roll->result.from, roll->old->child.pid);
	old.hello = roll->old->hello->hello;
	new.hello = roll->new->hello->hello;
	return schema_path_check_all(&old, &new, why);
}

/* ---- prepare ---- */

static void send_prepare(struct roll *roll)
{
	const Upgraded__Wire__Hello *new = roll->new->hello->hello;
	Upgraded__Wire__Prepare prepare = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE, .prepare = &prepare);
	Upgraded__Wire__Limits limits = instance_limits(roll->unit);
	int fds[] = { roll->word_fd, roll->state_out };

	prepare.limits = &limits;
	prepare.generation = roll->options.generation;
	prepare.level = roll->unit->level;
	prepare.quiesce_deadline_us = roll->prepared_us + roll->unit->quiesce_timeout_us;
	prepare.commit_deadline_us = roll->settles_us;
	prepare.n_targets = new->n_schemas;
	prepare.targets = new->schemas;
	roll->old_told = true;
	roll->old_goes_on = false;
	instance_send(roll->old, &message, fds, 2);
}

static void send_receive(struct roll *roll)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	Upgraded__Wire__Limits limits = instance_limits(roll->unit);
	int fds[] = { roll->word_fd, roll->state_in, roll->journal_fd };

	receive.limits = &limits;
	receive.generation = roll->options.generation;
	receive.verify_roundtrip = roll->options.verify == VERIFY_ROUNDTRIP;
	receive.deadline_us = roll->prepared_us + roll->unit->quiesce_timeout_us + roll->unit->transfer_timeout_us;
	receive.journal = roll->journal_fd >= 0;
	instance_send(roll->new, &message, fds, receive.journal ? 3 : 2);
}

void roll_do_prepare(struct roll *roll)
{
	struct why why = { 0 };
	int pair[2];

	if (commit_create(&roll->word, roll->options.generation, &roll->word_fd, &why) < 0) {
		roll_blame(roll, "%s", why.text);
		roll_happen(roll, ROLL_EV_OLD_REFUSED);
		return;
	}
	if (pipe2(pair, O_CLOEXEC) < 0) {
		roll_blame(roll, "pipe: %s", strerror(errno));
		roll_happen(roll, ROLL_EV_OLD_REFUSED);
		return;
	}
	/* Room for old to run ahead of new; where the kernel's limit is lower, less is fine. */
	(void)fcntl(pair[1], F_SETPIPE_SZ, STATE_PIPE_BYTES);
	roll->state_in = pair[0];
	roll->state_out = pair[1];
	roll->prepared_us = clock_now_us();
	roll->settles_us =
		roll->prepared_us + roll->unit->quiesce_timeout_us + roll->unit->transfer_timeout_us + COMMIT_GRACE_US;
	roll_say(roll, "quiesce", roll->old->child.pid, "version %s was asked to quiesce", roll->result.from);
	roll_journal_begin(roll);
	send_receive(roll);
	send_prepare(roll);
}

static void on_ask(struct timer *timer)
{
	send_prepare(container_of(timer, struct roll, ask));
}

void roll_do_ask_again(struct roll *roll)
{
	if (clock_now_us() > roll->prepared_us + roll->unit->quiesce_timeout_us) {
		roll_blame(roll, "version %s (pid %d) was not ready to be rolled within QuiesceTimeout=", roll->result.from,
			   roll->old->child.pid);
		roll_happen(roll, ROLL_EV_TIMEOUT);
		return;
	}
	timer_arm(roll->site->loop, &roll->ask, clock_now_us() + ASK_AGAIN_US, on_ask);
}

/* ---- commit, settle, abort ---- */

void roll_do_commit(struct roll *roll)
{
	Upgraded__Wire__Commit commit = UPGRADED__WIRE__COMMIT__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_COMMIT, .commit = &commit);

	instance_send(roll->new, &message, NULL, 0);
}

void roll_do_settle(struct roll *roll)
{
	/* One of us wins; if it was new, it has served, and the way back is another one. A word that was never made says the
	 * same as one that names ABORTED. */
	if (!roll->word.word || commit_take(&roll->word, COMMIT_ABORTED)) {
		roll_happen(roll, ROLL_EV_ABORT_WON);
		return;
	}
	if (commit_owner(&roll->word) == COMMIT_NEW) {
		if (!roll->result.commit_us)
			roll->result.commit_us = clock_now_us();
		roll_happen(roll, ROLL_EV_COMMITTED);
	} else {
		roll_happen(roll, ROLL_EV_ABORT_WON);
	}
}

void roll_check_aborted(struct roll *roll)
{
	if (roll->state == ROLL_ABORT && !instance_is_alive(roll->new) && (roll->old_goes_on || !roll->old_told))
		roll_happen(roll, ROLL_EV_ABORT_COMPLETE);
}

void roll_do_abort(struct roll *roll)
{
	Upgraded__Wire__Abort abort = UPGRADED__WIRE__ABORT__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT, .abort = &abort);

	roll_say(roll, "abort", roll->old->child.pid, "calling off: %s", roll->result.cause.text);
	if (!instance_is_alive(roll->old)) {
		roll_happen(roll, ROLL_EV_OLD_GONE);
		return;
	}
	/* New first: its end is what wakes an old that is writing to it. */
	instance_kill(roll->new, SIGKILL);
	roll_close_transfer(roll);
	abort.reason = roll->result.cause.text;
	if (roll->old_told)
		instance_send(roll->old, &message, NULL, 0);
	roll_check_aborted(roll);
}

/* ---- after the commit ---- */

static void send_baked(struct roll *roll)
{
	Upgraded__Wire__Baked baked = UPGRADED__WIRE__BAKED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_BAKED, .baked = &baked);

	instance_send(roll->new, &message, NULL, 0);
}

/* A bake does not end well with a version that has ended and whose end only was not heard yet. */
static void end_bake(struct roll *roll)
{
	struct pollfd end = { .fd = roll->new->child.pidfd, .events = POLLIN };

	if (poll(&end, 1, 0) == 0)
		roll_happen(roll, ROLL_EV_BAKED);
}

static void on_verdict(struct health *health, enum health_verdict verdict)
{
	struct roll *roll = container_of(health, struct roll, health);

	if (verdict == HEALTH_SETTLED) {
		end_bake(roll);
		return;
	}
	if (verdict == HEALTH_SICK) {
		roll_sicken(roll, "%s", health->why.text);
		return;
	}
	roll_blame(roll, "%s", health->why.text);
	roll_happen(roll, ROLL_EV_UNHEALTHY);
}

static void on_note(struct health *health, const char *text)
{
	struct roll *roll = container_of(health, struct roll, health);

	roll_say(roll, "health", roll->new->child.pid, "%s", text);
}

void roll_watch_health(struct roll *roll)
{
	health_start(&roll->health, roll->site->loop, roll->site->graveyard, roll->unit, roll->new, on_verdict, on_note);
}

void roll_do_park(struct roll *roll)
{
	Upgraded__Wire__Park park = UPGRADED__WIRE__PARK__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PARK, .park = &park);

	roll->result.pause_us = roll->result.commit_us - roll->prepared_us;
	roll->result.resume_us = 0;
	commit_unmap(&roll->word);
	roll_say(roll, "commit", roll->new->child.pid, "version %s serves; the pause was %" PRIu64 ".%03" PRIu64 " ms",
		 roll->result.to, roll->result.pause_us / 1000, roll->result.pause_us % 1000);
	if (instance_is_alive(roll->new)) {
		/* What went wrong on the way here is not what anything later fails of. */
		*roll->result.cause.text = 0;
		roll_watch_health(roll);
		/* Not yet, but before anyone can need it. */
		if (roll->options.rollback != ROLLBACK_NONE && instance_is_alive(roll->old))
			roll->result.way_back = "parked";
		roll->on_commit(roll);
	} else {
		char how[64];

		roll_blame(roll, "version %s (pid %d) %s", roll->result.to, roll->new->child.pid,
			   child_describe(&roll->new->child, how, sizeof(how)));
		roll_happen(roll, ROLL_EV_NEW_GONE);
	}
	if (roll->options.rollback == ROLLBACK_NONE || !instance_is_alive(roll->old)) {
		roll_do_drop_old(roll);
		return;
	}
	roll_watch_connections(roll);
	instance_send(roll->old, &message, NULL, 0);
}

/* Before the way back begins this ends in NO_WAY_BACK; in it, the next rung is looked for when old was reaped. */
void roll_do_drop_old(struct roll *roll)
{
	roll->old_unusable = true;
	if (roll->state == ROLL_RETREAT) {
		if (instance_is_alive(roll->old))
			instance_kill(roll->old, SIGKILL);
		else
			roll_happen(roll, ROLL_EV_NO_WAY_BACK);
		return;
	}
	roll->result.way_back = "none";
	roll->old = graveyard_bury(roll->site->graveyard, roll->old);
	roll_happen(roll, ROLL_EV_NO_WAY_BACK);
}

/* Old has shed what it registered, so what stands in the way now would fail the dump: better said in words than by CRIU. Return:
 * false with the first such thing in @why. */
static bool may_be_imaged(struct roll *roll, struct why *why)
{
	const struct instance *old = roll->old;
	unsigned long long known[] = { old->channel_inode, old->log_inode };
	struct obstacles_spec spec = { .pid = old->child.pid, .known = known, .n_known = 2, .next_exe = NULL };
	struct obstacles_report report;

	if (obstacles_check(&spec, &report, why) < 0)
		return false;
	for (size_t i = 0; i < report.n; i++) {
		const struct obstacle *obstacle = &report.obstacle[i];

		if (obstacle->level == OBSTACLE_FATAL) {
			why_set(why, 0, "%s", obstacle->text);
			return false;
		}
		roll_say(roll, "image", old->child.pid, "will not come back as it was: %s", obstacle->text);
	}
	return true;
}

static void no_image(struct roll *roll, const char *reason)
{
	roll->result.way_back = roll->old_unusable ? "none" : "parked";
	roll_say(roll, "image", 0, "no image (%s); the way back is %s", reason,
		 roll->old_unusable ? "gone" : "the parked process alone");
	if (roll->options.require_image) {
		why_set(&roll->result.image_missed, 0, "%s", reason);
		roll_say(roll, "image", 0,
			 "an image was required, and nothing spoke against it before the roll, which has committed by now");
	}
	roll_happen(roll, ROLL_EV_IMAGE_FAILED);
}

/* The earlier images that a new one puts beyond the limits; the new one is in use. */
static void make_room(const struct roll *roll)
{
	struct image_set busy = { .n = 0 };
	struct why why = { 0 };

	image_set_add(&busy, roll->image->generation);
	if (image_store_gc(roll->site->images_root, roll->unit->name, &roll->unit->image_limits, &busy, NULL, &why) < 0)
		log_warning("%s: images: %s", roll->unit->name, why.text);
}

static void on_imaged(struct image_job *job, int rc, const struct why *why)
{
	struct roll *roll = job->owner;

	if (rc < 0) {
		if (job->target != CRIU_TARGET_RUNNING)
			roll->old_unusable = true;
		roll_packed(roll, why->text);
		no_image(roll, why->text);
		return;
	}
	roll->image = job->image;
	job->image = NULL;
	make_room(roll);
	roll->result.image_bytes = roll->image->size_bytes;
	roll->result.image_us = job->elapsed_us;
	if (!job->criu.leave_running || !instance_is_alive(roll->old))
		roll->old_unusable = true; /* CRIU has ended it, or something else has */
	roll->result.way_back = roll->old_unusable ? "image" : "parked+image";
	roll_say(roll, "image", roll->image->pid, "version %s has an image of %" PRIu64 " KiB, taken in %" PRIu64 " ms",
		 roll->result.from, roll->image->size_bytes >> 10, job->elapsed_us / 1000);
	roll_packed(roll, NULL);
	roll_happen(roll, ROLL_EV_IMAGED);
}

int roll_take_image_of_old(struct roll *roll, bool leave_running, struct why *why)
{
	const struct instance *old = roll->old;
	struct image_take_spec spec = {
		.criu_path = roll->site->criu_path,
		.images_root = roll->site->images_root,
		.service = roll->unit->name,
		.generation = roll->options.generation,
		.version = roll->result.from,
		.pid = old->child.pid,
		.control_inode = old->channel_inode,
		.stdout_inode = old->log_inode,
		.stderr_inode = old->log_inode,
		.leave_running = leave_running,
		.timeout_us = roll->unit->image_timeout_us,
	};

	roll->criu_path = roll->site->criu_path;
	if (!roll->criu_path)
		return why_set(why, -ENOENT, "no usable CRIU, see upgradectl check");
	if (!may_be_imaged(roll, why))
		return -EINVAL;
	return image_take_start(roll->site->loop, &roll->image_job, &spec, on_imaged, why);
}

void roll_do_image(struct roll *roll)
{
	const struct instance *old = roll->old;
	struct why why = { 0 };

	roll->result.way_back = "parked";
	roll_say(roll, "park", old->child.pid, "version %s gave its sockets up and lies parked", roll->result.from);
	if (roll->options.rollback == ROLLBACK_PARKED) {
		roll_happen(roll, ROLL_EV_IMAGED);
		return;
	}
	if (roll_take_image_of_old(roll, roll->options.rollback == ROLLBACK_AUTO, &why) < 0)
		no_image(roll, why.text);
}

static void on_baked(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, bake);

	if (health_conclude(&roll->health))
		end_bake(roll);
}

void roll_do_bake(struct roll *roll)
{
	if (!roll->old)
		roll_end_custody(roll), send_baked(roll);
	roll_say(roll, "bake", roll->new->child.pid, "watching version %s for %" PRIu64 " ms; way back: %s%s", roll->result.to,
		 roll->options.bake_us / 1000, roll->result.way_back, roll_journal_usable(roll) ? ", with a journal" : "");
	timer_arm(roll->site->loop, &roll->bake, roll->result.commit_us + roll->options.bake_us, on_baked);
	if (!roll->health.loop) /* it came back from another roll */
		roll_watch_health(roll);
	roll_watch_memory(roll);
	roll_turn_if_due(roll);
}

void roll_do_finish(struct roll *roll)
{
	roll->old = graveyard_bury(roll->site->graveyard, roll->old);
	roll_end_custody(roll);
	send_baked(roll);
	roll_say(roll, "done", roll->new->child.pid, "version %s is accepted", roll->result.to);
}
