/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/why.h"
#include "wire/app.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(wire, .timeout = 60);

#define APP (&upgraded__wire__app_message__descriptor)

static int left = -1, right = -1;
static uint8_t buffer[WIRE_MESSAGE_MAX];
static struct why why;
static bool cut; /* what receive_rc() found */

static void setup(void)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	left = pair[0];
	right = pair[1];
}

static void teardown(void)
{
	left = fd_close(left);
	right = fd_close(right);
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int send_ping(uint64_t nonce, const int *fds, size_t n)
{
	Upgraded__Wire__Ping ping = UPGRADED__WIRE__PING__INIT;
	Upgraded__Wire__AppMessage message = UPGRADED__WIRE__APP_MESSAGE__INIT;

	ping.nonce = nonce;
	message.body_case = UPGRADED__WIRE__APP_MESSAGE__BODY_PING;
	message.ping = &ping;
	return wire_send(left, &message.base, fds, n, &why);
}

/* Receives a ping with its descriptors; @ret_fds may be NULL where none are expected. */
static uint64_t expect_ping(struct wire_fds *ret_fds)
{
	Upgraded__Wire__AppMessage *message;
	ProtobufCMessage *base;
	struct wire_fds fds;
	uint64_t nonce;

	cr_assert_eq(wire_receive(right, APP, buffer, &fds, &base, &why), WIRE_OK, "%s", why.text);
	message = (Upgraded__Wire__AppMessage *)base;
	cr_assert_eq(message->body_case, UPGRADED__WIRE__APP_MESSAGE__BODY_PING);
	nonce = message->ping->nonce;
	protobuf_c_message_free_unpacked(base, NULL);
	if (ret_fds)
		*ret_fds = fds;
	else
		cr_assert_eq(fds.n, 0);
	return nonce;
}

static int receive_rc(void)
{
	ProtobufCMessage *base = NULL;
	struct wire_fds fds;
	int r = wire_receive(right, APP, buffer, &fds, &base, &why);

	cr_assert_neq(r, WIRE_OK);
	cr_assert_eq(fds.n, 0, "descriptors were left with a message that failed");
	cut = fds.cut;
	return r;
}

/* @n descriptors, each a memfd that holds its own number. */
static void numbered_open(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = memfd_create("numbered", MFD_CLOEXEC);
		cr_assert_geq(fds[i], 0);
		cr_assert_eq(write(fds[i], &i, sizeof(i)), (ssize_t)sizeof(i));
	}
}

static size_t number_of(int fd)
{
	size_t number;

	cr_assert_eq(pread(fd, &number, sizeof(number), 0), (ssize_t)sizeof(number));
	return number;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fds[i] = fd_close(fds[i]);
}

/* A datagram as wire_send() would never make it. */
static void send_raw(const void *data, size_t size, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n) {
		struct cmsghdr *cmsg;

		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n);
	}
	cr_assert_eq(sendmsg(left, &header, MSG_NOSIGNAL), (ssize_t)size, "%s", strerror(errno));
}

/* ---- messages and their descriptors ---- */

Test(wire, carries_a_message_as_it_is, .init = setup, .fini = teardown)
{
	cr_assert_eq(send_ping(UINT64_MAX, NULL, 0), WIRE_OK);
	cr_assert_eq(send_ping(1, NULL, 0), WIRE_OK);
	cr_assert_eq(expect_ping(NULL), UINT64_MAX);
	cr_assert_eq(expect_ping(NULL), 1);
}

Test(wire, carries_descriptors_in_order_and_closed_on_exec, .init = setup, .fini = teardown)
{
	struct wire_fds fds;
	int sent[3];

	numbered_open(sent, 3);
	cr_assert_eq(send_ping(5, sent, 3), WIRE_OK);
	close_all(sent, 3);
	cr_assert_eq(expect_ping(&fds), 5);
	cr_assert_eq(fds.n, 3);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(number_of(fds.fd[i]), i);
		cr_assert(fcntl(fds.fd[i], F_GETFD) & FD_CLOEXEC);
	}
	wire_fds_close(&fds);
}

Test(wire, carries_exactly_253_descriptors, .init = setup, .fini = teardown)
{
	unsigned before = open_fds();
	int sent[WIRE_FDS_MAX];
	struct wire_fds fds;

	numbered_open(sent, WIRE_FDS_MAX);
	cr_assert_eq(send_ping(1, sent, WIRE_FDS_MAX), WIRE_OK, "%s", why.text);
	close_all(sent, WIRE_FDS_MAX);
	expect_ping(&fds);
	cr_assert_eq(fds.n, 253);
	cr_assert_eq(number_of(fds.fd[252]), 252);
	wire_fds_close(&fds);
	cr_assert_eq(open_fds(), before);
}

