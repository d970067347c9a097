/* SPDX-License-Identifier: MIT */
/* The table of descriptors that move, by (name, tag) and by number, and their way over the channel. */
#include "shim/core/upg.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_BUCKETS 64u
#define NAME_MAX_BYTES 64u
#define ANNOUNCE_TRIES 10u
#define ANNOUNCE_WAIT_MS 10
#define CLOSED_AT_ONCE 256u

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

int fd_table_init(struct fd_table *table)
{
	pthread_mutex_init(&table->lock, NULL);
	table->buckets = calloc(FIRST_BUCKETS, sizeof(struct fd_entry *));
	table->n_buckets = FIRST_BUCKETS;
	return table->buckets ? 0 : -ENOMEM;
}

static void entry_free(struct fd_entry *entry)
{
	free(entry->name);
	free(entry);
}

void fd_table_done(struct fd_table *table)
{
	for (size_t i = 0; table->buckets && i < table->n_buckets; i++) {
		while (table->buckets[i]) {
			struct fd_entry *entry = table->buckets[i];

			table->buckets[i] = entry->next;
			if (!entry->claimed)
				fd_close(entry->fd);
			entry_free(entry);
		}
	}
	for (size_t i = 0; i < table->n_closed; i++)
		free(table->closed[i].name);
	free(table->closed);
	free(table->fresh);
	free(table->buckets);
	free(table->by_fd);
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
	link = find_link(table, name, tag);
	entry->next = *link;
	*link = entry;
	table->by_fd[fd] = entry;
	table->n_entries++;
	return 0;
}

int fd_table_put(struct fd_table *table, int fd, const char *name, uint64_t tag, bool claimed, bool custody)
{
	int r;

	if (fd < 0)
		return -EBADF;
	if (!*name || strlen(name) > NAME_MAX_BYTES)
		return -EINVAL;
	pthread_mutex_lock(&table->lock);
	r = put_locked(table, fd, name, tag, claimed, custody);
	pthread_mutex_unlock(&table->lock);
	return r;
}

int fd_table_put_conn(struct fd_table *table, int fd, const char *name, uint64_t tag, struct upg_conn *conn, bool *ret_claimed)
{
	struct fd_entry *entry;
	int r = 0;

	if (fd < 0)
		return -EBADF;
	if (!*name || strlen(name) > NAME_MAX_BYTES)
		return -EINVAL;
	pthread_mutex_lock(&table->lock);
	entry = *find_link(table, name, tag);
	*ret_claimed = entry != NULL;
	if (entry && (entry->fd != fd || !entry->claimed || entry->conn))
		r = -EEXIST;
	else if (!entry)
		r = put_locked(table, fd, name, tag, true, false);
	if (r == 0)
		table->by_fd[fd]->conn = conn;
	pthread_mutex_unlock(&table->lock);
	return r;
}

size_t fd_table_unclaimed(struct fd_table *table, const struct fd_entry **ret_example)
{
	size_t n = 0;

	*ret_example = NULL;
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd; i++) {
		if (table->by_fd[i] && !table->by_fd[i]->claimed) {
			*ret_example = table->by_fd[i];
			n++;
		}
	}
	pthread_mutex_unlock(&table->lock);
	return n;
}

void fd_table_end_custody(struct fd_table *table)
{
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd; i++)
		if (table->by_fd[i])
			table->by_fd[i]->custody = table->by_fd[i]->fresh = false;
	atomic_store(&table->n_fresh, 0);
	for (size_t i = 0; i < table->n_closed; i++)
		free(table->closed[i].name);
	table->n_closed = 0;
	pthread_mutex_unlock(&table->lock);
}

/* Lock held. Takes the entry's name. */
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

static void forget_closed_locked(struct fd_table *table)
{
	for (size_t i = 0; i < table->n_closed; i++)
		free(table->closed[i].name);
	table->n_closed = 0;
}

static void tell_closed_locked(struct upg *upg)
{
	struct fd_table *table = &upg->fds;
	Upgraded__Wire__Closed closed = UPGRADED__WIRE__CLOSED__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED, .closed = &closed);
	Upgraded__Wire__FdInfo *infos[CLOSED_AT_ONCE];

	while (table->n_closed) {
		size_t n = table->n_closed < CLOSED_AT_ONCE ? table->n_closed : CLOSED_AT_ONCE;
		int r;

		for (size_t i = 0; i < n; i++)
			infos[i] = &table->closed[table->n_closed - 1 - i];
		closed.n_fds = n;
		closed.fds = infos;
		r = channel_post(upg->channel, &message, NULL, 0);
		if (r == WIRE_CLOSED) /* there is nobody to tell */
			forget_closed_locked(table);
		if (r != WIRE_OK)
			return;
		for (size_t i = 0; i < n; i++)
			free(infos[i]->name);
		table->n_closed -= n;
	}
}

