/* SPDX-License-Identifier: MIT */
/* Closes and openings on their way to a supervisor that holds duplicates.
 *
 * Both are queued, and posted from the end of their queue, where taking out costs nothing. Only one order matters: closes go first,
 * as a descriptor that is announced may have the number and the name of one that was closed.
 */
#include "shim/fds/announce.h"

#include "base/fd.h"
#include "shim/core/channel.h"
#include "shim/core/upg.h"
#include "shim/fds/traffic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ANNOUNCE_TRIES 10u
#define ANNOUNCE_WAIT_MS 10
#define CLOSED_AT_ONCE 256u

/* ---- closes; lock held ---- */

/* Takes the name out of @entry. */
static void queue_closed(struct fd_table *table, struct fd_entry *entry)
{
	if (table->n_closed == table->cap_closed) {
		size_t cap = table->cap_closed ? table->cap_closed * 2 : 16;
		Upgraded__Wire__FdInfo *closed = realloc(table->closed, cap * sizeof(*closed));

		/* Out of memory: the duplicate lives until the end of the bake; the peer has seen the shutdown. */
		if (!closed)
			return;
		table->closed = closed;
		table->cap_closed = cap;
	}
	upgraded__wire__fd_info__init(&table->closed[table->n_closed]);
	table->closed[table->n_closed].name = entry->name;
	table->closed[table->n_closed++].tag = entry->tag;
	entry->name = NULL;
}

/* Forget all but the first @n. */
static void forget_closed(struct fd_table *table, size_t n)
{
	while (table->n_closed > n)
		free(table->closed[--table->n_closed].name);
}

/* Post as much as fits into one message. Return: as channel_post(). */
static int post_closed(struct fd_table *table)
{
	Upgraded__Wire__Closed closed = UPGRADED__WIRE__CLOSED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED, .closed = &closed);
	Upgraded__Wire__FdInfo *infos[CLOSED_AT_ONCE];
	size_t first = table->n_closed < CLOSED_AT_ONCE ? 0 : table->n_closed - CLOSED_AT_ONCE;
	int r;

	for (size_t i = first; i < table->n_closed; i++)
		infos[closed.n_fds++] = &table->closed[i];
	closed.fds = infos;
	r = channel_post(table->channel, &message, NULL, 0);
	if (r == WIRE_OK)
		forget_closed(table, first);
	return r;
}

static void tell_closed(struct fd_table *table)
{
	int r = WIRE_OK;

	while (r == WIRE_OK && table->n_closed)
		r = post_closed(table);
	if (r == WIRE_CLOSED) /* there is nobody to tell */
		forget_closed(table, 0);
}

/* ---- openings; lock held ---- */

/* Return: 0; -errno: memory or descriptors are out, and this connection ends with this process. */
static int queue_fresh(struct fd_table *table, struct fd_entry *entry)
{
	size_t n = atomic_load(&table->n_fresh);
	int fd;

	if (n == table->cap_fresh) {
		size_t cap = n ? n * 2 : 16;
		struct fresh_fd *fresh = realloc(table->fresh, cap * sizeof(*fresh));

		if (!fresh)
			return -ENOMEM;
		table->fresh = fresh;
		table->cap_fresh = cap;
	}
	fd = fcntl(entry->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	table->fresh[n] = (struct fresh_fd){ .entry = entry, .fd = fd };
	entry->fresh = true;
	atomic_store(&table->n_fresh, n + 1);
	return 0;
}

/* It closes before the supervisor has heard of it. */
static void forget_fresh(struct fd_table *table, const struct fd_entry *entry)
{
	size_t n = atomic_load(&table->n_fresh);

	for (size_t i = 0; i < n; i++) {
		if (table->fresh[i].entry != entry)
			continue;
		fd_close(table->fresh[i].fd);
		table->fresh[i] = table->fresh[n - 1];
		atomic_store(&table->n_fresh, n - 1);
		return;
	}
}

/* Forget all but the first @n. */
static void drop_fresh(struct fd_table *table, size_t n)
{
	for (size_t i = n; i < atomic_load(&table->n_fresh); i++) {
		table->fresh[i].entry->fresh = false;
		fd_close(table->fresh[i].fd);
	}
	atomic_store(&table->n_fresh, n);
}

static int post_batch(struct fd_table *table, struct fd_batch *batch)
{
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);

	fds.n_fds = batch->n;
	fds.fds = batch->pointers;
	fds.last = true;
	fds.next_tag = table->last_tag + 1;
	return channel_post(table->channel, &message, batch->numbers, batch->n);
}

