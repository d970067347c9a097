/* SPDX-License-Identifier: MIT */
/* One request: what it asks, what must be answered, what it changes, and its bytes on the wire. */
#pragma once

#include "tests/load/journal.h"
#include "tests/load/proto.h"
#include "tests/load/value.h"

enum request_kind {
	REQUEST_SET,
	REQUEST_ADD,
	REQUEST_REPLACE,
	REQUEST_APPEND,
	REQUEST_PREPEND,
	REQUEST_CAS,
	REQUEST_GET,
	REQUEST_GETS,
	REQUEST_DELETE,
	REQUEST_INCR,
	REQUEST_DECR,
	REQUEST_TOUCH,
	REQUEST_KINDS
};

#define REQUEST_LINE_MAX 1900u /* longer ones are refused by some servers, which allow 2048 */
#define KEY_TEXT_MAX 40u

/* One key of a get. */
struct item {
	uint32_t key;
	struct value *value; /* owned: what it must hold, NULL if nothing; of a survey: what was answered */
	uint64_t version;    /* the model's count of changes to the key */
	uint64_t cas;        /* of a survey: what was answered */
};

struct request {
	enum request_kind kind;
	uint32_t key;        /* unless it is a get */
	struct value *value; /* owned: the data to send */
	uint32_t exptime;
	uint64_t delta;
	uint64_t cas;
	struct item *items; /* owned, of a get: in the order asked */
	size_t n_items;
	size_t seen;          /* items that answers have passed */
	bool survey;          /* read what is there and expect nothing */
	enum reply_kind expect;
	uint64_t expect_number;
	struct step step;
};

struct buffer {
	uint8_t *data;
	size_t start, end, cap;
	uint64_t start_pos; /* of data[start] in everything ever put in */
};

/* Where the parts of an encoded request lie, for cutting it. */
struct layout {
	size_t line; /* bytes of the command line with its CR LF */
	size_t data; /* bytes of data with its CR LF; 0 if there is none */
};

void buffer_done(struct buffer *buffer);
void buffer_put(struct buffer *buffer, const void *data, size_t size_bytes);
void buffer_drop(struct buffer *buffer, size_t n);

/** request_init() - A request that changes nothing, with no answer expected yet. */
void request_init(struct request *request, enum request_kind kind, uint32_t key);

/** request_init_get() - @kind is REQUEST_GET or REQUEST_GETS; the caller fills in the items' keys. */
void request_init_get(struct request *request, enum request_kind kind, size_t n_items);
void request_done(struct request *request);

static inline bool request_is_get(const struct request *request)
{
	return request->kind == REQUEST_GET || request->kind == REQUEST_GETS;
}

const char *request_name(enum request_kind kind);

/** request_encode() - Append its bytes. Keys are "load:<conn>:<key>". */
void request_encode(const struct request *request, unsigned conn, struct buffer *buffer, struct layout *ret_layout);

/** key_write() - Return: @buf. */
const char *key_write(char buf[static KEY_TEXT_MAX], unsigned conn, uint32_t key);

/** key_read() - Return: whether @text is a key of @conn, then in *@ret_key. */
bool key_read(const char *text, unsigned conn, uint32_t *ret_key);

/** layout_cut() - A place inside a request where to stop sending: in the line, between line and data, in the data, or before
 * the last LF. Return: bytes to send first, at least 1 and fewer than all. */
size_t layout_cut(const struct layout *layout, uint64_t *rng);
