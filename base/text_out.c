/* SPDX-License-Identifier: MIT */
#include "base/text_out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES 128u

/* Room for @size_bytes more, and a NUL behind them. Return: where they go; NULL: there is none. */
static char *room_for(struct text_out *out, size_t size_bytes)
{
	size_t wanted = out->size_bytes + size_bytes + 1, room = out->room_bytes ? out->room_bytes : FIRST_BYTES;
	char *grown;

	if (out->failed)
		return NULL;
	while (room < wanted)
		room *= 2;
	if (room > out->room_bytes) {
		grown = realloc(out->text, room);
		if (!grown) {
			out->failed = true;
			return NULL;
		}
		out->text = grown;
		out->room_bytes = room;
	}
	return out->text + out->size_bytes;
}

static void put_bytes(struct text_out *out, const char *bytes, size_t size_bytes)
{
	char *to = room_for(out, size_bytes);

	if (!to)
		return;
	memcpy(to, bytes, size_bytes);
	to[size_bytes] = '\0';
	out->size_bytes += size_bytes;
}

void text_out_put(struct text_out *out, const char *text)
{
	put_bytes(out, text, strlen(text));
}

void text_out_char(struct text_out *out, char c)
{
	put_bytes(out, &c, 1);
}

void text_out_print(struct text_out *out, const char *fmt, ...)
{
	va_list args, again;
	char *to;
	int n;

	va_start(args, fmt);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, args);
	to = n < 0 ? NULL : room_for(out, (size_t)n);
	if (to && vsnprintf(to, (size_t)n + 1, fmt, again) == n)
		out->size_bytes += (size_t)n;
	else
		out->failed = true;
	va_end(again);
	va_end(args);
}

void text_out_drop(struct text_out *out)
{
	free(out->text);
	*out = (struct text_out){ 0 };
}

int text_out_take(struct text_out *out, char **ret_text, size_t *ret_size_bytes)
{
	/* Also nothing at all is a text. */
	if (!room_for(out, 0)) {
		text_out_drop(out);
		return -ENOMEM;
	}
	out->text[out->size_bytes] = '\0';
	*ret_text = out->text;
	if (ret_size_bytes)
		*ret_size_bytes = out->size_bytes;
	*out = (struct text_out){ 0 };
	return 0;
}
