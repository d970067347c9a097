/* SPDX-License-Identifier: MIT */
/* The duplicates the supervisor keeps of a service's descriptors while a roll may still go back. */
#pragma once

#include "wire/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct why;

struct custody_entry {
	char *name;
	uint64_t tag;
	int fd;
	unsigned long long inode;
};

struct custody {
	struct custody_entry *entries;
	size_t n, cap;
};

/** custody_take() - Take the descriptors of one Fds message out of @fds. Return: 0; -EPROTO if names and descriptors do
 * not match in number; -ENOMEM. What was taken stays taken. */
int custody_take(struct custody *custody, const Upgraded__Wire__Fds *message, struct wire_fds *fds, struct why *why);

/** custody_drop() - The application closed it. */
void custody_drop(struct custody *custody, const char *name, uint64_t tag);

/** custody_drop_at() - Give one up. With @reset its peer gets a RST, provided nobody else holds it. Moves the last entry to @i. */
void custody_drop_at(struct custody *custody, size_t i, bool reset);
void custody_clear(struct custody *custody);

/** custody_tcp_inodes() - The inodes of connected TCP sockets, unsorted. @ret: owned by the caller. Return: 0 or -ENOMEM. */
int custody_tcp_inodes(const struct custody *custody, unsigned long long **ret_inodes, size_t *ret_n);
