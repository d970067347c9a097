/* SPDX-License-Identifier: MIT */
/* One connection to the control socket: a request in, progress and one result out. */
#pragma once

#include "supervisor/carry/carry.h"
#include "supervisor/process/outbox.h"
#include "supervisor/service/service.h"

struct errand;
struct registry;

/* Private to the files of this folder. */
struct client {
	struct client *next; /* these two are control.c's */
	void *owner;
	struct registry *registry;
	void (*on_gone)(struct client *client);
	int fd;
	struct source source;
	struct outbox outbox;
	struct asker asker;
	struct errand *errand; /* goes on for it; NULL: nothing does */
	bool asked;            /* its one request has come */
	bool closing;          /* the result is sent or queued: nothing more goes out */
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

/** client_may_be_left() - Does it wait for nothing, for the end of a roll or for another program in our place? What else goes on
 * for it would be nobody's. */
bool client_may_be_left(const struct client *client);

/** client_send_off() - Whatever it waits for goes on without us: tell it so. Nothing where it waits for nothing. */
void client_send_off(struct client *client);

/** client_put() - Leave its connection to the next program, which answers it. */
void client_put(const struct client *client, struct carry *carry);

/** client_take_left() - It waits as it did. @left: what was left of it; what it waited for is there by now. */
void client_take_left(struct client *client, const Upgraded__Carry__Client *left, const struct answer *answer);
