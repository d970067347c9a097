/* SPDX-License-Identifier: MIT */
/* One run of CRIU, driven over its own RPC (`criu swrk`), without ever blocking the loop. */
#pragma once

#include "base/child.h"
#include "base/loop.h"
#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CRIU_DEFAULT "criu"      /* the one that get-criu brought, or else that on PATH */
#define CRIU_EXTERNALS_MAX 16u
#define CRIU_INHERITS_MAX 160u
#define CRIU_GHOST_LIMIT_BYTES (64u << 20) /* an open file that was deleted is copied into the image up to this size */

/* What became of the process whose image was to be taken. */
enum criu_target {
	CRIU_TARGET_RUNNING,    /* CRIU did not stop it, or let it go again */
	CRIU_TARGET_STOPPED,    /* it stands still and could not be continued */
	CRIU_TARGET_GONE,       /* it has ended; CRIU ends a process only after the last byte of its image */
};

enum criu_kind { CRIU_VERSION, CRIU_DUMP, CRIU_RESTORE };

struct criu_job {
	/* For the owner to read. */
	void *owner;
	pid_t restored_pid;         /* after a restore that succeeded: a child of ours, not yet adopted by anyone */
	enum criu_target target;    /* after a dump */
	char version[32];           /* after criu_version_start() */
	uint64_t elapsed_us;

	/* criu.c only. */
	enum criu_kind kind;
	struct loop *loop;
	struct child child;         /* criu */
	struct child remnant;       /* the half restored process that a failed restore left behind */
	struct source source;
	struct timer timer;
	int socket;
	int images;                 /* folders; CRIU opens these two through /proc/OURS/fd, so they stay open to the end */
	int work;
	int output;                 /* memfd: what criu said on stderr before it had a log */
	char *log_path;
	pid_t pid;
	int target_pidfd;           /* of the process that is dumped: its number may become another's meanwhile */
	uint64_t started_us;
	uint64_t limit_us;
	bool leave_running;
	bool log_is_dropped;
	unsigned tries;             /* how often a stopped target was continued */
	bool answered;
	bool succeeded;
	bool timed_out;
	char said[160];             /* the reason in CRIU's answer, if it gave one */
	struct why why;
	int rc;
	void (*on_done)(struct criu_job *job, int rc, const struct why *why);
};

struct criu_dump_spec {
	const char *criu_path;      /* a path, or a name found on PATH; a wrapper script is fine */
	const char *images_dir;     /* exists, empty */
	const char *work_dir;       /* where dump.log goes; NULL: images_dir */
	bool log_is_dropped;        /* the caller removes the log afterwards, so no message names it */
	pid_t pid;                  /* a child of ours, leader of its session */
	const unsigned long long *external_sockets; /* inodes of @pid's own ends of unix sockets whose other end is not imaged */
	size_t n_external_sockets;
	bool leave_running;         /* otherwise @pid is ended, and the caller reaps it */
	uint64_t timeout_us;
};

/* @fd stands in for the resource @key of the image: "socket:[INO]" or "pipe:[INO]", INO as it was at the dump, or the path of a
 * file, without its first slash. */
struct criu_inherit {
	const char *key;
	int fd;                     /* borrowed until on_done */
};

struct criu_restore_spec {
	const char *criu_path;
	const char *images_dir;
	const char *work_dir;       /* where restore.log goes; NULL: images_dir */
	bool log_is_dropped;
	pid_t pid;                  /* the pid in the image; must be free: a child of ours that had it has ended *and was reaped* */
	const struct criu_inherit *inherits;
	size_t n_inherits;
	uint64_t timeout_us;
};

/** criu_job_init() - Set @job to the empty state; required before any other call. @owner is for the caller's use. */
void criu_job_init(struct criu_job *job, void *owner);

/**
 * criu_dump_start() - Take an image of a process.
 * @on_done: called once from the loop with 0 or -errno and the reason, after criu itself has ended. May start @job again.
 *
 * -ETIMEDOUT: criu was killed at the deadline. After any failure @job->target says what became of the process. A process that was
 * left stopped has been sent SIGCONT.
 *
 * Return: 0; -errno if criu could not be started: then on_done is not called. Context: loop thread; returns at once.
 */
int criu_dump_start(struct loop *loop, struct criu_job *job, const struct criu_dump_spec *spec,
		    void (*on_done)(struct criu_job *job, int rc, const struct why *why), struct why *why);

/**
 * criu_restore_start() - Bring a process back from its image, as a child of the calling process.
 *
 * On success @job->restored_pid runs, and the caller adopts it (child_adopt()) before anyone waits for any child. After a failure
 * nothing is left: a half restored process has been killed and reaped.
 *
 * Return: as criu_dump_start().
 */
int criu_restore_start(struct loop *loop, struct criu_job *job, const struct criu_restore_spec *spec,
		       void (*on_done)(struct criu_job *job, int rc, const struct why *why), struct why *why);

/** criu_version_start() - Ask which CRIU this is; the answer is in @job->version. Return: as criu_dump_start(). */
int criu_version_start(struct loop *loop, struct criu_job *job, const char *criu_path, uint64_t timeout_us,
		       void (*on_done)(struct criu_job *job, int rc, const struct why *why), struct why *why);

/** criu_job_busy() - Is a run under way? */
bool criu_job_busy(const struct criu_job *job);

/** criu_job_done() - Give up what @job holds. A run under way is killed, on_done is not called; a process that was stopped for its
 * dump is continued. Waits for criu's end, which comes soon after SIGKILL. */
void criu_job_done(struct criu_job *job);

/** criu_find() - Find the file that @criu_path names, by PATH if it has no slash. CRIU_DEFAULT is looked for where get-criu
 * puts one first. Return: 0; -ENOENT: there is none, or @criu_path is NULL or empty; -EPERM: as criu_find_among(); -errno. */
int criu_find(const char *criu_path, char *ret_path, size_t size, struct why *why);

/** criu_find_among() - The first of @list, which ends with NULL, that is there. Return: 0; -ENOENT: none is; -EPERM: others than
 * root could have written it (trust_path()), and which command mends that: it runs as root, so it is not passed over in silence. */
int criu_find_among(const char *const list[], char *ret_path, size_t size, struct why *why);

/** criu_getter() - The program that brings a CRIU which works on this kernel. Return: its path; NULL: it is not installed, or we
 * are not root, whom it takes. */
const char *criu_getter(void);

/** criu_may_restore_users() - May this process have CRIU restore processes of other users than root? */
bool criu_may_restore_users(void);
