/* SPDX-License-Identifier: MIT */
/* echo PORT: two worker threads, each with its epoll, and a main thread that accepts. */
#include "shim/examples/echo/echo.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define WORKERS 2u

struct worker {
	pthread_t thread;
	char name[16];
	int epoll_fd, wake_fd;
};

static struct worker workers[WORKERS];

/* ---- clients, each with one worker ---- */

static int control(const struct client *client, int op)
{
	const struct worker *worker = client->watch;
	struct epoll_event event = { .data.ptr = (void *)(uintptr_t)client };

	event.events = (client->awaited & AWAIT_INPUT ? (uint32_t)EPOLLIN : 0u) |
		       (client->awaited & AWAIT_ROOM ? (uint32_t)EPOLLOUT : 0u);
	return epoll_ctl(worker->epoll_fd, op, upg_conn_fd(client->conn), &event) < 0 ? -errno : 0;
}

int loop_watch(struct client *client)
{
	static unsigned next;

	client->watch = &workers[next++ % WORKERS];
	return control(client, EPOLL_CTL_ADD);
}

void loop_await(struct client *client)
{
	(void)control(client, EPOLL_CTL_MOD);
}

void loop_unwatch(struct client *client)
{
	if (client->watch)
		(void)control(client, EPOLL_CTL_DEL);
}

/* ---- threads ---- */

static void wake(struct upg_thread *thread, void *userdata)
{
	const struct worker *worker = upg_thread_data(thread);

	(void)userdata;
	(void)eventfd_write(worker->wake_fd, 1);
}

static void serve(const struct epoll_event *event)
{
	/* An error is input, too: it is what recv() says. */
	client_serve(event->data.ptr, (event->events & ~(uint32_t)EPOLLOUT ? AWAIT_INPUT : 0u) |
				      (event->events & EPOLLOUT ? AWAIT_ROOM : 0u));
}

static void *work(void *data)
{
	struct worker *worker = data;
	struct upg_thread *thread = upg_thread_enter(upg, worker->name, worker);
	struct epoll_event events[64];
	eventfd_t ignored;

	if (!thread)
		abort();
	while (upg_point(thread) == UPG_GO_ON) {
		int n = epoll_wait(worker->epoll_fd, events, 64, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				serve(&events[i]);
			else
				(void)eventfd_read(worker->wake_fd, &ignored);
		}
	}
	upg_thread_leave(thread);
	return NULL;
}

/* Loaded clients are put into the epoll of their worker: it is there before upg_receive(), and its thread is not. */
static int worker_prepare(struct worker *worker)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

	snprintf(worker->name, sizeof(worker->name), "worker %u", (unsigned)(worker - workers) % WORKERS);
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event);
}

static void serve_all(int listener)
{
	struct pollfd fds[] = { { .fd = upg_fd(upg), .events = POLLIN }, { .fd = listener, .events = POLLIN } };

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (!fds[0].revents)
			echo_accept(listener);
		else if (upg_dispatch(upg) == UPG_LEAVE)
			return;
		else
			echo_tell();
	}
}

int main(int argc, char **argv)
{
	int listener;

	for (unsigned i = 0; i < WORKERS; i++)
		if (worker_prepare(&workers[i]) < 0)
			return EXIT_FAILURE;
	listener = echo_open(argc, argv, wake);
	for (unsigned i = 0; i < WORKERS; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			return EXIT_FAILURE;
	serve_all(listener);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	return EXIT_SUCCESS;
}
