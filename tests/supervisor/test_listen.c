/* SPDX-License-Identifier: MIT */
/* Listen=: the service's clients wait while no process of it is there, and the next one gets the very socket that they wait at. The
 * processes are fakes, the sockets are not. */
#include "tests/supervisor/hosted.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what
#define CRASHED SIGSEGV

static uint16_t port, other_port;
static char path[128], lines[512];

/* Nobody has it now, and no other test chooses it meanwhile: the kernel gives them out in turn. */
static uint16_t free_port(int *ret_taken)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	if (ret_taken)
		*ret_taken = fd;
	else
		fd_close(fd);
	return ntohs(address.sin_port);
}

static void set_up(void)
{
	hosted_set(NULL);
	port = free_port(NULL);
	other_port = free_port(NULL);
	snprintf(path, sizeof(path), "%s/web.sock", hosted.place.folder);
}

static void tear_down(void)
{
	hosted_clear();
}

TestSuite(listen, .timeout = 20, .init = set_up, .fini = tear_down);

/* web.conf has these lines besides. */
static void write_lines(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void write_lines(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(lines, sizeof(lines), fmt, args);
	va_end(args);
	hosted_write(lines);
}

/* A client comes, and goes. Return: 0; -errno. */
static int come(uint16_t to)
{
	const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(to),
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	FD_CLEANUP int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

static int come_by_path(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	FD_CLEANUP int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* "127.0.0.1:80 held, ...", with P and Q for the ports. */
static const char *listeners(void)
{
	static char list[512];
	struct status status;

	*list = 0;
	service_status(hosted.web, &status);
	for (size_t i = 0; i < status.message.n_listeners; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s %s", i ? ", " : "",
			 status.message.listeners[i]->address, status.message.listeners[i]->state);
	status_done(&status);
	return list;
}

static struct fake *last_started(void)
{
	return started(hosted.origin.n_started - 1);
}

static void stop(struct fake *fake)
{
	service_stop(hosted.web, ask(&bob));
	cr_assert_eq(fake->signal, SIGTERM);
	fake_exit(fake, 0);
	assert_answer(&bob, WIRE_EXIT_DONE, "web is stopped");
}

/* ---- over a crash ---- */

Test(listen, lets_clients_wait_from_before_the_start_until_the_stop)
{
	unsigned long long socket;
	struct fake *fake;

	write_lines("Listen=127.0.0.1:%u\n", port);
	cr_assert_eq(come(port), -ECONNREFUSED);
	service_start(hosted.web, "v1", -1, ask(&ann));
	fake = last_started();
	cr_assert_eq(come(port), 0, "before its process has said anything");
	fake_hello(fake, 1, false);
	cr_assert_eq(fake->n_sent, 0);
	fake_standby(fake);
	cr_assert_eq(fake->n_listeners, 1);
	cr_assert_eq(fake->sent[0], HEARD(LISTENERS), "they come first");
	cr_assert_eq(fake_heard_last(fake), HEARD(WELCOME));
	socket = fake->listeners[0];
	fake_ready(fake);
	assert_text(listeners(), "127.0.0.1:%u held", port);
	fake_exit(fake, CRASHED);
	assert_status("waiting to restart", "v1");
	cr_assert_eq(come(port), 0, "nobody is there, and it waits");
	hosted_pass(USEC_PER_SEC);
	fake = last_started();
	hosted_start_up(fake);
	cr_assert_eq(fake->n_listeners, 1);
	cr_assert_eq(fake->listeners[0], socket, "another socket: who waits at the first one is lost");
	service_stop(hosted.web, ask(&bob));
	cr_assert_eq(come(port), -ECONNREFUSED, "who comes while it ends is refused");
	fake_exit(fake, 0);
	assert_answer(&bob, WIRE_EXIT_DONE, "web is stopped");
	assert_text(listeners(), "%s", "");
}

Test(listen, goes_on_until_a_service_is_not_started_again)
{
	struct fake *fake;

	write_lines("Listen=127.0.0.1:%u\nRestart=no\n", port);
	fake = hosted_serve("v1");
	cr_assert_eq(come(port), 0);
	fake_exit(fake, CRASHED);
	assert_status("failed", "v1");
	cr_assert_eq(come(port), -ECONNREFUSED);
	fake = hosted_serve("v1");
	fake_exit(fake, 0);
	assert_status("stopped", "v1");
	cr_assert_eq(come(port), -ECONNREFUSED);
	write_lines("Listen=127.0.0.1:%u\n", port);
	fake = hosted_serve("v1");
	fake_exit(fake, CRASHED);
	cr_assert_eq(come(port), 0);
	service_stop(hosted.web, ask(&bob));
	assert_answer(&bob, WIRE_EXIT_DONE, "web will not be started again");
	cr_assert_eq(come(port), -ECONNREFUSED);
}

Test(listen, ends_with_a_start_that_fails)
{
	write_lines("Listen=127.0.0.1:%u\n", port);
	service_start(hosted.web, "v1", -1, ask(&ann));
	fake_exit(last_started(), CRASHED);
	assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");
	cr_assert_eq(come(port), -ECONNREFUSED);
	hosted.origin.refuses = true;
	service_start(hosted.web, "v1", -1, ask(&ann));
	cr_assert_eq(come(port), -ECONNREFUSED);
	hosted.origin.refuses = false;
	service_start(hosted.web, "v1", -1, ask(&ann));
	cr_assert_eq(come(port), 0);
	service_abort(hosted.web, ask(&bob));
	hosted_reap();
	cr_assert_eq(come(port), -ECONNREFUSED);
}

Test(listen, comes_with_a_state_file_too)
{
	int file = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct fake *fake;

	write_lines("Listen=127.0.0.1:%u\n", port);
	service_start(hosted.web, "v1", file, ask(&ann));
	fake = last_started();
	fake_hello(fake, 1, false);
	fake_standby(fake);
	cr_assert_eq(fake->sent[0], HEARD(LISTENERS));
	cr_assert_eq(fake_heard_last(fake), HEARD(RECEIVE));
	fake_ready(fake);
	stop(fake);
}

/* ---- refused ---- */

Test(listen, at_an_address_in_use_is_refused_with_the_line_and_who_has_it)
{
	char expected[256], name[32];
	FD_CLEANUP int fd = -1;
	unsigned n = hosted.origin.n_started;
	FILE *comm = fopen("/proc/self/comm", "re");

	cr_assert(comm && fscanf(comm, "%31s", name) == 1);
	fclose(comm);
	port = free_port(&fd);
	cr_assert_eq(listen(fd, 5), 0);
	write_lines("Listen=127.0.0.1:%u\nListen=127.0.0.1:%u\n", other_port, port);
	service_start(hosted.web, "v1", -1, ask(&ann));
	assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");
	snprintf(expected, sizeof(expected),
		 "web.conf:13: Listen=: cannot listen at 127.0.0.1:%u: Address already in use: pid %d (%s) has it",
		 port, (int)getpid(), name);
	cr_assert(strstr(ann.asked.cause, expected), "%s\nshould say: %s", ann.asked.cause, expected);
	cr_assert_eq(hosted.origin.n_started, n, "it was started all the same");
	cr_assert_eq(come(other_port), -ECONNREFUSED, "the other one was left open");
}

Test(listen, is_refused_where_the_library_does_not_know_it)
{
	struct fake *fake;

	write_lines("Listen=127.0.0.1:%u\n", port);
	service_start(hosted.web, "v1", -1, ask(&ann));
	fake = last_started();
	fake->is_old_library = true;
	fake_hello(fake, 1, false);
	fake_standby(fake);
	cr_assert_eq(fake->n_sent, 0, "it was sent what it does not know");
	cr_assert_eq(fake->signal, SIGKILL);
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");
	cr_assert(strstr(ann.asked.cause, "does not know Listen= ("), "%s", ann.asked.cause);
}

Test(listen, without_the_key_nothing_is_new_to_an_older_library)
{
	struct fake *fake;

	service_start(hosted.web, "v1", -1, ask(&ann));
	fake = last_started();
	fake->is_old_library = true;
	hosted_start_up(fake);
	cr_assert_eq(fake->n_sent, 1);
	cr_assert_eq(fake_heard_last(fake), HEARD(WELCOME));
	assert_text(listeners(), "%s", "");
	stop(fake);
}

/* ---- over a roll ---- */

Test(listen, gives_a_version_only_what_the_one_before_does_not_hand_over)
{
	struct fake *old, *new;

	write_lines("Listen=127.0.0.1:%u\n", port);
	old = hosted_serve("v1");
	write_lines("Listen=127.0.0.1:%u\nListen=127.0.0.1:%u\n", port, other_port);
	new = hosted_roll("v2");
	cr_assert_eq(come(other_port), 0, "from its start on");
	hosted_lead(old, new, ROLL_BAKE);
	cr_assert_eq(new->n_listeners, 1);
	assert_text(listeners(), "127.0.0.1:%u held, 127.0.0.1:%u held", port, other_port);
	hosted_pass(61 * USEC_PER_SEC);
	hosted_reap();
	assert_status("running", "v2");
	/* And after a crash of it, all. */
	fake_exit(new, CRASHED);
	hosted_pass(USEC_PER_SEC);
	hosted_start_up(last_started());
	cr_assert_eq(last_started()->n_listeners, 2);
	stop(last_started());
}

Test(listen, keeps_an_address_that_is_not_named_any_more_until_the_end_of_the_bake)
{
	struct fake *old, *new;

	write_lines("Listen=127.0.0.1:%u\nListen=127.0.0.1:%u\n", port, other_port);
	old = hosted_serve("v1");
	write_lines("Listen=127.0.0.1:%u\n", port);
	new = hosted_roll("v2");
	hosted_lead(old, new, ROLL_BAKE);
	cr_assert_eq(new->n_listeners, 0);
	cr_assert_eq(come(other_port), 0, "the version before may come back");
	hosted_pass(61 * USEC_PER_SEC);
	hosted_reap();
	assert_status("running", "v2");
	cr_assert_eq(come(other_port), -ECONNREFUSED);
	cr_assert_eq(come(port), 0);
	stop(new);
}

Test(listen, lets_go_of_what_a_refused_roll_has_opened)
{
	struct fake *old, *new;

	write_lines("Listen=127.0.0.1:%u\n", port);
	old = hosted_serve("v1");
	write_lines("Listen=127.0.0.1:%u\n", other_port);
	new = hosted_roll("v2");
	cr_assert_eq(come(other_port), 0);
	fake_exit(new, CRASHED);
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_REFUSED, "%s", ann.asked.text);
	cr_assert_eq(come(other_port), -ECONNREFUSED);
	cr_assert_eq(come(port), 0);
	stop(old);
}

Test(listen, refuses_a_roll_that_names_an_address_in_use)
{
	struct roll_request to = request("v2");
	FD_CLEANUP int fd = -1;
	struct fake *old;

	write_lines("Listen=127.0.0.1:%u\n", port);
	old = hosted_serve("v1");
	other_port = free_port(&fd);
	cr_assert_eq(listen(fd, 5), 0);
	write_lines("Listen=127.0.0.1:%u\nListen=127.0.0.1:%u\n", port, other_port);
	service_roll(hosted.web, &to, ask(&ann));
	assert_answer(&ann, WIRE_EXIT_REFUSED, "%s", ann.asked.text);
	cr_assert(strstr(ann.asked.cause, "Address already in use"), "%s", ann.asked.cause);
	assert_text(listeners(), "127.0.0.1:%u held", port);
	stop(old);
}

Test(listen, refuses_a_roll_to_a_library_that_does_not_know_it)
{
	struct fake *old, *new;

	write_lines("Listen=127.0.0.1:%u\n", port);
	old = hosted_serve("v1");
	new = hosted_roll("v2");
	new->is_old_library = true;
	fake_hello(new, 2, true);
	fake_standby(new);
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_REFUSED, "%s", ann.asked.text);
	cr_assert(strstr(ann.asked.cause, "does not know Listen="), "%s", ann.asked.cause);
	stop(old);
}

Test(listen, comes_with_the_last_rung_too)
{
	struct fake *old, *new, *cold;

	write_lines("Listen=127.0.0.1:%u\nRollback=none\n", port);
	old = hosted_serve("v1");
	new = hosted_roll("v2");
	hosted_lead(old, new, ROLL_BAKE);
	hosted_reap();
	fake_exit(new, CRASHED);
	hosted_reap();
	cold = last_started();
	cr_assert_str_eq(cold->instance.version, "v1");
	cr_assert_eq(come(port), 0);
	hosted_start_up(cold);
	cr_assert_eq(cold->n_listeners, 1);
	assert_answer(&ann, WIRE_EXIT_WAY_BACK_FAILED, "%s", ann.asked.text);
	assert_status("running", "v1");
	stop(cold);
}

/* ---- paths ---- */

Test(listen, makes_a_path_with_its_mode_and_removes_it_at_the_stop)
{
	struct fake *fake;
	struct stat st;

	write_lines("Listen=%s\nSocketMode=0622\n", path);
	fake = hosted_serve("v1");
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 07777, 0622);
	cr_assert_eq(fake->n_listeners, 1);
	fake_exit(fake, CRASHED);
	cr_assert_eq(come_by_path(), 0, "it waits");
	hosted_pass(USEC_PER_SEC);
	hosted_start_up(last_started());
	stop(last_started());
	cr_assert_neq(access(path, F_OK), 0, "it was left behind");
}

