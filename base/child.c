/* SPDX-License-Identifier: MIT */
#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/spawn.h"
#include "base/why.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#define HELD_US (50 * USEC_PER_MSEC)

/* All that are watched. A loop is one thread, and so are its children. */
static struct child *watched;

static void watched_add(struct child *child)
{
	child->next_watched = watched;
	child->at_watched = &watched;
	if (watched)
		watched->at_watched = &child->next_watched;
	watched = child;
}

static void watched_remove(struct child *child)
{
	if (!child->at_watched)
		return;
	*child->at_watched = child->next_watched;
	if (child->next_watched)
		child->next_watched->at_watched = child->at_watched;
	child->next_watched = NULL;
	child->at_watched = NULL;
}

bool child_is_watched(pid_t pid)
{
	for (const struct child *child = watched; child; child = child->next_watched)
		if (child->pid == pid)
			return true;
	return false;
}

void child_init(struct child *child)
{
	*child = (struct child){ .pidfd = -1 };
}

/* __WALL: a process that CRIU restored may have an exit signal other than SIGCHLD. */
static int child_wait(int pidfd, int options, siginfo_t *ret_info)
{
	int r;

	do {
		*ret_info = (siginfo_t){ 0 };
		r = waitid(P_PIDFD, (id_t)pidfd, ret_info, WEXITED | __WALL | options);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int status_of(const siginfo_t *info)
{
	switch (info->si_code) {
	case CLD_EXITED: return W_EXITCODE(info->si_status, 0);
	case CLD_KILLED: return info->si_status;
	case CLD_DUMPED: return info->si_status | WCOREFLAG;
	default: return CHILD_STATUS_UNKNOWN;
	}
}

static void child_forget_pidfd(struct child *child)
{
	source_del(&child->source);
	timer_disarm(&child->again);
	watched_remove(child);
	child->pidfd = fd_close(child->pidfd);
}

/* Kill what the child has started, too. The child leads a session, and as long as it is not reaped nobody else has its number. */
static void child_end_group(const struct child *child)
{
	if (child->pid > 1)
		kill(-child->pid, SIGKILL);
}

static void child_on_ready(struct source *source, uint32_t events);

static void on_again(struct timer *timer)
{
	struct child *child = container_of(timer, struct child, again);

	child_on_ready(&child->source, 0);
}

/* Its end is there to be seen all the time, so the loop would do nothing else than look. */
static void look_later(struct child *child, struct loop *loop)
{
	source_set(&child->source, 0);
	timer_arm(loop, &child->again, clock_now_us() + HELD_US, on_again);
}

static void child_on_ready(struct source *source, uint32_t events)
{
	struct child *child = container_of(source, struct child, source);
	siginfo_t info;
	int r;

	(void)events;
	child_end_group(child);
	r = child_wait(child->pidfd, WNOHANG, &info);
	if (r == 0 && info.si_pid == 0) { /* a tracer holds it, so it cannot be reaped yet */
		look_later(child, source->loop);
		return;
	}
	child->status = r == 0 ? status_of(&info) : CHILD_STATUS_UNKNOWN;
	child->exited = true;
	child_forget_pidfd(child);
	if (child->on_exit)
		child->on_exit(child); /* may free @child */
}

/* Writes to @child only on success. */
static int child_watch(struct loop *loop, struct child *child, int pidfd, pid_t pid,
		       void (*on_exit)(struct child *child), struct why *why)
{
	int r;

	r = source_add(loop, &child->source, pidfd, EPOLLIN, child_on_ready);
	if (r < 0)
		return why_errno(why, r, "cannot watch pid %d", (int)pid);
	child->pid = pid;
	child->pidfd = pidfd;
	child->status = 0;
	child->exited = false;
	child->on_exit = on_exit;
	watched_add(child);
	return 0;
}

static int child_open(pid_t pid, int *ret_pidfd, struct why *why)
{
	int pidfd = pidfd_open(pid, 0); /* CLOEXEC by itself */

	if (pidfd < 0)
		return why_errno(why, -errno, "cannot get hold of pid %d", (int)pid);
	*ret_pidfd = pidfd;
	return 0;
}

static int child_refuse_busy(const struct child *child, struct why *why)
{
	if (child->pidfd < 0)
		return 0;
	return why_set(why, -EBUSY, "pid %d still runs in this place", (int)child->pid);
}

/* Watch what was just started, or end it. */
static int child_begin(struct loop *loop, struct child *child, pid_t pid, void (*on_exit)(struct child *child), struct why *why)
{
	int pidfd = -1, r;

	r = child_open(pid, &pidfd, why);
	if (r == 0)
		r = child_watch(loop, child, pidfd, pid, on_exit, why);
	if (r == 0)
		return 0;
	kill(pid, SIGKILL); /* our child and not reaped, so the number is still its own */
	spawn_reap(pid);
	fd_close(pidfd);
	return r;
}

int child_spawn(struct loop *loop, struct child *child, const struct child_spec *spec,
		void (*on_exit)(struct child *child), struct why *why)
{
	pid_t pid;
	int r;

	r = child_refuse_busy(child, why);
	if (r < 0)
		return r;
	r = spawn_process(spec, &pid, why);
	if (r < 0)
		return r;
	r = child_begin(loop, child, pid, on_exit, why);
	return r < 0 ? why_prefix(why, r, "cannot start %s", spec->path) : 0;
}

int child_fork(struct loop *loop, struct child *child, const struct child_work *work, void (*on_exit)(struct child *child),
	       struct why *why)
{
	pid_t pid;
	int r;

	r = child_refuse_busy(child, why);
	if (r == 0)
		r = spawn_work(work, &pid, why);
	return r < 0 ? r : child_begin(loop, child, pid, on_exit, why);
}

int child_try(const struct child_spec *spec, struct why *why)
{
	struct child_spec trial = *spec;
	pid_t pid;
	int r;

	trial.try_only = true;
	r = spawn_process(&trial, &pid, why);
	if (r == 0)
		spawn_reap(pid);
	return r;
}

int child_adopt(struct loop *loop, struct child *child, pid_t pid, void (*on_exit)(struct child *child), struct why *why)
{
	FD_CLEANUP int pidfd = -1;
	siginfo_t info;
	int r;

	r = child_refuse_busy(child, why);
	if (r < 0)
		return r;
	r = child_open(pid, &pidfd, why);
	if (r < 0)
		return r;
	/* WNOWAIT does not reap: an end that already came is reported through the loop. */
	r = child_wait(pidfd, WNOHANG | WNOWAIT, &info);
	if (r < 0)
		return why_errno(why, r, "pid %d is not a child of this process", (int)pid);
	r = child_watch(loop, child, pidfd, pid, on_exit, why);
	if (r == 0)
		pidfd = -1;
	return r;
}

int child_kill(struct child *child, int signal)
{
	if (child->pidfd < 0)
		return child->exited ? 0 : -ESRCH;
	if (pidfd_send_signal(child->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
		return -errno;
	return 0;
}

void child_kill_group(struct child *child)
{
	if (child->pidfd < 0)
		return;
	child_end_group(child);
	/* Also where it has not made itself a group of its own, or changed it. */
	child_kill(child, SIGKILL);
}

void child_done(struct child *child)
{
	siginfo_t info;

	if (child->pidfd >= 0) {
		/* A child that we may not kill (it changed its user, and we are not root) is not waited for either. */
		if (pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0) == 0 || errno == ESRCH) {
			child_end_group(child);
			child_wait(child->pidfd, 0, &info);
		}
		child_forget_pidfd(child);
	}
	child_init(child);
}

int child_move(struct child *from, struct child *to, void (*on_exit)(struct child *child))
{
	struct loop *loop = from->source.loop;
	int r;

	source_del(&from->source);
	timer_disarm(&from->again);
	r = child_watch(loop, to, from->pidfd, from->pid, on_exit, NULL);
	if (r == 0) {
		watched_remove(from);
		child_init(from);
	} else {
		(void)source_add(loop, &from->source, from->pidfd, EPOLLIN, child_on_ready);
	}
	return r;
}

const char *child_describe_status(int status, char *buf, size_t size)
{
	const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

	if (WIFEXITED(status))
		snprintf(buf, size, "exited with status %d", WEXITSTATUS(status));
	else if (name)
		snprintf(buf, size, "was killed by SIG%s%s", name, WCOREDUMP(status) ? " (core dumped)" : "");
	else if (WIFSIGNALED(status))
		snprintf(buf, size, "was killed by signal %d%s", WTERMSIG(status), WCOREDUMP(status) ? " (core dumped)" : "");
	else
		snprintf(buf, size, "ended with a status that nobody could read");
	return buf;
}

const char *child_describe(const struct child *child, char *buf, size_t size)
{
	if (child->exited)
		return child_describe_status(child->status, buf, size);
	snprintf(buf, size, "%s", child->pid == 0 ? "was never started" : "is running");
	return buf;
}
