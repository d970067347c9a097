/* SPDX-License-Identifier: MIT */
/* Internal to the room and to those who print its records: numbers with a fraction as text. */
#pragma once

#include <stdbool.h>

#define SF_REAL_BYTES 40u

/** sf_real_text() - The shortest decimal that reads back as @value, with a point whatever the locale; "inf", "-inf", "nan".
 * @is_float: it is a float's value. Return: @text. */
const char *sf_real_text(char text[SF_REAL_BYTES], double value, bool is_float);
