/* SPDX-License-Identifier: MIT */
/* Of this room alone: lines of the log that wait for stderr, and the thread that writes them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_NOTICE_BYTES 160u

/** log_queue_put() - Queue a whole line, or drop and count it; where nothing is deferred, write it now. @matters: it may use the
 * part that is kept for such lines. @native: it is a record for the journal. */
void log_queue_put(const char *line, size_t size, bool matters, bool native);

/** log_queue_is_native() - Do lines go to the journal by its own protocol now? */
bool log_queue_is_native(void);

/** log_queue_journal_at() - For tests: where the journal is, before log_defer(). */
void log_queue_journal_at(const char *path);

/** log_write() - Write lines to stderr, waiting where needed. What stderr refuses is lost. */
void log_write(const char *lines, size_t size);

/* ---- log.c ---- */

/** log_is_journal() - Is stderr the journal? */
bool log_is_journal(void);

/** log_compose_dropped() - The line that says how many were dropped. @record: LOG_RECORD_BYTES. Return: its length. */
size_t log_compose_dropped(char *record, uint64_t dropped, bool native);
