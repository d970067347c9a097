/* SPDX-License-Identifier: MIT */
/*
 * Between fork and exec a process that may have had threads does as little as it can: a lock that another thread held stays locked
 * for ever. What allocates is done before the fork and noted in a struct plan, which the child carries out.
 *
 * There is one exception. Whom a user's name stands for may be known to a server that is slow or gone, and the supervisor cannot
 * wait for that. So the child asks. glibc makes its own locks usable after a fork; should a module of others hang all the same,
 * then a process hangs that is not its program yet, and is ended when its time to start is over.
 *
 * The child reports through a pipe: the step it is about to take, where that may last, and the step that failed. A successful exec
 * closes the pipe, so its end without a failure means that the new program runs.
 */
#include "base/spawn_child.h"
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOKUP_BYTES (64u << 10)
#define GROUPS_MAX 65536

bool spawn_is_mapped(const struct child_spec *spec, int number)
{
	for (size_t i = 0; i < spec->n_fds; i++)
		if (spec->fds[i].to == number)
			return true;
	return false;
}

static int step_failed(struct spawn_report *failure, enum step step, int number)
{
	*failure = (struct spawn_report){ .step = step, .error = errno, .number = number };
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
static int in_child_move(const struct spawn_plan *plan, int *report, int *ret_null, struct spawn_report *failure)
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

static int in_child_close(unsigned int first, unsigned int last, struct spawn_report *failure)
{
	if (first <= last && close_range(first, last, 0) < 0)
		return step_failed(failure, STEP_CLOSE, 0);
	return 0;
}

/* All that the program is not to have, but for @report, which is above what it is to have. */
static int in_child_close_others(const struct spawn_plan *plan, int report, struct spawn_report *failure)
{
	unsigned int next = 0, kept;

	for (size_t i = 0; i <= plan->n_keep; i++) {
		kept = (unsigned int)(i < plan->n_keep ? plan->keep[i] : report);
		if (kept > 0 && in_child_close(next, kept - 1, failure) < 0)
			return -1;
		next = kept + 1;
	}
	return in_child_close(next, UINT_MAX, failure);
}

static int in_child_fds(const struct spawn_plan *plan, int *report, struct spawn_report *failure)
{
	const struct child_spec *spec = plan->spec;
	int null;

	if (in_child_move(plan, report, &null, failure) < 0)
		return -1;
	for (int n = 0; n < N_STDIO; n++)
		if (!spawn_is_mapped(spec, n) && dup3(null, n, 0) < 0)
			return step_failed(failure, STEP_FD, n);
	for (size_t i = 0; i < spec->n_fds; i++)
		if (dup3(plan->moved[i], spec->fds[i].to, 0) < 0)
			return step_failed(failure, STEP_FD, spec->fds[i].to);
	return in_child_close_others(plan, *report, failure);
}

/* A pipe that the process writes its output to is made its own: otherwise it could not open /dev/stdout. */
static int in_child_output(const struct spawn_plan *plan, struct spawn_report *failure)
{
	struct stat st;

	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && st.st_uid != plan->uid && fchown(fd, plan->uid, KEEP_GID) < 0)
			return step_failed(failure, STEP_OUTPUT, fd);
	return 0;
}

