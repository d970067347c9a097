/* SPDX-License-Identifier: MIT */
#include "supervisor/process/lines.h"

#include "base/text.h"

#include <stdint.h>
#include <string.h>

void lines_put(struct lines *lines, const char *line, size_t size)
{
	unsigned slot = (lines->first + lines->n) % LINES_MAX;

	if (size > LINE_BYTES - 1)
		size = text_whole(line, LINE_BYTES - 1);
	memcpy(lines->text[slot], line, size);
	lines->text[slot][size] = 0;
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
