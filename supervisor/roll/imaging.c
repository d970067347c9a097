/* SPDX-License-Identifier: MIT */
/* Old's image: taken beside the parked process, or instead of it; and a parked version that leaves memory when it is short. */
#include "supervisor/roll/private.h"

#include "supervisor/criu/obstacles.h"
#include "supervisor/image/dir.h"
#include "supervisor/machine/pressure.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LOOK_AT_MEMORY_US USEC_PER_SEC

/* What is taken care of: old's channel and output, and the pipes in custody, whose ends a restore gets as they are. Return: how
 * many; @ret is released with free(). */
static size_t list_known(const struct roll *roll, unsigned long long **ret)
{
	unsigned long long *known = calloc(roll->custody.n + 2, sizeof(*known));
	struct stat st;
	size_t n = 0;

	*ret = known;
	if (!known)
		return 0;
	known[n++] = roll->old->channel_inode;
	known[n++] = roll->old->log_inode;
	for (size_t i = 0; i < roll->custody.n; i++)
		if (fstat(roll->custody.entries[i].ref->fd, &st) == 0 && S_ISFIFO(st.st_mode))
			known[n++] = st.st_ino;
	return n;
}

/* Old has shed what it registered, so what stands in the way now would fail the dump: better said in words than by CRIU. Return: 0;
 * -errno with the first such thing in @why. */
static int may_be_imaged(struct roll *roll, struct why *why)
{
	const struct instance *old = roll->old;
	struct obstacles_spec spec = { .pid = old->pid, .children_stay = old->children != CHILDREN_END };
	struct obstacles_report report;
	unsigned long long *known;
	int r;

	r = instance_may_have_image(old, why);
	if (r < 0)
		return r;
	spec.n_known = list_known(roll, &known);
	spec.known = known;
	r = known ? roll->site->imaging->find_obstacles(&spec, &report, why) : why_errno(why, -ENOMEM, "descriptors");
	free(known);
	for (size_t i = 0; r == 0 && i < report.n; i++) {
		const struct obstacle *obstacle = &report.obstacle[i];

		if (obstacle->level == OBSTACLE_FATAL)
			r = why_set(why, -EINVAL, "%s", obstacle->text);
		else
			roll_note(roll, "image", old, "will not come back as it was: %s", obstacle->text);
	}
	return r;
}

static void no_image(struct roll *roll, const char *reason)
{
	bool parked = record_rungs(&roll->record) & ROLL_RUNG_PARKED;

	roll_note(roll, "image", NULL, "no image (%s); the way back is %s", reason, parked ? "the parked process alone" : "gone");
	if (roll->options.require_image) {
		why_set(&roll->report.image_missed, 0, "%s", reason);
		roll_say(roll, "image", NULL,
			 "an image was required, and nothing spoke against it before the roll, which has committed by now");
	}
	roll_happen(roll, ROLL_EV_IMAGE_FAILED);
}

/* Whoever asked old to leave memory is told. If new ended meanwhile, what comes of the retreat is the answer. */
static void tell_packed(struct roll *roll, const char *failure)
{
	if (roll->record.state == ROLL_PACK)
		roll->events->on_packed(roll, failure);
}

/* What old was started with belongs to it as its program does. Who looks at an image later wants to know. */
static void note_unit(const struct roll *roll)
{
	char *text = NULL;
	struct why why = { 0 };

	if (roll->unit_before && unit_text(roll->unit_before, &text) == 0 &&
	    image_dir_note(roll->image->path, "service.conf", text, &why) < 0)
		log_service(WARNING, roll->unit->name, "beside the image: %s", why.text);
	free(text);
}

static void take_image_in(struct roll *roll, struct image_job *job)
{
	Upgraded__Wire__RollReport *report = &roll->report.wire;

	roll->image = job->image;
	job->image = NULL;
	roll->record.image = IMAGE_THERE;
	*roll->report.image_missed.text = 0;
	roll->events->on_imaged(roll);
	report->image_bytes = roll->image->size_bytes;
	report->image_us = job->elapsed_us;
	note_unit(roll);
	roll_say(roll, "image", roll->old, "version %s has an image of %" PRIu64 " KiB, taken in %" PRIu64 " ms", roll->record.from,
		 report->image_bytes >> 10, job->elapsed_us / 1000);
}

static void on_imaged(struct image_job *job, int rc, const struct why *why)
{
	struct roll *roll = job->owner;

	/* CRIU lets go on what it found running. */
	if (job->target == CRIU_TARGET_RUNNING && roll->old->stopped && instance_is_alive(roll->old))
		instance_stop(roll->old);
	/* CRIU has ended it, or something else has. */
	if (job->target != CRIU_TARGET_RUNNING || !instance_is_alive(roll->old))
		roll->record.old = OLD_SPENT;
	if (rc == 0)
		take_image_in(roll, job);
	roll_rungs_changed(roll);
	tell_packed(roll, rc < 0 ? why->text : NULL);
	if (rc < 0)
		no_image(roll, why->text);
	else
		roll_happen(roll, ROLL_EV_IMAGED);
}