static int in_child_identity(const struct spawn_plan *plan, struct spawn_report *failure)
{
	bool drops = plan->uid != KEEP_UID && plan->uid != 0;
	const struct privileges *privileges = drops ? &plan->spec->dropped : &plan->spec->privileges;

	if (plan->uid != KEEP_UID && plan->uid != geteuid() && in_child_output(plan, failure) < 0)
		return -1;
	errno = -privileges_lower(privileges);
	if (errno)
		return step_failed(failure, STEP_LOWER, 0);
	/* The user comes last: after that we have no right to change the groups. */
	if (plan->set_groups && setgroups((size_t)plan->n_groups, plan->groups) < 0)
		return step_failed(failure, STEP_GROUPS, 0);
	if (plan->gid != KEEP_GID && setresgid(plan->gid, plan->gid, plan->gid) < 0)
		return step_failed(failure, STEP_GID, (int)plan->gid);
	if (plan->uid != KEEP_UID && setresuid(plan->uid, plan->uid, plan->uid) < 0)
		return step_failed(failure, STEP_UID, (int)plan->uid);
	errno = -privileges_settle(privileges);
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

static void in_child_tell(int report, enum step step)
{
	const struct spawn_report about = { .step = step };

	(void)!write(report, &about, sizeof(about));
}

/* ---- the look-up of names, in the child ---- */

static void in_child_add(const struct spawn_plan *plan, char *entry)
{
	size_t n = 0;

	while (plan->envp[n])
		n++;
	plan->envp[n] = entry;
}

static int in_child_lookup_user(struct spawn_plan *plan, struct spawn_report *failure)
{
	const struct child_spec *spec = plan->spec;
	static char names[LOOKUP_BYTES];
	struct passwd entry, *user = NULL;

	errno = getpwnam_r(spec->user, &entry, names, sizeof(names), &user);
	if (!user)
		return step_failed(failure, STEP_USER, -1);
	if (plan->uid == KEEP_UID)
		plan->uid = user->pw_uid;
	if (plan->gid == KEEP_GID && !spec->group)
		plan->gid = user->pw_gid;
	if (!spec->sets_home || snprintf(plan->home, sizeof(plan->home), "HOME=%s", user->pw_dir) >= (int)sizeof(plan->home))
		return 0;
	in_child_add(plan, plan->home);
	return 0;
}

static int in_child_lookup_group(struct spawn_plan *plan, struct spawn_report *failure)
{
	static char names[LOOKUP_BYTES];
	struct group entry, *group = NULL;

	errno = getgrnam_r(plan->spec->group, &entry, names, sizeof(names), &group);
	if (!group)
		return step_failed(failure, STEP_GROUP, -1);
	plan->gid = group->gr_gid;
	return 0;
}

/* As whom the process is to run, with all groups of the user. */
static int in_child_lookup(struct spawn_plan *plan, int report, struct spawn_report *failure)
{
	const struct child_spec *spec = plan->spec;
	static gid_t groups[GROUPS_MAX];

	plan->groups = groups;
	if (spec->user || spec->group)
		in_child_tell(report, spec->user ? STEP_USER : STEP_GROUP);
	if (spec->user && (plan->uid == KEEP_UID || spec->sets_home) && in_child_lookup_user(plan, failure) < 0)
		return -1;
	if (spec->group && plan->gid == KEEP_GID && in_child_lookup_group(plan, failure) < 0)
		return -1;
	if (!spec->user) {
		plan->set_groups = plan->uid != KEEP_UID && plan->uid != geteuid();
		return 0;
	}
	plan->set_groups = true;
	plan->n_groups = GROUPS_MAX;
	if (getgrouplist(spec->user, plan->gid != KEEP_GID ? plan->gid : getegid(), groups, &plan->n_groups) >= 0)
		return 0;
	errno = E2BIG;
	return step_failed(failure, STEP_GROUPS, 0);
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
static int in_child_oom(const struct spawn_plan *plan, struct spawn_report *failure)
{
	if (*plan->oom_score_adj && write_oom(plan->oom_score_adj) < 0)
		return step_failed(failure, STEP_OOM, *plan->spec->oom_score_adj);
	if (plan->spec->ends_first)
		(void)write_oom("1000");
	return 0;
}

static int in_child_become(struct spawn_plan *plan, int *report, struct spawn_report *failure)
{
	const struct child_spec *spec = plan->spec;

	/* Before anything that it could start. Where that cannot be, it is where it is: nothing depends on it. */
	if (spec->group_procs)
		(void)!write(*spec->group_procs, "0", 1);
	if (setsid() < 0)
		return step_failed(failure, STEP_SESSION, 0);
	in_child_signals();
	if (in_child_oom(plan, failure) < 0)
		return -1;
	if (in_child_fds(plan, report, failure) < 0)
		return -1;
	/* This may last for ever: whoever waits for the end of something that is the supervisor's must not wait for that. What a
	 * name service leaves open is closed, too. */
	if (in_child_lookup(plan, *report, failure) < 0 || in_child_close_others(plan, *report, failure) < 0)
		return -1;
	/* After the descriptors were moved: their copies may be above the child's limit. */
	if (setrlimit(RLIMIT_NOFILE, &plan->limit) < 0)
		return step_failed(failure, STEP_LIMIT, 0);
	if (in_child_identity(plan, failure) < 0)
		return -1;
	if (spec->pid_variable && snprintf(plan->pid, sizeof(plan->pid), "%s=%d", spec->pid_variable, (int)getpid()) > 0)
		in_child_add(plan, plan->pid);
	in_child_tell(*report, STEP_CHDIR);
	if (chdir(spec->cwd ? spec->cwd : "/") < 0)
		return step_failed(failure, STEP_CHDIR, 0);
	in_child_tell(*report, STEP_EXEC);
	if (spec->try_only && in_child_may_exec(spec->path))
		_exit(0);
	if (!spec->try_only)
		execve(spec->path, spec->argv, plan->envp);
	return step_failed(failure, STEP_EXEC, 0);
}

_Noreturn void spawn_in_child(struct spawn_plan *plan, int report)
{
	struct spawn_report failure;

	in_child_become(plan, &report, &failure);
	/* Less than PIPE_BUF goes into a pipe that has room whole or not at all. If the write fails, only the exit status tells. */
	_exit(write(report, &failure, sizeof(failure)) == (ssize_t)sizeof(failure) ? 127 : 126);
}
