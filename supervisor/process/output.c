/* SPDX-License-Identifier: MIT */
#include "supervisor/process/output.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define READ_BYTES (16u << 10)        /* in one turn of the loop */
#define FLOOD_READ_BYTES (64u << 10)  /* ... of a process beyond its bounds, which is read less often */
#define FLOOD_WAIT_US (10 * USEC_PER_MSEC)
#define FINISH_BYTES_MAX (1 << 20)    /* the most that a pipe holds, unless root made it larger */
#define TELL_US USEC_PER_SEC

/* ---- lines ---- */

static void tell_dropped(struct output *output)
{
	struct log_about about = output->about;

	if (!output->n_dropped)
		return;
	about.printed = false; /* by us, of it */
	log_about(LOG_LEVEL_WARNING, &about,
		  "%llu lines dropped (%llu KiB): more than LogRate=, LogRateBytes= let through", output->n_dropped,
		  (output->dropped_bytes + 1023) >> 10);
	output->n_dropped = output->dropped_bytes = 0;
}

static void drop(struct output *output, unsigned long long n, size_t bytes)
{
	if (!output->n_dropped)
		output->tell_us = clock_now_us() + TELL_US;
	output->n_dropped += n;
	output->dropped_bytes += bytes;
}

/* The first @size bytes of what has no end yet are a line. */
static void line_complete(struct output *output, size_t size)
{
	size_t shown = size && output->partial[size - 1] == '\r' ? size - 1 : size;
	uint64_t now = clock_now_us();

	text_tame(output->partial, shown);
	if (output->lines)
		lines_put(output->lines, output->partial, shown);
	if (rate_has(&output->line_rate, 1, now) && rate_take(&output->byte_rate, size + 1, now)) {
		(void)rate_take(&output->line_rate, 1, now);
		log_about(LOG_LEVEL_INFO, &output->about, "%.*s", (int)shown, output->partial);
	} else {
		drop(output, 1, size + 1);
	}
	memmove(output->partial, output->partial + size, output->n_partial - size);
	output->n_partial -= size;
}

static void take_piece(struct output *output, const char *data, size_t size)
{
	while (size > 0) {
		size_t room = OUTPUT_LINE_BYTES - output->n_partial, n = size < room ? size : room;

		if (n == 0) {
			line_complete(output, text_whole(output->partial, output->n_partial));
			continue;
		}
		memcpy(output->partial + output->n_partial, data, n);
		output->n_partial += n;
		data += n;
		size -= n;
	}
}

static size_t count_lines(const char *data, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += data[i] == '\n';
	return n;
}

/* Of a process beyond its bounds only the last lines are looked at: they may be its last words. Return: where they begin. */
static size_t skip(struct output *output, const char *data, size_t size)
{
	size_t at = size, n = 0;

	while (at > 0 && n <= LINES_MAX)
		n += data[--at] == '\n';
	if (n <= LINES_MAX)
		return 0;
	at++;
	drop(output, count_lines(data, at), at + output->n_partial);
	output->n_partial = 0;
	return at;
}

static void take(struct output *output, const char *data, size_t size)
{
	uint64_t now = clock_now_us();
	size_t at = 0;

	if (!rate_has(&output->line_rate, 1, now) || !rate_has(&output->byte_rate, OUTPUT_LINE_BYTES, now))
		at = skip(output, data, size);
	while (at < size) {
		const char *end = memchr(data + at, '\n', size - at);
		size_t n = end ? (size_t)(end - data) - at : size - at;

		take_piece(output, data + at, n);
		if (end)
			line_complete(output, output->n_partial);
		at += n + (end ? 1 : 0);
	}
}

/* ---- the pipe ---- */

void output_close(struct output *output)
{
	source_del(&output->source);
	timer_disarm(&output->timer);
	output->fd = fd_close(output->fd);
	if (output->n_partial)
		line_complete(output, output->n_partial);
	tell_dropped(output);
}

