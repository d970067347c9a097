/* SPDX-License-Identifier: MIT */
/* From descriptors to a linked model. Every name is entered first, and references are followed afterwards, so that the order of
 * files does not matter. Everything lies in one arena; its limit is the bound on memory that the header promises. */
#include "statefmt/schema_build.h"

#include "statefmt/shape.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NESTING_MAX 64u /* messages declared in each other */

/* ---- memory ---- */

int builder_no_memory(const struct builder *builder)
{
	const struct sf_arena *arena = &builder->store->arena;

	if (arena->over_limit)
		return why_set(builder->why, -EMSGSIZE, "descriptors: they take more than %zu bytes of memory", arena->limit);
	return why_errno(builder->why, -ENOMEM, "descriptors");
}

void *builder_array(const struct builder *builder, size_t n, size_t element_bytes)
{
	size_t size;
	void *array;

	if (__builtin_mul_overflow(n ? n : 1, element_bytes, &size))
		return NULL;
	array = sf_arena_alloc(&builder->store->arena, size, sizeof(uint64_t));
	return array ? memset(array, 0, size) : NULL;
}

/* ---- names ---- */

bool is_identifier(const char *text)
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
	full = builder_array(builder, n_scope + n_name + 2, 1);
	if (!full)
		return builder_no_memory(builder);
	snprintf(full, n_scope + n_name + 2, "%s%s%s", scope, n_scope ? "." : "", name);
	*ret_full = full;
	return 0;
}

static int named_compare(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

const struct named *builder_find(const struct store *store, const char *name)
{
	const struct named key = { .name = name[0] == '.' ? name + 1 : name };

	return bsearch(&key, store->names, store->n_names, sizeof(key), named_compare);
}

static int names_index(const struct builder *builder)
{
	struct store *store = builder->store;

	store->names = builder_array(builder, builder->n_messages + builder->n_enums, sizeof(*store->names));
	if (!store->names)
		return builder_no_memory(builder);
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

/* ---- messages and enums ---- */

static int enum_enter(struct builder *builder, const struct schema_file *file, const struct schema_message *parent,
		      const Google__Protobuf__EnumDescriptorProto *proto)
{
	struct schema_enum *enumeration = &builder->enums[builder->n_enums];
	int r;

	enumeration->index = builder->n_enums++;
	enumeration->file = file;
	enumeration->parent = parent;
	enumeration->short_name = proto->name ? proto->name : "";
	r = name_join(builder, parent ? parent->name : file->package, enumeration->short_name, &enumeration->name);
	return r == 0 ? enum_take(builder, proto, enumeration) : r;
}

/* Enter a message, and the messages and enums that are declared in it. */
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
		r = enum_enter(builder, file, message, proto->enum_type[i]);
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
		r = enum_enter(builder, file, NULL, proto->enum_type[i]);
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
	builder.files = builder_array(&builder, n, sizeof(*builder.files));
	builder.messages = builder_array(&builder, n_messages, sizeof(*builder.messages));
	builder.message_protos = builder_array(&builder, n_messages, sizeof(*builder.message_protos));
	builder.enums = builder_array(&builder, n_enums, sizeof(*builder.enums));
	if (!builder.files || !builder.messages || !builder.message_protos || !builder.enums)
		return builder_no_memory(&builder);
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

	/* protobuf-c unpacks messages that are declared in each other by recursion, so their depth is checked first. */
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
	const struct named *named = builder_find(store_of_const(set), name);

	return named ? named->message : NULL;
}

const struct schema_enum *schema_find_enum(const struct schema_set *set, const char *name)
{
	const struct named *named = builder_find(store_of_const(set), name);

	return named ? named->enumeration : NULL;
}
