/* SPDX-License-Identifier: MIT */
/*
 * No file of an image is used unread, and nobody waits for the reading. The small files, which say what CRIU is to make, are summed
 * up before CRIU sees them. The large ones, the pages, are read by a process of ours while CRIU reads them. The restored process
 * runs by then, but waits in its library for Resume, which it gets when CRIU and our process are done.
 */
#include "supervisor/image/private.h"

#include "base/fd.h"
#include "supervisor/image/sums.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_BYTES (256u << 10)  /* of one file */
#define SMALL_ALL_BYTES (8u << 20) /* of all that is read at once: milliseconds */

static int size_check(const struct image *image, size_t i, int dir, struct why *why)
{
	const struct image_file *file = &image->files[i];
	struct checksum_entry entry = { 0 };
	struct stat st;

	if (fstatat(dir, file->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		entry.rc = -errno;
	else
		entry.size_bytes = (uint64_t)st.st_size;
	entry.sum = file->sum;
	return image_file_compare(image, i, &entry, why);
}

/* Check the sizes of all files and the sums of the small ones. The others go into @job->late, to be summed up beside the
 * restore. */
static int small_files_check(struct image_job *job, const struct image *image, struct why *why)
{
	FD_CLEANUP int dir = open(image->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t read_bytes = 0;
	int r = dir < 0 ? why_errno(why, -errno, "%s", image->path) : 0;

	job->n_late = 0;
	job->late = calloc(image->n_files + 1, sizeof(*job->late));
	if (!job->late)
		return why_errno(why, -ENOMEM, "image of %s", image->version);
	for (size_t i = 0; r == 0 && i < image->n_files; i++)
		r = size_check(image, i, dir, why);
	for (size_t i = 0; r == 0 && i < image->n_files; i++) {
		const struct image_file *file = &image->files[i];
		struct checksum_entry entry;

		if (!file->is_summed)
			continue;
		if (file->size_bytes > SMALL_BYTES || read_bytes + file->size_bytes > SMALL_ALL_BYTES) {
			job->late[job->n_late++] = i;
			continue;
		}
		read_bytes += file->size_bytes;
		(void)checksum_file(dir, file->name, &entry);
		r = image_file_compare(image, i, &entry, why);
	}
	return r;
}

/* ---- the end ---- */

static void restore_end(struct image_job *job)
{
	/* If a file is bad, that is the reason for whatever CRIU said of it. */
	if (job->sums_rc < 0)
		image_job_finish(job, job->sums_rc, &job->sums_why);
	else
		image_job_finish(job, job->criu_rc, &job->criu_why);
}

static void restore_remnant_on_exit(struct child *child)
{
	struct image_job *job = container_of(child, struct image_job, remnant);

	job->restored_pid = 0;
	restore_end(job);
}

static void restore_settle(struct image_job *job)
{
	/* When the restore has failed, the rest of the files need not be read. */
	if (!job->criu_over || (!job->sums_over && job->criu_rc == 0))
		return;
	checksum_job_done(&job->sums);
	if (job->criu_rc < 0 || job->sums_rc == 0) {
		restore_end(job);
		return;
	}
	if (child_adopt(job->loop, &job->remnant, job->restored_pid, restore_remnant_on_exit, NULL) < 0) {
		restore_remnant_on_exit(&job->remnant); /* it is gone already */
		return;
	}
	child_kill(&job->remnant, SIGKILL);
}

static void restore_on_done(struct criu_job *criu, int rc, const struct why *why)
{
	struct image_job *job = container_of(criu, struct image_job, criu);

	job->criu_over = true;
	job->criu_rc = rc;
	job->criu_why = *why;
	job->restored_pid = criu->restored_pid;
	if (rc == 0)
		job->restored_pidfd = pidfd_open(job->restored_pid, 0);
	restore_settle(job);
}

static void restore_sums_on_done(struct checksum_job *sums, int rc, const struct why *why)
{
	struct image_job *job = container_of(sums, struct image_job, sums);

	job->sums_over = true;
	job->sums_why = *why;
	for (size_t i = 0; rc == 0 && i < job->n_late; i++)
		rc = image_file_compare(job->image, job->late[i], &sums->entries[i], &job->sums_why);
	job->sums_rc = rc;
	restore_settle(job);
}

/* ---- the start ---- */

static int restore_sums_begin(struct image_job *job, const struct image *image, struct why *why)
{
	const struct image_sums_spec spec = { .image = image, .dir = image->path, .which = job->late, .n_which = job->n_late,
					      .timeout_us = job->timeout_us };

	job->sums_over = job->n_late == 0;
	if (job->sums_over)
		return 0;
	return image_sums_start(job->loop, &job->sums, &spec, restore_sums_on_done, why);
}

struct stand_in {
	const char *kind;
	const char *name;
	unsigned long long inode;
	int fd;
};

#define STAND_INS 3u

/* What CRIU gets in place of what it would make or open. */
struct stand_ins {
	struct criu_inherit inherits[CRIU_INHERITS_MAX];
	char keys[STAND_INS][48];
	size_t n;
};

static int stand_ins_collect(const struct image *image, const struct image_restore_spec *spec, struct stand_ins *ret,
			     struct why *why)
{
	const struct stand_in all[STAND_INS] = {
		{ "socket", "control socket", image->control_inode, spec->control },
		{ "pipe", "stdout", image->stdout_inode, spec->stdout_fd },
		{ "pipe", "stderr", image->stderr_inode, spec->stderr_fd },
	};

	ret->n = 0;
	for (size_t i = 0; i < STAND_INS; i++) {
		if (all[i].inode == 0 || (i == 2 && all[i].inode == all[1].inode))
			continue; /* none, or stdout and stderr are one pipe */
		if (all[i].fd < 0)
			return why_set(why, -EBADF, "image of %s (pid %d): it needs a new %s, and none is given",
				       image->version, (int)image->pid, all[i].name);
		snprintf(ret->keys[ret->n], sizeof(ret->keys[ret->n]), "%s:[%llu]", all[i].kind, all[i].inode);
		ret->inherits[ret->n] = (struct criu_inherit){ .key = ret->keys[ret->n], .fd = all[i].fd };
		ret->n++;
	}
	return 0;
}

static bool has_stand_in(const struct stand_ins *stand_ins, const char *key)
{
	for (size_t i = 0; i < stand_ins->n && i < STAND_INS; i++)
		if (strcmp(stand_ins->inherits[i].key, key) == 0)
			return true;
	return false;
}

/* What is held must be lent: by its path CRIU would open something else. What others hold is better lent, but only as far as there
 * is room. */
static int loans_collect(struct image_job *job, const struct image *image, const struct image_restore_spec *spec,
			 struct stand_ins *ret,
			 struct why *why)
{
	int r = pins_lend(&image->pins, spec->files, spec->n_files, &job->loans, why);

	for (int is_owned = 1; r == 0 && is_owned >= 0; is_owned--) {
		for (size_t i = 0; i < job->loans.n; i++) {
			const struct pin_loan *loan = &job->loans.loans[i];

			if (loan->is_owned != (bool)is_owned || has_stand_in(ret, loan->key))
				continue;
			if (ret->n == CRIU_INHERITS_MAX)
				return is_owned ? why_errno(why, -E2BIG, "files that are held for the image") : 0;
			ret->inherits[ret->n++] = (struct criu_inherit){ .key = loan->key, .fd = loan->fd };
		}
	}
	return r;
}

int image_restore_start(struct loop *loop, struct image_job *job, struct image *image,
			const struct image_restore_spec *spec,
			void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why)
{
	struct stand_ins stand_ins = { .n = 0 };
	struct criu_restore_spec restore = { .criu_path = spec->criu_path, .images_dir = image->path,
					     .work_dir = image->service_dir, .pid = image->pid, .inherits = stand_ins.inherits,
					     .timeout_us = spec->timeout_us };
	int r;

	r = image_job_begin(job, loop, false, spec->timeout_us, why);
	if (r < 0)
		return r;
	r = small_files_check(job, image, why);
	if (r == 0)
		r = stand_ins_collect(image, spec, &stand_ins, why);
	/* The last look at paths before CRIU goes along them. */
	if (r == 0)
		r = image_check(image, why);
	if (r == 0)
		r = loans_collect(job, image, spec, &stand_ins, why);
	restore.n_inherits = stand_ins.n;
	if (r == 0)
		r = criu_restore_start(loop, &job->criu, &restore, restore_on_done, why);
	if (r == 0 && (r = restore_sums_begin(job, image, why)) < 0)
		criu_job_done(&job->criu);
	if (r < 0) {
		pins_loans_done(&job->loans);
		free(job->late);
		job->late = NULL;
		return r;
	}
	job->image = image;
	job->on_done = on_done;
	return 0;
}
