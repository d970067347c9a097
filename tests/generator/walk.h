/* SPDX-License-Identifier: MIT */
/* Generated migrations, taken as in a real roll: the record is packed, unpacked by a plan, walked, and packed again. */
#pragma once

#include "base/why.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct packed {
	uint8_t *data;
	size_t size_bytes;
};

/** packed_of() - Owned by the caller: free() its data. */
struct packed packed_of(const ProtobufCMessage *message);

/** walk_bytes() - A record of @type at version @from, at version @to. Return: 0 or -errno. */
int walk_bytes(const char *type, struct packed record, uint32_t from, uint32_t to, struct packed *ret_record, struct why *why);

/** walk() - A message at another version, or NULL; owned by the caller: walk_free(). */
void *walk(const char *type, const ProtobufCMessage *message, uint32_t from, uint32_t to, struct why *why);
void walk_free(void *message);
