/* SPDX-License-Identifier: MIT */
/*
 * What is made durable and what is not: the manifest and the rename are, so that a name without .tmp always stands for a
 * whole image. The pages of the process are not flushed. They matter to whoever restores after a crash of the *supervisor*,
 * which the page cache survives; after a crash of the machine there is no connection left to go back to, and flushing a
 * gigabyte would hold up the loop for seconds.
 */
#include "supervisor/image.h"

#include "base/clock.h"
#include "base/fd.h"
#include "supervisor/image_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct image *image_free(struct image *image)
{
	if (!image)
		return NULL;
	free(image->path);
	free(image->service_dir);
	free(image->version);
	free(image->exe);
	free(image);
	return NULL;
}

static int service_check(const char *service, struct why *why)
{
	if (!*service || service[0] == '.' || strchr(service, '/') || strlen(service) > NAME_MAX)
		return why_set(why, -EINVAL, "'%s' cannot be the name of a service", service);
	return 0;
}

static int image_new(const char *images_root, const char *service, uint64_t generation, struct image **ret_image,
		     struct why *why)
{
	struct image *image;
	int r = service_check(service, why);

	if (r < 0)
		return r;
	image = calloc(1, sizeof(*image));
	if (!image) {
		why_errno(why, -ENOMEM, "image of %s", service);
		return -ENOMEM;
	}
	image->generation = generation;
	if (asprintf(&image->service_dir, "%s/%s", images_root, service) < 0)
		image->service_dir = NULL;
	if (!image->service_dir || asprintf(&image->path, "%s/%" PRIu64, image->service_dir, generation) < 0)
		image->path = NULL;
	/* Room for the names of the files in it and for ".tmp", so that no path is ever cut further down. */
	if (!image->path || strlen(image->path) > PATH_MAX - 64) {
		r = image->path ? -ENAMETOOLONG : -ENOMEM;
		image_free(image);
		why_errno(why, r, "image of %s", service);
		return r;
	}
	*ret_image = image;
	return 0;
}

static void image_tmp_path(const struct image *image, char *buf, size_t size)
{
	snprintf(buf, size, "%s.tmp", image->path);
}

struct image *image_drop(struct image *image)
{
	char tmp[PATH_MAX];
	struct why ignored;

	if (!image)
		return NULL;
	/* By way of the .tmp name, so that an interrupted removal is not taken for an image. */
	image_tmp_path(image, tmp, sizeof(tmp));
	if (image_dir_remove(tmp, &ignored) == 0)
		(void)rename(image->path, tmp);
	image_dir_remove(tmp, &ignored);
	image_dir_remove(image->path, &ignored);
	return image_free(image);
}

int image_load(const char *images_root, const char *service, uint64_t generation, struct image **ret_image,
	       struct why *why)
{
	struct image *image;
	int r;

	r = image_new(images_root, service, generation, &image, why);
	if (r < 0)
		return r;
	r = image_manifest_read(image->path, image, why);
	if (r < 0) {
		image_free(image);
		return r;
	}
	*ret_image = image;
	return 0;
}

int image_gc_partial(const char *images_root, struct why *why)
{
	return image_dir_gc(images_root, false, why);
}

int image_gc_all(const char *images_root, struct why *why)
{
	return image_dir_gc(images_root, true, why);
}

/* ---- the executable ---- */

static int64_t mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int exe_note(struct image *image, struct why *why)
{
	static const char deleted[] = " (deleted)";
	char link[64], exe[PATH_MAX];
	struct stat st;
	size_t length;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)image->pid);
	n = readlink(link, exe, sizeof(exe) - 1);
	if (n < 0)
		return why_errno(why, -errno, "process %d", (int)image->pid);
	exe[n] = '\0';
	length = strlen(exe);
	if (length >= sizeof(deleted) && strcmp(exe + length - (sizeof(deleted) - 1), deleted) == 0)
		return why_set(why, -ENOENT, "process %d: its executable %s; a version has to keep a path of its own while it "
			       "may be needed", (int)image->pid, exe);
	if (stat(exe, &st) < 0)
		return why_errno(why, -errno, "process %d: executable %s", (int)image->pid, exe);
	image->exe = strdup(exe);
	if (!image->exe)
		return why_errno(why, -ENOMEM, "image of process %d", (int)image->pid);
	image->exe_size_bytes = (uint64_t)st.st_size;
	image->exe_mtime_ns = mtime_ns(&st);
	return 0;
}