/* Return: 0, and then on_imaged() hears of it; -errno. */
static int take_image(struct roll *roll, bool leave_running, struct why *why)
{
	const struct instance *old = roll->old;
	struct image_take_spec spec = {
		.criu_path = roll->site->criu_path,
		.images_root = roll->site->images_root,
		.service = roll->unit->name,
		.generation = roll->record.generation,
		.version = roll->record.from,
		.pid = old->pid,
		.control_inode = old->channel_inode,
		.stdout_inode = old->log_inode,
		.stderr_inode = old->log_inode,
		.leave_running = leave_running,
		.timeout_us = roll->unit->image_timeout_us,
	};
	int r;

	roll->criu_path = roll->site->criu_path;
	if (!roll->criu_path)
		return why_set(why, -ENOENT, "no usable CRIU, see upgradectl check");
	r = may_be_imaged(roll, why);
	return r < 0 ? r : roll->site->imaging->take_start(roll->site->loop, &roll->image_job, &spec, on_imaged, why);
}

void roll_do_image(struct roll *roll)
{
	struct why why = { 0 };

	roll_say(roll, "park", roll->old, "version %s is parked: it released its sockets and sleeps in memory", roll->record.from);
	if (roll->options.rollback == ROLLBACK_PARKED) {
		roll_happen(roll, ROLL_EV_IMAGED);
		return;
	}
	if (take_image(roll, roll->options.rollback == ROLLBACK_AUTO, &why) < 0)
		no_image(roll, why.text);
}

/* ---- old leaves memory ---- */

int roll_pack(struct roll *roll, struct why *why)
{
	if (!roll_accepts(roll->record.state, ROLL_EV_PACK))
		return why_set(why, -EBUSY, "no bake is on (%s)", roll_phase(roll));
	if (!(record_rungs(&roll->record) & ROLL_RUNG_PARKED))
		return why_set(why, -ESRCH, "no version lies parked in memory");
	if (!roll->image && !roll->site->criu_path)
		return why_set(why, -ENOENT, "no usable CRIU, see upgradectl check");
	roll_happen(roll, ROLL_EV_PACK);
	return 0;
}

static void stays_in_memory(struct roll *roll, const char *reason)
{
	roll_note(roll, "image", roll->old, "version %s stays in memory: %s", roll->record.from, reason);
	tell_packed(roll, reason);
	roll_happen(roll, ROLL_EV_IMAGE_FAILED);
}

void roll_do_pack(struct roll *roll)
{
	struct why why = { 0 };

	if (roll->record.image != IMAGE_THERE) {
		if (take_image(roll, false, &why) < 0)
			stays_in_memory(roll, why.text);
		return;
	}
	/* It was taken when old was parked, and old has not run since. */
	if (roll_check_rung(roll, ROLL_RUNG_IMAGE, &why) < 0) {
		stays_in_memory(roll, why.text);
		return;
	}
	roll->record.old = OLD_SPENT;
	roll_rungs_changed(roll);
	instance_kill(roll->old, SIGKILL);
	roll_say(roll, "image", roll->old, "version %s leaves memory; its image is the way back", roll->record.from);
	tell_packed(roll, NULL);
	roll_happen(roll, ROLL_EV_IMAGED);
}

/* Somebody may remove it by hand, or the disk may go. Better said now than when it is needed. */
static void look_at_image(struct roll *roll)
{
	if (roll->record.image != IMAGE_THERE || roll->site->imaging->is_there(roll->image))
		return;
	roll->record.image = IMAGE_SPENT;
	roll_rungs_changed(roll);
	roll_lost_rung(roll, NULL, "the image %s is not there any more", roll->image->path);
	roll->image = image_free(roll->image);
}

static bool watches_memory(const struct roll *roll)
{
	bool wanted = roll->unit->memory_low_bytes || roll->unit->memory_pressure_percent;

	return wanted && !roll->memory_told && (record_rungs(&roll->record) & ROLL_RUNG_PARKED);
}

static void look_at_memory(struct roll *roll)
{
	struct pressure_limits limits = { .available_bytes = roll->unit->memory_low_bytes,
					  .stalled_percent = roll->unit->memory_pressure_percent };
	struct why why = { 0 }, obstacle = { 0 };
	struct pressure pressure;

	pressure_look(roll->old->pid, &pressure);
	if (!pressure_is_high(&pressure, &limits, &why))
		return;
	/* Once: what cannot be imaged now will not be in a second either. */
	roll->memory_told = true;
	roll_note(roll, "image", roll->old, "memory is short: %s", why.text);
	if (roll_pack(roll, &obstacle) < 0)
		roll_note(roll, "image", roll->old, "version %s stays in memory: %s", roll->record.from, obstacle.text);
}

static void on_look(struct timer *timer)
{
	struct roll *roll = container_of(timer, struct roll, memory);

	/* First, as what follows may change the state. */
	timer_arm(roll->site->loop, timer, clock_now_us() + LOOK_AT_MEMORY_US, on_look);
	look_at_image(roll);
	if (watches_memory(roll))
		look_at_memory(roll);
}

void roll_watch_memory(struct roll *roll)
{
	if (watches_memory(roll) || roll->record.image == IMAGE_THERE)
		timer_arm(roll->site->loop, &roll->memory, clock_now_us(), on_look);
}
