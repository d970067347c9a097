/* SPDX-License-Identifier: MIT */
/* Images of parked processes on disk: IMAGES_ROOT/SERVICE/GENERATION, mode 0700, whole or not there at all.
 *
 * One is built under GENERATION.tmp and renamed when everything is in it, so what has no .tmp name can be restored. CRIU's
 * logs lie beside the images, in IMAGES_ROOT/SERVICE, as the reason for a failure must outlive the image that failed.
 */
#pragma once

#include "supervisor/criu.h"

#include <stdint.h>

struct image {
	char *path;
	char *service_dir;
	uint64_t generation;
	pid_t pid;
	char *version;              /* of the application */
	char *exe;                  /* what CRIU will open again: must still be there and unchanged */
	uint64_t exe_size_bytes;
	int64_t exe_mtime_ns;
	/* Inodes of the process's own ends when the image was taken; 0: it had none. */
	unsigned long long control_inode;
	unsigned long long stdout_inode;
	unsigned long long stderr_inode;
	int64_t taken_at_s;         /* CLOCK_REALTIME */
	uint64_t taken_in_us;
	uint64_t size_bytes;
};

struct image_take_spec {
	const char *criu_path;
	const char *images_root;    /* created if missing */
	const char *service;
	uint64_t generation;
	const char *version;
	pid_t pid;                  /* a child of ours, shed of its inet sockets */
	unsigned long long control_inode; /* of @pid's end of its SEQPACKET channel to us */
	unsigned long long stdout_inode;  /* of the pipes that are its stdout and stderr; 0: something CRIU can open again */
	unsigned long long stderr_inode;
	bool leave_running;         /* otherwise @pid is ended, and the caller reaps it */
	uint64_t timeout_us;
};

struct image_restore_spec {
	const char *criu_path;
	int control;                /* the new application's end of a SEQPACKET pair; all three borrowed until on_done */
	int stdout_fd;              /* write ends of pipes; -1 only where the image has none */
	int stderr_fd;
	uint64_t timeout_us;
};

struct image_job {
	/* For the owner to read. */
	void *owner;
	struct image *image;        /* taken: owned by on_done, which sets it to NULL; restored: borrowed from the caller */
	pid_t restored_pid;         /* after a restore: a child of ours to be adopted */
	enum criu_target target;    /* after a take: what became of the process */
	uint64_t elapsed_us;

	/* image.c only. */
	struct criu_job criu;
	void (*on_done)(struct image_job *job, int rc, const struct why *why);
};

/** image_job_init() - To the empty state; required before any other call. */
void image_job_init(struct image_job *job, void *owner);

/**
 * image_take_start() - Take the image of a process.
 * @on_done: called once from the loop. With 0 the image is whole, published, and in @job->image. With -errno there is none,
 *           and @job->target says what became of the process. May start @job again.
 *
 * If CRIU was stopped at the deadline after it had written everything and ended the process, the image counts as taken: it
 * is then the only way back.
 *
 * Return: 0; -EEXIST: that generation has an image; -errno; then on_done is not called and nothing is left on disk.
 */
int image_take_start(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
		     void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);

/**
 * image_restore_start() - Bring the process back with new descriptors in place of the old ones.
 * @image: borrowed until on_done; stays, so that a failed restore can be tried again.
 *
 * Refuses at once, with the reason, if the executable is gone or changed or the pid is taken: image_check().
 *
 * Return: 0; -errno, then on_done is not called.
 */
int image_restore_start(struct loop *loop, struct image_job *job, struct image *image,
			const struct image_restore_spec *spec,
			void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);

/** image_check() - Could @image be restored now, as far as can be seen? Return: 0; -errno with the obstacle in @why. */
int image_check(const struct image *image, struct why *why);

/** image_job_busy() - Is a run under way? */
bool image_job_busy(const struct image_job *job);

/** image_job_done() - Give up what is held; a run under way is killed, on_done is not called, no half image stays. */
void image_job_done(struct image_job *job);

/** image_load() - Read back what an earlier run of the supervisor took. Return: 0; -ENOENT: none; -EBADMSG; -errno. */
int image_load(const char *images_root, const char *service, uint64_t generation, struct image **ret_image,
	       struct why *why);

/** image_free() - Forget it; the files stay. Return: NULL. */
struct image *image_free(struct image *image);

/** image_drop() - Remove the files, then image_free(). Return: NULL. */
struct image *image_drop(struct image *image);

/** image_gc_partial() - Remove what interrupted runs left under @images_root. Return: how many, or -errno. */
int image_gc_partial(const char *images_root, struct why *why);

/** image_gc_all() - Remove the finished ones, too: a supervisor does not know the images of its predecessor, whose services it does
 * not know either. Return: how many, or -errno. */
int image_gc_all(const char *images_root, struct why *why);
