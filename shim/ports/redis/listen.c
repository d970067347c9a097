/* SPDX-License-Identifier: MIT */
/* Listeners and the descriptors of clients.
 *
 * redis opens its listeners long before it knows its data. A version that waits to take over can only do so when the one
 * that serves has handed them over. So until then each open gives a socket that is bound to nothing, and listeners_open() has
 * redis close these and open all of them again, as it does when its addresses are changed by CONFIG SET.
 */
#include <private.h>

#include <errno.h>
#include <netdb.h>
#include <sys/un.h>

int __real_anetTcpServer(char *err, int port, char *address, int backlog);
int __real_anetTcp6Server(char *err, int port, char *address, int backlog);
int __real_anetUnixServer(char *err, char *path, mode_t mode, int backlog);
int __wrap_anetTcpServer(char *err, int port, char *address, int backlog);
int __wrap_anetTcp6Server(char *err, int port, char *address, int backlog);
int __wrap_anetUnixServer(char *err, char *path, mode_t mode, int backlog);

static int for_good; /* what is opened is a listener */

static int placeholder(char *err)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		snprintf(err, ANET_ERR_LEN, "socket: %s", strerror(errno));
	return fd;
}

/* redis looks at errno to see whether an address may be left out. */
static int listened(char *err, int rc)
{
	if (rc >= 0)
		return rc;
	snprintf(err, ANET_ERR_LEN, "%s", upg_why(upg));
	errno = -rc;
	return ANET_ERR;
}

static int listen_tcp(char *err, int family, const char *address, int port, int backlog)
{
	const struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *found;
	char service[16];
	int rc;

	if (!for_good)
		return placeholder(err);
	if (address && strcmp(address, family == AF_INET6 ? "::*" : "*") == 0)
		address = NULL;
	snprintf(service, sizeof(service), "%d", port);
	rc = getaddrinfo(address, service, &hints, &found);
	if (rc != 0) {
		snprintf(err, ANET_ERR_LEN, "%s", gai_strerror(rc));
		errno = EINVAL;
		return ANET_ERR;
	}
	rc = upg_listen(upg, found->ai_addr, found->ai_addrlen, SOCK_STREAM | SOCK_NONBLOCK, backlog);
	freeaddrinfo(found);
	return listened(err, rc);
}

int __wrap_anetTcpServer(char *err, int port, char *address, int backlog)
{
	return upg ? listen_tcp(err, AF_INET, address, port, backlog) : __real_anetTcpServer(err, port, address, backlog);
}

int __wrap_anetTcp6Server(char *err, int port, char *address, int backlog)
{
	return upg ? listen_tcp(err, AF_INET6, address, port, backlog) : __real_anetTcp6Server(err, port, address, backlog);
}

int __wrap_anetUnixServer(char *err, char *path, mode_t mode, int backlog)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (!upg)
		return __real_anetUnixServer(err, path, mode, backlog);
	if (!for_good)
		return placeholder(err);
	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(err, ANET_ERR_LEN, "%s: the path of a unix socket has less than %zu bytes", path,
			 sizeof(address.sun_path));
		return ANET_ERR;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = listened(err, upg_listen(upg, (struct sockaddr *)&address, sizeof(address), SOCK_STREAM | SOCK_NONBLOCK, backlog));
	if (fd >= 0 && mode)
		chmod(path, mode);
	return fd;
}

int listeners_open(void)
{
	int tcp;

	for_good = 1;
	tcp = changeBindAddr();
	if (tcp == C_OK && server.unixsocket) {
		aeDeleteFileEvent(server.el, server.sofd, AE_READABLE);
		close(server.sofd);
		server.sofd = anetUnixServer(server.neterr, server.unixsocket, (mode_t)server.unixsocketperm, server.tcp_backlog);
		if (server.sofd >= 0 &&
		    aeCreateFileEvent(server.el, server.sofd, AE_READABLE, acceptUnixHandler, NULL) == AE_OK)
			return 0;
	} else if (tcp == C_OK && server.ipfd.count > 0) {
		return 0;
	}
	upg_refuse(upg, "it cannot listen: %s", server.neterr);
	return -EADDRINUSE;
}

int port_unlink(const char *path)
{
	/* upg_listen() replaces a path at which nobody answers. */
	return upg ? 0 : unlink(path);
}

int port_close(int fd)
{
	if (!upg || server.in_fork_child != CHILD_TYPE_NONE)
		return close(fd); /* a child's copy: the connection is its parent's */
	upg_close(upg, fd, -1);
	return 0;
}

void port_client_linked(client *c)
{
	/* One that was handed over is registered already, and stays so. */
	if (upg)
		upg_fd_register(upg, c->conn->fd, "client", c->id);
}
