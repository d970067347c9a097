/* SPDX-License-Identifier: MIT */
/*
 * The steps: note the files that the process uses, and see whether there is room; CRIU writes; no path may stand in what it wrote
 * that another user could lead astray; a child process sums all files up;
 * the manifest and a rename make an image of them.
 *
 * Nothing is flushed to the disk: that would hold up the loop for seconds. An image is needed after a crash of the *supervisor*,
 * which the page cache survives. After a crash of the machine there is no connection left to go back to; the checksums show what
 * the crash took of the manifest and, where they were summed, of the pages.
 */
#include "supervisor/image/private.h"

#include "base/clock.h"
#include "base/fd.h"
#include "supervisor/image/dir.h"
#include "supervisor/image/manifest.h"
#include "supervisor/image/removal.h"
#include "supervisor/image/space.h"
#include "supervisor/image/sums.h"
#include "supervisor/machine/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* CRIU notes the clocks in timens-0.img, and would bring the process back in a time namespace in which they go on from there. But a
 * service and its supervisor tell each other times by the monotonic clock: when the process comes back after a minute of the bake,
 * its clock would be a minute slow. Without the note CRIU leaves the clocks as they are. */
static int clocks_forget(const char *tmp, struct why *why)
{
	char path[PATH_MAX];

	int n = snprintf(path, sizeof(path), "%s/timens-0.img", tmp);

	if (n < 0 || (size_t)n >= sizeof(path) || (unlink(path) < 0 && errno != ENOENT))
		return why_errno(why, -errno, "%s", path);
	return 0;
}

static int image_publish(struct image *image, struct why *why)
{
	char tmp[PATH_MAX];
	int r;

	image_tmp_path(image, tmp, sizeof(tmp));
	image->taken_at_s = (int64_t)time(NULL);
	image->size_bytes = 0;
	for (size_t i = 0; i < image->n_files; i++)
		image->size_bytes += image->files[i].size_bytes;
	r = image_manifest_write(tmp, image, why);
	if (r == 0 && rename(tmp, image->path) < 0)
		r = why_errno(why, -errno, "cannot rename %s", tmp);
	return r;
}

/* CRIU's files can be read by everybody. Their folder cannot, but somebody may copy it without its mode. */
static int files_close(const struct image *image, const char *tmp, struct why *why)
{
	FD_CLEANUP int dir = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return why_errno(why, -errno, "%s", tmp);
	for (size_t i = 0; i < image->n_files; i++)
		if (fchmodat(dir, image->files[i].name, 0600, 0) < 0)
			return why_errno(why, -errno, "%s/%s", tmp, image->files[i].name);
	return 0;
}

/* Did CRIU fail only after all was written? It writes inventory.img last, and only then ends the process. */
static bool taken_after_all(const struct image_job *job)
{
	char tmp[PATH_MAX];

	image_tmp_path(job->image, tmp, sizeof(tmp));
	return job->criu.target == CRIU_TARGET_GONE && image_dir_has(tmp, "inventory.img");
}

static void take_end(struct image_job *job, int rc, struct why *why)
{
	job->image->taken_in_us = clock_now_us() - job->started_us;
	if (rc == 0)
		rc = image_publish(job->image, why);
	if (rc < 0)
		job->image = image_drop(job->image);
	image_job_finish(job, rc, why);
}

static int take_sums_note(struct image_job *job, struct why *why)
{
	struct image *image = job->image;

	for (size_t i = 0; i < image->n_files; i++) {
		const struct checksum_entry *entry = &job->sums.entries[i];

		if (entry->rc < 0)
			return why_errno(why, entry->rc, "%s of the new image", image->files[i].name);
		image->files[i].sum = entry->sum;
		image->files[i].size_bytes = entry->size_bytes;
		image->files[i].is_summed = true;
	}
	return 0;
}

/* When nothing else is left of the process, an image that cannot be verified is better than none. */
static void take_sums_on_done(struct checksum_job *sums, int rc, const struct why *sums_why)
{
	struct image_job *job = container_of(sums, struct image_job, sums);
	struct why why = *sums_why;

	if (rc == 0)
		rc = take_sums_note(job, &why);
	checksum_job_done(sums);
	take_end(job, job->target == CRIU_TARGET_GONE ? 0 : rc, &why);
}

