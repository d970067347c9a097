/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "base/log_journal.h"
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

bool log_is_journal(void)
{
	pthread_once(&journal_once, journal_detect);
	return to_journal;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

/* A peer's words may stand in it: they must not look like lines, priorities or terminal commands of ours. */
static void tame(char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			text[i] = ' ';
	text_tame(text, size);
}

static size_t compose(char *line, size_t size, const char *fmt, va_list args) __attribute__((format(printf, 3, 0)));

/* Behind the @size bytes of @line, which has LOG_LINE_BYTES. Return: the length, without its end, for which there is room. */
static size_t compose(char *line, size_t size, const char *fmt, va_list args)
{
	size_t room = LOG_LINE_BYTES - size;
	int n = vsnprintf(line + size, room, fmt, args);

	if (n > 0)
		size += (size_t)n < room ? (size_t)n : text_whole(line + size, room - 1);
	tame(line, size);
	return size;
}

/* "web: ", "web[v1 12]: " */
static size_t compose_about(char *line, size_t size, const struct log_about *about)
{
	int n = 0;

	if (!about || !about->service)
		return size;
	if (about->version)
		n = snprintf(line + size, LOG_LINE_BYTES - size, "%.128s[%.128s %d]: ", about->service, about->version,
			     (int)about->pid);
	else
		n = snprintf(line + size, LOG_LINE_BYTES - size, "%.128s: ", about->service);
	return n > 0 ? size + (size_t)n : size;
}

static void put(enum log_level level, const struct log_about *about, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

static void put(enum log_level level, const struct log_about *about, const char *fmt, va_list args)
{
	bool native = log_queue_is_native(), names_it = !native || !about || !about->printed;
	char line[LOG_LINE_BYTES], record[LOG_RECORD_BYTES];
	size_t size = 0;
	int n = 0;

	if (!native && log_is_journal())
		n = snprintf(line, LOG_LINE_BYTES, "<%d>", log_priority(level));
	else if (!native)
		n = snprintf(line, LOG_LINE_BYTES, "%.64s: ", program_invocation_short_name);
	size = n > 0 ? (size_t)n : 0;
	if (names_it)
		size = compose_about(line, size, about);
	size = compose(line, size, fmt, args);
	if (native) {
		size = log_journal_compose(record, level, about, line, size);
		log_queue_put(record, size, level <= LOG_LEVEL_WARNING, true);
		return;
	}
	line[size++] = '\n'; /* in place of the terminator, which always has room */
	log_queue_put(line, size, level <= LOG_LEVEL_WARNING, false);
}

static bool is_wanted(enum log_level level)
{
	return level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	va_list args;

	if (!is_wanted(level))
		return;
	va_start(args, fmt);
	put(level, NULL, fmt, args);
	va_end(args);
	errno = saved_errno;
}

void log_about(enum log_level level, const struct log_about *about, const char *fmt, ...)
{
	int saved_errno = errno;
	va_list args;

	if (!is_wanted(level))
		return;
	va_start(args, fmt);
	put(level, about, fmt, args);
	va_end(args);
	errno = saved_errno;
}

size_t log_compose_dropped(char *record, uint64_t dropped, bool native)
{
	char text[LOG_NOTICE_BYTES];
	int n = snprintf(text, sizeof(text), "%" PRIu64 " lines of this log were dropped: nobody read it", dropped);

	if (native)
		return log_journal_compose(record, LOG_LEVEL_WARNING, NULL, text, (size_t)n);
	if (log_is_journal())
		return (size_t)snprintf(record, LOG_RECORD_BYTES, "<%d>%s\n", log_priority(LOG_LEVEL_WARNING), text);
	return (size_t)snprintf(record, LOG_RECORD_BYTES, "%.64s: %s\n", program_invocation_short_name, text);
}
