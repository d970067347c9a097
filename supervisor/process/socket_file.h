/* SPDX-License-Identifier: MIT */
/* The file at which a unix socket listens that we open for a service. */
#pragma once

#include <sys/types.h>

struct why;

/* Which file it is: another one may be at its path by now. */
struct socket_file {
	dev_t device;
	ino_t inode;
};

/**
 * socket_file_bind() - Bind @fd at @path, with @mode from the first moment on. A socket there at which nobody answers is
 * removed.
 *
 * The folder must be one in which nobody else can change what lies there, as we do this with our rights and not with the service's;
 * a folder as /tmp is fine.
 *
 * Return: 0; -EADDRINUSE: somebody answers there, or it is no socket; -EPERM: the folder; -errno.
 */
int socket_file_bind(int fd, const char *path, mode_t mode, struct socket_file *ret_file, struct why *why);

/** socket_file_find() - Which socket is at @path now? Return: 0; -EPERM: the folder, as above; -errno. */
int socket_file_find(const char *path, struct socket_file *ret_file);

/** socket_file_own() - It becomes the user's and the group's that process @pid runs as. Nothing where it is another file by now. */
void socket_file_own(const char *path, const struct socket_file *file, pid_t pid);

/** socket_file_give() - It becomes @uid's and @gid's; -1: that stays as it is. Return: 0 or -errno. */
int socket_file_give(const char *path, const struct socket_file *file, uid_t uid, gid_t gid, struct why *why);

/** socket_file_remove() - Nothing where it is another file by now. */
void socket_file_remove(const char *path, const struct socket_file *file);
