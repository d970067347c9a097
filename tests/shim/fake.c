/* SPDX-License-Identifier: MIT */
#include "tests/shim/fake.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define APP_CHANNEL 3
#define PATIENCE_US (FAKE_PATIENCE_MS * USEC_PER_MSEC)

/* A sanitizer that finds itself in a forked process says so each time it looks; that is worth reading only beside a leak. */
static bool has_leaked(void)
{
	int said = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
	int leaked;

	if (said < 0 || null < 0) /* an application that was left no descriptors */
		return false;
	dup2(null, STDERR_FILENO);
	leaked = __lsan_do_recoverable_leak_check();
	dup2(said, STDERR_FILENO);
	return leaked && __lsan_do_recoverable_leak_check();
}

static void be_application(struct app *app, int channel)
{
	int status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Neither the test's ends of channels, whose closing it should notice, nor anything else of the test. */
	if (dup2(channel, APP_CHANNEL) < 0 || close_range(APP_CHANNEL + 1, ~0u, 0) < 0 ||
	    setenv(WIRE_FD_ENV, "3", 1) < 0)
		_exit(APP_BROKEN);
	status = app_main(app);
	/* Where threads still run, nothing was freed. */
	if (status != APP_BROKEN && !app->n_workers && has_leaked())
		status = APP_LEAKED;
	_exit(status);
}

void fake_start(struct fake *fake, struct app *app)
{
	int pair[2];

	*fake = (struct fake){ .app = app };
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fake->pid = fork();
	cr_assert_geq(fake->pid, 0);
	if (fake->pid == 0)
		be_application(app, pair[1]);
	fd_close(pair[1]);
	fake->fd = pair[0];
	cr_assert_eq(fd_nonblock(fake->fd, 1), 0);
}

void fake_start_serving(struct fake *fake, struct app *app)
{
	Upgraded__Wire__Welcome welcome = UPGRADED__WIRE__WELCOME__INIT;

	fake_start(fake, app);
	FAKE_TAKE(fake, HELLO);
	FAKE_TAKE(fake, STANDBY);
	welcome.protocol = WIRE_PROTOCOL;
	welcome.fresh = true;
	FAKE_SAY(fake, WELCOME, welcome, &welcome);
	FAKE_TAKE(fake, READY);
}

static void forget_message(struct fake *fake)
{
	if (fake->message)
		upgraded__wire__app_message__free_unpacked(fake->message, NULL);
	fake->message = NULL;
	wire_fds_close(&fake->fds);
}

const Upgraded__Wire__AppMessage *fake_take(struct fake *fake, Upgraded__Wire__AppMessage__BodyCase kind)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	struct pollfd poll_fd = { .fd = fake->fd, .events = POLLIN };
	Upgraded__Wire__AppMessage wanted = APP_BODY(kind, .hello = NULL);
	ProtobufCMessage *message;
	struct why why = { 0 };
	int r;

	forget_message(fake);
	cr_assert_eq(poll(&poll_fd, 1, FAKE_PATIENCE_MS), 1, "no %s came", wire_app_name(&wanted));
	r = wire_receive(fake->fd, &upgraded__wire__app_message__descriptor, buffer, &fake->fds, &message, &why);
	cr_assert_eq(r, WIRE_OK, "instead of %s: %s", wire_app_name(&wanted), why.text);
	fake->message = (Upgraded__Wire__AppMessage *)message;
	cr_assert_eq(fake->message->body_case, kind, "instead of %s came %s: %s", wire_app_name(&wanted),
		     wire_app_name(fake->message),
		     fake->message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED
			     ? fake->message->refused->reason
			     : "");
	return fake->message;
}

