/* SPDX-License-Identifier: MIT */
/* From version 1 to 2 and back. Ids are numbers like any other: they are passed on. */
#include "shim/examples/chatd/migrations.h"

#if CHATD_VERSION >= 2

#include "shim/examples/chatd/chatd_v1.pb-c.h"
#include "shim/examples/chatd/chatd_v2.pb-c.h"

static int user_1_to_2(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Chatd__V1__User *from = (const Chatd__V1__User *)from_message;
	Chatd__V2__User *to = (Chatd__V2__User *)to_message;

	(void)step;
	to->id = from->id;
	to->name = from->name;
	to->n_rooms = from->n_rooms;
	to->rooms = from->rooms;
	return 0;
}

static int user_2_to_1(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Chatd__V2__User *from = (const Chatd__V2__User *)from_message;
	Chatd__V1__User *to = (Chatd__V1__User *)to_message;

	(void)step;
	to->id = from->id;
	to->name = from->name;
	to->n_rooms = from->n_rooms;
	to->rooms = from->rooms;
	return 0;
}

static int room_1_to_2(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Chatd__V1__Room *from = (const Chatd__V1__Room *)from_message;
	Chatd__V2__Room *to = (Chatd__V2__Room *)to_message;

	(void)step;
	to->id = from->id;
	to->name = from->name;
	to->n_members = from->n_members;
	to->members = from->members;
	return 0;
}

static int room_2_to_1(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Chatd__V2__Room *from = (const Chatd__V2__Room *)from_message;
	Chatd__V1__Room *to = (Chatd__V1__Room *)to_message;

	(void)step;
	to->id = from->id;
	to->name = from->name;
	to->n_members = from->n_members;
	to->members = from->members;
	return 0;
}

static int remark_1_to_2(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Chatd__V1__Remark *from = (const Chatd__V1__Remark *)from_message;
	Chatd__V2__Remark *to = (Chatd__V2__Remark *)to_message;

	(void)step;
	to->room = from->room;
	to->author_name = from->author;
	to->author_by_name = 1; /* who that is, a single record cannot say: load() looks him up */
	to->text = from->text;
	to->at_ns = from->at_ns;
	return 0;
}

static int remark_2_to_1(struct upg_step *step, const ProtobufCMessage *from_message, ProtobufCMessage *to_message)
{
	const Chatd__V2__Remark *from = (const Chatd__V2__Remark *)from_message;
	Chatd__V1__Remark *to = (Chatd__V1__Remark *)to_message;

	(void)step;
	to->room = from->room;
	to->author = from->author_name;
	to->text = from->text;
	to->at_ns = from->at_ns;
	return 0;
}

#define STEP(NAME, TYPE, FROM, TO) \
	{ \
		.type = NAME, \
		.from = FROM, \
		.to = TO, \
		.from_descriptor = &chatd__v##FROM##__##TYPE##__descriptor, \
		.to_descriptor = &chatd__v##TO##__##TYPE##__descriptor, \
		.migrate = TYPE##_##FROM##_to_##TO, \
	}

const struct upg_migration migrations[] = {
	STEP("chatd.User", user, 1, 2),   STEP("chatd.User", user, 2, 1),   STEP("chatd.Room", room, 1, 2),
	STEP("chatd.Room", room, 2, 1),   STEP("chatd.Remark", remark, 1, 2), STEP("chatd.Remark", remark, 2, 1),
};
const size_t n_migrations = sizeof migrations / sizeof *migrations;

#else

const struct upg_migration migrations[] = { { 0 } }; /* the first version knows no other; C has no empty arrays */
const size_t n_migrations = 0;

#endif
