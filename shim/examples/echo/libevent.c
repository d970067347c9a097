/* SPDX-License-Identifier: MIT */
/* libevent PORT: a loop of libevent that accepts, and two worker threads, each with a loop of its own. */
#include "shim/examples/echo/echo.h"
#include "shim/upgrade/libevent.h"

#include <errno.h>
#include <event2/thread.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define WORKERS 2u

struct worker {
	pthread_t thread;
	struct event_base *base;
	struct upg_libevent_thread glue;
};

static struct worker workers[WORKERS];
static struct upg_libevent glue;

/* ---- clients, each in the loop of one worker ---- */

static void on_client(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	client_serve(arg, (what & EV_READ ? AWAIT_INPUT : 0u) | (what & EV_WRITE ? AWAIT_ROOM : 0u));
}

static short what_of(const struct client *client)
{
	return (short)(EV_PERSIST | (client->awaited & AWAIT_INPUT ? EV_READ : 0) | (client->awaited & AWAIT_ROOM ? EV_WRITE : 0));
}

void loop_await(struct client *client)
{
	struct event *event = client->watch;

	event_del(event);
	event_assign(event, event_get_base(event), upg_conn_fd(client->conn), what_of(client), on_client, client);
	event_add(event, NULL);
}

int loop_watch(struct client *client)
{
	static unsigned next;
	struct event_base *base = workers[next++ % WORKERS].base;
	struct event *event = event_new(base, upg_conn_fd(client->conn), what_of(client), on_client, client);

	client->watch = event; /* its worker may see it, and let go of it, as soon as it is added */
	return event && event_add(event, NULL) == 0 ? 0 : -ENOMEM;
}

void loop_unwatch(struct client *client)
{
	if (client->watch)
		event_free(client->watch);
}

/* ---- threads ---- */

static void *work(void *data)
{
	struct worker *worker = data;
	char name[16];

	snprintf(name, sizeof(name), "worker %u", (unsigned)(worker - workers) % WORKERS);
	if (upg_libevent_thread_enter(&worker->glue, upg, name, worker->base) < 0)
		abort();
	upg_libevent_thread_run(&worker->glue);
	upg_libevent_thread_leave(&worker->glue);
	return NULL;
}

static void on_listener(evutil_socket_t fd, short what, void *arg)
{
	(void)what, (void)arg;
	echo_accept((int)fd);
}

int main(int argc, char **argv)
{
	struct event_base *base;
	struct event *accepting;
	int listener;

	/* Loaded clients are put into the loops of workers, whose threads do not run yet. */
	if (evthread_use_pthreads() < 0)
		return EXIT_FAILURE;
	for (unsigned i = 0; i < WORKERS; i++)
		if (!(workers[i].base = event_base_new()))
			return EXIT_FAILURE;
	base = event_base_new();
	listener = echo_open(argc, argv, upg_libevent_wake);
	accepting = base ? event_new(base, listener, EV_READ | EV_PERSIST, on_listener, NULL) : NULL;
	if (!accepting || event_add(accepting, NULL) < 0 || upg_libevent_watch(&glue, upg, base) < 0)
		return EXIT_FAILURE;
	for (unsigned i = 0; i < WORKERS; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			return EXIT_FAILURE;
	event_base_dispatch(base);
	for (unsigned i = 0; i < WORKERS && glue.leaves; i++)
		pthread_join(workers[i].thread, NULL);
	return glue.leaves ? EXIT_SUCCESS : EXIT_FAILURE;
}
