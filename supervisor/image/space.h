/* SPDX-License-Identifier: MIT */
/* Is there room for an image? This is asked before the dump: a full disk hurts more than an image that was not taken. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct why;

/** image_space_needed() - Estimate what an image of a process takes at most, by the kernel's counters of its anonymous and shared
 * pages, in memory and swapped out. Does not walk over its pages. Return: 0 or -errno. */
int image_space_needed(pid_t pid, uint64_t *ret_bytes, struct why *why);

/** image_space_free() - Measure the free space of the file system where @dir is, or will be made. Return: 0 or -errno. */
int image_space_free(const char *dir, uint64_t *ret_bytes, struct why *why);

/** image_space_check() - Return: 0; -ENOSPC with both figures; -errno. */
int image_space_check(const char *dir, pid_t pid, struct why *why);
