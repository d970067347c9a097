/* SPDX-License-Identifier: MIT */
#include "tests/load/model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(model, .timeout = 20);

struct bench {
	struct model model;
	struct parser parser;
	unsigned wrong;
	uint32_t wrong_key;
	char expected[512], got[512];
};

static void on_wrong(void *arg, uint32_t key, const char *expected, const char *got)
{
	struct bench *b = arg;

	b->wrong++;
	b->wrong_key = key;
	snprintf(b->expected, sizeof(b->expected), "%s", expected);
	snprintf(b->got, sizeof(b->got), "%s", got);
}

static void bench_open(struct bench *b)
{
	*b = (struct bench){ 0 };
	model_init(&b->model, 7, 4);
	b->model.on_wrong = on_wrong;
	b->model.arg = b;
	parser_init(&b->parser);
}

static void bench_close(struct bench *b)
{
	model_done(&b->model);
	parser_done(&b->parser);
}

/* Applies a request of @kind; @data is what it stores. */
static struct request make(struct bench *b, enum request_kind kind, uint32_t key, const char *data)
{
	struct request request;

	if (kind == REQUEST_GET || kind == REQUEST_GETS) {
		request_init_get(&request, kind, 1);
		request.items[0].key = key;
	} else {
		request_init(&request, kind, key);
		request.value = data ? value_new(data, strlen(data), 9) : NULL;
		request.delta = 3;
		request.cas = b->model.keys[key].cas;
	}
	model_apply(&b->model, &request);
	return request;
}

/* Return: how many times the model called @answer wrong, or 1000 more if the answer was not complete with it. */
static unsigned answer(struct bench *b, struct request *request, const char *answer)
{
	const uint8_t *data = (const uint8_t *)answer;
	size_t size = strlen(answer);
	struct reply reply;
	bool complete = false;

	b->wrong = 0;
	while (parser_next(&b->parser, &data, &size, &reply) == PARSER_REPLY)
		complete = model_check(&b->model, request, &reply);
	return b->wrong + (complete ? 0 : 1000);
}

static unsigned exchange(struct bench *b, enum request_kind kind, uint32_t key, const char *data, const char *text)
{
	struct request request = make(b, kind, key, data);
	unsigned wrong = answer(b, &request, text);

	request_done(&request);
	return wrong;
}

