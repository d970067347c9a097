/* SPDX-License-Identifier: MIT */
/* What a program tells by sd_notify(3), and from whom it is taken; and whether one waits at its listeners, by the kernel's word. */
#include "supervisor/process/notified.h"

#include "base/base.h"
#include "supervisor/process/accepting.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct why why;
static struct loop *loop;
static struct notified notified;
static struct notification heard;
static unsigned n_heard;
static char folder[64], status[NOTIFIED_TEXT_MAX + 1];

static void on_heard(struct notified *from, const struct notification *notification)
{
	cr_assert_eq(from, &notified);
	heard = *notification;
	snprintf(status, sizeof(status), "%s", notification->status ? notification->status : "");
	n_heard++;
}

static void set_up(void)
{
	snprintf(folder, sizeof(folder), "/tmp/upg-notified.XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(loop_new(&loop, &why), 0);
	notified_init(&notified);
	n_heard = 0;
	cr_assert_eq(notified_open(&notified, loop, folder, 7, "", on_heard, &why), 0, "%s", why.text);
	notified.pid = getpid();
}

static void tear_down(void)
{
	notified_close(&notified);
	loop_free(loop);
	cr_assert_eq(rmdir(folder), 0, "a socket was left behind");
}

TestSuite(notified, .timeout = 30, .init = set_up, .fini = tear_down);
TestSuite(accepting, .timeout = 30);

/* ---- the words ---- */

static struct notification parsed(const char *text)
{
	static char copy[512];
	struct notification ret;

	snprintf(copy, sizeof(copy), "%s", text);
	notified_parse(copy, &ret);
	return ret;
}

Test(notified, knows_the_words_that_matter)
{
	struct notification n = parsed("READY=1\nSTATUS=warm\nMAINPID=5\nEXTEND_TIMEOUT_USEC=1500000\nWATCHDOG=1\nSTOPPING=1");

	cr_assert(n.ready && n.beats && n.stopping && !n.fails);
	cr_assert_str_eq(n.status, "warm");
	cr_assert_eq(n.extend_us, 1500000);
	n = parsed("READY=0\nWATCHDOG=trigger\nSTATUS=");
	cr_assert(!n.ready && n.fails && !n.beats);
	cr_assert_str_eq(n.status, "");
	n = parsed("ready=1\nREADY\n=1\nREADY=11\nEXTEND_TIMEOUT_USEC=-3\nEXTEND_TIMEOUT_USEC=x\nWATCHDOG=2");
	cr_assert(!n.ready && !n.beats && !n.fails && !n.extend_us && !n.status);
	n = parsed("");
	cr_assert(!n.ready && !n.status);
}

Test(notified, shows_nothing_that_would_drive_a_terminal)
{
	char text[600] = "STATUS=";

	cr_assert_str_eq(parsed("STATUS=a\033[2Jb").status, "a?[2Jb");
	memset(text + 7, 'x', sizeof(text) - 8);
	text[sizeof(text) - 1] = 0;
	cr_assert_eq(strlen(parsed(text).status), NOTIFIED_TEXT_MAX);
}

/* ---- who says them ---- */

static void tell(const char *text)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/7", folder);
	if (sendto(fd, text, strlen(text), 0, (const struct sockaddr *)&at, sizeof(at)) < 0)
		_exit(1);
	close(fd);
}

/* Nothing that came is left unheard. */
static void hear_all(void)
{
	for (unsigned i = 0; i < 100 && notified_has_unread(&notified); i++)
		cr_assert_geq(loop_turn(loop, 100), 0);
	cr_assert(!notified_has_unread(&notified));
}

Test(notified, hears_the_process_itself)
{
	tell("READY=1\nSTATUS=here");
	hear_all();
	cr_assert_eq(n_heard, 1);
	cr_assert(heard.ready);
	cr_assert_str_eq(status, "here");
}

/* It waits for its end, so that who has sent something can be looked up. */
static pid_t told_by_child(const char *text, bool by_grandchild)
{
	pid_t child = fork();

	if (child == 0) {
		if (!by_grandchild || fork() == 0) {
			tell(text);
			pause();
		}
		pause();
	}
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void await_word(void)
{
	struct pollfd fd = { .fd = notified.fd, .events = POLLIN };

	cr_assert_eq(poll(&fd, 1, 10000), 1);
}

Test(notified, hears_a_process_that_descends_from_it)
{
	pid_t child = told_by_child("READY=1", true);

	await_word();
	hear_all();
	cr_assert_eq(n_heard, 1);
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM); /* the grandchild, too: it is of this group */
	end_child(child);
}

