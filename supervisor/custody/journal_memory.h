/* SPDX-License-Identifier: MIT */
/* The memory of a journal, which outlives the version that writes it. From the commit to the end of the bake the new version notes
 * there what the old one would need to go on. Only the two versions know what stands in it; here it is a number of bytes. */
#pragma once

#include <stdint.h>

struct why;

/**
 * journal_memory_create() - An empty memfd of @size_bytes.
 * @ret_fd: owned by the caller.
 *
 * It takes no memory until it is written to. Its size is sealed, so that nobody who maps it can be hit by another who cuts it.
 * Return: 0 or -errno.
 */
int journal_memory_create(uint64_t size_bytes, int *ret_fd, struct why *why);
