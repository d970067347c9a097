/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/connection.h"
#include "shim/examples/cached/server.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define BACKLOG 1024

int listener_find(struct server *server)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	const struct options *options = &server->options;
	int rc = getaddrinfo(options->address, options->port, &hints, &server->address);

	if (rc == 0)
		return 0;
	fprintf(stderr, "cached: %s port %s: %s\n", options->address, options->port, gai_strerror(rc));
	return -EADDRNOTAVAIL;
}

int listener_open(struct server *server)
{
	const struct addrinfo *at = server->address;

	server->listener = upg_listen(server->upg, at->ai_addr, at->ai_addrlen, SOCK_STREAM | SOCK_NONBLOCK, BACKLOG);
	return server->listener < 0 ? server->listener : 0;
}

static void take(struct server *server, int fd)
{
	const int on = 1;
	struct upg_conn *conn;
	uint64_t id;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	int rc = upg_conn_new(server->upg, fd, "client", &id, &conn);
	if (rc < 0) {
		close(fd);
		return;
	}
	struct connection *connection = connection_new(conn, id);
	if (connection && worker_add(server, connection) == 0)
		return;
	connection_free(connection);
	upg_conn_close(conn, -1);
}

/* Descriptors have run out: without this the client waits for ever and the listener stays readable. */
static void turn_one_away(struct server *server)
{
	if (server->spare_fd < 0)
		return;
	close(server->spare_fd);
	int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void listener_accept(struct server *server)
{
	static const char full[] = "SERVER_ERROR too many open connections\r\n";

	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				turn_one_away(server);
			return;
		}
		if (atomic_load(&server->curr_connections) >= server->options.connections_max) {
			send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
			close(fd);
			continue;
		}
		atomic_fetch_add(&server->total_connections, 1);
		take(server, fd);
	}
}