/* Lock held. A close goes first: the descriptor that is announced may have the number and the name of one that was closed. */
static void announce_locked(struct upg *upg)
{
	struct fd_table *table = &upg->fds;
	size_t n_fresh = atomic_load(&table->n_fresh);

	tell_closed_locked(upg);
	while (n_fresh && !table->n_closed) {
		Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
		Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
		Upgraded__Wire__FdInfo infos[WIRE_FDS_MAX], *pointers[WIRE_FDS_MAX];
		const int *numbers = table->fresh + n_fresh;
		int r;

		for (; fds.n_fds < n_fresh && fds.n_fds < WIRE_FDS_MAX; fds.n_fds++) {
			const struct fd_entry *entry = table->by_fd[*--numbers];

			upgraded__wire__fd_info__init(&infos[fds.n_fds]);
			infos[fds.n_fds].name = entry->name;
			infos[fds.n_fds].tag = entry->tag;
		}
		for (size_t i = 0; i < fds.n_fds; i++)
			pointers[i] = &infos[fds.n_fds - 1 - i];
		fds.fds = pointers;
		fds.last = true;
		r = channel_post(upg->channel, &message, numbers, fds.n_fds);
		if (r != WIRE_OK && r != WIRE_CLOSED)
			return;
		for (size_t i = 0; i < fds.n_fds; i++) {
			table->by_fd[numbers[i]]->fresh = false;
			table->by_fd[numbers[i]]->custody = r == WIRE_OK;
		}
		n_fresh -= fds.n_fds;
		atomic_store(&table->n_fresh, n_fresh);
	}
}

void fd_table_announce(struct upg *upg, int fd)
{
	struct fd_table *table = &upg->fds;
	size_t n;

	pthread_mutex_lock(&table->lock);
	/* The bake may have ended since the caller looked. */
	if (!upg_journal_on(upg))
		goto out;
	n = atomic_load(&table->n_fresh);
	if (n == table->cap_fresh) {
		size_t cap = n ? n * 2 : 16;
		int *fresh = realloc(table->fresh, cap * sizeof(*fresh));

		/* Out of memory: this one ends with us. */
		if (!fresh)
			goto out;
		table->fresh = fresh;
		table->cap_fresh = cap;
	}
	table->fresh[n] = fd;
	table->by_fd[fd]->fresh = true;
	atomic_store(&table->n_fresh, n + 1);
	announce_locked(upg);
	/* A full channel: until this is told, nobody else holds the connection, so it is not served for a moment. */
	for (unsigned i = 0; i < ANNOUNCE_TRIES && atomic_load(&table->n_fresh); i++) {
		pthread_mutex_unlock(&table->lock);
		channel_await_room(upg->channel, ANNOUNCE_WAIT_MS);
		pthread_mutex_lock(&table->lock);
		announce_locked(upg);
	}
out:
	pthread_mutex_unlock(&table->lock);
}

/* Lock held. It closes before anybody heard of it. */
static void forget_fresh(struct fd_table *table, int fd)
{
	size_t n = atomic_load(&table->n_fresh);

	for (size_t i = 0; i < n; i++) {
		if (table->fresh[i] != fd)
			continue;
		table->fresh[i] = table->fresh[n - 1];
		atomic_store(&table->n_fresh, n - 1);
		return;
	}
}

void fd_table_tell(struct upg *upg)
{
	pthread_mutex_lock(&upg->fds.lock);
	announce_locked(upg);
	pthread_mutex_unlock(&upg->fds.lock);
}

int upg_fd_register(struct upg *upg, int fd, const char *name, uint64_t tag)
{
	return fd_table_put(&upg->fds, fd, name, tag, true, false);
}

int upg_fd_claim(struct upg *upg, const char *name, uint64_t tag)
{
	struct fd_entry *entry;
	int fd = -ENOENT;

	pthread_mutex_lock(&upg->fds.lock);
	entry = *find_link(&upg->fds, name, tag);
	if (entry && !entry->claimed) {
		entry->claimed = true;
		fd = entry->fd;
	}
	pthread_mutex_unlock(&upg->fds.lock);
	return fd;
}

void upg_close(struct upg *upg, int fd, int epoll_fd)
{
	struct fd_table *table = &upg->fds;
	struct fd_entry *entry = NULL;
	bool lost;

	pthread_mutex_lock(&table->lock);
	if (fd >= 0 && (size_t)fd < table->n_by_fd)
		entry = table->by_fd[fd];
	lost = entry && entry->lost;
	/* First out of epoll: while someone holds a duplicate, closing would leave the registration behind. */
	if (epoll_fd >= 0 && !lost)
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	if (entry) {
		struct fd_entry **link = find_link(table, entry->name, entry->tag);

		*link = entry->next;
		table->by_fd[fd] = NULL;
		table->n_entries--;
		/* Only where a duplicate exists: a shutdown with unread input would otherwise turn close's RST into a FIN. */
		if (entry->custody) {
			int listening = 0;
			socklen_t size = sizeof(listening);

			if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && !listening)
				shutdown(fd, SHUT_RDWR);
			queue_closed(table, entry);
			tell_closed_locked(upg);
		} else if (entry->fresh) {
			forget_fresh(table, fd);
		}
		entry_free(entry);
	}
	/* Under the lock, or another thread could register the number again before it is gone here. */
	if (!lost || !shed_spend(&upg->shed, fd))
		fd_close(fd);
	pthread_mutex_unlock(&table->lock);
}

