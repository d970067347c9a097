/* SPDX-License-Identifier: MIT */
/* All that the logbook asks of the disk, as one table of calls, which a test can replace: each of them may fail. */
#pragma once

#include "supervisor/logbook/logbook.h"

#include <stdint.h>
#include <sys/types.h>

/* As the system calls: -1 and errno. */
struct logbook_disk {
	int (*openat)(int folder, const char *name, int flags, mode_t mode);
	ssize_t (*pread)(int fd, void *buffer, size_t size_bytes, off_t at);
	ssize_t (*pwrite)(int fd, const void *data, size_t size_bytes, off_t at);
	int (*ftruncate)(int fd, off_t size_bytes);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd); /* of a new file, and of the folder */
	int (*linkat)(int folder, const char *name, int to_folder, const char *to_name, int flags);
	int (*renameat)(int folder, const char *name, int to_folder, const char *to_name);
	int (*unlinkat)(int folder, const char *name, int flags);
	uint32_t (*chance)(void); /* never fails */
};

extern const struct logbook_disk logbook_disk_real;

/** logbook_open_on() - As logbook_open(). @disk: borrowed until logbook_free(). */
int logbook_open_on(const struct logbook_disk *disk, const char *folder, struct logbook **ret_book,
		    enum logbook_found *ret_found, struct why *why);

/** disk_write() - Write all of it. Return: 0 or -errno. */
int disk_write(const struct logbook_disk *disk, int fd, const void *data, size_t size_bytes, off_t at);

/**
 * disk_read() - Read what the file holds, to its end or up to @size_bytes.
 * @ret_unreadable: how many bytes the disk did not give (EIO); they are zero in @data.
 *
 * Return: 0 or -errno.
 */
int disk_read(const struct logbook_disk *disk, int fd, uint8_t *data, size_t size_bytes, size_t *ret_size_bytes,
	      size_t *ret_unreadable);
