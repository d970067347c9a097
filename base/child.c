/* SPDX-License-Identifier: MIT */
#include "base/child.h"
#include "base/clock.h"
#include "base/closer.h"
#include "base/fd.h"
#include "base/spawn.h"
#include "base/why.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#define START_PATIENCE_MS 50   /* for a child to become its program; after that the loop goes on without */
#define DEATH_PATIENCE_MS 500  /* for one that was sent SIGKILL and is waited for */
#define TRACED_LOOK_US (100 * USEC_PER_MSEC)
#define REAPED_LOOK_US (10 * USEC_PER_MSEC)
#define REAPED_PATIENCE_US (500 * USEC_PER_MSEC) /* for a parent that is not us to reap it */

/* Of Linux 6.15: as <linux/pidfd.h> has it, which may be older than the kernel. */
struct pidfd_info_exit {
	uint64_t mask, cgroup_id;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
#define PIDFD_GET_INFO_EXIT _IOWR(0xFF, 11, struct pidfd_info_exit)
#define PIDFD_INFO_HAS_EXIT (UINT64_C(1) << 3)

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

static void child_forget_spawn(struct child *child)
{
	source_del(&child->spawn_source);
	child->spawn = spawn_free(child->spawn);
}

static void child_forget_pidfd(struct child *child)
{
	source_del(&child->source);
	timer_disarm(&child->again);
	watched_remove(child);
	child_forget_spawn(child);
	child->pidfd = fd_close(child->pidfd);
}

/* Kill what the child has started, too. The child leads a session, and as long as it is not reaped nobody else has its number. Of
 * one that somebody else reaps this is so for as long as there is anybody in its group: the kernel gives a number out again only
 * when it names no group either. */
static void child_end_group(const struct child *child)
{
	if (child->pid <= 1 || child->spares_group)
		return;
	if (child->is_foreign && kill(child->pid, 0) == 0 && pidfd_send_signal(child->pidfd, 0, NULL, 0) < 0)
		return; /* it was reaped, and the number is another process's */
	kill(-child->pid, SIGKILL);
}

/* ---- until it is its program ---- */

static void child_look_at_spawn(struct child *child)
{
	if (child->spawn && spawn_await(child->spawn, 0, &child->failure) != SPAWN_PENDING)
		child_forget_spawn(child);
}

static void child_on_spawn(struct source *source, uint32_t events)
{
	(void)events;
	child_look_at_spawn(container_of(source, struct child, spawn_source));
}

const char *child_doing(const struct child *child, char *buf, size_t size)
{
	return child->spawn ? spawn_doing(child->spawn, buf, size) : NULL;
}

/* ---- its end ---- */

static void child_on_again(struct timer *timer);

bool child_status_of(int pidfd, int *ret_status)
{
	struct pidfd_info_exit info = { .mask = PIDFD_INFO_HAS_EXIT };

	if (ioctl(pidfd, PIDFD_GET_INFO_EXIT, &info) < 0 || !(info.mask & PIDFD_INFO_HAS_EXIT))
		return false;
	*ret_status = info.exit_code;
	return true;
}

/* Return: false: its parent may reap it yet, and then more is known. */
static bool foreign_is_over(struct child *child)
{
	uint64_t now = clock_now_us();

	if (!child->dead_us)
		child->dead_us = now;
	child->status = CHILD_STATUS_UNKNOWN;
	return child_status_of(child->pidfd, &child->status) || now - child->dead_us >= REAPED_PATIENCE_US;
}

/* Return: false: a tracer holds it, and until that lets go nobody can reap it. */
static bool ours_is_over(struct child *child)
{
	siginfo_t info;
	int r = child_wait(child->pidfd, WNOHANG, &info);

	if (r == 0 && info.si_pid == 0)
		return false;
	child->status = r == 0 ? status_of(&info) : CHILD_STATUS_UNKNOWN;
	return true;
}

static void child_end(struct child *child)
{
	child->exited = true;
	child_look_at_spawn(child);
	child_forget_pidfd(child);
	if (child->on_exit)
		child->on_exit(child); /* may free @child */
}

static void child_look_at_end(struct child *child)
{
	child_end_group(child);
	if (child->is_foreign ? foreign_is_over(child) : ours_is_over(child)) {
		child_end(child);
		return;
	}
	/* Its end is an event that would come in each turn. */
	source_set(&child->source, 0);
	timer_arm(child->source.loop, &child->again,
		  clock_now_us() + (child->is_foreign ? REAPED_LOOK_US : TRACED_LOOK_US), child_on_again);
}

static void child_on_again(struct timer *timer)
{
	child_look_at_end(container_of(timer, struct child, again));
}

static void child_on_ready(struct source *source, uint32_t events)
{
	(void)events;
	child_look_at_end(container_of(source, struct child, source));
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
	child->spares_group = child->is_foreign = false;
	child->dead_us = 0;
	child->failure.text[0] = 0;
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

/* Our child and not reaped, so the number is still its own. One that waits for a disk is left to be reaped as a stray. */
static void child_abandon(pid_t pid, bool waits)
{
	siginfo_t info;

	kill(pid, SIGKILL);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | (waits ? WNOHANG : 0)) < 0 && errno == EINTR)
		;
}