static int exe_check(const struct image *image, struct why *why)
{
	struct stat st;

	if (stat(image->exe, &st) < 0)
		return why_errno(why, -errno, "image of %s (pid %d) cannot be restored: its executable %s", image->version,
				 (int)image->pid, image->exe);
	if ((uint64_t)st.st_size != image->exe_size_bytes || mtime_ns(&st) != image->exe_mtime_ns)
		return why_set(why, -ESTALE, "image of %s (pid %d) cannot be restored: %s was changed since it was taken "
			       "(%lld bytes, were %" PRIu64 "); put the file of that version back", image->version,
			       (int)image->pid, image->exe, (long long)st.st_size, image->exe_size_bytes);
	return 0;
}

/* A process that ended and nobody waited for still holds its pid. */
static bool process_is_zombie(pid_t pid)
{
	char path[64], text[512];
	FD_CLEANUP int fd = -1;
	const char *end;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	end = strrchr(text, ')');
	return end && strncmp(end, ") Z", 3) == 0;
}

static int pid_check(const struct image *image, struct why *why)
{
	if (kill(image->pid, 0) < 0 && errno == ESRCH)
		return 0;
	if (process_is_zombie(image->pid))
		return why_set(why, -EBUSY, "image of %s cannot be restored yet: pid %d has ended, but nobody has waited for it",
			       image->version, (int)image->pid);
	return why_set(why, -EBUSY, "image of %s cannot be restored: its pid %d is taken by a running process",
		       image->version, (int)image->pid);
}

int image_check(const struct image *image, struct why *why)
{
	int r = exe_check(image, why);

	return r < 0 ? r : pid_check(image, why);
}

/* ---- taking ---- */

void image_job_init(struct image_job *job, void *owner)
{
	*job = (struct image_job){ .owner = owner };
	criu_job_init(&job->criu, job);
}

bool image_job_busy(const struct image_job *job)
{
	return job->on_done != NULL;
}

static void job_finish(struct image_job *job, int rc, const struct why *why)
{
	void (*on_done)(struct image_job *job, int rc, const struct why *why) = job->on_done;

	job->on_done = NULL;
	on_done(job, rc, why);
}

/* The rename alone decides whether there is an image; that it could not be flushed is no reason to lose it. */
static void sync_dir(const char *path)
{
	FD_CLEANUP int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		(void)fsync(fd);
}

/* CRIU notes what the clocks showed, and would bring the process back in a time namespace where they go on from there. But
 * the monotonic clock is what a service and its supervisor set deadlines and tell moments by, and beside a successor that has
 * baked for a minute it would be a minute slow. Without the note CRIU leaves the clocks as they are. */
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
	r = clocks_forget(tmp, why);
	if (r == 0)
		r = image_dir_size(tmp, &image->size_bytes, why);
	if (r == 0)
		r = image_manifest_write(tmp, image, why);
	if (r == 0 && rename(tmp, image->path) < 0)
		r = why_errno(why, -errno, "cannot rename %s", tmp);
	if (r == 0)
		sync_dir(image->service_dir);
	return r;
}

/* CRIU writes inventory.img when all else is written, and only then ends the process. */
static bool taken_after_all(const struct image_job *job)
{
	char tmp[PATH_MAX];

	image_tmp_path(job->image, tmp, sizeof(tmp));
	return job->criu.target == CRIU_TARGET_GONE && image_dir_has(tmp, "inventory.img");
}

static void take_on_done(struct criu_job *criu, int rc, const struct why *criu_why)
{
	struct image_job *job = container_of(criu, struct image_job, criu);
	struct why why = *criu_why;

	job->elapsed_us = criu->elapsed_us;
	job->target = criu->target;
	job->image->taken_in_us = criu->elapsed_us;
	if (rc < 0 && taken_after_all(job))
		rc = 0;
	if (rc == 0)
		rc = image_publish(job->image, &why);
	if (rc < 0)
		job->image = image_drop(job->image);
	job_finish(job, rc, &why);
}

