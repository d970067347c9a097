/* SPDX-License-Identifier: MIT */
/* The programs' log: a line to stderr for each message, with a syslog priority before it when stderr is systemd's journal.
 * There, once lines are deferred, they go to the journal by its own protocol, with fields.
 *
 * Who logs waits for stderr, as with any write: a pipe that nobody reads, a terminal that was stopped, a disk that hangs. A program
 * that must not wait calls log_defer(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

#define LOG_LINE_BYTES 4096u /* with its end; a longer one is cut. What a pipe takes in one piece */

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* What a line is about: it stands before the line, and is a field of it in systemd's journal, so that one can ask for the lines of
 * one service or one roll. */
struct log_about {
	const char *service;
	const char *version; /* of the process that it is about; NULL: it is about the service */
	pid_t pid;           /* ... */
	uint64_t roll;       /* 0: none */
	const char *phase;   /* NULL: none */
	bool printed;        /* the service's own words: in the journal they stand under its name */
};

void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** log_about() - The same about something: "web: line", "web[v1 12]: line". @about: borrowed. */
void log_about(enum log_level level, const struct log_about *about, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define log_service(level, name, ...) log_about(LOG_LEVEL_##level, &(const struct log_about){ .service = (name) }, __VA_ARGS__)

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
