/* SPDX-License-Identifier: MIT */
#include "shim/examples/chatd/connection.h"
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
/* What a client does not read is to be counted here, and to travel, rather than to lie in megabytes of kernel memory. */
#define SEND_BUFFER_BYTES (32 * 1024)

int listener_find(struct server *server)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	const struct options *options = &server->options;
	int rc = getaddrinfo(options->address, options->port, &hints, &server->address);

	if (rc == 0)
		return 0;
	fprintf(stderr, "chatd: %s port %s: %s\n", options->address, options->port, gai_strerror(rc));
	return -EADDRNOTAVAIL;
}

/* The listener does not block, unlike the connections: a client may be gone again between poll() and accept(). */
int listener_open(struct server *server)
{
	const struct addrinfo *at = server->address;

	server->listener = upg_listen(server->upg, at->ai_addr, at->ai_addrlen, SOCK_STREAM | SOCK_NONBLOCK, BACKLOG);
	return server->listener < 0 ? server->listener : 0;
}

/* Return: negative: the descriptor is still the caller's. */
static int take(struct server *server, int fd)
{
	const int on = 1, bytes = SEND_BUFFER_BYTES;
	uint64_t tag;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
	int rc = upg_fd_register_new(server->upg, fd, "client", &tag);
	if (rc < 0)
		return rc;
	struct connection *connection = connection_new(server, fd, tag);
	if (!connection)
		return -ENOMEM;
	rc = connection_serve(connection);
	if (rc < 0)
		connection_free(connection);
	return rc;
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

static bool is_full(struct server *server)
{
	pthread_mutex_lock(&server->lock);
	bool full = server->n_connections >= server->options.connections_max;
	pthread_mutex_unlock(&server->lock);
	return full;
}

void listener_accept(struct server *server)
{
	static const char full[] = "ERR too many clients\n";

	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				turn_one_away(server);
			return;
		}
		if (is_full(server)) {
			send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
			close(fd);
		} else if (take(server, fd) < 0) {
			upg_close(server->upg, fd, -1);
		}
	}
}
