/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/command.h"

#include "shim/examples/cached/breakage.h"
#include "shim/examples/cached/server.h"

#include <string.h>
#include <unistd.h>

static const char out_of_memory[] = "SERVER_ERROR out of memory storing object";

static void answer(const struct request *request, struct buffer *output, const char *text)
{
	if (request->noreply)
		return;
	buffer_put_text(output, text);
	buffer_put_text(output, "\r\n");
}

/* @done: what this request calls success. */
static void answer_outcome(const struct request *request, struct buffer *output, enum store_outcome outcome, const char *done)
{
	switch (outcome) {
	case STORE_DONE:
		answer(request, output, done);
		return;
	case STORE_NOT_STORED:
		answer(request, output, "NOT_STORED");
		return;
	case STORE_EXISTS:
		answer(request, output, "EXISTS");
		return;
	case STORE_NOT_FOUND:
		answer(request, output, "NOT_FOUND");
		return;
	case STORE_TOO_LARGE:
		answer(request, output, "SERVER_ERROR object too large for cache");
		return;
	case STORE_NO_MEMORY:
		answer(request, output, out_of_memory);
		return;
	case STORE_NOT_A_NUMBER:
		answer(request, output, "CLIENT_ERROR cannot increment or decrement non-numeric value");
		return;
	}
}

static void command_store(struct server *server, const struct request *request, enum store_mode mode, struct buffer *output,
			  int64_t now)
{
	const struct token *key = &request->key, *value = &request->value;
	struct item *item = item_new(key->text, key->size, value->text, value->size, request->flags);

	if (!item) {
		answer(request, output, out_of_memory);
		return;
	}
	item_state_expire(item, item_expiry_ns(request->exptime, now));
	answer_outcome(request, output, store_put_consume(&server->store, mode, item, request->number, now), "STORED");
}

static void command_number(struct server *server, const struct request *request, struct buffer *output, int64_t now)
{
	uint64_t number;
	enum store_outcome outcome = store_add_number(&server->store, request->key.text, request->key.size,
						      request->verb == VERB_INCR, request->number, now, &number);

	if (outcome != STORE_DONE) {
		answer_outcome(request, output, outcome, "");
	} else if (!request->noreply) {
		buffer_put_number(output, number);
		buffer_put_text(output, "\r\n");
	}
}

static void command_touch(struct server *server, const struct request *request, struct buffer *output, int64_t now)
{
	struct item *item = store_touch(&server->store, request->key.text, request->key.size,
					item_expiry_ns(request->exptime, now), now);

	answer(request, output, item ? "TOUCHED" : "NOT_FOUND");
	item_put(item);
}

static void stat_text(struct buffer *output, const char *name, const char *value)
{
	buffer_put_text(output, "STAT ");
	buffer_put_text(output, name);
	buffer_put_text(output, " ");
	buffer_put_text(output, value);
	buffer_put_text(output, "\r\n");
}

static void stat_number(struct buffer *output, const char *name, uint64_t value)
{
	buffer_put_text(output, "STAT ");
	buffer_put_text(output, name);
	buffer_put_text(output, " ");
	buffer_put_number(output, value);
	buffer_put_text(output, "\r\n");
}

static void stats_general(struct server *server, struct buffer *output, int64_t now)
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

static void command_stats(struct server *server, const struct request *request, struct buffer *output, int64_t now)
{
	if (argument_is(request, "reset")) {
		store_reset_counters(&server->store);
		buffer_put_text(output, "RESET\r\n");
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
		buffer_put_text(output, "ERROR\r\n");
		return;
	} /* this cache has no slabs to tell about */
	buffer_put_text(output, "END\r\n");
}

static void command_flush(struct server *server, const struct request *request, struct buffer *output, int64_t now)
{
	/* The delay reads as an exptime does: relative, or absolute where it is large. */
	int64_t due = request->exptime > 0 ? item_expiry_ns(request->exptime, now) : 0;

	store_flush(&server->store, due, now);
	answer(request, output, "OK");
}

void command_run(struct server *server, const struct request *request, struct buffer *output, int64_t now)
{
	break_on_request();
	switch (request->verb) {
	case VERB_SET:
		command_store(server, request, STORE_SET, output, now);
		return;
	case VERB_ADD:
		command_store(server, request, STORE_ADD, output, now);
		return;
	case VERB_REPLACE:
		command_store(server, request, STORE_REPLACE, output, now);
		return;
	case VERB_APPEND:
		command_store(server, request, STORE_APPEND, output, now);
		return;
	case VERB_PREPEND:
		command_store(server, request, STORE_PREPEND, output, now);
		return;
	case VERB_CAS:
		command_store(server, request, STORE_CAS, output, now);
		return;
	case VERB_DELETE:
		answer_outcome(request, output,
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
		buffer_put_text(output, "VERSION 1.6.0-cached-" CACHED_NAME "\r\n");
		return;
	case VERB_VERBOSITY:
		answer(request, output, "OK"); /* no request is logged at any level */
		return;
	case VERB_GET:
	case VERB_GETS:
	case VERB_GAT:
	case VERB_GATS:
	case VERB_QUIT:
		return; /* the connection's */
	}
}

void command_retrieve(struct server *server, const struct request *request, const struct token *key, struct buffer *output,
		      int64_t now)
{
	struct store *store = &server->store;
	bool touch = request->verb == VERB_GAT || request->verb == VERB_GATS;
	struct item *item;

	break_on_request();
	if (touch)
		item = store_touch(store, key->text, key->size, item_expiry_ns(request->exptime, now), now);
	else
		item = store_get(store, key->text, key->size, now);
	if (!item)
		return;
	buffer_put_text(output, "VALUE ");
	buffer_put(output, key->text, key->size);
	buffer_put_text(output, " ");
	buffer_put_number(output, item->flags);
	buffer_put_text(output, " ");
	buffer_put_number(output, item->value_size);
	if (request->verb == VERB_GETS || request->verb == VERB_GATS) {
		buffer_put_text(output, " ");
		buffer_put_number(output, item->cas);
	}
	buffer_put_text(output, "\r\n");
	buffer_put(output, item_value(item), item->value_size);
	buffer_put_text(output, "\r\n");
	item_put(item);
}
