/* SPDX-License-Identifier: MIT */
/* The limits of memory that the control groups above a process set: version 2 (memory.max, memory.high) and version 1. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

#define CGROUP_PATH 256u

struct cgroup_memory {
	uint64_t limit_bytes;     /* of the group with the least room */
	uint64_t used_bytes;      /* what the kernel could not get back at once: without files that are only cached */
	uint64_t free_bytes;
	char path[CGROUP_PATH];   /* of its folder */
	const char *file;         /* that has the limit: "memory.max", ... */
};

/** cgroup_memory() - Find the group with the least room among those above a process. Return: 0; -ENODATA: none has a limit, or
 * nobody tells. */
int cgroup_memory(pid_t pid, struct cgroup_memory *ret);

/**
 * cgroup_memory_at() - The same, for tests.
 * @mount: where the hierarchy is mounted. @path: of the group in it, "/" or longer. @version: 1 or 2.
 */
int cgroup_memory_at(const char *mount, const char *path, int version, struct cgroup_memory *ret);

/** cgroup_delegated() - The folder below which groups may be made: that of our own group, if whoever made it has said that it is
 * ours (systemd: Delegate=yes), or of the one above it, if we are in its leaf "supervisor" (DelegateSubgroup=). Return: 0;
 * -ENODATA: there is none. */
int cgroup_delegated(char *ret, size_t size);

/* In the group whose processes waited for memory the most. */
struct cgroup_stalled {
	unsigned percent;         /* of the last 10 s in which some process waited, rounded down */
	char path[CGROUP_PATH];
};

/** cgroup_stalled() - Find that group among those above a process. Return: 0; -ENODATA: nobody tells (version 1 never does). */
int cgroup_stalled(pid_t pid, struct cgroup_stalled *ret);

/** cgroup_stalled_at() - The same, for tests. */
int cgroup_stalled_at(const char *mount, const char *path, struct cgroup_stalled *ret);
