/* SPDX-License-Identifier: MIT */
#include "cli/far.h"

#include "base/fd.h"
#include "base/why.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool read_all(int fd, void *data, size_t size)
{
	char *at = data;

	while (size) {
		ssize_t n = read(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		size -= (size_t)n;
	}
	return true;
}

/* One message from @socket into the stream. Return: false: it is over. */
static bool to_stream(int socket, int out, uint8_t *buffer)
{
	ssize_t n = recv(socket, buffer, WIRE_MESSAGE_MAX, 0);
	uint8_t head[4] = { (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n };

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	return n > 0 && fd_write_all(out, head, sizeof(head), 0) == 0 && fd_write_all(out, buffer, (size_t)n, 0) == 0;
}

static bool to_socket(int in, int socket, uint8_t *buffer)
{
	uint8_t head[4];
	size_t size;
	ssize_t n;

	if (!read_all(in, head, sizeof(head)))
		return false;
	size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	if (!size || size > WIRE_MESSAGE_MAX || !read_all(in, buffer, size))
		return false;
	do
		n = send(socket, buffer, size, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)size;
}

/* @socket blocks. Until either side is gone. */
static void relay(int socket, int in, int out)
{
	uint8_t *buffer = malloc((size_t)WIRE_MESSAGE_MAX);
	struct pollfd pollfds[] = { { .fd = socket, .events = POLLIN }, { .fd = in, .events = POLLIN } };
	bool goes_on = buffer != NULL;

	signal(SIGPIPE, SIG_IGN);
	while (goes_on) {
		if (poll(pollfds, 2, -1) < 0 && errno != EINTR)
			break;
		if (pollfds[0].revents)
			goes_on = to_stream(socket, out, buffer);
		if (goes_on && pollfds[1].revents)
			goes_on = to_socket(in, socket, buffer);
	}
	free(buffer);
}

int far_bridge(const char *socket_path)
{
	struct why why = { "" };
	int fd = wire_connect(socket_path, &why);

	if (fd < 0) {
		fprintf(stderr, "upgradectl: %s\n", why.text);
		return WIRE_EXIT_ERROR;
	}
	(void)fd_nonblock(fd, 0);
	relay(fd, STDIN_FILENO, STDOUT_FILENO);
	fd_close(fd);
	return WIRE_EXIT_DONE;
}

/* In the child that becomes ssh: @in and @out are its ends. Does not return. */
static void become_ssh(const char *host, int in, int out)
{
	const char *program = getenv("UPGRADECTL_SSH");
	const char *ssh = program && *program ? program : "ssh";

	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(255);
	execlp(ssh, ssh, "-T", "--", host, "upgradectl", "stdio-bridge", (char *)NULL);
	fprintf(stderr, "upgradectl: %s: %s\n", ssh, strerror(errno));
	_exit(255);
}

/* In the child that frames: starts ssh, and stands between it and @socket. Does not return. */
static void stand_between(const char *host, int socket)
{
	int there[2], back[2];
	pid_t ssh;

	if (pipe2(there, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0)
		_exit(255);
	ssh = fork();
	if (ssh < 0)
		_exit(255);
	if (ssh == 0)
		become_ssh(host, there[0], back[1]);
	close(there[0]);
	close(back[1]);
	relay(socket, back[0], there[1]);
	_exit(0);
}

int far_connect(const char *host, struct why *why)
{
	int pair[2];
	pid_t child;

	/* ssh takes what begins with a dash for an option. */
	if (!*host || *host == '-')
		return why_set(why, -EINVAL, "\"%.80s\" is no host", host);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return why_errno(why, -errno, "a pair of sockets");
	child = fork();
	if (child == 0) {
		close(pair[0]);
		stand_between(host, pair[1]);
	}
	close(pair[1]);
	if (child < 0) {
		close(pair[0]);
		return why_errno(why, -errno, "a process for ssh");
	}
	return pair[0];
}
