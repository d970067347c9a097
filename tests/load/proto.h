/* SPDX-License-Identifier: MIT */
/* The answers of the memcached text protocol, parsed as the bytes come: any division of the stream gives the same replies. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTO_LINE_MAX 512u                       /* longest answer line, without CR LF */
#define PROTO_VALUE_MAX (UINT64_C(16) << 20)      /* longest data block */

enum reply_kind {
	REPLY_STORED,
	REPLY_NOT_STORED,
	REPLY_EXISTS,
	REPLY_NOT_FOUND,
	REPLY_DELETED,
	REPLY_TOUCHED,
	REPLY_NUMBER,
	REPLY_VALUE, /* one item of a get; REPLY_END comes after the last */
	REPLY_END,
	REPLY_ERROR, /* ERROR, CLIENT_ERROR ..., SERVER_ERROR ... */
};

/* Pointers are borrowed until the next call on the parser. */
struct reply {
	enum reply_kind kind;
	const char *line; /* as it came, for messages */
	uint64_t number;  /* REPLY_NUMBER */
	/* REPLY_VALUE: */
	const char *key; /* NUL-terminated */
	uint32_t flags;
	bool has_cas;
	uint64_t cas;
	const uint8_t *data;
	size_t size;
};

struct parser {
	char line[PROTO_LINE_MAX + 3];
	size_t line_size;
	bool in_data;
	uint8_t *data; /* the block and its CR LF */
	size_t have, want, cap;
	struct reply value; /* its line has been read, its data is coming */
	char fault[200];    /* after -EBADMSG: what was wrong with the stream */
};

enum parser_outcome { PARSER_MORE = 0, PARSER_REPLY = 1 };

void parser_init(struct parser *parser);
void parser_done(struct parser *parser);

/**
 * parser_next() - Take bytes from *@data until one reply is complete; both *@data and *@size move on.
 *
 * Return: PARSER_REPLY with *@ret_reply; PARSER_MORE when all bytes are taken; -EBADMSG when this is not the protocol
 * (see @parser->fault; the stream cannot be followed any further).
 */
int parser_next(struct parser *parser, const uint8_t **data, size_t *size, struct reply *ret_reply);

/** reply_name() - "STORED". */
const char *reply_name(enum reply_kind kind);
