/* SPDX-License-Identifier: MIT */
/* Turns the descriptors of generated code back into the descriptors that protoc read.
 *
 * protobuf-c keeps of each type its full name, its package and its fields. A walk from the roots over the fields finds every type
 * once, whatever cycles there are. Its name says where a type was declared: between the package and the short name stand the outer
 * messages. The outermost one and all that is nested in it go into one file of the set. The labels say which syntax it was: only
 * proto3 has fields without presence (PROTOBUF_C_LABEL_NONE).
 */
#include "statefmt/describe.h"

#include "base/why.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPES_MAX 4096u

void *describer_take(struct describer *d, size_t n, size_t element_bytes)
{
	void *memory = sf_arena_alloc(&d->arena, (n ? n : 1) * element_bytes, sizeof(uint64_t));

	return memory ? memset(memory, 0, (n ? n : 1) * element_bytes) : NULL;
}

int describer_no_memory(const struct describer *d)
{
	return why_errno(d->why, d->arena.over_limit ? -EMSGSIZE : -ENOMEM, "describing the types");
}

char *describer_lend(const char *text)
{
	return (char *)(uintptr_t)text;
}

int describer_print(struct describer *d, char **ret, const char *fmt, ...)
{
	char text[SCHEMA_NAME_BYTES * 2];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	*ret = sf_arena_string(&d->arena, text);
	return *ret ? 0 : describer_no_memory(d);
}

/* ---- finding every type ---- */

static size_t seen_slot(const struct describer *d, const void *descriptor)
{
	size_t at = (size_t)((uintptr_t)descriptor / sizeof(void *) * 0x9e3779b1u) % d->seen_room;

	while (d->seen[at] && d->seen[at] != descriptor)
		at = (at + 1) % d->seen_room;
	return at;
}

static int seen_grow(struct describer *d)
{
	const void **old = d->seen;
	size_t n_old = d->seen_room;

	if (d->n_seen * 2 < d->seen_room)
		return 0;
	d->seen_room = n_old ? n_old * 2 : 64;
	d->seen = describer_take(d, d->seen_room, sizeof(*d->seen));
	if (!d->seen)
		return describer_no_memory(d);
	for (size_t i = 0; i < n_old; i++)
		if (old[i])
			d->seen[seen_slot(d, old[i])] = old[i];
	return 0;
}

static int node_add(struct describer *d, struct node node, struct node **ret_node)
{
	size_t n_package = strlen(node.package);

	if (d->n == d->room) {
		struct node **grown = describer_take(d, d->room ? d->room * 2 : 16, sizeof(struct node *));

		if (!grown)
			return describer_no_memory(d);
		if (d->n)
			memcpy(grown, d->nodes, d->n * sizeof(*grown));
		d->nodes = grown;
		d->room = d->room ? d->room * 2 : 16;
	}
	if (d->n == TYPES_MAX)
		return why_set(d->why, -EMSGSIZE, "describing the types: there are more than %u", TYPES_MAX);
	if (n_package && strncmp(node.name, node.package, n_package) == 0 && node.name[n_package] == '.')
		node.path = node.name + n_package + 1;
	else
		node.path = node.name;
	d->nodes[d->n] = describer_take(d, 1, sizeof(struct node));
	if (!d->nodes[d->n])
		return describer_no_memory(d);
	*d->nodes[d->n] = node;
	if (ret_node)
		*ret_node = d->nodes[d->n];
	d->n++;
	return 0;
}

/* Make a node of a type that was not met yet. */
static int type_meet(struct describer *d, const ProtobufCMessageDescriptor *message, const ProtobufCEnumDescriptor *enumeration)
{
	const void *descriptor = message ? (const void *)message : (const void *)enumeration;
	struct node node = { .message = message, .enumeration = enumeration };
	size_t slot;
	int r = descriptor ? seen_grow(d) : 0;

	if (r < 0 || !descriptor)
		return r;
	slot = seen_slot(d, descriptor);
	if (d->seen[slot])
		return 0;
	d->seen[slot] = descriptor;
	d->n_seen++;
	node.name = message ? message->name : enumeration->name;
	node.package = message ? message->package_name : enumeration->package_name;
	return node_add(d, node, NULL);
}

static int fields_meet(struct describer *d, const ProtobufCMessageDescriptor *message)
{
	int r = 0;

	for (unsigned f = 0; f < message->n_fields && r == 0; f++) {
		const ProtobufCFieldDescriptor *field = &message->fields[f];

		if (field->type == PROTOBUF_C_TYPE_MESSAGE)
			r = type_meet(d, field->descriptor, NULL);
		else if (field->type == PROTOBUF_C_TYPE_ENUM)
			r = type_meet(d, NULL, field->descriptor);
	}
	return r;
}