Test(wire, refuses_the_254th_descriptor, .init = setup, .fini = teardown)
{
	int sent[WIRE_FDS_MAX + 1];

	numbered_open(sent, WIRE_FDS_MAX + 1);
	cr_assert_eq(send_ping(1, sent, WIRE_FDS_MAX + 1), -EMSGSIZE);
	cr_assert(strstr(why.text, "254"), "%s", why.text);
	cr_assert_eq(receive_rc(), WIRE_AGAIN);
	close_all(sent, WIRE_FDS_MAX + 1);
}

Test(wire, carries_600_descriptors_in_three_messages, .init = setup, .fini = teardown)
{
	unsigned before = open_fds();
	static int sent[600];
	struct wire_fds fds;
	size_t got = 0;

	numbered_open(sent, 600);
	for (size_t at = 0, batch = 0; at < 600; at += WIRE_FDS_MAX, batch++)
		cr_assert_eq(send_ping(batch, sent + at, 600 - at < WIRE_FDS_MAX ? 600 - at : WIRE_FDS_MAX), WIRE_OK,
			     "%s", why.text);
	close_all(sent, 600);
	for (size_t batch = 0; batch < 3; batch++) {
		cr_assert_eq(expect_ping(&fds), batch);
		for (size_t i = 0; i < fds.n; i++)
			cr_assert_eq(number_of(fds.fd[i]), got++);
		wire_fds_close(&fds);
	}
	cr_assert_eq(got, 600);
	cr_assert_eq(open_fds(), before);
}

Test(wire, gives_a_claimed_descriptor_away_once, .init = setup, .fini = teardown)
{
	unsigned before = open_fds();
	struct wire_fds fds;
	int sent[2], mine;

	numbered_open(sent, 2);
	cr_assert_eq(send_ping(1, sent, 2), WIRE_OK);
	close_all(sent, 2);
	expect_ping(&fds);
	mine = wire_fds_claim(&fds, 1);
	cr_assert_geq(mine, 0);
	cr_assert_eq(wire_fds_claim(&fds, 1), -1);
	cr_assert_eq(wire_fds_claim(&fds, 2), -1);
	wire_fds_close(&fds);
	cr_assert_eq(open_fds(), before + 1);
	cr_assert_eq(number_of(mine), 1);
	wire_fds_close(&fds);
	fd_close(mine);
}

/* ---- what is cut off or no message ---- */

Test(wire, fails_on_a_datagram_that_was_cut_and_keeps_no_descriptor, .init = setup, .fini = teardown)
{
	static const uint8_t data[WIRE_MESSAGE_MAX + 1];
	unsigned before = open_fds();
	int sent[4];

	numbered_open(sent, 4);
	send_raw(data, sizeof(data), sent, 4);
	close_all(sent, 4);
	cr_assert_eq(receive_rc(), -EBADMSG);
	cr_assert_not(cut, "only bytes were");
	cr_assert(strstr(why.text, "bytes of a message were cut off"), "%s", why.text);
	cr_assert_eq(open_fds(), before);
}

Test(wire, fails_when_descriptors_were_cut_off_and_keeps_none, .init = setup, .fini = teardown)
{
	unsigned before = open_fds();
	struct rlimit limit, low;
	int sent[20];

	numbered_open(sent, 20);
	cr_assert_eq(send_ping(1, sent, 20), WIRE_OK);
	cr_assert_eq(send_ping(2, NULL, 0), WIRE_OK);
	close_all(sent, 20);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	/* Room for some of them and not for all: the numbers that numbered_open() found free begin at sent[0]. */
	low = limit;
	low.rlim_cur = before + 8;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	cr_assert_eq(receive_rc(), -EBADMSG);
	cr_assert(cut);
	cr_assert(strstr(why.text, "LimitNOFILE="), "%s", why.text);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(open_fds(), before);
	/* The channel itself is as good as before. */
	cr_assert_eq(expect_ping(NULL), 2);
}

Test(wire, fails_on_garbage_and_keeps_no_descriptor, .init = setup, .fini = teardown)
{
	static const uint8_t garbage[] = { 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x01 };
	unsigned before = open_fds();
	int sent[3];

	numbered_open(sent, 3);
	send_raw(garbage, sizeof(garbage), sent, 3);
	close_all(sent, 3);
	cr_assert_eq(receive_rc(), -EBADMSG);
	cr_assert(strstr(why.text, "no AppMessage"), "%s", why.text);
	cr_assert_eq(open_fds(), before);
}

Test(wire, keeps_no_descriptor_of_an_empty_datagram, .init = setup, .fini = teardown)
{
	unsigned before = open_fds();
	int sent[3];

	numbered_open(sent, 3);
	send_raw("", 0, sent, 3);
	close_all(sent, 3);
	cr_assert_neq(receive_rc(), WIRE_OK);
	cr_assert_eq(open_fds(), before);
}

