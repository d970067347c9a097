/* SPDX-License-Identifier: MIT */
/* Of this room alone: what a child does between fork and exec, for spawn.c. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

struct child_spec;

#define KEEP_UID ((uid_t)-1)
#define KEEP_GID ((gid_t)-1)
#define N_STDIO 3

enum step { STEP_FORKED, STEP_SESSION, STEP_USER, STEP_GROUP, STEP_OOM, STEP_NULL, STEP_FD, STEP_CLOSE, STEP_LIMIT, STEP_OUTPUT,
	    STEP_LOWER, STEP_GROUPS, STEP_GID, STEP_UID, STEP_SETTLE, STEP_CHDIR, STEP_EXEC };

/* What the child tells. */
struct spawn_report {
	enum step step;
	int error;      /* 0: it is about to take this step, which may last */
	int number;     /* STEP_FD: in the child; STEP_GID, STEP_UID: which; -1: it failed, and no error may be told */
};

struct spawn_plan {
	const struct child_spec *spec;
	int *keep;              /* numbers that are open in the child, ascending: 0, 1, 2 and each @to */
	size_t n_keep;
	int *moved;             /* the child's scratch: copies of each @from above all of @keep */
	struct rlimit limit;
	char oom_score_adj[16]; /* as text; "": as it is */
	char **envp;            /* with room for HOME and @pid at its end */
	/* As whom: by number from @spec, or looked up by the child. */
	uid_t uid;
	gid_t gid;
	bool set_groups;
	gid_t *groups;
	int n_groups;
	char home[PATH_MAX];    /* HOME=... */
	char pid[64];           /* NAME=... */
};

/** spawn_is_mapped() - Does @spec say what is to be @number in the child? */
bool spawn_is_mapped(const struct child_spec *spec, int number);

/** spawn_in_child() - Become the program of @plan, and tell @report. */
_Noreturn void spawn_in_child(struct spawn_plan *plan, int report);
