/* SPDX-License-Identifier: MIT */
#include "tests/load/proto.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

TestSuite(proto, .timeout = 20);

/* Parses @text in pieces of @piece bytes and writes down what came. Return: 0 or the parser's error. */
static int transcribe(const char *text, size_t size, size_t piece, char *ret, size_t ret_size)
{
	struct parser parser;
	size_t used = 0;
	int rc = 0;

	parser_init(&parser);
	*ret = '\0';
	for (size_t at = 0; at < size && rc >= 0; at += piece) {
		const uint8_t *data = (const uint8_t *)text + at;
		size_t left = size - at < piece ? size - at : piece;
		struct reply reply;

		while ((rc = parser_next(&parser, &data, &left, &reply)) == PARSER_REPLY) {
			used += (size_t)snprintf(ret + used, ret_size - used, "%s", reply_name(reply.kind));
			if (reply.kind == REPLY_NUMBER)
				used += (size_t)snprintf(ret + used, ret_size - used, "=%llu",
							 (unsigned long long)reply.number);
			if (reply.kind == REPLY_VALUE) {
				used += (size_t)snprintf(ret + used, ret_size - used, "(%s,%u,%zu", reply.key, reply.flags,
							 reply.size);
				if (reply.has_cas)
					used += (size_t)snprintf(ret + used, ret_size - used, ",cas %llu",
								 (unsigned long long)reply.cas);
				for (size_t i = 0; i < reply.size; i++)
					used += (size_t)snprintf(ret + used, ret_size - used, "%s%02x", i ? "" : ":",
								 reply.data[i]);
				used += (size_t)snprintf(ret + used, ret_size - used, ")");
			}
			used += (size_t)snprintf(ret + used, ret_size - used, ";");
		}
		if (rc == PARSER_MORE)
			cr_assert_eq(left, 0, "PARSER_MORE with bytes left");
	}
	parser_done(&parser);
	return rc;
}

static const char stream[] = "STORED\r\n"
			     "VALUE load:1:2 4294967295 9\r\n\r\nEND\r\n\0y\r\n"
			     "VALUE k 0 0 18446744073709551615\r\n\r\n"
			     "END\r\n"
			     "18446744073709551615\r\n"
			     "7  \r\n"
			     "NOT_STORED\r\nEXISTS\r\nNOT_FOUND\r\nDELETED\r\nTOUCHED\r\n"
			     "SERVER_ERROR out of memory storing object\r\nERROR\r\n";
static const char transcript[] = "STORED;VALUE(load:1:2,4294967295,9:0d0a454e440d0a0079);VALUE(k,0,0,cas 18446744073709551615);"
				 "END;a number=18446744073709551615;a number=7;NOT_STORED;EXISTS;NOT_FOUND;DELETED;TOUCHED;"
				 "an error;an error;";

Test(proto, gives_the_same_replies_for_every_division_of_the_stream)
{
	char got[1024];

	for (size_t piece = 1; piece <= sizeof(stream) - 1; piece++) {
		cr_assert_eq(transcribe(stream, sizeof(stream) - 1, piece, got, sizeof(got)), PARSER_MORE);
		cr_assert_str_eq(got, transcript, "in pieces of %zu bytes", piece);
	}
}

Test(proto, gives_no_reply_before_its_last_byte)
{
	struct parser parser;
	const char text[] = "VALUE k 1 3\r\nabc\r\nEND\r\n";
	size_t value_end = strlen("VALUE k 1 3\r\nabc\r\n");
	struct reply reply;

	parser_init(&parser);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		const uint8_t *data = (const uint8_t *)text + i;
		size_t size = 1;
		int rc = parser_next(&parser, &data, &size, &reply);
		bool last = i + 1 == value_end || i + 2 == sizeof(text);

		cr_assert_eq(rc, last ? PARSER_REPLY : PARSER_MORE, "byte %zu", i);
	}
	parser_done(&parser);
}

Test(proto, refuses_what_is_not_the_protocol)
{
	static const char *const bad[] = {
		"\r\n",
		"\n",
		"STORED\n",
		"stored\r\n",
		"STORED \r\n",
		"STOREDSTORED\r\n",
		"-1\r\n",
		"01\r\n",
		"18446744073709551616\r\n",
		"12a\r\n",
		"VALUE\r\n",
		"VALUE  1 1\r\n",
		"VALUE k 4294967296 1\r\n",
		"VALUE k 1 99999999999\r\n",
		"VALUE k 1 1 \r\n",
		"VALUE k 1 1 2 3\r\n",
		"VALUE k 1\r\n",
		"VALUE k 1 1\r\nab\r\n",
		"VALUE k 1 2\r\na\r\n\r\n",
		"SERVER_ERRORS\r\n",
	};
	char got[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (size_t piece = 1; piece <= strlen(bad[i]); piece++)
			cr_assert_eq(transcribe(bad[i], strlen(bad[i]), piece, got, sizeof(got)), -EBADMSG,
				     "case %zu in pieces of %zu: \"%s\"", i, piece, bad[i]);
}

Test(proto, refuses_a_nul_in_a_line)
{
	char got[64];

	cr_assert_eq(transcribe("STORED\0\r\n", 9, 9, got, sizeof(got)), -EBADMSG);
}

Test(proto, refuses_a_line_without_end)
{
	char text[PROTO_LINE_MAX + 8], got[64];

	memset(text, 'E', sizeof(text));
	cr_assert_eq(transcribe(text, sizeof(text), 1, got, sizeof(got)), -EBADMSG);
	cr_assert_eq(transcribe(text, sizeof(text), sizeof(text), got, sizeof(got)), -EBADMSG);
}
