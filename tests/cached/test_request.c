/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/item.h"
#include "shim/examples/cached/request.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(request, .timeout = 20);

static struct request request;

static enum request_outcome parse(const char *text)
{
	return request_parse(text, strlen(text), &request);
}

static bool is(struct token token, const char *text)
{
	return token.size == strlen(text) && memcmp(token.text, text, token.size) == 0;
}

Test(request, reads_every_field_of_a_set)
{
	const char *text = "set key 4294967295 -1 5 noreply\r\nva\r\nlget next\r\n";

	cr_assert_eq(parse(text), REQUEST_BAD, "six bytes are not five");
	text = "set key 4294967295 -1 6 noreply\r\nva\r\nlu\r\nget next\r\n";
	cr_assert_eq(parse(text), REQUEST_WHOLE);
	cr_expect_eq(request.verb, VERB_SET);
	cr_expect(is(request.key, "key"));
	cr_expect(is(request.value, "va\r\nlu"));
	cr_expect_eq(request.flags, UINT32_MAX);
	cr_expect_eq(request.exptime, -1);
	cr_expect(request.noreply);
	cr_expect(strncmp(text + request.size, "get next", 8) == 0);
}

Test(request, wants_more_at_every_split_and_never_reads_past_what_is_there)
{
	static const char *const texts[] = {
		"set key 1 2 6\r\nva\r\nlu\r\n", "cas k 0 0 1 18446744073709551615\r\nx\r\n", "get a b  c\r\n",
		"gats 10 a b\n", "incr n 12 noreply\r\n", "delete k\r\n", "touch k 5\r\n", "flush_all 3\r\n",
		"stats settings\r\n", "version\n", "set empty 0 0 0\r\n\r\n", "quit\r\n",
	};

	for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
		size_t size = strlen(texts[t]);
		for (size_t n = 0; n <= size; n++) {
			/* Exactly @n bytes on the heap: the sanitizer sees a read past them. */
			char *part = malloc(n + !n);
			cr_assert_not_null(part);
			memcpy(part, texts[t], n);
			enum request_outcome outcome = request_parse(part, n, &request);
			if (n < size) {
				cr_assert_eq(outcome, REQUEST_PART, "%zu bytes of %s", n, texts[t]);
				cr_assert(request.wanted > n && request.wanted <= size, "%zu bytes of %s", n, texts[t]);
			} else {
				cr_assert_eq(outcome, REQUEST_WHOLE, "%s", texts[t]);
				cr_assert_eq(request.size, size);
			}
			free(part);
		}
	}
}

Test(request, finds_the_keys_of_a_retrieval_one_after_the_other)
{
	const char *text = "gat 100  one two   three \r\nget other\r\n";
	struct token key;
	size_t at;

	cr_assert_eq(parse(text), REQUEST_WHOLE);
	cr_expect_eq(request.exptime, 100);
	at = request_next_key(&request, text, request.keys, &key);
	cr_expect(at && is(key, "one"));
	at = request_next_key(&request, text, at, &key);
	cr_expect(at && is(key, "two"));
	at = request_next_key(&request, text, at, &key);
	cr_expect(at && is(key, "three"));
	cr_expect_eq(request_next_key(&request, text, at, &key), 0);
}

Test(request, takes_a_key_of_250_bytes_and_none_of_251)
{
	char key[252], text[400];

	memset(key, 'k', sizeof key);
	key[250] = '\0';
	snprintf(text, sizeof text, "get %s\r\n", key);
	cr_expect_eq(parse(text), REQUEST_WHOLE);
	snprintf(text, sizeof text, "get a %sk\r\n", key);
	cr_expect_eq(parse(text), REQUEST_BAD);
	snprintf(text, sizeof text, "set %sk 0 0 3\r\n", key);
	cr_expect_eq(parse(text), REQUEST_BAD);
	cr_expect_eq(request.swallow_bytes, 5, "the data of a refused set must not be taken for a command");
	cr_expect_eq(request.size, strlen(text));
}

Test(request, refuses_what_is_malformed_in_memcacheds_words)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "\r\n", "ERROR" },
		{ "nonsense\r\n", "ERROR" },
		{ "GET a\r\n", "ERROR" },
		{ "get\r\n", "ERROR" },
		{ "gat 0\r\n", "ERROR" },
		{ "set a 0 0\r\n", "ERROR" },
		{ "set a 0 0 1 noreply more\r\n", "ERROR" },
		{ "verbosity\r\n", "ERROR" },
		{ "set a 0 0 -1\r\n", "CLIENT_ERROR bad command line format" },
		{ "set a 0 0 99999999999999999999\r\n", "CLIENT_ERROR bad command line format" },
		{ "set a -1 0 1\r\n", "CLIENT_ERROR bad command line format" },
		{ "set a 4294967296 0 1\r\n", "CLIENT_ERROR bad command line format" },
		{ "set a 0 soon 1\r\n", "CLIENT_ERROR bad command line format" },
		{ "cas a 0 0 1 x\r\n", "CLIENT_ERROR bad command line format" },
		{ "delete a 1\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]" },
		{ "incr a -1\r\n", "CLIENT_ERROR invalid numeric delta argument" },
		{ "incr a 18446744073709551616\r\n", "CLIENT_ERROR invalid numeric delta argument" },
		{ "touch a x\r\n", "CLIENT_ERROR invalid exptime argument" },
		{ "flush_all x\r\n", "CLIENT_ERROR invalid exptime argument" },
		{ "set a 0 0 1048577\r\n", "SERVER_ERROR object too large for cache" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		cr_assert_eq(parse(cases[i].text), REQUEST_BAD, "%s", cases[i].text);
		cr_expect_str_eq(request.error, cases[i].error, "%s", cases[i].text);
		cr_expect_eq(request.size, strlen(cases[i].text));
	}
}

Test(request, swallows_the_block_of_a_value_that_is_too_large_and_drops_the_old_one)
{
	cr_assert_eq(parse("set big 0 0 2000000 noreply\r\n"), REQUEST_BAD);
	cr_expect_eq(request.swallow_bytes, 2000002);
	cr_expect(request.noreply);
	cr_expect(request.drop_key && is(request.key, "big"));
	cr_assert_eq(parse("add big 0 0 2000000\r\n"), REQUEST_BAD);
	cr_expect_not(request.drop_key);
}

Test(request, skips_the_rest_of_the_line_after_a_block_of_the_wrong_size)
{
	cr_assert_eq(parse("set a 0 0 3\r\nabcdef\r\n"), REQUEST_BAD);
	cr_expect_str_eq(request.error, "CLIENT_ERROR bad data chunk");
	cr_expect_eq(request.size, strlen("set a 0 0 3\r\nabc"));
	cr_expect(request.swallow_line);
}

Test(request, gives_up_on_a_line_without_end)
{
	char *text = malloc(LINE_MAX_BYTES);

	cr_assert_not_null(text);
	memset(text, 'x', LINE_MAX_BYTES);
	cr_expect_eq(request_parse(text, LINE_MAX_BYTES - 1, &request), REQUEST_PART);
	cr_expect_eq(request_parse(text, LINE_MAX_BYTES, &request), REQUEST_HOPELESS);
	cr_expect_not_null(request.error);
	free(text);
}
