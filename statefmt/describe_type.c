/* SPDX-License-Identifier: MIT */
/* One message, with its fields, or one enum of generated code, as protoc described it; see describe.c for the whole. */
#include "statefmt/describe.h"

#include "statefmt/real.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- fields ---- */

static enum schema_type field_type(ProtobufCType type)
{
	static const enum schema_type types[] = {
		[PROTOBUF_C_TYPE_INT32] = SCHEMA_INT32,	      [PROTOBUF_C_TYPE_SINT32] = SCHEMA_SINT32,
		[PROTOBUF_C_TYPE_SFIXED32] = SCHEMA_SFIXED32, [PROTOBUF_C_TYPE_INT64] = SCHEMA_INT64,
		[PROTOBUF_C_TYPE_SINT64] = SCHEMA_SINT64,     [PROTOBUF_C_TYPE_SFIXED64] = SCHEMA_SFIXED64,
		[PROTOBUF_C_TYPE_UINT32] = SCHEMA_UINT32,     [PROTOBUF_C_TYPE_FIXED32] = SCHEMA_FIXED32,
		[PROTOBUF_C_TYPE_UINT64] = SCHEMA_UINT64,     [PROTOBUF_C_TYPE_FIXED64] = SCHEMA_FIXED64,
		[PROTOBUF_C_TYPE_FLOAT] = SCHEMA_FLOAT,	      [PROTOBUF_C_TYPE_DOUBLE] = SCHEMA_DOUBLE,
		[PROTOBUF_C_TYPE_BOOL] = SCHEMA_BOOL,	      [PROTOBUF_C_TYPE_ENUM] = SCHEMA_ENUM,
		[PROTOBUF_C_TYPE_STRING] = SCHEMA_STRING,     [PROTOBUF_C_TYPE_BYTES] = SCHEMA_BYTES,
		[PROTOBUF_C_TYPE_MESSAGE] = SCHEMA_MESSAGE,
	};

	return types[type];
}

/* As protoc writes the default of a bytes field. */
static int bytes_escape(struct describer *d, const ProtobufCBinaryData *bytes, char **ret)
{
	char *at = describer_take(d, bytes->len * 4 + 1, 1);

	if (!at)
		return describer_no_memory(d);
	*ret = at;
	for (size_t i = 0; i < bytes->len; i++) {
		static const char named[] = "\nn\rr\tt\"\"''\\\\";
		uint8_t c = bytes->data[i];
		const char *name = NULL;

		for (const char *pair = named; *pair && !name; pair += 2)
			name = c == (uint8_t)*pair ? pair + 1 : NULL;
		if (name)
			at += sprintf(at, "\\%c", *name);
		else if (c >= 0x20 && c < 0x7f)
			*at++ = (char)c;
		else
			at += sprintf(at, "\\%03o", c);
	}
	return 0;
}

static int real_print(struct describer *d, double value, bool is_float, char **ret)
{
	char text[SF_REAL_BYTES];

	return describer_print(d, ret, "%s", sf_real_text(text, value, is_float));
}

static int enum_default_print(struct describer *d, const ProtobufCEnumDescriptor *enumeration, int value, char **ret)
{
	const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(enumeration, value);

	return found ? describer_print(d, ret, "%s", found->name) : 0;
}

static int default_print(struct describer *d, const ProtobufCFieldDescriptor *field, char **ret)
{
	const void *value = field->default_value;

	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return describer_print(d, ret, "%" PRId32, *(const int32_t *)value);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return describer_print(d, ret, "%" PRId64, *(const int64_t *)value);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return describer_print(d, ret, "%" PRIu32, *(const uint32_t *)value);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return describer_print(d, ret, "%" PRIu64, *(const uint64_t *)value);
	case PROTOBUF_C_TYPE_FLOAT:
		return real_print(d, (double)*(const float *)value, true, ret);
	case PROTOBUF_C_TYPE_DOUBLE:
		return real_print(d, *(const double *)value, false, ret);
	case PROTOBUF_C_TYPE_BOOL:
		return describer_print(d, ret, "%s", *(const protobuf_c_boolean *)value ? "true" : "false");
	case PROTOBUF_C_TYPE_ENUM:
		return enum_default_print(d, field->descriptor, *(const int *)value, ret);
	case PROTOBUF_C_TYPE_STRING: {
		const char *text = value; /* a string's default is the array itself */

		*ret = describer_lend(text);
		return 0;
	}
	case PROTOBUF_C_TYPE_BYTES:
		return bytes_escape(d, value, ret);
	case PROTOBUF_C_TYPE_MESSAGE:
	default:
		return 0;
	}
}

