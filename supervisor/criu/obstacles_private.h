/* SPDX-License-Identifier: MIT */
/* Shared by imageable*.c alone. */
#pragma once

#include "supervisor/criu/obstacles.h"

#include <stdbool.h>

/* One open descriptor of the process. */
struct open_fd {
	int fd;
	unsigned long long inode;
	unsigned mode;            /* st_mode */
	unsigned long long rdev;
	unsigned long long size_bytes; /* on disk: what holes do not take, CRIU does not count */
	unsigned long n_links;
	unsigned flags;           /* of open(2), from fdinfo */
	char link[256];
};

struct look {
	const struct imageable_spec *spec;
	struct imageable_report *report;
	int proc;                 /* /proc/PID */
	struct open_fd *fds;
	size_t n_fds;
};

void look_note(struct look *look, enum obstacle_level level, int fd, const char *kind, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/** look_knows() - Is this socket or pipe taken care of? */
bool look_knows(const struct look *look, unsigned long long inode);

/** look_owns() - Return: how many descriptors of the process are this socket or pipe. */
size_t look_owns(const struct look *look, unsigned long long inode);

/** look_read() - A small file of /proc/PID as text. Return: length, or -errno. */
ssize_t look_read(const struct look *look, const char *name, char *buf, size_t size);

/** look_sockets() - Return: 0 or -errno. */
int look_sockets(struct look *look, struct why *why);

/** look_is_deleted() - Does what /proc says of a file end with " (deleted)"? */
bool look_is_deleted(const char *path);

void look_process(struct look *look);
void look_maps(struct look *look);