Test(listen, opens_a_path_anew_that_somebody_has_removed)
{
	struct fake *fake;

	write_lines("Listen=%s\n", path);
	fake = hosted_serve("v1");
	cr_assert_eq(unlink(path), 0);
	fake_exit(fake, CRASHED);
	cr_assert_eq(come_by_path(), 0);
	hosted_pass(USEC_PER_SEC);
	hosted_start_up(last_started());
	stop(last_started());
}

Test(listen, replaces_a_path_at_which_nobody_answers_and_nothing_else)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct fake *fake;

	write_lines("Listen=%s\n", path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	service_start(hosted.web, "v1", -1, ask(&ann));
	assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");
	cr_assert(strstr(ann.asked.cause, "Address already in use: pid "), "%s", ann.asked.cause);
	fd_close(fd);
	fake = hosted_serve("v1");
	stop(fake);
	fd_close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	service_start(hosted.web, "v1", -1, ask(&ann));
	assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");
	cr_assert_eq(access(path, F_OK), 0, "it was no socket, and is gone");
}

Test(listen, trusts_no_folder_in_which_others_change_what_lies_there)
{
	char folder[96];

	snprintf(folder, sizeof(folder), "%s/run", hosted.place.folder);
	snprintf(path, sizeof(path), "%s/web.sock", folder);
	cr_assert_eq(mkdir(folder, 0755), 0);
	write_lines("Listen=%s\n", path);
	cr_assert_eq(chmod(folder, 0777), 0);
	service_start(hosted.web, "v1", -1, ask(&ann));
	assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");
	cr_assert(strstr(ann.asked.cause, "can be written to by others"), "%s", ann.asked.cause);
	cr_assert_neq(access(path, F_OK), 0);
	/* In one as /tmp nobody takes away what is ours. */
	cr_assert_eq(chmod(folder, 01777), 0);
	stop(hosted_serve("v1"));
}

