/* SPDX-License-Identifier: MIT */
/* How a client is kept in step after a mistake: where the size of a data block is known, the block is dropped, so that data is
 * never taken for commands. After a block of the wrong size the rest of its last line is dropped. */
#include "shim/examples/cached/request.h"

#include "shim/examples/cached/item.h"

#include <string.h>

#define TOKENS_MAX 8u /* at least one more than any command but a retrieval has */

static const char bad_format[] = "CLIENT_ERROR bad command line format";
static const char bad_exptime[] = "CLIENT_ERROR invalid exptime argument";

enum shape { SHAPE_KEYS, SHAPE_TOUCH_KEYS, SHAPE_STORE, SHAPE_DELETE, SHAPE_NUMBER, SHAPE_TOUCH, SHAPE_FLUSH, SHAPE_ANY };

/* min and max: arguments without noreply. What version and quit come with is ignored, as clients expect. */
static const struct form {
	const char *name;
	enum verb verb;
	enum shape shape;
	size_t min, max;
} forms[] = {
	{ "get", VERB_GET, SHAPE_KEYS, 1, SIZE_MAX },
	{ "gets", VERB_GETS, SHAPE_KEYS, 1, SIZE_MAX },
	{ "gat", VERB_GAT, SHAPE_TOUCH_KEYS, 2, SIZE_MAX },
	{ "gats", VERB_GATS, SHAPE_TOUCH_KEYS, 2, SIZE_MAX },
	{ "set", VERB_SET, SHAPE_STORE, 4, 4 },
	{ "add", VERB_ADD, SHAPE_STORE, 4, 4 },
	{ "replace", VERB_REPLACE, SHAPE_STORE, 4, 4 },
	{ "append", VERB_APPEND, SHAPE_STORE, 4, 4 },
	{ "prepend", VERB_PREPEND, SHAPE_STORE, 4, 4 },
	{ "cas", VERB_CAS, SHAPE_STORE, 5, 5 },
	{ "delete", VERB_DELETE, SHAPE_DELETE, 1, 2 },
	{ "incr", VERB_INCR, SHAPE_NUMBER, 2, 2 },
	{ "decr", VERB_DECR, SHAPE_NUMBER, 2, 2 },
	{ "touch", VERB_TOUCH, SHAPE_TOUCH, 2, 2 },
	{ "flush_all", VERB_FLUSH_ALL, SHAPE_FLUSH, 0, 1 },
	{ "stats", VERB_STATS, SHAPE_ANY, 0, 3 },
	{ "version", VERB_VERSION, SHAPE_ANY, 0, TOKENS_MAX },
	{ "verbosity", VERB_VERBOSITY, SHAPE_ANY, 0, 1 },
	{ "quit", VERB_QUIT, SHAPE_ANY, 0, TOKENS_MAX },
};

static bool token_is(const struct token *token, const char *text)
{
	return token->size == strlen(text) && memcmp(token->text, text, token->size) == 0;
}

static bool token_u64(const struct token *token, uint64_t *ret)
{
	uint64_t number = 0;

	for (size_t i = 0; i < token->size; i++) {
		if (token->text[i] < '0' || token->text[i] > '9' || __builtin_mul_overflow(number, UINT64_C(10), &number) ||
		    __builtin_add_overflow(number, (uint64_t)(token->text[i] - '0'), &number))
			return false;
	}
	*ret = number;
	return token->size > 0;
}

static bool token_i64(const struct token *token, int64_t *ret)
{
	bool negative = token->size > 0 && token->text[0] == '-';
	struct token digits = { token->text + negative, token->size - negative };
	uint64_t number;

	if (!token_u64(&digits, &number) || number > INT64_MAX)
		return false;
	*ret = negative ? -(int64_t)number : (int64_t)number;
	return true;
}

/* The token at or after @at in a line of @size bytes; its size is 0 at the end. Return: the offset behind it. */
static size_t token_next(const char *line, size_t size, size_t at, struct token *ret)
{
	while (at < size && line[at] == ' ')
		at++;
	size_t start = at;
	while (at < size && line[at] != ' ')
		at++;
	*ret = (struct token){ line + start, at - start };
	return at;
}

static size_t tokenize(const char *line, size_t size, struct token tokens[TOKENS_MAX])
{
	size_t n = 0, at = 0;

	while (n < TOKENS_MAX) {
		at = token_next(line, size, at, &tokens[n]);
		if (tokens[n].size == 0)
			break;
		n++;
	}
	return n;
}

/* The line without its end, which is "\r\n" or "\n". */
static size_t line_trim(const char *line, size_t size)
{
	size--;
	return size > 0 && line[size - 1] == '\r' ? size - 1 : size;
}

static const struct form *form_find(const struct token *name)
{
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (token_is(name, forms[i].name))
			return &forms[i];
	}
	return NULL;
}

static enum request_outcome bad(struct request *request, const char *error)
{
	request->error = error;
	return REQUEST_BAD;
}

/* The data block of @value_size bytes behind the line. */
static enum request_outcome parse_block(const char *data, size_t size, uint64_t value_size, struct request *request)
{
	size_t line_size = request->size;
	size_t value_end = line_size + (size_t)value_size;

