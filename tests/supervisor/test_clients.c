/* SPDX-License-Identifier: MIT */
/* Clients of the control socket that wait for a service, and that go away while they do: over a real socket, with fake processes.
 * */
#include "supervisor/control/control.h"

#include "tests/supervisor/hosted.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what
#define VERB(name) UPGRADED__WIRE__VERB__VERB_##name

static struct control *control;
static char path[96];

static void set_up(void)
{
	struct why why = { 0 };

	hosted_set(NULL);
	snprintf(path, sizeof(path), "%s/control", hosted.place.folder);
	cr_assert_eq(control_open(&hosted.place.registry, path, &control, &why), 0, "%s", why.text);
}

static void tear_down(void)
{
	control = control_close(control);
	hosted_clear();
}

TestSuite(clients, .timeout = 10, .init = set_up, .fini = tear_down);

/* All that lies in sockets is read, and what is due is done. */
static void turns(void)
{
	for (unsigned i = 0; i < 8; i++)
		hosted_turn();
}

static int connected(void)
{
	struct why why = { 0 };
	int fd = wire_connect(path, &why);

	cr_assert_geq(fd, 0, "%s", why.text);
	cr_assert_eq(fd_nonblock(fd, 1), 0);
	return fd;
}

/* @file_consume: comes along; -1: none. */
static void say(int fd, int verb, const char *service, const char *version, int file_consume)
{
	Upgraded__Wire__ControlMessage message = UPGRADED__WIRE__CONTROL_MESSAGE__INIT;
	Upgraded__Wire__Request wire = UPGRADED__WIRE__REQUEST__INIT;

	wire.protocol = WIRE_PROTOCOL;
	wire.verb = (Upgraded__Wire__Verb)verb;
	wire.service = wire_text(service);
	wire.version = wire_text(version);
	wire.from_file = file_consume >= 0;
	message.body_case = UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST;
	message.request = &wire;
	cr_assert_eq(wire_send(fd, &message.base, &file_consume, file_consume >= 0, NULL), WIRE_OK);
	fd_close(file_consume);
	turns();
}

/* Return: the connection of a client that asked this of web. */
static int asks(int verb, const char *version)
{
	int fd = connected();

	say(fd, verb, "web", version, verb == VERB(SAVE) ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1);
	return fd;
}

static void leaves(int fd)
{
	fd_close(fd);
	turns();
}

/* Return: how the next message was received. A result is taken into @asked, progress is counted there. */
static int hear(int fd, struct asked *asked)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	Upgraded__Wire__ControlMessage *message;
	ProtobufCMessage *unpacked;
	struct wire_fds fds;
	int r;

	r = wire_receive(fd, &upgraded__wire__control_message__descriptor, buffer, &fds, &unpacked, NULL);
	if (r != WIRE_OK)
		return r;
	message = (Upgraded__Wire__ControlMessage *)unpacked;
	if (message->body_case == UPGRADED__WIRE__CONTROL_MESSAGE__BODY_RESULT)
		asked_take(asked, message->result);
	else
		asked->progresses++;
	upgraded__wire__control_message__free_unpacked(message, NULL);
	wire_fds_close(&fds);
	return WIRE_OK;
}

/* The connection is at its end: one result came, with progress before it. */
static void is_answered(int fd, enum wire_exit code, const char *text)
{
	struct asked asked = { .answers = 0 };
	int r;

	turns();
	while ((r = hear(fd, &asked)) == WIRE_OK)
		;
	cr_assert_eq(asked.answers, 1, "%u answers", asked.answers);
	cr_assert_str_eq(asked.text, text);
	cr_assert_eq(asked.code, code);
	cr_assert_eq(r, WIRE_CLOSED);
	fd_close(fd);
}

static void waits(int fd)
{
	struct asked asked = { .answers = 0 };
	int r;

	turns();
	while ((r = hear(fd, &asked)) == WIRE_OK)
		;
	cr_assert_eq(r, WIRE_AGAIN, "the connection is closed");
	cr_assert_eq(asked.answers, 0, "it was answered: %s", asked.text);
}

