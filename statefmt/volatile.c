/* SPDX-License-Identifier: MIT */
/*
 * A message type is looked at once, when the first record of it, or of one that holds it, comes: with all the types that it may
 * hold, so that records without such a field are not copied at all. In others, what is left of a nested message is written where it
 * stood and its length before it, which can only become shorter.
 */
#include "statefmt/volatile.h"

#include "statefmt/fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 100u /* messages in each other that are looked into; what is deeper stays as it is */

struct known {
	const ProtobufCMessageDescriptor *descriptor;
	bool *leave_out; /* by place in descriptor->fields; NULL: none of its own */
	bool touched;    /* it may hold such a field, itself or further in */
};

struct sf_volatile {
	const char *const *names;
	struct known *types;
	size_t n, cap;
	uint8_t *left; /* of the record in hand */
	size_t room;
	bool broken; /* memory was out: what is known is not all */
};

int sf_volatile_new(const char *const *names, struct sf_volatile **ret_volatile)
{
	struct sf_volatile *fields = calloc(1, sizeof(*fields));

	if (!fields)
		return -ENOMEM;
	fields->names = names && *names ? names : NULL;
	*ret_volatile = fields;
	return 0;
}

struct sf_volatile *sf_volatile_free(struct sf_volatile *fields)
{
	if (!fields)
		return NULL;
	for (size_t i = 0; i < fields->n; i++)
		free(fields->types[i].leave_out);
	free(fields->types);
	free(fields->left);
	free(fields);
	return NULL;
}

/* ---- which fields ---- */

/* "pkg.Message.field" */
static bool names_field(const char *name, const ProtobufCMessageDescriptor *descriptor, const ProtobufCFieldDescriptor *field)
{
	size_t length = strlen(descriptor->name);

	return strncmp(name, descriptor->name, length) == 0 && name[length] == '.' && strcmp(name + length + 1, field->name) == 0;
}

static bool is_listed(const struct sf_volatile *fields, const ProtobufCMessageDescriptor *descriptor,
		      const ProtobufCFieldDescriptor *field)
{
	for (const char *const *name = fields->names; *name; name++)
		if (names_field(*name, descriptor, field))
			return true;
	return false;
}

static const ProtobufCMessageDescriptor *inner_type(const ProtobufCFieldDescriptor *field)
{
	return field->type == PROTOBUF_C_TYPE_MESSAGE ? field->descriptor : NULL;
}

static struct known *find(const struct sf_volatile *fields, const ProtobufCMessageDescriptor *descriptor)
{
	for (size_t i = 0; i < fields->n; i++)
		if (fields->types[i].descriptor == descriptor)
			return &fields->types[i];
	return NULL;
}

static int note(struct sf_volatile *fields, const ProtobufCMessageDescriptor *descriptor)
{
	struct known *known;

	if (find(fields, descriptor))
		return 0;
	if (fields->n == fields->cap) {
		size_t cap = fields->cap ? 2 * fields->cap : 16;
		struct known *grown = reallocarray(fields->types, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		fields->types = grown;
		fields->cap = cap;
	}
	known = &fields->types[fields->n++];
	*known = (struct known){ .descriptor = descriptor };
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		if (!is_listed(fields, descriptor, &descriptor->fields[i]))
			continue;
		if (!known->leave_out && !(known->leave_out = calloc(descriptor->n_fields, sizeof(bool))))
			return -ENOMEM;
		known->leave_out[i] = known->touched = true;
	}
	return 0;
}

/* Who may hold one that is touched is touched. */
static bool spread(const struct sf_volatile *fields, struct known *known)
{
	for (unsigned i = 0; !known->touched && i < known->descriptor->n_fields; i++) {
		const ProtobufCMessageDescriptor *inner = inner_type(&known->descriptor->fields[i]);
		const struct known *holds = inner ? find(fields, inner) : NULL;

		known->touched = holds && holds->touched;
		if (known->touched)
			return true;
	}
	return false;
}

