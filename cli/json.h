/* SPDX-License-Identifier: MIT */
/* Strings of JSON, written piece by piece. The output is ASCII. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** json_text() - Write text, quoted. What is not UTF-8 in it becomes U+FFFD. */
void json_text(FILE *out, const uint8_t *data, size_t size_bytes);

/** json_name() - json_text() of a string. */
void json_name(FILE *out, const char *text);

/** json_base64() - Write bytes as base64, quoted. */
void json_base64(FILE *out, const uint8_t *data, size_t size_bytes);
