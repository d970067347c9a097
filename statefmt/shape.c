/* SPDX-License-Identifier: MIT */
/* Walks over message types, which may contain themselves. */
#include "statefmt/shape.h"

const ProtobufCMessageDescriptor *sf_field_message(const ProtobufCFieldDescriptor *field)
{
	return field->type == PROTOBUF_C_TYPE_MESSAGE ? field->descriptor : NULL;
}

/* Find the slot that holds @descriptor, or the empty one where it belongs. The table is never more than half full. */
static size_t slot_find(const struct sf_shape *shape, const ProtobufCMessageDescriptor *descriptor)
{
	size_t at = (size_t)((uintptr_t)descriptor / sizeof(void *) * 0x9e3779b1u) % SF_SHAPE_SLOTS;

	while (shape->slots[at] && shape->types[shape->slots[at] - 1] != descriptor)
		at = (at + 1) % SF_SHAPE_SLOTS;
	return at;
}

static void shape_add(struct sf_shape *shape, const ProtobufCMessageDescriptor *descriptor)
{
	size_t slot = slot_find(shape, descriptor);

	if (shape->slots[slot] || shape->n == SF_SHAPE_TYPES)
		return;
	shape->types[shape->n++] = descriptor;
	shape->slots[slot] = (uint16_t)shape->n;
}

void sf_shape_init(struct sf_shape *shape, const ProtobufCMessageDescriptor *descriptor)
{
	*shape = (struct sf_shape){ .n = 0 };
	shape_add(shape, descriptor);
	for (size_t i = 0; i < shape->n; i++) {
		for (unsigned f = 0; f < shape->types[i]->n_fields; f++) {
			const ProtobufCMessageDescriptor *sub = sf_field_message(&shape->types[i]->fields[f]);

			if (sub)
				shape_add(shape, sub);
		}
	}
}

size_t sf_shape_find(const struct sf_shape *shape, const ProtobufCMessageDescriptor *descriptor)
{
	size_t slot = slot_find(shape, descriptor);

	return shape->slots[slot] ? shape->slots[slot] - 1u : shape->n;
}

/* Are all messages that @type contains known to be finite? */
static bool is_finite(const struct sf_shape *shape, const bool *finite, const ProtobufCMessageDescriptor *type)
{
	for (unsigned f = 0; f < type->n_fields; f++) {
		const ProtobufCMessageDescriptor *sub = sf_field_message(&type->fields[f]);

		if (sub && !finite[sf_shape_find(shape, sub)])
			return false;
	}
	return true;
}

bool sf_is_recursive(const ProtobufCMessageDescriptor *descriptor)
{
	bool finite[SF_SHAPE_TYPES + 1] = { false }; /* the last one: types beyond the limit, taken for the worst */
	struct sf_shape shape;
	bool progress = true;

	sf_shape_init(&shape, descriptor);
	while (progress) {
		progress = false;
		for (size_t i = 0; i < shape.n; i++) {
			if (!finite[i] && is_finite(&shape, finite, shape.types[i])) {
				finite[i] = true;
				progress = true;
			}
		}
	}
	return !finite[0];
}
