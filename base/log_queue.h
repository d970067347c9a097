/* SPDX-License-Identifier: MIT */
/* Of this room alone: lines of the log that wait for stderr, and the thread that writes them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_NOTICE_BYTES 160u

/** log_queue_put() - Queue a whole line, or drop and count it. @matters: it may use the part that is kept for such lines. Return:
 * false if nothing is deferred: the caller writes. */
bool log_queue_put(const char *line, size_t size, bool matters);

/** log_write() - Write lines to stderr, waiting where needed. What stderr refuses is lost. */
void log_write(const char *lines, size_t size);

/** log_compose_dropped() - The line that says how many were dropped. @line: LOG_NOTICE_BYTES. Return: its length. */
size_t log_compose_dropped(char *line, uint64_t n);