Test(notified, does_not_hear_anybody_else)
{
	pid_t stranger = fork(), child;

	if (stranger == 0) {
		pause();
		_exit(0);
	}
	notified.pid = stranger;
	tell("READY=1"); /* as its parent */
	child = told_by_child("READY=1", false);
	await_word();
	hear_all();
	cr_assert_eq(n_heard, 0);
	notified.pid = 0;
	tell("READY=1"); /* before it is known whose it is */
	hear_all();
	cr_assert_eq(n_heard, 0);
	end_child(child);
	end_child(stranger);
}

Test(notified, is_for_us_and_the_user_alone)
{
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "%s/7", folder);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	if (geteuid() != 0)
		return;
	cr_assert_eq(notified_open(&notified, loop, folder, 7, "nobody", on_heard, &why), 0);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_uid, 65534);
	cr_assert_eq(st.st_mode & 07777, 0600);
	cr_assert_eq(notified_open(&notified, loop, folder, 7, "nobody-here-has-that-name", on_heard, &why), 0);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0666, "who has sent something the kernel says");
}

/* As after a flood: what it may take of the loop's time is used up. */
Test(notified, leaves_time_to_others_however_much_is_said)
{
	notified.share = (struct share){ .used_us = 2 * SHARE_BURST_US, .at_us = clock_now_us() };
	tell("STATUS=first");
	cr_assert_eq(loop_turn(loop, 1000), 0);
	cr_assert_eq(n_heard, 1);
	cr_assert_not_null(notified.deaf.loop, "it is listened to all the time");
	tell("STATUS=second");
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_eq(n_heard, 1);
	/* And it is heard again when others had their part. */
	while (n_heard < 2)
		cr_assert_eq(loop_turn(loop, 1000), 0);
	cr_assert_str_eq(status, "second");
}

/* ---- accepting ---- */

static int open_listener(unsigned long long *ret_inode)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	cr_assert_eq(fd_inode(fd, ret_inode), 0);
	return fd;
}

/* It comes to be so within the time that the test has. */
static void await_accepting(pid_t pid, const unsigned long long *inodes, size_t n)
{
	while (!accepting_all(pid, inodes, n))
		poll(NULL, 0, 1);
}

Test(accepting, is_seen_in_an_epoll_set_once_all_are_there)
{
	struct epoll_event event = { .events = EPOLLIN };
	unsigned long long inodes[2];
	int fds[2] = { open_listener(&inodes[0]), open_listener(&inodes[1]) }, set = epoll_create1(EPOLL_CLOEXEC);

	cr_assert(!accepting_all(getpid(), inodes, 2));
	cr_assert_eq(epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &event), 0);
	cr_assert(!accepting_all(getpid(), inodes, 2));
	cr_assert(accepting_all(getpid(), inodes, 1));
	cr_assert_eq(epoll_ctl(set, EPOLL_CTL_ADD, fds[1], &event), 0);
	cr_assert(accepting_all(getpid(), inodes, 2));
	cr_assert_eq(epoll_ctl(set, EPOLL_CTL_DEL, fds[0], NULL), 0);
	cr_assert(!accepting_all(getpid(), inodes, 2));
}

static void *accept_one(void *data)
{
	close(accept4(*(int *)data, NULL, NULL, SOCK_CLOEXEC));
	return NULL;
}

Test(accepting, is_seen_in_a_thread_that_is_blocked_in_accept)
{
	unsigned long long inode;
	int fd = open_listener(&inode);
	pthread_t thread;

	cr_assert(!accepting_all(getpid(), &inode, 1));
	cr_assert_eq(pthread_create(&thread, NULL, accept_one, &fd), 0);
	await_accepting(getpid(), &inode, 1);
	shutdown(fd, SHUT_RDWR);
	pthread_join(thread, NULL);
}

Test(accepting, is_seen_in_a_child_process)
{
	unsigned long long inode;
	int fd = open_listener(&inode);
	pid_t child = fork();

	if (child == 0) {
		accept_one(&fd);
		_exit(0);
	}
	await_accepting(getpid(), &inode, 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	cr_assert(!accepting_all(getpid(), &inode, 1));
}