/* Post as much as fits into one message. Return: WIRE_OK: it is told, or nobody is there to hear it; else as channel_post(). */
static int post_fresh(struct fd_table *table)
{
	size_t n = atomic_load(&table->n_fresh), first = n < WIRE_FDS_MAX ? 0 : n - WIRE_FDS_MAX;
	struct fd_batch batch;
	int r;

	batch.n = 0;
	for (size_t i = first; i < n; i++) {
		fd_batch_add(&batch, table->fresh[i].entry);
		batch.numbers[batch.n - 1] = table->fresh[i].fd;
	}
	r = post_batch(table, &batch);
	if (r != WIRE_OK && r != WIRE_CLOSED)
		return r;
	for (size_t i = first; i < n; i++)
		table->fresh[i].entry->custody = r == WIRE_OK;
	drop_fresh(table, first);
	return WIRE_OK;
}

/* Tell of one at once, if nothing waits. Its number is still its own: the application has just registered it. Return: as
 * queue_fresh(). */
static int tell_fresh(struct fd_table *table, struct fd_entry *entry)
{
	struct fd_batch batch;
	int r = WIRE_AGAIN;

	if (!table->n_closed && !atomic_load(&table->n_fresh)) {
		batch.n = 0;
		fd_batch_add(&batch, entry);
		r = post_batch(table, &batch);
	}
	if (r == WIRE_OK)
		entry->custody = true;
	return r == WIRE_OK || r == WIRE_CLOSED ? 0 : queue_fresh(table, entry);
}

static void tell_all(struct fd_table *table)
{
	int r = WIRE_OK;

	tell_closed(table);
	while (r == WIRE_OK && !table->n_closed && atomic_load(&table->n_fresh))
		r = post_fresh(table);
}

/* ---- what others call ---- */

/* Lock held, but not across the waits. Until an opening is told, the connection would end with this process, so it is not served
 * for a moment. */
static void await_told(struct fd_table *table)
{
	for (unsigned i = 0; i < ANNOUNCE_TRIES && atomic_load(&table->n_fresh); i++) {
		pthread_mutex_unlock(&table->lock);
		channel_await_room(table->channel, ANNOUNCE_WAIT_MS);
		pthread_mutex_lock(&table->lock);
		tell_all(table);
	}
}

int fd_table_announce(struct fd_table *table, int fd)
{
	int r = 0;

	if (!atomic_load_explicit(&table->announces, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&table->lock);
	/* Once more, under the lock: the bake may have ended meanwhile. */
	if (atomic_load(&table->announces)) {
		tell_all(table);
		r = tell_fresh(table, table->by_fd[fd]);
		await_told(table);
	}
	pthread_mutex_unlock(&table->lock);
	return r;
}

void fd_table_tell(struct fd_table *table)
{
	pthread_mutex_lock(&table->lock);
	tell_all(table);
	pthread_mutex_unlock(&table->lock);
}

void fd_table_leave(struct fd_table *table)
{
	pthread_mutex_lock(&table->lock);
	table->leaves = true;
	pthread_mutex_unlock(&table->lock);
	fd_table_end_custody(table);
}

void fd_table_begin_custody(struct fd_table *table)
{
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd; i++)
		if (table->by_fd[i])
			table->by_fd[i]->custody = true;
	drop_fresh(table, 0);
	forget_closed(table, 0);
	pthread_mutex_unlock(&table->lock);
}

void fd_table_end_custody(struct fd_table *table)
{
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd; i++)
		if (table->by_fd[i])
			table->by_fd[i]->custody = false;
	drop_fresh(table, 0);
	forget_closed(table, 0);
	pthread_mutex_unlock(&table->lock);
}