#define NUMBERS_AT_ONCE 4096u

/* The next registered numbers from *@at on. Return: whether these were the last. */
static bool list_numbers(struct fd_table *table, size_t *at, uint32_t *numbers, size_t *ret_n)
{
	bool last;

	*ret_n = 0;
	pthread_mutex_lock(&table->lock);
	for (; *at < table->n_by_fd && *ret_n < NUMBERS_AT_ONCE; ++*at)
		if (table->by_fd[*at])
			numbers[(*ret_n)++] = (uint32_t)*at;
	last = *at >= table->n_by_fd;
	pthread_mutex_unlock(&table->lock);
	return last;
}

int fds_tell_inventory(struct upg *upg)
{
	Upgraded__Wire__Inventory inventory = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__AppMessage message =
		APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_INVENTORY, .inventory = &inventory);
	uint32_t numbers[NUMBERS_AT_ONCE];
	size_t at = 0;
	int r;

	inventory.fds = numbers;
	do {
		inventory.last = list_numbers(&upg->fds, &at, numbers, &inventory.n_fds);
		r = channel_say(upg->channel, &message, NULL);
	} while (r == 0 && !inventory.last);
	return r;
}

static int send_batch(struct upg *upg, Upgraded__Wire__FdInfo **infos, const int *numbers, size_t n, bool last,
		      uint64_t deadline_us)
{
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);

	fds.fds = infos;
	fds.n_fds = n;
	fds.last = last;
	return channel_send(upg->channel, &message, numbers, n, deadline_us, &upg->why);
}

/* Every registered thread stands still, so the table does not change under us. */
int fds_send(struct upg *upg, uint64_t deadline_us, uint32_t *ret_n)
{
	Upgraded__Wire__FdInfo infos[WIRE_FDS_MAX], *pointers[WIRE_FDS_MAX];
	int numbers[WIRE_FDS_MAX];
	struct fd_table *table = &upg->fds;
	uint32_t total = 0;
	size_t n = 0;
	int r;

	for (size_t i = 0; i < table->n_by_fd; i++) {
		struct fd_entry *entry = table->by_fd[i];

		if (!entry)
			continue;
		if (n == WIRE_FDS_MAX) {
			r = send_batch(upg, pointers, numbers, n, false, deadline_us);
			if (r < 0)
				return r;
			n = 0;
		}
		upgraded__wire__fd_info__init(&infos[n]);
		infos[n].name = entry->name;
		infos[n].tag = entry->tag;
		pointers[n] = &infos[n];
		numbers[n++] = entry->fd;
		total++;
	}
	r = send_batch(upg, pointers, numbers, n, true, deadline_us);
	if (r < 0)
		return r;
	*ret_n = total;
	return 0;
}

static int take_batch(struct upg *upg, const Upgraded__Wire__AppMessage *message, bool *ret_last,
		      int (*take)(struct upg *upg, const Upgraded__Wire__FdInfo *info, int fd))
{
	const Upgraded__Wire__Fds *fds;

	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT)
		return why_set(&upg->why, -ECANCELED, "the roll was called off: %s", message->abort->reason);
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_FDS)
		return why_set(&upg->why, -EPROTO, "expected descriptors, got %s", wire_app_name(message));
	fds = message->fds;
	if (fds->n_fds != upg->channel->fds.n)
		return why_set(&upg->why, -EPROTO, "%zu descriptors are named but %zu came", fds->n_fds, upg->channel->fds.n);
	for (size_t i = 0; i < fds->n_fds; i++) {
		int r = take(upg, fds->fds[i], upg->channel->fds.fd[i]);

		if (r < 0)
			return r;
		/* What is left is closed with the message, all at once. */
		if (r != FDS_NOT_KEPT)
			channel_claim(upg->channel, i);
	}
	*ret_last = fds->last;
	return 0;
}

int fds_receive(struct upg *upg, uint64_t deadline_us,
		int (*take)(struct upg *upg, const Upgraded__Wire__FdInfo *info, int fd))
{
	bool last = false;

	while (!last) {
		Upgraded__Wire__AppMessage *message;
		int r = channel_receive(upg->channel, deadline_us, &message, &upg->why);

		if (r == CHANNEL_TIMEOUT)
			return why_set(&upg->why, -ETIMEDOUT, "not all descriptors came in time");
		if (r == CHANNEL_CLOSED)
			return why_set(&upg->why, -ECONNRESET, "the supervisor vanished while it handed over descriptors");
		if (r < 0)
			return r;
		r = take_batch(upg, message, &last, take);
		channel_free(upg->channel, message);
		if (r < 0)
			return r;
	}
	return 0;
}
