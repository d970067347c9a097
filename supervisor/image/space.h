/* SPDX-License-Identifier: MIT */
/* Is there room for an image? Asked before the dump, as a full disk hurts more than an image that was not taken. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct why;

/** image_space_needed() - What an image of a process will take at most, from what the kernel counts of its memory: anonymous
 * and shared pages, in memory and swapped out. No walk over its pages. Return: 0 or -errno. */
int image_space_needed(pid_t pid, uint64_t *ret_bytes, struct why *why);

/** image_space_free() - What is free where @dir is, or will be. Return: 0 or -errno. */
int image_space_free(const char *dir, uint64_t *ret_bytes, struct why *why);

/** image_space_check() - Return: 0; -ENOSPC with both figures; -errno. */
int image_space_check(const char *dir, pid_t pid, struct why *why);
