/* SPDX-License-Identifier: MIT */
/* The control socket itself: a real socket, the real loop, and a clock that stands still. */
#include "supervisor/control/control.h"

#include "tests/supervisor/asked.h"
#include "wire/parts.h"

#include <errno.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TURNS 200 /* of at most 50 ms */

static struct place place;
static struct control *control;
static char path[96];
static uint64_t now_us = USEC_PER_SEC;

static void set_up(void)
{
	struct why why = { 0 };

	clock_fake(&now_us);
	place_open(&place);
	place_write(&place, "web.conf", "[Service]\nExec=/nonexistent/web-%v\n");
	snprintf(path, sizeof(path), "%s/control", place.folder);
	cr_assert_eq(control_open(&place.registry, path, &control, &why), 0, "%s", why.text);
}

static void tear_down(void)
{
	control = control_close(control);
	place_close(&place);
}

TestSuite(control, .timeout = 30, .init = set_up, .fini = tear_down);

static int connected(void)
{
	struct why why = { 0 };
	int fd = wire_connect(path, &why);

	cr_assert_geq(fd, 0, "%s", why.text);
	return fd;
}

static void say(int fd, int verb, const char *service)
{
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;
	Upgraded__Wire__Request request = UPGRADED__WIRE__REQUEST__INIT;

	request.protocol = WIRE_PROTOCOL;
	request.verb = (Upgraded__Wire__Verb)verb;
	request.service = wire_text(service);
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST;
	message.request = &request;
	cr_assert_eq(wire_send(fd, &message.base, NULL, 0, NULL), WIRE_OK);
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	for (int i = 0; i < TURNS; i++) {
		if (poll(&poll_fd, 1, 0) > 0)
			return true;
		cr_assert_eq(loop_turn(place.registry.host.site.loop, 50), 0);
	}
	return false;
}

static struct parts parts;
static size_t n_services; /* of a result that came in parts */

static void take_part(const Upgraded__Wire__ResultPart *part, struct asked *asked)
{
	Upgraded__Wire__Result *result;
	struct why why = { 0 };
	int r = parts_take(&parts, part, &result, &why);

	cr_assert_geq(r, 0, "%s", why.text);
	if (r == PARTS_MORE)
		return;
	asked_take(asked, result);
	n_services = result->n_services;
	upgraded__wire__result__free_unpacked(result, NULL);
	parts_done(&parts);
}

/* Return: how the next message was received; a result is taken. */
static int hear(int fd, struct asked *asked)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	Upgraded__Wire__ControlMessage *message;
	ProtobufCMessage *unpacked;
	struct wire_fds fds;
	int r;

	cr_assert(is_readable(fd), "nothing comes");
	r = wire_receive(fd, &upgraded__wire__control_message__descriptor, buffer, &fds, &unpacked, NULL);
	if (r != WIRE_OK)
		return r;
	message = (Upgraded__Wire__ControlMessage *)unpacked;
	if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PART)
		take_part(message->part, asked);
	else
		asked_take(asked, message->result);
	upgraded__wire__control_message__free_unpacked(message, NULL);
	wire_fds_close(&fds);
	return WIRE_OK;
}

Test(control, answers_a_request_and_ends_the_connection)
{
	struct asked asked = { 0 };
	int fd = connected();

	say(fd, UPGRADED__WIRE__VERB__VERB_LIST, "");
	cr_assert_eq(hear(fd, &asked), WIRE_OK);
	cr_assert_str_eq(asked.services, "web stopped");
	cr_assert_eq(hear(fd, &asked), WIRE_CLOSED);
	cr_assert_eq(asked.answers, 1);
	fd_close(fd);
}

Test(control, answers_one_request_of_a_connection)
{
	struct asked asked = { 0 };
	int fd = connected();

	say(fd, UPGRADED__WIRE__VERB__VERB_STOP, "web");
	say(fd, UPGRADED__WIRE__VERB__VERB_LIST, "");
	/* The kernel tells once of the second request, which nobody read, before it gives the result. */
	for (int i = 0; i < 2 && !asked.answers; i++)
		(void)hear(fd, &asked);
	cr_assert_eq(hear(fd, &asked), WIRE_CLOSED);
	cr_assert_eq(asked.answers, 1);
	cr_assert_str_eq(asked.text, "web is stopped already");
	fd_close(fd);
}

Test(control, says_that_it_did_not_understand)
{
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	struct asked asked = { 0 };
	int fd = connected();

	cr_assert_eq(send(fd, "\xff\xff\xff noise", 9, MSG_NOSIGNAL), 9);
	cr_assert_eq(hear(fd, &asked), WIRE_OK);
	cr_assert_eq(asked.code, WIRE_EXIT_USAGE);
	cr_assert_str_eq(asked.text, "upgraded did not understand the request");
	fd_close(fd);
	fd = connected();
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT;
	message.result = &result;
	cr_assert_eq(wire_send(fd, &message.base, NULL, 0, NULL), WIRE_OK);
	cr_assert_eq(hear(fd, &asked), WIRE_OK);
	cr_assert_str_eq(asked.cause, "it holds no request");
	fd_close(fd);
}

