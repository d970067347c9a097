/* SPDX-License-Identifier: MIT */
/* A supervisor made of a script: a thread that takes one connection on a real SEQPACKET socket and plays its part. */
#pragma once

#include "base/fd.h"
#include "base/why.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fake_server {
	char folder[64];
	char path[96];
	int listener;
	pthread_t thread;
	void (*play)(struct fake_server *server, int fd);
	int file; /* the descriptor that came along; -1: none */
	Upgraded__Wire__ControlMessage *asked; /* what came, for the test to look at after fake_server_stop() */
};

static inline Upgraded__Wire__ControlMessage *fake_receive(int fd, int *ret_fd)
{
	static _Thread_local char buffer[WIRE_MESSAGE_MAX];
	ProtobufCMessage *message = NULL;
	struct wire_fds fds;
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	*ret_fd = -1;
	if (poll(&pollfd, 1, 10000) != 1)
		return NULL;
	if (wire_receive(fd, &upgraded__wire__control_message__descriptor, buffer, &fds, &message, NULL) != WIRE_OK)
		return NULL;
	*ret_fd = wire_fds_claim(&fds, 0);
	wire_fds_close(&fds);
	return (Upgraded__Wire__ControlMessage *)(void *)message;
}

static inline void fake_result(int fd, Upgraded__Wire__Result *result)
{
	Upgraded__Wire__ControlMessage message;

	upgraded__wire__control_message__init(&message);
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT;
	message.result = result;
	wire_send(fd, &message.base, NULL, 0, NULL);
}

static inline void fake_progress(int fd, const char *phase, const char *text, uint64_t elapsed_us)
{
	Upgraded__Wire__ControlMessage message;
	Upgraded__Wire__Progress progress;

	upgraded__wire__control_message__init(&message);
	upgraded__wire__progress__init(&progress);
	progress.phase = strdup(phase);
	progress.text = strdup(text);
	progress.elapsed_us = elapsed_us;
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PROGRESS;
	message.progress = &progress;
	wire_send(fd, &message.base, NULL, 0, NULL);
	free(progress.phase);
	free(progress.text);
}

static inline void *fake_server_main(void *data)
{
	struct fake_server *server = data;
	struct pollfd pollfd = { .fd = server->listener, .events = POLLIN };
	int fd;

	if (poll(&pollfd, 1, 10000) != 1)
		return NULL;
	fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return NULL;
	server->asked = fake_receive(fd, &server->file);
	server->play(server, fd);
	fd_close(fd);
	return NULL;
}

/** fake_server_start() - Listen, and let @play answer the first request. */
static inline void fake_server_start(struct fake_server *server, void (*play)(struct fake_server *server, int fd))
{
	struct why why = { "" };

	memset(server, 0, sizeof(*server));
	snprintf(server->folder, sizeof(server->folder), "/tmp/test-cli-XXXXXX");
	cr_assert(mkdtemp(server->folder));
	snprintf(server->path, sizeof(server->path), "%s/control", server->folder);
	server->listener = wire_listen(server->path, 0600, &why);
	cr_assert_geq(server->listener, 0, "%s", why.text);
	server->play = play;
	server->file = -1;
	cr_assert_eq(pthread_create(&server->thread, NULL, fake_server_main, server), 0);
}

static inline void fake_server_stop(struct fake_server *server)
{
	pthread_join(server->thread, NULL);
	fd_close(server->listener);
	unlink(server->path);
	rmdir(server->folder);
}

static inline void fake_server_free(struct fake_server *server)
{
	if (server->asked)
		upgraded__wire__control_message__free_unpacked(server->asked, NULL);
	server->asked = NULL;
	server->file = fd_close(server->file);
}

/** fake_wait_closed() - Until the client has hung up: what a supervisor that says no more does. */
static inline void fake_wait_closed(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = 0 };

	while (poll(&pollfd, 1, 10000) == 1 && !(pollfd.revents & (POLLHUP | POLLERR)))
		;
}