static int take_sums_begin(struct image_job *job, const char *tmp, struct why *why)
{
	const struct image_sums_spec spec = { .image = job->image, .dir = tmp, .background = true, .timeout_us = job->timeout_us };

	return image_sums_start(job->loop, &job->sums, &spec, take_sums_on_done, why);
}

static void take_on_done(struct criu_job *criu, int rc, const struct why *criu_why)
{
	struct image_job *job = container_of(criu, struct image_job, criu);
	struct why why = *criu_why;
	char tmp[PATH_MAX];

	job->criu_over = true;
	job->target = criu->target;
	if (rc < 0 && taken_after_all(job))
		rc = 0;
	image_tmp_path(job->image, tmp, sizeof(tmp));
	if (rc == 0)
		rc = clocks_forget(tmp, &why);
	if (rc == 0)
		rc = pins_compare_paths(&job->image->pins, tmp, &why);
	if (rc == 0)
		rc = image_dir_list(tmp, job->image, &why);
	if (rc == 0)
		rc = files_close(job->image, tmp, &why);
	if (rc == 0 && !job->hurried) {
		rc = take_sums_begin(job, tmp, &why);
		if (rc == 0)
			return;
		rc = job->target == CRIU_TARGET_GONE ? 0 : rc;
	}
	take_end(job, rc, &why);
}

void image_take_hurry(struct image_job *job)
{
	struct why why = { 0 };

	if (!image_job_busy(job) || !job->taking)
		return;
	job->hurried = true;
	if (!job->criu_over)
		return;
	checksum_job_done(&job->sums);
	take_end(job, 0, &why);
}

static int take_prepare(const struct image_take_spec *spec, struct image **ret_image, struct why *why)
{
	const struct pins_spec pins = { .pid = spec->pid };
	struct image *image = NULL;
	char tmp[PATH_MAX];
	struct stat st;
	int r;

	r = image_new(spec->images_root, spec->service, spec->generation, &image, why);
	if (r < 0)
		return r;
	image->pid = spec->pid;
	image->control_inode = spec->control_inode;
	image->stdout_inode = spec->stdout_inode;
	image->stderr_inode = spec->stderr_inode;
	image->version = strdup(spec->version);
	r = image->version ? pins_take(&pins, &image->pins, why) : why_errno(why, -ENOMEM, "image of %s", spec->service);
	if (r == 0)
		r = image_space_check(spec->images_root, spec->pid, why);
	if (r == 0 && lstat(image->path, &st) == 0)
		r = why_set(why, -EEXIST, "there already is an image %s", image->path);
	image_tmp_path(image, tmp, sizeof(tmp));
	if (r == 0)
		r = removal_of(tmp, why);
	if (r == 0)
		r = folder_make(tmp, why);
	if (r < 0) {
		image_free(image);
		return r;
	}
	*ret_image = image;
	return 0;
}

int image_take_start(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
		     void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why)
{
	struct criu_dump_spec dump = { .criu_path = spec->criu_path, .pid = spec->pid, .timeout_us = spec->timeout_us,
				       .external_sockets = &spec->control_inode,
				       .n_external_sockets = spec->control_inode ? 1 : 0,
				       .leave_running = spec->leave_running };
	char tmp[PATH_MAX];
	struct image *image;
	int r;

	r = image_job_begin(job, loop, true, spec->timeout_us, why);
	if (r < 0)
		return r;
	r = take_prepare(spec, &image, why);
	if (r < 0)
		return r;
	image_tmp_path(image, tmp, sizeof(tmp));
	dump.images_dir = tmp;
	dump.work_dir = image->service_dir;
	r = criu_dump_start(loop, &job->criu, &dump, take_on_done, why);
	if (r < 0) {
		(void)removal_of(tmp, NULL);
		image_free(image);
		return r;
	}
	job->image = image;
	job->on_done = on_done;
	return 0;
}
