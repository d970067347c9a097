/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/custody/custody.h"
#include "supervisor/custody/names.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

TestSuite(custody, .timeout = 20);

static struct custody custody;
static struct why why;

static void teardown(void)
{
	custody_clear(&custody);
	cr_assert_eq(custody.n, 0);
	cr_assert_null(custody.entries);
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

/* Hands over @n descriptors named @name, with tags from @first_tag; @named of them have a name in the message. */
static int take(const char *name, uint64_t first_tag, const int *fds, size_t n, size_t named)
{
	Upgraded__Wire__FdInfo infos[WIRE_FDS_MAX], *pointers[WIRE_FDS_MAX];
	Upgraded__Wire__Fds message = UPGRADED__WIRE__FDS__INIT;
	struct wire_fds came = { .n = n };
	int r;

	for (size_t i = 0; i < named; i++) {
		upgraded__wire__fd_info__init(&infos[i]);
		infos[i].name = (char *)(uintptr_t)name;
		infos[i].tag = first_tag + i;
		pointers[i] = &infos[i];
	}
	if (n)
		memcpy(came.fd, fds, n * sizeof(int));
	message.n_fds = named;
	message.fds = pointers;
	r = custody_take(&custody, &message, &came, &why);
	/* As the channel does with what nobody claimed. */
	wire_fds_close(&came);
	return r;
}

static void closed(const char *name, uint64_t tag)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *infos[] = { &info };

	info.name = wire_text(name);
	info.tag = tag;
	custody_closed(&custody, infos, 1);
}

