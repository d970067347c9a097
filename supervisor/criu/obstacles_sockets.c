/* SPDX-License-Identifier: MIT */
/*
 * Obstacles among the sockets. Only a socket itself tells what it is. So each socket is borrowed from the process for a moment with
 * pidfd_getfd(2), and none of its bytes or settings is touched. Who is at the other end of a unix socket is in the kernel's list
 * alone.
 */
#include "supervisor/criu/obstacles_private.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/criu/unix_sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int option(int fd, int name)
{
	int value = 0;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

static const char *address_print(int fd, int (*get)(int fd, struct sockaddr *address, socklen_t *length), char *buf,
				 size_t size)
{
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof(address);
	char host[INET6_ADDRSTRLEN] = "?";

	snprintf(buf, size, "nobody");
	if (get(fd, (struct sockaddr *)&address, &length) < 0)
		return buf;
	if (address.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;

		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(buf, size, "%s:%u", host, (unsigned)ntohs(v4->sin_port));
	} else if (address.ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;

		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(buf, size, "[%s]:%u", host, (unsigned)ntohs(v6->sin6_port));
	}
	return buf;
}

/* glibc declares these with a transparent union, which makes their type not that of a plain pointer. */
static int socket_peer(int fd, struct sockaddr *address, socklen_t *length)
{
	return getpeername(fd, address, length);
}

static int socket_own(int fd, struct sockaddr *address, socklen_t *length)
{
	return getsockname(fd, address, length);
}

static void check_inet(struct subject *subject, int number, int fd)
{
	int type = option(fd, SO_TYPE), protocol = option(fd, SO_PROTOCOL);
	char address[64];

	if (type == SOCK_STREAM && protocol == IPPROTO_TCP && option(fd, SO_ACCEPTCONN) == 1)
		obstacle_note(subject, OBSTACLE_WARNING, number, "internet socket",
			      "descriptor %d: listens on %s and is not registered: nobody listens there while the process is an "
			      "image",
			      number, address_print(fd, socket_own, address, sizeof(address)));
	else if (type == SOCK_STREAM && protocol == IPPROTO_TCP)
		obstacle_note(subject, OBSTACLE_WARNING, number, "internet socket",
			      "descriptor %d: a TCP connection to %s that is not registered: it will "
			      "be closed after a restore",
			      number, address_print(fd, socket_peer, address, sizeof(address)));
	else if (type == SOCK_DGRAM && (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE))
		obstacle_note(subject, OBSTACLE_WARNING, number, "internet socket",
			      "descriptor %d: a UDP socket at %s that is not registered: what is sent "
			      "to it while the process is an image is lost",
			      number, address_print(fd, socket_own, address, sizeof(address)));
	else if (type != SOCK_RAW)
		obstacle_note(subject, OBSTACLE_FATAL, number, "internet socket",
			      "descriptor %d: an internet socket of protocol %d cannot be imaged", number, protocol);
}

static void check_unix(struct subject *subject, int number, int fd, unsigned long long inode, const struct unix_sockets *list)
{
	const struct unix_socket *own = unix_sockets_find(list, inode), *peer;
	size_t n_peers = 0;

	if (option(fd, SO_ACCEPTCONN) == 1) {
		obstacle_note(subject, OBSTACLE_WARNING, number, "unix listener",
			      "descriptor %d: a unix socket that listens and is not registered: nobody listens there while "
			      "the process is an image; if the next version takes its path, it is not found there any more",
			      number);
		return;
	}
	if (own && own->peer)
		(void)subject_owners(subject, own->peer, &n_peers);
	if (!own || own->peer == 0 || n_peers > 0)
		return; /* connected to nobody, or within the process */
	peer = unix_sockets_find(list, own->peer);
	if (option(fd, SO_TYPE) == SOCK_DGRAM && peer && peer->name)
		return; /* like a log's socket: connected again after a restore */
	obstacle_note(subject, OBSTACLE_FATAL, number, "unix peer",
		      "descriptor %d: a unix socket connected to another process (its socket %u), and "
		      "not registered: CRIU does not take half of a connection",
		      number, own->peer);
}

static void check_socket(struct subject *subject, const struct open_fd *open_fd, int pidfd, const struct unix_sockets *list)
{
	FD_CLEANUP int fd = pidfd_getfd(pidfd, open_fd->fd, 0);
	unsigned long long inode;

	/* The process closed or replaced it since it was listed: there is nothing to say of it any more. */
	if (fd < 0 || fd_inode(fd, &inode) < 0 || inode != open_fd->inode)
		return;
	switch (option(fd, SO_DOMAIN)) {
	case AF_UNIX: check_unix(subject, open_fd->fd, fd, inode, list); break;
	case AF_INET: case AF_INET6: check_inet(subject, open_fd->fd, fd); break;
	case AF_NETLINK: case AF_PACKET: break;
	default:
		obstacle_note(subject, OBSTACLE_FATAL, open_fd->fd, "socket",
			      "descriptor %d: a socket of address family %d cannot be imaged", open_fd->fd,
			      option(fd, SO_DOMAIN));
	}
}

int obstacles_of_sockets(struct subject *subject, struct why *why)
{
	struct unix_sockets list = { 0 };
	FD_CLEANUP int pidfd = pidfd_open(subject->spec->pid, 0);
	int r;

	if (pidfd < 0)
		return why_errno(why, -errno, "cannot look at process %d", (int)subject->spec->pid);
	r = unix_sockets_read(&list, why);
	for (size_t i = 0; r == 0 && i < subject->n_fds; i++)
		if (S_ISSOCK(subject->fds[i].mode) && !subject_knows(subject, subject->fds[i].inode))
			check_socket(subject, &subject->fds[i], pidfd, &list);
	unix_sockets_done(&list);
	return r;
}
