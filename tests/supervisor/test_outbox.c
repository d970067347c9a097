/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/process/outbox.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(outbox, .timeout = 20);

static struct outbox outbox;
static int ours = -1, theirs = -1;
static struct why why;

static void setup(void)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	ours = pair[0];
	theirs = pair[1];
	outbox_init(&outbox);
}

static void teardown(void)
{
	outbox_clear(&outbox);
	ours = fd_close(ours);
	theirs = fd_close(theirs);
}

static int put_ping(uint64_t nonce, struct fd_ref *const *fds, size_t n)
{
	Upgraded__Wire__Ping ping = UPGRADED__WIRE__PING__INIT;
	Upgraded__Wire__AppMessage message = UPGRADED__WIRE__APP_MESSAGE__INIT;

	ping.nonce = nonce;
	message.body_case = UPGRADED__WIRE__APP_MESSAGE__BODY_PING;
	message.ping = &ping;
	return outbox_send(&outbox, ours,
			   &(struct outbox_message){ .message = &message.base, .fds = fds, .n_fds = n,
						      .kind = (int)message.body_case },
			   &why);
}

static struct fd_ref *memory(const char *name)
{
	struct fd_ref *ref = fd_ref_new(memfd_create(name, MFD_CLOEXEC));

	cr_assert(ref && ref->fd >= 0);
	return ref;
}

/* A message of about @size bytes. */
static int put_large(size_t size)
{
	Upgraded__Wire__Abort abort = UPGRADED__WIRE__ABORT__INIT;
	Upgraded__Wire__AppMessage message = UPGRADED__WIRE__APP_MESSAGE__INIT;
	char *reason = malloc(size + 1);
	int r;

	cr_assert_not_null(reason);
	memset(reason, 'x', size);
	reason[size] = 0;
	abort.reason = reason;
	message.body_case = UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT;
	message.abort = &abort;
	r = outbox_send(&outbox, ours, &(struct outbox_message){ .message = &message.base, .kind = (int)message.body_case }, &why);
	free(reason);
	return r;
}

/* Return: the nonce, or 0 if nothing is there. */
static uint64_t take_ping(struct wire_fds *ret_fds)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	Upgraded__Wire__AppMessage *message;
	ProtobufCMessage *base;
	uint64_t nonce;
	int r = wire_receive(theirs, &upgraded__wire__app_message__descriptor, buffer, ret_fds, &base, &why);

	if (r == WIRE_AGAIN)
		return 0;
	cr_assert_eq(r, WIRE_OK, "%s", why.text);
	message = (Upgraded__Wire__AppMessage *)base;
	cr_assert_eq(message->body_case, UPGRADED__WIRE__APP_MESSAGE__BODY_PING);
	nonce = message->ping->nonce;
	protobuf_c_message_free_unpacked(base, NULL);
	return nonce;
}

/* Return: the nonce of the last ping, when the first that had to wait is in the box. */
static uint64_t fill(void)
{
	uint64_t nonce = 0;

	while (outbox_is_empty(&outbox))
		cr_assert_eq(put_ping(++nonce, NULL, 0), 0, "%s", why.text);
	return nonce;
}

Test(outbox, sends_at_once_while_there_is_room, .init = setup, .fini = teardown)
{
	struct wire_fds fds;

	cr_assert_eq(put_ping(1, NULL, 0), 0);
	cr_assert(outbox_is_empty(&outbox));
	cr_assert_eq(take_ping(&fds), 1);
}

