/* SPDX-License-Identifier: MIT */
/* The last line of an output of which nothing else is kept, and the pipe through which a program says it. */
#pragma once

#include "base/loop.h"

#include <stddef.h>

struct why;

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

/* What a program prints, while it runs. */
struct last_line_pipe {
	int fd; /* -1: closed */
	struct source source;
	struct last_line line;
};

/** last_line_open() - Begin to read what is printed; what was said before is forgotten. @pipe: zeroed or closed. @ret_theirs: the
 * end to write to, owned by the caller. Return: 0 or -errno; then it is closed. */
int last_line_open(struct last_line_pipe *pipe, struct loop *loop, int *ret_theirs, struct why *why);

/** last_line_finish() - The program has ended: read what it has printed, which is bounded, and close. What it said stays. */
void last_line_finish(struct last_line_pipe *pipe);
