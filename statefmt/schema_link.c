/* SPDX-License-Identifier: MIT */
/* Fills in the types of a schema set whose names are entered: fields, values, options, reserved ranges. Every reference is
 * followed. */
#include "statefmt/schema_build.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

static size_t tag_put(uint8_t *at, const ProtobufCMessageUnknownField *field)
{
	uint64_t tag = (uint64_t)field->tag << 3 | (uint64_t)field->wire_type;
	size_t n = 0;

	for (; tag >= 0x80; tag >>= 7)
		at[n++] = (uint8_t)(tag | 0x80);
	at[n++] = (uint8_t)tag;
	return n;
}

/* Custom options are extensions. The generated code does not know them, and keeps their bytes. */
static int options_take(const struct builder *builder, const ProtobufCMessage *options, struct schema_bytes *ret)
{
	size_t size = 0;
	uint8_t *data, tag[10];

	for (unsigned i = 0; options && i < options->n_unknown_fields; i++)
		size += tag_put(tag, &options->unknown_fields[i]) + options->unknown_fields[i].len;
	data = builder_array(builder, size, 1);
	if (!data)
		return builder_no_memory(builder);
	*ret = (struct schema_bytes){ .data = data, .size_bytes = size };
	for (unsigned i = 0; options && i < options->n_unknown_fields; i++) {
		const ProtobufCMessageUnknownField *field = &options->unknown_fields[i];

		data += tag_put(data, field);
		memcpy(data, field->data, field->len);
		data += field->len;
	}
	return 0;
}

/* ---- enums ---- */

static int value_take(const struct builder *builder, const struct schema_enum *enumeration,
		      const Google__Protobuf__EnumValueDescriptorProto *proto, struct schema_value *ret)
{
	if (!proto->name || !is_identifier(proto->name) || !proto->has_number)
		return why_set(builder->why, -EBADMSG, "descriptors: enum %s has a value without a name or a number",
			       enumeration->name);
	*ret = (struct schema_value){ .name = proto->name, .number = proto->number };
	return 0;
}

static int ranges_take_enum(const struct builder *builder, const Google__Protobuf__EnumDescriptorProto *proto,
			    struct schema_enum *ret)
{
	struct schema_range *ranges = builder_array(builder, proto->n_reserved_range, sizeof(*ranges));

	if (!ranges)
		return builder_no_memory(builder);
	for (size_t i = 0; i < proto->n_reserved_range; i++)
		ranges[i] = (struct schema_range){ proto->reserved_range[i]->start, proto->reserved_range[i]->end };
	ret->reserved = ranges;
	ret->n_reserved = proto->n_reserved_range;
	ret->reserved_names = (const char *const *)proto->reserved_name;
	ret->n_reserved_names = proto->n_reserved_name;
	return 0;
}

int enum_take(const struct builder *builder, const Google__Protobuf__EnumDescriptorProto *proto,
	      struct schema_enum *enumeration)
{
	struct schema_value *values = builder_array(builder, proto->n_value, sizeof(*values));
	int r = 0;

	if (!values)
		return builder_no_memory(builder);
	if (proto->n_value == 0)
		return why_set(builder->why, -EBADMSG, "descriptors: enum %s has no values", enumeration->name);
	for (size_t i = 0; i < proto->n_value && r == 0; i++)
		r = value_take(builder, enumeration, proto->value[i], &values[i]);
	enumeration->values = values;
	enumeration->n_values = proto->n_value;
	return r < 0 ? r : ranges_take_enum(builder, proto, enumeration);
}

/* ---- fields ---- */

__attribute__((format(printf, 4, 5)))
static int field_fail(const struct builder *builder, const struct schema_message *message,
		      const struct schema_field *field, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return why_set(builder->why, -EBADMSG, "descriptors: %s, field %zu of %.200s: %s", field->name ? field->name : "?",
		       field->position + 1, message->name, text);
}

static int reference_follow(const struct builder *builder, const struct schema_message *message,
			    const Google__Protobuf__FieldDescriptorProto *proto, struct schema_field *field)
{
	const char *name = proto->type_name ? proto->type_name : "";
	bool wants_message = field->type == SCHEMA_MESSAGE || field->type == SCHEMA_GROUP;
	bool wants_enum = field->type == SCHEMA_ENUM;
	const struct named *named;

	if (!wants_message && !wants_enum && proto->has_type)
		return *name ? field_fail(builder, message, field, "%s does not go with the type %.80s",
					  schema_type_name(field->type), name) : 0;
	if (name[0] != '.')
		return field_fail(builder, message, field, "its type \"%.80s\" is not a full name with a leading dot", name);
	named = builder_find(builder->store, name);
	if (!named)
		return field_fail(builder, message, field, "there is no type %.160s in the set", name + 1);
	if (!proto->has_type)
		field->type = named->message ? SCHEMA_MESSAGE : SCHEMA_ENUM;
	if ((proto->has_type && wants_message != (named->message != NULL)) || (wants_enum && !named->enumeration))
		return field_fail(builder, message, field, "%.160s is %s", named->name,
				  named->message ? "a message, not an enum" : "an enum, not a message");
	field->message = named->message;
	field->enumeration = named->enumeration;
	return 0;
}