static int memory(void)
{
	int fd = memfd_create("custody", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

static int listener_open(struct sockaddr_in *ret_address)
{
	socklen_t size = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	cr_assert_eq(bind(fd, (struct sockaddr *)ret_address, size), 0);
	cr_assert_eq(listen(fd, 10), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
	return fd;
}

/* A connection over the loopback: [0] the service's end, [1] its client's. */
static void connection_open(int ret_ends[2])
{
	struct sockaddr_in address;
	FD_CLEANUP int listener = listener_open(&address);

	ret_ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(ret_ends[1], (struct sockaddr *)&address, sizeof(address)), 0);
	ret_ends[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_geq(ret_ends[0], 0);
}

/* What the client sees next: 0 the end, -errno an error. */
static ssize_t client_reads(int client)
{
	struct pollfd poll_fd = { .fd = client, .events = POLLIN };
	char byte;
	ssize_t n;

	cr_assert_eq(poll(&poll_fd, 1, 10000), 1);
	n = recv(client, &byte, 1, MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

Test(custody, takes_descriptors_with_name_and_tag, .fini = teardown)
{
	int fds[] = { memory(), memory(), memory() };
	unsigned long long inode;

	cr_assert_eq(take("client", 7, fds, 3, 3), 0, "%s", why.text);
	cr_assert_eq(custody.n, 3);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_str_eq(custody.entries[i].name, "client");
		cr_assert_eq(custody.entries[i].tag, 7 + i);
		cr_assert_eq(custody.entries[i].ref->fd, fds[i]);
		cr_assert_eq(fd_inode(fds[i], &inode), 0);
		cr_assert_eq(custody.entries[i].id.inode, inode);
	}
}

Test(custody, grows_as_needed, .fini = teardown)
{
	unsigned before = open_fds();

	for (uint64_t round = 0; round < 5; round++) {
		int fds[100];

		for (size_t i = 0; i < 100; i++)
			fds[i] = memory();
		cr_assert_eq(take("client", round * 100, fds, 100, 100), 0);
	}
	cr_assert_eq(custody.n, 500);
	for (size_t i = 0; i < 500; i++)
		cr_assert_eq(custody.entries[i].tag, i);
	custody_clear(&custody);
	cr_assert_eq(open_fds(), before);
}

Test(custody, refuses_a_long_name, .fini = teardown)
{
	char name[WIRE_FD_NAME_MAX + 2];
	unsigned before = open_fds();
	int fd = memory();

	memset(name, 'n', sizeof(name));
	name[WIRE_FD_NAME_MAX + 1] = 0;
	cr_assert_eq(take(name, 1, &fd, 1, 1), -EPROTO);
	cr_assert(strstr(why.text, "longer than 64 bytes"), "%s", why.text);
	cr_assert_eq(open_fds(), before);
	name[WIRE_FD_NAME_MAX] = 0;
	fd = memory();
	cr_assert_eq(take(name, 1, &fd, 1, 1), 0, "%s", why.text);
}

Test(custody, refuses_more_than_the_process_may_have, .fini = teardown)
{
	int fds[] = { memory(), memory(), memory() };
	unsigned before = open_fds();

	custody.most = 4;
	cr_assert_eq(take("client", 0, fds, 3, 3), 0, "%s", why.text);
	fds[0] = memory();
	fds[1] = memory();
	cr_assert_eq(take("client", 3, fds, 2, 2), -EMFILE);
	cr_assert(strstr(why.text, "more descriptors (5) than it may have open (4)"), "%s", why.text);
	cr_assert_eq(custody.n, 3);
	cr_assert_eq(open_fds(), before);
}

Test(custody, leaves_a_third_of_what_is_free_and_the_reserve_to_others, .fini = teardown)
{
	struct rlimit limit, low;
	unsigned before = open_fds();
	size_t most;
	int r = 0;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 4096;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (uint64_t tag = 0; r == 0; tag++) {
		int fd = memory();

		r = take("client", tag, &fd, 1, 1);
	}
	cr_assert_eq(r, -EMFILE);
	cr_assert(strstr(why.text, "LimitNOFILE= of upgraded"), "%s", why.text);
	most = (4096 - CUSTODY_RESERVE - before) * 2 / 3;
	cr_assert(custody.n + 8 >= most && custody.n <= most + 8, "%zu instead of %zu", custody.n, most);
	custody_clear(&custody);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Test(custody, is_not_the_only_owner_of_what_waits_to_be_sent, .fini = teardown)
{
	int fd = memory();
	struct fd_ref *queued;

	cr_assert_eq(take("client", 1, &fd, 1, 1), 0);
	queued = fd_ref_use(custody.entries[0].ref);
	closed("client", 1);
	cr_assert_neq(fcntl(fd, F_GETFD), -1);
	fd_ref_drop(queued);
	cr_assert_eq(fcntl(fd, F_GETFD), -1);
}

Test(custody, takes_a_message_without_descriptors, .fini = teardown)
{
	cr_assert_eq(take("none", 0, NULL, 0, 0), 0);
	cr_assert_eq(custody.n, 0);
}

Test(custody, refuses_more_or_fewer_descriptors_than_names, .fini = teardown)
{
	unsigned before = open_fds();
	int fds[] = { memory(), memory(), memory() };

	cr_assert_eq(take("client", 1, fds, 3, 2), -EPROTO);
	cr_assert(strstr(why.text, "2 descriptors are named, 3 came"), "%s", why.text);
	fds[0] = memory();
	cr_assert_eq(take("client", 1, fds, 1, 2), -EPROTO);
	cr_assert_eq(custody.n, 0);
	cr_assert_eq(open_fds(), before);
}

Test(custody, tells_connections_from_everything_else, .fini = teardown)
{
	struct sockaddr_in address;
	int ends[2], pair[2];
	int fds[5];

	connection_open(ends);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fds[0] = ends[0];
	fds[1] = listener_open(&address);
	fds[2] = memory();
	fds[3] = pair[0];
	fds[4] = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(take("x", 0, fds, 5, 5), 0);
	cr_assert(custody.entries[0].is_tcp);
	cr_assert_not(custody.entries[1].is_tcp);
	cr_assert_not(custody.entries[2].is_tcp);
	cr_assert_not(custody.entries[3].is_tcp);
	cr_assert_not(custody.entries[4].is_tcp);
	fd_close(ends[1]);
	fd_close(pair[1]);
}

Test(custody, drops_what_the_application_closed, .fini = teardown)
{
	int fds[] = { memory(), memory(), memory() };
	unsigned before = open_fds();

	cr_assert_eq(take("client", 0, fds, 3, 3), 0);
	closed("client", 1);
	cr_assert_eq(custody.n, 2);
	cr_assert_eq(open_fds(), before - 1);
	for (size_t i = 0; i < 2; i++)
		cr_assert_neq(custody.entries[i].tag, 1);
	closed("client", 2);
	closed("client", 0);
	cr_assert_eq(custody.n, 0);
	cr_assert_eq(open_fds(), before - 3);
}

/* Names that differ at their end only, and one tag: nothing makes the search shorter. */
static void names_of(char names[][WIRE_FD_NAME_MAX + 1], Upgraded__Wire__FdInfo *infos, Upgraded__Wire__FdInfo **pointers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		upgraded__wire__fd_info__init(&infos[i]);
		snprintf(names[i], sizeof(names[i]), "%0*zu", (int)WIRE_FD_NAME_MAX, i);
		infos[i].name = names[i];
		pointers[i] = &infos[i];
	}
}

Test(custody, drops_many_in_one_message_and_each_as_often_as_it_is_named, .fini = teardown)
{
	int fds[] = { memory(), memory(), memory(), memory() };
	static char names[300][WIRE_FD_NAME_MAX + 1];
	Upgraded__Wire__FdInfo infos[300], *pointers[300];
	Upgraded__Wire__FdInfo twice = UPGRADED__WIRE__FD_INFO__INIT;

	cr_assert_eq(take("client", 0, &fds[0], 1, 1), 0);
	cr_assert_eq(take("client", 0, &fds[1], 1, 1), 0);
	cr_assert_eq(take("client", 0, &fds[2], 1, 1), 0);
	cr_assert_eq(take("other", 0, &fds[3], 1, 1), 0);
	names_of(names, infos, pointers, 300);
	twice.name = wire_text("client");
	pointers[3] = pointers[299] = &twice;
	custody_closed(&custody, pointers, 300);
	cr_assert_eq(custody.n, 2);
	cr_assert(strcmp(custody.entries[0].name, "other") == 0 || strcmp(custody.entries[1].name, "other") == 0);
}

#define CROWD 20000u

/* The supervisor's thread spends its own time on this, so that is what counts, on however busy a machine. */
static uint64_t spent_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

/* What lies in custody is looked through once for a message, and once for the names of a version. With the sanitizers that takes
 * about 2 ms and 11 ms; to look for each by itself took 250 ms and 380 ms. */
Test(custody, of_twenty_thousand_does_not_hold_the_loop, .fini = teardown)
{
	static char names[CROWD][WIRE_FD_NAME_MAX + 1];
	static Upgraded__Wire__FdInfo infos[CROWD], *pointers[CROWD];
	struct fd_names known = { .names = NULL };
	struct fd_ref *ref = fd_ref_new_foreign(memory());
	uint64_t start;

	names_of(names, infos, pointers, CROWD);
	custody.entries = calloc(CROWD, sizeof(*custody.entries));
	cr_assert(custody.entries && ref);
	custody.n = custody.cap = CROWD;
	for (size_t i = 0; i < CROWD; i++)
		custody.entries[i] = (struct custody_entry){ .name = strdup(names[i]), .ref = fd_ref_use(ref) };
	start = spent_us();
	fd_names_note(&known, &custody);
	cr_assert_lt(spent_us() - start, USEC_PER_SEC / 7, "%llu us", (unsigned long long)(spent_us() - start));
	cr_assert(known.cut && fd_names_have(&known, &custody.entries[0]));
	/* The names that come last: every other one is looked at first. */
	start = spent_us();
	for (size_t i = CROWD - 256; i < CROWD; i++)
		infos[i].tag = 1; /* none of these is there */
	custody_closed(&custody, pointers + CROWD - 256, 256);
	cr_assert_lt(spent_us() - start, USEC_PER_SEC / 10, "%llu us", (unsigned long long)(spent_us() - start));
	cr_assert_eq(custody.n, CROWD);
	custody_closed(&custody, pointers, 256);
	cr_assert_eq(custody.n, CROWD - 256);
	fd_names_done(&known);
	fd_ref_drop(ref);
}

Test(custody, knows_what_a_version_had_by_name_and_doors_by_their_tag, .fini = teardown)
{
	struct custody_entry client = { .name = (char *)(uintptr_t)"client", .tag = 99 };
	struct custody_entry door = { .name = (char *)(uintptr_t)"client", .tag = 1, .door = DOOR_LISTENER };
	struct fd_names known = { .names = NULL };
	int fds[] = { memory(), memory(), memory() };

	fd_names_note(&known, &custody);
	cr_assert(!known.cut && !fd_names_have(&known, &client));
	cr_assert_eq(take("client", 0, fds, 3, 3), 0);
	custody.entries[1].door = DOOR_LISTENER;
	fd_names_note(&known, &custody);
	cr_assert_eq(known.n, 2);
	cr_assert(fd_names_have(&known, &client));
	cr_assert(fd_names_have(&known, &door));
	door.tag = 2;
	cr_assert_not(fd_names_have(&known, &door));
	client.name = (char *)(uintptr_t)"clients";
	cr_assert_not(fd_names_have(&known, &client));
	fd_names_done(&known);
}

/* ---- doors: a version that comes back needs all of its own ---- */

static int datagrams_open(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

Test(custody, keeps_the_doors_that_the_application_closed, .fini = teardown)
{
	struct sockaddr_in address;
	int fds[] = { listener_open(&address), datagrams_open() };

	cr_assert_eq(take("door", 0, fds, 2, 2), 0);
	closed("door", 0);
	closed("door", 1);
	cr_assert_eq(custody.n, 2);
	cr_assert_eq(custody.entries[0].door, DOOR_LISTENER);
	cr_assert_eq(custody.entries[1].door, DOOR_DATAGRAMS);
	cr_assert(custody_reopen(&custody.entries[0]) && custody_reopen(&custody.entries[1]));
}

Test(custody, gives_up_a_door_that_only_the_new_version_had, .fini = teardown)
{
	struct sockaddr_in address;
	int fds[] = { listener_open(&address), listener_open(&address) };

	/* Of one name: the new version closed the old one's, and opened another. */
	cr_assert_eq(take("door", 0, &fds[0], 1, 1), 0);
	cr_assert_eq(take("door", 0, &fds[1], 1, 1), 0);
	custody.entries[1].since_commit = true;
	closed("door", 0);
	cr_assert_eq(custody.n, 1);
	cr_assert_not(custody.entries[0].since_commit);
}

Test(custody, opens_a_listener_again_that_was_shut_down, .fini = teardown)
{
	struct sockaddr_in address;
	int listener = listener_open(&address), client = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_eq(take("door", 0, &listener, 1, 1), 0);
	cr_assert_gt(custody.entries[0].place->backlog, 0);
	/* As servers do that want a thread of theirs to come back from accept(). */
	cr_assert_eq(shutdown(custody.entries[0].ref->fd, SHUT_RDWR), 0);
	cr_assert_lt(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	close(client);
	cr_assert(custody_reopen(&custody.entries[0]));
	client = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	close(client);
}

Test(custody, says_that_a_socket_of_datagrams_was_shut_down, .fini = teardown)
{
	int fd = datagrams_open();

	cr_assert_eq(take("door", 0, &fd, 1, 1), 0);
	shutdown(custody.entries[0].ref->fd, SHUT_RDWR);
	cr_assert_not(custody_reopen(&custody.entries[0]));
}

Test(custody, is_not_moved_by_closes_of_what_it_never_had, .fini = teardown)
{
	int fd = memory();

	cr_assert_eq(take("client", 5, &fd, 1, 1), 0);
	closed("client", 6);
	closed("listener", 5);
	closed("", 5);
	cr_assert_eq(custody.n, 1);
}

Test(custody, resets_a_connection_if_asked_to, .fini = teardown)
{
	int ends[2];

	connection_open(ends);
	cr_assert_eq(take("client", 1, ends, 1, 1), 0);
	custody_drop_at(&custody, 0, true);
	cr_assert_eq(client_reads(ends[1]), -ECONNRESET);
	fd_close(ends[1]);
}

Test(custody, ends_a_connection_quietly_otherwise, .fini = teardown)
{
	int ends[2];

	connection_open(ends);
	cr_assert_eq(take("client", 1, ends, 1, 1), 0);
	custody_drop_at(&custody, 0, false);
	cr_assert_eq(client_reads(ends[1]), 0);
	fd_close(ends[1]);
}

Test(custody, moves_the_last_entry_into_the_gap, .fini = teardown)
{
	int fds[] = { memory(), memory(), memory() };

	cr_assert_eq(take("client", 0, fds, 3, 3), 0);
	/* Resetting what is no socket is merely closing it. */
	custody_drop_at(&custody, 0, true);
	cr_assert_eq(custody.n, 2);
	cr_assert_eq(custody.entries[0].tag, 2);
	cr_assert_eq(custody.entries[1].tag, 1);
	custody_drop_at(&custody, 1, false);
	cr_assert_eq(custody.n, 1);
	cr_assert_eq(custody.entries[0].tag, 2);
}

Test(custody, finds_a_connection_that_is_bound_to_an_interface, .fini = teardown)
{
	struct conntable *table;
	struct conn_sample sample;
	int ends[2];

	connection_open(ends);
	cr_assert_eq(setsockopt(ends[0], SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
	cr_assert_eq(conntable_new(&table, &why), 0, "%s", why.text);
	cr_assert_eq(take("client", 0, ends, 1, 1), 0);
	custody_sample(&custody, table, &sample);
	cr_assert_eq(sample.n, 1);
	cr_assert(sample.conn[0].present && sample.conn[0].stable);
	conn_sample_done(&sample);
	fd_close(ends[1]);
	conntable_free(table);
}

Test(custody, resets_what_was_given_up_when_it_is_time_for_it, .fini = teardown)
{
	int a[2], b[2], c[2];

	connection_open(a);
	connection_open(b);
	connection_open(c);
	cr_assert_eq(take("client", 0, (int[]){ a[0], b[0], c[0] }, 3, 3), 0);
	custody.entries[0].given_up = custody.entries[2].given_up = true;
	custody_reset_given_up(&custody);
	cr_assert_eq(custody.n, 1);
	cr_assert_eq(custody.entries[0].tag, 1);
	cr_assert_eq(client_reads(a[1]), -ECONNRESET);
	cr_assert_eq(client_reads(c[1]), -ECONNRESET);
	custody.entries[0].given_up = true;
	custody_clear(&custody);
	cr_assert_eq(client_reads(b[1]), -ECONNRESET);
	fd_close(a[1]);
	fd_close(b[1]);
	fd_close(c[1]);
}

Test(custody, does_not_ask_again_for_what_is_known_to_have_moved, .fini = teardown)
{
	struct conntable *table;
	struct conn_sample before, after;
	uint64_t until_us = clock_now_us() + 10 * USEC_PER_SEC;
	int a[2], b[2];
	char byte = 0;

	connection_open(a);
	connection_open(b);
	cr_assert_eq(conntable_new(&table, &why), 0, "%s", why.text);
	cr_assert_eq(take("client", 0, (int[]){ a[0], b[0] }, 2, 2), 0);
	custody_sample(&custody, table, &before);
	cr_assert(custody_note_moved(&custody, table, &before, 64));
	cr_assert_not(custody.entries[0].known_moved || custody.entries[1].known_moved);
	cr_assert_eq(send(a[0], &byte, 1, MSG_NOSIGNAL), 1);
	while (!custody.entries[0].known_moved && clock_now_us() < until_us)
		cr_assert(custody_note_moved(&custody, table, &before, 1));
	cr_assert(custody.entries[0].known_moved);
	cr_assert_not(custody.entries[1].known_moved);
	custody_sample(&custody, table, &after);
	cr_assert_eq(after.n, 1);
	cr_assert_eq(conntable_compare(&before, &after, custody.entries[0].id.inode), CONN_UNKNOWN);
	cr_assert_eq(conntable_compare(&before, &after, custody.entries[1].id.inode), CONN_SAME);
	custody.entries[1].known_moved = true;
	cr_assert_not(custody_note_moved(&custody, table, &before, 64));
	conn_sample_done(&before);
	conn_sample_done(&after);
	fd_close(a[1]);
	fd_close(b[1]);
	conntable_free(table);
}

Test(custody, samples_connections_and_nothing_else, .fini = teardown)
{
	struct conntable *table;
	struct conn_sample before, after;
	struct sockaddr_in address;
	unsigned long long inode;
	int ends[2], fds[3];

	cr_assert_eq(conntable_new(&table, &why), 0, "%s", why.text);
	connection_open(ends);
	fds[0] = memory();
	fds[1] = ends[0];
	fds[2] = listener_open(&address);
	cr_assert_eq(take("x", 0, fds, 3, 3), 0);
	inode = custody.entries[1].id.inode;
	custody_sample(&custody, table, &before);
	cr_assert_eq(before.n, 1);
	cr_assert_eq(before.conn[0].inode, inode);
	cr_assert_eq(write(ends[0], "answer", 6), 6);
	custody_sample(&custody, table, &after);
	cr_assert_eq(conntable_compare(&before, &after, inode), CONN_MOVED);
	conn_sample_done(&before);
	conn_sample_done(&after);
	conntable_free(table);
	fd_close(ends[1]);
}

Test(custody, leaves_a_sample_empty_without_a_table_or_connections, .fini = teardown)
{
	struct conn_sample sample = { .n = 9 };
	int ends[2];

	custody_sample(&custody, NULL, &sample);
	cr_assert_eq(sample.n, 0);
	connection_open(ends);
	cr_assert_eq(take("client", 1, ends, 1, 1), 0);
	sample.n = 9;
	custody_sample(&custody, NULL, &sample);
	cr_assert_eq(sample.n, 0);
	cr_assert_null(sample.conn);
	fd_close(ends[1]);
}