Test(outbox, keeps_the_order_over_a_full_socket, .init = setup, .fini = teardown)
{
	uint64_t last = fill(), expected = 1, got;
	struct wire_fds fds;

	for (unsigned i = 0; i < 1000; i++)
		cr_assert_eq(put_ping(++last, NULL, 0), 0);
	/* Room again, but what is new must not overtake what waits. */
	cr_assert_eq(take_ping(&fds), expected++);
	cr_assert_eq(put_ping(++last, NULL, 0), 0);
	while (expected <= last) {
		cr_assert_eq(outbox_flush(&outbox, ours, &why), 0, "%s", why.text);
		while ((got = take_ping(&fds)) != 0)
			cr_assert_eq(got, expected++);
	}
	cr_assert(outbox_is_empty(&outbox));
	cr_assert_eq(outbox.bytes, 0);
	/* And it is as good as new. */
	cr_assert_eq(put_ping(++last, NULL, 0), 0);
	cr_assert_eq(take_ping(&fds), last);
}

Test(outbox, sends_the_descriptors_with_their_message, .init = setup, .fini = teardown)
{
	struct fd_ref *sent[2] = { memory("one"), memory("two") };
	uint64_t last = fill(), got = 0;
	unsigned long long want, have;
	struct wire_fds fds;

	cr_assert_eq(put_ping(++last, sent, 2), 0);
	cr_assert_eq(fd_inode(sent[1]->fd, &want), 0);
	while (got != last) {
		cr_assert_eq(outbox_flush(&outbox, ours, &why), 0, "%s", why.text);
		got = take_ping(&fds);
		cr_assert_eq(fds.n, got == last ? 2 : 0);
	}
	cr_assert_eq(fd_inode(fds.fd[1], &have), 0);
	cr_assert_eq(want, have);
	wire_fds_close(&fds);
	fd_ref_drop(sent[0]);
	fd_ref_drop(sent[1]);
}

Test(outbox, sends_what_was_queued_and_not_what_has_its_number_by_then, .init = setup, .fini = teardown)
{
	struct fd_ref *mine = memory("mine");
	uint64_t last = fill(), got = 0;
	unsigned long long want, have;
	FD_CLEANUP int other = -1;
	struct wire_fds fds;
	int number = mine->fd;

	cr_assert_eq(fd_inode(number, &want), 0);
	cr_assert_eq(put_ping(++last, &mine, 1), 0);
	/* Whoever queued it lets go, as a save does that has failed; the next to open anything would get the number. */
	fd_ref_drop(mine);
	other = memfd_create("another service's", MFD_CLOEXEC);
	cr_assert_neq(other, number);
	while (got != last) {
		cr_assert_eq(outbox_flush(&outbox, ours, &why), 0, "%s", why.text);
		got = take_ping(&fds);
		cr_assert_eq(fds.n, got == last ? 1 : 0);
	}
	cr_assert_eq(fd_inode(fds.fd[0], &have), 0);
	cr_assert_eq(want, have);
	wire_fds_close(&fds);
	/* And nobody owns it any more. */
	cr_assert_eq(fcntl(number, F_GETFD), -1);
}

Test(outbox, owns_what_it_forgets, .init = setup, .fini = teardown)
{
	struct fd_ref *fds[2] = { memory("one"), memory("two") };
	int numbers[2] = { fds[0]->fd, fds[1]->fd };

	fill();
	cr_assert_eq(put_ping(1, fds, 2), 0);
	cr_assert_eq(put_ping(2, fds, 1), 0);
	cr_assert_eq(outbox.n_fds, 3);
	fd_ref_drop(fds[0]);
	fd_ref_drop(fds[1]);
	cr_assert_neq(fcntl(numbers[1], F_GETFD), -1);
	outbox_clear(&outbox);
	cr_assert_eq(outbox.n_fds, 0);
	cr_assert_eq(fcntl(numbers[0], F_GETFD), -1);
	cr_assert_eq(fcntl(numbers[1], F_GETFD), -1);
}