static int types_meet(struct describer *d, const ProtobufCMessageDescriptor *const *roots, size_t n_roots)
{
	int r = 0;

	for (size_t i = 0; i < n_roots && r == 0; i++)
		if (roots[i])
			r = type_meet(d, roots[i], NULL);
	for (size_t i = 0; i < d->n && r == 0; i++)
		if (d->nodes[i]->message)
			r = fields_meet(d, d->nodes[i]->message);
	return r;
}

/* ---- where each belongs ---- */

static int node_compare(const void *a, const void *b)
{
	return strcmp((*(struct node *const *)a)->name, (*(struct node *const *)b)->name);
}

static struct node *node_find(const struct describer *d, const char *name)
{
	struct node key = { .name = name }, *key_pointer = &key;
	struct node **found = bsearch(&key_pointer, d->nodes, d->n, sizeof(*d->nodes), node_compare);

	return found ? *found : NULL;
}

/* Drop all but one of the types of one name: an application may be linked with two versions of a type, but one can be described. */
static void twins_drop(struct describer *d)
{
	size_t kept = 0;

	qsort(d->nodes, d->n, sizeof(*d->nodes), node_compare);
	for (size_t i = 0; i < d->n; i++)
		if (!kept || strcmp(d->nodes[kept - 1]->name, d->nodes[i]->name) != 0)
			d->nodes[kept++] = d->nodes[i];
	d->n = kept;
}

/* Find the messages around @node, and make those that nothing refers to. */
static int outer_add(struct describer *d, const struct node *node)
{
	const char *dot = strrchr(node->path, '.');
	char *name;

	if (!dot)
		return 0;
	name = describer_take(d, (size_t)(dot - node->name) + 1, 1);
	if (!name)
		return describer_no_memory(d);
	memcpy(name, node->name, (size_t)(dot - node->name));
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->nodes[i]->name, name) == 0)
			return 0;
	return node_add(d, (struct node){ .name = name, .package = node->package }, NULL);
}

struct node *node_outermost(struct node *node)
{
	while (node->outer)
		node = node->outer;
	return node;
}

static bool message_is_proto3(const ProtobufCMessageDescriptor *message)
{
	for (unsigned f = 0; f < message->n_fields; f++)
		if (message->fields[f].label == PROTOBUF_C_LABEL_NONE)
			return true;
	return false;
}

static void outer_link(const struct describer *d, struct node *node)
{
	const char *dot = strrchr(node->path, '.');
	char name[SCHEMA_NAME_BYTES + 1];
	size_t n = dot ? (size_t)(dot - node->name) : 0;

	if (!dot || n >= sizeof(name))
		return;
	memcpy(name, node->name, n);
	name[n] = '\0';
	node->outer = node_find(d, name);
}

static void syntax_find(const struct describer *d)
{
	for (size_t i = 0; i < d->n; i++) {
		const ProtobufCMessageDescriptor *message = d->nodes[i]->message;

		if (!message || !message_is_proto3(message))
			continue;
		node_outermost(d->nodes[i])->proto3 = true;
		for (unsigned f = 0; f < message->n_fields; f++)
			if (message->fields[f].type == PROTOBUF_C_TYPE_ENUM) {
				const ProtobufCEnumDescriptor *used = message->fields[f].descriptor;
				struct node *node = node_find(d, used->name);

				/* proto3 uses none but its own enums. */
				if (node)
					node_outermost(node)->proto3 = true;
			}
	}
}

static int places_find(struct describer *d)
{
	int r = 0;

	twins_drop(d);
	for (size_t i = 0; i < d->n && r == 0; i++)
		r = outer_add(d, d->nodes[i]);
	qsort(d->nodes, d->n, sizeof(*d->nodes), node_compare);
	for (size_t i = 0; i < d->n; i++)
		outer_link(d, d->nodes[i]);
	if (r == 0)
		syntax_find(d);
	return r;
}

/* ---- files ---- */

/* Protobuf-c's arrays of pointers, which all look alike. */
static int list_add(struct describer *d, void *items, size_t *n, void *item)
{
	void **grown, **now;

	memcpy(&now, items, sizeof(now));
	if ((*n & (*n - 1)) == 0) { /* full at every power of two */
		grown = describer_take(d, *n ? *n * 2 : 1, sizeof(*grown));
		if (!grown)
			return describer_no_memory(d);
		if (*n)
			memcpy(grown, now, *n * sizeof(*grown));
		memcpy(items, &grown, sizeof(grown));
		now = grown;
	}
	now[(*n)++] = item;
	return 0;
}

static int file_find(struct describer *d, Google__Protobuf__FileDescriptorSet *set, const char *package, bool proto3,
		     Google__Protobuf__FileDescriptorProto **ret)
{
	Google__Protobuf__FileDescriptorProto *file;
	int r;

	for (size_t i = 0; i < set->n_file; i++)
		if (strcmp(set->file[i]->package, package) == 0 && (strcmp(set->file[i]->syntax, "proto3") == 0) == proto3) {
			*ret = set->file[i];
			return 0;
		}
	file = describer_take(d, 1, sizeof(*file));
	if (!file)
		return describer_no_memory(d);
	google__protobuf__file_descriptor_proto__init(file);
	file->package = describer_lend(package);
	file->syntax = describer_lend(proto3 ? "proto3" : "proto2");
	r = describer_print(d, &file->name, "%s%s%s.proto", package, *package ? "." : "", file->syntax);
	*ret = file;
	return r == 0 ? list_add(d, &set->file, &set->n_file, file) : r;
}

