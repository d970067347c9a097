/* SPDX-License-Identifier: MIT */
/* The rules for a header. Its strings end up on terminals and in logs, so a stream whose strings are no text is refused. */
#include "base/why.h"
#include "statefmt/frame.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* Return: the bytes of the UTF-8 sequence at @text; 0: it is none, but an overlong form, a surrogate, or beyond Unicode. */
static size_t utf8_sequence(const unsigned char *text)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = text[0] < 0x80 ? 1 : (text[0] & 0xe0) == 0xc0 ? 2 : (text[0] & 0xf0) == 0xe0 ? 3 : 4;
	uint32_t code;

	if (n == 1)
		return 1;
	if ((text[0] & 0xc0) != 0xc0 || text[0] >= 0xf8)
		return 0;
	code = text[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((text[i] & 0xc0) != 0x80) /* the closing zero also ends it here */
			return 0;
		code = code << 6 | (text[i] & 0x3fu);
	}
	return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? 0 : n;
}

static bool text_is_printable(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		size_t n = utf8_sequence(at);

		if (!n || *at < 0x20 || *at == 0x7f)
			return false;
		if (n == 2 && at[0] == 0xc2 && at[1] < 0xa0) /* C1: some terminals obey these */
			return false;
		at += n;
	}
	return true;
}

/* @what: words of ours. The text itself may be what is wrong, so it is not quoted. */
static int text_check(const char *text, const char *what, size_t index, int bad, struct why *why)
{
	if (strnlen(text, SF_TEXT_BYTES + 1) > SF_TEXT_BYTES)
		return why_set(why, bad, "header: %s %zu is longer than %u bytes", what, index, SF_TEXT_BYTES);
	if (!text_is_printable(text))
		return why_set(why, bad, "header: %s %zu is not printable UTF-8", what, index);
	return 0;
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int names_check_unique(const struct sf_header *header, int bad, struct why *why)
{
	const char **names = calloc(header->n_schemas, sizeof(*names));
	int r = 0;

	if (!names)
		return why_errno(why, -ENOMEM, "header: %zu type names", header->n_schemas);
	for (size_t i = 0; i < header->n_schemas; i++)
		names[i] = header->schemas[i].name;
	qsort(names, header->n_schemas, sizeof(*names), name_compare);
	for (size_t i = 1; i < header->n_schemas && r == 0; i++)
		if (strcmp(names[i - 1], names[i]) == 0)
			r = why_set(why, bad, "header: type \"%s\" appears twice; each has one schema", names[i]);
	free(names);
	return r;
}

int sf_header_check(const struct sf_header *header, const struct sf_limits *limits, int bad, struct why *why)
{
	int r;

	if (header->n_schemas == 0)
		return why_set(why, bad, "header: it names no type; a stream has at least one");
	if (header->n_schemas > limits->types)
		return why_set(why, -EMSGSIZE, "header: %zu types, over the limit of %u; " SF_RAISE_TYPES,
			       header->n_schemas, limits->types);
	r = text_check(header->service, "service name", 0, bad, why);
	if (r == 0)
		r = text_check(header->app_version, "application version", 0, bad, why);
	for (size_t i = 0; i < header->n_schemas && r == 0; i++) {
		const struct sf_schema *schema = &header->schemas[i];

		if (!schema->name || !schema->name[0])
			return why_set(why, bad, "header: type %zu has no name", i);
		r = text_check(schema->name, "the name of type", i, bad, why);
		if (r == 0 && (schema->version < 1 || schema->version > UINT16_MAX))
			r = why_set(why, bad, "header: type \"%s\" has version %u; versions are 1 to 65535", schema->name,
				    schema->version);
		if (r == 0 && schema->record_bytes > SF_RECORD_BYTES_MAX)
			r = why_set(why, bad, "header: type \"%s\" has records of up to %u bytes; %u are possible", schema->name,
				    schema->record_bytes, SF_RECORD_BYTES_MAX);
		if (r == 0 && header->messages)
			r = text_check(header->messages[i], "the message of type", i, bad, why);
	}
	return r ? r : names_check_unique(header, bad, why);
}
