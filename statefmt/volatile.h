/* SPDX-License-Identifier: MIT */
/* Fields that change by themselves, such as clocks: what compares records leaves them out. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sf_volatile;

/**
 * sf_volatile_new() - Note which fields they are.
 * @names: full names of fields, "pkg.Message.field", up to a NULL; borrowed as long as the result lives. NULL: none.
 *
 * Return: 0 or -ENOMEM.
 */
int sf_volatile_new(const char *const *names, struct sf_volatile **ret_volatile);
struct sf_volatile *sf_volatile_free(struct sf_volatile *fields); /* NULL allowed; returns NULL */

/** sf_volatile_names() - Is @name one of a field of @descriptor, or of a message that it holds? */
bool sf_volatile_names(const ProtobufCMessageDescriptor *descriptor, const char *name);

/**
 * sf_volatile_strip() - Leave such fields out of a packed message, and of all messages in it.
 * @descriptor: of the message; NULL: it stays as it is.
 * @data, @size_bytes: the message; replaced by what is left of it, which lives until the next call. Bytes that are no fields stay.
 *
 * Return: 0 or -ENOMEM.
 */
int sf_volatile_strip(struct sf_volatile *fields, const ProtobufCMessageDescriptor *descriptor, const uint8_t **data,
		      size_t *size_bytes);
