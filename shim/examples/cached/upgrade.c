/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/upgrade.h"

#include "shim/examples/cached/breakage.h"
#include "shim/examples/cached/cached_v1.pb-c.h"
#include "shim/examples/cached/connection.h"
#include "shim/examples/cached/migrations.h"
#include "shim/examples/cached/server.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- the cache as a whole ---- */

static int save_stats(struct upg_saver *saver, void *userdata)
{
	struct server *server = userdata;
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

static int load_item(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	struct server *server = userdata;
	struct item *item;

	if (break_on_load())
		return 0;
	int rc = item_from_message(message, &item);
	if (rc == -ENOMEM)
		return upg_load_fail(loader, "out of memory after %zu items", server->store.table.count);
	if (rc < 0)
		return upg_load_fail(loader, "an item's key is not 1 to %u bytes, or its value has over %u", KEY_MAX, VALUE_MAX);
	item->flags = break_flags(item->flags);
	if (store_load_consume(&server->store, item) < 0)
		return upg_load_fail(loader, "the same key came twice");
	return 0;
}

static uint64_t count_items(void *userdata)
{
	const struct server *server = userdata;

	return server->store.table.count;
}

/* ---- connections: the descriptor goes as ("client", id), the rest as a record ---- */

static ProtobufCBinaryData bytes_of(const struct buffer *buffer)
{
	return (ProtobufCBinaryData){ buffer_size(buffer), (uint8_t *)(uintptr_t)buffer_front(buffer) };
}

static int save_connections(struct upg_saver *saver, void *userdata)
{
	const struct server *server = userdata;
	int rc = 0;

	for (unsigned i = 0; i < server->options.n_workers; i++) {
		const struct connection *connection = server->workers[i].connections;
		for (; connection && rc == 0; connection = connection->next) {
			Cached__V1__Connection message = CACHED__V1__CONNECTION__INIT;
			message.id = connection->id;
			message.input = bytes_of(&connection->input);
			message.output = bytes_of(&connection->output);
			message.swallow_bytes = connection->swallow_bytes;
			message.swallow_line = connection->swallow_line;
			message.answered = connection->answered;
			message.quit = connection->quit;
			rc = upg_save(saver, &message.base);
		}
	}
	return rc;
}

static struct connection *connection_from(const Cached__V1__Connection *message, int fd)
{
	struct connection *connection = connection_new(fd, message->id);

	if (!connection)
		return NULL;
	buffer_put(&connection->input, message->input.data, message->input.len);
	buffer_put(&connection->output, message->output.data, message->output.len);
	connection->swallow_bytes = message->swallow_bytes;
	connection->swallow_line = message->swallow_line;
	connection->answered = message->answered;
	connection->quit = message->quit;
	if (connection->input.failed || connection->output.failed)
		return connection_free(connection);
	return connection;
}

static int load_connection(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata)
{
	struct server *server = userdata;
	const Cached__V1__Connection *message = (const Cached__V1__Connection *)from;
	int fd = upg_load_claim(loader, "client", message->id);

	if (fd < 0)
		return upg_load_fail(loader, "connection %llu came without its descriptor", (unsigned long long)message->id);
	struct connection *connection = connection_from(message, fd);
	if (!connection || worker_add(server, connection) < 0) {
		connection_free(connection);
		return upg_load_fail(loader, "connection %llu: out of memory", (unsigned long long)message->id);
	}
	if (message->id > server->next_id)
		server->next_id = message->id;
	return 0;
}

static uint64_t count_connections(void *userdata)
{
	struct server *server = userdata;

	return atomic_load(&server->curr_connections);
}

/* ---- how quiet a roll finds the connections ---- */

static bool between_requests(const struct connection *connection)
{
	return buffer_size(&connection->input) == 0 && buffer_size(&connection->output) == 0 &&
	       connection->swallow_bytes == 0 && !connection->swallow_line;
}

/* Every request can travel half done, so UPG_WORK_FREE needs nothing. The others are for who wants them nevertheless. */
static int on_prepare(enum upg_level level, void *userdata)
{
	struct server *server = userdata;

	if (level == UPG_WORK_FREE)
		return UPG_OK;
	if (level == UPG_PROTOCOL_FREE)
		return atomic_load(&server->curr_connections) ? UPG_NOT_YET : UPG_OK;
	for (unsigned i = 0; i < server->options.n_workers; i++) {
		const struct connection *connection = server->workers[i].connections;
		for (; connection; connection = connection->next) {
			if (!between_requests(connection))
				return UPG_NOT_YET;
		}
	}
	return UPG_OK;
}

/* ---- back from a failed successor ---- */

static bool contains(const int *fds, size_t n, int fd)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] == fd)
			return true;
	}
	return false;
}

/* Buffered bytes of the connections that are left are as they were when this process stopped; so are the pending lists. */
static void on_resume(const int *lost, size_t n_lost, void *userdata)
{
	struct server *server = userdata;

	for (unsigned i = 0; i < server->options.n_workers; i++) {
		struct worker *worker = &server->workers[i];
		struct connection *next = NULL;
		for (struct connection *connection = worker->connections; connection; connection = next) {
			next = connection->next;
			if (contains(lost, n_lost, connection->fd))
				worker_close(worker, connection);
		}
	}
}

/* ---- */

static const struct upg_type types[] = {
	{
		.name = "cached.Stats",
		.version = 1,
		.descriptor = &cached__v1__stats__descriptor,
		.save = save_stats,
		.load = load_stats,
	},
	{
		.name = "cached.Item",
		.version = CACHED_VERSION,
		.descriptor = &ITEM_DESCRIPTOR,
		.save = save_items,
		.load = load_item,
		.count = count_items,
	},
	{
		.name = "cached.Connection",
		.version = 1,
		.descriptor = &cached__v1__connection__descriptor,
		.save = save_connections,
		.load = load_connection,
		.count = count_connections,
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
		.nudge_signal = SIGUSR1,
		.on_prepare = on_prepare,
		.on_resume = on_resume,
		.userdata = server,
	};
	int rc = upg_open(&config, &server->upg);
	if (rc < 0)
		fprintf(stderr, "cached: cannot reach the supervisor: %s\n", strerror(-rc));
	return rc;
}
