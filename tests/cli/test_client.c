/* SPDX-License-Identifier: MIT */
#include "cli/client.h"
#include "tests/cli/fake_server.h"

#include "wire/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

TestSuite(client, .timeout = 30);

static struct fake_server server;
static struct why why;
static Upgraded__Wire__ControlMessage *answer;
static int n_progress;

static void count_progress(void *data, const Upgraded__Wire__Progress *progress)
{
	cr_expect_eq(data, &n_progress);
	cr_expect_str_eq(progress->phase, "standby");
	n_progress++;
}

static int ask(const char *path, uint64_t timeout_us)
{
	Upgraded__Wire__Request request;
	struct client_call call = {
		.socket_path = path, .request = &request, .timeout_us = timeout_us, .on_progress = count_progress,
		.data = &n_progress,
	};

	upgraded__wire__request__init(&request);
	request.protocol = WIRE_PROTOCOL;
	request.verb = UPGRADED__WIRE__VERB__VERB_LIST;
	return client_call(&call, &answer, &why);
}

static int ask_server(void (*play)(struct fake_server *server, int fd), uint64_t timeout_us)
{
	int rc;

	fake_server_start(&server, play);
	rc = ask(server.path, timeout_us);
	fake_server_stop(&server);
	fake_server_free(&server);
	return rc;
}

static void play_answer(struct fake_server *self, int fd)
{
	Upgraded__Wire__Result result;

	(void)self;
	upgraded__wire__result__init(&result);
	result.code = WIRE_EXIT_BUSY;
	fake_progress(fd, "standby", "new process", 10);
	fake_progress(fd, "standby", "it said hello", 20);
	fake_result(fd, &result);
}

Test(client, brings_progress_and_then_the_result)
{
	cr_assert_eq(ask_server(play_answer, 0), CLIENT_ANSWERED, "%s", why.text);
	cr_expect_eq(n_progress, 2);
	cr_expect_eq(answer->body_case, UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT);
	cr_expect_eq(answer->result->code, WIRE_EXIT_BUSY);
	upgraded__wire__control_message__free_unpacked(answer, NULL);
}

Test(client, says_when_nobody_listens)
{
	cr_expect_eq(ask("/nonexistent/control", 0), CLIENT_UNREACHABLE);
	cr_expect(strstr(why.text, "/nonexistent"), "%s", why.text);
}

static void play_nothing(struct fake_server *self, int fd)
{
	(void)self;
	(void)fd;
}

/* This thread alone: glibc's seteuid(3) signals every other one, which can hang on a thread that is just starting. */
static void become(uid_t uid)
{
	cr_assert_eq(syscall(SYS_setresuid, (uid_t)-1, uid, (uid_t)-1), 0);
}

Test(client, tells_a_missing_permission_from_a_missing_supervisor)
{
	uid_t self = geteuid();

	fake_server_start(&server, play_nothing);
	/* Root may write to any socket: be somebody else for a moment. */
	cr_assert_eq(chmod(server.path, 0), 0);
	cr_assert_eq(chmod(server.folder, 0711), 0);
	if (self == 0)
		become(65534);
	cr_expect_eq(ask(server.path, 0), CLIENT_FORBIDDEN, "%s", why.text);
	become(self);
	prctl(PR_SET_DUMPABLE, 1); /* a change of user clears it, and the leak checker needs it */
	cr_expect(strstr(why.text, "control"), "%s", why.text);
	cr_assert_eq(chmod(server.path, 0600), 0);
	cr_expect_eq(ask(server.path, 0), CLIENT_LOST);
	fake_server_stop(&server);
	fake_server_free(&server);
}

Test(client, says_when_the_socket_is_a_leftover)
{
	char path[] = "/tmp/test-cli-leftover-XXXXXX";
	char socket_path[64];
	int fd;

	cr_assert(mkdtemp(path));
	snprintf(socket_path, sizeof(socket_path), "%s/control", path);
	fd = wire_listen(socket_path, 0600, &why);
	cr_assert_geq(fd, 0);
	fd_close(fd);
	cr_expect_eq(ask(socket_path, 0), CLIENT_UNREACHABLE);
	cr_expect(strstr(why.text, "control"), "%s", why.text);
	unlink(socket_path);
	rmdir(path);
}

