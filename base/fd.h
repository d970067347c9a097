/* SPDX-License-Identifier: MIT */
/* Owned file descriptors. */
#pragma once

#include <stddef.h>

/** fd_close() - Close @fd if it is one (>= 0); keeps errno. Return: -1, so that `x = fd_close(x)` forgets it. */
int fd_close(int fd);

/** fd_close_all() - Close @n descriptors; those below 0 are left out. Sorts @fds, so that neighbours are closed with one call. */
void fd_close_all(int *fds, size_t n);

/** fd_nonblock() - Set or clear O_NONBLOCK on the open file description. Return: 0 or -errno. */
int fd_nonblock(int fd, int on);

/** fd_open_standard() - Open /dev/null where descriptor 0, 1 or 2 is closed: what is opened next would take its number, and be
 * read or written by whoever means stdin or stderr. To be called first of all. */
void fd_open_standard(void);

/** fd_inode() - Get the inode number, which identifies a socket or a pipe. Never waits for a file system. Return: 0 or -errno. */
int fd_inode(int fd, unsigned long long *ret_inode);

/** fd_limit() - How many descriptors this process may have open: RLIMIT_NOFILE's soft limit. */
size_t fd_limit(void);

/** fd_count() - How many descriptors this process has open. */
size_t fd_count(void);

/** fd_raise_limit() - Raise RLIMIT_NOFILE's soft limit to the hard one. Return: the soft limit now in force. */
size_t fd_raise_limit(void);

/** fd_limit_at_start() - The soft limit from before fd_raise_limit(): what a child should start with. */
size_t fd_limit_at_start(void);

/** fd_set_limit_at_start() - This process was executed by one that had raised the limit already. Context: before the others. */
void fd_set_limit_at_start(size_t soft);

/** fd_write_all() - Write all of @data, waiting where needed, until @deadline_us (monotonic; 0: no deadline).
 * Never raises SIGPIPE for sockets. Return: 0, -ETIMEDOUT, or -errno. */
int fd_write_all(int fd, const void *data, size_t size_bytes, unsigned long long deadline_us);

void fd_cleanup(int *fd);
#define FD_CLEANUP __attribute__((cleanup(fd_cleanup)))
