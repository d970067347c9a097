/* SPDX-License-Identifier: MIT */
/* Text that came from somebody else, made fit to be shown: it must neither drive a terminal nor break the UTF-8 that it stands
 * in. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * text_tame() - Put '?' in the place of each byte that is not shown as it is.
 *
 * Kept are tabs and every character of valid UTF-8, except those that act on a terminal or reorder what stands beside them: control
 * characters (C0, DEL, C1), line and paragraph separators, and the directional embeddings, overrides and isolates.
 */
void text_tame(char *text, size_t size);

/** text_is_tame() - Would text_tame() leave @text, up to its NUL, as it is? */
bool text_is_tame(const char *text);

/** text_count() - @count with commas: "1,025". @buf: 28 bytes have room for any. Return: @buf. */
const char *text_count(char *buf, size_t size, uint64_t count);

/** text_whole() - Return: @size without the character that is cut off at the end of @text, if there is one. */
size_t text_whole(const char *text, size_t size);