Test(listen, gives_a_path_to_whom_the_file_names)
{
	struct stat st;

	if (geteuid() != 0)
		cr_skip("needs root");
	write_lines("Listen=%s mode=0606 user=nobody group=7\n", path);
	service_start(hosted.web, "v1", -1, ask(&ann));
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0606);
	cr_assert_eq(st.st_uid, 65534, "before any process of it serves");
	cr_assert_eq(st.st_gid, 7);
	hosted_start_up(last_started());
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_uid, 65534, "and not the user that it runs as");
	stop(last_started());
	write_lines("Listen=%s user=nobody-of-that-name\n", path);
	service_start(hosted.web, "v1", -1, ask(&ann));
	assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");
	cr_assert(strstr(ann.asked.cause, "/etc/passwd has no user nobody-of-that-name"), "%s", ann.asked.cause);
	cr_assert_neq(access(path, F_OK), 0);
}

/* ---- names ---- */

Test(listen, tells_the_names_that_the_file_gives)
{
	struct fake *fake;

	write_lines("Listen=127.0.0.1:%u name=web\nListen=127.0.0.1:%u\n", port, other_port);
	fake = hosted_serve("v1");
	cr_assert_eq(fake->n_listeners, 2);
	cr_assert_str_eq(fake->listener_names[0], "web");
	cr_assert_str_eq(fake->listener_names[1], "");
	stop(fake);
}

static int option_of(int fd, int option)
{
	socklen_t size = sizeof(int);
	int value = -1;

	cr_assert_eq(getsockopt(fd, SOL_SOCKET, option, &value, &size), 0);
	return value;
}

/* Beside it a program may listen itself, if it says so as well. */
Test(listen, shares_a_port_where_the_file_says_so)
{
	const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	FD_CLEANUP int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	cr_assert_eq(option_of(fd, SO_REUSEPORT), 1);
	write_lines("Listen=127.0.0.1:%u\n", port);
	stop(hosted_serve("v1"));
	hosted_serve("v1");
	cr_assert_lt(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	stop(last_started());
	write_lines("Listen=127.0.0.1:%u reuseport\n", port);
	hosted_serve("v1");
	cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	stop(last_started());
}

/* ---- kinds ---- */

Test(listen, of_a_bare_port_is_for_both_families)
{
	struct fake *fake;

	write_lines("Listen=%u\nListen=udp:%u\n", port, port);
	fake = hosted_serve("v1");
	cr_assert_eq(come(port), 0);
	/* A machine without IPv6 does with the other two. */
	cr_assert(fake->n_listeners == 4 || fake->n_listeners == 2, "%u", fake->n_listeners);
	stop(fake);
}
