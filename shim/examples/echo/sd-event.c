/* SPDX-License-Identifier: MIT */
/* sd-event PORT: one loop of libsystemd. */
#include "shim/examples/echo/echo.h"
#include "shim/upgrade/sd-event.h"

#include <stdlib.h>

static struct upg_sd_event glue;
static sd_event *event;

static int on_client(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source, (void)fd;
	/* An error is input, too: it is what recv() says. */
	client_serve(userdata, (events & ~(uint32_t)EPOLLOUT ? AWAIT_INPUT : 0u) | (events & EPOLLOUT ? AWAIT_ROOM : 0u));
	return 0;
}

static int on_listener(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source, (void)events, (void)userdata;
	echo_accept(fd);
	return 0;
}

static uint32_t events_of(const struct client *client)
{
	return (client->awaited & AWAIT_INPUT ? (uint32_t)EPOLLIN : 0u) | (client->awaited & AWAIT_ROOM ? (uint32_t)EPOLLOUT : 0u);
}

void loop_await(struct client *client)
{
	(void)sd_event_source_set_io_events(client->watch, events_of(client));
}

int loop_watch(struct client *client)
{
	sd_event_source *source = NULL;
	int r = sd_event_add_io(event, &source, upg_conn_fd(client->conn), events_of(client), on_client, client);

	client->watch = source;
	return r < 0 ? r : 0;
}

void loop_unwatch(struct client *client)
{
	sd_event_source_disable_unref(client->watch);
}

int main(int argc, char **argv)
{
	int listener;

	if (sd_event_default(&event) < 0)
		return EXIT_FAILURE;
	listener = echo_open(argc, argv, NULL);
	if (upg_sd_event_watch(&glue, upg, event) < 0 || sd_event_add_io(event, NULL, listener, EPOLLIN, on_listener, NULL) < 0)
		return EXIT_FAILURE;
	sd_event_loop(event);
	return glue.leaves ? EXIT_SUCCESS : EXIT_FAILURE;
}
