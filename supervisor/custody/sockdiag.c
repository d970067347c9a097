/* SPDX-License-Identifier: MIT */
/*
 * Two ways to ask. A list (NLM_F_DUMP) is made while it is read, and the kernel walks all the sockets it has for it. A single
 * socket, named by its addresses, is looked up as a packet's would be. Such questions can lie many in one datagram; the
 * kernel answers all of them before the send returns, each with a datagram of its own, and recvmmsg(2) fetches those
 * together. For 1,000 of 2,000 sockets that is a quarter of what the list takes, and it does not grow with what others have open.
 */
#include "supervisor/custody/sockdiag.h"

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
#include <sys/socket.h>

#define DATAGRAM_BYTES (64u * 1024u) /* per read; fewer reads for many sockets */
#define ASK_MAX 64u                  /* questions in one datagram */
#define ANSWER_BYTES 1600u           /* a socket with its attributes: about 700; no power of two, for the caches */
#define ANSWER_ROOM_BYTES 4096u      /* what one takes of the socket's buffer, with all that the kernel adds */
#define QUESTION_BYTES 128u
#define RECEIVE_BYTES (128 * 1024)

/* Where answers are read to; made when it is first needed. */
struct answers {
	uint8_t data[ASK_MAX][ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	uint8_t questions[ASK_MAX * QUESTION_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct mmsghdr header[ASK_MAX];
	struct iovec iov[ASK_MAX];
};

struct sockdiag {
	struct nl_sock *socket;
	struct answers *answers; /* NULL until sockdiag_ask() */
	size_t ask_max;
	void (*each)(const void *entry, size_t size, void *userdata);
	void *userdata;
};

struct sockdiag *sockdiag_free(struct sockdiag *diag)
{
	if (!diag)
		return NULL;
	nl_socket_free(diag->socket);
	free(diag->answers);
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

/* ---- single sockets ---- */

static struct answers *answers_new(void)
{
	struct answers *answers = calloc(1, sizeof(*answers));

	for (size_t i = 0; answers && i < ASK_MAX; i++) {
		answers->iov[i] = (struct iovec){ .iov_base = answers->data[i], .iov_len = ANSWER_BYTES };
		answers->header[i].msg_hdr = (struct msghdr){ .msg_iov = &answers->iov[i], .msg_iovlen = 1 };
	}
	return answers;
}

/* The kernel drops answers for which there is no room, so no more is asked at once than has. */
static int ask_prepare(struct sockdiag *diag, struct why *why)
{
	int room = 0;
	socklen_t length = sizeof(room);

	if (diag->answers)
		return 0;
	diag->answers = answers_new();
	if (!diag->answers)
		return why_errno(why, -ENOMEM, "answers of sock_diag");
	nl_socket_set_buffer_size(diag->socket, RECEIVE_BYTES, 0); /* less is fine, too */
	if (getsockopt(nl_socket_get_fd(diag->socket), SOL_SOCKET, SO_RCVBUF, &room, &length) < 0)
		return why_errno(why, -errno, "sock_diag: SO_RCVBUF");
	diag->ask_max = (size_t)room / ANSWER_ROOM_BYTES;
	if (diag->ask_max > ASK_MAX)
		diag->ask_max = ASK_MAX;
	if (diag->ask_max < 1)
		diag->ask_max = 1;
	return 0;
}

static int ask_send(struct sockdiag *diag, const uint8_t *requests, size_t size, size_t first, size_t n, struct why *why)
{
	size_t length = (size_t)nlmsg_total_size((int)size);
	uint8_t *at = diag->answers->questions;
	int r;

	memset(at, 0, n * length);
	for (size_t i = 0; i < n; i++, at += length) {
		struct nlmsghdr *header = (struct nlmsghdr *)(void *)at;

		header->nlmsg_len = (uint32_t)nlmsg_size((int)size);
		header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
		header->nlmsg_flags = NLM_F_REQUEST;
		header->nlmsg_seq = (uint32_t)(first + i);
		memcpy(nlmsg_data(header), requests + (first + i) * size, size);
	}
	r = nl_sendto(diag->socket, diag->answers->questions, n * length);
	return r < 0 ? why_set(why, -EIO, "cannot ask the kernel for sockets (sock_diag): %s", nl_geterror(r)) : 0;
}

static int answer_take(const void *data, int size, size_t n,
		       void (*each)(size_t i, const void *entry, size_t size, void *userdata), void *userdata, struct why *why)
{
	const struct nlmsghdr *header = data;

	if (!nlmsg_ok(header, size) || header->nlmsg_seq >= n)
		return why_set(why, -EIO, "sock_diag: an answer of %d bytes to no question", size);
	if (header->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *error = nlmsg_data(header);

		/* Not there, or there under another cookie. */
		if (nlmsg_datalen(header) < (int)sizeof(*error) || error->error == -ENOENT || error->error == -ESTALE)
			return 0;
		return why_errno(why, error->error ? error->error : -EIO, "the kernel does not tell of a socket (sock_diag)");
	}
	each(header->nlmsg_seq, nlmsg_data(header), (size_t)nlmsg_datalen(header), userdata);
	return 0;
}

static int ask_batch(struct sockdiag *diag, const void *requests, size_t size, size_t first, size_t n,
		     void (*each)(size_t i, const void *entry, size_t size, void *userdata), void *userdata, struct why *why)
{
	struct answers *answers = diag->answers;
	size_t heard = 0;
	int r = ask_send(diag, requests, size, first, n, why);

	while (r == 0 && heard < n) {
		int came = recvmmsg(nl_socket_get_fd(diag->socket), answers->header, (unsigned)(n - heard), MSG_DONTWAIT, NULL);

		if (came < 0 && errno == EINTR)
			continue;
		/* The send does not return before all is answered: what is not there was dropped. */
		if (came <= 0)
			return why_set(why, -EIO, "the kernel owes answers about sockets (sock_diag): %s", strerror(errno));
		for (int i = 0; i < came && r == 0; i++)
			r = answer_take(answers->data[i], (int)answers->header[i].msg_len, first + n, each, userdata, why);
		heard += (size_t)came;
	}
	return r;
}

int sockdiag_ask(struct sockdiag *diag, const void *requests, size_t size, size_t n,
		 void (*each)(size_t i, const void *entry, size_t size, void *userdata), void *userdata, struct why *why)
{
	int r = ask_prepare(diag, why);

	if (r == 0 && (size_t)nlmsg_total_size((int)size) > QUESTION_BYTES)
		return why_set(why, -EMSGSIZE, "sock_diag: a question of %zu bytes", size);
	for (size_t first = 0; r == 0 && first < n; first += diag->ask_max) {
		size_t left = n - first;

		r = ask_batch(diag, requests, size, first, left < diag->ask_max ? left : diag->ask_max, each, userdata, why);
	}
	return r;
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
