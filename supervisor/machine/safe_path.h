/* SPDX-License-Identifier: MIT */
/* Paths that lead where they led before, because nobody but root could have changed a step of them.
 *
 * A step is safe if the folder belongs to root (or to the user of this process, who may do anything to us anyway) and neither its
 * group nor others may write in it. In a folder like /tmp (sticky) everybody may write, but nobody can take away or rename what is
 * root's: there a step is safe if what it leads to is root's. A symbolic link is no safe step, whoever made it, and neither is a
 * file system that a program serves (FUSE): it tells of its files what it likes, and may keep us waiting.
 *
 * Because the folders' rights exclude a change, what holds at the check holds at any later use, too, as far as others than root go.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct why;

/** safe_user() - Is @uid one that may do anything to this process anyway: root, our own user, or the owner of "/"? */
bool safe_user(uid_t uid);

/** safe_process() - Is the process whose /proc/PID is open as @proc one of safe users, by each of its ids? A process that cannot be
 * looked at is not. */
bool safe_process(int proc);

#define SAFE_SERVED_MAX 64u

/* The mounts that programs serve. With more than there is room for every mount counts as one. */
struct safe_served {
	unsigned long mount[SAFE_SERVED_MAX];
	size_t n;
};

/** safe_served_read() - Without asking any of these programs. A list that cannot be read is an empty one. */
void safe_served_read(struct safe_served *ret);

/** safe_served_has() - @mount: as in "mnt_id:" of /proc/PID/fdinfo. */
bool safe_served_has(const struct safe_served *served, unsigned long mount);

/** safe_mount_of() - The id of the mount that @fd is open on (O_PATH will do); 0: nobody tells. */
unsigned long safe_mount_of(int fd);

/* Many paths, one after the other: what is read once, and the folder of the path before, where the next one often is, too. Not to
 * be kept for longer than it takes to go along the paths. */
struct safe_paths {
	struct safe_served served;
	char *folder;        /* owned; NULL: none */
	int folder_fd;       /* owned */
	struct stat folder_st;
	unsigned long folder_mount;
};

void safe_paths_init(struct safe_paths *paths);
void safe_paths_done(struct safe_paths *paths);

/**
 * safe_path_open() - Go along @path, which is absolute and has no "." or ".." in it, and open its end with O_PATH.
 * @ret_shared: NULL, or whether its folder is one in which everybody may write (sticky).
 *
 * Return: 0; -EPERM: others could change it, and @why names the step and who; -ELOOP: a symbolic link; -EINVAL; -errno.
 */
int safe_path_open(struct safe_paths *paths, const char *path, int *ret_fd, bool *ret_shared, struct why *why);

/**
 * safe_path_folder() - Is the folder of @path safe to make a file of that name in? The file itself need not be there.
 * @may_be_shared: the file will be root's, so that a folder like /tmp is good enough.
 *
 * Return: as safe_path_open().
 */
int safe_path_folder(struct safe_paths *paths, const char *path, bool may_be_shared, struct why *why);