/* Shut @fd down, so that the peer notices although others hold duplicates. A door stays as it is: an earlier version may need it
 * again, and what was shut down is shut for everybody. */
static void shut_down(int fd)
{
	if (door_kind(fd) == DOOR_NONE)
		shutdown(fd, SHUT_RDWR);
}

/* The supervisor may hold it for the service (Listen=), and is to close it, too. It looks who has it: so that is told when it is
 * closed here. */
static bool is_own_door(const struct fd_table *table, const struct fd_entry *entry)
{
	return entry->claimed && !table->leaves && door_kind(entry->fd) != DOOR_NONE;
}

/* Lock held. The table forgets it; its descriptor is still open, and is about to be closed or is none of ours any more. */
static void forget(struct fd_table *table, struct fd_entry *entry, bool closes)
{
	if (closes)
		fd_traffic_note(table, entry);
	fd_table_take_out(table, entry);
	fd_table_fill_gap(table, entry);
	if (entry->fresh)
		forget_fresh(table, entry);
	/* Only where a duplicate exists: a shutdown with unread input would otherwise turn close's RST into a FIN. */
	if (entry->custody) {
		if (closes)
			shut_down(entry->fd);
		queue_closed(table, entry);
		tell_closed(table);
	} else if (closes && is_own_door(table, entry)) {
		queue_closed(table, entry);
	}
	fd_entry_free(entry);
}

void fd_table_close(struct fd_table *table, int fd, int epoll_fd)
{
	struct fd_entry *entry;
	bool lost;

	/* The connection and the epoll set are those of the process that forked: this is only one descriptor less. */
	if (!channel_is_ours(table->channel)) {
		fd_close(fd);
		return;
	}
	pthread_mutex_lock(&table->lock);
	entry = fd_table_at(table, fd);
	lost = entry && entry->lost;
	/* First out of epoll: while someone holds a duplicate, closing would leave the registration behind. */
	if (epoll_fd >= 0 && !lost)
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	if (entry)
		forget(table, entry, true);
	/* Under the lock, so that whoever looks at the table finds a number known and open, or unknown and closed. */
	if (!lost || !fd_table_spend(table, fd))
		fd_close(fd);
	tell_closed(table);
	pthread_mutex_unlock(&table->lock);
}

int fd_table_unregister(struct fd_table *table, int fd)
{
	struct fd_entry *entry;
	int r = -ENOENT;

	pthread_mutex_lock(&table->lock);
	entry = fd_table_at(table, fd);
	if (entry && entry->claimed)
		r = entry->conn ? -EBUSY : 0;
	if (r == 0)
		forget(table, entry, false);
	pthread_mutex_unlock(&table->lock);
	return r;
}

/* One of those that nobody claimed. */
static int find_left(struct fd_table *table, size_t from)
{
	int fd = -1;

	pthread_mutex_lock(&table->lock);
	for (size_t i = from; i < table->n_by_fd && fd < 0; i++)
		if (table->by_fd[i] && !table->by_fd[i]->claimed)
			fd = (int)i;
	pthread_mutex_unlock(&table->lock);
	return fd;
}

void fd_table_close_left(struct fd_table *table)
{
	for (int fd = find_left(table, 0); fd >= 0; fd = find_left(table, (size_t)fd))
		fd_table_close(table, fd, -1);
}

size_t fd_table_list_left(struct fd_table *table, struct fd_batch *batch)
{
	size_t n = 0;

	batch->n = 0;
	for (int fd = find_left(table, 0); fd >= 0; fd = find_left(table, (size_t)fd + 1)) {
		if (table->by_fd[fd]->given) /* it is nobody's that would miss it */
			continue;
		n++;
		if (batch->n < WIRE_FDS_MAX)
			fd_batch_add(batch, table->by_fd[fd]);
	}
	return n;
}

int upg_fd_unregister(struct upg *upg, int fd)
{
	return fd_table_unregister(upg->fds, fd);
}

void upg_close(struct upg *upg, int fd, int epoll_fd)
{
	fd_table_close(upg->fds, fd, epoll_fd);
}
