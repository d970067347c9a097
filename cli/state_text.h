/* SPDX-License-Identifier: MIT */
/* Records as protobuf's text format. */
#pragma once

#include "cli/term.h"
#include "statefmt/dynamic.h"

/** text_message() - Print the fields of a message that passed dyn_check(), a line each, in their order there. */
void text_message(const struct term *out, const struct schema_message *message, const uint8_t *data, size_t size_bytes,
		  unsigned indent);

/** text_field() - Print a field on one line, without its end: `key: "abc"`; a message as `name { ... }`. */
void text_field(const struct term *out, const struct dyn_field *field);