bool fake_hears_nothing(const struct fake *fake)
{
	struct pollfd poll_fd = { .fd = fake->fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 0;
}

void fake_say(struct fake *fake, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n)
{
	struct why why = { 0 };

	cr_assert_eq(wire_send(fake->fd, &message->base, fds, n, &why), WIRE_OK, "%s: %s", wire_app_name(message),
		     why.text);
}

void fake_say_abort(struct fake *fake)
{
	Upgraded__Wire__Abort abort = UPGRADED__WIRE__ABORT__INIT;
	char reason[] = "a test says so";

	abort.reason = reason;
	FAKE_SAY(fake, ABORT, abort, &abort);
}

void fake_say_commit(struct fake *fake)
{
	Upgraded__Wire__Commit commit = UPGRADED__WIRE__COMMIT__INIT;

	FAKE_SAY(fake, COMMIT, commit, &commit);
}

void fake_say_park(struct fake *fake)
{
	Upgraded__Wire__Park park = UPGRADED__WIRE__PARK__INIT;

	FAKE_SAY(fake, PARK, park, &park);
}

void fake_say_baked(struct fake *fake)
{
	Upgraded__Wire__Baked baked = UPGRADED__WIRE__BAKED__INIT;

	FAKE_SAY(fake, BAKED, baked, &baked);
}

void fake_say_ping(struct fake *fake, uint64_t nonce)
{
	Upgraded__Wire__Ping ping = UPGRADED__WIRE__PING__INIT;

	ping.nonce = nonce;
	FAKE_SAY(fake, PING, ping, &ping);
}

void fake_vanish(struct fake *fake)
{
	forget_message(fake);
	fake->fd = fd_close(fake->fd);
}

static void pause_shortly(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
}

int fake_wait(struct fake *fake)
{
	int pidfd = (int)syscall(SYS_pidfd_open, fake->pid, 0), status;
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };

	cr_assert_eq(poll(&poll_fd, 1, FAKE_PATIENCE_MS), 1, "the application does not end");
	fd_close(pidfd);
	cr_assert_eq(waitpid(fake->pid, &status, 0), fake->pid);
	fake->pid = 0;
	cr_assert(WIFEXITED(status), "the application was killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

void fake_done(struct fake *fake)
{
	fake_vanish(fake);
	if (fake->pid > 0) {
		kill(fake->pid, SIGKILL);
		waitpid(fake->pid, NULL, 0);
	}
	fake->pid = 0;
}

void fake_await(const atomic_ulong *value, unsigned long floor)
{
	uint64_t until = clock_now_us() + PATIENCE_US;

	while (atomic_load(value) <= floor) {
		cr_assert_lt(clock_now_us(), until, "waited in vain");
		pause_shortly();
	}
}

void fake_await_set(const atomic_bool *value)
{
	uint64_t until = clock_now_us() + PATIENCE_US;

	while (!atomic_load(value)) {
		cr_assert_lt(clock_now_us(), until, "waited in vain");
		pause_shortly();
	}
}

/* ---- a roll ---- */

void fake_roll_open(struct fake_roll *roll, uint32_t target)
{
	static uint64_t generation = 40;
	struct why why = { 0 };
	int pair[2];

	*roll = (struct fake_roll){ .generation = ++generation, .target = target };
	cr_assert_eq(commit_create(&roll->word, roll->generation, &roll->word_fd, &why), 0, "%s", why.text);
	cr_assert_eq(in_hand_create(&roll->in_hand, &roll->in_hand_fd, &why), 0, "%s", why.text);
	cr_assert_eq(pipe2(pair, O_CLOEXEC), 0);
	roll->state_in = pair[0];
	roll->state_out = pair[1];
	roll->quiesce_us = roll->commit_us = 10 * USEC_PER_SEC;
}

void fake_roll_done(struct fake_roll *roll)
{
	for (size_t i = 0; i < roll->n_held; i++) {
		free(roll->held[i].name);
		fd_close(roll->held[i].fd);
	}
	free(roll->held);
	commit_unmap(&roll->word);
	in_hand_unmap(&roll->in_hand);
	fd_close(roll->word_fd);
	fd_close(roll->in_hand_fd);
	fd_close(roll->state_in);
	fd_close(roll->state_out);
	*roll = (struct fake_roll){ .word_fd = -1, .in_hand_fd = -1, .state_in = -1, .state_out = -1 };
}

void fake_prepare(struct fake *old, struct fake_roll *roll)
{
	Upgraded__Wire__Prepare prepare = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__AppMessage message =
		APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE, .prepare = &prepare);
	Upgraded__Wire__Schema schema = UPGRADED__WIRE__SCHEMA__INIT, other = schema, *targets[] = { &schema, &other };
	int fds[] = { roll->word_fd, roll->state_out };
	char name[] = "test.Note";

	schema.name = name;
	schema.version = roll->target;
	prepare.generation = roll->generation;
	prepare.question = roll->question;
	prepare.level = UPG_REQUEST_FREE;
	prepare.quiesce_deadline_us = clock_now_us() + roll->quiesce_us;
	prepare.commit_deadline_us = clock_now_us() + roll->commit_us;
	other.name = (char *)(uintptr_t)roll->knows;
	other.version = 1;
	prepare.n_targets = roll->target ? 1 : 0;
	prepare.n_targets += roll->knows != NULL;
	prepare.targets = targets;
	fake_say(old, &message, fds, 2);
	roll->state_out = fd_close(roll->state_out);
}

void fake_hold(struct fake_roll *roll, const char *name, uint64_t tag, int fd)
{
	roll->held = realloc(roll->held, (roll->n_held + 1) * sizeof(*roll->held));
	cr_assert_not_null(roll->held);
	roll->held[roll->n_held++] = (struct fake_fd){ strdup(name), tag, fd, false, 0 };
}

void fake_take_fds(struct fake *old, struct fake_roll *roll)
{
	bool last = false;

	while (!last) {
		const Upgraded__Wire__Fds *fds = FAKE_TAKE(old, FDS)->fds;

		cr_assert_eq(fds->n_fds, old->fds.n);
		for (size_t i = 0; i < fds->n_fds; i++)
			fake_hold(roll, fds->fds[i]->name, fds->fds[i]->tag, wire_fds_claim(&old->fds, i));
		last = fds->last;
		roll->next_tag = fds->next_tag;
	}
}

void fake_receive(struct fake *new, struct fake_roll *roll)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message =
		APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	int fds[] = { roll->word_fd, roll->state_in, roll->in_hand_fd };

	receive.generation = roll->generation;
	receive.deadline_us = clock_now_us() + roll->commit_us;
	receive.verify_roundtrip = roll->verify_roundtrip;
	receive.in_hand = true;
	fake_say(new, &message, fds, 3);
	roll->state_in = fd_close(roll->state_in);
}

