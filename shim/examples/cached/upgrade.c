/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/upgrade.h"

#include "shim/examples/cached/breakage.h"
#include "shim/examples/cached/cached_v1.pb-c.h"
#include "shim/examples/cached/connection.h"
#include "shim/examples/cached/migrations.h"
#include "shim/examples/cached/server.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the cache as a whole ---- */

static Cached__V1__Stats stats_of(struct server *server)
{
	const struct counters *counters = &server->store.counters;
	Cached__V1__Stats stats = CACHED__V1__STATS__INIT;

	stats.cas = server->store.cas;
	stats.flush_due_ns = server->store.flush_due_ns;
	stats.started_ns = server->started_ns;
	stats.total_connections = atomic_load(&server->total_connections);
	stats.get_hits = counters->get_hits;
	stats.get_misses = counters->get_misses;
	stats.cmd_set = counters->cmd_set;
	stats.cmd_touch = counters->cmd_touch;
	stats.cmd_flush = counters->cmd_flush;
	stats.total_items = counters->total_items;
	stats.evictions = counters->evictions;
	stats.expired = counters->expired;
	return stats;
}

static int save_stats(struct upg_saver *saver, void *userdata)
{
	Cached__V1__Stats stats = stats_of(userdata);

	return upg_save(saver, &stats.base);
}

static int load_stats(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	struct server *server = userdata;
	const Cached__V1__Stats *stats = (const Cached__V1__Stats *)message;

	(void)loader;
	server->store.cas = stats->cas;
	server->store.flush_due_ns = stats->flush_due_ns;
	server->started_ns = stats->started_ns;
	atomic_store(&server->total_connections, stats->total_connections);
	server->store.counters = (struct counters){
		.get_hits = stats->get_hits,
		.get_misses = stats->get_misses,
		.cmd_set = stats->cmd_set,
		.cmd_touch = stats->cmd_touch,
		.cmd_flush = stats->cmd_flush,
		.total_items = stats->total_items,
		.evictions = stats->evictions,
		.expired = stats->expired,
	};
	return 0;
}

static int change_stats(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	return change == UPG_PUT ? load_stats(loader, message, userdata) : 0;
}

/* ---- items, the least recently used first, so that appending keeps their order ---- */

static int save_item(const struct item *item, void *arg)
{
	struct item_message message;

	item_to_message(item, &message);
	return upg_save(arg, &message.item.base);
}

static int save_items(struct upg_saver *saver, void *userdata)
{
	struct server *server = userdata;

	return store_walk(&server->store, save_item, saver);
}

static int item_read(struct upg_loader *loader, const ProtobufCMessage *message, struct item **ret_item)
{
	int rc = item_from_message(message, ret_item);

	if (rc == -ENOMEM)
		return upg_load_fail(loader, "out of memory for an item");
	if (rc < 0)
		return upg_load_fail(loader, "an item's key is not 1 to %u bytes, or its value has over %u", KEY_MAX, VALUE_MAX);
	return 0;
}

static int load_item(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	struct server *server = userdata;
	struct item *item;

	if (break_on_load())
		return 0;
	int rc = item_read(loader, message, &item);
	if (rc < 0)
		return rc;
	item->flags = break_flags(item->flags);
	if (store_load_consume(&server->store, item) < 0)
		return upg_load_fail(loader, "the same key came twice");
	return 0;
}

static uint64_t count_items(void *userdata)
{
	struct server *server = userdata;
	uint64_t count;

	/* Also asked for while the workers run. */
	pthread_mutex_lock(&server->store.lock);
	count = server->store.table.count;
	pthread_mutex_unlock(&server->store.lock);
	return count;
}

/* A change that takes all items away names one that no client can. */
static const char all_items[] = "\n";

static int change_item(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	struct server *server = userdata;
	struct item *item;
	int rc = item_read(loader, message, &item);

	if (rc < 0)
		return rc;
	if (change == UPG_PUT) {
		store_replay_put_consume(&server->store, item);
		return 0;
	}
	if (item->key_size == 1 && *item_key(item) == *all_items)
		store_replay_empty(&server->store);
	else
		store_replay_remove(&server->store, item_key(item), item->key_size);
	item_put(item);
	return 0;
}

static void item_changed(struct server *server, struct upg_conn *conn, enum upg_change change, const struct item *item)
{
	struct item_message message;

	item_to_message(item, &message);
	upg_changed(server->upg, conn, "cached.Item", change, &message.item.base);
}

/* Of an item that is removed only the key counts. */
static void item_removed(struct server *server, struct upg_conn *conn, const char *key, size_t key_size)
{
	union {
		struct item item;
		char room[sizeof(struct item) + KEY_MAX];
	} gone = { .room = { 0 } };

	gone.item.key_size = (uint8_t)key_size;
	memcpy(gone.item.data, key, key_size);
	item_state_init(&gone.item);
	item_changed(server, conn, UPG_REMOVE, &gone.item);
}

