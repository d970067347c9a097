/* SPDX-License-Identifier: MIT */
/*
 * A run ends in three steps: CRIU's answer comes over the socket; criu itself ends; if the run failed, what it left behind is put
 * in order. Only then is the owner told, so that nothing of a run is left when the next one starts.
 *
 * What a failed run can leave behind:
 * - dump: a process that stands still. CRIU traces it, and the kernel lets it go when CRIU dies, but a stop that was under way may
 *   remain. So the state of the process is read for a while, and SIGCONT is sent as long as it is stopped.
 * - restore: a half restored process. It is our child (rst_sibling), so nobody else can reap it, and as long as it is there its pid
 *   is taken and no second attempt can succeed. So it is killed and reaped.
 */
#include "supervisor/criu/criu.h"

#include "base/clock.h"
#include "base/fd.h"
#include "supervisor/criu/log.h"
#include "supervisor/criu/request.h"
#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWRK_FD 3                       /* criu's end of the channel, in criu */
#define FIRST_INHERIT_FD 4
#define GRACE_US (5 * USEC_PER_SEC)      /* from SIGALRM to SIGKILL */
#define TARGET_EVERY_US (10 * USEC_PER_MSEC)
#define TARGET_TRIES_MAX 50u
#define FULL_BYTES (64u * 1024u)

void criu_job_init(struct criu_job *job, void *owner)
{
	*job = (struct criu_job){ .owner = owner, .socket = -1, .images = -1, .work = -1, .output = -1,
				  .target_pidfd = -1 };
	child_init(&job->child);
	child_init(&job->remnant);
}

bool criu_job_busy(const struct criu_job *job)
{
	return job->on_done != NULL;
}

static void job_release(struct criu_job *job)
{
	source_del(&job->source);
	timer_disarm(&job->timer);
	job->socket = fd_close(job->socket);
	job->images = fd_close(job->images);
	job->work = fd_close(job->work);
	job->output = fd_close(job->output);
	job->target_pidfd = fd_close(job->target_pidfd);
	free(job->log_path);
	job->log_path = NULL;
	job->on_done = NULL;
}

static void job_finish(struct criu_job *job)
{
	void (*on_done)(struct criu_job *job, int rc, const struct why *why) = job->on_done;
	struct why why = job->why;
	int rc = job->rc;

	job_release(job);
	on_done(job, rc, &why); /* may start @job again, or free it */
}

/* ---- the state of the process that was to be dumped ---- */

static enum criu_target target_state(const struct criu_job *job)
{
	if (job->target_pidfd < 0 || (pidfd_send_signal(job->target_pidfd, 0, NULL, 0) < 0 && errno == ESRCH))
		return CRIU_TARGET_GONE;
	switch (procfs_state(job->pid)) {
	case '\0': case 'Z': case 'X': return CRIU_TARGET_GONE;
	case 'T': case 't': return CRIU_TARGET_STOPPED;
	default: return CRIU_TARGET_RUNNING;
	}
}

static void target_continue(const struct criu_job *job)
{
	(void)pidfd_send_signal(job->target_pidfd, SIGCONT, NULL, 0);
}

static void target_settled(struct criu_job *job)
{
	static const char *const text[] = {
		[CRIU_TARGET_RUNNING] = "the process goes on",
		[CRIU_TARGET_STOPPED] = "the process stands still and does not continue",
		[CRIU_TARGET_GONE] = "the process has ended",
	};
	struct why reason = job->why;

	why_set(&job->why, job->rc, "%s; %s", reason.text, text[job->target]);
	job_finish(job);
}

static void target_on_due(struct timer *timer)
{
	struct criu_job *job = container_of(timer, struct criu_job, timer);

	job->target = target_state(job);
	if (job->target != CRIU_TARGET_STOPPED || ++job->tries > TARGET_TRIES_MAX) {
		target_settled(job);
		return;
	}
	target_continue(job);
	timer_arm(job->loop, timer, clock_now_us() + TARGET_EVERY_US, target_on_due);
}

