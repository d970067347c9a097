/* SPDX-License-Identifier: MIT */
#include "shim/fds/claims.h"

#include "base/door.h"
#include "base/why.h"
#include "shim/core/upg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEXT_BYTES 256u

/* ---- what one is, for people ---- */

static const char *peer_of(int fd, char *buf, size_t size)
{
	struct sockaddr_storage at;
	socklen_t bytes = sizeof(at);

	*buf = 0;
	return getpeername(fd, (struct sockaddr *)&at, &bytes) < 0 ? buf : door_text((struct sockaddr *)&at, bytes, buf, size);
}

static const char *describe_connection(int fd, char *buf, size_t size)
{
	char at[128], peer[128];

	door_address(fd, at, sizeof(at));
	peer_of(fd, peer, sizeof(peer));
	snprintf(buf, size, "a connection%s%s%s%s", *at ? " at " : "", at, *peer ? " with " : "", peer);
	return buf;
}

/* "listener at 127.0.0.1:80", "a connection at ... with ...", "/var/log/x", "pipe:[12]". */
static const char *describe(int fd, char *buf, size_t size)
{
	char path[64], at[128];
	enum door door = door_kind(fd);
	ssize_t n;

	if (door != DOOR_NONE) {
		door_address(fd, at, sizeof(at));
		snprintf(buf, size, "%s%s%s", door == DOOR_LISTENER ? "a listener" : "datagrams", *at ? " at " : "", at);
		return buf;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, buf, size - 1);
	buf[n < 0 ? 0 : n] = 0;
	return n < 0 || strncmp(buf, "socket:", 7) == 0 ? describe_connection(fd, buf, size) : buf;
}

/* ---- what has to be claimed ---- */

/* Without the table's lock, as the thread that opened the handle alone claims and closes what was handed over, and other threads do
 * not touch these. */
struct waiting {
	size_t n_needed, n_doors;
	const struct fd_entry *needed, *door; /* one of each; NULL: there is none */
};

static struct waiting look(struct fd_table *table)
{
	struct waiting waiting = { .n_needed = 0 };

	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd; i++) {
		const struct fd_entry *entry = table->by_fd[i];

		if (!entry || entry->claimed || entry->optional)
			continue;
		if (door_kind(entry->fd) != DOOR_NONE) {
			waiting.n_doors++;
			waiting.door = entry;
		} else {
			waiting.n_needed++;
			waiting.needed = entry;
		}
	}
	pthread_mutex_unlock(&table->lock);
	return waiting;
}

static bool has_door(struct fd_table *table)
{
	bool has = false;

	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd && !has; i++)
		has = table->by_fd[i] && table->by_fd[i]->claimed && door_kind((int)i) != DOOR_NONE;
	pthread_mutex_unlock(&table->lock);
	return has;
}

int fd_claims_check(struct fd_table *table, struct why *why)
{
	struct waiting waiting = look(table);
	char text[TEXT_BYTES];

	if (waiting.n_needed)
		return why_set(why, -EPROTO, "%zu descriptors were not claimed, among them %s %" PRIu64 " (%s)", waiting.n_needed,
			       waiting.needed->name, waiting.needed->tag,
			       describe(waiting.needed->fd, text, sizeof(text)));
	/* An address that is not configured any more is one thing; a version to which nobody can come is a mistake. */
	if (waiting.n_doors && !has_door(table))
		return why_set(why, -EPROTO,
			       "none of %zu listeners was claimed, among them %s %" PRIu64 " (%s), and there is no other",
			       waiting.n_doors, waiting.door->name, waiting.door->tag,
			       describe(waiting.door->fd, text, sizeof(text)));
	return 0;
}

/* ---- what applications call ---- */

int upg_fd_drop(struct upg *upg, const char *name, uint64_t tag)
{
	return fd_table_drop(upg->fds, name, tag);
}

int upg_fd_next(struct upg *upg, struct upg_fd_info *it)
{
	struct fd_table *table = upg->fds;
	const struct fd_entry *entry = NULL;

	pthread_mutex_lock(&table->lock);
	for (size_t i = it->fd < 0 ? 0 : (size_t)it->fd + 1; i < table->n_by_fd && !entry; i++)
		entry = table->by_fd[i];
	if (entry) {
		it->fd = entry->fd;
		it->tag = entry->tag;
		it->claimed = entry->claimed;
		snprintf(it->name, sizeof(it->name), "%s", entry->name);
		door_address(entry->fd, it->address, sizeof(it->address));
	}
	pthread_mutex_unlock(&table->lock);
	return entry != NULL;
}