static int node_place(struct describer *d, Google__Protobuf__FileDescriptorSet *set, struct node *node)
{
	Google__Protobuf__FileDescriptorProto *file = NULL;
	Google__Protobuf__EnumDescriptorProto *enumeration = NULL;
	Google__Protobuf__DescriptorProto *outer = node->outer ? node->outer->proto : NULL;
	int r = file_find(d, set, node->package, node_outermost(node)->proto3, &file);

	if (r < 0)
		return r;
	if (!node->enumeration)
		return outer ? list_add(d, &outer->nested_type, &outer->n_nested_type, node->proto) :
			       list_add(d, &file->message_type, &file->n_message_type, node->proto);
	r = enum_describe(d, node->enumeration, &enumeration);
	if (r < 0)
		return r;
	return outer ? list_add(d, &outer->enum_type, &outer->n_enum_type, enumeration) :
		       list_add(d, &file->enum_type, &file->n_enum_type, enumeration);
}

/* @user refers to @used: if they are in two files, note the import. */
static int dependency_add(struct describer *d, Google__Protobuf__FileDescriptorSet *set, struct node *user, const char *used)
{
	struct node *node = node_find(d, used);
	Google__Protobuf__FileDescriptorProto *from = NULL, *to = NULL;
	int r;

	if (!node)
		return 0;
	r = file_find(d, set, user->package, node_outermost(user)->proto3, &from);
	if (r == 0)
		r = file_find(d, set, node->package, node_outermost(node)->proto3, &to);
	if (r < 0 || from == to)
		return r;
	for (size_t i = 0; i < from->n_dependency; i++)
		if (from->dependency[i] == to->name)
			return 0;
	return list_add(d, &from->dependency, &from->n_dependency, to->name);
}

static int dependencies_add(struct describer *d, Google__Protobuf__FileDescriptorSet *set, struct node *node)
{
	const ProtobufCMessageDescriptor *message = node->message;
	int r = 0;

	for (unsigned f = 0; message && f < message->n_fields && r == 0; f++) {
		const ProtobufCFieldDescriptor *field = &message->fields[f];

		if (field->type == PROTOBUF_C_TYPE_MESSAGE)
			r = dependency_add(d, set, node, ((const ProtobufCMessageDescriptor *)field->descriptor)->name);
		else if (field->type == PROTOBUF_C_TYPE_ENUM)
			r = dependency_add(d, set, node, ((const ProtobufCEnumDescriptor *)field->descriptor)->name);
	}
	return r;
}

static int set_describe(struct describer *d, Google__Protobuf__FileDescriptorSet *set)
{
	int r = 0;

	for (size_t i = 0; i < d->n && r == 0; i++)
		if (!d->nodes[i]->enumeration)
			r = node_describe_message(d, d->nodes[i]);
	for (size_t i = 0; i < d->n && r == 0; i++)
		r = node_place(d, set, d->nodes[i]);
	for (size_t i = 0; i < d->n && r == 0; i++)
		r = dependencies_add(d, set, d->nodes[i]);
	return r;
}

static int set_pack(const Google__Protobuf__FileDescriptorSet *set, size_t max_bytes, uint8_t **ret_data,
		    size_t *ret_size_bytes, struct why *why)
{
	size_t size = protobuf_c_message_get_packed_size(&set->base);
	uint8_t *data;

	if (size > max_bytes)
		return why_set(why, -EMSGSIZE, "describing the types takes %zu bytes, over the limit of %zu", size, max_bytes);
	data = malloc(size + 1);
	if (!data)
		return why_errno(why, -ENOMEM, "describing the types");
	protobuf_c_message_pack(&set->base, data);
	*ret_data = data;
	*ret_size_bytes = size;
	return 0;
}

int schema_describe(const ProtobufCMessageDescriptor *const *roots, size_t n_roots, size_t max_bytes, uint8_t **ret_data,
		    size_t *ret_size_bytes, struct why *why)
{
	Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
	struct describer d = { .why = why };
	int r;

	sf_arena_init(&d.arena);
	sf_arena_reset(&d.arena, SCHEMA_MEMORY(max_bytes < SCHEMA_INPUT_BYTES ? max_bytes : SCHEMA_INPUT_BYTES));
	r = types_meet(&d, roots, n_roots);
	if (r == 0)
		r = places_find(&d);
	if (r == 0)
		r = set_describe(&d, &set);
	if (r == 0)
		r = set_pack(&set, max_bytes, ret_data, ret_size_bytes, why);
	sf_arena_done(&d.arena);
	return r;
}