/* Under the store's lock. */
void upgrade_store_changed(void *userdata, void *conn, enum store_change change, const struct item *item)
{
	struct server *server = userdata;

	if (!upg_journal_on(server->upg))
		return;
	switch (change) {
	case STORE_ITEM_PUT:
		item_changed(server, conn, UPG_PUT, item);
		return;
	case STORE_ITEM_REMOVED:
		item_removed(server, conn, item_key(item), item->key_size);
		return;
	case STORE_EMPTIED:
		item_removed(server, conn, all_items, 1);
		return;
	case STORE_NUMBERS: {
		Cached__V1__Stats stats = stats_of(server);

		upg_changed(server->upg, conn, "cached.Stats", UPG_PUT, &stats.base);
		return;
	}
	}
}

/* ---- connections: the descriptor goes as ("client", id), the rest as a record ---- */

static Cached__V1__Connection conversation_of(const struct connection *connection)
{
	Cached__V1__Connection message = CACHED__V1__CONNECTION__INIT;

	message.id = connection->id;
	message.swallow_bytes = connection->now.swallow_bytes;
	message.swallow_line = connection->now.swallow_line;
	message.answered = connection->now.answered;
	message.quit = connection->now.quit;
	return message;
}

static struct conversation conversation_from(const Cached__V1__Connection *message)
{
	return (struct conversation){ message->swallow_bytes, message->answered, message->swallow_line, message->quit };
}

/* protobuf-c has no const variant; packing only reads. */
static ProtobufCBinaryData bytes_of(const void *data, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)(uintptr_t)data };
}

static int save_connection(struct upg_saver *saver, const struct connection *connection)
{
	Cached__V1__Connection message = conversation_of(connection);
	size_t size;
	const void *data = upg_conn_input(connection->conn, &size);

	message.input = bytes_of(data, size);
	data = upg_conn_output(connection->conn, &size);
	message.output = bytes_of(data, size);
	return upg_save(saver, &message.base);
}

static int save_connections(struct upg_saver *saver, void *userdata)
{
	const struct server *server = userdata;
	int rc = 0;

	for (unsigned i = 0; i < server->options.n_workers; i++) {
		const struct connection *connection = server->workers[i].connections;
		for (; connection && rc == 0; connection = connection->next)
			rc = save_connection(saver, connection);
	}
	return rc;
}

/* Return: 0 or -errno; then @conn is still the caller's. */
static int connection_add(struct server *server, struct upg_conn *conn, uint64_t id, struct conversation state)
{
	struct connection *connection = connection_new(conn, id);
	int rc = -ENOMEM;

	if (connection) {
		connection->now = connection->noted = state;
		rc = worker_add(server, connection);
	}
	if (rc < 0)
		connection_free(connection);
	return rc;
}

static int load_connection(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata)
{
	struct server *server = userdata;
	const Cached__V1__Connection *message = (const Cached__V1__Connection *)from;
	int fd = upg_load_claim(loader, "client", message->id);
	struct upg_conn *conn;

	if (fd < 0)
		return upg_load_fail(loader, "connection %llu came without its descriptor", (unsigned long long)message->id);
	if (upg_conn_open(server->upg, fd, "client", message->id, &conn) < 0 ||
	    upg_conn_restore(conn, message->input.data, message->input.len, message->output.data, message->output.len) < 0 ||
	    connection_add(server, conn, message->id, conversation_from(message)) < 0)
		return upg_load_fail(loader, "connection %llu: out of memory", (unsigned long long)message->id);
	return 0;
}

static struct connection *connection_find(struct server *server, uint64_t id)
{
	for (unsigned i = 0; i < server->options.n_workers; i++) {
		struct connection *connection = server->workers[i].connections;
		for (; connection; connection = connection->next) {
			if (connection->id == id)
				return connection;
		}
	}
	return NULL;
}

/* Conversations of clients that the failed version had accepted. They wait here until on_conn() names their connections. */
static struct stranger {
	struct stranger *next;
	uint64_t id;
	struct conversation state;
} *strangers;

static struct stranger **stranger_find(uint64_t id)
{
	struct stranger **link = &strangers;

	while (*link && (*link)->id != id)
		link = &(*link)->next;
	return link;
}

static void stranger_forget(struct stranger **link)
{
	struct stranger *stranger = *link;

	*link = stranger->next;
	free(stranger);
}

static int change_connection(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *from, void *userdata)
{
	const Cached__V1__Connection *message = (const Cached__V1__Connection *)from;
	struct connection *connection = connection_find(userdata, message->id);

	(void)change; /* that a connection ends is seen by its descriptor */
	if (connection) {
		connection->now = connection->noted = conversation_from(message);
		return 0;
	}
	struct stranger **link = stranger_find(message->id);
	if (!*link) {
		*link = calloc(1, sizeof **link);
		if (!*link)
			return upg_load_fail(loader, "connection %llu: out of memory", (unsigned long long)message->id);
		(*link)->id = message->id;
	}
	(*link)->state = conversation_from(message);
	return 0;
}