Test(outbox, takes_back_what_was_not_sent_yet, .init = setup, .fini = teardown)
{
	struct fd_ref *mine = memory("mine");
	int number = mine->fd;
	uint64_t last = fill();

	cr_assert_eq(put_large(100), 0);
	cr_assert_eq(put_ping(++last, &mine, 1), 0);
	fd_ref_drop(mine);
	cr_assert(outbox_holds(&outbox, UPGRADED__WIRE__APP_MESSAGE__BODY_PING));
	cr_assert_not(outbox_holds(&outbox, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE));
	cr_assert_eq(outbox_retract(&outbox, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE), 0);
	cr_assert_eq(outbox_retract(&outbox, UPGRADED__WIRE__APP_MESSAGE__BODY_PING), 2);
	cr_assert_eq(fcntl(number, F_GETFD), -1);
	cr_assert(outbox_holds(&outbox, UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT));
	cr_assert_eq(outbox_retract(&outbox, UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT), 1);
	cr_assert(outbox_is_empty(&outbox));
	cr_assert_eq(outbox.bytes, 0);
	/* And it is as good as new. */
	cr_assert_eq(put_large(100), 0);
	cr_assert(outbox_holds(&outbox, UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT));
}

Test(outbox, gives_up_on_a_peer_that_leaves_its_descriptors, .init = setup, .fini = teardown)
{
	struct fd_ref *many[WIRE_FDS_MAX], *one = memory("one");
	int r;

	for (unsigned i = 0; i < WIRE_FDS_MAX; i++)
		many[i] = one;
	fill();
	while ((r = put_ping(1, many, WIRE_FDS_MAX)) == 0)
		cr_assert_leq(outbox.n_fds, OUTBOX_FDS_MAX);
	cr_assert_eq(r, -ENOBUFS);
	cr_assert(strstr(why.text, "does not read"), "%s", why.text);
	fd_ref_drop(one);
}

Test(outbox, does_nothing_when_it_flushes_nothing_or_there_is_no_room, .init = setup, .fini = teardown)
{
	size_t bytes;

	cr_assert_eq(outbox_flush(&outbox, ours, &why), 0);
	fill();
	bytes = outbox.bytes;
	cr_assert_gt(bytes, 0);
	cr_assert_eq(outbox_flush(&outbox, ours, &why), 0);
	cr_assert_eq(outbox.bytes, bytes);
}

Test(outbox, says_when_the_peer_is_gone, .init = setup, .fini = teardown)
{
	fill();
	theirs = fd_close(theirs);
	cr_assert_eq(outbox_flush(&outbox, ours, &why), -EPIPE);
	outbox_clear(&outbox);
	cr_assert_eq(put_ping(1, NULL, 0), -EPIPE);
	cr_assert(outbox_is_empty(&outbox));
}

Test(outbox, gives_up_on_a_peer_that_never_reads, .init = setup, .fini = teardown)
{
	int r;

	fill();
	while ((r = put_large(60000)) == 0)
		cr_assert_leq(outbox.bytes, OUTBOX_BYTES_MAX);
	cr_assert_eq(r, -ENOBUFS);
	cr_assert(strstr(why.text, "does not read"), "%s", why.text);
	cr_assert_gt(outbox.bytes, OUTBOX_BYTES_MAX - 70000);
	outbox_clear(&outbox);
	cr_assert(outbox_is_empty(&outbox));
	cr_assert_eq(outbox.bytes, 0);
}

Test(outbox, refuses_what_could_never_be_sent, .init = setup, .fini = teardown)
{
	struct fd_ref *many[WIRE_FDS_MAX + 1], *one = memory("one");

	for (unsigned i = 0; i <= WIRE_FDS_MAX; i++)
		many[i] = one;

	cr_assert_eq(put_large(WIRE_MESSAGE_MAX), -EMSGSIZE);
	cr_assert_eq(put_ping(1, many, WIRE_FDS_MAX + 1), -EMSGSIZE);
	/* Also where it would only wait: everything behind it would wait for ever. */
	fill();
	cr_assert_eq(put_large(WIRE_MESSAGE_MAX), -EMSGSIZE);
	cr_assert_eq(put_ping(1, many, WIRE_FDS_MAX + 1), -EMSGSIZE);
	fd_ref_drop(one);
}
