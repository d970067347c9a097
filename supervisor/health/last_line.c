/* SPDX-License-Identifier: MIT */
#include "supervisor/health/last_line.h"

#include "base/fd.h"
#include "base/text.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BYTES 4096
#define LAST_READS_MAX 32u /* more than a pipe holds */

static void line_complete(struct last_line *line)
{
	size_t size = text_whole(line->partial, line->n_partial);

	while (size && line->partial[size - 1] == ' ')
		size--;
	line->n_partial = 0;
	if (!size)
		return;
	text_tame(line->partial, size);
	memcpy(line->text, line->partial, size);
	line->text[size] = 0;
}

void last_line_put(struct last_line *line, const char *data, size_t size_bytes)
{
	for (size_t i = 0; i < size_bytes; i++) {
		bool is_blank = data[i] == '\t' || data[i] == '\r';

		if (data[i] == '\n')
			line_complete(line);
		else if (line->n_partial < sizeof(line->partial) - 1)
			line->partial[line->n_partial++] = is_blank ? ' ' : data[i];
	}
}

const char *last_line_get(struct last_line *line)
{
	line_complete(line);
	return line->text;
}

/* ---- the pipe ---- */

/* Return: true if there may be more. */
static bool read_some(struct last_line_pipe *pipe)
{
	char data[READ_BYTES];
	ssize_t n = read(pipe->fd, data, sizeof(data));

	if (n > 0) {
		last_line_put(&pipe->line, data, (size_t)n);
		return true;
	}
	return n < 0 && errno == EINTR;
}

static void close_pipe(struct last_line_pipe *pipe)
{
	source_del(&pipe->source);
	pipe->fd = fd_close(pipe->fd);
}

static void on_output(struct source *source, uint32_t events)
{
	struct last_line_pipe *pipe = container_of(source, struct last_line_pipe, source);

	/* One read in each turn: a program that prints without end must not hold the loop. A closed pipe does not end it; the end
	 * of the process does. */
	if (!read_some(pipe) && (events & (EPOLLHUP | EPOLLERR)))
		close_pipe(pipe);
}

int last_line_open(struct last_line_pipe *pipe, struct loop *loop, int *ret_theirs, struct why *why)
{
	int pair[2], r;

	*pipe = (struct last_line_pipe){ .fd = -1 };
	if (pipe2(pair, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "pipe");
	r = fd_nonblock(pair[0], 1);
	if (r == 0)
		r = source_add(loop, &pipe->source, pair[0], EPOLLIN, on_output);
	if (r < 0) {
		fd_close(pair[0]);
		fd_close(pair[1]);
		return why_errno(why, r, "pipe");
	}
	pipe->fd = pair[0];
	*ret_theirs = pair[1];
	return 0;
}

void last_line_finish(struct last_line_pipe *pipe)
{
	for (unsigned i = 0; i < LAST_READS_MAX && pipe->fd >= 0 && read_some(pipe); i++)
		;
	close_pipe(pipe);
}
