/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_BYTES 2048

static _Atomic(enum log_level) max_level = LOG_LEVEL_INFO;
static pthread_once_t journal_once = PTHREAD_ONCE_INIT;
static bool to_journal;

/* Every process that a service starts inherits JOURNAL_STREAM, also one whose stderr was redirected: believe it only if it names
 * the very stream that stderr is. */
static void journal_detect(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, inode;
	struct stat st;
	char end;

	if (!stream || sscanf(stream, "%llu:%llu%c", &dev, &inode, &end) != 2)
		return;
	to_journal = fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == inode;
}

static int priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR: return LOG_ERR;
	case LOG_LEVEL_WARNING: return LOG_WARNING;
	case LOG_LEVEL_INFO: return LOG_INFO;
	case LOG_LEVEL_DEBUG: return LOG_DEBUG;
	}
	return LOG_NOTICE;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	char line[LINE_BYTES];
	va_list args;
	size_t size;
	int n;

	if (level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	pthread_once(&journal_once, journal_detect);
	if (to_journal)
		n = snprintf(line, sizeof(line), "<%d>", priority(level));
	else
		n = snprintf(line, sizeof(line), "%.64s: ", program_invocation_short_name);
	size = n > 0 ? (size_t)n : 0;

	va_start(args, fmt);
	n = vsnprintf(line + size, sizeof(line) - size, fmt, args);
	va_end(args);
	if (n < 0)
		line[size] = '\0';

	/* A peer's words may stand in the line: they must not look like lines, priorities or terminal commands of ours. */
	for (size = 0; line[size]; size++)
		if ((unsigned char)line[size] < ' ' || line[size] == 0x7f)
			line[size] = ' ';
	line[size++] = '\n'; /* in place of the terminator, which always has room */

	/* One write(2), so that lines of several threads and processes do not mix. A line that stderr refuses is lost. */
	while (write(STDERR_FILENO, line, size) < 0 && errno == EINTR)
		;
	errno = saved_errno;
}
