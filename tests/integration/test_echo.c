/* SPDX-License-Identifier: MIT */
/* The example that docs/PORTING.md goes through: each client counts its own lines, so an answer that is lost, doubled or made up
 * shows at once. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 100u
#define LINE_BYTES 700u
#define SHOWN_US (20 * USEC_PER_SEC)

STAGE(echo, 120);

/* ---- clients, of whom each has one line under way ---- */

struct talker {
	uint64_t sent; /* lines, the one under way included */
	size_t line_bytes, written, want_bytes, got_bytes;
	int fd;
	char line[LINE_BYTES], want[LINE_BYTES + 32], got[LINE_BYTES + 32];
};

static struct talker talkers[CLIENTS];
static pthread_t crowd_thread;
static atomic_bool crowd_ends;
static atomic_uint_fast64_t answers;
static char wrong[256];

static int talker_open(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(stage.port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "%s", strerror(errno));
	return fd;
}

/* A line of a length of its own; the first part of it, so that it is cut anywhere. */
static void talker_begin(struct talker *talker, unsigned *seed)
{
	size_t padding = (size_t)rand_r(seed) % (LINE_BYTES - 64), cut;
	int n = snprintf(talker->line, sizeof(talker->line), "client %td line %llu ", talker - talkers,
			 (unsigned long long)++talker->sent);

	memset(talker->line + n, 'x', padding);
	talker->line_bytes = (size_t)n + padding;
	talker->line[talker->line_bytes++] = '\n';
	n = snprintf(talker->want, sizeof(talker->want), "%llu ", (unsigned long long)talker->sent);
	memcpy(talker->want + n, talker->line, talker->line_bytes);
	talker->want_bytes = (size_t)n + talker->line_bytes;
	talker->got_bytes = 0;
	cut = (size_t)rand_r(seed) % talker->line_bytes;
	talker->written = send(talker->fd, talker->line, cut, MSG_NOSIGNAL) == (ssize_t)cut ? cut : 0;
}

/* The rest, which is sent only when something else had its turn. */
static void talker_end_line(struct talker *talker)
{
	size_t left = talker->line_bytes - talker->written;

	if (left && send(talker->fd, talker->line + talker->written, left, MSG_NOSIGNAL) != (ssize_t)left && !*wrong)
		snprintf(wrong, sizeof(wrong), "client %td: cannot send: %s", talker - talkers, strerror(errno));
	talker->written = talker->line_bytes;
}

static void talker_read(struct talker *talker, unsigned *seed)
{
	ssize_t n = recv(talker->fd, talker->got + talker->got_bytes, sizeof(talker->got) - talker->got_bytes, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	talker->got_bytes += n > 0 ? (size_t)n : 0;
	if (n <= 0 || talker->got_bytes > talker->want_bytes || memcmp(talker->got, talker->want, talker->got_bytes) != 0) {
		if (!*wrong)
			snprintf(wrong, sizeof(wrong), "client %td, line %llu: %s: '%.60s'", talker - talkers,
				 (unsigned long long)talker->sent, n > 0 ? "wrong answer" : n ? strerror(errno) : "closed",
				 talker->got);
		talker->fd = -talker->fd; /* no more of this one */
		return;
	}
	if (talker->got_bytes < talker->want_bytes)
		return;
	atomic_fetch_add(&answers, 1);
	if (!atomic_load(&crowd_ends))
		talker_begin(talker, seed);
}

/* Until the answer to the line under way is there. */
static void talker_await(struct talker *talker, unsigned *seed)
{
	talker_end_line(talker);
	while (!*wrong && talker->got_bytes < talker->want_bytes &&
	       poll(&(struct pollfd){ .fd = talker->fd, .events = POLLIN }, 1, 10000) > 0)
		talker_read(talker, seed);
	cr_assert_eq(talker->got_bytes, talker->want_bytes, "%s", wrong);
}

static bool is_under_way(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (talkers[i].fd > 0 && talkers[i].got_bytes < talkers[i].want_bytes)
			return true;
	return false;
}

static void *talk(void *data)
{
	struct pollfd fds[CLIENTS];
	unsigned seed = 7;

	for (unsigned i = 0; i < CLIENTS; i++)
		talker_begin(&talkers[i], &seed);
	while (is_under_way()) {
		for (unsigned i = 0; i < CLIENTS; i++) {
			if (talkers[i].fd > 0)
				talker_end_line(&talkers[i]);
			fds[i] = (struct pollfd){ .fd = talkers[i].fd, .events = POLLIN };
		}
		if (poll(fds, CLIENTS, 10000) == 0 && !*wrong) {
			snprintf(wrong, sizeof(wrong), "no answer within 10 s");
			return data;
		}
		for (unsigned i = 0; i < CLIENTS; i++)
			if (fds[i].revents)
				talker_read(&talkers[i], &seed);
	}
	return data;
}

static void crowd_begin(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		talkers[i].fd = talker_open();
	cr_assert_eq(pthread_create(&crowd_thread, NULL, talk, NULL), 0);
}

/* Until all of them together have got that many answers more, so that the service has served since. */
static void crowd_goes_on(uint64_t more)
{
	uint64_t until = atomic_load(&answers) + more, due_us = clock_now_us() + SHOWN_US;

	while (atomic_load(&answers) < until && clock_now_us() < due_us)
		stage_sleep_ms(1);
	cr_assert_geq(atomic_load(&answers), until, "%s", wrong);
}

static void crowd_end(void)
{
	uint64_t sum = 0;

	atomic_store(&crowd_ends, true);
	pthread_join(crowd_thread, NULL);
	cr_assert_str_eq(wrong, "");
	for (unsigned i = 0; i < CLIENTS; i++) {
		sum += talkers[i].sent;
		close(talkers[i].fd);
	}
	cr_assert_eq(sum, atomic_load(&answers));
}

/* ---- around it ---- */

static void serve_by(const char *program, const char *lines)
{
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s-%%v %u\nVersion=v1\nLimitNOFILE=4096\n%s",
			      rig_program(stage.rig, program), stage.port, lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
}

static void serve(const char *lines)
{
	serve_by("examples/echo", lines);
}

static void roll_up_and_down(void)
{
	crowd_begin();
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_str_eq(rig_text(ctl(0, "roll", "cached", "v2"), "roll.outcome"), "done");
		crowd_goes_on(1000);
		cr_assert_str_eq(rig_text(ctl(0, "roll", "cached", "v1"), "roll.outcome"), "done");
		crowd_goes_on(1000);
	}
	crowd_end();
}

