/* SPDX-License-Identifier: MIT */
/* The programs' log: a line to stderr for each message, with a syslog priority before it when stderr is systemd's journal.
 *
 * Who logs waits for stderr, as with any write: a pipe that nobody reads, a terminal that was stopped, a disk that hangs. A program
 * that must not wait calls log_defer(). */
#pragma once

#include <stdint.h>

struct why;

#define LOG_LINE_BYTES 4096u /* with its end; a longer one is cut. What a pipe takes in one piece */

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/**
 * log_defer() - From here on nobody who logs waits: lines go into memory, and a thread writes them.
 *
 * The memory is bounded. Lines that find no room are dropped and counted, and a line says how many when there is room again. The
 * last quarter of the memory is for warnings and errors. A child of fork() that does not exec writes its lines itself.
 *
 * Return: 0; -errno: as before. Context: once, by a program that forks by no other thread.
 */
int log_defer(struct why *why);

/** log_settle() - Write what waits, for @timeout_us at most. If that was enough, who logs waits again from then on. Nothing where
 * nothing is deferred. */
void log_settle(uint64_t timeout_us);
