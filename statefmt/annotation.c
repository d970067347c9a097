/* SPDX-License-Identifier: MIT */
#include "statefmt/annotation.h"

#include "base/why.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The bytes of a length-delimited field, which protobuf-c keeps with their length before them. */
static struct schema_bytes payload_of(const ProtobufCMessageUnknownField *field)
{
	size_t head = 0;

	while (head < field->len && field->data[head] & 0x80)
		head++;
	if (head < field->len)
		head++;
	return (struct schema_bytes){ field->data + head, field->len - head };
}

/* An option that is given in pieces, `[(upgrade.field).a = 1, (upgrade.field).b = 2]`, comes as one field for each piece. Put one
 * after the other, the encodings of a message's pieces are the encoding of the merged message. */
static int pieces_join(const ProtobufCMessage *options, struct sf_arena *arena, uint8_t **ret_data, size_t *ret_size)
{
	size_t size = 0, at = 0;
	uint8_t *data;

	for (unsigned i = 0; i < options->n_unknown_fields; i++)
		if (options->unknown_fields[i].tag == ANNOTATION_NUMBER)
			size += payload_of(&options->unknown_fields[i]).size_bytes;
	data = sf_arena_alloc(arena, size + 1, 1);
	if (!data)
		return -ENOMEM;
	for (unsigned i = 0; i < options->n_unknown_fields; i++) {
		struct schema_bytes piece = payload_of(&options->unknown_fields[i]);

		if (options->unknown_fields[i].tag != ANNOTATION_NUMBER)
			continue;
		memcpy(data + at, piece.data, piece.size_bytes);
		at += piece.size_bytes;
	}
	*ret_data = data;
	*ret_size = size;
	return 0;
}

/* @holder: any message type without a field of our number. Return: 0; 1 if the option is there. */
static int option_find(struct schema_bytes options, const ProtobufCMessageDescriptor *holder,
		       const ProtobufCMessageDescriptor *kind, struct sf_arena *arena, ProtobufCMessage **ret_message)
{
	ProtobufCMessage *all;
	uint8_t *data;
	size_t size;
	bool there = false;

	if (!options.size_bytes)
		return 0;
	all = protobuf_c_message_unpack(holder, &arena->allocator, options.size_bytes, options.data);
	if (!all)
		return -EBADMSG;
	for (unsigned i = 0; i < all->n_unknown_fields; i++) {
		if (all->unknown_fields[i].tag != ANNOTATION_NUMBER)
			continue;
		if (all->unknown_fields[i].wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
			return -EBADMSG;
		there = true;
	}
	if (!there)
		return 0;
	if (pieces_join(all, arena, &data, &size) < 0)
		return -ENOMEM;
	*ret_message = protobuf_c_message_unpack(kind, &arena->allocator, size, data);
	return *ret_message ? 1 : -EBADMSG;
}

int annotation_of_message(const struct schema_message *message, struct sf_arena *arena, const Upgrade__Type **ret_type,
			  struct why *why)
{
	ProtobufCMessage *found = NULL;
	int r = option_find(message->options, &google__protobuf__message_options__descriptor, &upgrade__type__descriptor,
			    arena, &found);

	if (r < 0)
		return why_errno(why, r, "%s: cannot read its option (upgrade.type)", message->name);
	*ret_type = (const Upgrade__Type *)found;
	return 0;
}

int annotation_of_field(const struct schema_field *field, struct sf_arena *arena, const Upgrade__Field **ret_field,
			struct why *why)
{
	ProtobufCMessage *found = NULL;
	int r = option_find(field->options, &google__protobuf__field_options__descriptor, &upgrade__field__descriptor,
			    arena, &found);

	if (r < 0)
		return why_errno(why, r, "field %s: cannot read its option (upgrade.field)", field->name);
	*ret_field = (const Upgrade__Field *)found;
	return 0;
}
