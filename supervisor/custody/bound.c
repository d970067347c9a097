/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/bound.h"

#include "supervisor/custody/sockdiag.h"
#include "supervisor/machine/procfs.h"

#include <linux/inet_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTENS (1u << 10) /* the kernel's state of a listener */
#define UNCONNECTED (1u << 7) /* ... and of a socket of datagrams */

/* What is looked for, and the inode of what was found. */
struct wanted {
	const struct sockaddr *at;
	int family; /* that is being listed */
	unsigned long long inode; /* 0: nothing yet */
};

/* ---- internet ---- */

static in_port_t port_of(const struct sockaddr *at)
{
	return at->sa_family == AF_INET ? ((const struct sockaddr_in *)(const void *)at)->sin_port :
					  ((const struct sockaddr_in6 *)(const void *)at)->sin6_port;
}

static const void *host_of(const struct sockaddr *at, size_t *ret_bytes)
{
	*ret_bytes = at->sa_family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
	return at->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)(const void *)at)->sin_addr :
					  (const void *)&((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
}

static bool is_any(const void *host, size_t bytes)
{
	static const uint8_t any[sizeof(struct in6_addr)];

	return memcmp(host, any, bytes) == 0;
}

static void on_inet(const void *entry, size_t size, void *userdata)
{
	const struct inet_diag_msg *message = entry;
	struct wanted *wanted = userdata;
	const void *host;
	size_t bytes;

	if (size < sizeof(*message) || wanted->inode || message->id.idiag_sport != port_of(wanted->at))
		return;
	host = host_of(wanted->at, &bytes);
	/* One of the other family is in the way if it is for all addresses of both. */
	if (wanted->family != wanted->at->sa_family ?
		    is_any(message->id.idiag_src, sizeof(struct in6_addr)) :
		    is_any(host, bytes) || is_any(message->id.idiag_src, bytes) || memcmp(message->id.idiag_src, host, bytes) == 0)
		wanted->inode = message->idiag_inode;
}

static void find_inet(struct sockdiag *diag, struct wanted *wanted, int type)
{
	const int other = wanted->at->sa_family == AF_INET ? AF_INET6 : AF_INET, families[] = { wanted->at->sa_family, other };
	struct inet_diag_req_v2 request = { .idiag_states = type == SOCK_STREAM ? LISTENS : UNCONNECTED };

	request.sdiag_protocol = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	for (size_t i = 0; i < 2 && !wanted->inode; i++) {
		wanted->family = families[i];
		request.sdiag_family = (uint8_t)families[i];
		if (sockdiag_dump(diag, &request, sizeof(request), on_inet, wanted, NULL) < 0)
			return;
	}
}

/* ---- unix ---- */

static void on_unix(const void *entry, size_t size, void *userdata)
{
	const struct unix_diag_msg *message = entry;
	struct wanted *wanted = userdata;
	const struct sockaddr_un *local = (const void *)wanted->at;
	size_t length = 0, want = strnlen(local->sun_path + 1, sizeof(local->sun_path) - 1) + 1;
	const char *name;

	if (size < sizeof(*message) || wanted->inode)
		return;
	name = sockdiag_attribute(entry, size, sizeof(*message), UNIX_DIAG_NAME, &length);
	/* A path comes with the zero byte at its end, or without. */
	if (name && length >= want && memcmp(name, local->sun_path, want) == 0 && (length == want || !name[want]))
		wanted->inode = message->udiag_ino;
}

static void find_unix(struct sockdiag *diag, struct wanted *wanted)
{
	const struct unix_diag_req request = { .sdiag_family = AF_UNIX, .udiag_states = LISTENS, .udiag_show = UDIAG_SHOW_NAME };

	(void)sockdiag_dump(diag, &request, sizeof(request), on_unix, wanted, NULL);
}

/* ---- whose it is ---- */

static int holds(void *inode, pid_t pid)
{
	return procfs_find_socket(pid, *(const unsigned long long *)inode, PROCFS_FDS_MAX) >= 0 ? pid : 0;
}

const char *bound_by(const struct sockaddr *at, int type, char *buf, size_t size)
{
	struct wanted wanted = { .at = at };
	struct sockdiag *diag;
	pid_t pid = 0;
	char name[32];

	*buf = 0;
	if (sockdiag_new(&diag, NULL) < 0)
		return buf;
	if (at->sa_family == AF_UNIX)
		find_unix(diag, &wanted);
	else
		find_inet(diag, &wanted, type);
	sockdiag_free(diag);
	if (wanted.inode)
		pid = procfs_each(holds, &wanted.inode);
	if (pid > 0)
		snprintf(buf, size, "pid %d (%s)", (int)pid, procfs_name(pid, name, sizeof(name)));
	return buf;
}
