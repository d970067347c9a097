/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/command.h"

#include "shim/examples/cached/breakage.h"
#include "shim/examples/cached/connection.h"
#include "shim/examples/cached/server.h"

#include <string.h>
#include <unistd.h>

static const char out_of_memory[] = "SERVER_ERROR out of memory storing object";

static void reply(const struct request *request, struct answer *output, const char *text)
{
	if (request->noreply)
		return;
	answer_put_text(output, text);
	answer_put_text(output, "\r\n");
}

/* @done: what this request calls success. */
static void reply_outcome(const struct request *request, struct answer *output, enum store_outcome outcome, const char *done)
{
	switch (outcome) {
	case STORE_DONE:
		reply(request, output, done);
		return;
	case STORE_NOT_STORED:
		reply(request, output, "NOT_STORED");
		return;
	case STORE_EXISTS:
		reply(request, output, "EXISTS");
		return;
	case STORE_NOT_FOUND:
		reply(request, output, "NOT_FOUND");
		return;
	case STORE_TOO_LARGE:
		reply(request, output, "SERVER_ERROR object too large for cache");
		return;
	case STORE_NO_MEMORY:
		reply(request, output, out_of_memory);
		return;
	case STORE_NOT_A_NUMBER:
		reply(request, output, "CLIENT_ERROR cannot increment or decrement non-numeric value");
		return;
	}
}

/* The item of a request that stores one. Made before the lock is taken, as copying the value is most of the work.
 * Return: NULL for other requests, and when memory is out. */
static struct item *item_of(const struct request *request, int64_t now)
{
	struct item *item;

	if (!request->value.text)
		return NULL;
	item = item_new(request->key.text, request->key.size, request->value.text, request->value.size, request->flags);
	if (item)
		item_state_expire(item, item_expiry_ns(request->exptime, now));
	return item;
}

static void command_store(struct server *server, const struct request *request, enum store_mode mode, struct item *item,
			  struct answer *output, int64_t now)
{
	if (!item) {
		reply(request, output, out_of_memory);
		return;
	}
	reply_outcome(request, output, store_put_consume(&server->store, mode, item, request->number, now), "STORED");
}

static void command_number(struct server *server, const struct request *request, struct answer *output, int64_t now)
{
	uint64_t number;
	enum store_outcome outcome = store_add_number(&server->store, request->key.text, request->key.size,
						      request->verb == VERB_INCR, request->number, now, &number);

	if (outcome != STORE_DONE) {
		reply_outcome(request, output, outcome, "");
	} else if (!request->noreply) {
		answer_put_number(output, number);
		answer_put_text(output, "\r\n");
	}
}

static void command_touch(struct server *server, const struct request *request, struct answer *output, int64_t now)
{
	struct item *item = store_touch(&server->store, request->key.text, request->key.size,
					item_expiry_ns(request->exptime, now), now);

	reply(request, output, item ? "TOUCHED" : "NOT_FOUND");
	item_put(item);
}

static void stat_text(struct answer *output, const char *name, const char *value)
{
	answer_put_text(output, "STAT ");
	answer_put_text(output, name);
	answer_put_text(output, " ");
	answer_put_text(output, value);
	answer_put_text(output, "\r\n");
}

static void stat_number(struct answer *output, const char *name, uint64_t value)
{
	answer_put_text(output, "STAT ");
	answer_put_text(output, name);
	answer_put_text(output, " ");
	answer_put_number(output, value);
	answer_put_text(output, "\r\n");
}

static void stats_general(struct server *server, struct answer *output, int64_t now)
{
	struct store_numbers numbers;

	store_numbers(&server->store, &numbers);
	stat_number(output, "pid", (uint64_t)getpid());
	stat_number(output, "uptime", (uint64_t)((now - server->started_ns) / NSEC_PER_SEC));
	stat_number(output, "time", (uint64_t)(now / NSEC_PER_SEC));
	stat_text(output, "version", "1.6.0-cached-" CACHED_NAME);
	stat_number(output, "pointer_size", 8 * sizeof(void *));
	stat_number(output, "max_connections", server->options.connections_max);
	stat_number(output, "curr_connections", atomic_load(&server->curr_connections));
	stat_number(output, "total_connections", atomic_load(&server->total_connections));
	stat_number(output, "cmd_get", numbers.counters.get_hits + numbers.counters.get_misses);
	stat_number(output, "cmd_set", numbers.counters.cmd_set);
	stat_number(output, "cmd_flush", numbers.counters.cmd_flush);
	stat_number(output, "cmd_touch", numbers.counters.cmd_touch);
	stat_number(output, "get_hits", numbers.counters.get_hits);
	stat_number(output, "get_misses", numbers.counters.get_misses);
	stat_number(output, "get_expired", numbers.counters.expired);
	stat_number(output, "limit_maxbytes", numbers.bytes_max);
	stat_number(output, "threads", server->options.n_workers);
	stat_number(output, "hash_buckets", numbers.buckets);
	stat_number(output, "bytes", numbers.bytes);
	stat_number(output, "curr_items", numbers.items);
	stat_number(output, "total_items", numbers.counters.total_items);
	stat_number(output, "evictions", numbers.counters.evictions);
}

