/* SPDX-License-Identifier: MIT */
/* What would keep a process from being imaged, said before a roll instead of after it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct why;

#define OBSTACLES_MAX 64u

enum obstacle_level {
	OBSTACLE_WARNING, /* can be imaged, but something of it does not come back as it was */
	OBSTACLE_FATAL,   /* CRIU refuses it, or could not restore it */
};

struct obstacle {
	enum obstacle_level level;
	int fd;           /* -1: not a descriptor */
	const char *kind; /* a literal: "io_uring", "unix socket", "device", ... */
	char text[224];   /* names the descriptor, mapping or process, and says what is the matter */
};

struct imageable_report {
	struct obstacle obstacle[OBSTACLES_MAX];
	size_t n;         /* of those in @obstacle; more are only counted */
	size_t n_warnings;
	size_t n_fatal;
};

struct imageable_spec {
	pid_t pid;        /* a process of ours: its descriptors must be readable */
	/* Inodes of the sockets and pipes that are taken care of: what the application registered (it sheds them before the
	 * image), its channel to the supervisor, and the pipes that are its stdout and stderr. */
	const unsigned long long *known;
	size_t n_known;
	const char *next_exe; /* of the version it is to be replaced by; NULL: none in view */
};

/**
 * imageable_check() - Look at a running process's descriptors, mappings and relations.
 *
 * Changes nothing of it and needs no CRIU. What it finds is as of now: the application may open and close meanwhile.
 *
 * Return: 0, with what was found in @ret_report; -errno if the process could not be looked at.
 */
int imageable_check(const struct imageable_spec *spec, struct imageable_report *ret_report, struct why *why);

/** imageable_may_restore_users() - May this process have CRIU restore processes of other users than root? */
bool imageable_may_restore_users(void);
