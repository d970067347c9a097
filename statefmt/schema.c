/* SPDX-License-Identifier: MIT */
/* From descriptors to a linked model: every name is entered first, then references are followed, so that the order of files
 * does not count. Everything lies in one arena, whose limit is the bound on memory that the header promises. */
#include "statefmt/schema.h"

#include "base/why.h"
#include "statefmt/arena.h"
#include "statefmt/shape.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NESTING_MAX 64u /* messages declared in each other */

/* Messages and enums share one space of names. */
struct named {
	const char *name;
	const struct schema_message *message;
	const struct schema_enum *enumeration;
};

/* What a set really is. */
struct store {
	struct schema_set set; /* the first: schema_set_free() and the finders go back from it */
	struct sf_arena arena;
	struct named *names; /* sorted */
	size_t n_names;
};

struct builder {
	struct store *store;
	struct schema_file *files;
	struct schema_message *messages;
	struct schema_enum *enums;
	const Google__Protobuf__DescriptorProto **message_protos; /* parallel to @messages */
	size_t n_messages, n_enums; /* counted first, then filled up to that */
	struct why *why;
};

/* ---- memory ---- */

static int no_memory(const struct builder *builder)
{
	const struct sf_arena *arena = &builder->store->arena;

	if (arena->over_limit)
		return why_set(builder->why, -EMSGSIZE, "descriptors: they take more than %zu bytes of memory", arena->limit);
	return why_errno(builder->why, -ENOMEM, "descriptors");
}

/* Zeroed; at least one element, so that nothing here is ever NULL. */
static void *array_new(const struct builder *builder, size_t n, size_t element_bytes)
{
	size_t size;
	void *array;

	if (__builtin_mul_overflow(n ? n : 1, element_bytes, &size))
		return NULL;
	array = sf_arena_alloc(&builder->store->arena, size, sizeof(uint64_t));
	return array ? memset(array, 0, size) : NULL;
}

/* ---- names ---- */

static bool is_identifier(const char *text)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
	size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");

	return text[0] && strchr(first, text[0]) && !text[n] && n <= SCHEMA_NAME_BYTES;
}

static bool is_package(const char *text)
{
	char part[SCHEMA_NAME_BYTES + 1];

	while (*text) {
		size_t n = strcspn(text, ".");

		if (n >= sizeof(part))
			return false;
		memcpy(part, text, n);
		part[n] = '\0';
		if (!is_identifier(part) || (text[n] && !text[n + 1]))
			return false;
		text += n + (text[n] != '\0');
	}
	return true;
}

/* "@scope.@name"; the scope may be empty. */
static int name_join(const struct builder *builder, const char *scope, const char *name, const char **ret_full)
{
	size_t n_scope = strlen(scope), n_name = strlen(name);
	char *full;

	if (!is_identifier(name))
		return why_set(builder->why, -EBADMSG, "descriptors: \"%.80s\" in %.200s is no name of a type", name,
			       *scope ? scope : "a file");
	if (n_scope + n_name + 1 > SCHEMA_NAME_BYTES)
		return why_set(builder->why, -EMSGSIZE, "descriptors: the name of a type in %.80s is longer than %u bytes",
			       scope, SCHEMA_NAME_BYTES);
	full = array_new(builder, n_scope + n_name + 2, 1);
	if (!full)
		return no_memory(builder);
	snprintf(full, n_scope + n_name + 2, "%s%s%s", scope, n_scope ? "." : "", name);
	*ret_full = full;
	return 0;
}