static bool argument_is(const struct request *request, const char *text)
{
	return request->argument.size == strlen(text) && memcmp(request->argument.text, text, request->argument.size) == 0;
}

static void command_stats(struct server *server, const struct request *request, struct answer *output, int64_t now)
{
	if (argument_is(request, "reset")) {
		store_reset_counters(&server->store);
		answer_put_text(output, "RESET\r\n");
		return;
	}
	if (argument_is(request, "settings")) {
		stat_number(output, "maxbytes", server->options.bytes_max);
		stat_number(output, "maxconns", server->options.connections_max);
		stat_text(output, "inter", server->options.address);
		stat_text(output, "evictions", "on");
		stat_number(output, "num_threads", server->options.n_workers);
		stat_number(output, "item_size_max", VALUE_MAX);
	} else if (request->argument.size == 0) {
		stats_general(server, output, now);
	} else if (!argument_is(request, "items") && !argument_is(request, "slabs") && !argument_is(request, "sizes")) {
		answer_put_text(output, "ERROR\r\n");
		return;
	} /* this cache has no slabs to tell about */
	answer_put_text(output, "END\r\n");
}

static void command_flush(struct server *server, const struct request *request, struct answer *output, int64_t now)
{
	/* The delay reads as an exptime does: relative, or absolute where it is large. */
	int64_t due = request->exptime > 0 ? item_expiry_ns(request->exptime, now) : 0;

	store_flush(&server->store, due, now);
	reply(request, output, "OK");
}

/* Context: the store's lock. @item is taken by who stores it. */
static void execute(struct server *server, const struct request *request, struct item *item, struct answer *output, int64_t now)
{
	switch (request->verb) {
	case VERB_SET:
		command_store(server, request, STORE_SET, item, output, now);
		return;
	case VERB_ADD:
		command_store(server, request, STORE_ADD, item, output, now);
		return;
	case VERB_REPLACE:
		command_store(server, request, STORE_REPLACE, item, output, now);
		return;
	case VERB_APPEND:
		command_store(server, request, STORE_APPEND, item, output, now);
		return;
	case VERB_PREPEND:
		command_store(server, request, STORE_PREPEND, item, output, now);
		return;
	case VERB_CAS:
		command_store(server, request, STORE_CAS, item, output, now);
		return;
	case VERB_DELETE:
		reply_outcome(request, output,
			       store_delete(&server->store, request->key.text, request->key.size, now), "DELETED");
		return;
	case VERB_INCR:
	case VERB_DECR:
		command_number(server, request, output, now);
		return;
	case VERB_TOUCH:
		command_touch(server, request, output, now);
		return;
	case VERB_FLUSH_ALL:
		command_flush(server, request, output, now);
		return;
	case VERB_STATS:
		command_stats(server, request, output, now);
		return;
	case VERB_VERSION:
		/* Clients use "version noreply" to get back in step, so it is answered. */
		answer_put_text(output, "VERSION 1.6.0-cached-" CACHED_NAME "\r\n");
		return;
	case VERB_VERBOSITY:
		reply(request, output, "OK"); /* no request is logged at any level */
		return;
	case VERB_GET:
	case VERB_GETS:
	case VERB_GAT:
	case VERB_GATS:
	case VERB_QUIT:
		return; /* the connection's */
	}
}

void command_run(struct server *server, const struct request *request, struct connection *connection, int64_t now)
{
	struct item *item = item_of(request, now);

	break_on_request();
	store_lock(&server->store, connection->conn, now);
	execute(server, request, item, &connection->answer, now);
	/* A change stands in the journal before anybody else can see it. */
	connection_done(connection, server, request->size);
	store_unlock(&server->store);
}

static void put_value(const struct request *request, const struct token *key, const struct item *item, struct answer *output)
{
	if (!item)
		return;
	answer_put_text(output, "VALUE ");
	answer_put(output, key->text, key->size);
	answer_put_text(output, " ");
	answer_put_number(output, item->flags);
	answer_put_text(output, " ");
	answer_put_number(output, item->value_size);
	if (request->verb == VERB_GETS || request->verb == VERB_GATS) {
		answer_put_text(output, " ");
		answer_put_number(output, item->cas);
	}
	answer_put_text(output, "\r\n");
	answer_put(output, item_value(item), item->value_size);
	answer_put_text(output, "\r\n");
}

void command_retrieve(struct server *server, const struct request *request, const struct token *key,
		      struct connection *connection, int64_t now)
{
	bool touch = request->verb == VERB_GAT || request->verb == VERB_GATS;
	struct store *store = &server->store;
	struct item *item;

	break_on_request();
	store_lock(store, connection->conn, now);
	if (touch) {
		item = store_touch(store, key->text, key->size, item_expiry_ns(request->exptime, now), now);
		put_value(request, key, item, &connection->answer);
		connection_done(connection, server, 0);
		store_unlock(store);
	} else {
		item = store_get(store, key->text, key->size, now);
		store_unlock(store);
		put_value(request, key, item, &connection->answer);
	}
	item_put(item);
}