/* ---- waiting ---- */

Test(clients, are_told_progress_and_then_the_result)
{
	struct asked asked = { .answers = 0 };
	int fd = asks(VERB(START), "v1");
	struct fake *fake = started(0);

	fake_progress(fake, "warming up");
	cr_assert_eq(hear(fd, &asked), WIRE_OK);
	cr_assert_eq(asked.progresses, 1);
	waits(fd);
	hosted_start_up(fake);
	cr_assert_eq(hear(fd, &asked), WIRE_OK);
	cr_assert_str_neq(asked.text, "");
	cr_assert_eq(asked.code, WIRE_EXIT_DONE);
	turns();
	cr_assert_eq(hear(fd, &asked), WIRE_CLOSED);
	fd_close(fd);
}

Test(clients, may_ask_two_things_of_one_bake)
{
	struct fake *old = hosted_serve("v1");
	int rolls = asks(VERB(ROLL), "v2"), undoes, packs;

	hosted_lead(old, started(1), ROLL_BAKE);
	undoes = asks(VERB(UNDO), "");
	packs = asks(VERB(PACK), "");
	is_answered(packs, WIRE_EXIT_BUSY, "web: something else was asked of this roll");
	waits(rolls);
	hosted_lead(started(1), started(2), ROLL_BAKE);
	is_answered(rolls, WIRE_EXIT_ROLLED_BACK,
		    "web: version v2 was undone: v1 serves, with all state from v2");
	hosted_pass(60 * USEC_PER_SEC);
	is_answered(undoes, WIRE_EXIT_DONE, "web: version v1 serves");
}

/* Each waits for the start of a service of its own. */
static void wait_for_start(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char name[32], file[48];

		snprintf(name, sizeof(name), "s%u", i);
		snprintf(file, sizeof(file), "%s.conf", name);
		place_write(&hosted.place, file, HOSTED_UNIT);
		fds[i] = connected();
		say(fds[i], VERB(START), name, "v1", -1);
	}
}

Test(clients, that_wait_are_not_closed_for_a_newcomer_who_waits_until_there_is_room)
{
	enum { MANY = 64 };
	int fds[MANY], silent, fd;

	wait_for_start(fds, MANY);
	for (unsigned i = 0; i < MANY; i++)
		waits(fds[i]);
	cr_assert_eq(hosted.origin.n_started, MANY);
	/* One more waits, too, and is not turned away. */
	fd = asks(VERB(STOP), "");
	waits(fd);
	hosted_start_up(started(0));
	is_answered(fds[0], WIRE_EXIT_DONE, "s0 version v1 serves (pid 100000001)");
	is_answered(fd, WIRE_EXIT_DONE, "web is stopped already");
	/* One who asks nothing keeps nobody out. */
	silent = connected();
	turns();
	is_answered(asks(VERB(STOP), ""), WIRE_EXIT_DONE, "web is stopped already");
	fd_close(silent);
	for (unsigned i = 1; i < MANY; i++)
		fd_close(fds[i]);
}

Test(clients, that_do_not_read_are_given_up)
{
	enum { MANY = 60000 }; /* more than the bytes that may wait, with what it takes to keep a message */
	struct asked asked = { .answers = 0 };
	int fd = asks(VERB(START), "v1"), r;
	char words[400];

	memset(words, 'x', sizeof(words) - 1);
	words[sizeof(words) - 1] = 0;
	log_set_level(LOG_LEVEL_ERROR);
	for (unsigned i = 0; i < MANY; i++) {
		hosted.now_us += USEC_PER_SEC;
		fake_progress(started(0), words);
	}
	hosted_turn();
	while ((r = hear(fd, &asked)) == WIRE_OK)
		;
	cr_assert_eq(r, WIRE_CLOSED);
	cr_assert_gt(asked.progresses, 0);
	fd_close(fd);
	/* What it asked for goes on. */
	hosted_start_up(started(0));
	assert_status("running", "v1");
}

/* ---- going away ---- */

