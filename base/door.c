/* SPDX-License-Identifier: MIT */
#include "base/door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int option(int fd, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

static bool is_connected(int fd)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}

enum door door_kind(int fd)
{
	int type = option(fd, SO_TYPE);

	if (type < 0)
		return DOOR_NONE;
	if (option(fd, SO_ACCEPTCONN) > 0)
		return DOOR_LISTENER;
	if ((type == SOCK_DGRAM || type == SOCK_RAW) && !is_connected(fd))
		return DOOR_DATAGRAMS;
	return DOOR_NONE;
}

bool door_is_open(int fd, enum door kind)
{
	struct pollfd shut = { .fd = fd, .events = POLLRDHUP };

	if (kind == DOOR_LISTENER)
		return option(fd, SO_ACCEPTCONN) > 0;
	if (kind == DOOR_DATAGRAMS)
		return option(fd, SO_TYPE) >= 0 && poll(&shut, 1, 0) >= 0 && !(shut.revents & POLLRDHUP);
	return false;
}

static int backlog_of(int fd)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	/* Of a listener the kernel tells its queue here. */
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == TCP_LISTEN)
		return (int)info.tcpi_sacked;
	return SOMAXCONN;
}

bool door_note(int fd, struct door_place *ret)
{
	socklen_t bytes = sizeof(ret->at);

	*ret = (struct door_place){ .kind = door_kind(fd) };
	if (ret->kind == DOOR_NONE)
		return false;
	if (getsockname(fd, (struct sockaddr *)(void *)ret->at, &bytes) == 0)
		ret->at_bytes = bytes;
	ret->backlog = ret->kind == DOOR_LISTENER ? backlog_of(fd) : 0;
	return true;
}

static bool is_at(int fd, const struct door_place *place)
{
	_Alignas(8) char at[sizeof(place->at)] = "";
	socklen_t bytes = sizeof(at);

	return getsockname(fd, (struct sockaddr *)(void *)at, &bytes) == 0 && bytes == place->at_bytes &&
	       memcmp(at, place->at, bytes) == 0;
}

int door_reopen(int fd, const struct door_place *place)
{
	if (door_is_open(fd, place->kind))
		return 0;
	if (place->kind != DOOR_LISTENER)
		return -ESHUTDOWN;
	/* A port that the kernel had chosen went back to it, which cannot be seen. Of any other this says that it is bound. */
	if (bind(fd, (const struct sockaddr *)(const void *)place->at, place->at_bytes) < 0 && errno != EINVAL)
		return -errno;
	if (listen(fd, place->backlog) < 0)
		return -errno;
	return is_at(fd, place) ? 0 : -EADDRNOTAVAIL;
}

const char *door_text(const struct sockaddr *at, unsigned at_bytes, char *buf, size_t size)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)at;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)at;
	const struct sockaddr_un *local = (const struct sockaddr_un *)(const void *)at;
	char host[INET6_ADDRSTRLEN] = "";
	int n = (int)at_bytes - (int)offsetof(struct sockaddr_un, sun_path);

	*buf = 0;
	if (at_bytes >= sizeof(*v4) && at->sa_family == AF_INET && inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host)))
		snprintf(buf, size, "%s:%u", host, ntohs(v4->sin_port));
	else if (at_bytes >= sizeof(*v6) && at->sa_family == AF_INET6 && inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host)))
		snprintf(buf, size, "[%s]:%u", host, ntohs(v6->sin6_port));
	else if (n > 0 && at->sa_family == AF_UNIX && *local->sun_path)
		snprintf(buf, size, "%.*s", n, local->sun_path);
	else if (n > 1 && at->sa_family == AF_UNIX)
		snprintf(buf, size, "@%.*s", n - 1, local->sun_path + 1);
	return buf;
}

const char *door_address(int fd, char *buf, size_t size)
{
	struct sockaddr_storage at;
	socklen_t bytes = sizeof(at);

	*buf = 0;
	return getsockname(fd, (struct sockaddr *)&at, &bytes) < 0 ? buf : door_text((struct sockaddr *)&at, bytes, buf, size);
}

bool door_is_reachable(int fd)
{
	char path[128];
	struct stat st;

	return *door_address(fd, path, sizeof(path)) != '/' || (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode));
}
