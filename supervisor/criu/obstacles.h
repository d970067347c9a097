/* SPDX-License-Identifier: MIT */
/* What would keep a process from being imaged. It is looked for before a roll, so that nobody learns of it after the commit. */
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
	char text[320];   /* names the descriptor, mapping or process, and says what is the matter */
};

struct obstacles_report {
	struct obstacle obstacle[OBSTACLES_MAX];
	size_t n;         /* in @obstacle; what is beyond OBSTACLES_MAX is only counted */
	size_t n_warnings;
	size_t n_fatal;
};

struct obstacles_spec {
	pid_t pid;        /* a process of ours: its descriptors must be readable */
	/* Inodes of the sockets and pipes that are taken care of: those that the application registered and sheds before the image,
	 * its channel to the supervisor, and the pipes that are its stdout and stderr. */
	const unsigned long long *known;
	size_t n_known;
	const char *next_exe; /* executable of the version that replaces it; NULL: not known yet */
	bool children_stay;   /* its child processes are to go on without it: CRIU would take them along */
	/* One pidfd of this very process is its library's, which lets go of it before an image is taken. Any other one stays. */
	bool holds_us;
};

/** obstacles_add() - Add one to a report. When it is full, a fatal one takes the place of a warning. @kind: a literal. */
void obstacles_add(struct obstacles_report *report, enum obstacle_level level, int fd, const char *kind, const char *text);

/**
 * obstacles_check() - Look at a running process's descriptors, mappings and relations.
 *
 * Changes nothing of the process and needs no CRIU. The report is of now: the application goes on to open and close things.
 *
 * Return: 0, with what was found in @ret_report; -errno if the process could not be looked at.
 */
int obstacles_check(const struct obstacles_spec *spec, struct obstacles_report *ret_report, struct why *why);
