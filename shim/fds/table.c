/* SPDX-License-Identifier: MIT */
#include "shim/fds/table.h"

#include "base/fd.h"
#include "shim/core/upg.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST_BUCKETS 64u

/* FNV-1a; the table needs a spread, not strength: names and tags are the application's own. */
static size_t hash_of(const char *name, uint64_t tag)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * UINT64_C(1099511628211);
	for (unsigned i = 0; i < 64; i += 8)
		h = (h ^ (tag >> i & 0xff)) * UINT64_C(1099511628211);
	return (size_t)(h ^ h >> 32);
}

int fd_table_init(struct fd_table *table, struct channel *channel)
{
	table->channel = channel;
	gaps_init(&table->gaps, channel);
	pthread_mutex_init(&table->lock, NULL);
	table->buckets = calloc(FIRST_BUCKETS, sizeof(struct fd_entry *));
	table->n_buckets = FIRST_BUCKETS;
	return table->buckets ? 0 : -ENOMEM;
}

void fd_entry_free(struct fd_entry *entry)
{
	free(entry->name);
	free(entry);
}

void fd_table_done(struct fd_table *table)
{
	if (!table->buckets)
		return;
	for (size_t i = 0; i < table->n_buckets; i++) {
		while (table->buckets[i]) {
			struct fd_entry *entry = table->buckets[i];

			table->buckets[i] = entry->next;
			if (!entry->claimed)
				fd_close(entry->fd);
			fd_entry_free(entry);
		}
	}
	for (size_t i = 0; i < table->n_closed; i++)
		free(table->closed[i].name);
	free(table->closed);
	for (size_t i = 0; i < atomic_load(&table->n_fresh); i++)
		fd_close(table->fresh[i].fd);
	free(table->fresh);
	free(table->spent);
	free(table->buckets);
	free(table->by_fd);
	gaps_done(&table->gaps);
	pthread_mutex_destroy(&table->lock);
}

static struct fd_entry **find_link(struct fd_table *table, const char *name, uint64_t tag)
{
	struct fd_entry **link = &table->buckets[hash_of(name, tag) & (table->n_buckets - 1)];

	while (*link && ((*link)->tag != tag || strcmp((*link)->name, name) != 0))
		link = &(*link)->next;
	return link;
}

struct fd_entry *fd_table_find(struct fd_table *table, const char *name, uint64_t tag)
{
	struct fd_entry *entry;

	pthread_mutex_lock(&table->lock);
	entry = *find_link(table, name, tag);
	pthread_mutex_unlock(&table->lock);
	return entry;
}

static int grow_buckets(struct fd_table *table)
{
	size_t n = table->n_buckets * 2;
	struct fd_entry **buckets = calloc(n, sizeof(struct fd_entry *));

	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; i < table->n_buckets; i++) {
		while (table->buckets[i]) {
			struct fd_entry *entry = table->buckets[i];
			struct fd_entry **link = &buckets[hash_of(entry->name, entry->tag) & (n - 1)];

			table->buckets[i] = entry->next;
			entry->next = *link;
			*link = entry;
		}
	}
	free(table->buckets);
	table->buckets = buckets;
	table->n_buckets = n;
	return 0;
}

static int grow_by_fd(struct fd_table *table, int fd)
{
	size_t n = table->n_by_fd ? table->n_by_fd : 64;
	struct fd_entry **by_fd;

	while (n <= (size_t)fd)
		n *= 2;
	if (n == table->n_by_fd)
		return 0;
	by_fd = realloc(table->by_fd, n * sizeof(struct fd_entry *));
	if (!by_fd)
		return -ENOMEM;
	memset(by_fd + table->n_by_fd, 0, (n - table->n_by_fd) * sizeof(struct fd_entry *));
	table->by_fd = by_fd;
	table->n_by_fd = n;
	return 0;
}