/* Return: how many bytes; 0: there are none now; -EPIPE: and there never will be. */
static ssize_t read_some(struct output *output, size_t most)
{
	static char data[FLOOD_READ_BYTES]; /* one loop thread */
	ssize_t n = read(output->fd, data, most < sizeof(data) ? most : sizeof(data));

	if (n > 0)
		take(output, data, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		return -EPIPE;
	return n > 0 ? n : 0;
}

static void on_due(struct timer *timer)
{
	struct output *output = container_of(timer, struct output, timer);
	uint64_t now = clock_now_us();

	source_set(&output->source, EPOLLIN);
	if (output->n_dropped && now >= output->tell_us)
		tell_dropped(output);
	if (output->n_dropped)
		timer_arm(output->loop, timer, output->tell_us, on_due);
}

/* In this turn no more. One beyond its bounds is left alone for a moment; its pipe may fill up meanwhile. */
static void pause_reading(struct output *output)
{
	source_set(&output->source, 0);
	timer_arm(output->loop, &output->timer, clock_now_us() + FLOOD_WAIT_US, on_due);
}

static void on_output(struct source *source, uint32_t events)
{
	struct output *output = container_of(source, struct output, source);
	unsigned long long dropped = output->dropped_bytes;

	(void)events;
	/* Once a turn: a process that prints without end must not hold the loop. */
	if (read_some(output, output->n_dropped ? FLOOD_READ_BYTES : READ_BYTES) == -EPIPE) {
		output_close(output);
		if (output->on_end)
			output->on_end(output);
	} else if (output->dropped_bytes > dropped) {
		pause_reading(output);
	}
}

void output_finish(struct output *output)
{
	int left = 0;

	if (output->fd < 0)
		return;
	/* What others write meanwhile is not the process's. */
	if (ioctl(output->fd, FIONREAD, &left) < 0 || left > FINISH_BYTES_MAX)
		left = FINISH_BYTES_MAX;
	while (left > 0) {
		ssize_t n = read_some(output, (size_t)left);

		if (n <= 0)
			break;
		left -= (int)n;
	}
	if (output->n_partial)
		line_complete(output, output->n_partial);
	tell_dropped(output);
}

int output_open(struct output *output, int *ret_theirs, unsigned long long *ret_inode, struct why *why)
{
	int pair[2], r;

	output_close(output);
	if (pipe2(pair, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "pipe");
	output->fd = pair[0];
	*ret_theirs = pair[1];
	r = fd_nonblock(pair[0], 1);
	if (r == 0)
		r = fd_inode(pair[1], ret_inode);
	if (r == 0)
		r = source_add(output->loop, &output->source, pair[0], EPOLLIN, on_output);
	return r < 0 ? why_errno(why, r, "log pipe") : 0;
}

int output_take(struct output *output, int fd_consume, const void *partial, size_t n_partial, struct why *why)
{
	int r;

	output_close(output);
	output->fd = fd_consume;
	output->n_partial = n_partial < OUTPUT_LINE_BYTES ? n_partial : OUTPUT_LINE_BYTES;
	if (output->n_partial)
		memcpy(output->partial, partial, output->n_partial);
	r = source_add(output->loop, &output->source, fd_consume, EPOLLIN, on_output);
	if (r < 0)
		output_close(output);
	return r < 0 ? why_errno(why, r, "log pipe") : 0;
}

/* ---- life ---- */

struct output *output_new(struct loop *loop, uint64_t line_rate, uint64_t byte_rate, struct lines *lines)
{
	struct output *output = calloc(1, sizeof(*output));
	uint64_t now = clock_now_us();

	if (!output)
		return NULL;
	output->loop = loop;
	output->lines = lines;
	output->fd = -1;
	rate_init(&output->line_rate, line_rate, now);
	rate_init(&output->byte_rate, byte_rate, now);
	return output;
}

void output_name(struct output *output, const char *service, const char *version, pid_t pid)
{
	snprintf(output->service, sizeof(output->service), "%s", service);
	snprintf(output->version, sizeof(output->version), "%s", version);
	output->about = (struct log_about){
		.service = output->service, .version = output->version, .pid = pid, .printed = true
	};
	snprintf(output->who, sizeof(output->who), "%s[%s %d]", service, version, (int)pid);
}

void output_name_as(struct output *output, const char *who)
{
	char service[WIRE_NAME_MAX + 1], version[WIRE_NAME_MAX + 1];
	int pid;

	/* Neither name can hold one of these characters. */
	_Static_assert(WIRE_NAME_MAX == 64, "as it is read here");
	if (sscanf(who, "%64[^[][%64[^ ] %d]", service, version, &pid) == 3)
		output_name(output, service, version, pid);
}

struct output *output_free(struct output *output)
{
	if (!output)
		return NULL;
	output_close(output);
	free(output);
	return NULL;
}
