/* SPDX-License-Identifier: MIT */
#include "tests/wild/invent.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 6u
#define LONG_TEXT 5000u

#define MEMBER(type, message, offset) ((type *)((uintptr_t)(message) + (offset)))

static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

/* ---- single values ---- */

static bool is_number(const ProtobufCFieldDescriptor *field)
{
	return field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_BYTES &&
	       field->type != PROTOBUF_C_TYPE_MESSAGE;
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
	switch ((int)field->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

static const struct invent_hint *hint_of(struct inventor *inventor, const ProtobufCFieldDescriptor *field)
{
	const struct invent_hint *hint = inventor->hints;

	while (hint && hint->field && strcmp(hint->field, field->name) != 0)
		hint++;
	return hint && hint->field && dice_percent(&inventor->dice, inventor->plausible) ? hint : NULL;
}

/* Small, at an edge, nearly what was heard, or anything. */
static uint64_t any_number(struct inventor *inventor)
{
	struct dice *dice = &inventor->dice;
	size_t n = inventor->n_heard < INVENT_HEARD ? inventor->n_heard : INVENT_HEARD;
	uint64_t edge;

	switch (dice_below(dice, 6)) {
	case 0:
		return dice_below(dice, 4);
	case 1:
		return dice_below(dice, 1000);
	case 2:
		edge = UINT64_C(1) << dice_below(dice, 64);
		return edge + dice_below(dice, 3) - 1;
	case 3:
		return UINT64_MAX - dice_below(dice, 3);
	case 4:
		return n ? inventor->heard[dice_below(dice, n)] + dice_below(dice, 3) - 1 : 0;
	default:
		return dice_any(dice);
	}
}

static uint64_t number_for(struct inventor *inventor, const ProtobufCFieldDescriptor *field)
{
	const struct invent_hint *hint = hint_of(inventor, field);
	const ProtobufCEnumDescriptor *names = field->type == PROTOBUF_C_TYPE_ENUM ? field->descriptor : NULL;

	if (hint && !hint->texts)
		return hint->least + dice_below(&inventor->dice, hint->most - hint->least + 1);
	if (names && !dice_percent(&inventor->dice, 10))
		return (uint64_t)names->values[dice_below(&inventor->dice, names->n_values)].value;
	return any_number(inventor);
}

static void number_write(const ProtobufCFieldDescriptor *field, void *at, uint64_t number)
{
	uint32_t half = (uint32_t)number;
	protobuf_c_boolean truth = number & 1;

	if (field->type == PROTOBUF_C_TYPE_BOOL)
		memcpy(at, &truth, sizeof(truth));
	else if (value_size(field) == 8)
		memcpy(at, &number, 8);
	else
		memcpy(at, &half, 4);
}

static uint64_t number_read(const ProtobufCFieldDescriptor *field, const void *at)
{
	uint64_t number = 0;

	memcpy(&number, at, value_size(field)); /* of the values that are compared here none is negative, whatever the machine */
	return number;
}

char *invent_text(struct inventor *inventor)
{
	static const char *const nasty[] = { "", ".", "..", "/", " ", "../../etc/passwd", "%s%n", "a\nb", "\x1b[2J", "\xff\xfe",
					     "\xc3" };
	struct dice *dice = &inventor->dice;
	size_t n = dice_percent(dice, 3) ? dice_below(dice, LONG_TEXT) : dice_below(dice, dice_percent(dice, 80) ? 12 : 300);
	char *text;

	if (dice_percent(dice, 15))
		return must(strdup(nasty[dice_below(dice, sizeof(nasty) / sizeof(*nasty))]));
	text = must(malloc(n + 1));
	for (size_t i = 0; i < n; i++)
		text[i] = (char)(dice_percent(dice, 80) ? 'a' + dice_below(dice, 26) : 1 + dice_below(dice, 255));
	text[n] = '\0';
	return text;
}

static char *text_for(struct inventor *inventor, const ProtobufCFieldDescriptor *field)
{
	const struct invent_hint *hint = hint_of(inventor, field);
	size_t n = 0;

	if (!hint || !hint->texts)
		return invent_text(inventor);
	while (hint->texts[n])
		n++;
	return must(strdup(hint->texts[dice_below(&inventor->dice, n)]));
}

static ProtobufCMessage *invent(struct inventor *inventor, const ProtobufCMessageDescriptor *descriptor, unsigned depth);

static void value_invent(struct inventor *inventor, const ProtobufCFieldDescriptor *field, void *at, unsigned depth)
{
	if (is_number(field)) {
		number_write(field, at, number_for(inventor, field));
	} else if (field->type == PROTOBUF_C_TYPE_STRING) {
		*(char **)at = text_for(inventor, field);
	} else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
		*(ProtobufCMessage **)at = invent(inventor, field->descriptor, depth + 1);
	} else {
		ProtobufCBinaryData *bytes = at;

		bytes->len = dice_below(&inventor->dice, 300);
		bytes->data = must(malloc(bytes->len + 1));
		dice_fill(&inventor->dice, bytes->data, bytes->len);
	}
}

static void value_free(const ProtobufCFieldDescriptor *field, void *at)
{
	if (field->type == PROTOBUF_C_TYPE_STRING && *(char **)at != field->default_value)
		free(*(char **)at);
	else if (field->type == PROTOBUF_C_TYPE_BYTES)
		free(((ProtobufCBinaryData *)at)->data);
	else if (field->type == PROTOBUF_C_TYPE_MESSAGE && *(ProtobufCMessage **)at)
		protobuf_c_message_free_unpacked(*(ProtobufCMessage **)at, NULL);
}

/* ---- fields ---- */

static bool is_choice(const ProtobufCFieldDescriptor *field)
{
	return field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

/* Return: false: it is the part of a choice that was not taken. */
static bool is_there(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return !is_choice(field) || *MEMBER(uint32_t, message, field->quantifier_offset) == field->id;
}

static size_t how_many(struct inventor *inventor)
{
	static const size_t usual[] = { 0, 1, 2, 3 }, rare[] = { 20, 50, 252, 253, 254, 1000 };

	return dice_percent(&inventor->dice, 90) ? usual[dice_below(&inventor->dice, 4)] : rare[dice_below(&inventor->dice, 6)];
}

static void field_invent(struct inventor *inventor, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
			 unsigned depth)
{
	size_t n, size = value_size(field);

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		void **array = MEMBER(void *, message, field->offset);

		n = how_many(inventor);
		*MEMBER(size_t, message, field->quantifier_offset) = n;
		*array = n ? must(calloc(n, size)) : NULL;
		for (size_t i = 0; i < n; i++)
			value_invent(inventor, field, (char *)*array + i * size, depth);
		return;
	}
	if (is_choice(field))
		*MEMBER(uint32_t, message, field->quantifier_offset) = field->id;
	value_invent(inventor, field, MEMBER(void, message, field->offset), depth);
}

static void field_clear(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	size_t n;

	if (field->label != PROTOBUF_C_LABEL_REPEATED) {
		value_free(field, MEMBER(void, message, field->offset));
		return;
	}
	n = *MEMBER(size_t, message, field->quantifier_offset);
	for (size_t i = 0; i < n; i++)
		value_free(field, *MEMBER(char *, message, field->offset) + i * value_size(field));
	free(*MEMBER(void *, message, field->offset));
}

/* ---- messages ---- */

static ProtobufCMessage *empty(const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = must(calloc(1, descriptor->sizeof_message));

	descriptor->message_init(message);
	return message;
}

static ProtobufCMessage *invent(struct inventor *inventor, const ProtobufCMessageDescriptor *descriptor, unsigned depth)
{
	ProtobufCMessage *message = empty(descriptor);

	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];

		if (!is_choice(field) && depth < DEPTH_MAX && dice_percent(&inventor->dice, 85))
			field_invent(inventor, message, field, depth);
	}
	return message;
}