Test(wire, refuses_to_send_a_message_over_the_limit, .init = setup, .fini = teardown)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;
	Upgraded__Wire__AppMessage message = UPGRADED__WIRE__APP_MESSAGE__INIT;
	char *reason = malloc(WIRE_MESSAGE_MAX + 1);

	cr_assert_not_null(reason);
	memset(reason, 'x', WIRE_MESSAGE_MAX);
	reason[WIRE_MESSAGE_MAX] = 0;
	refused.reason = reason;
	message.body_case = UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED;
	message.refused = &refused;
	cr_assert_eq(wire_send(left, &message.base, NULL, 0, &why), -EMSGSIZE);
	/* The largest that fits, does. */
	reason[WIRE_MESSAGE_MAX - 8] = 0;
	cr_assert_eq(protobuf_c_message_get_packed_size(&message.base), WIRE_MESSAGE_MAX);
	cr_assert_eq(wire_send(left, &message.base, NULL, 0, &why), WIRE_OK, "%s", why.text);
	free(reason);
}

/* ---- peers ---- */

Test(wire, says_again_while_nothing_is_there, .init = setup, .fini = teardown)
{
	cr_assert_eq(receive_rc(), WIRE_AGAIN);
}

Test(wire, says_again_when_the_socket_is_full_and_goes_on_when_it_is_not, .init = setup, .fini = teardown)
{
	uint64_t sent = 0;
	int r;

	while ((r = send_ping(sent + 1, NULL, 0)) == WIRE_OK)
		sent++;
	cr_assert_eq(r, WIRE_AGAIN, "%s", why.text);
	cr_assert_gt(sent, 1);
	for (uint64_t i = 1; i <= sent; i++)
		cr_assert_eq(expect_ping(NULL), i);
	cr_assert_eq(send_ping(7, NULL, 0), WIRE_OK);
	cr_assert_eq(expect_ping(NULL), 7);
}

Test(wire, says_closed_to_either_side_of_a_peer_that_is_gone, .init = setup, .fini = teardown)
{
	left = fd_close(left);
	cr_assert_eq(receive_rc(), WIRE_CLOSED);
	cr_assert(strstr(why.text, "gone"), "%s", why.text);
	left = right;
	right = -1;
	/* SIGPIPE would end the test here. */
	cr_assert_eq(send_ping(1, NULL, 0), WIRE_CLOSED);
}

Test(wire, delivers_what_was_said_before_the_end, .init = setup, .fini = teardown)
{
	cr_assert_eq(send_ping(3, NULL, 0), WIRE_OK);
	left = fd_close(left);
	cr_assert_eq(expect_ping(NULL), 3);
	cr_assert_eq(receive_rc(), WIRE_CLOSED);
}

Test(wire, says_closed_when_the_peer_left_without_reading, .init = setup, .fini = teardown)
{
	/* The kernel answers ECONNRESET here, not the end. */
	cr_assert_eq(send_ping(3, NULL, 0), WIRE_OK);
	right = fd_close(right);
	right = left;
	left = -1;
	cr_assert_eq(receive_rc(), WIRE_CLOSED);
}

Test(wire, fails_on_what_is_no_socket)
{
	FD_CLEANUP int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	left = right = null;
	cr_assert_eq(send_ping(1, NULL, 0), -ENOTSOCK);
	cr_assert_eq(receive_rc(), -ENOTSOCK);
	left = right = -1;
	cr_assert_eq(send_ping(1, NULL, 0), -EBADF);
}

Test(wire, knows_the_names_of_messages)
{
	Upgraded__Wire__AppMessage message = UPGRADED__WIRE__APP_MESSAGE__INIT;

	message.body_case = UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET;
	cr_assert_str_eq(wire_app_name(&message), "not_yet");
	message.body_case = UPGRADED__WIRE__APP_MESSAGE__BODY__NOT_SET;
	cr_assert_str_eq(wire_app_name(&message), "an unknown message");
}

Test(wire, lends_texts_to_a_message_that_is_only_sent)
{
	Upgraded__Wire__Abort abort = UPGRADED__WIRE__ABORT__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT, .abort = &abort), *copy;
	static const char reason[] = "because";
	uint8_t data[64];
	size_t size;

	cr_assert_str_eq(wire_text(NULL), "");
	cr_assert_eq(wire_text(reason), reason);
	abort.reason = wire_text(reason);
	size = upgraded__wire__app_message__pack(&message, data);
	copy = upgraded__wire__app_message__unpack(NULL, size, data);
	cr_assert_not_null(copy);
	cr_assert_str_eq(wire_app_name(copy), "abort");
	cr_assert_str_eq(copy->abort->reason, reason);
	upgraded__wire__app_message__free_unpacked(copy, NULL);
}