static void give_batch(struct fake *to, Upgraded__Wire__FdInfo **infos, const int *numbers, size_t n, uint64_t next_tag, bool last)
{
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);

	fds.n_fds = n;
	fds.fds = infos;
	fds.last = last;
	fds.next_tag = next_tag;
	fake_say(to, &message, numbers, n);
}

void fake_give_fds(struct fake *to, const struct fake_roll *roll, bool (*but)(const struct fake_fd *fd))
{
	Upgraded__Wire__FdInfo infos[WIRE_FDS_MAX], *pointers[WIRE_FDS_MAX];
	int numbers[WIRE_FDS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < roll->n_held; i++) {
		if (but && but(&roll->held[i]))
			continue;
		if (n == WIRE_FDS_MAX) {
			give_batch(to, pointers, numbers, n, 0, false);
			n = 0;
		}
		upgraded__wire__fd_info__init(&infos[n]);
		infos[n].name = roll->held[i].name;
		infos[n].tag = roll->held[i].tag;
		infos[n].optional = roll->held[i].optional;
		pointers[n] = &infos[n];
		numbers[n++] = roll->held[i].fd;
	}
	give_batch(to, pointers, numbers, n, roll->next_tag, true);
}

size_t fake_drain(int fd)
{
	char data[65536];
	size_t total = 0;

	for (;;) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		ssize_t n;

		cr_assert_eq(poll(&poll_fd, 1, FAKE_PATIENCE_MS), 1, "the state does not end");
		n = read(fd, data, sizeof(data));
		cr_assert_geq(n, 0);
		if (n == 0)
			return total;
		total += (size_t)n;
	}
}

void fake_park(struct fake *old, struct fake_roll *roll)
{
	fake_prepare(old, roll);
	FAKE_TAKE(old, QUIESCED);
	fake_take_fds(old, roll);
	fake_drain(roll->state_in);
	FAKE_TAKE(old, SAVED);
	cr_assert(commit_take(&roll->word, COMMIT_NEW));
	fake_say_park(old);
}

/* ---- the new version's side ---- */

struct fake_state fake_capture(uint32_t n_notes)
{
	struct fake_state state = { .data = malloc(1 << 20) };
	struct app *app = app_new();
	struct fake_roll roll;
	struct fake fake;
	ssize_t n;

	cr_assert_not_null(state.data);
	app_fill(app, n_notes, 5);
	fake_start_serving(&fake, app);
	fake_roll_open(&roll, 1);
	fake_prepare(&fake, &roll);
	while ((n = read(roll.state_in, state.data + state.size, (1 << 20) - state.size)) > 0)
		state.size += (size_t)n;
	cr_assert_eq(n, 0);
	fake_done(&fake);
	fake_roll_done(&roll);
	return state;
}

void fake_start_standby(struct fake *fake, struct app *app)
{
	fake_start(fake, app);
	FAKE_TAKE(fake, HELLO);
	FAKE_TAKE(fake, STANDBY);
}

void fake_feed(struct fake *new, struct fake_roll *roll, const uint8_t *state, size_t size)
{
	fake_receive(new, roll);
	fake_give_fds(new, roll, NULL);
	cr_assert_eq(fd_write_all(roll->state_out, state, size, clock_now_us() + PATIENCE_US), 0);
	roll->state_out = fd_close(roll->state_out);
}

void fake_take_over(struct fake *fake, struct app *app, struct fake_roll *roll)
{
	struct fake_state state = fake_capture(3);

	fake_start_standby(fake, app);
	fake_feed(fake, roll, state.data, state.size);
	FAKE_TAKE(fake, LOADED);
	fake_say_commit(fake);
	FAKE_TAKE(fake, COMMITTED);
	cr_assert_eq(commit_owner(&roll->word), COMMIT_NEW);
	free(state.data);
}
