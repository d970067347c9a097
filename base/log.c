/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "base/log_queue.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
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

static size_t compose(enum log_level level, char *line, const char *fmt, va_list args) __attribute__((format(printf, 3, 0)));

/* Return: the length of @line, which has LOG_LINE_BYTES, with its '\n'. */
static size_t compose(enum log_level level, char *line, const char *fmt, va_list args)
{
	size_t size, room;
	int n;

	pthread_once(&journal_once, journal_detect);
	if (to_journal)
		n = snprintf(line, LOG_LINE_BYTES, "<%d>", priority(level));
	else
		n = snprintf(line, LOG_LINE_BYTES, "%.64s: ", program_invocation_short_name);
	size = n > 0 ? (size_t)n : 0;
	room = LOG_LINE_BYTES - size;
	n = vsnprintf(line + size, room, fmt, args);
	if (n > 0)
		size += (size_t)n < room ? (size_t)n : text_whole(line + size, room - 1);

	/* A peer's words may stand in the line: they must not look like lines, priorities or terminal commands of ours. */
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = ' ';
	text_tame(line, size);
	line[size++] = '\n'; /* in place of the terminator, which always has room */
	return size;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	char line[LOG_LINE_BYTES];
	va_list args;
	size_t size;

	if (level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	va_start(args, fmt);
	size = compose(level, line, fmt, args);
	va_end(args);
	if (!log_queue_put(line, size, level <= LOG_LEVEL_WARNING))
		log_write(line, size);
	errno = saved_errno;
}

size_t log_compose_dropped(char *line, uint64_t n)
{
	pthread_once(&journal_once, journal_detect);
	if (to_journal)
		return (size_t)snprintf(line, LOG_NOTICE_BYTES, "<%d>%" PRIu64 " lines of this log were dropped: nobody read it\n",
					LOG_WARNING, n);
	return (size_t)snprintf(line, LOG_NOTICE_BYTES, "%.64s: %" PRIu64 " lines of this log were dropped: nobody read it\n",
				program_invocation_short_name, n);
}