/* Lock held. */
static int put_locked(struct fd_table *table, int fd, const char *name, uint64_t tag, bool claimed, bool custody)
{
	struct fd_entry **link, *entry;

	if (*find_link(table, name, tag))
		return -EEXIST;
	if ((size_t)fd < table->n_by_fd && table->by_fd[fd])
		return -EEXIST;
	if (grow_by_fd(table, fd) < 0 || (table->n_entries >= table->n_buckets && grow_buckets(table) < 0))
		return -ENOMEM;
	entry = calloc(1, sizeof(*entry));
	if (!entry || !(entry->name = strdup(name))) {
		free(entry);
		return -ENOMEM;
	}
	entry->tag = tag;
	entry->fd = fd;
	entry->claimed = claimed;
	entry->custody = custody;
	entry->own_make = claimed;
	entry->since = claimed ? table->checkpoint : 0;
	link = find_link(table, name, tag);
	entry->next = *link;
	*link = entry;
	table->by_fd[fd] = entry;
	table->n_entries++;
	return 0;
}

static int check(int fd, const char *name)
{
	if (fd < 0)
		return -EBADF;
	return *name && strlen(name) <= WIRE_FD_NAME_MAX ? 0 : -EINVAL;
}

int fd_table_put(struct fd_table *table, int fd, const char *name, uint64_t tag, bool claimed, bool custody)
{
	int r = check(fd, name);

	if (r < 0)
		return r;
	pthread_mutex_lock(&table->lock);
	r = put_locked(table, fd, name, tag, claimed, custody);
	pthread_mutex_unlock(&table->lock);
	return r;
}

uint64_t fd_table_new_tag(struct fd_table *table, const char *name)
{
	uint64_t tag;

	pthread_mutex_lock(&table->lock);
	/* The application may have numbered some itself. */
	do
		tag = ++table->last_tag;
	while (*find_link(table, name, tag));
	pthread_mutex_unlock(&table->lock);
	return tag;
}

void fd_table_note_tag(struct fd_table *table, uint64_t tag)
{
	pthread_mutex_lock(&table->lock);
	if (tag > table->last_tag)
		table->last_tag = tag;
	pthread_mutex_unlock(&table->lock);
}

int fd_table_put_conn(struct fd_table *table, int fd, const char *name, uint64_t tag, struct upg_conn *conn, bool *ret_claimed)
{
	struct fd_entry *entry;
	int r = check(fd, name);

	if (r < 0)
		return r;
	pthread_mutex_lock(&table->lock);
	entry = *find_link(table, name, tag);
	/* What the application has accepted and registered is to be announced, too, now that it is buffered. */
	*ret_claimed = entry && entry->custody;
	if (entry && (entry->fd != fd || !entry->claimed || entry->conn))
		r = -EEXIST;
	else if (!entry)
		r = put_locked(table, fd, name, tag, true, false);
	if (r == 0) {
		table->by_fd[fd]->conn = conn;
		fd_table_fill_gap(table, table->by_fd[fd]);
	}
	pthread_mutex_unlock(&table->lock);
	return r;
}

/* Return: as fd_table_claim(). */
static int stand_in(struct fd_table *table, const char *name, uint64_t tag)
{
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -ENOENT;
	fd_close(fds[1]);
	r = fd_table_put(table, fds[0], name, tag, true, false);
	if (r < 0) {
		fd_close(fds[0]);
		return r;
	}
	table->by_fd[fds[0]]->stand_in = true;
	return fds[0];
}

int fd_table_claim(struct fd_table *table, const char *name, uint64_t tag)
{
	struct fd_entry *entry;
	int fd = -ENOENT;

	pthread_mutex_lock(&table->lock);
	entry = *find_link(table, name, tag);
	if (entry && !entry->claimed) {
		entry->claimed = true;
		entry->optional = false; /* it is this version's from here on */
		fd = entry->fd;
	}
	pthread_mutex_unlock(&table->lock);
	return !entry && table->stands_in ? stand_in(table, name, tag) : fd;
}

