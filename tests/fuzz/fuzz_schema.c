/* SPDX-License-Identifier: MIT */
/* Any bytes as the description of types, and any bytes as a record of them, shown as text and as JSON.
 *
 * An input is the length of a FileDescriptorSet (u16, little-endian), the set, and a record. The record is also read as types
 * of whose generated code we have: what the dynamic check makes of it must be what protobuf-c makes of it.
 */
#include "cli/state_json.h"
#include "cli/state_text.h"
#include "statefmt/dynamic.h"
#include "statefmt/frame.h"
#include "statefmt/schema.h"
#include "statefmt/shape.h"
#include "statefmt/statefmt.h"
#include "tests/fuzz/fuzzed.pb-c.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGES_SHOWN 8u

static const ProtobufCMessageDescriptor *const known[] = {
	&test__fuzzed__item_v1__descriptor, &test__fuzzed__item_v2__descriptor, &test__fuzzed__node__descriptor,
};
#define N_KNOWN (sizeof(known) / sizeof(known[0]))

static void record_show(const struct schema_message *message, const uint8_t *data, size_t size)
{
	struct term term = { .utf8 = true };
	char *text = NULL;
	size_t text_size = 0;
	json_error_t error;
	json_t *json;

	term.out = open_memstream(&text, &text_size);
	if (!term.out)
		return;
	text_message(&term, message, data, size, 0);
	fflush(term.out);
	/* Text goes to terminals. */
	for (size_t i = 0; i < text_size; i++)
		if (((unsigned char)text[i] < 0x20 && text[i] != '\n') || text[i] == 0x7f)
			abort();
	rewind(term.out);
	json_message(term.out, message, data, size);
	fclose(term.out);
	/* jansson has no keys with a zero in them, and JSON has. */
	json = json_loadb(text, text_size, JSON_ALLOW_NUL, &error);
	if (!json && json_error_code(&error) != json_error_null_byte_in_key)
		abort();
	json_decref(json);
	free(text);
}

static void record_read(const struct schema_message *message, const uint8_t *data, size_t size)
{
	if (dyn_check(message, data, size, NULL) == 0)
		record_show(message, data, size);
}

static void set_look(const struct schema_set *set)
{
	for (size_t i = 0; i < set->n_messages; i++) {
		const struct schema_message *message = &set->messages[i];

		if (schema_find_message(set, message->name) != message || message->index != i)
			abort();
		for (size_t f = 0; f < message->n_fields; f++)
			if (schema_field_by_number(message, message->fields[f].number) != &message->fields[f] ||
			    schema_field_by_name(message, message->fields[f].name) != &message->fields[f])
				abort();
	}
}

/* Whether a field that is one message comes more than once. protobuf-c 1.4 cannot join the parts where they have a oneof. */
static bool has_parts(const struct schema_message *message, const uint8_t *data, size_t size)
{
	struct dyn_cursor cursor = dyn_open(message, data, size);
	struct dyn_field field;
	uint64_t seen = 0; /* the known types number their fields below 64 */

	while (dyn_next(&cursor, &field) > 0) {
		if (!field.field || !field.field->message)
			continue;
		if (field.field->label != SCHEMA_REPEATED && (seen & UINT64_C(1) << field.number))
			return true;
		seen |= UINT64_C(1) << field.number;
		if (has_parts(field.field->message, field.data, field.size_bytes))
			return true;
	}
	return false;
}

/* The same types as code and as data must agree on every record. */
static void known_compare(const struct schema_set *set, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < N_KNOWN; i++) {
		const struct schema_message *message = schema_find_message(set, known[i]->name);
		ProtobufCMessage *unpacked = NULL;
		bool sound;

		if (!message || schema_fingerprint(message) != sf_fingerprint(known[i]))
			abort();
		if (sf_depth_check(known[i], data, size))
			unpacked = protobuf_c_message_unpack(known[i], NULL, size, data);
		sound = dyn_check(message, data, size, NULL) == 0;
		if (sound != (unpacked != NULL) && !(sound && has_parts(message, data, size)))
			abort();
		if (unpacked)
			protobuf_c_message_free_unpacked(unpacked, NULL);
		if (sound)
			record_show(message, data, size);
	}
}

static struct schema_set *known_set(void)
{
	static struct schema_set *set;
	uint8_t *data;
	size_t size;

	if (!set) {
		if (schema_describe(known, N_KNOWN, SF_DESCRIPTORS_BYTES, &data, &size, NULL) < 0 ||
		    schema_set_new(data, size, &set, NULL) < 0)
			abort();
		free(data);
	}
	return set;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct schema_set *set;
	size_t n_set;

	if (size < 2)
		return 0;
	n_set = sf_get_le16(data);
	data += 2;
	size -= 2;
	n_set = n_set < size ? n_set : size;
	known_compare(known_set(), data + n_set, size - n_set);
	record_read(NULL, data + n_set, size - n_set);
	if (schema_set_new(data, n_set, &set, NULL) < 0)
		return 0;
	set_look(set);
	for (size_t i = 0; i < set->n_messages && i < MESSAGES_SHOWN; i++) {
		(void)schema_fingerprint(&set->messages[i]);
		record_read(&set->messages[i], data + n_set, size - n_set);
	}
	schema_set_free(set);
	return 0;
}
