/* SPDX-License-Identifier: MIT */
#include "wire/wire.h"

#include "base/closer.h"
#include "base/fd.h"
#include "base/lack.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64
/* What is written to sun_path, which is short: the directory of the socket is reached through a descriptor of our own. */
#define SHORT_PATH "/proc/self/fd/%d/%s"

int wire_fds_claim(struct wire_fds *fds, size_t i)
{
	int fd = -1;

	if (i < fds->n) {
		fd = fds->fd[i];
		fds->fd[i] = -1;
	}
	return fd;
}

void wire_fds_close(struct wire_fds *fds)
{
	fd_give_up_all(fds->fd, fds->n);
	fds->n = 0;
}

static int send_failed(int error, struct why *why)
{
	switch (error) {
	case EAGAIN:
	case ENOBUFS:
		return WIRE_AGAIN;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		why_set(why, 0, "the other end of the channel is gone");
		return WIRE_CLOSED;
	case ETOOMANYREFS:
		return why_errno(why, -error, "send: too many descriptors in flight (raise LimitNOFILE=)");
	default:
		return why_errno(why, -error, "send");
	}
}

int wire_send_packed(int fd, void *data, size_t size_bytes, const int *fds, size_t n, struct why *why)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = size_bytes };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (n > WIRE_FDS_MAX)
		return why_set(why, -EMSGSIZE, "send: %zu descriptors in one message, at most %u travel", n, WIRE_FDS_MAX);
	if (n) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n);
	}
	do
		sent = sendmsg(fd, &header, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? send_failed(errno, why) : WIRE_OK;
}

int wire_send(int fd, const ProtobufCMessage *message, const int *fds, size_t n, struct why *why)
{
	uint8_t data[WIRE_MESSAGE_MAX];
	size_t size = protobuf_c_message_get_packed_size(message);

	if (size > sizeof(data))
		return why_set(why, -EMSGSIZE, "send: a message of %zu bytes, at most %u travel", size, WIRE_MESSAGE_MAX);
	protobuf_c_message_pack(message, data);
	return wire_send_packed(fd, data, size, fds, n, why);
}

static void collect_fds(struct msghdr *header, struct wire_fds *fds)
{
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
		size_t n;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
			if (fds->n < WIRE_FDS_MAX)
				fds->fd[fds->n++] = fd;
			else
				fd_give_up(fd);
		}
	}
}

static void *note_lack(void *lacks, size_t size_bytes)
{
	void *at = malloc(size_bytes);

	if (!at)
		*(bool *)lacks = true;
	return at;
}

static void give_back(void *lacks, void *at)
{
	(void)lacks;
	free(at);
}

/* protobuf-c takes a lack of memory for a damaged message. */
int wire_unpack(const ProtobufCMessageDescriptor *descriptor, size_t size_bytes, const uint8_t *data,
		ProtobufCMessage **ret_message)
{
	ProtobufCMessage *message;
	unsigned tries = 0;
	bool lacks;

	do {
		ProtobufCAllocator allocator = { .alloc = note_lack, .free = give_back, .allocator_data = &lacks };

		lacks = false;
		message = protobuf_c_message_unpack(descriptor, &allocator, size_bytes, data);
	} while (lacks && lack_again(ENOMEM, &tries));
	if (!message)
		return lacks ? -ENOMEM : -EBADMSG;
	*ret_message = message;
	return 0;
}

