/* SPDX-License-Identifier: MIT */
/* A record on one line, for messages, by the C struct's descriptor. upgradectl prints records by the types that a file carries. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/**
 * sf_text_print() - Print the fields as protobuf's text format: `key: "abc" usage { hits: 7 }`. Enum values go by name, fields that
 * @descriptor does not know by their number. Bytes that are no field, as where a record was cut off, end it with "...".
 * @descriptor: NULL: nothing is known by name.
 */
void sf_text_print(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size_bytes, FILE *out);