int fd_table_drop(struct fd_table *table, const char *name, uint64_t tag)
{
	struct fd_entry *entry;
	int r = -ENOENT;

	pthread_mutex_lock(&table->lock);
	entry = *find_link(table, name, tag);
	if (entry && !entry->claimed) {
		entry->optional = true;
		r = 0;
	}
	pthread_mutex_unlock(&table->lock);
	return r;
}

void fd_table_take_out(struct fd_table *table, struct fd_entry *entry)
{
	struct fd_entry **link = find_link(table, entry->name, entry->tag);

	*link = entry->next;
	table->by_fd[entry->fd] = NULL;
	table->n_entries--;
}

/* ---- what no journal covers ---- */

/* Of other sockets the supervisor does not see that they have moved: they come back as they are. */
bool fd_is_connection(int fd)
{
	struct sockaddr_storage peer;
	int protocol = 0, listening = 0;
	socklen_t size = sizeof(protocol), peer_size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0 || protocol != IPPROTO_TCP)
		return false;
	size = sizeof(listening);
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && !listening &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0;
}

/* Lock held. */
static void find_gap(struct fd_table *table, struct fd_entry *entry)
{
	if (entry->conn || entry->gap || !fd_is_connection(entry->fd))
		return;
	entry->gap = true;
	gaps_add(&table->gaps, GAP_UNBUFFERED, 0);
}

void fd_table_fill_gap(struct fd_table *table, struct fd_entry *entry)
{
	if (entry->gap)
		gaps_remove(&table->gaps, GAP_UNBUFFERED);
	entry->gap = false;
}

void fd_table_find_gaps(struct fd_table *table)
{
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd; i++)
		if (table->by_fd[i])
			find_gap(table, table->by_fd[i]);
	pthread_mutex_unlock(&table->lock);
}

static void find_gap_at(struct fd_table *table, int fd)
{
	struct fd_entry *entry;

	pthread_mutex_lock(&table->lock);
	entry = fd_table_at(table, fd);
	if (entry)
		find_gap(table, entry);
	pthread_mutex_unlock(&table->lock);
}

/* ---- lost sockets ---- */

int fd_table_keep_spent(struct fd_table *table, size_t n)
{
	int *spent = malloc(n * sizeof(*spent));

	if (!spent)
		return -ENOMEM;
	pthread_mutex_lock(&table->lock);
	free(table->spent);
	table->spent = spent;
	table->n_spent = 0;
	table->cap_spent = n;
	pthread_mutex_unlock(&table->lock);
	return 0;
}

/* The application closes lost sockets while its threads stand and clients wait. These may be a thousand system calls, and the calls
 * can wait instead. Until then /dev/null keeps each number taken. */
bool fd_table_spend(struct fd_table *table, int fd)
{
	if (table->n_spent == table->cap_spent)
		return false;
	table->spent[table->n_spent++] = fd;
	return true;
}

void fd_table_close_spent(struct fd_table *table)
{
	int *spent;
	size_t n;

	pthread_mutex_lock(&table->lock);
	spent = table->spent;
	n = table->n_spent;
	table->spent = NULL;
	table->n_spent = table->cap_spent = 0;
	pthread_mutex_unlock(&table->lock);
	fd_close_all(spent, n);
	free(spent);
}

/* ---- what applications call ---- */

int upg_fd_register(struct upg *upg, int fd, const char *name, uint64_t tag)
{
	int r = fd_table_put(upg->fds, fd, name, tag, true, false);

	if (r == 0 && atomic_load_explicit(&upg->fds->announces, memory_order_relaxed))
		find_gap_at(upg->fds, fd);
	return r;
}

int upg_fd_register_new(struct upg *upg, int fd, const char *name, uint64_t *ret_tag)
{
	uint64_t tag = fd_table_new_tag(upg->fds, name);
	int r = upg_fd_register(upg, fd, name, tag);

	if (r == 0)
		*ret_tag = tag;
	return r;
}

int upg_fd_claim(struct upg *upg, const char *name, uint64_t tag)
{
	return fd_table_claim(upg->fds, name, tag);
}
