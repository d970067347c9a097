/* SPDX-License-Identifier: MIT */
/* What the kernel tells in text. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** procfs_read() - A small file as text, as far as @size - 1 bytes go. Return: its length; -errno: @buf is "". */
ssize_t procfs_read(const char *path, char *buf, size_t size);

/** procfs_bytes() - The value of a line "NAME:   1234 kB". Return: 0; -ENODATA: there is no such line, or none that can be read. */
int procfs_bytes(const char *text, const char *name, uint64_t *ret_bytes);

/** procfs_state() - 'R', 'S', 'Z', ... of a process. Return: 0 if there is none. */
char procfs_state(pid_t pid);
