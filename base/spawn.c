/* SPDX-License-Identifier: MIT */
/* The parent's side of a fork: what is prepared before it, and what is learned of the child until it is its program. */
#include "base/spawn.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/closer.h"
#include "base/fd.h"
#include "base/spawn_child.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define PATIENCE_FACTOR 10 /* for a child that lacks a CPU */

struct spawn {
	int fd;
	pid_t pid;
	enum step step;  /* the last one told */
	char *path, *cwd, *user, *group;
};

static void plan_done(struct spawn_plan *plan)
{
	free(plan->keep);
	free(plan->moved);
	free(plan->envp);
}

static int compare_int(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int plan_fds(struct spawn_plan *plan, struct why *why)
{
	const struct child_spec *spec = plan->spec;

	plan->keep = calloc(spec->n_fds + N_STDIO, sizeof(*plan->keep));
	plan->moved = calloc(spec->n_fds + 1, sizeof(*plan->moved));
	if (!plan->keep || !plan->moved)
		return why_errno(why, -ENOMEM, "cannot start %s", spec->path);
	for (size_t i = 0; i < spec->n_fds; i++) {
		const struct child_fd *fd = &spec->fds[i];

		if (fd->from < 0 || fd->to < 0)
			return why_set(why, -EBADF, "cannot start %s: descriptor %d cannot become its descriptor %d",
				       spec->path, fd->from, fd->to);
		plan->keep[plan->n_keep++] = fd->to;
	}
	for (int n = 0; n < N_STDIO; n++)
		if (!spawn_is_mapped(spec, n))
			plan->keep[plan->n_keep++] = n;
	qsort(plan->keep, plan->n_keep, sizeof(*plan->keep), compare_int);
	for (size_t i = 1; i < plan->n_keep; i++)
		if (plan->keep[i] == plan->keep[i - 1])
			return why_set(why, -EINVAL, "cannot start %s: two descriptors are to become its descriptor %d",
				       spec->path, plan->keep[i]);
	return 0;
}

static int plan_environment(struct spawn_plan *plan, struct why *why)
{
	const struct child_spec *spec = plan->spec;
	size_t n = 0;

	while (spec->envp && spec->envp[n])
		n++;
	plan->envp = calloc(n + 3, sizeof(*plan->envp));
	if (!plan->envp)
		return why_errno(why, -ENOMEM, "cannot start %s", spec->path);
	for (size_t i = 0; i < n; i++)
		plan->envp[i] = spec->envp[i];
	return 0;
}

static int plan_limit(struct spawn_plan *plan, struct why *why)
{
	const struct child_spec *spec = plan->spec;

	if (getrlimit(RLIMIT_NOFILE, &plan->limit) < 0)
		return why_errno(why, -errno, "cannot start %s: getrlimit", spec->path);
	plan->limit.rlim_cur = spec->nofile ? spec->nofile : fd_limit_at_start();
	if (plan->limit.rlim_cur > plan->limit.rlim_max)
		return why_set(why, -EPERM, "cannot start %s: a limit of %llu descriptors is above the hard limit of this "
			       "process, %llu; ask for less, or raise that one", spec->path,
			       (unsigned long long)plan->limit.rlim_cur, (unsigned long long)plan->limit.rlim_max);
	return 0;
}

static void plan_oom(struct spawn_plan *plan)
{
	if (plan->spec->oom_score_adj)
		snprintf(plan->oom_score_adj, sizeof(plan->oom_score_adj), "%d", *plan->spec->oom_score_adj);
}

static int plan_make(struct spawn_plan *plan, const struct child_spec *spec, struct why *why)
{
	int r;

	*plan = (struct spawn_plan){ .spec = spec, .uid = spec->uid, .gid = spec->gid };
	plan_oom(plan);
	r = plan_fds(plan, why);
	if (r == 0)
		r = plan_environment(plan, why);
	if (r == 0)
		r = plan_limit(plan, why);
	if (r < 0)
		plan_done(plan);
	return r;
}

/* ---- what the child tells ---- */

static const char *exec_hint(int error)
{
	switch (error) {
	case ENOENT: return " (is the file there, and the interpreter it names?)";
	case EACCES: return " (is it executable for the user it shall run as, and its folder open to it?)";
	case ENOEXEC: return " (not a program for this machine, or a script without #! line)";
	case ETXTBSY: return " (somebody still writes to the file)";
	default: return "";
	}
}

/* Of a name that is not known no error is told, or one of several that mean just that. */
static bool is_unknown(int error)
{
	return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static void tell_name(const char *what, const char *name, int error, struct why *cause)
{
	if (is_unknown(error))
		why_set(cause, 0, "this machine knows no %s %s", what, name);
	else
		why_errno(cause, -error, "look-up of the %s %s", what, name);
}

static int failure_tell(const struct spawn *spawn, const struct spawn_report *failure, struct why *why)
{
	const char *hint = failure->error == EPERM ? " (starting as another user or group needs root)" : "";
	struct why cause;
	int r = failure->error ? -failure->error : -ENOENT;

	switch (failure->step) {
	case STEP_SESSION: why_errno(&cause, r, "setsid"); break;
	case STEP_USER: tell_name("user", spawn->user, failure->error, &cause); break;
	case STEP_GROUP: tell_name("group", spawn->group, failure->error, &cause); break;
	case STEP_NULL: why_errno(&cause, r, "open /dev/null"); break;
	case STEP_FD: why_errno(&cause, r, "place descriptor %d", failure->number); break;
	case STEP_CLOSE: why_errno(&cause, r, "close_range"); break;
	case STEP_OOM:
		why_errno(&cause, r, "set oom_score_adj to %d%s", failure->number,
			  failure->error == EACCES ? " (a value below that of this process needs CAP_SYS_RESOURCE)" : "");
		break;
	case STEP_LIMIT: why_errno(&cause, r, "setrlimit"); break;
	case STEP_LOWER: why_errno(&cause, r, "limit capabilities (this process may lack CAP_SETPCAP)"); break;
	case STEP_SETTLE: why_errno(&cause, r, "give capabilities (this process may lack them)"); break;
	case STEP_OUTPUT: why_errno(&cause, r, "own descriptor %d%s", failure->number, hint); break;
	case STEP_GROUPS: why_errno(&cause, r, "setgroups%s", hint); break;
	case STEP_GID: why_errno(&cause, r, "setgid to %u%s", (unsigned int)failure->number, hint); break;
	case STEP_UID: why_errno(&cause, r, "setuid to %u%s", (unsigned int)failure->number, hint); break;
	case STEP_CHDIR: why_errno(&cause, r, "chdir to %s", spawn->cwd); break;
	case STEP_EXEC: why_errno(&cause, r, "exec%s", exec_hint(failure->error)); break;
	case STEP_FORKED:
	default: why_errno(&cause, r, "step %d", (int)failure->step); break;
	}
	return why_set(why, r, "cannot start %s: %s", spawn->path, cause.text);
}

const char *spawn_doing(const struct spawn *spawn, char *buf, size_t size)
{
	if (spawn->step == STEP_USER)
		snprintf(buf, size, "looks up the user %s", spawn->user);
	else if (spawn->step == STEP_GROUP)
		snprintf(buf, size, "looks up the group %s", spawn->group);
	else if (spawn->step == STEP_CHDIR)
		snprintf(buf, size, "waits for its working directory %s", spawn->cwd);
	else if (spawn->step == STEP_EXEC)
		snprintf(buf, size, "waits for its program %s to be read", spawn->path);
	else
		snprintf(buf, size, "is being made");
	return buf;
}

int spawn_fd(const struct spawn *spawn)
{
	return spawn->fd;
}

/* Reads what there is. Return: as spawn_await(). */
static int read_reports(struct spawn *spawn, struct why *why)
{
	struct spawn_report report;
	ssize_t n;

	for (;;) {
		n = read(spawn->fd, &report, sizeof(report));
		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return SPAWN_PENDING;
		if (n != (ssize_t)sizeof(report))
			return why_errno(why, n < 0 ? -errno : -EIO, "cannot start %s: nothing to be learned about the exec",
					 spawn->path);
		/* A name that is not known may come without an error number. */
		if (report.error || report.number < 0)
			return failure_tell(spawn, &report, why);
		spawn->step = report.step;
	}
}

/* Is the child waiting for something else than a CPU? */
static bool is_waiting(const struct spawn *spawn)
{
	char path[40], text[300];
	const char *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)spawn->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	fd_close(fd);
	text[n > 0 ? n : 0] = '\0';
	end = strrchr(text, ')');
	return !end || (end[1] == ' ' && end[2] != 'R');
}

int spawn_await(struct spawn *spawn, int patience_ms, struct why *why)
{
	struct pollfd ready = { .fd = spawn->fd, .events = POLLIN };
	uint64_t begun_us = clock_now_us();

	for (;;) {
		int r = read_reports(spawn, why), passed_ms = (int)((clock_now_us() - begun_us) / 1000);

		if (r != SPAWN_PENDING || passed_ms >= PATIENCE_FACTOR * patience_ms ||
		    (passed_ms >= patience_ms && is_waiting(spawn)))
			return r;
		(void)poll(&ready, 1, passed_ms < patience_ms ? patience_ms - passed_ms : 1);
	}
}

/* ---- the fork ---- */

/* No signal handler of ours may run in the child, where it would act on what the child shares with us. */
static pid_t fork_without_signals(void)
{
	sigset_t all, before;
	pid_t pid;
	int saved_errno;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	saved_errno = errno;
	if (pid != 0)
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved_errno;
	return pid;
}

struct spawn *spawn_free(struct spawn *spawn)
{
	if (!spawn)
		return NULL;
	fd_close(spawn->fd);
	free(spawn->path);
	free(spawn->cwd);
	free(spawn->user);
	free(spawn->group);
	free(spawn);
	return NULL;
}

static struct spawn *spawn_new(const struct child_spec *spec)
{
	struct spawn *spawn = calloc(1, sizeof(*spawn));

	if (!spawn)
		return NULL;
	spawn->fd = -1;
	spawn->path = strdup(spec->path);
	spawn->cwd = strdup(spec->cwd ? spec->cwd : "/");
	spawn->user = strdup(spec->user ? spec->user : "");
	spawn->group = strdup(spec->group ? spec->group : "");
	if (!spawn->path || !spawn->cwd || !spawn->user || !spawn->group)
		return spawn_free(spawn);
	return spawn;
}

/* Return: the child's pid; -errno. */
static pid_t fork_planned(struct spawn_plan *plan, struct spawn *spawn)
{
	int report[2], r;
	pid_t pid;

	/* The child never waits to report: what it tells in all is less than a pipe holds. */
	if (pipe2(report, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	pid = fork_without_signals();
	if (pid == 0)
		spawn_in_child(plan, report[1]);
	r = pid < 0 ? -errno : 0;
	fd_close(report[1]);
	spawn->fd = report[0];
	return pid < 0 ? r : pid;
}

int spawn_begin(const struct child_spec *spec, pid_t *ret_pid, struct spawn **ret_spawn, struct why *why)
{
	struct spawn *spawn = NULL;
	struct spawn_plan plan;
	pid_t pid;
	int r = plan_make(&plan, spec, why);

	if (r < 0)
		return r;
	spawn = spawn_new(spec);
	pid = spawn ? fork_planned(&plan, spawn) : -ENOMEM;
	plan_done(&plan);
	if (pid < 0) {
		spawn_free(spawn);
		return why_errno(why, pid, "cannot start %s: no process for it", spec->path);
	}
	spawn->pid = *ret_pid = pid;
	*ret_spawn = spawn;
	return 0;
}

/* ---- a copy of this process ---- */

static void close_all_but(int one, int other)
{
	int low = one < other ? one : other, high = one < other ? other : one;

	if (low > 0)
		close_range(0, (unsigned)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned)(low + 1), (unsigned)high - 1, 0);
	close_range((unsigned)high + 1, ~0U, 0);
}

__attribute__((noreturn)) static void in_copy(const struct child_work *work, int report, pid_t parent)
{
	struct sched_param none = { 0 };
	sigset_t no_signals;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	sigemptyset(&no_signals);
	sigprocmask(SIG_SETMASK, &no_signals, NULL);
	(void)setsid();
	close_all_but(work->keep_fd, report);
	fd_close(report);
	if (work->background) {
		(void)sched_setscheduler(0, SCHED_BATCH, &none);
		(void)setpriority(PRIO_PROCESS, 0, 19);
	}
	work->run(work->userdata);
	_exit(EXIT_SUCCESS);
}

int spawn_work(const struct child_work *work, pid_t *ret_pid, struct why *why)
{
	pid_t parent = getpid(), pid;
	int report[2], r;
	char none;

	if (pipe2(report, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "pipe");
	closer_hold();
	pid = fork_without_signals();
	if (pid == 0)
		in_copy(work, report[1], parent);
	r = pid < 0 ? why_errno(why, -errno, "fork") : 0;
	fd_close(report[1]);
	while (pid > 0 && read(report[0], &none, 1) < 0 && errno == EINTR)
		;
	closer_release();
	fd_close(report[0]);
	if (r == 0)
		*ret_pid = pid;
	return r;
}
