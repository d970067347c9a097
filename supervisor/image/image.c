/* SPDX-License-Identifier: MIT */
#include "supervisor/image/image.h"

#include "base/clock.h"
#include "base/fd.h"
#include "supervisor/image/dir.h"
#include "supervisor/image/manifest.h"
#include "supervisor/image/private.h"
#include "supervisor/machine/procfs.h"
#include "wire/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct image *image_free(struct image *image)
{
	if (!image)
		return NULL;
	for (size_t i = 0; i < image->n_files; i++)
		free(image->files[i].name);
	free(image->files);
	pins_done(&image->pins);
	free(image->path);
	free(image->service_dir);
	free(image->service);
	free(image->version);
	free(image);
	return NULL;
}

static int service_check(const char *service, struct why *why)
{
	size_t at;

	if (wire_name_check(service, &at) != WIRE_NAME_FITS)
		return why_set(why, -EINVAL, "'%s' cannot be the name of a service", service);
	return 0;
}

int image_new(const char *images_root, const char *service, uint64_t generation, struct image **ret_image,
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
	image->service = strdup(service);
	if (asprintf(&image->service_dir, "%s/%s", images_root, service) < 0)
		image->service_dir = NULL;
	if (!image->service_dir || asprintf(&image->path, "%s/%" PRIu64, image->service_dir, generation) < 0)
		image->path = NULL;
	/* With room for ".tmp" and the names of the files in it, so that no longer path is ever cut. */
	if (!image->path || !image->service || strlen(image->path) > PATH_MAX - NAME_MAX - 8) {
		r = image->path && image->service ? -ENAMETOOLONG : -ENOMEM;
		image_free(image);
		why_errno(why, r, "image of %s", service);
		return r;
	}
	*ret_image = image;
	return 0;
}

void image_tmp_path(const struct image *image, char *buf, size_t size)
{
	snprintf(buf, size, "%s.tmp", image->path);
}

struct image *image_drop(struct image *image)
{
	if (image && image->path)
		(void)image_dir_drop(image->path, NULL);
	return image_free(image);
}

bool image_is_there(const struct image *image)
{
	return image_dir_has(image->path, MANIFEST_NAME);
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
	return image_dir_gc(images_root, why);
}

/* ---- can it be restored? ---- */

static void comm_read(pid_t pid, char *buf, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	(void)procfs_read(path, buf, size);
	buf[strcspn(buf, "\n")] = '\0';
}

/* A thread takes a pid, too. So does a process group or a session that outlived its leader. */
static int pid_check(const struct image *image, pid_t pid, struct why *why)
{
	const char *whose = pid == image->pid ? "its pid" : "the pid of one of its threads or children,";
	char comm[32];

	if (kill(pid, 0) < 0 && errno == ESRCH) {
		if (kill(-pid, 0) < 0 && errno == ESRCH)
			return 0;
		return why_set(why, -EBUSY, "image of %s cannot be restored: %s %d is still the number of a group of "
			       "processes that are there", image->version, whose, (int)pid);
	}
	/* A process that ended holds its pid until it is reaped. */
	if (procfs_state(pid) == 'Z')
		return why_set(why, -EBUSY, "image of %s cannot be restored yet: %s %d has ended, but nobody has waited "
			       "for it", image->version, whose, (int)pid);
	comm_read(pid, comm, sizeof(comm));
	return why_set(why, -EBUSY, "image of %s cannot be restored: %s %d is taken by a running process: '%s'", image->version,
		       whose, (int)pid, comm);
}

/* CRIU writes a file core-PID.img for each thread of each process. Return: PID; 0: another file, or that of the process itself. */
static pid_t pid_of_core(const struct image *image, const char *file_name)
{
	char end = 0;
	int pid;

	if (sscanf(file_name, "core-%d.im%c", &pid, &end) != 2 || end != 'g' || pid <= 0 || pid == image->pid)
		return 0;
	return pid;
}

int image_check_pids(const struct image *image, pid_t but_pid, struct why *why)
{
	int r = image->pid == but_pid ? 0 : pid_check(image, image->pid, why);

	/* If the process itself is still there, its threads hold their pids, too. */
	for (size_t i = 0; r == 0 && but_pid != image->pid && i < image->n_files; i++) {
		pid_t pid = pid_of_core(image, image->files[i].name);

		if (pid)
			r = pid_check(image, pid, why);
	}
	return r;
}

bool image_reap_children(const struct image *image)
{
	bool is_dying = false;

	for (size_t i = 0; i < image->n_files; i++) {
		pid_t pid = pid_of_core(image, image->files[i].name);
		siginfo_t info = { 0 };

		if (!pid)
			continue;
		/* A number may be another one's by now: what is watched is nobody's orphan. Whoever watches one that is in the
		 * group still reaps it. */
		if (child_is_watched(pid))
			is_dying |= pid != image->pid && procfs_group(pid) == image->pid;
		else if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | __WALL) == 0)
			is_dying |= info.si_pid == 0;
	}
	return is_dying;
}

int image_check(const struct image *image, struct why *why)
{
	return image_check_beside(image, 0, why);
}

int image_check_beside(const struct image *image, pid_t but_pid, struct why *why)
{
	int r = pins_check(&image->pins, why);

	if (r < 0)
		return why_prefix(why, r, "image of %s (pid %d) cannot be restored", image->version, (int)image->pid);
	return image_check_pids(image, but_pid, why);
}

/* ---- jobs ---- */

void image_job_init(struct image_job *job, void *owner)
{
	*job = (struct image_job){ .owner = owner, .restored_pidfd = -1 };
	criu_job_init(&job->criu, job);
	checksum_job_init(&job->sums, job);
	child_init(&job->remnant);
}

bool image_job_busy(const struct image_job *job)
{
	return job->on_done != NULL;
}

int image_job_begin(struct image_job *job, struct loop *loop, bool taking, uint64_t timeout_us, struct why *why)
{
	if (image_job_busy(job))
		return why_set(why, -EBUSY, "another image is being taken or restored");
	job->loop = loop;
	job->taking = taking;
	job->timeout_us = timeout_us;
	job->started_us = clock_now_us();
	job->restored_pid = 0;
	job->restored_pidfd = fd_close(job->restored_pidfd);
	job->hurried = job->criu_over = job->sums_over = false;
	job->criu_rc = job->sums_rc = 0;
	return 0;
}

void image_job_finish(struct image_job *job, int rc, const struct why *why)
{
	void (*on_done)(struct image_job *done, int rc, const struct why *why) = job->on_done;
	struct why copy = *why; /* it may lie in @job */

	pins_loans_done(&job->loans);
	free(job->late);
	job->late = NULL;
	job->elapsed_us = clock_now_us() - job->started_us;
	job->on_done = NULL;
	on_done(job, rc, &copy); /* may start @job again, or free it */
}

void image_job_done(struct image_job *job)
{
	bool restored = !job->taking && job->criu_over && job->criu_rc == 0;

	job->restored_pidfd = fd_close(job->restored_pidfd);
	if (!image_job_busy(job))
		return;
	checksum_job_done(&job->sums);
	criu_job_done(&job->criu);
	if (restored && job->remnant.pidfd < 0)
		(void)child_adopt(job->loop, &job->remnant, job->restored_pid, NULL, NULL);
	child_done(&job->remnant);
	if (job->taking)
		image_drop(job->image);
	pins_loans_done(&job->loans);
	free(job->late);
	job->late = NULL;
	job->image = NULL;
	job->on_done = NULL;
}
