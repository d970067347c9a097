/* SPDX-License-Identifier: MIT */
/* Images of parked processes on disk: IMAGES_ROOT/SERVICE/GENERATION, mode 0700, whole or not there at all.
 *
 * An image is built under the name GENERATION.tmp and renamed when everything is in it. So one without .tmp in its name can be
 * restored, unless the machine ended meanwhile: nothing is flushed, and what that took shows by the manifest's checksum. CRIU's
 * logs lie beside the images, in IMAGES_ROOT/SERVICE: the reason for a failure must outlive the image that failed.
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
	bool is_summed;             /* false: there was no time for a checksum, and the process had ended already */
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
	struct image_pins pins;     /* the files that CRIU will open again: must still be there and unchanged */
	/* Inodes of the process's own ends of its channel and its output when the image was taken; 0: it had none. */
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
	/* Descriptors that the caller holds of open files of the process; borrowed during the call. Those that pins_want() says
	 * are of the image come back as the very open files. The caller must have closed the others: CRIU takes the locks of the
	 * image again, and a lock that we hold by another open file is not to be had. */
	const int *files;
	size_t n_files;
	uint64_t timeout_us;
};

struct image_job {
	/* For the owner to read. */
	void *owner;
	struct image *image;        /* taken: owned by on_done, which sets it to NULL; restored: borrowed from the caller */
	pid_t restored_pid;         /* after a restore: a child of ours to be adopted */
	int restored_pidfd;         /* of it, so that a signal reaches it and nobody else; the owner may take it, leaving -1 */
	enum criu_target target;    /* after a take: what became of the process */
	uint64_t elapsed_us;

	/* take.c and restore.c only. */
	struct loop *loop;
	struct criu_job criu;
	struct checksum_job sums;
	struct child remnant;       /* the process restored from an image that turned out to be bad */
	bool taking;
	bool hurried;
	uint64_t started_us, timeout_us;
	struct pin_loans loans;     /* to CRIU, until the restore is over */
	size_t *late;               /* the large files, which are summed up beside the restore */
	size_t n_late;
	bool criu_over, sums_over;
	int criu_rc, sums_rc;
	struct why criu_why, sums_why;
	void (*on_done)(struct image_job *job, int rc, const struct why *why);
};

/** image_job_init() - Set @job to the empty state; required before any other call. */
void image_job_init(struct image_job *job, void *owner);

/**
 * image_take_start() - Take the image of a process.
 * @on_done: called once from the loop. With 0 the image is whole, published, and in @job->image. With -errno there is none,
 *           and @job->target says what became of the process. May start @job again.
 *
 * Refuses at once if a file that the process uses was replaced already, if another user could lead a path astray that CRIU will go
 * as root (pins_take()), or if the disk has no room for the image.
 *
 * If CRIU was stopped at the deadline when it had already written everything and ended the process, the image counts as taken: it
 * is the only way back then. If checksums could not be made and the process has ended, the image counts as taken without them.
 *
 * Return: 0; -EEXIST: that generation has an image; -ESTALE; -ENOSPC; -errno. After a failure on_done is not called and nothing is
 * left on disk.
 */
int image_take_start(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
		     void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);

/** image_take_hurry() - Leave the checksums out, as the image is needed now. Calls on_done at once if CRIU's part is over. Does
 * nothing if @job takes no image. */
void image_take_hurry(struct image_job *job);

/**
 * image_restore_start() - Bring the process back with new descriptors in place of the old ones.
 * @image: borrowed until on_done. Its files stay, so that a failed restore can be tried again.
 *
 * Refuses at once, with the reason, if a file that the image needs is gone or changed, the pid is taken (image_check()), or a small
 * file of the image is damaged. Large files are read while CRIU restores. The restored process runs by then, but waits in its
 * library. If a large file is damaged, the process is killed and reaped, and the restore has failed (-EBADMSG).
 *
 * Return: 0; -errno, then on_done is not called.
 */
int image_restore_start(struct loop *loop, struct image_job *job, struct image *image,
			const struct image_restore_spec *spec,
			void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);

/** image_check() - Could @image be restored now, as far as can be seen without reading it? Return: 0; -errno with the reason. */
int image_check(const struct image *image, struct why *why);

/** image_is_there() - Does its folder still lie on disk, with the first file that a restore reads? */
bool image_is_there(const struct image *image);

/** image_check_pids() - The part of image_check() about pids: those of the process, of its threads and of its children must be
 * free.
 * @but_pid: may be taken, by a process that the caller will end; 0: none. Return: 0; -EBUSY. */
int image_check_pids(const struct image *image, pid_t but_pid, struct why *why);

/** image_check_beside() - image_check() while process @but_pid is still there: before it is given up for its image. */
int image_check_beside(const struct image *image, pid_t but_pid, struct why *why);

/** image_reap_children() - Reap those children of the imaged process that are dead and ours to reap, so that their pids are free:
 * orphans that were killed with it a moment ago. Return: true if a child of ours is not dead yet: call again in a moment. */
bool image_reap_children(const struct image *image);

/** image_job_busy() - Is a run under way? */
bool image_job_busy(const struct image_job *job);

/** image_job_done() - Give up what @job holds. A run under way is killed, on_done is not called, no half image stays. A job without
 * a run, which ended or never began, stays as it is. */
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
	int (*pins_take)(const struct pins_spec *spec, struct image_pins *ret_pins, struct why *why);
	int (*take_start)(struct loop *loop, struct image_job *job, const struct image_take_spec *spec,
			  void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);
	void (*take_hurry)(struct image_job *job);
	int (*restore_start)(struct loop *loop, struct image_job *job, struct image *image,
			     const struct image_restore_spec *spec,
			     void (*on_done)(struct image_job *job, int rc, const struct why *why), struct why *why);
	int (*check_beside)(const struct image *image, pid_t but_pid, struct why *why);
	bool (*reap_children)(const struct image *image);
	bool (*is_there)(const struct image *image);
};

/* The real one. */
extern const struct imaging imaging_criu;

/** image_load() - Read an image that lies on disk, perhaps from an earlier run of the supervisor. Return: 0; -ENOENT: none;
 * -EBADMSG; -errno. */
int image_load(const char *images_root, const char *service, uint64_t generation, struct image **ret_image,
	       struct why *why);

/** image_free() - Release @image; its files stay. Return: NULL. */
struct image *image_free(struct image *image);

/** image_drop() - Remove the image's files, if it has a path, and release it. Return: NULL. */
struct image *image_drop(struct image *image);

/** image_gc_partial() - Remove the half images that interrupted runs left under @images_root. Return: how many, or -errno. */
int image_gc_partial(const char *images_root, struct why *why);
