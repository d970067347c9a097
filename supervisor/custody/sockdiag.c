/* SPDX-License-Identifier: MIT */
/*
 * There are two ways to ask. For a list (NLM_F_DUMP) the kernel walks all the sockets it has, while the list is read. A single
 * socket, named by its addresses, it looks up as it does for a packet. Many such questions fit in one datagram. The kernel answers
 * all of them before the send returns, each with a datagram of its own, and recvmmsg(2) fetches those together. Asking for 1,000 of
 * 2,000 sockets takes a quarter of the time of the list, and does not take longer when others have more sockets open.
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
#define ANSWER_ROOM_BYTES 4096u      /* of the socket's buffer for one answer, with all that the kernel adds */
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

/* The kernel drops answers that find no room, so ask no more at once than the socket's buffer has room for. */
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

/* Send @n of the questions, from @first on. */
static int ask_send(struct sockdiag *diag, const struct sockdiag_questions *questions, size_t first, size_t n, struct why *why)
{
	const uint8_t *requests = questions->requests;
	size_t size = questions->size_bytes, length = (size_t)nlmsg_total_size((int)size);
	uint8_t *at = diag->answers->questions;
	int r;

	memset(at, 0, n * length);
	for (size_t i = first; i < first + n; i++, at += length) {
		struct nlmsghdr *header = (struct nlmsghdr *)(void *)at;

		header->nlmsg_len = (uint32_t)nlmsg_size((int)size);
		header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
		header->nlmsg_flags = NLM_F_REQUEST;
		header->nlmsg_seq = (uint32_t)i;
		memcpy(nlmsg_data(header), requests + i * size, size);
	}
	r = nl_sendto(diag->socket, diag->answers->questions, n * length);
	return r < 0 ? why_set(why, -EIO, "cannot ask the kernel for sockets (sock_diag): %s", nl_geterror(r)) : 0;
}

/* @n_asked: how many of the questions were sent so far. */
static int answer_take(const struct sockdiag_questions *questions, size_t n_asked, const void *data, int size, struct why *why)
{
	const struct nlmsghdr *header = data;

	if (!nlmsg_ok(header, size) || header->nlmsg_seq >= n_asked)
		return why_set(why, -EIO, "sock_diag: an answer of %d bytes to no question", size);
	if (header->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *error = nlmsg_data(header);

		/* There is no such socket, or one with another cookie. */
		if (nlmsg_datalen(header) < (int)sizeof(*error) || error->error == -ENOENT || error->error == -ESTALE)
			return 0;
		return why_errno(why, error->error ? error->error : -EIO, "the kernel does not tell of a socket (sock_diag)");
	}
	questions->each(header->nlmsg_seq, nlmsg_data(header), (size_t)nlmsg_datalen(header), questions->userdata);
	return 0;
}

static int ask_batch(struct sockdiag *diag, const struct sockdiag_questions *questions, size_t first, size_t n, struct why *why)
{
	struct answers *answers = diag->answers;
	size_t heard = 0;
	int r = ask_send(diag, questions, first, n, why);

	while (r == 0 && heard < n) {
		int came = recvmmsg(nl_socket_get_fd(diag->socket), answers->header, (unsigned)(n - heard), MSG_DONTWAIT, NULL);

		if (came < 0 && errno == EINTR)
			continue;
		/* The kernel has answered everything before the send returns: an answer that is not there was dropped. */
		if (came <= 0)
			return why_set(why, -EIO, "the kernel owes answers about sockets (sock_diag): %s", strerror(errno));
		for (int i = 0; i < came && r == 0; i++)
			r = answer_take(questions, first + n, answers->data[i], (int)answers->header[i].msg_len, why);
		heard += (size_t)came;
	}
	return r;
}

int sockdiag_ask(struct sockdiag *diag, const struct sockdiag_questions *questions, struct why *why)
{
	int r = ask_prepare(diag, why);

	if (r == 0 && (size_t)nlmsg_total_size((int)questions->size_bytes) > QUESTION_BYTES)
		return why_set(why, -EMSGSIZE, "sock_diag: a question of %zu bytes", questions->size_bytes);
	for (size_t first = 0; r == 0 && first < questions->n; first += diag->ask_max) {
		size_t left = questions->n - first;

		r = ask_batch(diag, questions, first, left < diag->ask_max ? left : diag->ask_max, why);
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
