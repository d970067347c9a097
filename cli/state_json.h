/* SPDX-License-Identifier: MIT */
/* Records as JSON, written as they are read: nothing but a record's own bytes is in memory.
 *
 * This is protobuf's JSON mapping, with the names of the .proto file: 64-bit integers are strings, bytes are base64, enums are
 * names, maps are objects. A field is left out if it is absent, or if it has no presence and its default value. Fields that the
 * types do not know are in a member "@unknown".
 */
#pragma once

#include "statefmt/dynamic.h"

#include <stdio.h>

/** json_message() - Write a message that passed dyn_check(), as one object. */
void json_message(FILE *out, const struct schema_message *message, const uint8_t *data, size_t size_bytes);

/** json_field() - Write the value of one field, without its name. */
void json_field(FILE *out, const struct dyn_field *field);
