/* SPDX-License-Identifier: MIT */
/* Internal to the room: what a message type is made of, and how deep a record of it may reach. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SF_SHAPE_TYPES 512u                 /* message types reachable from one; what lies beyond is not looked at */
#define SF_SHAPE_SLOTS (2u * SF_SHAPE_TYPES)

/* Every message type reachable from the first, each once, breadth first. */
struct sf_shape {
	const ProtobufCMessageDescriptor *types[SF_SHAPE_TYPES];
	size_t n;
	uint16_t slots[SF_SHAPE_SLOTS]; /* hash of the pointer -> 1 + index; 0: empty */
};

void sf_shape_init(struct sf_shape *shape, const ProtobufCMessageDescriptor *descriptor);

/** sf_shape_find() - Return: the index of @descriptor, or @shape->n if it was beyond the limit. */
size_t sf_shape_find(const struct sf_shape *shape, const ProtobufCMessageDescriptor *descriptor);

/** sf_field_message() - Return: the type of a message field; NULL: the field is none. */
const ProtobufCMessageDescriptor *sf_field_message(const ProtobufCFieldDescriptor *field);

/** sf_is_recursive() - May messages of this type hold one another to any depth? */
bool sf_is_recursive(const ProtobufCMessageDescriptor *descriptor);

/** sf_depth_check() - Does a packed message nest no deeper than SF_DEPTH_MAX? False also for a malformed one. */
bool sf_depth_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size_bytes);
