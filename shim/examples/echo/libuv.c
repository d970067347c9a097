/* SPDX-License-Identifier: MIT */
/* libuv PORT: one loop of libuv. */
#include "shim/examples/echo/echo.h"
#include "shim/upgrade/libuv.h"

#include <stdlib.h>

static struct upg_libuv glue;

static void on_client(uv_poll_t *poll, int status, int events)
{
	/* An error is input, too: it is what recv() says. */
	client_serve(poll->data, status < 0 ? AWAIT_INPUT :
				 (events & UV_READABLE ? AWAIT_INPUT : 0u) | (events & UV_WRITABLE ? AWAIT_ROOM : 0u));
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	echo_accept(*(int *)poll->data);
}

void loop_await(struct client *client)
{
	uv_poll_start(client->watch, (client->awaited & AWAIT_INPUT ? UV_READABLE : 0) |
				     (client->awaited & AWAIT_ROOM ? UV_WRITABLE : 0), on_client);
}

int loop_watch(struct client *client)
{
	uv_poll_t *poll = malloc(sizeof(*poll));
	int r = poll ? uv_poll_init(uv_default_loop(), poll, upg_conn_fd(client->conn)) : UV_ENOMEM;

	if (r < 0) {
		free(poll);
		return r;
	}
	poll->data = client;
	client->watch = poll;
	loop_await(client);
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void loop_unwatch(struct client *client)
{
	if (client->watch)
		uv_close(client->watch, on_closed);
}

int main(int argc, char **argv)
{
	int listener = echo_open(argc, argv, NULL);
	uv_poll_t accepting = { .data = &listener };

	if (upg_libuv_watch(&glue, upg, uv_default_loop()) < 0 || uv_poll_init(uv_default_loop(), &accepting, listener) < 0)
		return EXIT_FAILURE;
	uv_poll_start(&accepting, UV_READABLE, on_listener);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	return glue.leaves ? EXIT_SUCCESS : EXIT_FAILURE;
}
