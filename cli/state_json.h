/* SPDX-License-Identifier: MIT */
/* Records as JSON, written as they are read: nothing but a record's own bytes is in memory.
 *
 * protobuf's JSON mapping, with the names of the .proto file: 64-bit integers are strings, bytes are base64, enums are names,
 * maps are objects; what is absent, or has its default and no presence, is not there. Fields that the types do not know are
 * in a member "@unknown". Text that is not UTF-8 has U+FFFD where it is not. The output is ASCII.
 */
#pragma once

#include "statefmt/dynamic.h"

#include <stdio.h>

/** json_message() - A message that passed dyn_check(), as one object. */
void json_message(FILE *out, const struct schema_message *message, const uint8_t *data, size_t size_bytes);

/** json_field() - The value of one field alone. */
void json_field(FILE *out, const struct dyn_field *field);

/** json_text() - A string, quoted. */
void json_text(FILE *out, const uint8_t *data, size_t size_bytes);
void json_name(FILE *out, const char *text);

/** json_base64() - Bytes, quoted. */
void json_base64(FILE *out, const uint8_t *data, size_t size_bytes);
