/* SPDX-License-Identifier: MIT */
/*
 * Between fork and exec only async-signal-safe calls are allowed: this process may have threads, and a lock that one of them held
 * stays locked in the child for ever. So everything that allocates or asks name services is done before the fork, and noted in a
 * struct plan, which the child carries out. A step that fails is reported through a pipe. A successful exec closes the pipe, so its
 * end without a report means that the new program runs.
 */
#include "base/spawn.h"
#include "base/child.h"
#include "base/closer.h"
#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEEP_UID ((uid_t)-1)
#define KEEP_GID ((gid_t)-1)
#define N_STDIO 3

enum step { STEP_SESSION, STEP_NULL, STEP_FD, STEP_CLOSE, STEP_OOM, STEP_LIMIT, STEP_LOWER, STEP_GROUPS, STEP_GID, STEP_UID,
	    STEP_SETTLE, STEP_CHDIR, STEP_EXEC };

struct failure {
	enum step step;
	int error;
	int number;     /* STEP_FD: in the child */
};

struct plan {
	const struct child_spec *spec;
	int *keep;              /* numbers that are open in the child, ascending: 0, 1, 2 and each @to */
	size_t n_keep;
	int *moved;             /* the child's scratch: copies of each @from above all of @keep */
	bool set_groups;
	gid_t *groups;
	int n_groups;
	struct rlimit limit;
	char oom_score_adj[16]; /* as text; "": as it is */
};

static void plan_done(struct plan *plan)
{
	free(plan->keep);
	free(plan->moved);
	free(plan->groups);
}

static int compare_int(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool is_mapped(const struct child_spec *spec, int number)
{
	for (size_t i = 0; i < spec->n_fds; i++)
		if (spec->fds[i].to == number)
			return true;
	return false;
}

static int plan_fds(struct plan *plan, struct why *why)
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
		if (!is_mapped(spec, n))
			plan->keep[plan->n_keep++] = n;
	qsort(plan->keep, plan->n_keep, sizeof(*plan->keep), compare_int);
	for (size_t i = 1; i < plan->n_keep; i++)
		if (plan->keep[i] == plan->keep[i - 1])
			return why_set(why, -EINVAL, "cannot start %s: two descriptors are to become its descriptor %d",
				       spec->path, plan->keep[i]);
	return 0;
}

static int plan_groups(struct plan *plan, struct why *why)
{
	const struct child_spec *spec = plan->spec;
	gid_t gid = spec->gid != KEEP_GID ? spec->gid : getegid();
	int n = 32;

	if (!spec->user) {
		plan->set_groups = spec->uid != KEEP_UID && spec->uid != geteuid();
		return 0;
	}
	plan->set_groups = true;
	for (;;) {
		gid_t *groups = reallocarray(plan->groups, (size_t)n, sizeof(*groups));
		int had = n;

		if (!groups)
			return why_errno(why, -ENOMEM, "cannot start %s: groups of user %s", spec->path, spec->user);
		plan->groups = groups;
		if (getgrouplist(spec->user, gid, groups, &n) >= 0)
			break;
		if (n <= had)
			n = 2 * had;
	}
	plan->n_groups = n;
	return 0;
}

static int plan_limit(struct plan *plan, struct why *why)
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

static void plan_oom(struct plan *plan)
{
	if (plan->spec->oom_score_adj)
		snprintf(plan->oom_score_adj, sizeof(plan->oom_score_adj), "%d", *plan->spec->oom_score_adj);
}

static int plan_make(struct plan *plan, const struct child_spec *spec, struct why *why)
{
	int r;

	*plan = (struct plan){ .spec = spec };
	plan_oom(plan);
	r = plan_fds(plan, why);
	if (r == 0)
		r = plan_groups(plan, why);
	if (r == 0)
		r = plan_limit(plan, why);
	if (r < 0)
		plan_done(plan);
	return r;
}

static int step_failed(struct failure *failure, enum step step, int number)
{
	*failure = (struct failure){ .step = step, .error = errno, .number = number };
	return -1;
}