static int oneof_take(const struct builder *builder, const struct schema_message *message,
		      const Google__Protobuf__DescriptorProto *owner, const Google__Protobuf__FieldDescriptorProto *proto,
		      struct schema_field *field)
{
	const char *name;

	field->proto3_optional = proto->has_proto3_optional && proto->proto3_optional;
	if (!proto->has_oneof_index)
		return 0;
	if (proto->oneof_index < 0 || (size_t)proto->oneof_index >= owner->n_oneof_decl)
		return field_fail(builder, message, field, "oneof %d of %zu", proto->oneof_index, owner->n_oneof_decl);
	name = owner->oneof_decl[proto->oneof_index]->name;
	if (!name || !is_identifier(name))
		return field_fail(builder, message, field, "its oneof has no name");
	if (field->label != SCHEMA_OPTIONAL)
		return field_fail(builder, message, field, "a member of oneof %.80s is repeated or required", name);
	if (!field->proto3_optional)
		field->oneof = name;
	return 0;
}

static int field_check(const struct builder *builder, const struct schema_message *message,
		       const struct schema_field *field)
{
	bool proto3 = message->file->proto3;

	if (field->number < 1 || field->number > SCHEMA_NUMBER_MAX)
		return field_fail(builder, message, field, "its number %u is not within 1 to %u", field->number,
				  SCHEMA_NUMBER_MAX);
	if ((int)field->label < SCHEMA_OPTIONAL || field->label > SCHEMA_REPEATED)
		return field_fail(builder, message, field, "there is no label %d", (int)field->label);
	if ((int)field->type < SCHEMA_DOUBLE || field->type > SCHEMA_SINT64)
		return field_fail(builder, message, field, "there is no type %d", (int)field->type);
	if (proto3 && (field->label == SCHEMA_REQUIRED || field->type == SCHEMA_GROUP))
		return field_fail(builder, message, field, "proto3 has neither required fields nor groups");
	return 0;
}

static int field_take(const struct builder *builder, const struct schema_message *message,
		      const Google__Protobuf__DescriptorProto *owner, size_t position, struct schema_field *ret)
{
	const Google__Protobuf__FieldDescriptorProto *proto = owner->field[position];
	const Google__Protobuf__FieldOptions *options = proto->options;
	struct schema_field field = {
		.name = proto->name && is_identifier(proto->name) ? proto->name : NULL,
		.number = proto->has_number && proto->number > 0 ? (uint32_t)proto->number : 0,
		.label = proto->has_label ? (enum schema_label)proto->label : SCHEMA_OPTIONAL,
		.type = proto->has_type ? (enum schema_type)proto->type : SCHEMA_MESSAGE,
		.default_value = proto->default_value,
		.deprecated = options && options->deprecated,
		.position = position,
	};
	bool proto3 = message->file->proto3;
	int r;

	if (!field.name)
		return field_fail(builder, message, &field, "it has no name");
	r = field_check(builder, message, &field);
	if (r == 0)
		r = reference_follow(builder, message, proto, &field);
	if (r == 0)
		r = oneof_take(builder, message, owner, proto, &field);
	if (r == 0)
		r = options_take(builder, options ? &options->base : NULL, &field.options);
	field.packed = field.label == SCHEMA_REPEATED && schema_is_packable(field.type) &&
		       (options && options->has_packed ? options->packed : proto3);
	field.implicit = proto3 && field.label == SCHEMA_OPTIONAL && !field.message && !field.oneof && !field.proto3_optional;
	*ret = field;
	return r;
}

static int field_compare(const void *a, const void *b)
{
	uint32_t x = ((const struct schema_field *)a)->number, y = ((const struct schema_field *)b)->number;

	return (x > y) - (x < y);
}

static int field_name_compare(const void *a, const void *b)
{
	return strcmp((*(const struct schema_field *const *)a)->name, (*(const struct schema_field *const *)b)->name);
}

