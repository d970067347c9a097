/* SPDX-License-Identifier: MIT */
/* Images without CRIU. */
#include "tests/supervisor/fake.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_imaging fake_imaging;

/* A fake has no files. */
static int no_pins(const struct pins_spec *spec, struct image_pins *ret_pins, struct why *why)
{
	(void)spec;
	(void)why;
	*ret_pins = (struct image_pins){ 0 };
	return 0;
}

static int find_obstacles(const struct obstacles_spec *spec, struct obstacles_report *ret_report, struct why *why)
{
	(void)why;
	for (size_t i = 0; i < spec->n_known; i++)
		fake_imaging.known |= spec->known[i] == fake_imaging.asked;
	memset(ret_report, 0, sizeof(*ret_report));
	if (fake_imaging.has_flaw) {
		ret_report->obstacle[0].level = OBSTACLE_WARNING;
		snprintf(ret_report->obstacle[ret_report->n++].text, sizeof(ret_report->obstacle[0].text), "a watch on /etc");
	}
	if (fake_imaging.has_obstacle) {
		ret_report->obstacle[ret_report->n].level = OBSTACLE_FATAL;
		snprintf(ret_report->obstacle[ret_report->n++].text, sizeof(ret_report->obstacle[0].text), "a tape drive is open");
		ret_report->n_fatal = 1;
	}
	return 0;
}

static int take_start(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
		      void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why)
{
	(void)loop;
	cr_assert_null(fake_imaging.job, "one image at a time");
	if (fake_imaging.refuses)
		return why_set(why, -ENOSPC, "the disk is full");
	fake_imaging.taken++;
	fake_imaging.job = job;
	fake_imaging.on_done = on_done;
	fake_imaging.restores = fake_imaging.hurried = false;
	fake_imaging.leave_running = spec->leave_running;
	return 0;
}

static void take_hurry(struct image_job *job)
{
	(void)job;
	fake_imaging.hurried = true;
}

static int restore_start(struct loop *loop, struct image_job *job, struct image *image, const struct image_restore_spec *spec,
			 void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why)
{
	(void)loop;
	(void)spec;
	cr_assert_null(fake_imaging.job, "one image at a time");
	if (fake_imaging.refuses)
		return why_set(why, -EBADMSG, "a file of the image is damaged");
	fake_imaging.restored++;
	fake_imaging.job = job;
	fake_imaging.on_done = on_done;
	fake_imaging.restores = true;
	fake_imaging.image = image;
	return 0;
}

static int check_beside(const struct image *image, pid_t but_pid, struct why *why)
{
	(void)image;
	(void)but_pid;
	return fake_imaging.rung_is_bad ? why_set(why, -ENOENT, "a library that the image needs is gone") : 0;
}

static bool reap_children(const struct image *image)
{
	(void)image;
	if (!fake_imaging.pids_wait)
		return false;
	fake_imaging.pids_wait--;
	return true;
}

static bool is_there(const struct image *image)
{
	(void)image;
	return !fake_imaging.removed;
}

const struct imaging imaging_fake = {
	.find_obstacles = find_obstacles,
	.pins_take = no_pins,
	.take_start = take_start,
	.take_hurry = take_hurry,
	.restore_start = restore_start,
	.check_beside = check_beside,
	.reap_children = reap_children,
	.is_there = is_there,
};

void fake_imaging_reset(void)
{
	fake_imaging = (struct fake_imaging){ .job = NULL };
}

void fake_imaging_done(int rc, enum criu_target target)
{
	struct image_job *job = fake_imaging.job;
	struct why why = { 0 };

	cr_assert_not_null(job);
	fake_imaging.job = NULL;
	if (rc < 0)
		why_set(&why, rc, "CRIU failed");
	job->target = target;
	job->elapsed_us = 1000;
	if (fake_imaging.restores) {
		job->restored_pid = fake_imaging.image->pid;
	} else if (rc == 0) {
		job->image = calloc(1, sizeof(*job->image));
		cr_assert_not_null(job->image);
		job->image->path = strdup("/nonexistent/images/web/1");
		job->image->generation = 1;
		job->image->pid = FAKE_IMAGE_PID;
		job->image->size_bytes = 4096;
	}
	fake_imaging.on_done(job, rc, &why);
}