Test(client, says_when_the_answer_never_comes)
{
	cr_expect_eq(ask_server(play_nothing, 0), CLIENT_LOST);
	cr_expect(strstr(why.text, "closed the connection before it answered"), "%s", why.text);
}

static void play_half(struct fake_server *self, int fd)
{
	(void)self;
	fake_progress(fd, "standby", "about to crash", 10);
}

Test(client, says_when_the_supervisor_goes_away_halfway)
{
	cr_expect_eq(ask_server(play_half, 0), CLIENT_LOST);
	cr_expect_eq(n_progress, 1);
}

static void play_garbage(struct fake_server *self, int fd)
{
	(void)self;
	send(fd, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, MSG_NOSIGNAL);
	fake_wait_closed(fd);
}

Test(client, refuses_bytes_that_are_no_message)
{
	cr_expect_lt(ask_server(play_garbage, 0), 0);
	cr_expect(strstr(why.text, "is no supervisor"), "%s", why.text);
}

static void play_unknown(struct fake_server *self, int fd)
{
	(void)self;
	/* Field 13, a varint: a well-formed message that says nothing. */
	send(fd, "\x68\x01", 2, MSG_NOSIGNAL);
	fake_wait_closed(fd);
}

Test(client, refuses_a_message_without_a_body)
{
	cr_expect_lt(ask_server(play_unknown, 0), 0);
	cr_expect(strstr(why.text, "is no supervisor"), "%s", why.text);
}

static void play_echo(struct fake_server *self, int fd)
{
	wire_send(fd, &self->asked->base, NULL, 0, NULL);
	fake_wait_closed(fd);
}

Test(client, refuses_an_answer_that_is_a_request)
{
	cr_expect_lt(ask_server(play_echo, 0), 0);
	cr_expect(strstr(why.text, "is no supervisor"), "%s", why.text);
}

static void play_oversized(struct fake_server *self, int fd)
{
	size_t size = WIRE_MESSAGE_MAX + 4096;
	char *data = calloc(1, size);

	(void)self;
	if (data)
		send(fd, data, size, MSG_NOSIGNAL);
	free(data);
	fake_wait_closed(fd);
}

Test(client, refuses_a_datagram_over_the_limit)
{
	cr_expect_lt(ask_server(play_oversized, 0), 0);
	cr_expect(strstr(why.text, "cut off"), "%s", why.text);
}

static void play_silence(struct fake_server *self, int fd)
{
	(void)self;
	fake_wait_closed(fd);
}

Test(client, gives_up_when_its_time_is_over)
{
	cr_expect_eq(ask_server(play_silence, 30000), CLIENT_TIMED_OUT);
	cr_expect_str_eq(why.text, "gave up waiting after 30ms");
}

static void play_chatter(struct fake_server *self, int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = 0 };

	(void)self;
	while (poll(&pollfd, 1, 1) == 0)
		fake_progress(fd, "standby", "still at it", 10);
}

Test(client, progress_does_not_prolong_the_wait)
{
	cr_expect_eq(ask_server(play_chatter, 50000), CLIENT_TIMED_OUT);
}

static int send_on(void *arg, const Upgraded__Wire__ControlMessage *message)
{
	return wire_send(*(int *)arg, &message->base, NULL, 0, NULL);
}

#define MANY 3000u
#define CAUSE_BYTES 400

static void play_large_answer(struct fake_server *self, int fd)
{
	static Upgraded__Wire__Check checks[MANY], *list[MANY];
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	char detail[CAUSE_BYTES + 1];

	(void)self;
	memset(detail, 'x', CAUSE_BYTES);
	detail[CAUSE_BYTES] = 0;
	for (unsigned i = 0; i < MANY; i++) {
		upgraded__wire__check__init(&checks[i]);
		checks[i].detail = detail;
		list[i] = &checks[i];
	}
	result.n_checks = MANY;
	result.checks = list;
	fake_progress(fd, "standby", "first", 1);
	cr_assert_eq(parts_send(&result, send_on, &fd, NULL), 0);
}

