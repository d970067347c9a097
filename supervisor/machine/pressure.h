/* SPDX-License-Identifier: MIT */
/* Is memory short? As a process meets it: the control group above it that has the least room counts, if it has less than the
 * machine. */
#pragma once

#include "supervisor/machine/cgroup.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

struct pressure_limits {
	uint64_t available_bytes; /* memory is short when less is available; 0: no limit */
	unsigned stalled_percent; /* ... when some process waited for memory for more of the last 10 s; 0: no limit */
};

/* What is seen of memory. */
struct pressure {
	bool knows_available, knows_stalled;
	uint64_t available_bytes;
	struct cgroup_memory group;    /* whose room that is; @limit_bytes 0: the machine's */
	unsigned stalled_percent;
	char stalled[CGROUP_PATH];     /* the group that it was in; "": the machine */
};

/** pressure_look() - What the kernel tells of the machine and of the control groups above a process. */
void pressure_look(pid_t pid, struct pressure *ret);

/**
 * pressure_is_high() - Has one of @limits been passed? What is not known passes none. @why: which limit, with the figures.
 *
 * Of a control group at most a quarter has to be available, whatever the limit: in a small one there is never more.
 */
bool pressure_is_high(const struct pressure *pressure, const struct pressure_limits *limits, struct why *why);

/** pressure_available() - Read "MemAvailable" in the text of /proc/meminfo. Return: 0; -ENODATA: it is not there. */
int pressure_available(const char *meminfo, uint64_t *ret_bytes);

/** pressure_stalled() - Read "some avg10=" in the text of /proc/pressure/memory, rounded down. Return: 0; -ENODATA. */
int pressure_stalled(const char *psi, unsigned *ret_percent);