/* Members of one oneof have one case field. Its name was not kept. */
static int oneof_describe(struct describer *d, const ProtobufCMessageDescriptor *message, unsigned index,
			  Google__Protobuf__DescriptorProto *owner, Google__Protobuf__FieldDescriptorProto *proto)
{
	const ProtobufCFieldDescriptor *fields = message->fields;
	Google__Protobuf__OneofDescriptorProto *oneof;

	proto->has_oneof_index = 1;
	for (unsigned f = 0; f < index; f++)
		if ((fields[f].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
		    fields[f].quantifier_offset == fields[index].quantifier_offset) {
			proto->oneof_index = owner->field[f]->oneof_index;
			return 0;
		}
	proto->oneof_index = (int32_t)owner->n_oneof_decl;
	oneof = describer_take(d, 1, sizeof(*oneof));
	if (!oneof)
		return describer_no_memory(d);
	google__protobuf__oneof_descriptor_proto__init(oneof);
	owner->oneof_decl[owner->n_oneof_decl++] = oneof;
	return describer_print(d, &oneof->name, "oneof_%zu", owner->n_oneof_decl);
}

static int packed_describe(struct describer *d, const ProtobufCFieldDescriptor *field,
			   Google__Protobuf__FieldDescriptorProto *proto)
{
	bool packable = schema_is_packable(field_type(field->type)) && field->label == PROTOBUF_C_LABEL_REPEATED;

	if (!packable && !(field->flags & PROTOBUF_C_FIELD_FLAG_DEPRECATED))
		return 0;
	proto->options = describer_take(d, 1, sizeof(*proto->options));
	if (!proto->options)
		return describer_no_memory(d);
	google__protobuf__field_options__init(proto->options);
	proto->options->has_packed = packable;
	proto->options->packed = (field->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0;
	proto->options->has_deprecated = proto->options->deprecated = (field->flags & PROTOBUF_C_FIELD_FLAG_DEPRECATED) != 0;
	return 0;
}

static int type_name_describe(struct describer *d, const ProtobufCFieldDescriptor *field,
			      Google__Protobuf__FieldDescriptorProto *proto)
{
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return describer_print(d, &proto->type_name, ".%s", ((const ProtobufCMessageDescriptor *)field->descriptor)->name);
	if (field->type == PROTOBUF_C_TYPE_ENUM)
		return describer_print(d, &proto->type_name, ".%s", ((const ProtobufCEnumDescriptor *)field->descriptor)->name);
	return 0;
}

static int field_describe(struct describer *d, struct node *node, unsigned index)
{
	const ProtobufCFieldDescriptor *field = &node->message->fields[index];
	Google__Protobuf__FieldDescriptorProto *proto = describer_take(d, 1, sizeof(*proto));
	bool proto3 = node_outermost(node)->proto3, in_oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
	int r;

	if (!proto)
		return describer_no_memory(d);
	google__protobuf__field_descriptor_proto__init(proto);
	node->proto->field[index] = proto;
	proto->name = describer_lend(field->name);
	proto->has_number = proto->has_label = proto->has_type = 1;
	proto->number = (int32_t)field->id;
	proto->type = (Google__Protobuf__FieldDescriptorProto__Type)field_type(field->type);
	proto->label = field->label == PROTOBUF_C_LABEL_REPEATED ? GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED :
		       field->label == PROTOBUF_C_LABEL_REQUIRED ? GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REQUIRED :
								   GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_OPTIONAL;
	proto->has_proto3_optional = proto->proto3_optional = proto3 && !in_oneof && field->label == PROTOBUF_C_LABEL_OPTIONAL;
	r = type_name_describe(d, field, proto);
	if (r == 0 && in_oneof)
		r = oneof_describe(d, node->message, index, node->proto, proto);
	if (r == 0 && field->default_value && !proto3)
		r = default_print(d, field, &proto->default_value);
	return r == 0 ? packed_describe(d, field, proto) : r;
}

/* proto3's `optional` is a oneof of one member, behind the real ones. */
static int synthetic_describe(struct describer *d, Google__Protobuf__DescriptorProto *owner)
{
	int r = 0;

	for (size_t i = 0; i < owner->n_field && r == 0; i++) {
		Google__Protobuf__OneofDescriptorProto *oneof;

		if (!owner->field[i]->proto3_optional)
			continue;
		oneof = describer_take(d, 1, sizeof(*oneof));
		if (!oneof)
			return describer_no_memory(d);
		google__protobuf__oneof_descriptor_proto__init(oneof);
		owner->field[i]->has_oneof_index = 1;
		owner->field[i]->oneof_index = (int32_t)owner->n_oneof_decl;
		owner->oneof_decl[owner->n_oneof_decl++] = oneof;
		r = describer_print(d, &oneof->name, "_%s", owner->field[i]->name);
	}
	return r;
}

/* ---- messages and enums ---- */

/* What protoc makes of map<K, V> name: a nested message NameEntry of key and value. That it was a map is not kept, but the name
 * is one that protoc takes for its own. */
static bool node_is_map_entry(const struct node *node)
{
	const ProtobufCMessageDescriptor *message = node->message;
	const ProtobufCMessageDescriptor *outer = node->outer ? node->outer->message : NULL;
	char camel[SCHEMA_NAME_BYTES + 1];
	unsigned users = 0;

	if (!outer || message->n_fields != 2 || message->fields[0].id != 1 || message->fields[1].id != 2 ||
	    strcmp(message->fields[0].name, "key") != 0 || strcmp(message->fields[1].name, "value") != 0 ||
	    message->fields[0].type == PROTOBUF_C_TYPE_MESSAGE || message->fields[0].type == PROTOBUF_C_TYPE_ENUM ||
	    message->fields[0].type == PROTOBUF_C_TYPE_BYTES || message->fields[0].type == PROTOBUF_C_TYPE_FLOAT ||
	    message->fields[0].type == PROTOBUF_C_TYPE_DOUBLE || message->fields[0].label == PROTOBUF_C_LABEL_REPEATED ||
	    message->fields[1].label == PROTOBUF_C_LABEL_REPEATED)
		return false;
	for (unsigned f = 0; f < outer->n_fields; f++) {
		size_t n = 0;
		bool upper = true;

		if (outer->fields[f].type != PROTOBUF_C_TYPE_MESSAGE || outer->fields[f].descriptor != message)
			continue;
		for (const char *c = outer->fields[f].name; *c && n + sizeof("Entry") < sizeof(camel); c++) {
			if (*c != '_')
				camel[n++] = upper && *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
			upper = *c == '_';
		}
		memcpy(camel + n, "Entry", sizeof("Entry"));
		if (outer->fields[f].label != PROTOBUF_C_LABEL_REPEATED || strcmp(camel, message->short_name) != 0)
			return false;
		users++;
	}
	return users == 1;
}

static int map_entry_describe(struct describer *d, struct node *node)
{
	if (!node_is_map_entry(node))
		return 0;
	node->proto->options = describer_take(d, 1, sizeof(*node->proto->options));
	if (!node->proto->options)
		return describer_no_memory(d);
	google__protobuf__message_options__init(node->proto->options);
	node->proto->options->has_map_entry = node->proto->options->map_entry = 1;
	return 0;
}

int node_describe_message(struct describer *d, struct node *node)
{
	const ProtobufCMessageDescriptor *message = node->message;
	size_t n_fields = message ? message->n_fields : 0;
	Google__Protobuf__DescriptorProto *proto = describer_take(d, 1, sizeof(*proto));
	int r = 0;

	if (!proto)
		return describer_no_memory(d);
	google__protobuf__descriptor_proto__init(proto);
	node->proto = proto;
	proto->name = describer_lend(strrchr(node->path, '.') ? strrchr(node->path, '.') + 1 : node->path);
	proto->field = describer_take(d, n_fields, sizeof(*proto->field));
	proto->oneof_decl = describer_take(d, n_fields, sizeof(*proto->oneof_decl));
	if (!proto->field || !proto->oneof_decl)
		return describer_no_memory(d);
	for (unsigned f = 0; f < n_fields && r == 0; f++) {
		r = field_describe(d, node, f);
		proto->n_field = f + 1;
	}
	if (r == 0)
		r = synthetic_describe(d, proto);
	return r == 0 && message ? map_entry_describe(d, node) : r;
}

static int enum_value_describe(struct describer *d, const char *name, int number, Google__Protobuf__EnumDescriptorProto *proto)
{
	Google__Protobuf__EnumValueDescriptorProto *value = describer_take(d, 1, sizeof(*value));

	if (!value)
		return describer_no_memory(d);
	google__protobuf__enum_value_descriptor_proto__init(value);
	value->name = describer_lend(name);
	value->has_number = 1;
	value->number = number;
	proto->value[proto->n_value++] = value;
	return 0;
}

/* proto3 wants the value zero first; protobuf-c sorts by number, so negative ones may stand before it. */
int enum_describe(struct describer *d, const ProtobufCEnumDescriptor *enumeration,
			 Google__Protobuf__EnumDescriptorProto **ret)
{
	Google__Protobuf__EnumDescriptorProto *proto = describer_take(d, 1, sizeof(*proto));
	int r = 0;

	if (!proto)
		return describer_no_memory(d);
	google__protobuf__enum_descriptor_proto__init(proto);
	proto->name = describer_lend(enumeration->short_name);
	proto->value = describer_take(d, enumeration->n_values, sizeof(*proto->value));
	if (!proto->value)
		return describer_no_memory(d);
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < enumeration->n_values && r == 0; i++)
			if ((enumeration->values[i].value != 0) == (pass == 1))
				r = enum_value_describe(d, enumeration->values[i].name, enumeration->values[i].value, proto);
	*ret = proto;
	return r;
}

