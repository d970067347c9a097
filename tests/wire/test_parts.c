/* SPDX-License-Identifier: MIT */
#include "wire/parts.h"

#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

TestSuite(parts, .timeout = 20);

/* What was sent, packed as it would travel. */
struct sent {
	unsigned results, parts;
	size_t largest;
	struct parts taken;
	Upgraded__Wire__Result *whole;
	int refuse; /* the number of the message that cannot be sent; 0: none */
};

static int note(void *arg, const Upgraded__Wire__ControlMessage *message)
{
	struct sent *sent = arg;
	size_t size = upgraded__wire__control_message__get_packed_size(message);

	if (size > sent->largest)
		sent->largest = size;
	if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT) {
		sent->results++;
		return 0;
	}
	cr_assert_eq(message->body_case, UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PART);
	cr_assert_null(sent->whole, "a part after the last");
	if (++sent->parts == (unsigned)sent->refuse)
		return -EPIPE;
	cr_assert_eq(parts_take(&sent->taken, message->part, &sent->whole, NULL), sent->whole ? PARTS_WHOLE : PARTS_MORE);
	return 0;
}

/* A result with a text of @length bytes is sent. Return: what parts_send() returned. */
static int send_text(struct sent *sent, size_t length, struct why *why)
{
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	char *text = malloc(length + 1);
	int r;

	cr_assert_not_null(text);
	memset(text, 'a', length);
	text[length] = 0;
	result.text = text;
	r = parts_send(&result, note, sent, why);
	if (sent->whole) {
		cr_assert_str_eq(sent->whole->text, text);
		upgraded__wire__result__free_unpacked(sent->whole, NULL);
	}
	parts_done(&sent->taken);
	free(text);
	return r;
}

Test(parts, are_not_made_of_what_fits)
{
	struct sent sent = { 0 };

	cr_assert_eq(send_text(&sent, 60000, NULL), 0);
	cr_assert(sent.results == 1 && sent.parts == 0);
}

/* Around the size at which it becomes one too many. */
Test(parts, are_made_of_all_that_does_not_fit_and_none_is_too_large)
{
	for (size_t length = WIRE_MESSAGE_MAX - 80; length < WIRE_MESSAGE_MAX + 80; length++) {
		struct sent sent = { 0 };

		cr_assert_eq(send_text(&sent, length, NULL), 0);
		cr_assert(sent.results ? sent.parts == 0 : sent.parts == 2 || sent.parts == 1, "%zu", length);
		cr_assert_leq(sent.largest, WIRE_MESSAGE_MAX);
	}
}

Test(parts, are_as_many_as_it_takes)
{
	struct sent sent = { 0 };

	cr_assert_eq(send_text(&sent, 10u << 20, NULL), 0);
	cr_assert(sent.parts == 161 && sent.largest <= WIRE_MESSAGE_MAX, "%u", sent.parts);
}

Test(parts, are_not_sent_of_what_is_too_large)
{
	struct sent sent = { 0 };
	struct why why = { "" };

	cr_assert_eq(send_text(&sent, PARTS_BYTES_MAX, &why), -EMSGSIZE);
	cr_assert(sent.parts == 0 && sent.results == 0);
	cr_assert_not_null(strstr(why.text, "at most 12582912 are sent"));
}

Test(parts, end_with_the_first_that_cannot_be_sent)
{
	struct sent sent = { .refuse = 3 };

	cr_assert_eq(send_text(&sent, 1u << 20, NULL), -EPIPE);
	cr_assert_eq(sent.parts, 3);
}

Test(parts, without_end_are_refused)
{
	Upgraded__Wire__ResultPart part = UPGRADED__WIRE__RESULT_PART__INIT;
	Upgraded__Wire__Result *result = NULL;
	struct parts parts = { 0 };
	uint8_t *data = calloc(1, 1u << 20);

	part.data.data = data;
	part.data.len = 1u << 20;
	for (int i = 0; i < 12; i++)
		cr_assert_eq(parts_take(&parts, &part, &result, NULL), PARTS_MORE);
	part.data.len = 1;
	cr_assert_eq(parts_take(&parts, &part, &result, NULL), -EMSGSIZE);
	parts_done(&parts);
	free(data);
}