	if (size < value_end + 2) {
		request->wanted = value_end + 2;
		return REQUEST_PART;
	}
	if (memcmp(data + value_end, "\r\n", 2) != 0) {
		request->size = value_end;
		request->swallow_line = true;
		return bad(request, "CLIENT_ERROR bad data chunk");
	}
	request->value = (struct token){ data + line_size, (size_t)value_size };
	request->size = value_end + 2;
	return REQUEST_WHOLE;
}

static enum request_outcome parse_store(const char *data, size_t size, const struct token *args, struct request *request)
{
	uint64_t flags, value_size;

	if (!token_u64(&args[3], &value_size) || value_size > INT32_MAX)
		return bad(request, bad_format);
	request->key = args[0];
	if (args[0].size > KEY_MAX || !token_u64(&args[1], &flags) || flags > UINT32_MAX ||
	    !token_i64(&args[2], &request->exptime) ||
	    (request->verb == VERB_CAS && !token_u64(&args[4], &request->number))) {
		request->swallow_bytes = value_size + 2;
		return bad(request, bad_format);
	}
	request->flags = (uint32_t)flags;
	if (value_size > VALUE_MAX) {
		request->swallow_bytes = value_size + 2;
		request->drop_key = request->verb == VERB_SET;
		return bad(request, "SERVER_ERROR object too large for cache");
	}
	return parse_block(data, size, value_size, request);
}

static enum request_outcome parse_keys(const char *data, size_t line_size, struct request *request, bool with_exptime)
{
	size_t end = line_trim(data, line_size);
	struct token token;
	size_t at = token_next(data, end, 0, &token);

	if (with_exptime) {
		at = token_next(data, end, at, &token);
		if (!token_i64(&token, &request->exptime))
			return bad(request, bad_exptime);
	}
	request->keys = at;
	do {
		at = token_next(data, end, at, &token);
		if (token.size > KEY_MAX)
			return bad(request, bad_format);
	} while (token.size);
	return REQUEST_WHOLE;
}

static enum request_outcome parse_delete(const struct token *args, size_t n, struct request *request)
{
	/* Old clients send a time of 0, and only that is allowed. */
	if (n == 2 && !token_is(&args[1], "0"))
		return bad(request, "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]");
	request->key = args[0];
	return args[0].size > KEY_MAX ? bad(request, bad_format) : REQUEST_WHOLE;
}

static enum request_outcome parse_number(const struct token *args, struct request *request)
{
	request->key = args[0];
	if (args[0].size > KEY_MAX)
		return bad(request, bad_format);
	if (!token_u64(&args[1], &request->number))
		return bad(request, "CLIENT_ERROR invalid numeric delta argument");
	return REQUEST_WHOLE;
}

static enum request_outcome parse_touch(const struct token *args, struct request *request)
{
	request->key = args[0];
	if (args[0].size > KEY_MAX)
		return bad(request, bad_format);
	return token_i64(&args[1], &request->exptime) ? REQUEST_WHOLE : bad(request, bad_exptime);
}

static enum request_outcome parse_arguments(const char *data, size_t size, const struct form *form,
					    const struct token *args, size_t n, struct request *request)
{
	switch (form->shape) {
	case SHAPE_KEYS:
	case SHAPE_TOUCH_KEYS:
		return parse_keys(data, request->size, request, form->shape == SHAPE_TOUCH_KEYS);
	case SHAPE_STORE:
		return parse_store(data, size, args, request);
	case SHAPE_DELETE:
		return parse_delete(args, n, request);
	case SHAPE_NUMBER:
		return parse_number(args, request);
	case SHAPE_TOUCH:
		return parse_touch(args, request);
	case SHAPE_FLUSH:
		return n == 0 || token_i64(&args[0], &request->exptime) ? REQUEST_WHOLE : bad(request, bad_exptime);
	case SHAPE_ANY:
		if (n > 0)
			request->argument = args[0];
		/* "verbosity" alone is an error, "verbosity noreply" is not. */
		return form->verb == VERB_VERBOSITY && n == 0 && !request->noreply ? bad(request, "ERROR") : REQUEST_WHOLE;
	}
	return bad(request, "ERROR");
}

enum request_outcome request_parse(const char *data, size_t size, struct request *ret)
{
	struct token tokens[TOKENS_MAX];
	const char *newline = size ? memchr(data, '\n', size < LINE_MAX_BYTES ? size : LINE_MAX_BYTES) : NULL;

	*ret = (struct request){ 0 };
	if (!newline) {
		ret->wanted = size + 1;
		ret->error = "CLIENT_ERROR line too long";
		return size < LINE_MAX_BYTES ? REQUEST_PART : REQUEST_HOPELESS;
	}
	ret->size = (size_t)(newline - data) + 1;
	size_t n = tokenize(data, line_trim(data, ret->size), tokens);
	const struct form *form = n ? form_find(&tokens[0]) : NULL;
	if (!form)
		return bad(ret, "ERROR");
	ret->verb = form->verb;
	n--;
	/* A retrieval's keys may have any name, and nobody asks for statistics to not get them. */
	if (form->max != SIZE_MAX && form->verb != VERB_STATS && n > 0 && token_is(&tokens[n], "noreply")) {
		ret->noreply = true;
		n--;
	}
	if (n < form->min || n > form->max)
		return bad(ret, "ERROR");
	return parse_arguments(data, size, form, tokens + 1, n, ret);
}

size_t request_next_key(const struct request *request, const char *data, size_t offset, struct token *ret_key)
{
	size_t at = token_next(data, line_trim(data, request->size), offset, ret_key);

	return ret_key->size ? at : 0;
}
