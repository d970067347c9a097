/* SPDX-License-Identifier: MIT */
#include "supervisor/custody.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SAMPLE_US (100 * USEC_PER_MSEC)

static int reserve(struct custody *custody, size_t more)
{
	size_t cap = custody->cap ? custody->cap : 64;
	struct custody_entry *entries;

	while (cap < custody->n + more)
		cap *= 2;
	if (cap == custody->cap)
		return 0;
	entries = realloc(custody->entries, cap * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	custody->entries = entries;
	custody->cap = cap;
	return 0;
}

static bool is_tcp_connection(int fd)
{
	int domain, protocol, listening;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || (domain != AF_INET && domain != AF_INET6))
		return false;
	size = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0 || protocol != IPPROTO_TCP)
		return false;
	size = sizeof(int);
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && !listening;
}

int custody_take(struct custody *custody, const Upgraded__Wire__Fds *message, struct wire_fds *fds, struct why *why)
{
	if (message->n_fds != fds->n)
		return why_set(why, -EPROTO, "%zu descriptors are named, %zu came", message->n_fds, fds->n);
	if (reserve(custody, fds->n) < 0)
		return why_errno(why, -ENOMEM, "descriptors");
	for (size_t i = 0; i < fds->n; i++) {
		struct custody_entry *entry = &custody->entries[custody->n];

		*entry = (struct custody_entry){ .name = strdup(message->fds[i]->name), .tag = message->fds[i]->tag };
		if (!entry->name)
			return why_errno(why, -ENOMEM, "descriptors");
		entry->fd = wire_fds_claim(fds, i);
		fd_inode(entry->fd, &entry->inode);
		entry->is_tcp = is_tcp_connection(entry->fd);
		custody->n++;
	}
	return 0;
}

void custody_drop_at(struct custody *custody, size_t i, bool reset)
{
	struct custody_entry *entry = &custody->entries[i];

	if (reset) {
		struct linger linger = { .l_onoff = 1, .l_linger = 0 };

		setsockopt(entry->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	fd_close(entry->fd);
	free(entry->name);
	*entry = custody->entries[--custody->n];
}

void custody_drop(struct custody *custody, const char *name, uint64_t tag)
{
	for (size_t i = 0; i < custody->n; i++) {
		if (custody->entries[i].tag == tag && strcmp(custody->entries[i].name, name) == 0) {
			custody_drop_at(custody, i, false);
			return;
		}
	}
}

void custody_clear(struct custody *custody)
{
	while (custody->n)
		custody_drop_at(custody, custody->n - 1, false);
	free(custody->entries);
	*custody = (struct custody){ .entries = NULL };
}

void custody_sample(const struct custody *custody, struct conntable *table, struct conn_sample *ret_sample)
{
	unsigned long long *inodes = calloc(custody->n + 1, sizeof(*inodes));
	struct why why = { 0 };
	size_t n = 0;

	*ret_sample = (struct conn_sample){ .conn = NULL };
	for (size_t i = 0; inodes && i < custody->n; i++)
		if (custody->entries[i].is_tcp)
			inodes[n++] = custody->entries[i].inode;
	if (n && table && conntable_sample(table, inodes, n, clock_now_us() + SAMPLE_US, ret_sample, &why) < 0)
		log_warning("connection table: %s", why.text);
	free(inodes);
}
