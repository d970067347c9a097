/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/conn_id.h"

#include "base/fd.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

static int address_put(const struct sockaddr_storage *address, __be16 *ret_port, __be32 ret_address[4], __u32 *interface)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;

	if (address->ss_family == AF_INET) {
		*ret_port = v4->sin_port;
		ret_address[0] = v4->sin_addr.s_addr;
		return 0;
	}
	if (address->ss_family != AF_INET6)
		return -EAFNOSUPPORT;
	*ret_port = v6->sin6_port;
	memcpy(ret_address, &v6->sin6_addr, sizeof(v6->sin6_addr));
	if (v6->sin6_scope_id)
		*interface = v6->sin6_scope_id;
	return 0;
}

static bool is_listener(int fd)
{
	int listening = 0;
	socklen_t size = sizeof(listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

int conn_identify(int fd, struct conn_id *ret_id)
{
	struct conn_id id = { .addresses = { .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } } };
	struct inet_diag_sockid *addresses = &id.addresses;
	struct sockaddr_storage own, peer;
	socklen_t size = sizeof(int);
	int protocol, r = fd_inode(fd, &id.inode);

	if (r < 0)
		return r;
	ret_id->inode = id.inode;
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0 || protocol != IPPROTO_TCP)
		return CONN_NO_TCP;
	size = sizeof(peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0) {
		if (is_listener(fd))
			return CONN_NO_TCP;
		*ret_id = id; /* it has ended */
		return 0;
	}
	size = sizeof(own);
	if (getsockname(fd, (struct sockaddr *)&own, &size) < 0)
		return -errno;
	if (address_put(&own, &addresses->idiag_sport, addresses->idiag_src, &addresses->idiag_if) < 0 ||
	    address_put(&peer, &addresses->idiag_dport, addresses->idiag_dst, &addresses->idiag_if) < 0)
		return CONN_NO_TCP;
	id.family = (uint8_t)own.ss_family;
	*ret_id = id;
	return 0;
}

uint32_t conn_bound_interface(int fd)
{
	int interface = 0;
	socklen_t size = sizeof(interface);

	return getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &interface, &size) == 0 && interface > 0 ? (uint32_t)interface : 0;
}