/* ---- what is left of the process that was to be restored ---- */

static bool is_child_of_ours(pid_t pid)
{
	siginfo_t info = { 0 };

	return pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

static void remnant_on_exit(struct child *child)
{
	struct criu_job *job = container_of(child, struct criu_job, remnant);

	child_done(child);
	job_finish(job);
}

static void remnant_remove(struct criu_job *job)
{
	if (!is_child_of_ours(job->pid) || child_adopt(job->loop, &job->remnant, job->pid, remnant_on_exit, NULL) < 0) {
		job_finish(job);
		return;
	}
	child_kill(&job->remnant, SIGKILL);
}

/* ---- the end of criu ---- */

/* Is the file system full? Then CRIU had no room for the end of its log either. */
static bool is_full(int dir)
{
	struct statvfs fs;

	return fstatvfs(dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_bsize < FULL_BYTES;
}

static void reason_find(const struct criu_job *job, char *buf, size_t size)
{
	buf[0] = '\0';
	if (job->timed_out)
		snprintf(buf, size, "not done after %.1f s, so it was stopped", (double)job->limit_us / 1e6);
	if (!*buf && job->log_path)
		criu_log_reason(job->work, job->kind == CRIU_DUMP ? "dump.log" : "restore.log", buf, size);
	if (!*buf && job->kind == CRIU_DUMP && is_full(job->images))
		snprintf(buf, size, "%s", strerror(ENOSPC));
	if (!*buf)
		snprintf(buf, size, "%s", job->said);
	if (!*buf)
		criu_log_last_line(job->output, buf, size);
	if (!*buf)
		child_describe(&job->child, buf, size);
}

static void reason_set(struct criu_job *job)
{
	static const char *const what[] = {
		[CRIU_VERSION] = "criu did not tell its version",
		[CRIU_DUMP] = "criu took no image of process",
		[CRIU_RESTORE] = "criu did not restore process",
	};
	char reason[300], number[16] = "";

	reason_find(job, reason, sizeof(reason));
	if (job->kind != CRIU_VERSION)
		snprintf(number, sizeof(number), " %d", (int)job->pid);
	if (job->log_path && !job->log_is_dropped)
		why_set(&job->why, job->rc, "%s%s: %s (log: %s)", what[job->kind], number, reason, job->log_path);
	else
		why_set(&job->why, job->rc, "%s%s: %s", what[job->kind], number, reason);
}

static void job_failed(struct criu_job *job)
{
	job->rc = job->timed_out ? -ETIMEDOUT : -EIO;
	reason_set(job);
	job->restored_pid = 0;
	switch (job->kind) {
	case CRIU_DUMP:
		/* Wait a little: the process may be about to die of the code that CRIU left in it, and "goes on" would be wrong. */
		timer_arm(job->loop, &job->timer, clock_now_us() + TARGET_EVERY_US, target_on_due);
		break;
	case CRIU_RESTORE: remnant_remove(job); break;
	case CRIU_VERSION: job_finish(job); break;
	}
}

static void criu_on_exit(struct child *child)
{
	struct criu_job *job = container_of(child, struct criu_job, child);

	if (!job->answered)
		criu_take_answer(job); /* the loop may see criu's end before the answer that lies in the socket */
	source_del(&job->source);
	timer_disarm(&job->timer);
	job->elapsed_us = clock_now_us() - job->started_us;
	job->rc = 0;
	if (!job->answered || !job->succeeded) {
		job_failed(job);
		return;
	}
	if (job->kind == CRIU_DUMP && !job->leave_running)
		job->target = CRIU_TARGET_GONE;
	job_finish(job);
}

static void criu_on_ready(struct source *source, uint32_t events)
{
	struct criu_job *job = container_of(source, struct criu_job, source);

	(void)events;
	if (criu_take_answer(job) != 0)
		source_del(source); /* there is one answer only; criu's end is next */
}

static void criu_on_grace_end(struct timer *timer)
{
	struct criu_job *job = container_of(timer, struct criu_job, timer);

	/* criu leads a session of its own and is not reaped yet, so its group is criu, its helpers and nobody else. A process that
	 * is being restored is in it, too, until CRIU gives it a session of its own. */
	kill(-job->child.pid, SIGKILL);
}

static void criu_on_deadline(struct timer *timer)
{
	struct criu_job *job = container_of(timer, struct criu_job, timer);

	job->timed_out = true;
	if (job->kind != CRIU_DUMP) {
		criu_on_grace_end(timer);
		return;
	}
	/* CRIU runs code of its own inside the process that it images. If CRIU is killed, that code stays there. SIGALRM is the
	 * signal of CRIU's own time-out: its system call fails and it takes its code out again. In the few milliseconds in which
	 * CRIU puts that code in, even SIGALRM may cost the process its life (SIGTRAP); target_on_due() finds that out. */
	child_kill(&job->child, SIGALRM);
	kill(-job->child.pid, SIGCONT); /* a criu that is stopped gets SIGALRM only so */
	timer_arm(job->loop, timer, clock_now_us() + GRACE_US, criu_on_grace_end);
}

/* ---- the start ---- */

static int dirs_open(struct criu_job *job, const char *images, const char *work, const char *log_name, struct why *why)
{
	if (!work)
		work = images;
	job->images = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (job->images < 0)
		return why_errno(why, -errno, "folder for the image %s", images);
	job->work = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (job->work < 0)
		return why_errno(why, -errno, "folder for criu's log %s", work);
	/* The log of an earlier run must not explain this one. */
	if (unlinkat(job->work, log_name, 0) < 0 && errno != ENOENT)
		return why_errno(why, -errno, "old log %s/%s", work, log_name);
	if (asprintf(&job->log_path, "%s/%s", work, log_name) < 0) {
		job->log_path = NULL;
		return why_errno(why, -ENOMEM, "cannot run criu");
	}
	return 0;
}

static int job_prepare(struct loop *loop, struct criu_job *job, enum criu_kind kind, pid_t pid, uint64_t limit_us,
		       int *ret_theirs, struct why *why)
{
	void *owner = job->owner;
	int pair[2];

	if (criu_job_busy(job))
		return why_set(why, -EBUSY, "criu is still at work on process %d", (int)job->pid);
	criu_job_init(job, owner);
	job->kind = kind;
	job->loop = loop;
	job->pid = pid;
	job->limit_us = limit_us;
	job->started_us = clock_now_us();
	job->output = memfd_create("criu-output", MFD_CLOEXEC);
	if (job->output < 0)
		return why_errno(why, -errno, "cannot run criu: memfd");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return why_errno(why, -errno, "cannot run criu: socketpair");
	job->socket = pair[0];
	*ret_theirs = pair[1];
	return 0;
}

/* Start criu. The request lies in its socket already. */
static int job_spawn(struct criu_job *job, const char *criu_path, int theirs, const struct criu_inherit *inherits,
		     size_t n_inherits, struct why *why)
{
	struct child_fd fds[3 + CRIU_INHERITS_MAX] = {
		{ .from = job->output, .to = STDOUT_FILENO },
		{ .from = job->output, .to = STDERR_FILENO },
		{ .from = theirs, .to = SWRK_FD },
	};
	char path[PATH_MAX], verb[] = "swrk", number[] = "3";
	char *argv[] = { path, verb, number, NULL };
	struct child_spec spec = { .path = path, .argv = argv, .envp = environ, .fds = fds, .n_fds = 3 + n_inherits,
				   .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int r;

	r = criu_find(criu_path, path, sizeof(path), why);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_inherits; i++)
		fds[3 + i] = (struct child_fd){ .from = inherits[i].fd, .to = FIRST_INHERIT_FD + (int)i };
	r = source_add(job->loop, &job->source, job->socket, EPOLLIN, criu_on_ready);
	if (r < 0)
		return why_errno(why, r, "cannot watch criu");
	return child_spawn(job->loop, &job->child, &spec, criu_on_exit, why);
}

static int job_started(struct criu_job *job, int r, void (*on_done)(struct criu_job *job, int rc, const struct why *why))
{
	if (r < 0) {
		job_release(job);
		return r;
	}
	job->on_done = on_done;
	timer_arm(job->loop, &job->timer, job->started_us + job->limit_us, criu_on_deadline);
	return 0;
}

int criu_dump_start(struct loop *loop, struct criu_job *job, const struct criu_dump_spec *spec,
		    void (*on_done)(struct criu_job *job, int rc, const struct why *why), struct why *why)
{
	FD_CLEANUP int theirs = -1;
	int r;

	r = job_prepare(loop, job, CRIU_DUMP, spec->pid, spec->timeout_us, &theirs, why);
	if (r == -EBUSY)
		return r;
	job->target_pidfd = pidfd_open(spec->pid, 0); /* -1: it has ended, as CRIU will find, too */
	job->leave_running = spec->leave_running;
	job->log_is_dropped = spec->log_is_dropped;
	if (r == 0)
		r = dirs_open(job, spec->images_dir, spec->work_dir, "dump.log", why);
	if (r == 0)
		r = criu_send_dump(job->socket, &(struct criu_dirs){ job->images, job->work }, spec, why);
	if (r == 0)
		r = job_spawn(job, spec->criu_path, theirs, NULL, 0, why);
	return job_started(job, r, on_done);
}

int criu_restore_start(struct loop *loop, struct criu_job *job, const struct criu_restore_spec *spec,
		       void (*on_done)(struct criu_job *job, int rc, const struct why *why), struct why *why)
{
	FD_CLEANUP int theirs = -1;
	int numbers[CRIU_INHERITS_MAX];
	int r;

	if (spec->n_inherits > CRIU_INHERITS_MAX)
		return why_set(why, -E2BIG, "process %d: %zu descriptors to restore with are more than %u",
			       (int)spec->pid, spec->n_inherits, CRIU_INHERITS_MAX);
	for (size_t i = 0; i < spec->n_inherits; i++)
		numbers[i] = FIRST_INHERIT_FD + (int)i;
	r = job_prepare(loop, job, CRIU_RESTORE, spec->pid, spec->timeout_us, &theirs, why);
	if (r == -EBUSY)
		return r;
	job->log_is_dropped = spec->log_is_dropped;
	if (r == 0)
		r = dirs_open(job, spec->images_dir, spec->work_dir, "restore.log", why);
	if (r == 0)
		r = criu_send_restore(job->socket, &(struct criu_dirs){ job->images, job->work }, spec, numbers, why);
	if (r == 0)
		r = job_spawn(job, spec->criu_path, theirs, spec->inherits, spec->n_inherits, why);
	return job_started(job, r, on_done);
}

int criu_version_start(struct loop *loop, struct criu_job *job, const char *criu_path, uint64_t timeout_us,
		       void (*on_done)(struct criu_job *job, int rc, const struct why *why), struct why *why)
{
	FD_CLEANUP int theirs = -1;
	int r;

	r = job_prepare(loop, job, CRIU_VERSION, 0, timeout_us, &theirs, why);
	if (r == -EBUSY)
		return r;
	if (r == 0)
		r = criu_send_version(job->socket, why);
	if (r == 0)
		r = job_spawn(job, criu_path, theirs, NULL, 0, why);
	return job_started(job, r, on_done);
}

void criu_job_done(struct criu_job *job)
{
	if (!criu_job_busy(job))
		return;
	if (job->child.pid > 0 && !job->child.exited)
		kill(-job->child.pid, SIGKILL);
	child_done(&job->child);
	child_done(&job->remnant);
	if (job->kind == CRIU_DUMP && target_state(job) == CRIU_TARGET_STOPPED)
		target_continue(job);
	if (job->kind == CRIU_RESTORE && is_child_of_ours(job->pid) &&
	    child_adopt(job->loop, &job->remnant, job->pid, NULL, NULL) == 0)
		child_done(&job->remnant);
	job_release(job);
}
