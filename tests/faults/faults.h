/* SPDX-License-Identifier: MIT */
/* What a test and the preloaded library share: a file that both have mapped. The test says which calls are to fail and looks what
 * became of it; the library, in each process, counts and fails. Nothing of it is in the product. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FAULTS_FILE "UPG_FAULTS" /* the variable that names it */
#define FAULT_RULES 128
#define FAULT_FRAMES 24
#define FAULT_ALWAYS UINT64_MAX

/* Whose calls. */
enum fault_role {
	FAULT_ROLE_NONE,     /* nobody that is looked at */
	FAULT_ROLE_UPGRADED,
	FAULT_ROLE_FORK,     /* of upgraded: a child before it is its program, or one that works for it */
	FAULT_ROLE_OLD,      /* the process of a service that was there before */
	FAULT_ROLE_NEW,      /* any other process of a service */
	FAULT_ROLE_CTL,      /* upgradectl */
	FAULT_ROLES
};

/* Which calls: what fails for the same reason. */
enum fault_class {
	FAULT_MEMORY,     /* malloc and its kin */
	FAULT_MAP,        /* mmap, mremap */
	FAULT_DESCRIPTOR, /* whatever makes a descriptor */
	FAULT_READ,
	FAULT_WRITE,
	FAULT_SYNC,
	FAULT_NAME,       /* what changes a folder or the size of a file */
	FAULT_SEND,
	FAULT_RECEIVE,
	FAULT_WAIT,       /* epoll_wait, poll, waitid */
	FAULT_WATCH,      /* epoll_ctl that adds, timerfd_settime */
	FAULT_PROCESS,    /* fork, threads, exec */
	FAULT_LOOK,       /* what only asks: stat, getsockopt, ... */
	FAULT_CLOCK,      /* CLOCK_REALTIME */
	FAULT_CLASSES
};

enum fault_action {
	FAULT_NOTHING,
	FAULT_FAIL,  /* with @error */
	FAULT_FULL,  /* fail with EAGAIN, where the descriptor does not wait */
	FAULT_SHORT, /* one byte goes through */
	FAULT_TRUNC, /* descriptors that come with a message find no room: the kernel sets MSG_CTRUNC */
	FAULT_DELAY, /* go on @amount microseconds later */
	FAULT_SHIFT, /* the clock is off by @amount microseconds */
};

/* On which descriptors or paths. */
enum fault_where {
	FAULT_ANYWHERE,
	FAULT_FILES,  /* what has a path */
	FAULT_STREAMS /* what has none: pipes, sockets */
};

struct fault_rule {
	enum fault_role role;
	uint32_t classes; /* bits by enum fault_class */
	enum fault_where where;
	char path[64]; /* a part of the path; "": any */
	enum fault_action action;
	int error;
	int64_t amount;
	uint64_t at;     /* the first that is struck, from 1; FAULT_ALWAYS: none, they are counted only */
	uint64_t every;  /* from there on; 0: each */
	uint64_t times;  /* how many are struck at most */
	_Atomic uint64_t seen;
};

struct faults {
	_Atomic uint32_t armed;
	_Atomic pid_t old;
	uint32_t n_rules;
	struct fault_rule rules[FAULT_RULES];
	_Atomic uint64_t struck;
	/* Of the first that was struck. */
	pid_t pid;
	char call[32], program[64];
	uint32_t n_frames;
	uint64_t frames[FAULT_FRAMES]; /* addresses in @program; 0: in a library */
};