int wire_receive(int fd, const ProtobufCMessageDescriptor *descriptor, void *buffer, struct wire_fds *ret_fds,
		 ProtobufCMessage **ret_message, struct why *why)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = buffer, .iov_len = WIRE_MESSAGE_MAX };
	struct msghdr header = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	unsigned tries = 0;
	ssize_t got;
	int r;

	ret_fds->n = 0;
	ret_fds->cut = false;
	do
		got = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	while (got < 0 && (errno == EINTR || lack_again(errno, &tries)));
	if (got < 0 && errno == EAGAIN)
		return WIRE_AGAIN;
	if (got < 0 && errno != ECONNRESET)
		return why_errno(why, -errno, "receive");
	if (got >= 0)
		collect_fds(&header, ret_fds);
	/* An empty datagram looks like the end of the channel, but descriptors may have come with it. */
	if (got <= 0) {
		wire_fds_close(ret_fds);
		why_set(why, 0, "the other end of the channel is gone");
		return WIRE_CLOSED;
	}
	if (header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
		ret_fds->cut = header.msg_flags & MSG_CTRUNC;
		wire_fds_close(ret_fds);
		return why_set(why, -EBADMSG, "%s were cut off on the way%s",
			       header.msg_flags & MSG_CTRUNC ? "descriptors" : "bytes of a message",
			       header.msg_flags & MSG_CTRUNC ? " (out of file descriptors? raise LimitNOFILE=)" : "");
	}
	r = wire_unpack(descriptor, (size_t)got, buffer, ret_message);
	if (r < 0) {
		wire_fds_close(ret_fds);
		if (r == -ENOMEM)
			return why_set(why, -EBADMSG, "a datagram of %zd bytes, for which there was no memory", got);
		return why_set(why, -EBADMSG, "a datagram of %zd bytes that is no %s", got, descriptor->short_name);
	}
	return WIRE_OK;
}

const char *wire_app_name(const Upgraded__Wire__AppMessage *message)
{
	const ProtobufCFieldDescriptor *field;

	field = protobuf_c_message_descriptor_get_field(message->base.descriptor, (unsigned)message->body_case);
	return field ? field->name : "an unknown message";
}

/* Make a socket address for @path, however long it is, by way of a descriptor of its directory (owned by the caller). */
static int short_address(const char *path, struct sockaddr_un *ret_address, int *ret_dir, struct why *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char dir[4096];
	int fd, n;

	if (!*name)
		return why_set(why, -EINVAL, "%s: names no socket", path);
	n = snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	if (n < 0 || (size_t)n >= sizeof(dir))
		return why_set(why, -ENAMETOOLONG, "the path of a socket is too long");
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return why_errno(why, -errno, "%s", dir);
	n = snprintf(address.sun_path, sizeof(address.sun_path), SHORT_PATH, fd, name);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path)) {
		fd_close(fd);
		return why_set(why, -ENAMETOOLONG, "%s: the socket's name is too long", path);
	}
	*ret_address = address;
	*ret_dir = fd;
	return 0;
}

static int connect_to(const struct sockaddr_un *address, int flags, const char *path, struct why *why)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		return why_errno(why, -errno, "socket");
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		int error = -errno;

		fd_close(fd);
		return why_errno(why, error, "%s", path);
	}
	return fd;
}

int wire_connect(const char *path, struct why *why)
{
	FD_CLEANUP int dir = -1;
	struct sockaddr_un address;
	int r = short_address(path, &address, &dir, why);

	return r < 0 ? r : connect_to(&address, 0, path, why);
}

/* Remove the socket at @address, unless somebody answers there or it is no socket. */
static int remove_stale(const struct sockaddr_un *address, const char *path, struct why *why)
{
	struct stat st;
	int other;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : why_errno(why, -errno, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return why_set(why, -EEXIST, "%s: is there already and is no socket", path);
	other = connect_to(address, SOCK_NONBLOCK, path, NULL);
	/* EAGAIN: the queue of connections is full, so somebody listens there who is too busy to answer. */
	if (other >= 0 || other == -EAGAIN) {
		fd_close(other);
		return why_set(why, -EADDRINUSE, "%s: another process answers there", path);
	}
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return why_errno(why, -errno, "%s", path);
	return 0;
}

int wire_listen(const char *path, unsigned mode, struct why *why)
{
	FD_CLEANUP int dir = -1;
	FD_CLEANUP int fd = -1;
	struct sockaddr_un address;
	int r;

	r = short_address(path, &address, &dir, why);
	if (r == 0)
		r = remove_stale(&address, path, why);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return why_errno(why, -errno, "socket");
	/* The mode is set before anyone can connect, as a socket that does not listen yet refuses everybody. */
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || chmod(address.sun_path, mode) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return why_errno(why, -errno, "%s", path);
	r = fd;
	fd = -1;
	return r;
}