Test(model, knows_the_answer_to_every_command_on_a_key_that_exists_or_not)
{
	static const struct {
		enum request_kind kind;
		const char *data;
		enum reply_kind absent, present;
		const char *after; /* of the present key "12" */
	} cases[] = {
		{ REQUEST_SET, "x", REPLY_STORED, REPLY_STORED, "x" },
		{ REQUEST_ADD, "x", REPLY_STORED, REPLY_NOT_STORED, "12" },
		{ REQUEST_REPLACE, "x", REPLY_NOT_STORED, REPLY_STORED, "x" },
		{ REQUEST_APPEND, "x", REPLY_NOT_STORED, REPLY_STORED, "12x" },
		{ REQUEST_PREPEND, "x", REPLY_NOT_STORED, REPLY_STORED, "x12" },
		{ REQUEST_CAS, "x", REPLY_NOT_FOUND, REPLY_EXISTS, "12" },
		{ REQUEST_DELETE, NULL, REPLY_NOT_FOUND, REPLY_DELETED, NULL },
		{ REQUEST_INCR, NULL, REPLY_NOT_FOUND, REPLY_NUMBER, "15" },
		{ REQUEST_DECR, NULL, REPLY_NOT_FOUND, REPLY_NUMBER, "9" },
		{ REQUEST_TOUCH, NULL, REPLY_NOT_FOUND, REPLY_TOUCHED, "12" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct request r;
		const struct value *after;

		bench_open(&b);
		r = make(&b, cases[i].kind, 0, cases[i].data);
		cr_assert_eq((int)r.expect, (int)cases[i].absent, "%s of an absent key", request_name(cases[i].kind));
		cr_assert_eq(b.model.keys[0].value != NULL, cases[i].absent == REPLY_STORED);
		request_done(&r);
		cr_assert_eq(exchange(&b, REQUEST_SET, 1, "12", "STORED\r\n"), 0);
		r = make(&b, cases[i].kind, 1, cases[i].data);
		cr_assert_eq((int)r.expect, (int)cases[i].present, "%s of a key that exists", request_name(cases[i].kind));
		after = b.model.keys[1].value;
		cr_assert_eq(after != NULL, cases[i].after != NULL);
		if (after) {
			cr_assert_eq(after->size, strlen(cases[i].after));
			cr_assert_eq(memcmp(after->data, cases[i].after, after->size), 0);
			cr_assert_eq(after->flags, 9);
		}
		request_done(&r);
		bench_close(&b);
	}
}

Test(model, notes_what_an_operation_changed)
{
	struct bench b;
	struct request r;

	bench_open(&b);
	r = make(&b, REQUEST_SET, 2, "one");
	cr_assert_eq(r.step.key, 2);
	cr_assert(r.step.before == NULL);
	cr_assert(r.step.after == b.model.keys[2].value);
	request_done(&r);
	r = make(&b, REQUEST_ADD, 2, "two");
	cr_assert_eq(r.step.key, STEP_NO_KEY);
	request_done(&r);
	r = make(&b, REQUEST_DELETE, 2, NULL);
	cr_assert_eq(r.step.key, 2);
	cr_assert_eq(memcmp(r.step.before->data, "one", 3), 0);
	cr_assert(r.step.after == NULL);
	request_done(&r);
	bench_close(&b);
}

Test(model, counts_as_the_protocol_does)
{
	struct bench b;

	bench_open(&b);
	exchange(&b, REQUEST_SET, 0, "18446744073709551615", "STORED\r\n");
	cr_assert_eq(exchange(&b, REQUEST_INCR, 0, NULL, "2\r\n"), 0);
	cr_assert_eq(exchange(&b, REQUEST_DECR, 0, NULL, "0\r\n"), 0);
	cr_assert_eq(exchange(&b, REQUEST_INCR, 0, NULL, "4\r\n"), 1);
	cr_assert_str_eq(b.expected, "incr: 3");
	cr_assert_str_eq(b.got, "4");
	bench_close(&b);
}

Test(model, allows_spaces_after_a_counter_that_got_shorter_and_after_nothing_else)
{
	struct bench b;

	bench_open(&b);
	exchange(&b, REQUEST_SET, 0, "10", "STORED\r\n");
	exchange(&b, REQUEST_DECR, 0, NULL, "7\r\n");
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:0 9 2\r\n7 \r\nEND\r\n"), 0);
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:0 9 1\r\n7\r\nEND\r\n"), 0);
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:0 9 2\r\n70\r\nEND\r\n"), 1);
	exchange(&b, REQUEST_SET, 1, "a", "STORED\r\n");
	cr_assert_eq(exchange(&b, REQUEST_GET, 1, NULL, "VALUE load:7:1 9 2\r\na \r\nEND\r\n"), 1);
	bench_close(&b);
}

Test(model, sees_a_wrong_byte_a_wrong_flag_a_wrong_length_and_a_missing_key)
{
	struct bench b;

	bench_open(&b);
	exchange(&b, REQUEST_SET, 0, "abcd", "STORED\r\n");
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:0 9 4\r\nabcd\r\nEND\r\n"), 0);
	cr_assert_not(b.model.keys[0].distrusted);
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:0 9 4\r\nabcx\r\nEND\r\n"), 1);
	cr_assert(b.model.keys[0].distrusted);
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:0 8 4\r\nabcd\r\nEND\r\n"), 1);
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:0 9 3\r\nabc\r\nEND\r\n"), 1);
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:0 9 5\r\nabcde\r\nEND\r\n"), 1);
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "END\r\n"), 1);
	cr_assert_eq(exchange(&b, REQUEST_GET, 1, NULL, "VALUE load:7:1 9 1\r\na\r\nEND\r\n"), 1);
	cr_assert_eq(b.wrong_key, 1);
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:6:0 9 4\r\nabcd\r\nEND\r\n"), 2); /* and missing */
	cr_assert_eq(exchange(&b, REQUEST_GET, 0, NULL, "VALUE load:7:00 9 4\r\nabcd\r\nEND\r\n"), 2);
	cr_assert_eq(exchange(&b, REQUEST_SET, 0, "x", "NOT_STORED\r\n"), 1);
	cr_assert_eq(exchange(&b, REQUEST_SET, 0, "x", "SERVER_ERROR out of memory\r\n"), 1);
	cr_assert_eq(exchange(&b, REQUEST_SET, 0, "x", "STORED\r\n"), 0);
	cr_assert_not(b.model.keys[0].distrusted);
	bench_close(&b);
}

static struct request many(struct bench *b)
{
	struct request request;

	exchange(b, REQUEST_SET, 0, "a", "STORED\r\n");
	exchange(b, REQUEST_SET, 2, "c", "STORED\r\n");
	request_init_get(&request, REQUEST_GET, 4);
	request.items[0].key = 0;
	request.items[1].key = 1; /* does not exist */
	request.items[2].key = 2;
	request.items[3].key = 0;
	model_apply(&b->model, &request);
	return request;
}

#define A "VALUE load:7:0 9 1\r\na\r\n"
#define B "VALUE load:7:1 9 1\r\nb\r\n"
#define C "VALUE load:7:2 9 1\r\nc\r\n"

