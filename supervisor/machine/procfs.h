/* SPDX-License-Identifier: MIT */
/* Files in /proc, where the kernel tells things as text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** procfs_read() - Read the first @size - 1 bytes of a small file as text. Return: the length; -errno: @buf is "". */
ssize_t procfs_read(const char *path, char *buf, size_t size);

/** procfs_read_at() - The same for @name in a folder that is open as @folder, as openat(2) takes it. */
ssize_t procfs_read_at(int folder, const char *name, char *buf, size_t size);

/** procfs_bytes() - Find a line "NAME:   1234 kB" and read its value. Return: 0; -ENODATA: there is no such line. */
int procfs_bytes(const char *text, const char *name, uint64_t *ret_bytes);

/** procfs_is_deleted() - Does what /proc says of a file end with " (deleted)"? */
bool procfs_is_deleted(const char *path);
/** procfs_program_is_gone() - Was the program of @pid replaced or removed while it ran? What cannot be read counts as no. */
bool procfs_program_is_gone(pid_t pid);

/** procfs_open_files() - How many descriptors a process may have open now. Return: 0 if there is no such process, or no limit. */
size_t procfs_open_files(pid_t pid);

/** procfs_state() - Look up the state of a process: 'R', 'S', 'Z', ... Return: 0 if there is no such process. */
char procfs_state(pid_t pid);

/** procfs_maps() - Does process @pid have a mapping whose line holds @name? What cannot be read counts as no; so does what lies
 * beyond 4 MiB of text. */
bool procfs_maps(pid_t pid, const char *name);
/** procfs_children() - The child processes of @pid, of all its threads. Return: how many, at most @max. 0 also where the kernel
 * does not tell. */
size_t procfs_children(pid_t pid, pid_t *ret_pids, size_t max);

/** procfs_start_ticks() - When @pid was started. Pid and start time name a process for as long as the machine runs. Return: 0;
 * -ESRCH: there is no such process. */
int procfs_start_ticks(pid_t pid, uint64_t *ret_ticks);

#define PROCFS_FDS_MAX 65536 /* descriptors of a process above this number are not looked at */

/** procfs_each() - Call @fn for each process there is. Not 0 ends the walk. Return: 0; what @fn returned; -errno. */
int procfs_each(int (*fn)(void *arg, pid_t pid), void *arg);

/** procfs_user() - As whom does @pid run? Return: 0; -ESRCH. */
int procfs_user(pid_t pid, uid_t *ret_uid);

/** procfs_each_fd() - Call @fn for each descriptor of @pid with a number @below this one, in their order, with what the kernel says
 * of it ("/dev/null", "socket:[1234]"; cut at 63 bytes). Not 0 ends the walk. Return: 0; what @fn returned; -errno: they cannot be
 * looked at. */
int procfs_each_fd(pid_t pid, int below, int (*fn)(void *arg, int number, const char *link), void *arg);

/** procfs_fd() - On which mount the file lies that @pid has open as @number, and its inode; 0 where an older kernel does not say.
 * Nobody is asked but the kernel, whatever file that is. Return: 0; -ENODATA; another -errno. */
int procfs_fd(pid_t pid, int number, uint64_t *ret_mount, uint64_t *ret_inode);

/** procfs_each_socket() - Call @fn for each socket of @pid with a number @below this one, in their order, so that it does not last
 * as long as the process likes. Not 0 ends the walk. Return: 0; what @fn returned; -errno: its descriptors cannot be looked at. */
int procfs_each_socket(pid_t pid, int below, int (*fn)(void *arg, int number, unsigned long long inode), void *arg);

/** procfs_find_socket() - Under which number has @pid the socket @inode? @below: as above. Return: the number; -ENOENT; another
 * -errno. */
int procfs_find_socket(pid_t pid, unsigned long long inode, int below);

/** procfs_group() - Return: the process group of @pid; 0 if there is no such process. */
pid_t procfs_group(pid_t pid);

/** procfs_parent(), procfs_parent_at() - Return: the parent of @pid, or of the process whose folder in /proc is @proc; 0 if there
 * is no such process. */
pid_t procfs_parent(pid_t pid);
pid_t procfs_parent_at(int proc);

/** procfs_name() - The name of @pid, tamed; "?" if there is no such process. Return: @buf. */
const char *procfs_name(pid_t pid, char *buf, size_t size);
