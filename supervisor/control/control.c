/* SPDX-License-Identifier: MIT */
#include "supervisor/control/control.h"

#include "supervisor/control/client.h"
#include "supervisor/service/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 64u
#define PAUSE_US (100 * USEC_PER_MSEC)

struct control {
	struct registry *registry;
	int fd;
	struct source source;
	struct client *clients;
	unsigned n_clients;
	struct timer pause; /* until then nobody is accepted */
	bool is_short;      /* the last try found no descriptor for whoever connects; told once */
};

/* A client that connects and asks nothing must not keep others out: the one that has been silent longest makes room for another
 * one. Return: NULL: all that are there have asked something, and wait. */
static struct client *longest_silent(const struct control *control)
{
	struct client *silent = NULL;

	for (struct client *client = control->clients; client; client = client->next) /* the newest first */
		if (!client->asked)
			silent = client;
	return silent;
}

/* Where there is no room, those who connect wait in the socket's queue. */
static void accept_again(struct control *control)
{
	bool has_room = control->n_clients < CLIENTS_MAX || longest_silent(control);

	source_set(&control->source, has_room && !control->pause.loop ? (uint32_t)EPOLLIN : 0u);
}

static void on_pause_over(struct timer *timer)
{
	accept_again(container_of(timer, struct control, pause));
}

/* Who connects waits in the queue of the socket meanwhile; epoll would tell of it again at once, and again. */
static void accept_later(struct control *control, int error)
{
	if (!control->is_short)
		log_warning("control socket: %s; who connects waits until there is room (LimitNOFILE= of upgraded)",
			    strerror(error));
	control->is_short = true;
	timer_arm(control->registry->host.site.loop, &control->pause, clock_now_us() + PAUSE_US, on_pause_over);
	accept_again(control);
}

static bool is_gone(int error)
{
	return error == EAGAIN || error == EINTR || error == ECONNABORTED;
}

/* Frees @client. */
static void drop(struct control *control, struct client *client)
{
	struct client **link = &control->clients;

	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	client_free(client);
	control->n_clients--;
	accept_again(control);
}

/* Return: false: there is none to be made. */
static bool make_room(struct control *control)
{
	struct client *silent = longest_silent(control);

	if (control->n_clients < CLIENTS_MAX)
		return true;
	if (!silent)
		return false;
	log_warning("control socket: %u connections; a silent one is closed", control->n_clients);
	drop(control, silent);
	return true;
}

/* The socket's mode keeps other users out already; this check is for a socket whose mode somebody has changed. */
static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void on_gone(struct client *client)
{
	drop(client->owner, client);
}

/* @fd_consume: of somebody who is connected. Return: NULL: it was turned away. */
static struct client *add(struct control *control, int fd_consume)
{
	struct client *client;

	if (client_new(control->registry, fd_consume, on_gone, &client) < 0)
		return NULL;
	client->owner = control;
	client->next = control->clients;
	control->clients = client;
	control->n_clients++;
	accept_again(control);
	return client;
}

/* Return: false: there is nobody to be let in now. */
static bool let_in(struct control *control)
{
	int fd;

	if (!make_room(control)) {
		accept_again(control);
		return false;
	}
	fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (!is_gone(errno))
			accept_later(control, errno);
		return false;
	}
	control->is_short = false;
	if (!may_ask(fd))
		fd = fd_close(fd);
	if (fd < 0 || !add(control, fd))
		log_warning("control socket: a connection was turned away");
	return true;
}

static void on_connection(struct source *source, uint32_t events)
{
	(void)events;
	(void)let_in(container_of(source, struct control, source));
}

/* Return: the descriptor, owned by the caller; -errno: nothing has changed. */
static int listen_at(struct control *control, const char *path, struct why *why)
{
	struct loop *loop = control->registry->host.site.loop;
	int fd = wire_listen(path, 0600, why), r;

	if (fd < 0)
		return fd;
	source_del(&control->source);
	r = source_add(loop, &control->source, fd, EPOLLIN, on_connection);
	if (r == 0)
		return fd;
	fd_close(fd);
	if (control->fd >= 0)
		(void)source_add(loop, &control->source, control->fd, EPOLLIN, on_connection);
	return why_errno(why, r, "control socket");
}

int control_open(struct registry *registry, const char *path, struct control **ret_control, struct why *why)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return why_errno(why, -ENOMEM, "control socket");
	control->registry = registry;
	control->fd = -1;
	r = listen_at(control, path, why);
	if (r < 0) {
		free(control);
		return r;
	}
	control->fd = r;
	*ret_control = control;
	return 0;
}

int control_open_left(struct registry *registry, int fd, struct control **ret_control, struct why *why)
{
	struct control *control = calloc(1, sizeof(*control));
	int r = control ? source_add(registry->host.site.loop, &control->source, fd, EPOLLIN, on_connection) : -ENOMEM;

	if (r < 0) {
		free(control);
		return why_errno(why, r, "control socket");
	}
	control->registry = registry;
	control->fd = fd;
	*ret_control = control;
	return 0;
}

bool control_may_leave(const struct control *control)
{
	for (const struct client *client = control->clients; client; client = client->next)
		if (!client_may_be_left(client))
			return false;
	return true;
}

int control_put(const struct control *control, struct carry *carry)
{
	for (const struct client *client = control->clients; client; client = client->next)
		client_put(client, carry);
	return control->fd;
}

void control_take_left(struct control *control, struct carry *carry, const struct answer *answer)
{
	const Upgraded__Carry__Item *item = NULL;

	while ((item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_CLIENT, item))) {
		int fd = carry_take(carry, item->client->connection);
		struct client *client = fd < 0 ? NULL : add(control, fd);

		if (client)
			client_take_left(client, item->client, answer);
	}
}

int control_listen_anew(struct control *control, const char *path, struct why *why)
{
	int fd = listen_at(control, path, why);

	if (fd < 0)
		return fd;
	/* Who came by the old way, and was not let in yet. */
	for (unsigned i = 0; i < CLIENTS_MAX && let_in(control); i++)
		;
	fd_close(control->fd);
	control->fd = fd;
	accept_again(control);
	return 0;
}

void control_send_off(const struct control *control)
{
	for (struct client *client = control ? control->clients : NULL; client; client = client->next)
		client_send_off(client);
}

struct control *control_close(struct control *control)
{
	if (!control)
		return NULL;
	while (control->clients)
		drop(control, control->clients);
	timer_disarm(&control->pause);
	source_del(&control->source);
	fd_close(control->fd);
	free(control);
	return NULL;
}