void upgrade_connection_changed(struct server *server, const struct connection *connection)
{
	if (!upg_journal_on(server->upg))
		return;
	Cached__V1__Connection message = conversation_of(connection);
	upg_changed(server->upg, connection->conn, "cached.Connection", UPG_PUT, &message.base);
}

static uint64_t count_connections(void *userdata)
{
	struct server *server = userdata;

	return atomic_load(&server->curr_connections);
}

/* ---- how quiet a roll finds threads and connections ---- */

/* Workers wait in epoll_wait(), so an eventfd does, and no signal of this process is taken. */
static void wake(struct upg_thread *thread, void *userdata)
{
	struct worker *worker = upg_thread_data(thread);

	(void)userdata;
	if (worker)
		worker_wake(worker);
}

static bool between_requests(const struct connection *connection)
{
	return connection_input(connection) == 0 && connection_output(connection) == 0 &&
	       connection->now.swallow_bytes == 0 && !connection->now.swallow_line;
}

/* Every request can travel half done, so UPG_WORK_FREE needs nothing. The others are for who wants them nevertheless. */
static enum upg_rest on_prepare(enum upg_level level, uint64_t deadline_us, void *userdata)
{
	struct server *server = userdata;
	unsigned n_connections = atomic_load(&server->curr_connections);

	(void)deadline_us; /* nothing here waits */
	if (level == UPG_WORK_FREE || n_connections == 0)
		return UPG_AT_REST;
	if (level == UPG_PROTOCOL_FREE) {
		upg_refuse(server->upg, "%u clients are connected", n_connections);
		return UPG_NOT_YET;
	}
	for (unsigned i = 0; i < server->options.n_workers; i++) {
		const struct connection *connection = server->workers[i].connections;
		for (; connection; connection = connection->next) {
			if (!between_requests(connection)) {
				upg_refuse(server->upg, "client %" PRIu64 " is within a request", connection->id);
				return UPG_NOT_YET;
			}
		}
	}
	return UPG_AT_REST;
}

/* ---- back from a failed successor ---- */

static int compare_fds(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* A client that the failed version had accepted. */
static int on_conn(struct upg_conn *conn, const char *name, uint64_t tag, void *userdata)
{
	struct stranger **link = stranger_find(tag);
	struct conversation state = { 0 };

	(void)name; /* all are clients */
	if (*link) {
		state = (*link)->state;
		stranger_forget(link);
	}
	return connection_add(userdata, conn, tag, state);
}

/* Connections that are not lost are as they were when this process stopped, or where the failed version had brought them by its
 * journal. So each may have something to do that no event will announce. */
static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	struct server *server = userdata;

	if (go_on->reason != UPG_CAME_BACK)
		return;
	for (unsigned i = 0; i < server->options.n_workers; i++) {
		struct worker *worker = &server->workers[i];
		struct connection *next = NULL;
		for (struct connection *connection = worker->connections; connection; connection = next) {
			next = connection->next;
			int fd = upg_conn_fd(connection->conn);
			if (go_on->n_lost && bsearch(&fd, go_on->lost, go_on->n_lost, sizeof fd, compare_fds))
				worker_close(worker, connection);
		}
		worker_revisit(worker);
	}
	while (strangers)
		stranger_forget(&strangers);
}

/* ---- */

static const struct upg_type types[] = {
	{
		.name = "cached.Stats",
		.version = 1,
		.descriptor = &cached__v1__stats__descriptor,
		.save = save_stats,
		.load = load_stats,
		.change = change_stats,
	},
	{
		.name = "cached.Item",
		.version = CACHED_VERSION,
		.descriptor = &ITEM_DESCRIPTOR,
		.save = save_items,
		.load = load_item,
		.count = count_items,
		.change = change_item,
	},
	{
		.name = "cached.Connection",
		.version = 1,
		.descriptor = &cached__v1__connection__descriptor,
		.save = save_connections,
		.load = load_connection,
		.count = count_connections,
		.change = change_connection,
		.process_only = 1, /* a file cannot hold a conversation */
	},
};

int upgrade_open(struct server *server)
{
	static struct upg_config config; /* must outlive the handle */

	config = (struct upg_config){
		.service = "cached",
		.version = CACHED_NAME,
		.types = types,
		.n_types = sizeof types / sizeof *types,
		.migrations = migrations,
		.n_migrations = n_migrations,
		.wake = wake,
		.on_prepare = on_prepare,
		.on_go_on = on_go_on,
		.on_conn = on_conn,
		.userdata = server,
	};
	int rc = upg_open(&config, &server->upg);
	if (rc < 0)
		fprintf(stderr, "cached: cannot reach the supervisor: %s\n", strerror(-rc));
	return rc;
}
