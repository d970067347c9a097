/* SPDX-License-Identifier: MIT */
/* What a process prints: its last lines, and text that may be shown on a terminal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define LINES_MAX 12u
#define LINE_BYTES 240u

/* The last lines, the oldest first from @first. */
struct lines {
	char text[LINES_MAX][LINE_BYTES];
	unsigned first, n;
};

/** lines_put() - Add one; beyond LINES_MAX the oldest is forgotten. @line: cut at LINE_BYTES - 1. */
void lines_put(struct lines *lines, const char *line);

/** lines_list() - Point @ret_list, which has room for LINES_MAX, at the lines, the oldest first. They stay @lines'. Return: how
 * many. The pointers are not const as protobuf-c's are not; packing does not write to them. */
size_t lines_list(const struct lines *lines, char **ret_list);

/** tame() - What a service prints must not drive the operator's terminal, nor break the UTF-8 of a message. Return: @c, or '?'
 * in the place of what could. */
char tame(char c);

/** tame_text() - The same for a whole text, in place. */
void tame_text(char *text);