SCENE(echo, is_rolled_up_and_down_and_every_line_is_answered_once)
{
	serve("Bake=100ms\n");
	roll_up_and_down();
}

SCENE(echo, that_is_killed_in_its_bake_costs_no_byte_with_a_journal)
{
	serve("Bake=60s\nRollback=parked\nJournal=yes\n");
	crowd_begin();
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	crowd_goes_on(1000);
	kill(stage_pid("serving"), SIGKILL);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	crowd_goes_on(1000);
	cr_assert_str_eq(rig_text(ctl(0, "roll", "cached", "v2", "--bake=100ms"), "roll.outcome"), "done");
	crowd_end();
}

SCENE(echo, that_is_killed_outside_of_a_roll_costs_no_byte_with_checkpoints)
{
	serve("Journal=always\n");
	crowd_begin();
	stage_wait_log("the first checkpoint is whole");
	for (unsigned i = 0; i < 5; i++) {
		crowd_goes_on(500);
		kill(stage_pid("serving"), SIGKILL);
		crowd_goes_on(1000);
	}
	crowd_end();
	stage_wait_log("goes on from the checkpoint");
}

SCENE(echo, has_accepted_clients_before_it_was_killed_and_they_go_on)
{
	struct talker *late = &talkers[0];
	unsigned seed = 3;

	atomic_store(&crowd_ends, true); /* each line is begun here */
	serve("Bake=60s\nRollback=parked\nJournal=yes\n");
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	late->fd = talker_open();
	for (unsigned i = 0; i < 3; i++) {
		talker_begin(late, &seed);
		talker_await(late, &seed);
		if (i == 1) {
			kill(stage_pid("serving"), SIGKILL);
			cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
		}
	}
	close(late->fd);
}

/* ---- the same service in the event loops of others ---- */

STAGE(loops, 120);

/* Up, down, and back from a crash: who was silent since the commit goes on, with half a line if it had sent so much. */
static void check_loop(const char *program)
{
	struct talker *silent = &talkers[0];
	unsigned seed = 11;

	serve_by(program, "Bake=100ms\nRollback=parked\n");
	roll_up_and_down();
	memset(talkers, 0, sizeof(talkers));
	silent->fd = talker_open();
	do
		talker_begin(silent, &seed);
	while (silent->written == 0);
	ctl(0, "roll", "cached", "v2", "--wait=commit", "--bake=60s");
	stage_wait_bake("v2");
	kill(stage_pid("serving"), SIGKILL);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	talker_await(silent, &seed);
	close(silent->fd);
}

SCENE(loops, of_libevent_with_worker_threads_are_left_and_entered)
{
	check_loop("examples/echo-libevent");
}

SCENE(loops, of_libuv_are_left_and_entered)
{
	check_loop("examples/echo-libuv");
}

SCENE(loops, of_sd_event_are_left_and_entered)
{
	check_loop("examples/echo-sd-event");
}

SCENE(loops, in_c_plus_plus_are_left_and_entered)
{
	check_loop("examples/echo-cxx");
}
