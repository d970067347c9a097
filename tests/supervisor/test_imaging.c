/* SPDX-License-Identifier: MIT */
#include "supervisor/image/image.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

TestSuite(imaging, .timeout = 20);

static struct {
	struct image_job *job;
	void (*on_done)(struct image_job *job, int rc, const struct why *why);
} taking;

static int fake_take(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
		     void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why)
{
	(void)loop, (void)spec, (void)why;
	taking.job = job;
	taking.on_done = on_done;
	return 0;
}

static void on_taken(struct image_job *job, int rc, const struct why *why)
{
	(void)why;
	cr_assert(rc == 0);
	*(bool *)job->owner = true;
}

Test(imaging, can_be_another_than_that_of_criu)
{
	const struct imaging fake = { .take_start = fake_take };
	struct image_take_spec spec = { .service = "cached" };
	bool is_taken = false;
	struct image_job job;
	struct why why = { 0 };

	image_job_init(&job, &is_taken);
	cr_assert(fake.take_start(NULL, &job, &spec, on_taken, &why) == 0);
	job.image = calloc(1, sizeof(*job.image));
	taking.on_done(taking.job, 0, &why);
	cr_assert(is_taken);
	job.image = image_drop(job.image);
	cr_assert(!job.image);
}

Test(imaging, leaves_a_job_without_a_run_as_it_is)
{
	struct image image = { .generation = 7 };
	struct image_job job;

	image_job_init(&job, NULL);
	job.image = &image;
	job.taking = true;
	image_job_done(&job);
	image_job_done(&job);
	cr_assert(job.image == &image && !image_job_busy(&job));
}

Test(imaging, by_criu_has_every_call)
{
	cr_assert(imaging_criu.find_obstacles && imaging_criu.take_start && imaging_criu.take_hurry);
	cr_assert(imaging_criu.restore_start && imaging_criu.check_beside && imaging_criu.reap_children);
}