Test(clients, leave_while_a_service_starts_and_stops)
{
	int fd = asks(VERB(START), "v1");

	leaves(fd);
	fake_progress(started(0), "half");
	hosted_start_up(started(0));
	assert_status("running", "v1");
	fd = asks(VERB(STOP), "");
	leaves(fd);
	fake_exit(started(0), 0);
	assert_status("stopped", "v1");
}

Test(clients, leave_in_each_phase_of_a_roll)
{
	static const enum roll_state states[] = { ROLL_STANDBY, ROLL_TRANSFER, ROLL_COMMIT, ROLL_IMAGE, ROLL_BAKE };
	struct fake *old = hosted_serve("v1");

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		const char *version = i % 2 ? "v1" : "v2";
		int fd = asks(VERB(ROLL), version);
		struct fake *new = started(hosted.origin.n_started - 1);

		hosted_lead(old, new, states[i]);
		leaves(fd);
		hosted_lead_on(old, new, states[i], ROLL_BAKE);
		hosted_pass(60 * USEC_PER_SEC);
		hosted_reap();
		assert_status("running", version);
		old = new;
	}
}

Test(clients, leave_while_a_bake_is_undone)
{
	struct fake *old = hosted_serve("v1");
	int rolls = asks(VERB(ROLL), "v2"), fd;

	hosted_lead(old, started(1), ROLL_BAKE);
	fd = asks(VERB(UNDO), "");
	leaves(fd);
	leaves(rolls);
	hosted_lead(started(1), started(2), ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	assert_status("running", "v1");
}

Test(clients, leave_while_a_version_is_packed)
{
	struct fake *old;
	int fd;

	hosted_write("Rollback=parked\n");
	old = hosted_serve("v1");
	hosted_lead(old, hosted_roll("v2"), ROLL_BAKE);
	fd = asks(VERB(PACK), "");
	leaves(fd);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	assert_status("baking", "v2");
}

Test(clients, leave_while_a_service_is_saved_or_looked_at)
{
	struct fake *fake = hosted_serve("v1");
	int fd = asks(VERB(SAVE), "");

	leaves(fd);
	cr_assert_str_eq(hosted_doing(), "saving");
	fake_saved(fake, 10, 0);
	fake_resumed(fake);
	fd = asks(VERB(PLAN), "v2");
	cr_assert_eq(hosted.origin.n_started, 2);
	leaves(fd);
	cr_assert_eq(started(1)->signal, SIGKILL, "nobody wants to know any more");
	hosted_write("RequireImage=yes\n");
	fd = asks(VERB(ROLL), "v2");
	leaves(fd);
	cr_assert_str_eq(hosted_doing(), "preflight");
	hosted_pass(2 * USEC_PER_SEC);
	hosted_turn();
	cr_assert_str_eq(hosted_doing(), "standby");
}

Test(clients, leave_while_images_are_listed_and_verified)
{
	static const int verbs[] = { VERB(IMAGES_LIST), VERB(IMAGES_SHOW), VERB(IMAGES_VERIFY), VERB(IMAGES_GC), VERB(STATUS),
				     VERB(LIST) };

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		int fd = connected();

		say(fd, verbs[i], "web", "", -1);
		leaves(fd);
		fd = connected();
		say(fd, verbs[i], "web", "", -1);
		fd_close(fd);
	}
	hosted_serve("v1");
	assert_status("running", "v1");
}

Test(clients, say_more_than_they_may_and_are_answered_all_the_same)
{
	int fd = asks(VERB(START), "v1");

	cr_assert_eq(send(fd, "\xff\xff\xff noise", 9, MSG_NOSIGNAL), 9);
	say(fd, VERB(STOP), "web", "", open("/dev/null", O_RDONLY | O_CLOEXEC));
	waits(fd);
	hosted_start_up(started(0));
	is_answered(fd, WIRE_EXIT_DONE, "web version v1 serves (pid 100000001)");
	assert_status("running", "v1");
}

Test(clients, that_wait_go_with_the_socket)
{
	int fd = asks(VERB(START), "v1");

	control = control_close(control);
	hosted_start_up(started(0));
	assert_status("running", "v1");
	fd_close(fd);
}