static int named_compare(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static const struct named *name_find(const struct store *store, const char *name)
{
	const struct named key = { .name = name[0] == '.' ? name + 1 : name };

	return bsearch(&key, store->names, store->n_names, sizeof(key), named_compare);
}

static int names_index(const struct builder *builder)
{
	struct store *store = builder->store;

	store->names = array_new(builder, builder->n_messages + builder->n_enums, sizeof(*store->names));
	if (!store->names)
		return no_memory(builder);
	for (size_t i = 0; i < builder->n_messages; i++)
		store->names[store->n_names++] = (struct named){ builder->messages[i].name, &builder->messages[i], NULL };
	for (size_t i = 0; i < builder->n_enums; i++)
		store->names[store->n_names++] = (struct named){ builder->enums[i].name, NULL, &builder->enums[i] };
	qsort(store->names, store->n_names, sizeof(*store->names), named_compare);
	for (size_t i = 1; i < store->n_names; i++)
		if (strcmp(store->names[i - 1].name, store->names[i].name) == 0)
			return why_set(builder->why, -EBADMSG, "descriptors: the type %s is declared twice",
				       store->names[i].name);
	return 0;
}

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

/* Custom options are extensions, which the generated code does not know: it keeps their bytes. */
static int options_take(const struct builder *builder, const ProtobufCMessage *options, struct schema_bytes *ret)
{
	size_t size = 0;
	uint8_t *data, tag[10];

	for (unsigned i = 0; options && i < options->n_unknown_fields; i++)
		size += tag_put(tag, &options->unknown_fields[i]) + options->unknown_fields[i].len;
	data = array_new(builder, size, 1);
	if (!data)
		return no_memory(builder);
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
	struct schema_range *ranges = array_new(builder, proto->n_reserved_range, sizeof(*ranges));

	if (!ranges)
		return no_memory(builder);
	for (size_t i = 0; i < proto->n_reserved_range; i++)
		ranges[i] = (struct schema_range){ proto->reserved_range[i]->start, proto->reserved_range[i]->end };
	ret->reserved = ranges;
	ret->n_reserved = proto->n_reserved_range;
	ret->reserved_names = (const char *const *)proto->reserved_name;
	ret->n_reserved_names = proto->n_reserved_name;
	return 0;
}

static int enum_take(struct builder *builder, const struct schema_file *file, const struct schema_message *parent,
		     const Google__Protobuf__EnumDescriptorProto *proto)
{
	struct schema_enum *enumeration = &builder->enums[builder->n_enums];
	struct schema_value *values = array_new(builder, proto->n_value, sizeof(*values));
	int r;

	if (!values)
		return no_memory(builder);
	enumeration->index = builder->n_enums++;
	enumeration->file = file;
	enumeration->parent = parent;
	enumeration->short_name = proto->name ? proto->name : "";
	r = name_join(builder, parent ? parent->name : file->package, enumeration->short_name, &enumeration->name);
	if (r < 0)
		return r;
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
	named = name_find(builder->store, name);
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
	const struct schema_field **sorted = array_new(builder, message->n_fields, sizeof(struct schema_field *));

	if (!sorted)
		return no_memory(builder);
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

/* What protoc makes of map<K, V>; who uses it shows it as a map, so it must be one. */
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
	struct schema_field *fields = array_new(builder, proto->n_field, sizeof(*fields));
	int r = 0;

	if (!fields)
		return no_memory(builder);
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
	const char **oneofs = array_new(builder, proto->n_oneof_decl, sizeof(*oneofs));
	bool *synthetic = array_new(builder, proto->n_oneof_decl, sizeof(*synthetic));

	if (!oneofs || !synthetic)
		return no_memory(builder);
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
	struct schema_range *ranges = array_new(builder, proto->n_reserved_range, sizeof(*ranges));

	if (!ranges)
		return no_memory(builder);
	for (size_t i = 0; i < proto->n_reserved_range; i++)
		ranges[i] = (struct schema_range){ proto->reserved_range[i]->start,
						   (int64_t)proto->reserved_range[i]->end - 1 };
	message->reserved = ranges;
	message->n_reserved = proto->n_reserved_range;
	message->reserved_names = (const char *const *)proto->reserved_name;
	message->n_reserved_names = proto->n_reserved_name;
	return 0;
}

static int message_link(const struct builder *builder, size_t i)
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

/* Enters a message and what is declared in it. */
static int message_enter(struct builder *builder, const struct schema_file *file, const struct schema_message *parent,
			 const Google__Protobuf__DescriptorProto *proto)
{
	struct schema_message *message = &builder->messages[builder->n_messages];
	int r;

	builder->message_protos[builder->n_messages] = proto;
	message->index = builder->n_messages++;
	message->file = file;
	message->parent = parent;
	message->short_name = proto->name ? proto->name : "";
	r = name_join(builder, parent ? parent->name : file->package, message->short_name, &message->name);
	for (size_t i = 0; i < proto->n_enum_type && r == 0; i++)
		r = enum_take(builder, file, message, proto->enum_type[i]);
	for (size_t i = 0; i < proto->n_nested_type && r == 0; i++)
		r = message_enter(builder, file, message, proto->nested_type[i]);
	return r;
}

static int nested_count(struct builder *builder, const Google__Protobuf__DescriptorProto *proto, unsigned depth)
{
	int r = 0;

	if (depth == NESTING_MAX)
		return why_set(builder->why, -EMSGSIZE, "descriptors: messages are declared more than %u deep in each other",
			       NESTING_MAX);
	builder->n_messages++;
	builder->n_enums += proto->n_enum_type;
	for (size_t i = 0; i < proto->n_nested_type && r == 0; i++)
		r = nested_count(builder, proto->nested_type[i], depth + 1);
	return r;
}

/* ---- files ---- */

static int file_take(const struct builder *builder, const Google__Protobuf__FileDescriptorProto *proto,
		     struct schema_file *ret)
{
	const char *syntax = proto->syntax ? proto->syntax : "";

	ret->name = proto->name ? proto->name : "";
	ret->package = proto->package ? proto->package : "";
	ret->proto3 = strcmp(syntax, "proto3") == 0;
	if (!ret->proto3 && *syntax && strcmp(syntax, "proto2") != 0)
		return why_set(builder->why, -EBADMSG, "descriptors: %.160s is written in \"%.40s\"; proto2 and proto3 are "
			       "understood", ret->name, syntax);
	if (!is_package(ret->package) || strlen(ret->package) > SCHEMA_NAME_BYTES)
		return why_set(builder->why, -EBADMSG, "descriptors: %.160s has the package \"%.80s\", which is no name",
			       ret->name, ret->package);
	return 0;
}

static int file_enter(struct builder *builder, const Google__Protobuf__FileDescriptorProto *proto, struct schema_file *file)
{
	int r = file_take(builder, proto, file);

	for (size_t i = 0; i < proto->n_enum_type && r == 0; i++)
		r = enum_take(builder, file, NULL, proto->enum_type[i]);
	for (size_t i = 0; i < proto->n_message_type && r == 0; i++)
		r = message_enter(builder, file, NULL, proto->message_type[i]);
	return r;
}

static int all_count(struct builder *builder, Google__Protobuf__FileDescriptorProto *const *files, size_t n)
{
	int r = 0;

	for (size_t f = 0; f < n; f++) {
		builder->n_enums += files[f]->n_enum_type;
		for (size_t i = 0; i < files[f]->n_message_type && r == 0; i++)
			r = nested_count(builder, files[f]->message_type[i], 0);
	}
	return r;
}

static int set_build(struct store *store, Google__Protobuf__FileDescriptorProto *const *files, size_t n, struct why *why)
{
	struct builder builder = { .store = store, .why = why };
	size_t n_messages, n_enums;
	int r = all_count(&builder, files, n);

	if (r < 0)
		return r;
	n_messages = builder.n_messages;
	n_enums = builder.n_enums;
	builder.files = array_new(&builder, n, sizeof(*builder.files));
	builder.messages = array_new(&builder, n_messages, sizeof(*builder.messages));
	builder.message_protos = array_new(&builder, n_messages, sizeof(*builder.message_protos));
	builder.enums = array_new(&builder, n_enums, sizeof(*builder.enums));
	if (!builder.files || !builder.messages || !builder.message_protos || !builder.enums)
		return no_memory(&builder);
	builder.n_messages = builder.n_enums = 0;
	for (size_t i = 0; i < n && r == 0; i++)
		r = file_enter(&builder, files[i], &builder.files[i]);
	if (r == 0)
		r = names_index(&builder);
	for (size_t i = 0; i < n_messages && r == 0; i++)
		r = message_link(&builder, i);
	store->set = (struct schema_set){ builder.files, n, builder.messages, n_messages, builder.enums, n_enums };
	return r;
}

/* ---- the set ---- */

static struct store *store_new(size_t memory_bytes)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	sf_arena_init(&store->arena);
	sf_arena_reset(&store->arena, memory_bytes);
	return store;
}

