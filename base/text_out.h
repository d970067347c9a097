/* SPDX-License-Identifier: MIT */
/* Text that grows as it is written. Memory that runs out is told once, at the end: nobody gets half of it.
 *
 * open_memstream(3) is no such thing: when it cannot grow, what is missing is told by each write alone, and when its last
 * realloc(3) fails, fclose(3) succeeds and there is no text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Zeroed is empty. */
struct text_out {
	char *text;
	size_t size_bytes, room_bytes;
	bool failed;
};

/** text_out_put() - Add the bytes of @text up to its NUL. */
void text_out_put(struct text_out *out, const char *text);
/** text_out_char() - Add one character. */
void text_out_char(struct text_out *out, char c);
/** text_out_print() - Add what printf() would print. */
void text_out_print(struct text_out *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * text_out_take() - The end: @out is empty after it, in any case.
 * @ret_text:       the caller's, to be released with free(); NUL-terminated. Written only on success.
 * @ret_size_bytes: without the NUL; NULL: not wanted.
 *
 * Return: 0; -ENOMEM: some of it found no memory.
 */
int text_out_take(struct text_out *out, char **ret_text, size_t *ret_size_bytes);

/** text_out_drop() - The end of a text that nobody wants. */
void text_out_drop(struct text_out *out);
