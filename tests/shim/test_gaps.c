/* SPDX-License-Identifier: MIT */
/* What the supervisor is told of connections that the journal does not cover. */
#include "shim/core/channel.h"
#include "shim/fds/announce.h"
#include "shim/fds/gaps.h"
#include "shim/fds/table.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

TestSuite(shim_gaps, .timeout = 60);

static struct channel channel;
static struct fd_table table;
static struct gaps *gaps;
static int supervisor;
static struct {
	unsigned n; /* messages */
	uint32_t no_room, others;
	uint64_t size_would_do;
	char reason[200];
} told;

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
	gaps = &table.gaps;
}

static void teardown(void)
{
	fd_table_done(&table);
	channel_done(&channel);
	supervisor = fd_close(supervisor);
}

static void hear(void)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	Upgraded__Wire__AppMessage *message;
	struct wire_fds fds;

	told.n = 0;
	while (wire_receive(supervisor, &upgraded__wire__app_message__descriptor, buffer, &fds, (ProtobufCMessage **)&message,
			    NULL) == WIRE_OK) {
		if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_GAPS) {
			told.n++;
			told.no_room = message->journal_gaps->no_room;
			told.others = message->journal_gaps->others;
			told.size_would_do = message->journal_gaps->size_would_do;
			snprintf(told.reason, sizeof(told.reason), "%s", message->journal_gaps->reason);
		}
		wire_fds_close(&fds);
		upgraded__wire__app_message__free_unpacked(message, NULL);
	}
}

static void fill_channel(void)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PONG, .pong = &pong);

	while (channel_post(&channel, &message, NULL, 0) == WIRE_OK)
		;
}

Test(shim_gaps, what_was_counted_before_the_commit_is_told_at_it_once, .init = setup, .fini = teardown)
{
	gaps_add(gaps, GAP_RECORD, 1 << 20);
	gaps_add(gaps, GAP_RECORD, 2 << 20);
	gaps_add(gaps, GAP_UNCOUNTED, 0);
	hear();
	cr_assert_eq(told.n, 0);
	gaps_begin(gaps);
	hear();
	cr_assert_eq(told.n, 1);
	cr_assert(told.no_room == 2 && told.others == 1 && told.size_would_do == 2 << 20);
	cr_assert_str_eq(told.reason, "the kernel does not say how far they were read and written");
}

Test(shim_gaps, nothing_is_told_where_all_is_covered, .init = setup, .fini = teardown)
{
	gaps_begin(gaps);
	gaps_remove(gaps, GAP_NONE);
	gaps_tell(gaps);
	hear();
	cr_assert_eq(told.n, 0);
}

Test(shim_gaps, each_change_is_told_at_once_in_both_directions, .init = setup, .fini = teardown)
{
	gaps_begin(gaps);
	gaps_add(gaps, GAP_ROOM, 4096);
	hear();
	cr_assert(told.n == 1 && told.no_room == 1 && told.size_would_do == 4096);
	gaps_remove(gaps, GAP_ROOM);
	hear();
	cr_assert(told.n == 1 && told.no_room == 0 && told.size_would_do == 0);
	gaps_end(gaps);
	gaps_add(gaps, GAP_ROOM, 4096);
	hear();
	cr_assert_eq(told.n, 0, "the journal is over");
}

Test(shim_gaps, what_finds_no_room_is_told_later_as_it_is_then, .init = setup, .fini = teardown)
{
	gaps_begin(gaps);
	fill_channel();
	gaps_add(gaps, GAP_RECORD, 4096);
	gaps_add(gaps, GAP_RECORD, 4096);
	hear();
	cr_assert_eq(told.n, 0);
	gaps_tell(gaps);
	hear();
	cr_assert(told.n == 1 && told.no_room == 2);
	gaps_tell(gaps);
	hear();
	cr_assert_eq(told.n, 0);
}

/* A pair of connected TCP sockets, and the listener. */
static void connect_pair(int ret[3])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	ret[2] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(ret[2], (struct sockaddr *)&address, size), 0);
	cr_assert_eq(listen(ret[2], 1), 0);
	cr_assert_eq(getsockname(ret[2], (struct sockaddr *)&address, &size), 0);
	ret[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(ret[0], (struct sockaddr *)&address, size), 0);
	ret[1] = accept4(ret[2], NULL, NULL, SOCK_CLOEXEC);
	cr_assert_geq(ret[1], 0);
}

Test(shim_gaps, a_connection_that_is_registered_and_not_buffered_is_one, .init = setup, .fini = teardown)
{
	struct upg_conn *conn = (struct upg_conn *)&told; /* never looked into */
	bool claimed;
	int fds[3];

	connect_pair(fds);
	cr_assert_eq(fd_table_put(&table, fds[0], "a", 1, true, false), 0);
	cr_assert_eq(fd_table_put(&table, fds[1], "b", 1, true, false), 0);
	cr_assert_eq(fd_table_put(&table, fds[2], "listener", 1, true, false), 0);
	fd_table_find_gaps(&table);
	fd_table_find_gaps(&table);
	gaps_begin(gaps);
	hear();
	cr_assert_eq(told.others, 2, "%u: the listener is none, and each counts once", told.others);
	cr_assert_str_eq(told.reason, "not buffered by the library: upg_conn_open()");
	cr_assert_eq(fd_table_put_conn(&table, fds[0], "a", 1, conn, &claimed), 0);
	cr_assert_not(claimed, "the supervisor has no duplicate of what was accepted: it is to be announced");
	hear();
	cr_assert_eq(told.others, 1);
	fd_table_close(&table, fds[1], -1);
	hear();
	cr_assert_eq(told.others, 0);
	fd_close(fds[0]);
	fd_close(fds[2]);
}

Test(shim_gaps, what_cannot_be_duplicated_cannot_be_announced, .init = setup, .fini = teardown)
{
	struct rlimit limit, none;
	int fds[3];

	connect_pair(fds);
	cr_assert_eq(fd_table_put(&table, fds[1], "late", 1, true, false), 0);
	atomic_store(&table.announces, true);
	fill_channel();
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_assert_lt(fd_table_announce(&table, fds[1]), 0);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < 3; i++)
		fd_close(fds[i]);
}