ProtobufCMessage *invent_body(struct inventor *inventor, const ProtobufCMessageDescriptor *envelope)
{
	ProtobufCMessage *message = invent(inventor, envelope, 0);
	const ProtobufCFieldDescriptor *field;

	do {
		field = &envelope->fields[dice_below(&inventor->dice, envelope->n_fields)];
	} while (!is_choice(field));
	field_invent(inventor, message, field, 0);
	return message;
}

/* Return: a message inside of the field, any of them; NULL: there is none. */
static ProtobufCMessage *inner(struct inventor *inventor, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	size_t n;

	if (field->type != PROTOBUF_C_TYPE_MESSAGE)
		return NULL;
	if (field->label != PROTOBUF_C_LABEL_REPEATED)
		return *MEMBER(ProtobufCMessage *, message, field->offset);
	n = *MEMBER(size_t, message, field->quantifier_offset);
	return n ? (*MEMBER(ProtobufCMessage **, message, field->offset))[dice_below(&inventor->dice, n)] : NULL;
}

void invent_change(struct inventor *inventor, ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;
	const ProtobufCFieldDescriptor *there[256];
	ProtobufCMessage *within;
	size_t n = 0;

	for (unsigned i = 0; i < descriptor->n_fields && n < sizeof(there) / sizeof(*there); i++)
		if (is_there(message, &descriptor->fields[i]))
			there[n++] = &descriptor->fields[i];
	if (!n)
		return; /* a message without fields is only what it is called */
	const ProtobufCFieldDescriptor *field = there[dice_below(&inventor->dice, n)];

	within = inner(inventor, message, field);
	if (within && within->descriptor->n_fields && dice_percent(&inventor->dice, 80)) {
		invent_change(inventor, within);
		return;
	}
	field_clear(message, field);
	field_invent(inventor, message, field, 0);
}

