/* SPDX-License-Identifier: MIT */
#include "tests/wild/invent.h"
#include "wire/app.h"
#include "wire/control.pb-c.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(invent, .timeout = 30);

static struct inventor inventor_of(uint64_t seed)
{
	struct inventor inventor = { .plausible = 100 };

	dice_init(&inventor.dice, seed, 0);
	return inventor;
}

static const ProtobufCMessageDescriptor *const app = &upgraded__wire__app_message__descriptor;

/* Return: its bytes, and @ret_size of them; @message is freed. */
static uint8_t *packed_consume(ProtobufCMessage *message, size_t *ret_size)
{
	uint8_t *bytes = malloc(protobuf_c_message_get_packed_size(message) + 1);

	cr_assert_not_null(bytes);
	*ret_size = protobuf_c_message_pack(message, bytes);
	protobuf_c_message_free_unpacked(message, NULL);
	return bytes;
}

Test(invent, throws_of_no_and_of_a_hundred_percent_are_certain)
{
	struct dice dice;

	dice_init(&dice, 1, 2);
	for (unsigned i = 0; i < 1000; i++) {
		cr_assert_not(dice_percent(&dice, 0));
		cr_assert(dice_percent(&dice, 100));
		cr_assert_lt(dice_below(&dice, 7), 7u);
	}
	cr_assert_eq(dice_below(&dice, 0), 0u);
}

Test(invent, every_body_that_the_proto_knows_comes)
{
	struct inventor inventor = inventor_of(1);
	bool came[256] = { false };

	for (unsigned i = 0; i < 3000; i++) {
		ProtobufCMessage *message = invent_body(&inventor, app);

		came[((Upgraded__Wire__AppMessage *)message)->body_case % 256] = true;
		protobuf_c_message_free_unpacked(message, NULL);
	}
	for (unsigned i = 0; i < app->n_fields; i++)
		if (app->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
			cr_assert(came[app->fields[i].id % 256], "%s never came", app->fields[i].name);
}

Test(invent, one_seed_gives_one_sequence)
{
	struct inventor one = inventor_of(7), other = inventor_of(7);

	for (unsigned i = 0; i < 200; i++) {
		size_t size, again;
		uint8_t *bytes = packed_consume(invent_body(&one, app), &size);
		uint8_t *same = packed_consume(invent_body(&other, app), &again);

		cr_assert_eq(size, again);
		cr_assert_arr_eq(bytes, same, size);
		free(bytes);
		free(same);
	}
}

Test(invent, a_hint_says_what_is_plausible)
{
	static const char *const texts[] = { "ada", "bela", NULL };
	static const struct invent_hint hints[] = {
		{ "service", texts, 0, 0 }, { "bake_us", NULL, 5, 6 }, { NULL, NULL, 0, 0 },
	};
	struct inventor inventor = inventor_of(3);
	unsigned requests = 0;

	inventor.hints = hints;
	for (unsigned i = 0; i < 300; i++) {
		ProtobufCMessage *any = invent_body(&inventor, &upgraded__wire__control_message__descriptor);
		const Upgraded__Wire__ControlMessage *message = (const Upgraded__Wire__ControlMessage *)any;

		if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST) {
			const char *service = message->request->service;
			uint64_t bake_us = message->request->bake_us;

			requests++;
			cr_assert(!*service || strcmp(service, "ada") == 0 || strcmp(service, "bela") == 0);
			cr_assert(bake_us == 0 || bake_us == 5 || bake_us == 6);
		}
		protobuf_c_message_free_unpacked(any, NULL);
	}
	cr_assert_gt(requests, 50u);
}

Test(invent, a_change_leaves_a_message_of_the_same_kind)
{
	struct inventor inventor = inventor_of(5);
	unsigned changed = 0;

	for (unsigned i = 0; i < 1000; i++) {
		ProtobufCMessage *message = invent_body(&inventor, app), *before = invent_copy(message);
		int body = (int)((Upgraded__Wire__AppMessage *)message)->body_case;
		size_t size, size_before;
		uint8_t *bytes, *bytes_before;

		invent_change(&inventor, message);
		cr_assert_eq((int)((Upgraded__Wire__AppMessage *)message)->body_case, body);
		bytes = packed_consume(message, &size);
		bytes_before = packed_consume(before, &size_before);
		changed += size != size_before || memcmp(bytes, bytes_before, size) != 0;
		free(bytes);
		free(bytes_before);
	}
	cr_assert_gt(changed, 500u);
}

Test(invent, an_answer_repeats_the_number_of_its_question)
{
	Upgraded__Wire__Ping ping = UPGRADED__WIRE__PING__INIT;
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;
	Upgraded__Wire__AppMessage question = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PING, .ping = &ping);
	Upgraded__Wire__AppMessage answer = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PONG, .pong = &pong);

	ping.nonce = UINT64_C(0x123456789abcdef0);
	invent_echo(&answer.base, &question.base);
	cr_assert_eq(pong.nonce, ping.nonce);
}

Test(invent, a_number_that_was_heard_comes_again)
{
	Upgraded__Wire__Ping ping = UPGRADED__WIRE__PING__INIT;
	Upgraded__Wire__AppMessage heard = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PING, .ping = &ping);
	struct inventor inventor = inventor_of(9);
	unsigned again = 0;

	ping.nonce = 987654321;
	invent_hear(&inventor, &heard.base);
	for (unsigned i = 0; i < 3000; i++) {
		ProtobufCMessage *any = invent_body(&inventor, app);
		const Upgraded__Wire__AppMessage *message = (const Upgraded__Wire__AppMessage *)any;

		again += message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_PONG && message->pong->nonce >= ping.nonce - 1 &&
			 message->pong->nonce <= ping.nonce + 1;
		protobuf_c_message_free_unpacked(any, NULL);
	}
	cr_assert_gt(again, 0u);
}