/* Note @descriptor and all that it may hold. They come into the list one after the other, so it is its own list of work. */
static int learn(struct sf_volatile *fields, const ProtobufCMessageDescriptor *descriptor)
{
	size_t first = fields->n;
	bool more = true;
	int r = note(fields, descriptor);

	for (size_t i = first; r == 0 && i < fields->n; i++) {
		const ProtobufCMessageDescriptor *type = fields->types[i].descriptor;

		for (unsigned j = 0; r == 0 && j < type->n_fields; j++)
			if (inner_type(&type->fields[j]))
				r = note(fields, inner_type(&type->fields[j]));
	}
	while (r == 0 && more) {
		more = false;
		for (size_t i = first; i < fields->n; i++)
			more |= spread(fields, &fields->types[i]);
	}
	return r;
}

static bool type_names(struct sf_volatile *seen, const char *name)
{
	for (size_t i = 0; i < seen->n; i++) {
		const ProtobufCMessageDescriptor *type = seen->types[i].descriptor;

		for (unsigned j = 0; j < type->n_fields; j++)
			if (names_field(name, type, &type->fields[j]))
				return true;
	}
	return false;
}

bool sf_volatile_names(const ProtobufCMessageDescriptor *descriptor, const char *name)
{
	static const char *const none[] = { NULL };
	struct sf_volatile seen = { .names = none };
	/* Without memory nobody can say that it is wrong. */
	bool found = learn(&seen, descriptor) < 0 || type_names(&seen, name);

	free(seen.types);
	return found;
}

/* ---- without them ---- */

static uint8_t *put(uint8_t *to, const uint8_t *data, const uint8_t *end)
{
	memmove(to, data, (size_t)(end - data));
	return to + (end - data);
}

static uint8_t *put_varint(uint8_t *to, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*to++ = (uint8_t)(value | 0x80);
	*to++ = (uint8_t)value;
	return to;
}

static uint8_t *strip(const struct sf_volatile *fields, const struct known *known, unsigned depth, const uint8_t *at,
		      const uint8_t *end, uint8_t *to);

/* What is left of a nested message is written where it ends up if its length keeps its width, and then moved to where its length
 * really ends. */
static uint8_t *strip_inner(const struct sf_volatile *fields, const struct known *inner, unsigned depth,
			    const struct field_bytes *bytes, uint8_t *to)
{
	const uint8_t *length = bytes->start;
	uint8_t *far, *near;
	uint64_t tag;
	size_t left;

	(void)fields_varint(&length, bytes->end, 10, &tag);
	to = put(to, bytes->start, length);
	far = to + (bytes->data - length);
	left = (size_t)(strip(fields, inner, depth + 1, bytes->data, bytes->end, far) - far);
	near = put_varint(to, left);
	return put(near, far, far + left);
}

/* @to has room for as many bytes as there are. Return: behind what is left. */
static uint8_t *strip(const struct sf_volatile *fields, const struct known *known, unsigned depth, const uint8_t *at,
		      const uint8_t *end, uint8_t *to)
{
	while (at < end) {
		const uint8_t *rest = at;
		const ProtobufCFieldDescriptor *field;
		const struct known *inner = NULL;
		struct field_bytes bytes;

		if (!fields_next(&at, end, &bytes))
			return put(to, rest, end);
		field = protobuf_c_message_descriptor_get_field(known->descriptor, bytes.number);
		if (field && known->leave_out && known->leave_out[field - known->descriptor->fields])
			continue;
		if (field && inner_type(field) && bytes.wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED && depth < DEPTH_MAX)
			inner = find(fields, inner_type(field));
		if (inner && inner->touched)
			to = strip_inner(fields, inner, depth, &bytes, to);
		else
			to = put(to, bytes.start, bytes.end);
	}
	return to;
}

int sf_volatile_strip(struct sf_volatile *fields, const ProtobufCMessageDescriptor *descriptor, const uint8_t **data,
		      size_t *size_bytes)
{
	const struct known *known;

	if (!fields->names || !descriptor || !*size_bytes)
		return 0;
	if (!find(fields, descriptor))
		fields->broken |= learn(fields, descriptor) < 0;
	if (fields->broken)
		return -ENOMEM;
	known = find(fields, descriptor);
	if (!known || !known->touched)
		return 0;
	if (*size_bytes > fields->room) {
		uint8_t *grown = realloc(fields->left, *size_bytes);

		if (!grown)
			return -ENOMEM;
		fields->left = grown;
		fields->room = *size_bytes;
	}
	*size_bytes = (size_t)(strip(fields, known, 0, *data, *data + *size_bytes, fields->left) - fields->left);
	*data = fields->left;
	return 0;
}
