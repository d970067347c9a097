/* SPDX-License-Identifier: MIT */
#include "tests/demo/demo.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COLUMNS_MAX 110

static bool colours;
static size_t columns = 80;

void show_init(void)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize size;
	bool tty = isatty(STDOUT_FILENO) == 1;

	/* Also through a pipe each line is seen as it happens, and none is mixed with upgradectl's. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	colours = tty && !(no_color && *no_color) && term && *term && strcmp(term, "dumb") != 0;
	if (tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
		columns = size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

void show(enum style style, const char *fmt, ...)
{
	static const char *const codes[] = {
		[STYLE_PLAIN] = "", [STYLE_TITLE] = "\033[1;36m", [STYLE_DIM] = "\033[2m", [STYLE_GOOD] = "\033[32m",
		[STYLE_BAD] = "\033[1;31m",
	};
	bool coloured = colours && *codes[style];
	va_list args;

	va_start(args, fmt);
	if (coloured)
		fputs(codes[style], stdout);
	vprintf(fmt, args);
	if (coloured)
		fputs("\033[0m", stdout);
	va_end(args);
}

void show_title(size_t number, const char *title)
{
	char line[COLUMNS_MAX + 1], head[COLUMNS_MAX];
	int used;

	if (number)
		used = snprintf(head, sizeof(head), "== %zu. %s ", number, title);
	else
		used = snprintf(head, sizeof(head), "== %s ", title);
	/* One column stays free: some terminals wrap when the last one is filled. */
	memset(line, '=', columns - 1);
	line[columns - 1] = '\0';
	if ((size_t)used < columns - 1)
		memcpy(line, head, (size_t)used);
	else
		snprintf(line, sizeof(line), "%s", head);
	putchar('\n');
	show(STYLE_TITLE, "%s", line);
	putchar('\n');
}

const char *show_count(char buffer[static 32], int64_t n)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRId64, n);
	size_t used = 0;

	for (int i = 0; i < length; i++) {
		buffer[used++] = digits[i];
		if ((length - i) % 3 == 1 && i + 1 < length && digits[i] != '-')
			buffer[used++] = ',';
	}
	buffer[used] = '\0';
	return buffer;
}

const char *show_ms(char buffer[static 32], int64_t us)
{
	if (us < 1)
		snprintf(buffer, 32, "-");
	else
		snprintf(buffer, 32, "%.1f ms", (double)us / 1000);
	return buffer;
}
