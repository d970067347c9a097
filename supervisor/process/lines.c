/* SPDX-License-Identifier: MIT */
#include "supervisor/process/lines.h"

#include <stdint.h>
#include <stdio.h>

void lines_put(struct lines *lines, const char *line)
{
	unsigned slot = (lines->first + lines->n) % LINES_MAX;

	snprintf(lines->text[slot], LINE_BYTES, "%s", line);
	if (lines->n < LINES_MAX)
		lines->n++;
	else
		lines->first = (lines->first + 1) % LINES_MAX;
}

size_t lines_list(const struct lines *lines, char **ret_list)
{
	for (unsigned i = 0; i < lines->n; i++)
		ret_list[i] = (char *)(uintptr_t)lines->text[(lines->first + i) % LINES_MAX];
	return lines->n;
}

char tame(char c)
{
	return c == '\t' || (c >= 0x20 && c < 0x7f) ? c : '?';
}

void tame_text(char *text)
{
	for (; *text; text++)
		*text = tame(*text);
}
