/* SPDX-License-Identifier: MIT */
#include "tests/load/mix.h"
#include "tests/load/request.h"
#include "tests/load/util.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(request, .timeout = 20);

static void encodes(struct request *request, const char *text, size_t line)
{
	struct buffer buffer = { 0 };
	struct layout layout;

	request_encode(request, 3, &buffer, &layout);
	cr_assert_eq(buffer.end, strlen(text), "%s", text);
	cr_assert_eq(memcmp(buffer.data, text, buffer.end), 0, "%s", text);
	cr_assert_eq(layout.line, line);
	cr_assert_eq(layout.line + layout.data, buffer.end);
	buffer_done(&buffer);
	request_done(request);
}

Test(request, writes_every_command_as_the_protocol_has_it)
{
	struct request r;

	request_init(&r, REQUEST_SET, 5);
	r.value = value_new("a\r\nb", 4, 4294967295u);
	r.exptime = 60;
	encodes(&r, "set load:3:5 4294967295 60 4\r\na\r\nb\r\n", 30);
	request_init(&r, REQUEST_CAS, 5);
	r.value = value_new("", 0, 0);
	r.cas = UINT64_MAX;
	encodes(&r, "cas load:3:5 0 0 0 18446744073709551615\r\n\r\n", 41);
	request_init(&r, REQUEST_INCR, 1);
	r.delta = 12;
	encodes(&r, "incr load:3:1 12\r\n", 18);
	request_init(&r, REQUEST_TOUCH, 1);
	r.exptime = 99;
	encodes(&r, "touch load:3:1 99\r\n", 19);
	request_init(&r, REQUEST_DELETE, 1);
	encodes(&r, "delete load:3:1\r\n", 17);
	request_init_get(&r, REQUEST_GETS, 2);
	r.items[0].key = 8;
	r.items[1].key = 0;
	encodes(&r, "gets load:3:8 load:3:0\r\n", 24);
}

Test(request, cuts_everywhere_but_never_at_an_end)
{
	const struct layout with_data = { .line = 10, .data = 6 }, line_only = { .line = 10 };
	bool hit[16] = { false };
	uint64_t rng = 1;

	for (int i = 0; i < 5000; i++) {
		size_t at = layout_cut(&with_data, &rng);

		cr_assert(at >= 1 && at <= 15);
		hit[at] = true;
		at = layout_cut(&line_only, &rng);
		cr_assert(at >= 1 && at <= 9);
	}
	for (size_t i = 1; i < 16; i++)
		cr_assert(hit[i], "never cut after %zu bytes", i);
}

Test(request, a_buffer_keeps_positions_over_moves)
{
	struct buffer buffer = { 0 };
	uint64_t put = 0;
	uint8_t next = 0;

	for (unsigned i = 0; i < 1000; i++) {
		uint8_t bytes[7];

		for (size_t j = 0; j < sizeof(bytes); j++)
			bytes[j] = (uint8_t)put++;
		buffer_put(&buffer, bytes, sizeof(bytes));
		for (unsigned n = i % 12; n && buffer.start < buffer.end; n--) {
			cr_assert_eq(buffer.data[buffer.start], next++);
			buffer_drop(&buffer, 1);
		}
		cr_assert_eq(buffer.start_pos + (buffer.end - buffer.start), put);
	}
	buffer_done(&buffer);
}

Test(request, a_seed_gives_the_same_requests_again)
{
	struct buffer buffers[2] = { 0 };

	for (size_t run = 0; run < 2; run++) {
		struct model model;
		struct mix mix;

		model_init(&model, 4, 8);
		mix_init(&mix, 42, 4, 32, 200);
		for (int i = 0; i < 500; i++) {
			struct request r;
			struct layout layout;

			if (i % 100 == 99)
				mix_big(&mix, &model, &r);
			else
				mix_next(&mix, &model, &r);
			model_apply(&model, &r);
			request_encode(&r, 4, &buffers[run], &layout);
			cr_assert_leq(layout.line, REQUEST_LINE_MAX);
			request_done(&r);
		}
		model_done(&model);
	}
	cr_assert_eq(buffers[0].end, buffers[1].end);
	cr_assert_eq(memcmp(buffers[0].data, buffers[1].data, buffers[0].end), 0);
	buffer_done(&buffers[0]);
	buffer_done(&buffers[1]);
}

Test(request, a_made_value_tells_whose_it_is_and_whether_it_is_whole)
{
	char text[320];

	for (size_t size = 1; size < 300; size++) {
		struct value *value = value_make(1, 12, 3, 99, size, 5);

		value_describe(value, text, sizeof(text));
		cr_assert(strstr(text, "conn 12 key 3 seq 99, filler intact") != NULL, "%zu: %s", size, text);
		if (size > 100) {
			cr_assert_eq(value->size, size);
			value->data[size - 1] ^= 1;
			value_describe(value, text, sizeof(text));
			cr_assert(strstr(text, "DAMAGED") != NULL, "%zu: %s", size, text);
		}
		value_unref(value);
	}
}
