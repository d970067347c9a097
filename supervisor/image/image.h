/* SPDX-License-Identifier: MIT */
/* Images of parked processes on disk: IMAGES_ROOT/SERVICE/GENERATION, mode 0700, whole or not there at all.
 *
 * One is built under GENERATION.tmp and renamed when everything is in it, so what has no .tmp name can be restored. CRIU's
 * logs lie beside the images, in IMAGES_ROOT/SERVICE, as the reason for a failure must outlive the image that failed.
 */
#pragma once

#include "supervisor/criu/criu.h"
#include "supervisor/criu/obstacles.h"
#include "supervisor/image/checksum_job.h"
#include "supervisor/image/pins.h"

#include <stdint.h>

/* One of the files that CRIU wrote. */
struct image_file {
	char *name;
	uint64_t size_bytes;
	struct checksum sum;
	bool is_summed;             /* no, when there was no time for it and the process had ended already */
};

struct image {
	char *path;
	char *service_dir;
	char *service;
	uint64_t generation;
	pid_t pid;
	char *version;              /* of the application */
	struct image_file *files;
	size_t n_files;
	struct image_pins pins;     /* what CRIU will open again: must still be there and unchanged */
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

	/* image_take.c and image_restore.c only. */
	struct loop *loop;
	struct criu_job criu;
	struct checksum_job sums;
	struct child remnant;       /* restored from an image that turned out to be bad */
	bool taking;
	bool hurried;
	uint64_t started_us, timeout_us;
	size_t *late;               /* files that are summed up beside the restore */
	size_t n_late;
	bool criu_over, sums_over;
	int criu_rc, sums_rc;
	struct why criu_why, sums_why;
	void (*on_done)(struct image_job *job, int rc, const struct why *why);
};

/** image_job_init() - To the empty state; required before any other call. */
void image_job_init(struct image_job *job, void *owner);

/**
 * image_take_start() - Take the image of a process.
 * @on_done: called once from the loop. With 0 the image is whole, published, and in @job->image. With -errno there is none,
 *           and @job->target says what became of the process. May start @job again.
 *
 * Refuses at once if a file that the process uses was replaced already, or if the disk has no room for what it would take.
 *
 * If CRIU was stopped at the deadline after it had written everything and ended the process, the image counts as taken: it
 * is then the only way back. So does one without checksums, if they could not be made.
 *
 * Return: 0; -EEXIST: that generation has an image; -ESTALE, -ENOSPC; -errno; then on_done is not called and nothing is left on
 * disk.
 */
int image_take_start(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
		     void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);

/** image_take_hurry() - The image is needed now: what is left to do besides CRIU's part is left out. Otherwise nothing happens.
 * Calls on_done at once if CRIU's part is over. */
void image_take_hurry(struct image_job *job);

/**
 * image_restore_start() - Bring the process back with new descriptors in place of the old ones.
 * @image: borrowed until on_done; stays, so that a failed restore can be tried again.
 *
 * Refuses at once, with the reason, if something that it needs is gone or changed, the pid is taken (image_check()), or a small
 * file of it is damaged. Large ones are read while CRIU restores. The process runs then, but waits in its library: if one of
 * them is bad it is killed and reaped, and the restore has failed (-EBADMSG).
 *
 * Return: 0; -errno, then on_done is not called.
 */
int image_restore_start(struct loop *loop, struct image_job *job, struct image *image,
			const struct image_restore_spec *spec,
			void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);

/** image_check() - Could @image be restored now, as far as can be seen without reading it? Return: 0; -errno with the obstacle. */
int image_check(const struct image *image, struct why *why);

/** image_check_pids() - The part of it about pids: those of the process, of its threads and of its children must be free.
 * @but_pid: this one may be taken: whoever asks will end it. Return: 0; -EBUSY. */
int image_check_pids(const struct image *image, pid_t but_pid, struct why *why);

/** image_check_beside() - image_check() while the process itself is still there: before it is given up for its image. */
int image_check_beside(const struct image *image, pid_t but_pid, struct why *why);

/** image_reap_children() - Of the pids of the process's children, free those whose holders are dead and ours to reap: orphans that
 * were killed with it a moment ago. Return: true if one of them is ours and not dead yet: look again in a moment. */
bool image_reap_children(const struct image *image);

/** image_job_busy() - Is a run under way? */
bool image_job_busy(const struct image_job *job);

/** image_job_done() - Give up what is held; a run under way is killed, on_done is not called, no half image stays. A job without
 * a run (it ended, or never began) stays as it is. */
void image_job_done(struct image_job *job);

/**
 * struct imaging - All that a roll does with images, by pointers: tests give it another one, and so can a process that CRIU
 * cannot image.
 *
 * Each member has the contract of the function of its name in this file; @find_obstacles that of obstacles_check(). An
 * implementation keeps the on_done that it was given by itself, so that image_job_done() has nothing of it to give up: it must
 * not call on_done for a job that its owner gave up.
 */
struct imaging {
	int (*find_obstacles)(const struct obstacles_spec *spec, struct obstacles_report *ret_report, struct why *why);
	int (*take_start)(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
			  void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);
	void (*take_hurry)(struct image_job *job);
	int (*restore_start)(struct loop *loop, struct image_job *job, struct image *image,
			     const struct image_restore_spec *spec,
			     void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);
	int (*check_beside)(const struct image *image, pid_t but_pid, struct why *why);
	bool (*reap_children)(const struct image *image);
};

/* The real one. */
extern const struct imaging imaging_criu;

/** image_load() - Read back what an earlier run of the supervisor took. Return: 0; -ENOENT: none; -EBADMSG; -errno. */
int image_load(const char *images_root, const char *service, uint64_t generation, struct image **ret_image,
	       struct why *why);

/** image_free() - Forget it; the files stay. Return: NULL. */
struct image *image_free(struct image *image);

/** image_drop() - Remove the files, if it has a path, then image_free(). Return: NULL. */
struct image *image_drop(struct image *image);

/** image_gc_partial() - Remove what interrupted runs left under @images_root. Return: how many, or -errno. */
int image_gc_partial(const char *images_root, struct why *why);
