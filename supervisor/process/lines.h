/* SPDX-License-Identifier: MIT */
/* The last lines that a process printed. */
#pragma once

#include <stddef.h>

#define LINES_MAX 12u
#define LINE_BYTES 240u

/* The last lines, the oldest first from @first. */
struct lines {
	char text[LINES_MAX][LINE_BYTES];
	unsigned first, n;
};

/** lines_put() - Add one; beyond LINES_MAX the oldest is forgotten. @line: tame; cut at LINE_BYTES - 1, between characters. */
void lines_put(struct lines *lines, const char *line, size_t size);

/** lines_list() - Point @ret_list, which has room for LINES_MAX, at the lines, the oldest first. They stay @lines'. Return: how
 * many. The pointers are not const as protobuf-c's are not; packing does not write to them. */
size_t lines_list(const struct lines *lines, char **ret_list);