/* Exec resets handlers, but not the signals that the supervisor ignores or blocks. */
static void in_child_signals(void)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int signal = 1; signal < _NSIG; signal++)
		sigaction(signal, &action, NULL); /* fails for SIGKILL, SIGSTOP and libc's own two, as it should */
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Copy every descriptor above the highest target first, and then down to its place: so no descriptor is overwritten before it was
 * copied, however the numbers overlap. @report is moved, too. */
static int in_child_move(const struct plan *plan, int *report, int *ret_null, struct failure *failure)
{
	const struct child_spec *spec = plan->spec;
	int above = plan->keep[plan->n_keep - 1] + 1;
	int fd;

	fd = fcntl(*report, F_DUPFD_CLOEXEC, above);
	if (fd < 0)
		return step_failed(failure, STEP_FD, above);
	*report = fd;
	for (size_t i = 0; i < spec->n_fds; i++) {
		plan->moved[i] = fcntl(spec->fds[i].from, F_DUPFD_CLOEXEC, above);
		if (plan->moved[i] < 0)
			return step_failed(failure, STEP_FD, spec->fds[i].to);
	}
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return step_failed(failure, STEP_NULL, 0);
	*ret_null = fcntl(fd, F_DUPFD_CLOEXEC, above);
	return *ret_null < 0 ? step_failed(failure, STEP_NULL, 0) : 0;
}

static int in_child_close(unsigned int first, unsigned int last, struct failure *failure)
{
	if (first <= last && close_range(first, last, 0) < 0)
		return step_failed(failure, STEP_CLOSE, 0);
	return 0;
}

static int in_child_fds(const struct plan *plan, int *report, struct failure *failure)
{
	const struct child_spec *spec = plan->spec;
	unsigned int next = 0, kept;
	int null;

	if (in_child_move(plan, report, &null, failure) < 0)
		return -1;
	for (int n = 0; n < N_STDIO; n++)
		if (!is_mapped(spec, n) && dup3(null, n, 0) < 0)
			return step_failed(failure, STEP_FD, n);
	for (size_t i = 0; i < spec->n_fds; i++)
		if (dup3(plan->moved[i], spec->fds[i].to, 0) < 0)
			return step_failed(failure, STEP_FD, spec->fds[i].to);
	for (size_t i = 0; i <= plan->n_keep; i++) {
		kept = (unsigned int)(i < plan->n_keep ? plan->keep[i] : *report);
		if (kept > 0 && in_child_close(next, kept - 1, failure) < 0)
			return -1;
		next = kept + 1;
	}
	return in_child_close(next, UINT_MAX, failure);
}

static int write_oom(const char *value)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return -1;
	if (write(fd, value, strlen(value)) < 0)
		error = errno;
	close(fd);
	errno = error;
	return error ? -1 : 0;
}

/* While this is still who we are: another user may not raise it. The value that the program is to have later comes first, so that
 * one which cannot be had is found out now. That a process ends first is a precaution: one that cannot be taken keeps nobody from
 * starting, and whoever asked for it can see it. */
static int in_child_oom(const struct plan *plan, struct failure *failure)
{
	if (*plan->oom_score_adj && write_oom(plan->oom_score_adj) < 0)
		return step_failed(failure, STEP_OOM, *plan->spec->oom_score_adj);
	if (plan->spec->ends_first)
		(void)write_oom("1000");
	return 0;
}

static int in_child_identity(const struct plan *plan, struct failure *failure)
{
	const struct child_spec *spec = plan->spec;

	errno = -privileges_lower(&spec->privileges);
	if (errno)
		return step_failed(failure, STEP_LOWER, 0);
	/* The user comes last: after that we have no right to change the groups. */
	if (plan->set_groups && setgroups((size_t)plan->n_groups, plan->groups) < 0)
		return step_failed(failure, STEP_GROUPS, 0);
	if (spec->gid != KEEP_GID && setresgid(spec->gid, spec->gid, spec->gid) < 0)
		return step_failed(failure, STEP_GID, 0);
	if (spec->uid != KEEP_UID && setresuid(spec->uid, spec->uid, spec->uid) < 0)
		return step_failed(failure, STEP_UID, 0);
	errno = -privileges_settle(&spec->privileges);
	return errno ? step_failed(failure, STEP_SETTLE, 0) : 0;
}

/* As execve(2) would see it, except for what the file holds. */
static bool in_child_may_exec(const char *path)
{
	struct stat st;

	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 || stat(path, &st) < 0)
		return false;
	errno = EACCES;
	return S_ISREG(st.st_mode);
}

