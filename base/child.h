/* SPDX-License-Identifier: MIT */
/* A child process held by pidfd: signals reach this process or nobody, and its end is an event. It leads a session of its own,
 * and what it started in its process group ends with it, unless that is to be spared. One thread. */
#pragma once

#include "base/loop.h"
#include "base/privileges.h"
#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A status of wait(2) that is neither an exit nor a signal: somebody else has reaped the child, or SIGCHLD is ignored. */
#define CHILD_STATUS_UNKNOWN 0x7f

/* The value of oom_score_adj of whoever is to end before all others, and the lowest that there is. */
#define CHILD_OOM_FIRST 1000
#define CHILD_OOM_NEVER (-1000)

struct child_fd {
	int from;       /* borrowed: this process's fd */
	int to;         /* the number it has in the child */
};

struct child_spec {
	const char *path;                 /* absolute, or found as execve(2) would */
	char *const *argv;
	char *const *envp;                /* complete environment of the child */
	const char *cwd;                  /* NULL: "/" */
	const struct child_fd *fds;       /* all others are closed in the child; 0, 1, 2 are /dev/null unless mapped */
	size_t n_fds;
	uid_t uid;                        /* (uid_t)-1: @user's, or keep */
	gid_t gid;                        /* (gid_t)-1: @group's, or @user's, or keep */
	const char *user;                 /* its supplementary groups come along; NULL: all are dropped when uid is changed */
	const char *group;                /* NULL: none is named. Names are looked up by the child: that may last */
	bool sets_home;                   /* add HOME to the environment, as @user has it */
	const char *pid_variable;         /* add one of this name with the child's own pid; NULL: none */
	struct privileges privileges;     /* of a process that is root, or stays who we are */
	struct privileges dropped;        /* ... and of one that is @uid or @user, and that is not root */
	bool try_only;                    /* everything but the exec itself; of child_try() alone */
	const int *oom_score_adj;         /* as of proc(5); NULL: as this process has it */
	bool ends_first;                  /* ... and then the highest there is: when memory is short, the kernel ends it first */
	const int *group_procs;           /* cgroup.procs of the control group that it is to be in, open for writing; NULL: ours */
	unsigned long long nofile;        /* soft limit of RLIMIT_NOFILE; 0: the one that the caller had at its start */
};

struct spawn;

struct child {
	pid_t pid;                        /* 0: there never was a process; kept after the exit, for messages */
	int pidfd;                        /* owned; -1 when nothing runs */
	int status;                       /* as of wait(2), valid in and after @on_exit */
	bool exited;
	bool spares_group;                /* may be set at any time: what it started does not end with it */
	bool is_foreign;                  /* somebody else's child: child_regain() */
	struct spawn *spawn;              /* of this room: it is not its program yet; NULL: it is */
	struct why failure;               /* why it never became its program, valid in and after @on_exit; "": it did */
	struct source source, spawn_source;
	struct timer again;               /* it is dead, and held by a tracer, or its own parent has not reaped it yet */
	uint64_t dead_us;                 /* of a foreign one: when that was seen first; 0: it lives */
	void (*on_exit)(struct child *child);
	struct child *next_watched, **at_watched; /* child.c only */
};

/** child_init() - Set @child to the empty state; required before any other call. */
void child_init(struct child *child);

/**
 * child_spawn() - Start a process in a session of its own, signals at their defaults, SIGPIPE ignored.
 * @on_exit: called once from the loop, after the child was reaped; may spawn again or child_done().
 *
 * A process that is not its program within a moment (a program on a disk that hangs, a user that only a slow server knows) is left
 * alone to become it: the caller's own deadline is what ends it. What fails then is its end, with @failure set.
 *
 * Return: 0; -errno with the step that failed (chdir, setuid, exec, ...) in @why; then nothing was left behind.
 */
int child_spawn(struct loop *loop, struct child *child, const struct child_spec *spec,
		void (*on_exit)(struct child *child), struct why *why);

/* What a child does that is a copy of this process. */
struct child_work {
	void (*run)(void *userdata); /* in the child, which ends with status 0 after it */
	void *userdata;              /* borrowed */
	int keep_fd;                 /* the only descriptor that is open there; -1: none */
	bool background;             /* let everybody else go first: SCHED_BATCH, nice 19 */
};

/**
 * child_fork() - Start a copy of this process that does @work and ends, in a session of its own, with no signal blocked.
 *
 * The copy is killed when this process ends. The threads here are not there, so @work takes no lock of theirs; glibc sees to
 * malloc(3). Returns when the child has closed what it does not keep. @on_exit: as for child_spawn().
 *
 * Return: 0; -errno with the cause in @why; then nothing was left behind.
 */
int child_fork(struct loop *loop, struct child *child, const struct child_work *work, void (*on_exit)(struct child *child),
	       struct why *why);

/** child_try() - Would child_spawn() start it, as far as can be found out without starting it? A child goes through all its steps,
 * sees whether its user may execute the program, and ends. Waits for it as long as child_spawn() does. Return: as child_spawn();
 * -ETIMEDOUT with what it waits for. */
int child_try(const struct child_spec *spec, struct why *why);

/** child_adopt() - As child_spawn(), for a process that already is our child, as one that CRIU restored. */
int child_adopt(struct loop *loop, struct child *child, pid_t pid, void (*on_exit)(struct child *child), struct why *why);

/**
 * child_regain() - As child_adopt(), for a process that was the child of a process like this one, which has ended. Somebody else
 * reaps it.
 * @pidfd_consume: of that very process. Owned by @child on success, else closed.
 *
 * Its @status is known where the kernel tells it of a pidfd (Linux 6.15), and where its parent reaps it soon; else it is
 * CHILD_STATUS_UNKNOWN.
 */
int child_regain(struct loop *loop, struct child *child, pid_t pid, int pidfd_consume, void (*on_exit)(struct child *child),
		 struct why *why);

/** child_status_of() - How the process of @pidfd has ended, if it was reaped and the kernel tells (Linux 6.15). Return: false:
 * nobody knows. */
bool child_status_of(int pidfd, int *ret_status);

/** child_is_watched() - Does some struct child watch the process @pid? Then its end is not for anybody else to wait for. */
bool child_is_watched(pid_t pid);

/** child_kill() - Send @signal. Return: 0, also when the child has already ended; -errno. */
int child_kill(struct child *child, int signal);

/** child_kill_group() - SIGKILL to the child and to what it started in its group, at once. Nothing where it was reaped: the number
 * may be somebody else's by then. */
void child_kill_group(struct child *child);

/** child_done() - Stop watching and close the pidfd. A child that is still alive is killed with SIGKILL, and reaped; one that
 * does not end within a moment (a disk that hangs, a tracer) is left to be reaped as a stray. */
void child_done(struct child *child);

/** child_let_go() - Stop watching and close the pidfd; the process is not touched. */
void child_let_go(struct child *child);

/** child_move() - Hand the watch over a running process to @to, which was initialised, with @on_exit. @from is as after
 * child_init() then. Return: 0; -errno: nothing was moved. */
int child_move(struct child *from, struct child *to, void (*on_exit)(struct child *child));


/** child_doing() - What a child does that is not its program yet: "looks up the user web". Return: @buf; NULL: it is its program.
 * */
const char *child_doing(const struct child *child, char *buf, size_t size);

/** child_describe() - "exited with status 3", "was killed by SIGSEGV (core dumped)". Return: @buf. */
const char *child_describe(const struct child *child, char *buf, size_t size);

/** child_describe_status() - The same of a status of wait(2). Return: @buf. */
const char *child_describe_status(int status, char *buf, size_t size);