Test(control, outlives_peers_that_go_away)
{
	struct asked asked = { 0 };
	int fd;

	for (int i = 0; i < 200; i++) {
		fd = connected();
		if (i % 2)
			say(fd, UPGRADED__WIRE__VERB__VERB_LIST, "");
		fd_close(fd);
		cr_assert_eq(loop_turn(place.registry.host.site.loop, 0), 0);
	}
	fd = connected();
	say(fd, UPGRADED__WIRE__VERB__VERB_LIST, "");
	cr_assert_eq(hear(fd, &asked), WIRE_OK);
	fd_close(fd);
}

Test(control, drops_the_one_that_has_been_silent_longest)
{
	enum { SILENT = 70 };
	struct asked asked = { 0 };
	int silent[SILENT], fd;

	for (int i = 0; i < SILENT; i++) {
		silent[i] = connected();
		cr_assert_eq(loop_turn(place.registry.host.site.loop, 50), 0);
	}
	fd = connected();
	say(fd, UPGRADED__WIRE__VERB__VERB_LIST, "");
	cr_assert_eq(hear(fd, &asked), WIRE_OK);
	cr_assert_eq(hear(silent[0], &asked), WIRE_CLOSED);
	say(silent[SILENT - 1], UPGRADED__WIRE__VERB__VERB_LIST, "");
	cr_assert_eq(hear(silent[SILENT - 1], &asked), WIRE_OK);
	for (int i = 0; i < SILENT; i++)
		fd_close(silent[i]);
	fd_close(fd);
}

Test(control, forgets_an_errand_with_its_client)
{
	int fd = connected();

	say(fd, UPGRADED__WIRE__VERB__VERB_IMAGES_LIST, "");
	cr_assert(is_readable(fd));
	fd_close(fd);
	control = control_close(control);
}

Test(control, does_not_listen_where_another_one_answers)
{
	struct control *other = NULL;
	struct why why = { 0 };

	cr_assert_eq(control_open(&place.registry, path, &other, &why), -EADDRINUSE);
	cr_assert(*why.text);
	cr_assert_null(other);
}

/* The socket's mode is checked by the kernel; here somebody has changed it. Root may ask, and the user that the loop runs as. */
Test(control, turns_away_whoever_is_neither_root_nor_its_own_user)
{
	char byte;
	int fd;

	if (geteuid() != 0)
		cr_skip_test("to be two users needs root");
	cr_assert(chmod(place.folder, 0755) == 0 && chmod(path, 0666) == 0);
	/* Who connects is who called connect(2). This thread alone: glibc would signal every other one. */
	cr_assert_eq(syscall(SYS_setresuid, (uid_t)-1, (uid_t)65534, (uid_t)-1), 0);
	fd = wire_connect(path, NULL);
	cr_assert_eq(syscall(SYS_setresuid, (uid_t)-1, (uid_t)0, (uid_t)-1), 0);
	prctl(PR_SET_DUMPABLE, 1); /* a change of user clears it, and the leak checker needs it */
	cr_assert_geq(fd, 0);
	say(fd, UPGRADED__WIRE__VERB__VERB_LIST, "");
	cr_assert(is_readable(fd));
	cr_assert_leq(recv(fd, &byte, 1, MSG_DONTWAIT), 0, "it was answered");
	fd_close(fd);
}

static uint64_t real_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

Test(control, waits_for_a_descriptor_without_a_busy_loop)
{
	struct loop *loop = place.registry.host.site.loop;
	struct rlimit limit, low;
	struct asked asked;
	int fd = connected(), lowest;
	uint64_t began_us;

	say(fd, UPGRADED__WIRE__VERB__VERB_LIST, "");
	lowest = dup(fd);
	cr_assert_eq(close(lowest), 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = (rlim_t)lowest;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	cr_assert_eq(loop_turn(loop, 0), 0);
	/* Somebody waits to be accepted, and the loop has nothing to do. */
	began_us = real_us();
	cr_assert_eq(loop_turn(loop, 60), 0);
	cr_assert_geq(real_us() - began_us, 50 * USEC_PER_MSEC);
	/* It is tried again a moment later, and then there is room. */
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	now_us += 100 * USEC_PER_MSEC;
	cr_assert_eq(hear(fd, &asked), WIRE_OK);
	cr_assert_eq(asked.code, WIRE_EXIT_DONE);
	close(fd);
}

/* ---- answers that do not fit into one message ---- */

/* With names so long that a list of them is several times as large as a message. */
static void many_services(unsigned n)
{
	char name[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "service-of-a-very-long-name-as-some-people-like-%u.conf", i);
		place_write(&place, name, "[Service]\nExec=/nonexistent/web-%v\n");
	}
}

static void ask_all(struct asked *asked, int verb)
{
	int fd = connected();

	n_services = 0;
	say(fd, verb, "");
	while (hear(fd, asked) == WIRE_OK)
		;
	cr_assert_eq(asked->answers, 1);
	fd_close(fd);
}

Test(control, lists_more_services_than_fit_into_a_message)
{
	many_services(4000);
	for (int i = 0; i < 2; i++) {
		struct asked asked = { 0 };

		ask_all(&asked, i ? UPGRADED__WIRE__VERB__VERB_STATUS : UPGRADED__WIRE__VERB__VERB_LIST);
		cr_assert_eq(asked.code, WIRE_EXIT_DONE);
		cr_assert_eq(n_services, 4001);
	}
}
