/* SPDX-License-Identifier: MIT */
/* One connection to the control socket: a request in, progress and one result out. */
#pragma once

#include "supervisor/criu/probe.h"
#include "supervisor/process/outbox.h"
#include "supervisor/service/service.h"

struct registry;

/* SPDX-License-Identifier: MIT */
#include "supervisor/control/control.h"

#include "supervisor/control/images.h"
#include "supervisor/criu/probe.h"
#include "supervisor/service/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#define CLIENTS_MAX 64u

struct client {
	struct client *next; /* these two are control.c's */
	void *owner;
	struct registry *registry;
	void (*on_gone)(struct client *client);
	int fd;
	struct source source;
	struct outbox outbox;
	struct asker asker;
	struct probe probe;
	bool probing;
	struct images_call *images;
	bool asked;   /* its one request is being worked on */
	bool closing; /* the result is sent or queued: nothing more will come */
};

/**
 * client_new() - Hear what the peer of a connection wants, and do it.
 * @registry: borrowed until client_free().
 * @on_gone:  the last call, when the connection is over; frees the client.
 *
 * Return: 0 or -errno.
 */
int client_new(struct registry *registry, int fd_consume, void (*on_gone)(struct client *client), struct client **ret_client);

/** client_free() - What it asked for goes on. NULL is allowed. Return: NULL. */
struct client *client_free(struct client *client);

/** client_send_result() - The one answer; nothing more comes after it. */
void client_send_result(struct client *client, Upgraded__Wire__Result *result);

/** client_answer() - The same, of texts alone. @cause, @next: NULL if there is none. */
void client_answer(struct client *client, enum wire_exit code, const char *text, const char *cause, const char *next);
