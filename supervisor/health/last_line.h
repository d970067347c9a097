/* SPDX-License-Identifier: MIT */
/* The last line of an output of which nothing else is kept. */
#pragma once

#include <stddef.h>

#define LAST_LINE_BYTES 120u

struct last_line {
	char text[LAST_LINE_BYTES];    /* the last complete line that is not blank */
	char partial[LAST_LINE_BYTES]; /* what follows it */
	size_t n_partial;
};

/** last_line_put() - Take the next bytes of the output. They are tamed (base/text.h), and tabs become blanks. */
void last_line_put(struct last_line *line, const char *data, size_t size_bytes);

/** last_line_get() - Return: the last line that is not blank, complete or not; "" if there is none. */
const char *last_line_get(struct last_line *line);
