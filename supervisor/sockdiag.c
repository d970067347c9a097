/* SPDX-License-Identifier: MIT */
#include "supervisor/sockdiag.h"

#include "base/why.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/handlers.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>

#define DATAGRAM_BYTES (64u * 1024u) /* per read; fewer reads for many sockets */

struct sockdiag {
	struct nl_sock *socket;
	void (*each)(const void *entry, size_t size, void *userdata);
	void *userdata;
};

struct sockdiag *sockdiag_free(struct sockdiag *diag)
{
	if (!diag)
		return NULL;
	nl_socket_free(diag->socket);
	free(diag);
	return NULL;
}

int sockdiag_new(struct sockdiag **ret_diag, struct why *why)
{
	struct sockdiag *diag = calloc(1, sizeof(*diag));
	int r = -NLE_NOMEM;

	if (diag)
		diag->socket = nl_socket_alloc();
	if (diag && diag->socket)
		r = nl_connect(diag->socket, NETLINK_SOCK_DIAG);
	if (r == 0)
		r = nl_socket_set_msg_buf_size(diag->socket, DATAGRAM_BYTES);
	if (r == 0)
		r = nl_socket_set_nonblocking(diag->socket); /* a kernel that owes us an answer must not hold us up */
	if (r < 0) {
		sockdiag_free(diag);
		return why_set(why, -EIO, "cannot ask the kernel for its sockets (sock_diag): %s", nl_geterror(r));
	}
	*ret_diag = diag;
	return 0;
}

static int on_valid(struct nl_msg *message, void *userdata)
{
	const struct sockdiag *diag = userdata;
	struct nlmsghdr *header = nlmsg_hdr(message);

	diag->each(nlmsg_data(header), (size_t)nlmsg_datalen(header), diag->userdata);
	return NL_OK;
}

static int dump_ask(struct nl_sock *socket, struct nl_cb *callbacks, struct nl_msg *message, const void *request,
		    size_t size)
{
	void *body = nlmsg_reserve(message, size, NLMSG_ALIGNTO);
	int r;

	if (!body)
		return -NLE_NOMEM;
	memcpy(body, request, size);
	r = nl_send_auto(socket, message);
	return r < 0 ? r : nl_recvmsgs(socket, callbacks);
}

int sockdiag_dump(struct sockdiag *diag, const void *request, size_t size,
		  void (*each)(const void *entry, size_t size, void *userdata), void *userdata, struct why *why)
{
	struct nl_msg *message = nlmsg_alloc_simple(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
	struct nl_cb *callbacks = nl_cb_alloc(NL_CB_DEFAULT);
	int r = -NLE_NOMEM;

	diag->each = each;
	diag->userdata = userdata;
	if (message && callbacks) {
		r = nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM, on_valid, diag);
		if (r == 0)
			r = dump_ask(diag->socket, callbacks, message, request, size);
	}
	nlmsg_free(message);
	nl_cb_put(callbacks);
	if (r == -NLE_DUMP_INTR)
		return why_set(why, -EINTR, "the kernel's list of sockets changed while it was read");
	if (r < 0)
		return why_set(why, -EIO, "the kernel gives no list of its sockets (sock_diag): %s", nl_geterror(r));
	return 0;
}

const void *sockdiag_attribute(const void *entry, size_t size, size_t header_size, int type, size_t *ret_size)
{
	const struct nlattr *attribute;
	size_t aligned = NLMSG_ALIGN(header_size);

	if (size <= aligned)
		return NULL;
	attribute = nla_find((const struct nlattr *)(const void *)((const char *)entry + aligned), (int)(size - aligned),
			     type);
	if (!attribute)
		return NULL;
	*ret_size = (size_t)nla_len(attribute);
	return nla_data(attribute);
}
