/* SPDX-License-Identifier: MIT */
/* Numbers with a fraction as text. Internal to the room, and for cli, which prints records. */
#pragma once

#include <stdbool.h>

#define SF_REAL_BYTES 40u

/** sf_real_text() - Write the shortest decimal that reads back as @value, with a point whatever the locale; "inf", "-inf", "nan".
 * @is_float: it is a float's value. Return: @text. */
const char *sf_real_text(char text[SF_REAL_BYTES], double value, bool is_float);