static int fields_check_unique(const struct builder *builder, const struct schema_message *message)
{
	const struct schema_field **sorted = builder_array(builder, message->n_fields, sizeof(struct schema_field *));

	if (!sorted)
		return builder_no_memory(builder);
	for (size_t i = 0; i < message->n_fields; i++)
		sorted[i] = &message->fields[i];
	for (size_t i = 1; i < message->n_fields; i++)
		if (sorted[i - 1]->number == sorted[i]->number)
			return field_fail(builder, message, sorted[i], "its number %u is taken", sorted[i]->number);
	qsort(sorted, message->n_fields, sizeof(struct schema_field *), field_name_compare);
	for (size_t i = 1; i < message->n_fields; i++)
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			return field_fail(builder, message, sorted[i], "its name is taken");
	return 0;
}

/* ---- messages ---- */

/* Is it the message that protoc makes of map<K, V>? Others show it as a map, so it must be one. */
static int map_check(const struct builder *builder, const struct schema_message *message)
{
	const struct schema_field *key = &message->fields[0];

	if (message->n_fields == 2 && key->number == 1 && message->fields[1].number == 2 &&
	    key->label != SCHEMA_REPEATED && message->fields[1].label != SCHEMA_REPEATED && !key->message &&
	    key->type != SCHEMA_ENUM && key->type != SCHEMA_BYTES && key->type != SCHEMA_FLOAT && key->type != SCHEMA_DOUBLE)
		return 0;
	return why_set(builder->why, -EBADMSG, "descriptors: %s is said to be a map's entry, but is not made like one",
		       message->name);
}

static int fields_take(const struct builder *builder, const Google__Protobuf__DescriptorProto *proto,
		       struct schema_message *message)
{
	struct schema_field *fields = builder_array(builder, proto->n_field, sizeof(*fields));
	int r = 0;

	if (!fields)
		return builder_no_memory(builder);
	for (size_t i = 0; i < proto->n_field && r == 0; i++) {
		r = field_take(builder, message, proto, i, &fields[i]);
		message->n_required += fields[i].label == SCHEMA_REQUIRED;
	}
	if (r < 0)
		return r;
	qsort(fields, proto->n_field, sizeof(*fields), field_compare);
	message->fields = fields;
	message->n_fields = proto->n_field;
	r = fields_check_unique(builder, message);
	return r == 0 && message->map_entry ? map_check(builder, message) : r;
}

static int oneofs_take(const struct builder *builder, const Google__Protobuf__DescriptorProto *proto,
		       struct schema_message *message)
{
	const char **oneofs = builder_array(builder, proto->n_oneof_decl, sizeof(*oneofs));
	bool *synthetic = builder_array(builder, proto->n_oneof_decl, sizeof(*synthetic));

	if (!oneofs || !synthetic)
		return builder_no_memory(builder);
	for (size_t i = 0; i < proto->n_field; i++)
		if (proto->field[i]->proto3_optional && proto->field[i]->has_oneof_index)
			synthetic[proto->field[i]->oneof_index] = true; /* in range: field_take() saw to it */
	for (size_t i = 0; i < proto->n_oneof_decl; i++)
		if (!synthetic[i] && proto->oneof_decl[i]->name)
			oneofs[message->n_oneofs++] = proto->oneof_decl[i]->name;
	message->oneofs = oneofs;
	return 0;
}

static int ranges_take(const struct builder *builder, const Google__Protobuf__DescriptorProto *proto,
		       struct schema_message *message)
{
	struct schema_range *ranges = builder_array(builder, proto->n_reserved_range, sizeof(*ranges));

	if (!ranges)
		return builder_no_memory(builder);
	for (size_t i = 0; i < proto->n_reserved_range; i++)
		ranges[i] = (struct schema_range){ proto->reserved_range[i]->start,
						   (int64_t)proto->reserved_range[i]->end - 1 };
	message->reserved = ranges;
	message->n_reserved = proto->n_reserved_range;
	message->reserved_names = (const char *const *)proto->reserved_name;
	message->n_reserved_names = proto->n_reserved_name;
	return 0;
}

int message_link(const struct builder *builder, size_t i)
{
	const Google__Protobuf__DescriptorProto *proto = builder->message_protos[i];
	struct schema_message *message = &builder->messages[i];
	int r;

	message->map_entry = proto->options && proto->options->map_entry;
	r = fields_take(builder, proto, message);
	if (r == 0)
		r = oneofs_take(builder, proto, message);
	if (r == 0)
		r = ranges_take(builder, proto, message);
	return r == 0 ? options_take(builder, proto->options ? &proto->options->base : NULL, &message->options) : r;
}
