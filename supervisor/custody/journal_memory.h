/* SPDX-License-Identifier: MIT */
/* The memory that outlives a version: where it notes, from the commit to the end of the bake, what its predecessor would need to
 * go on from there. What stands in it is between the two versions; here it is so many bytes. */
#pragma once

#include <stdint.h>

struct why;

#define JOURNAL_BYTES_MIN (64u << 10)
#define JOURNAL_BYTES_DEFAULT (256u << 20)

/**
 * journal_file_create() - An empty memfd of @size_bytes.
 * @ret_fd: owned by the caller.
 *
 * It takes no memory until it is written to. Its size is sealed, so that nobody who maps it can be hit by another who cuts it.
 * Return: 0 or -errno.
 */
int journal_file_create(uint64_t size_bytes, int *ret_fd, struct why *why);
