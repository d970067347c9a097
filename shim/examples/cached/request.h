/* SPDX-License-Identifier: MIT */
/* One request of the memcached text protocol, parsed out of whatever has arrived so far. Pure: no socket, no store. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_MAX_BYTES (64u * 1024u)

enum verb {
	VERB_GET,
	VERB_GETS,
	VERB_GAT,
	VERB_GATS,
	VERB_SET,
	VERB_ADD,
	VERB_REPLACE,
	VERB_APPEND,
	VERB_PREPEND,
	VERB_CAS,
	VERB_DELETE,
	VERB_INCR,
	VERB_DECR,
	VERB_TOUCH,
	VERB_FLUSH_ALL,
	VERB_STATS,
	VERB_VERSION,
	VERB_VERBOSITY,
	VERB_QUIT,
};

enum request_outcome {
	REQUEST_WHOLE = 0,
	REQUEST_PART = 1,     /* wait until there are @wanted bytes */
	REQUEST_BAD = 2,      /* answer @error (unless noreply), drop @size bytes, then what the swallow fields say */
	REQUEST_HOPELESS = 3, /* answer @error and close: no telling where the next request begins */
};

struct token {
	const char *text;
	size_t size;
};

/* All pointers are into the parsed bytes. */
struct request {
	enum verb verb;
	bool noreply;
	struct token key;     /* the only one; of retrievals use request_next_key() */
	struct token value;
	struct token argument; /* of stats; size 0: none */
	uint32_t flags;
	int64_t exptime;
	uint64_t number;      /* cas unique, or the delta of incr and decr */
	size_t keys;          /* retrievals: offset of the first key */
	size_t size;          /* the request's bytes, to be consumed */

	size_t wanted;
	const char *error;
	bool drop_key;        /* the value is refused: an older one under @key must not survive it */
	uint64_t swallow_bytes;
	bool swallow_line;
};

/** request_parse() - The request at the front of @data. @ret is written in any case, as far as it was understood. */
enum request_outcome request_parse(const char *data, size_t size, struct request *ret);

/** request_next_key() - The key at or after @offset in the retrieval at @data, whose request_parse() was @request.
 * Return: the offset behind it, or 0 if there are no more. */
size_t request_next_key(const struct request *request, const char *data, size_t offset, struct token *ret_key);
