/* SPDX-License-Identifier: MIT */
#include "supervisor/health/last_line.h"

#include "base/text.h"

#include <stdbool.h>
#include <string.h>

static void line_complete(struct last_line *line)
{
	size_t size = text_whole(line->partial, line->n_partial);

	while (size && line->partial[size - 1] == ' ')
		size--;
	line->n_partial = 0;
	if (!size)
		return;
	text_tame(line->partial, size);
	memcpy(line->text, line->partial, size);
	line->text[size] = 0;
}

void last_line_put(struct last_line *line, const char *data, size_t size_bytes)
{
	for (size_t i = 0; i < size_bytes; i++) {
		bool is_blank = data[i] == '\t' || data[i] == '\r';

		if (data[i] == '\n')
			line_complete(line);
		else if (line->n_partial < sizeof(line->partial) - 1)
			line->partial[line->n_partial++] = is_blank ? ' ' : data[i];
	}
}

const char *last_line_get(struct last_line *line)
{
	line_complete(line);
	return line->text;
}
