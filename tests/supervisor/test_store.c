/* SPDX-License-Identifier: MIT */
/* What systemd is given to hold, and what is believed of what it gives back. A socket here stands for it; tests/systemd has a real
 * one. */
#include "supervisor/systemd/store.h"

#include "base/base.h"
#include "supervisor/systemd/notify.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(store, .timeout = 30);

static struct why why;
static int manager; /* systemd's socket */

struct heard {
	char text[256];
	int fd; /* -1: none came */
};

static void listen_as_manager(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char name[64];

	snprintf(name, sizeof(name), "@upg-store-%d", (int)getpid());
	memcpy(at.sun_path, name, strlen(name));
	at.sun_path[0] = 0;
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert_eq(bind(manager, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
	setenv("NOTIFY_SOCKET", name, 1);
}

static bool hear(struct heard *ret)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec line = { .iov_base = ret->text, .iov_len = sizeof(ret->text) - 1 };
	struct msghdr message = { .msg_iov = &line, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(manager, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *rights = n < 0 ? NULL : CMSG_FIRSTHDR(&message);

	ret->fd = -1;
	if (n < 0)
		return false;
	ret->text[n] = 0;
	if (rights)
		memcpy(&ret->fd, CMSG_DATA(rights), sizeof(int));
	return true;
}

static void must_hear(const char *text, int of)
{
	struct heard heard;
	unsigned long long is = 0, ought = 0;

	cr_assert(hear(&heard), "systemd was not told %s", text);
	cr_assert_str_eq(heard.text, text);
	cr_assert_eq(heard.fd >= 0, of >= 0);
	if (of < 0)
		return;
	cr_assert_eq(fd_inode(heard.fd, &is), 0);
	cr_assert_eq(fd_inode(of, &ought), 0);
	cr_assert_eq(is, ought);
	close(heard.fd);
}

static void must_hear_nothing(void)
{
	struct heard heard;

	cr_assert(!hear(&heard), "systemd was told %s", heard.text);
}

static struct store *open_store(struct loop *loop, const char *most)
{
	struct store *store;

	setenv("FDSTORE", most, 1);
	cr_assert_eq(store_open(loop, &store, &why), 0, "%s", why.text);
	return store;
}

static int some_file(void)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	close(ends[1]);
	return ends[0];
}

/* ---- out ---- */

Test(store, is_not_there_where_nobody_says_how_much_it_takes)
{
	struct store *store;

	listen_as_manager();
	unsetenv("FDSTORE");
	cr_assert_eq(store_open(NULL, &store, &why), 0);
	cr_assert_null(store);
	cr_assert_null(open_store(NULL, "0"));
	unsetenv("NOTIFY_SOCKET");
	cr_assert_null(open_store(NULL, "7"));
	/* And does nothing. */
	store_put(NULL, 1, STORE_OUTPUT, 0);
	store_remove(NULL, 1);
	store_settle(NULL);
	cr_assert_eq(store_take(NULL, 1, STORE_OUTPUT, 0), -1);
	cr_assert(!store_holds(NULL, 1, STORE_OUTPUT));
	must_hear_nothing();
}

Test(store, gives_each_descriptor_a_name_and_takes_it_back)
{
	struct store *store;
	int fd = some_file();

	listen_as_manager();
	store = open_store(NULL, "7");
	store_put(store, 12, STORE_OUTPUT, fd);
	/* The program before may have executed this one, and what it had stored under that name is another's. */
	must_hear("FDSTOREREMOVE=1\nFDNAME=upg-12-o", -1);
	must_hear("FDSTORE=1\nFDNAME=upg-12-o\nFDPOLL=0", fd);
	cr_assert(store_holds(store, 12, STORE_OUTPUT));
	cr_assert(!store_holds(store, 12, STORE_CHANNEL));
	store_put(store, 12, STORE_PIDFD, fd);
	must_hear("FDSTOREREMOVE=1\nFDNAME=upg-12-p", -1);
	must_hear("FDSTORE=1\nFDNAME=upg-12-p\nFDPOLL=0", fd);
	store_remove(store, 11);
	must_hear_nothing();
	store_remove(store, 12);
	must_hear("FDSTOREREMOVE=1\nFDNAME=upg-12-o", -1);
	must_hear("FDSTOREREMOVE=1\nFDNAME=upg-12-p", -1);
	cr_assert(!store_holds(store, 12, STORE_OUTPUT));
	store_remove(store, 12);
	must_hear_nothing();
	store_free(store);
	close(fd);
}

Test(store, takes_no_more_than_systemd_does)
{
	struct store *store;
	struct heard heard;
	unsigned n = 0;
	int fd = some_file();

	listen_as_manager();
	store = open_store(NULL, "2");
	for (uint64_t serial = 1; serial <= 4; serial++) {
		store_put(store, serial, STORE_OUTPUT, fd);
		while (hear(&heard)) {
			n += heard.fd >= 0;
			fd_close(heard.fd);
		}
	}
	cr_assert_eq(n, 2);
	cr_assert(!store_holds(store, 3, STORE_OUTPUT));
	store_remove(store, 1);
	store_put(store, 3, STORE_OUTPUT, fd);
	cr_assert(store_holds(store, 3, STORE_OUTPUT));
	store_free(store);
	close(fd);
}

/* Everything in its order, and nobody waits. */
Test(store, waits_in_the_loop_for_a_systemd_that_is_busy)
{
	struct store *store;
	struct heard heard;
	struct loop *loop;
	int fd = some_file(), r;
	uint64_t next = 1;

	listen_as_manager();
	cr_assert_eq(loop_new(&loop, &why), 0);
	store = open_store(loop, "900");
	cr_assert(store_is_quiet(store));
	do
		r = notify_send("STATUS=full", NULL, 0);
	while (r == 1);
	cr_assert_eq(r, -EAGAIN);
	for (uint64_t serial = 1; serial <= 50; serial++)
		store_put(store, serial, STORE_OUTPUT, fd);
	cr_assert(!store_is_quiet(store));
	while (next <= 50) {
		struct pollfd some = { .fd = manager, .events = POLLIN };

		cr_assert_geq(loop_turn(loop, 100), 0);
		(void)poll(&some, 1, 10);
		while (hear(&heard)) {
			char ought[64];

			snprintf(ought, sizeof(ought), "FDSTORE=1\nFDNAME=upg-%" PRIu64 "-o\nFDPOLL=0", next);
			if (heard.fd < 0)
				continue;
			cr_assert_str_eq(heard.text, ought);
			close(heard.fd);
			next++;
		}
	}
	store_free(store);
	loop_free(loop);
	close(fd);
}

/* ---- and in again ---- */

#define CAME 5
static unsigned long long inodes[CAME];

/* In a process of its own, in which the numbers are free that systemd uses. Return: its exit status. */
static int started_with(const char *names, int (*does)(struct store *store))
{
	int status;
	pid_t pid;

	listen_as_manager();
	pid = fork();
	if (pid == 0) {
		int fds[CAME], above = fcntl(manager, F_DUPFD, 100);
		char number[32];
		struct store *store;

		manager = above;
		for (int i = 0; i < CAME; i++) {
			fds[i] = fcntl(some_file(), F_DUPFD, 100);
			fd_inode(fds[i], &inodes[i]);
		}
		for (int i = 0; i < CAME; i++)
			dup2(fds[i], 3 + i);
		snprintf(number, sizeof(number), "%d", (int)getpid());
		setenv("LISTEN_PID", number, 1);
		setenv("LISTEN_FDS", "5", 1);
		setenv("LISTEN_FDNAMES", names, 1);
		setenv("FDSTORE", "9", 1);
		if (store_open(NULL, &store, &why) < 0 || getenv("LISTEN_FDS"))
			_exit(100);
		_exit(does(store));
	}
	waitpid(pid, &status, 0);
	close(manager);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static bool is_told(const char *text)
{
	struct heard heard;

	return hear(&heard) && strcmp(heard.text, text) == 0;
}

static bool is_told_nothing(void)
{
	struct heard heard;

	return !hear(&heard);
}

static int takes(struct store *store)
{
	struct store *with = store;

	if (fcntl(3, F_GETFD) != FD_CLOEXEC)
		return 1;
	if (store_take(with, 7, STORE_OUTPUT, inodes[1] + 1) >= 0 || store_take(with, 8, STORE_OUTPUT, 0) >= 0)
		return 2;
	if (store_take(with, 7, STORE_OUTPUT, inodes[1]) != 4 || store_take(with, 7, STORE_OUTPUT, inodes[1]) >= 0)
		return 3;
	if (!store_holds(with, 7, STORE_OUTPUT) || !is_told_nothing())
		return 4;
	/* Of whom nobody knows the inode, another process may have had the name. */
	if (store_take(with, 7, STORE_CHANNEL, 0) >= 0 || store_take(with, 9, STORE_PIDFD, 0) >= 0 || store_last_serial(with) != 9)
		return 9;
	/* Two of one name: the right one is found, whichever comes first. */
	if (store_take(with, 7, STORE_CHANNEL, inodes[2]) != 5)
		return 5;
	/* What nobody wanted is closed. Of what is held by that name, systemd is not told. */
	store_settle(with);
	if (is_open(3) || is_open(6) || is_open(7) || !is_open(4) || !is_open(5))
		return 6;
	if (!is_told("FDSTOREREMOVE=1\nFDNAME=upg-9-p") || !is_told_nothing())
		return 7;
	store_settle(with);
	return is_told_nothing() ? 0 : 8;
}

Test(store, believes_a_name_and_an_inode_and_closes_the_rest)
{
	cr_assert_eq(started_with("upg-9-p:upg-7-o:upg-7-c:upg-7-c:web.socket", takes), 0);
}

static int takes_a_pidfd(struct store *store)
{
	pid_t living = fork(), ended;

	if (living == 0) {
		pause();
		_exit(0);
	}
	ended = fork();
	if (ended == 0)
		_exit(0);
	dup2(pidfd_open(living, 0), 3);
	dup2(pidfd_open(ended, 0), 4);
	if (store_take(store, 9, STORE_PIDFD, 0) >= 0 || store_take(store, 10, STORE_PIDFD, 0) >= 0)
		return 1;
	waitpid(ended, NULL, 0);
	if (store_take(store, 9, STORE_PIDFD, 0) >= 0 || store_take(store, 10, STORE_PIDFD, 0) != 4)
		return 2;
	kill(living, SIGKILL);
	waitpid(living, NULL, 0);
	return 0;
}

/* Its number may be another one's by now, so one that lives is not the one that has ended. */
Test(store, gives_a_pidfd_of_a_process_that_was_reaped)
{
	cr_assert_eq(started_with("upg-9-p:upg-10-p:a:b:c", takes_a_pidfd), 0);
}

/* systemd, which closes it last, closes what lies in it, too: that takes as long as its sender likes. */
static int empties(struct store *store)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec line = { .iov_base = (char[]){ "x" }, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &line, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	int pair[2], at_systemd, sent = some_file();
	char byte;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		return 1;
	at_systemd = fcntl(pair[0], F_DUPFD, 200);
	dup2(pair[0], 5);
	*rights = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(rights), &sent, sizeof(sent));
	for (int i = 0; i < 5; i++)
		if (sendmsg(pair[1], &message, 0) != 1)
			return 2;
	store_settle(store);
	if (is_open(5) || recv(at_systemd, &byte, 1, MSG_DONTWAIT) != 0)
		return 3;
	return sendmsg(pair[1], &message, MSG_NOSIGNAL) < 0 && errno == EPIPE ? 0 : 4;
}

Test(store, leaves_nothing_in_a_channel_that_systemd_closes)
{
	cr_assert_eq(started_with("a:b:upg-7-c:d:e", empties), 0);
}

static int replaces(struct store *store)
{
	int fd = fcntl(some_file(), F_DUPFD, 100);

	/* What was held under that name is another pipe: it goes first. */
	store_put(store, 7, STORE_OUTPUT, fd);
	if (is_open(4) || !is_told("FDSTOREREMOVE=1\nFDNAME=upg-7-o") || !is_told("FDSTORE=1\nFDNAME=upg-7-o\nFDPOLL=0"))
		return 1;
	store_put(store, 10, STORE_OUTPUT, fd); /* a new name */
	return is_told("FDSTORE=1\nFDNAME=upg-10-o\nFDPOLL=0") ? 0 : 2;
}

Test(store, holds_one_thing_under_a_name)
{
	cr_assert_eq(started_with("upg-9-p:upg-7-o:a:b:c", replaces), 0);
}

/* It takes nine, and five are there: of six new ones there is room for four. */
static int waits_for_room(struct store *store)
{
	int fd = fcntl(some_file(), F_DUPFD, 100);

	for (uint64_t serial = 20; serial < 26; serial++)
		store_put(store, serial, STORE_OUTPUT, fd);
	for (unsigned i = 0; i < 4; i++) {
		char text[64];

		snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=upg-%u-o\nFDPOLL=0", 20 + i);
		if (!is_told(text))
			return 1;
	}
	if (!is_told_nothing() || store_holds(store, 24, STORE_OUTPUT))
		return 2;
	store_remove(store, 24);
	store_settle(store);
	for (unsigned i = 1; i <= 5; i++) {
		char text[64];

		snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=upg-%u-o", i);
		if (!is_told(text))
			return 3;
	}
	if (!is_told("FDSTORE=1\nFDNAME=upg-25-o\nFDPOLL=0") || !is_told_nothing() || !store_holds(store, 25, STORE_OUTPUT))
		return 4;
	store_free(store);
	return 0;
}

Test(store, holds_what_had_no_room_once_there_is_some)
{
	cr_assert_eq(started_with("upg-1-o:upg-2-o:upg-3-o:upg-4-o:upg-5-o", waits_for_room), 0);
}

static int survives(struct store *store)
{
	store_settle(store);
	return is_told_nothing() && !is_open(3) && !is_open(7) ? 0 : 1;
}

Test(store, makes_nothing_of_names_that_are_not_its_own)
{
	cr_assert_eq(started_with("", survives), 0);
	cr_assert_eq(started_with("::::", survives), 0);
	cr_assert_eq(started_with("upg--o:upg-1-x:upg-1-oo:upg-1-:upg-99999999999999999999999999999999999999-o", survives), 0);
}
