/* SPDX-License-Identifier: MIT */
#include "supervisor/health/last_line.h"

#include <ctype.h>
#include <string.h>

static void line_complete(struct last_line *line)
{
	while (line->n_partial && line->partial[line->n_partial - 1] == ' ')
		line->n_partial--;
	line->partial[line->n_partial] = 0;
	if (line->n_partial)
		memcpy(line->text, line->partial, line->n_partial + 1);
	line->n_partial = 0;
}

void last_line_put(struct last_line *line, const char *data, size_t size_bytes)
{
	for (size_t i = 0; i < size_bytes; i++) {
		char c = data[i];

		if (c == '\n') {
			line_complete(line);
			continue;
		}
		/* What a check says must not drive the operator's terminal, nor break a message's UTF-8. */
		if (c == '\t' || c == '\r')
			c = ' ';
		else if (!isprint((unsigned char)c) || (unsigned char)c >= 0x7f)
			c = '?';
		if (line->n_partial < sizeof(line->partial) - 1)
			line->partial[line->n_partial++] = c;
	}
}

const char *last_line_get(struct last_line *line)
{
	line_complete(line);
	return line->text;
}