static int in_child_become(const struct plan *plan, int *report, struct failure *failure)
{
	const struct child_spec *spec = plan->spec;

	if (setsid() < 0)
		return step_failed(failure, STEP_SESSION, 0);
	in_child_signals();
	if (in_child_fds(plan, report, failure) < 0)
		return -1;
	if (in_child_oom(plan, failure) < 0)
		return -1;
	/* After the descriptors were moved: their copies may be above the child's limit. */
	if (setrlimit(RLIMIT_NOFILE, &plan->limit) < 0)
		return step_failed(failure, STEP_LIMIT, 0);
	if (in_child_identity(plan, failure) < 0)
		return -1;
	if (chdir(spec->cwd ? spec->cwd : "/") < 0)
		return step_failed(failure, STEP_CHDIR, 0);
	if (spec->try_only && in_child_may_exec(spec->path))
		_exit(0);
	if (!spec->try_only)
		execve(spec->path, spec->argv, spec->envp);
	return step_failed(failure, STEP_EXEC, 0);
}

static _Noreturn void in_child(const struct plan *plan, int report)
{
	struct failure failure;

	in_child_become(plan, &report, &failure);
	/* Less than PIPE_BUF goes into an empty pipe whole or not at all. If the write fails, only the exit status tells. */
	_exit(write(report, &failure, sizeof(failure)) == (ssize_t)sizeof(failure) ? 127 : 126);
}

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

static int failure_tell(const struct failure *failure, const struct child_spec *spec, struct why *why)
{
	const char *hint = failure->error == EPERM ? " (starting as another user or group needs root)" : "";
	const char *path = spec->path;
	struct why cause;
	int r = -failure->error;

	switch (failure->step) {
	case STEP_SESSION: why_errno(&cause, r, "setsid"); break;
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
	case STEP_GROUPS: why_errno(&cause, r, "setgroups%s", hint); break;
	case STEP_GID: why_errno(&cause, r, "setgid to %u%s", (unsigned int)spec->gid, hint); break;
	case STEP_UID: why_errno(&cause, r, "setuid to %u%s", (unsigned int)spec->uid, hint); break;
	case STEP_CHDIR: why_errno(&cause, r, "chdir to %s", spec->cwd ? spec->cwd : "/"); break;
	case STEP_EXEC: why_errno(&cause, r, "exec%s", exec_hint(failure->error)); break;
	default: why_errno(&cause, r, "step %d", (int)failure->step); break;
	}
	return why_set(why, r, "cannot start %s: %s", path, cause.text);
}

void spawn_reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Waits until the child has exec'd or given up. */
static int report_read(int report, pid_t pid, const struct child_spec *spec, struct why *why)
{
	struct failure failure;
	ssize_t n;
	int r;

	do
		n = read(report, &failure, sizeof(failure));
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0;
	r = n < 0 ? -errno : -EIO;
	if (n == (ssize_t)sizeof(failure))
		r = failure_tell(&failure, spec, why);
	else
		why_errno(why, r, "cannot start %s: nothing to be learned about the exec", spec->path);
	kill(pid, SIGKILL); /* not reaped yet, so the number is still its own */
	spawn_reap(pid);
	return r;
}

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

int spawn_process(const struct child_spec *spec, pid_t *ret_pid, struct why *why)
{
	struct plan plan;
	int report[2];
	pid_t pid;
	int r;

	r = plan_make(&plan, spec, why);
	if (r < 0)
		return r;
	if (pipe2(report, O_CLOEXEC) < 0) {
		r = why_errno(why, -errno, "cannot start %s: pipe", spec->path);
		plan_done(&plan);
		return r;
	}
	closer_hold();
	pid = fork_without_signals();
	if (pid == 0)
		in_child(&plan, report[1]);
	r = pid < 0 ? why_errno(why, -errno, "cannot start %s: fork", spec->path) : 0;
	fd_close(report[1]);
	if (pid > 0)
		r = report_read(report[0], pid, spec, why);
	closer_release();
	fd_close(report[0]);
	plan_done(&plan);
	if (r == 0)
		*ret_pid = pid;
	return r;
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