/* Watch what was just started, or end it. @waits: it may be waiting for a disk. */
static int child_begin(struct loop *loop, struct child *child, pid_t pid, bool waits, void (*on_exit)(struct child *child),
		       struct why *why)
{
	int pidfd = -1, r;

	r = child_open(pid, &pidfd, why);
	if (r == 0)
		r = child_watch(loop, child, pidfd, pid, on_exit, why);
	if (r == 0)
		return 0;
	child_abandon(pid, waits);
	fd_close(pidfd);
	return r;
}

/* Where that cannot be watched it is looked at when the child ends. */
static void child_watch_spawn(struct loop *loop, struct child *child, struct spawn *spawn_consume)
{
	child->spawn = spawn_consume;
	(void)source_add(loop, &child->spawn_source, spawn_fd(child->spawn), EPOLLIN, child_on_spawn);
}

/* Fork, and wait a moment until the child is its program. Return: 0; SPAWN_PENDING; -errno, and then nothing is left. */
static int child_start(const struct child_spec *spec, pid_t *ret_pid, struct spawn **ret_spawn, struct why *why)
{
	int r;

	/* What a child that hangs still holds is closed all the same: then the child is the last to close it. */
	closer_hold();
	r = spawn_begin(spec, ret_pid, ret_spawn, why);
	if (r == 0 && (r = spawn_await(*ret_spawn, START_PATIENCE_MS, why)) < 0) {
		child_abandon(*ret_pid, false);
		*ret_spawn = spawn_free(*ret_spawn);
	}
	closer_release();
	return r;
}

int child_spawn(struct loop *loop, struct child *child, const struct child_spec *spec,
		void (*on_exit)(struct child *child), struct why *why)
{
	struct spawn *spawn;
	pid_t pid;
	int how, r;

	r = child_refuse_busy(child, why);
	if (r < 0)
		return r;
	how = child_start(spec, &pid, &spawn, why);
	if (how < 0)
		return how;
	r = child_begin(loop, child, pid, how == SPAWN_PENDING, on_exit, why);
	if (r == 0 && how == SPAWN_PENDING)
		child_watch_spawn(loop, child, spawn);
	else
		spawn_free(spawn);
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
	return r < 0 ? r : child_begin(loop, child, pid, false, on_exit, why);
}

int child_try(const struct child_spec *spec, struct why *why)
{
	struct child_spec trial = *spec;
	struct spawn *spawn;
	char doing[160];
	pid_t pid;
	int how;

	trial.try_only = true;
	how = child_start(&trial, &pid, &spawn, why);
	if (how < 0)
		return how;
	if (how == SPAWN_PENDING)
		how = why_set(why, -ETIMEDOUT, "cannot start %s: it %s", spec->path, spawn_doing(spawn, doing, sizeof(doing)));
	child_abandon(pid, how != 0);
	spawn_free(spawn);
	return how;
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

int child_regain(struct loop *loop, struct child *child, pid_t pid, int pidfd_consume, void (*on_exit)(struct child *child),
		 struct why *why)
{
	int r = child_refuse_busy(child, why);

	if (r == 0)
		r = child_watch(loop, child, pidfd_consume, pid, on_exit, why);
	if (r < 0)
		fd_close(pidfd_consume);
	else
		child->is_foreign = true;
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

static void child_await_death(const struct child *child)
{
	struct pollfd dead = { .fd = child->pidfd, .events = POLLIN };
	uint64_t due_us = clock_now_us() + DEATH_PATIENCE_MS * USEC_PER_MSEC;
	siginfo_t info;

	while (poll(&dead, 1, clock_timeout_ms(due_us)) < 0 && errno == EINTR)
		;
	(void)child_wait(child->pidfd, WNOHANG, &info);
}

void child_done(struct child *child)
{
	if (child->pidfd >= 0) {
		/* A child that we may not kill (it changed its user, and we are not root) is not waited for either. */
		if (pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0) == 0 || errno == ESRCH) {
			child_end_group(child);
			child_await_death(child);
		}
		child_forget_pidfd(child);
	}
	child_init(child);
}

void child_let_go(struct child *child)
{
	if (child->pidfd >= 0)
		child_forget_pidfd(child);
	child_init(child);
}

int child_move(struct child *from, struct child *to, void (*on_exit)(struct child *child))
{
	struct loop *loop = from->source.loop;
	struct spawn *spawn = from->spawn;
	int r;

	source_del(&from->source);
	timer_disarm(&from->again);
	r = child_watch(loop, to, from->pidfd, from->pid, on_exit, NULL);
	if (r < 0) {
		(void)source_add(loop, &from->source, from->pidfd, EPOLLIN, child_on_ready);
		return r;
	}
	to->spares_group = from->spares_group;
	to->is_foreign = from->is_foreign;
	to->dead_us = from->dead_us;
	source_del(&from->spawn_source);
	from->spawn = NULL;
	from->pidfd = -1; /* it is @to's */
	child_forget_pidfd(from);
	child_init(from);
	if (spawn)
		child_watch_spawn(loop, to, spawn);
	return 0;
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
	if (child->exited && *child->failure.text)
		snprintf(buf, size, "%s", child->failure.text);
	else if (child->exited)
		return child_describe_status(child->status, buf, size);
	else
		snprintf(buf, size, "%s", child->pid == 0 ? "was never started" : "is running");
	return buf;
}