Test(client, takes_an_answer_in_parts)
{
	cr_assert_eq(ask_server(play_large_answer, 0), CLIENT_ANSWERED, "%s", why.text);
	cr_assert_eq(answer->body_case, UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT);
	cr_assert_eq(answer->result->n_checks, MANY);
	cr_assert_eq(strlen(answer->result->checks[MANY - 1]->detail), CAUSE_BYTES);
	upgraded__wire__control_message__free_unpacked(answer, NULL);
}

static void play_half_an_answer(struct fake_server *self, int fd)
{
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;
	Upgraded__Wire__ResultPart part = UPGRADED__WIRE__RESULT_PART__INIT;

	(void)self;
	part.data.data = (uint8_t *)(uintptr_t)"xyz";
	part.data.len = 3;
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PART;
	message.part = &part;
	wire_send(fd, &message.base, NULL, 0, NULL);
}

static void play_parts_of_nothing(struct fake_server *self, int fd)
{
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;
	Upgraded__Wire__ResultPart part = UPGRADED__WIRE__RESULT_PART__INIT;

	(void)self;
	part.data.data = (uint8_t *)(uintptr_t)"\xff\xff\xff";
	part.data.len = 3;
	part.last = true;
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_PART;
	message.part = &part;
	wire_send(fd, &message.base, NULL, 0, NULL);
}

Test(client, does_not_take_parts_for_a_whole)
{
	cr_expect_eq(ask_server(play_half_an_answer, 0), CLIENT_LOST);
	cr_expect_eq(ask_server(play_parts_of_nothing, 0), -EBADMSG);
	cr_expect_str_eq(why.text, "an answer that came in parts cannot be read");
}

static void play_descriptors(struct fake_server *self, int fd)
{
	Upgraded__Wire__ControlMessage message;
	Upgraded__Wire__Result result;
	int fds[3] = { fd, fd, fd };

	(void)self;
	upgraded__wire__control_message__init(&message);
	upgraded__wire__result__init(&result);
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT;
	message.result = &result;
	wire_send(fd, &message.base, fds, 3, NULL);
}

static int lowest_free_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	fd_close(fd);
	return fd;
}

Test(client, keeps_no_descriptor)
{
	int before = lowest_free_fd();

	cr_assert_eq(ask_server(play_descriptors, 0), CLIENT_ANSWERED, "%s", why.text);
	upgraded__wire__control_message__free_unpacked(answer, NULL);
	cr_expect_lt(ask_server(play_garbage, 0), 0);
	cr_expect_eq(ask_server(play_nothing, 0), CLIENT_LOST);
	cr_expect_eq(lowest_free_fd(), before);
}

/* Somebody else's program listens where upgraded should. It is shown the request by nobody, and gets no file. */
Test(client, gives_no_file_to_a_stranger)
{
	Upgraded__Wire__Request request = UPGRADED__WIRE__REQUEST__INIT;
	char folder[] = "/tmp/test-cli-XXXXXX", path[64];
	int ready[2], status, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct client_call call = { .request = &request, .fds = &null, .n_fds = 1 };
	char byte;
	pid_t stranger;

	if (geteuid() != 0)
		return; /* there is no stranger to be had */
	cr_assert(mkdtemp(folder) && chmod(folder, 0777) == 0);
	snprintf(path, sizeof(path), "%s/control", folder);
	call.socket_path = path;
	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	stranger = fork();
	if (stranger == 0) {
		if (setgid(65534) == 0 && setuid(65534) == 0 && wire_listen(path, 0666, NULL) >= 0 && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	cr_expect_eq(client_call(&call, &answer, &why), -EPERM);
	cr_expect_not_null(strstr(why.text, "a program of uid 65534 listens, which is neither root nor you: it gets no file"), "%s",
			   why.text);
	kill(stranger, SIGKILL);
	waitpid(stranger, &status, 0);
	unlink(path);
	rmdir(folder);
	close(ready[0]);
	close(null);
}