static int take_prepare(const struct image_take_spec *spec, struct image **ret_image, struct why *why)
{
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
	r = image->version ? exe_note(image, why) : why_errno(why, -ENOMEM, "image of %s", spec->service);
	if (r == 0 && lstat(image->path, &st) == 0)
		r = why_set(why, -EEXIST, "there already is an image %s", image->path);
	image_tmp_path(image, tmp, sizeof(tmp));
	if (r == 0)
		r = image_dir_remove(tmp, why);
	if (r == 0)
		r = image_dir_make(tmp, why);
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

	if (image_job_busy(job))
		return why_set(why, -EBUSY, "another image is being taken or restored");
	r = take_prepare(spec, &image, why);
	if (r < 0)
		return r;
	image_tmp_path(image, tmp, sizeof(tmp));
	dump.images_dir = tmp;
	dump.work_dir = image->service_dir;
	r = criu_dump_start(loop, &job->criu, &dump, take_on_done, why);
	if (r < 0) {
		image_dir_remove(tmp, NULL);
		image_free(image);
		return r;
	}
	job->image = image;
	job->restored_pid = 0;
	job->on_done = on_done;
	return 0;
}

/* ---- restoring ---- */

static void restore_on_done(struct criu_job *criu, int rc, const struct why *why)
{
	struct image_job *job = container_of(criu, struct image_job, criu);

	job->elapsed_us = criu->elapsed_us;
	job->restored_pid = criu->restored_pid;
	job_finish(job, rc, why);
}

struct stand_in {
	const char *kind;
	const char *name;
	unsigned long long inode;
	int fd;
};

static int stand_ins_collect(const struct image *image, const struct image_restore_spec *spec,
			     struct criu_inherit *inherits, char (*keys)[48], size_t *ret_n, struct why *why)
{
	const struct stand_in all[] = {
		{ "socket", "control socket", image->control_inode, spec->control },
		{ "pipe", "stdout", image->stdout_inode, spec->stdout_fd },
		{ "pipe", "stderr", image->stderr_inode, spec->stderr_fd },
	};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i].inode == 0 || (i == 2 && all[i].inode == all[1].inode))
			continue; /* none, or stdout and stderr are one pipe */
		if (all[i].fd < 0)
			return why_set(why, -EBADF, "image of %s (pid %d): it needs a new %s, and none is given",
				       image->version, (int)image->pid, all[i].name);
		snprintf(keys[n], sizeof(keys[n]), "%s:[%llu]", all[i].kind, all[i].inode);
		inherits[n] = (struct criu_inherit){ .key = keys[n], .fd = all[i].fd };
		n++;
	}
	*ret_n = n;
	return 0;
}

int image_restore_start(struct loop *loop, struct image_job *job, struct image *image,
			const struct image_restore_spec *spec,
			void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why)
{
	struct criu_inherit inherits[3];
	char keys[3][48];
	struct criu_restore_spec restore = { .criu_path = spec->criu_path, .images_dir = image->path,
					     .work_dir = image->service_dir, .pid = image->pid, .inherits = inherits,
					     .timeout_us = spec->timeout_us };
	int r;

	if (image_job_busy(job))
		return why_set(why, -EBUSY, "another image is being taken or restored");
	r = image_check(image, why);
	if (r == 0)
		r = stand_ins_collect(image, spec, inherits, keys, &restore.n_inherits, why);
	if (r == 0)
		r = criu_restore_start(loop, &job->criu, &restore, restore_on_done, why);
	if (r < 0)
		return r;
	job->image = image;
	job->restored_pid = 0;
	job->on_done = on_done;
	return 0;
}

void image_job_done(struct image_job *job)
{
	bool taking = image_job_busy(job) && job->criu.kind == CRIU_DUMP;

	if (!image_job_busy(job))
		return;
	criu_job_done(&job->criu);
	if (taking)
		image_drop(job->image);
	job->image = NULL;
	job->on_done = NULL;
}
