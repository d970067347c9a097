/* SPDX-License-Identifier: MIT */
#include "cli/json.h"

#include "cli/term.h"

#include <string.h>

static void point_escape(FILE *out, uint32_t point)
{
	if (point > 0xffff) {
		fprintf(out, "\\u%04x", 0xd800 + ((point - 0x10000) >> 10));
		point = 0xdc00 + ((point - 0x10000) & 0x3ff);
	}
	fprintf(out, "\\u%04x", point);
}

void json_text(FILE *out, const uint8_t *data, size_t size_bytes)
{
	size_t at = 0;

	fputc('"', out);
	while (at < size_bytes) {
		size_t n = 0;
		uint32_t point = 0xfffd;

		while (at + n < size_bytes && data[at + n] >= 0x20 && data[at + n] < 0x7f && data[at + n] != '"' &&
		       data[at + n] != '\\')
			n++;
		fwrite(data + at, 1, n, out);
		at += n;
		if (at == size_bytes)
			break;
		n = term_point(data + at, size_bytes - at, &point);
		if (n == 1 && (point == '"' || point == '\\'))
			fprintf(out, "\\%c", (int)point);
		else
			point_escape(out, n ? point : 0xfffd);
		at += n ? n : 1;
	}
	fputc('"', out);
}

void json_name(FILE *out, const char *text)
{
	json_text(out, (const uint8_t *)text, strlen(text));
}

void json_base64(FILE *out, const uint8_t *data, size_t size_bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	fputc('"', out);
	for (size_t at = 0; at < size_bytes; at += 3) {
		size_t left = size_bytes - at;
		uint32_t three = (uint32_t)data[at] << 16 | (left > 1 ? (uint32_t)data[at + 1] << 8 : 0) |
				 (left > 2 ? data[at + 2] : 0u);
		char four[4] = { digits[three >> 18], digits[three >> 12 & 63], left > 1 ? digits[three >> 6 & 63] : '=',
				 left > 2 ? digits[three & 63] : '=' };

		fwrite(four, 1, sizeof(four), out);
	}
	fputc('"', out);
}
