/* SPDX-License-Identifier: MIT */
/* How a daemon does while it is treated badly. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/**
 * watch_answer_us() - Ask for `list`, as a client of its own.
 *
 * Return: the time until the answer came, without that in which the daemon wanted to run and the machine gave its processors to
 * others; UINT64_MAX: no answer came in ten seconds, or none that is a list.
 */
uint64_t watch_answer_us(const char *control, pid_t daemon);

/* How rolls ended, as the daemon has logged it. */
#define WATCH_OUTCOMES 9u

struct watch_log {
	unsigned rolls[WATCH_OUTCOMES];
	unsigned committed;      /* of them: the new version has served, whatever came then */
	unsigned reports;        /* of sanitizers */
};

void watch_log_read(const char *path, struct watch_log *ret_log);
void watch_log_print(const struct watch_log *log, FILE *out);
