/* SPDX-License-Identifier: MIT */
/* Is the machine short of memory? */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct why;

struct pressure_limits {
	uint64_t available_bytes; /* memory is short when less is available; 0: no limit */
	unsigned stalled_percent; /* ... when some task waited for memory for more of the last 10 s; 0: no limit */
};

/** pressure_is_high() - Has one of @limits been passed, by /proc/meminfo and /proc/pressure/memory? A file that cannot be read
 * passes none. @why: which limit, with the figures. */
bool pressure_is_high(const struct pressure_limits *limits, struct why *why);

/** pressure_available() - Read "MemAvailable" in the text of /proc/meminfo. Return: 0; -ENODATA: it is not there. */
int pressure_available(const char *meminfo, uint64_t *ret_bytes);

/** pressure_stalled() - Read "some avg10=" in the text of /proc/pressure/memory, rounded down. Return: 0; -ENODATA. */
int pressure_stalled(const char *psi, unsigned *ret_percent);
