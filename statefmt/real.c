/* SPDX-License-Identifier: MIT */
#include "statefmt/real.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* printf and strtod obey the locale, whose point may be a comma or have several bytes. */
static void point_put(char *text)
{
	const char *point = localeconv()->decimal_point;
	size_t n = strlen(point);
	char *at = n ? strstr(text, point) : NULL;

	if (!at)
		return;
	*at = '.';
	memmove(at + 1, at + n, strlen(at + n) + 1);
}

/* Does @text read back as the very same number? The smallest difference counts. */
static bool reads_back(const char *text, double value, bool is_float)
{
	double read = is_float ? (double)strtof(text, NULL) : strtod(text, NULL);

	return read >= value && read <= value;
}

const char *sf_real_text(char text[SF_REAL_BYTES], double value, bool is_float)
{
	if (isnan(value) || isinf(value)) {
		snprintf(text, SF_REAL_BYTES, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
		return text;
	}
	for (int digits = is_float ? 6 : 15; digits <= 17; digits++) {
		snprintf(text, SF_REAL_BYTES, "%.*g", digits, value);
		if (reads_back(text, value, is_float))
			break;
	}
	point_put(text);
	return text;
}