Test(model, checks_every_key_of_a_multi_get)
{
	static const struct {
		const char *text;
		unsigned wrong;
	} cases[] = {
		{ A C A "END\r\n", 0 }, { A C "END\r\n", 1 }, { C A "END\r\n", 1 }, { "END\r\n", 3 },
		{ A B C A "END\r\n", 1 }, { A C A A "END\r\n", 1 }, { A A C "END\r\n", 2 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct request r;

		bench_open(&b);
		r = many(&b);
		cr_assert_eq(answer(&b, &r, cases[i].text), cases[i].wrong, "case %zu", i);
		request_done(&r);
		bench_close(&b);
	}
}

Test(model, a_get_expects_the_value_of_the_moment_it_was_sent)
{
	struct bench b;
	struct request get, set;

	bench_open(&b);
	exchange(&b, REQUEST_SET, 0, "a", "STORED\r\n");
	get = make(&b, REQUEST_GET, 0, NULL);
	set = make(&b, REQUEST_SET, 0, "z");
	cr_assert_eq(answer(&b, &get, A "END\r\n"), 0);
	cr_assert_eq(answer(&b, &set, "STORED\r\n"), 0);
	request_done(&get);
	request_done(&set);
	bench_close(&b);
}

#define GETS(value, cas) "VALUE load:7:0 9 1 " cas "\r\n" value "\r\nEND\r\n"

Test(model, a_cas_number_stays_while_the_value_does_and_changes_with_it)
{
	struct bench b;

	bench_open(&b);
	exchange(&b, REQUEST_SET, 0, "a", "STORED\r\n");
	cr_assert_not(model_cas_fresh(&b.model, 0));
	cr_assert_eq(exchange(&b, REQUEST_GETS, 0, NULL, GETS("a", "5")), 0);
	cr_assert(model_cas_fresh(&b.model, 0));
	exchange(&b, REQUEST_TOUCH, 0, NULL, "TOUCHED\r\n");
	cr_assert_eq(exchange(&b, REQUEST_GETS, 0, NULL, GETS("a", "5")), 0);
	cr_assert_eq(exchange(&b, REQUEST_GETS, 0, NULL, GETS("a", "6")), 1);
	exchange(&b, REQUEST_SET, 0, "b", "STORED\r\n");
	cr_assert_not(model_cas_fresh(&b.model, 0));
	cr_assert_eq(exchange(&b, REQUEST_GETS, 0, NULL, GETS("b", "6")), 1);
	cr_assert_eq(exchange(&b, REQUEST_GETS, 0, NULL, "VALUE load:7:0 9 1\r\nb\r\nEND\r\n"), 1);
	bench_close(&b);
}

Test(model, cas_stores_with_the_fresh_number_only)
{
	struct bench b;

	bench_open(&b);
	exchange(&b, REQUEST_SET, 0, "a", "STORED\r\n");
	exchange(&b, REQUEST_GETS, 0, NULL, GETS("a", "5"));
	cr_assert_eq(exchange(&b, REQUEST_CAS, 0, "b", "STORED\r\n"), 0);
	cr_assert_eq(exchange(&b, REQUEST_CAS, 0, "c", "EXISTS\r\n"), 0);
	cr_assert_eq(exchange(&b, REQUEST_GETS, 0, NULL, GETS("b", "8")), 0);
	cr_assert_eq(exchange(&b, REQUEST_CAS, 0, "d", "EXISTS\r\n"), 1);
	exchange(&b, REQUEST_DELETE, 0, NULL, "DELETED\r\n");
	cr_assert_eq(exchange(&b, REQUEST_CAS, 0, "e", "NOT_FOUND\r\n"), 0);
	bench_close(&b);
}

Test(model, a_survey_expects_nothing_and_is_adopted)
{
	struct bench b;
	struct request r;

	bench_open(&b);
	exchange(&b, REQUEST_SET, 0, "a", "STORED\r\n");
	exchange(&b, REQUEST_SET, 1, "gone", "STORED\r\n");
	request_init_get(&r, REQUEST_GETS, 2);
	r.survey = true;
	r.items[0].key = 0;
	r.items[1].key = 1;
	model_apply(&b.model, &r);
	cr_assert_eq(answer(&b, &r, GETS("z", "77")), 0);
	for (size_t i = 0; i < 2; i++)
		model_adopt(&b.model, r.items[i].key, r.items[i].value, r.items[i].cas);
	request_done(&r);
	cr_assert_eq(exchange(&b, REQUEST_GET, 1, NULL, "END\r\n"), 0);
	cr_assert_eq(exchange(&b, REQUEST_GETS, 0, NULL, GETS("z", "77")), 0);
	cr_assert_eq(exchange(&b, REQUEST_CAS, 0, "y", "STORED\r\n"), 0);
	bench_close(&b);
}
