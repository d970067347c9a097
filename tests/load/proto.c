/* SPDX-License-Identifier: MIT */
#include "tests/load/proto.h"

#include "tests/load/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const reply_names[] = {
	[REPLY_STORED] = "STORED",       [REPLY_NOT_STORED] = "NOT_STORED", [REPLY_EXISTS] = "EXISTS",
	[REPLY_NOT_FOUND] = "NOT_FOUND", [REPLY_DELETED] = "DELETED",       [REPLY_TOUCHED] = "TOUCHED",
	[REPLY_NUMBER] = "a number",     [REPLY_VALUE] = "VALUE",           [REPLY_END] = "END",
	[REPLY_ERROR] = "an error",
};

const char *reply_name(enum reply_kind kind)
{
	return reply_names[kind];
}

void parser_init(struct parser *parser)
{
	*parser = (struct parser){ 0 };
}

void parser_done(struct parser *parser)
{
	free(parser->data);
	parser_init(parser);
}

__attribute__((format(printf, 2, 3))) static int parser_fail(struct parser *parser, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(parser->fault, sizeof(parser->fault), fmt, args);
	va_end(args);
	return -EBADMSG;
}

/* A decimal number without sign or leading zero; *@text moves behind it. */
static bool number_take(const char **text, uint64_t max, uint64_t *ret_n)
{
	const char *at = *text;
	uint64_t n = 0;

	if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] >= '0' && at[1] <= '9'))
		return false;
	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n) || n > max)
			return false;
	*text = at;
	*ret_n = n;
	return true;
}

/* "VALUE <key> <flags> <bytes>[ <cas>]"; the key is terminated in place, so the line must not be needed any more. */
static bool value_line_parse(char *line, struct reply *ret_value)
{
	char *key = line + strlen("VALUE ");
	char *key_end = strchr(key, ' ');
	uint64_t flags, size, cas = 0;
	const char *at;

	if (!key_end || key_end == key || key_end - key > 250)
		return false;
	at = key_end + 1;
	if (!number_take(&at, UINT32_MAX, &flags) || *at++ != ' ' || !number_take(&at, PROTO_VALUE_MAX, &size))
		return false;
	ret_value->has_cas = *at == ' ';
	if (ret_value->has_cas) {
		at++;
		if (!number_take(&at, UINT64_MAX, &cas))
			return false;
	}
	if (*at != '\0')
		return false;
	*key_end = '\0';
	ret_value->kind = REPLY_VALUE;
	ret_value->line = line;
	ret_value->key = key;
	ret_value->flags = (uint32_t)flags;
	ret_value->size = (size_t)size;
	ret_value->cas = cas;
	return true;
}

static bool word_parse(const char *line, struct reply *ret_reply)
{
	static const enum reply_kind words[] = { REPLY_STORED,  REPLY_NOT_STORED, REPLY_EXISTS, REPLY_NOT_FOUND,
						 REPLY_DELETED, REPLY_TOUCHED,    REPLY_END };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(line, reply_names[words[i]]) == 0) {
			ret_reply->kind = words[i];
			return true;
		}
	}
	if (strcmp(line, "ERROR") == 0 || strncmp(line, "CLIENT_ERROR ", 13) == 0 ||
	    strncmp(line, "SERVER_ERROR ", 13) == 0) {
		ret_reply->kind = REPLY_ERROR;
		return true;
	}
	return false;
}

/* incr and decr answer a number; some servers send the padded text that they hold. */
static bool number_parse(const char *line, struct reply *ret_reply)
{
	const char *at = line;

	if (!number_take(&at, UINT64_MAX, &ret_reply->number))
		return false;
	while (*at == ' ')
		at++;
	ret_reply->kind = REPLY_NUMBER;
	return *at == '\0';
}

/* @parser->line holds a whole line with its LF. */
static int line_finish(struct parser *parser, struct reply *ret_reply)
{
	char *line = parser->line;
	size_t size = parser->line_size;

	parser->line_size = 0;
	if (size < 2 || line[size - 2] != '\r')
		return parser_fail(parser, "a line that does not end in CR LF: \"%.*s\"", (int)(size < 80 ? size : 80), line);
	size -= 2;
	line[size] = '\0';
	if (strlen(line) != size)
		return parser_fail(parser, "a line with a NUL in it: \"%.80s\"", line);
	*ret_reply = (struct reply){ .line = line };
	if (word_parse(line, ret_reply) || number_parse(line, ret_reply))
		return PARSER_REPLY;
	if (strncmp(line, "VALUE ", 6) != 0 || !value_line_parse(line, &parser->value))
		return parser_fail(parser, "a line that is no answer: \"%.80s\"", line);
	parser->want = parser->value.size + 2;
	parser->have = 0;
	parser->in_data = true;
	if (parser->cap < parser->want) {
		parser->data = mem_resize(parser->data, parser->want);
		parser->cap = parser->want;
	}
	return PARSER_MORE;
}

static int line_take(struct parser *parser, const uint8_t **data, size_t *size, struct reply *ret_reply)
{
	const uint8_t *end = memchr(*data, '\n', *size);
	size_t n = end ? (size_t)(end - *data) + 1 : *size;

	if (parser->line_size + n > PROTO_LINE_MAX + 2)
		return parser_fail(parser, "a line of more than %u bytes, beginning \"%.*s\"", PROTO_LINE_MAX,
				   (int)(parser->line_size < 80 ? parser->line_size : 80), parser->line);
	memcpy(parser->line + parser->line_size, *data, n);
	parser->line_size += n;
	*data += n;
	*size -= n;
	return end ? line_finish(parser, ret_reply) : PARSER_MORE;
}

static int data_take(struct parser *parser, const uint8_t **data, size_t *size, struct reply *ret_reply)
{
	size_t n = parser->want - parser->have;

	if (n > *size)
		n = *size;
	memcpy(parser->data + parser->have, *data, n);
	parser->have += n;
	*data += n;
	*size -= n;
	if (parser->have < parser->want)
		return PARSER_MORE;
	parser->in_data = false;
	if (memcmp(parser->data + parser->value.size, "\r\n", 2) != 0)
		return parser_fail(parser, "%zu bytes of data for %.100s that do not end in CR LF", parser->value.size,
				   parser->value.key);
	*ret_reply = parser->value;
	ret_reply->data = parser->data;
	return PARSER_REPLY;
}

int parser_next(struct parser *parser, const uint8_t **data, size_t *size, struct reply *ret_reply)
{
	int rc = PARSER_MORE;

	while (*size && rc == PARSER_MORE)
		rc = parser->in_data ? data_take(parser, data, size, ret_reply) : line_take(parser, data, size, ret_reply);
	return rc;
}
