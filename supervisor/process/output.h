/* SPDX-License-Identifier: MIT */
/*
 * What a process prints: a pipe that we read, line by line, into the log.
 *
 * The pipe is always read, so that no process waits for whoever reads our log. What a process may have logged is bounded: lines
 * beyond LogRate= and LogRateBytes= are read, dropped, counted, and told as a number. A process beyond its bounds is read 100
 * times a second, 64 KiB each time; so one that floods costs the loop little, and waits for itself.
 */
#pragma once

#include "base/log.h"
#include "base/loop.h"
#include "supervisor/process/lines.h"
#include "supervisor/process/rate.h"
#include "wire/name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

#define OUTPUT_LINE_BYTES 3840u /* a longer line is logged in pieces; with what we put before it, it fits into LOG_LINE_BYTES */
#define OUTPUT_WHO_BYTES 160u

struct output {
	struct loop *loop;
	struct lines *lines;   /* borrowed: the last ones go there, logged or not; NULL: nobody wants them */
	char who[OUTPUT_WHO_BYTES]; /* "service[version pid]" */
	char service[WIRE_NAME_MAX + 1], version[WIRE_NAME_MAX + 1];
	struct log_about about; /* borrows these two */
	int fd;                /* -1: closed */
	struct source source;
	struct timer timer;    /* time to read on, or to tell what was dropped */
	struct rate line_rate, byte_rate;
	unsigned long long n_dropped, dropped_bytes; /* and not told yet */
	uint64_t tell_us;      /* ... until then */
	char partial[OUTPUT_LINE_BYTES + 1]; /* a line that has no end yet */
	size_t n_partial;
	void *owner;
	void (*on_end)(struct output *output); /* nobody can write to it any more; may free it. NULL: of no interest */
};

/** output_new() - Closed. @line_rate, @byte_rate: what may be logged a second; 0: no limit. @lines: borrowed, or NULL. Return:
 * NULL if memory is out. */
struct output *output_new(struct loop *loop, uint64_t line_rate, uint64_t byte_rate, struct lines *lines);

/** output_free() - NULL is allowed. Return: NULL. */
struct output *output_free(struct output *output);

/** output_name() - Whose lines these are, in the log. */
void output_name(struct output *output, const char *service, const char *version, pid_t pid);
/** output_name_as() - The same, by the text that another output had in @who. */
void output_name_as(struct output *output, const char *who);

/** output_open() - A new pipe, in the place of an earlier one. @ret_theirs: the end to write to, owned by the caller. Return: 0 or
 * -errno. */
int output_open(struct output *output, int *ret_theirs, unsigned long long *ret_inode, struct why *why);

/** output_take() - Go on with an end that a program before this one has read from. @partial: a line that it has read without its
 * end. Return: 0 or -errno; then it is closed, and @fd_consume with it. */
int output_take(struct output *output, int fd_consume, const void *partial, size_t n_partial, struct why *why);

/** output_finish() - The process has ended: what it had written is read, and what was dropped is told. The pipe stays open:
 * others may still write to it. Bounded. */
void output_finish(struct output *output);

/** output_close() - Who still writes is told so by the kernel (EPIPE). */
void output_close(struct output *output);