static struct store *store_of(struct schema_set *set)
{
	return (struct store *)(void *)set;
}

struct schema_set *schema_set_free(struct schema_set *set)
{
	if (!set)
		return NULL;
	sf_arena_done(&store_of(set)->arena);
	free(store_of(set));
	return NULL;
}

static int store_unpack(struct store *store, const uint8_t *data, size_t size_bytes, struct why *why)
{
	const ProtobufCMessageDescriptor *type = &google__protobuf__file_descriptor_set__descriptor;
	Google__Protobuf__FileDescriptorSet *files;

	/* Messages declared in messages, without end: protobuf-c would follow them down the stack. */
	if (!sf_depth_check(type, data, size_bytes))
		return why_set(why, -EBADMSG, "descriptors: not a FileDescriptorSet, or nested too deep");
	files = (Google__Protobuf__FileDescriptorSet *)protobuf_c_message_unpack(type, &store->arena.allocator, size_bytes,
										 data);
	if (!files && store->arena.over_limit)
		return why_set(why, -EMSGSIZE, "descriptors: they take more than %zu bytes of memory", store->arena.limit);
	if (!files)
		return why_set(why, -EBADMSG, "descriptors: not a FileDescriptorSet");
	return set_build(store, files->file, files->n_file, why);
}

int schema_set_new(const uint8_t *data, size_t size_bytes, struct schema_set **ret_set, struct why *why)
{
	struct store *store;
	int r;

	if (size_bytes > SCHEMA_INPUT_BYTES)
		return why_set(why, -EMSGSIZE, "descriptors: %zu bytes, over the limit of %zu", size_bytes, SCHEMA_INPUT_BYTES);
	store = store_new(SCHEMA_MEMORY(size_bytes));
	if (!store)
		return why_errno(why, -ENOMEM, "descriptors");
	r = store_unpack(store, data, size_bytes, why);
	if (r < 0)
		schema_set_free(&store->set);
	else
		*ret_set = &store->set;
	return r;
}

int schema_set_from_files(Google__Protobuf__FileDescriptorProto *const *files, size_t n_files,
			  struct schema_set **ret_set, struct why *why)
{
	struct store *store;
	size_t size = 0;
	int r;

	for (size_t i = 0; i < n_files; i++)
		size += protobuf_c_message_get_packed_size(&files[i]->base);
	store = store_new(SCHEMA_MEMORY(size));
	if (!store)
		return why_errno(why, -ENOMEM, "descriptors");
	r = set_build(store, files, n_files, why);
	if (r < 0)
		schema_set_free(&store->set);
	else
		*ret_set = &store->set;
	return r;
}

/* ---- looking ---- */

static const struct store *store_of_const(const struct schema_set *set)
{
	return (const struct store *)(const void *)set;
}

const struct schema_message *schema_find_message(const struct schema_set *set, const char *name)
{
	const struct named *named = name_find(store_of_const(set), name);

	return named ? named->message : NULL;
}

const struct schema_enum *schema_find_enum(const struct schema_set *set, const char *name)
{
	const struct named *named = name_find(store_of_const(set), name);

	return named ? named->enumeration : NULL;
}
