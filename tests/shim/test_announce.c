/* SPDX-License-Identifier: MIT */
/* What the supervisor is told of descriptors in a bake, also when its channel has no room for it. */
#include "shim/core/channel.h"
#include "shim/fds/announce.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(shim_announce, .timeout = 60);

static struct channel channel;
static struct fd_table table;
static int supervisor;

static bool no_answer(void *arg, const Upgraded__Wire__AppMessage *message)
{
	(void)arg, (void)message;
	return false;
}

static void setup(void)
{
	int pair[2];

	cr_assert_eq(channel_init(&channel, no_answer, NULL), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	cr_assert_eq(channel_open(&channel, pair[0], NULL), 0);
	supervisor = pair[1];
	cr_assert_eq(fd_table_init(&table, &channel), 0);
	atomic_store(&table.announces, true);
}

static void teardown(void)
{
	fd_table_done(&table);
	channel_done(&channel);
	supervisor = fd_close(supervisor);
}

static int register_one(uint64_t tag)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	cr_assert_eq(fd_table_put(&table, fd, "client", tag, true, false), 0);
	return fd;
}

static int open_one(uint64_t tag)
{
	int fd = register_one(tag);

	fd_table_announce(&table, fd);
	return fd;
}

static void fill(void)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PONG, .pong = &pong);

	while (channel_post(&channel, &message, NULL, 0) == WIRE_OK)
		;
}

/* The next message that is no pong, as a text: "+" opened, "-" closed, and the tags. "": there is none. */
static const char *hear(void)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	static char text[65536];
	Upgraded__Wire__AppMessage *message;
	struct wire_fds fds;
	size_t used = 0;

	text[0] = 0;
	while (!used && wire_receive(supervisor, &upgraded__wire__app_message__descriptor, buffer, &fds,
				     (ProtobufCMessage **)&message, NULL) == WIRE_OK) {
		bool opened = message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_FDS;
		bool closed = message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED;
		size_t n = opened ? message->fds->n_fds : closed ? message->closed->n_fds : 0;

		cr_assert_eq(fds.n, opened ? n : 0);
		for (size_t i = 0; i < n; i++)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s%llu", used ? " " : "", opened ? "+" : "-",
						 (unsigned long long)(opened ? message->fds->fds : message->closed->fds)[i]->tag);
		wire_fds_close(&fds);
		upgraded__wire__app_message__free_unpacked(message, NULL);
	}
	return text;
}

static void hears(const char *expected)
{
	const char *text = hear();

	cr_assert_str_eq(text, expected, "\"%s\" instead of \"%s\"", text, expected);
}

Test(shim_announce, tells_at_once_where_there_is_room, .init = setup, .fini = teardown)
{
	int fd = open_one(1);

	hears("+1");
	fd_table_close(&table, fd, -1);
	hears("-1");
	hears("");
}

Test(shim_announce, says_nothing_outside_of_a_bake, .init = setup, .fini = teardown)
{
	int fd;

	atomic_store(&table.announces, false);
	fd = open_one(1);
	fd_table_close(&table, fd, -1);
	hears("");
}

Test(shim_announce, goes_on_without_a_supervisor, .init = setup, .fini = teardown)
{
	int fds[3];

	fds[0] = open_one(1);
	hears("+1");
	supervisor = fd_close(supervisor);
	fds[1] = open_one(2);
	fd_table_close(&table, fds[0], -1);
	channel_close(&channel);
	fds[2] = open_one(3);
	cr_assert_eq(table.n_closed, 0);
	cr_assert_eq(atomic_load(&table.n_fresh), 0);
	fd_table_close(&table, fds[1], -1);
	fd_table_close(&table, fds[2], -1);
	cr_assert_eq(table.n_closed, 0);
}

Test(shim_announce, tells_later_what_found_no_room_and_closes_first, .init = setup, .fini = teardown)
{
	int fds[3];

	fds[0] = open_one(1);
	hears("+1");
	fill();
	fd_table_close(&table, fds[0], -1);
	/* Perhaps by the number of the one before. */
	fds[1] = open_one(2);
	fds[2] = open_one(3);
	hears("");
	fd_table_tell(&table);
	hears("-1");
	hears("+2 +3");
	fd_table_tell(&table);
	hears("");
	fd_table_close(&table, fds[1], -1);
	hears("-2");
	fd_table_close(&table, fds[2], -1);
	hears("-3");
}

Test(shim_announce, never_tells_of_what_was_closed_before_it_was_told, .init = setup, .fini = teardown)
{
	int fds[3];

	fill();
	for (unsigned i = 0; i < 3; i++)
		fds[i] = open_one(i);
	fd_table_close(&table, fds[0], -1);
	hears("");
	fd_table_tell(&table);
	hears("+2 +1");
	fd_table_close(&table, fds[1], -1);
	hears("-1");
	fd_table_close(&table, fds[2], -1);
	hears("-2");
}