ProtobufCMessage *invent_copy(const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *packed = must(malloc(size + 1));
	ProtobufCMessage *copy;

	protobuf_c_message_pack(message, packed);
	copy = protobuf_c_message_unpack(message->descriptor, NULL, size, packed);
	free(packed);
	return copy;
}

/* ---- what was heard ---- */

/* Return: the body of an envelope; NULL: it has none. */
static ProtobufCMessage *body_of(const ProtobufCMessage *message)
{
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

		if (is_choice(field) && is_there(message, field) && field->type == PROTOBUF_C_TYPE_MESSAGE)
			return *MEMBER(ProtobufCMessage *, message, field->offset);
	}
	return NULL;
}

static bool is_single_number(const ProtobufCFieldDescriptor *field)
{
	return is_number(field) && field->label != PROTOBUF_C_LABEL_REPEATED && !is_choice(field);
}

static void hear_numbers(struct inventor *inventor, const ProtobufCMessage *message)
{
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

		if (is_single_number(field))
			inventor->heard[inventor->n_heard++ % INVENT_HEARD] =
				number_read(field, MEMBER(const void, message, field->offset));
	}
}

void invent_hear(struct inventor *inventor, const ProtobufCMessage *message)
{
	const ProtobufCMessage *body = body_of(message);

	hear_numbers(inventor, message);
	if (body)
		hear_numbers(inventor, body);
}

static void echo_numbers(ProtobufCMessage *answer, const ProtobufCMessage *question)
{
	for (unsigned i = 0; i < answer->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *to = &answer->descriptor->fields[i], *from;

		from = protobuf_c_message_descriptor_get_field_by_name(question->descriptor, to->name);
		if (from && is_single_number(to) && is_single_number(from))
			number_write(to, MEMBER(void, answer, to->offset),
				     number_read(from, MEMBER(const void, question, from->offset)));
	}
}

void invent_echo(ProtobufCMessage *answer, const ProtobufCMessage *question)
{
	ProtobufCMessage *to = body_of(answer);
	const ProtobufCMessage *from = body_of(question);

	echo_numbers(answer, question);
	if (to && from)
		echo_numbers(to, from);
	if (to)
		echo_numbers(to, question);
}
