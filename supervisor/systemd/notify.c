/* SPDX-License-Identifier: MIT */
/* Without libsystemd, whose calls wait where systemd does not read, as while it is executed anew: the loop waits for nobody. */
#include "supervisor/systemd/notify.h"

#include "base/fd.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Return: its length; 0: there is none that can be used. */
static socklen_t address(struct sockaddr_un *ret)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;

	if (length < 2 || length >= sizeof(ret->sun_path) || (*path != '/' && *path != '@'))
		return 0;
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret->sun_path, path, length + 1);
	if (*path == '@')
		ret->sun_path[0] = 0;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*path == '/'));
}

bool notify_is_wanted(void)
{
	struct sockaddr_un at;

	return address(&at) > 0;
}

int notify_send(const char *text, const int *fds, size_t n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(NOTIFY_FDS_MAX * sizeof(int))] = { 0 };
	struct iovec line = { .iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text) };
	struct msghdr message = { .msg_iov = &line, .msg_iovlen = 1 };
	FD_CLEANUP int fd = -1;
	struct sockaddr_un at;

	message.msg_name = &at;
	message.msg_namelen = address(&at);
	if (!message.msg_namelen)
		return 0;
	if (n > NOTIFY_FDS_MAX)
		return -E2BIG;
	if (n) {
		struct cmsghdr *rights;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, n * sizeof(int));
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 1;
}
