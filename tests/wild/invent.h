/* SPDX-License-Identifier: MIT */
/* Messages that nobody thought of. What may stand in one is read from its descriptor, so that a field or a message that is added to
 * a .proto is invented from then on without a change here.
 *
 * Everything given out is owned by the caller and released with protobuf_c_message_free_unpacked(). */
#pragma once

#include "tests/wild/dice.h"

#include <protobuf-c/protobuf-c.h>

#define INVENT_HEARD 64u

/* What is plausible in the fields of a name. Fields without a hint are invented without one. */
struct invent_hint {
	const char *field;         /* NULL ends the list */
	const char *const *texts;  /* NULL-terminated; NULL: it is a number */
	uint64_t least, most;      /* the number */
};

struct inventor {
	struct dice dice;
	const struct invent_hint *hints;
	unsigned plausible;            /* percent of fields that follow their hint */
	uint64_t heard[INVENT_HEARD];  /* numbers that came from the other side: the last ones */
	size_t n_heard;                /* all that ever came */
};

/** invent_body() - An @envelope with one of its `oneof`s, any of them. */
ProtobufCMessage *invent_body(struct inventor *inventor, const ProtobufCMessageDescriptor *envelope);

/** invent_change() - Put something else into one field of @message, which lies on the heap. */
void invent_change(struct inventor *inventor, ProtobufCMessage *message);

/** invent_copy() - The same on the heap. Return: NULL: no such message can be unpacked. */
ProtobufCMessage *invent_copy(const ProtobufCMessage *message);

/** invent_hear() - Remember the numbers in @message, for numbers that are nearly right. */
void invent_hear(struct inventor *inventor, const ProtobufCMessage *message);

/** invent_echo() - An answer repeats what its question is known by: the numbers in @question and in its body go to the fields of
 * the same name in @answer and in its body. */
void invent_echo(ProtobufCMessage *answer, const ProtobufCMessage *question);

/** invent_text() - Any text at all. Release with free(). */
char *invent_text(struct inventor *inventor);
