/* SPDX-License-Identifier: MIT */
/* Shared by obstacles*.c alone. */
#pragma once

#include "supervisor/criu/obstacles.h"
#include "supervisor/machine/safe_path.h"

#include <stdbool.h>
#include <string.h>

/* One open descriptor of the process. */
struct open_fd {
	int fd;
	unsigned long long inode;
	unsigned mode;            /* st_mode; of a socket its kind alone, and none of what follows but @link */
	unsigned long long rdev;
	unsigned long long size_bytes; /* on disk: CRIU does not count the holes of a file */
	unsigned long n_links;
	unsigned flags;           /* of open(2), from fdinfo */
	char link[256];
};

/* The process that is looked at. */
struct subject {
	const struct obstacles_spec *spec;
	struct obstacles_report *report; /* what was found of it so far */
	int proc;                 /* /proc/PID */
	struct open_fd *fds;      /* in the order of their numbers */
	size_t n_fds;
	/* So that nothing is quadratic in the descriptors of a process: */
	struct open_fd **by_inode; /* the sockets and pipes among @fds, by their inodes */
	size_t n_by_inode;
	unsigned long long *known; /* @spec->known, sorted */
	struct safe_served served;
	bool is_of_user;          /* not root's */
	bool found_us;            /* the pidfd that @spec->holds_us speaks of */
};

/** obstacle_note() - Add one to the report. When the report is full, a fatal one takes the place of a warning. */
void obstacle_note(struct subject *subject, enum obstacle_level level, int fd, const char *kind, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/** subject_knows() - Is the socket or pipe @inode taken care of? */
bool subject_knows(const struct subject *subject, unsigned long long inode);

/** subject_owners() - Return: the descriptors of the process that are the socket or pipe @inode, *@ret_n of them, in the
 * order of their access modes. */
struct open_fd *const *subject_owners(const struct subject *subject, unsigned long long inode, size_t *ret_n);

/** subject_has() - Does the process have a descriptor of this number? */
bool subject_has(const struct subject *subject, int fd);

/** subject_read() - A small file of /proc/PID as text. Return: length, or -errno. */
ssize_t subject_read(const struct subject *subject, const char *name, char *buf, size_t size);


static inline bool text_starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* Each of these notes the obstacles of one kind. Those of descriptors read @subject->fds, the others /proc. */
void obstacles_of_fds(struct subject *subject);
void obstacles_of_process(struct subject *subject);
void obstacles_of_maps(struct subject *subject);

/** obstacles_of_sockets() - Return: 0 or -errno. */
int obstacles_of_sockets(struct subject *subject, struct why *why);
