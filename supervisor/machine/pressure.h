/* SPDX-License-Identifier: MIT */
/* Is the machine short of memory? */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct why;

struct pressure_limits {
	uint64_t available_bytes; /* less than this is available; 0: any amount will do */
	unsigned stalled_percent; /* more of the last 10 s than this, some task waited for memory; 0: never */
};

/** pressure_is_high() - Look now, at /proc/meminfo and /proc/pressure/memory. What cannot be read presses nobody.
 * @why: which limit was passed, with the figures. */
bool pressure_is_high(const struct pressure_limits *limits, struct why *why);

/** pressure_available() - "MemAvailable" in the text of /proc/meminfo. Return: 0; -ENODATA: it is not there. */
int pressure_available(const char *meminfo, uint64_t *ret_bytes);

/** pressure_stalled() - "some avg10=" in the text of /proc/pressure/memory, rounded down. Return: 0; -ENODATA. */
int pressure_stalled(const char *psi, unsigned *ret_percent);