Test(shim_announce, forgets_all_when_custody_ends, .init = setup, .fini = teardown)
{
	int fds[2];

	fds[0] = open_one(1);
	hears("+1");
	fill();
	fd_table_close(&table, fds[0], -1);
	fds[1] = open_one(2);
	fd_table_end_custody(&table);
	hears("");
	fd_table_tell(&table);
	hears("");
	fd_table_close(&table, fds[1], -1);
	hears("");
}

/* The inode of the one descriptor that the next message brings; the message names @tag. */
static unsigned long long inode_told(uint64_t tag)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	Upgraded__Wire__AppMessage *message;
	unsigned long long inode = 0;
	struct wire_fds fds;

	do
		cr_assert_eq(wire_receive(supervisor, &upgraded__wire__app_message__descriptor, buffer, &fds,
					  (ProtobufCMessage **)&message, NULL),
			     WIRE_OK);
	while (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_PONG &&
	       (upgraded__wire__app_message__free_unpacked(message, NULL), true));
	cr_assert_eq(message->body_case, UPGRADED__WIRE__APP_MESSAGE__BODY_FDS);
	cr_assert(message->fds->n_fds == 1 && fds.n == 1 && message->fds->fds[0]->tag == tag);
	cr_assert_eq(fd_inode(fds.fd[0], &inode), 0);
	wire_fds_close(&fds);
	upgraded__wire__app_message__free_unpacked(message, NULL);
	return inode;
}

Test(shim_announce, sends_what_was_opened_and_not_what_has_its_number_by_then, .init = setup, .fini = teardown)
{
	int fd = memfd_create("mine", MFD_CLOEXEC), other = memfd_create("nobody's business", MFD_CLOEXEC);
	unsigned long long inode;

	cr_assert_eq(fd_inode(fd, &inode), 0);
	cr_assert_eq(fd_table_put(&table, fd, "client", 7, true, false), 0);
	fill();
	fd_table_announce(&table, fd); /* in vain */
	cr_assert_eq(atomic_load(&table.n_fresh), 1);
	/* The application closes it as any program would, and opens something else. */
	close(fd);
	cr_assert_eq(dup2(other, fd), fd);
	while (atomic_load(&table.n_fresh)) {
		uint8_t pong[64];

		cr_assert_gt(recv(supervisor, pong, sizeof(pong), 0), 0);
		fd_table_tell(&table);
	}
	cr_assert_eq(inode_told(7), inode);
	fd_close(other);
}

static void *announce_one(void *fd)
{
	fd_table_announce(&table, *(int *)fd);
	return NULL;
}

Test(shim_announce, waits_for_room_without_keeping_others_from_the_table, .init = setup, .fini = teardown)
{
	int fd = register_one(1), other;
	pthread_t thread;

	fill();
	cr_assert_eq(pthread_create(&thread, NULL, announce_one, &fd), 0);
	while (!atomic_load(&table.n_fresh))
		;
	/* Goes through while the thread waits. */
	other = register_one(2);
	fd_table_close(&table, other, -1);
	while (!strcmp(hear(), "") && atomic_load(&table.n_fresh))
		;
	pthread_join(thread, NULL);
	fd_table_tell(&table);
	cr_assert_eq(atomic_load(&table.n_fresh), 0);
	fd_table_close(&table, fd, -1);
}

Test(shim_announce, fits_thousands_into_messages, .init = setup, .fini = teardown)
{
	static int fds[1000];
	unsigned n = sizeof(fds) / sizeof(fds[0]), n_told = 0;

	if (fd_raise_limit() < 4 * n)
		cr_skip_test("this machine allows too few descriptors");
	fill();
	for (unsigned i = 0; i < n; i++)
		fds[i] = register_one(i);
	/* As if each had found the channel full. */
	table.fresh = malloc(n * sizeof(*table.fresh));
	table.cap_fresh = n;
	for (unsigned i = 0; i < n; i++) {
		table.fresh[i] = (struct fresh_fd){ .entry = table.by_fd[fds[i]], .fd = dup(fds[i]) };
		table.by_fd[fds[i]]->fresh = true;
	}
	atomic_store(&table.n_fresh, n);
	hears("");
	for (;;) {
		const char *text;

		fd_table_tell(&table);
		text = hear();
		if (!*text)
			break;
		do
			n_told++;
		while ((text = strchr(text + 1, '+')));
	}
	cr_assert_eq(n_told, n);
	for (unsigned i = 0; i < n; i++)
		fd_table_close(&table, fds[i], -1);
	n_told = 0;
	for (;;) {
		const char *text = hear();

		if (!*text)
			break;
		do
			n_told++;
		while ((text = strchr(text + 1, '-')));
		fd_table_tell(&table);
	}
	cr_assert_eq(n_told, n);
}
