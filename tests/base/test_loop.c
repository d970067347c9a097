/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/why.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

TestSuite(loop, .timeout = 10);

static struct loop *loop;
static uint64_t now_us;

static void setup(void)
{
	struct why why;

	cr_assert_eq(loop_new(&loop, &why), 0);
}

static void setup_fake(void)
{
	setup();
	now_us = 1000;
	clock_fake(&now_us);
}

static void teardown(void)
{
	clock_fake(NULL);
	loop = loop_free(loop);
	cr_assert_null(loop);
}

/* A source with an eventfd of its own that counts its calls and may delete or mute another. */
struct bell {
	struct source source;
	struct bell *victim;
	bool only_mute;
	struct bell *wakes; /* it is made ready ... */
	uint64_t takes_us;  /* ... and so much time passes */
	int n_rung;
	uint32_t last_events;
};

static void bell_rung(struct source *source, uint32_t events)
{
	struct bell *bell = container_of(source, struct bell, source);

	bell->n_rung++;
	bell->last_events = events;
	if (bell->wakes && bell->n_rung == 1)
		cr_assert_eq(eventfd_write(bell->wakes->source.fd, 1), 0);
	now_us += bell->takes_us;
	if (bell->victim && bell->only_mute)
		cr_assert_eq(source_set(&bell->victim->source, 0), 0);
	else if (bell->victim)
		source_del(&bell->victim->source);
}

static void bell_open(struct bell *bell, unsigned int value)
{
	int fd = eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK);

	cr_assert_geq(fd, 0);
	*bell = (struct bell){ 0 };
	cr_assert_eq(source_add(loop, &bell->source, fd, EPOLLIN, bell_rung), 0);
}

static void bell_close(struct bell *bell)
{
	source_del(&bell->source);
	fd_close(bell->source.fd);
}

Test(loop, calls_a_ready_source_and_no_other, .init = setup, .fini = teardown)
{
	struct bell ready, silent;

	bell_open(&ready, 1);
	bell_open(&silent, 0);
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_eq(ready.n_rung, 1);
	cr_assert_eq(ready.last_events, EPOLLIN);
	cr_assert_eq(silent.n_rung, 0);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_eq(ready.n_rung, 2, "level-triggered");
	bell_close(&ready);
	bell_close(&silent);
}

Test(loop, drops_the_reported_event_of_a_source_deleted_in_a_callback, .init = setup, .fini = teardown)
{
	struct bell one, other;

	bell_open(&one, 1);
	bell_open(&other, 1);
	one.victim = &other;
	other.victim = &one;
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_eq(one.n_rung + other.n_rung, 1);
	bell_close(&one);
	bell_close(&other);
}

Test(loop, lets_a_source_delete_itself, .init = setup, .fini = teardown)
{
	struct bell bell;

	bell_open(&bell, 1);
	bell.victim = &bell;
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_eq(bell.n_rung, 1);
	cr_assert_null(bell.source.loop);
	bell_close(&bell);
}

Test(loop, drops_a_reported_event_nobody_waits_for_any_more, .init = setup, .fini = teardown)
{
	struct bell one, other;

	/* The order within a batch is the kernel's, so each mutes the other. */
	bell_open(&one, 1);
	bell_open(&other, 1);
	one.victim = &other;
	other.victim = &one;
	one.only_mute = other.only_mute = true;
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_eq(one.n_rung + other.n_rung, 1);
	bell_close(&one);
	bell_close(&other);
}

Test(loop, set_changes_what_is_waited_for, .init = setup, .fini = teardown)
{
	struct bell bell;

	bell_open(&bell, 1);
	cr_assert_eq(source_set(&bell.source, EPOLLOUT), 0);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_eq(bell.last_events, EPOLLOUT);
	bell_close(&bell);
	cr_assert_eq(source_set(&bell.source, EPOLLIN), -ENOENT);
}

Test(loop, reports_a_hangup_that_was_not_asked_for, .init = setup, .fini = teardown)
{
	struct bell bell = { 0 };
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_eq(source_add(loop, &bell.source, ends[0], 0, bell_rung), 0);
	fd_close(ends[1]);
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_eq(bell.last_events, EPOLLHUP);
	bell_close(&bell);
}

Test(loop, refuses_to_add_twice_or_what_epoll_cannot_watch, .init = setup, .fini = teardown)
{
	struct source source = { 0 };
	struct bell bell;

	bell_open(&bell, 0);
	cr_assert_eq(source_add(loop, &bell.source, bell.source.fd, EPOLLIN, bell_rung), -EEXIST);
	cr_assert_eq(source_add(loop, &source, -1, EPOLLIN, bell_rung), -EBADF);
	cr_assert_null(source.loop);
	source_del(&source);
	bell_close(&bell);
}

struct chime {
	struct timer timer;
	char name;
	uint64_t again_us; /* armed again for then, from within the callback */
	struct timer *victim;
};

static char rung[32];

static void chime_due(struct timer *timer)
{
	struct chime *chime = container_of(timer, struct chime, timer);
	size_t n = strlen(rung);

	cr_assert_null(timer->loop, "a timer is disarmed when it is called");
	if (n + 1 < sizeof(rung)) {
		rung[n] = chime->name;
		rung[n + 1] = '\0';
	}
	if (chime->victim)
		timer_disarm(chime->victim);
	if (chime->again_us)
		timer_arm(loop, timer, chime->again_us, chime_due);
}

Test(loop, calls_timers_in_the_order_they_are_due, .init = setup_fake, .fini = teardown)
{
	struct chime a = { .name = 'a' }, b = { .name = 'b' }, c = { .name = 'c' }, d = { .name = 'd' };

	timer_arm(loop, &c.timer, 4000, chime_due);
	timer_arm(loop, &a.timer, 2000, chime_due);
	timer_arm(loop, &b.timer, 3000, chime_due);
	timer_arm(loop, &d.timer, 3000, chime_due);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_str_eq(rung, "", "nothing is due");
	now_us = 2000;
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_str_eq(rung, "a");
	now_us = 9000;
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_str_eq(rung, "abdc", "equal ones in the order they were armed");
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_str_eq(rung, "abdc", "each once");
}

Test(loop, moves_an_armed_timer, .init = setup_fake, .fini = teardown)
{
	struct chime a = { .name = 'a' }, b = { .name = 'b' };

	timer_arm(loop, &a.timer, 2000, chime_due);
	timer_arm(loop, &b.timer, 3000, chime_due);
	timer_arm(loop, &a.timer, 4000, chime_due);
	now_us = 3500;
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_str_eq(rung, "b");
	timer_disarm(&a.timer);
	timer_disarm(&a.timer);
	now_us = 5000;
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_str_eq(rung, "b");
}

Test(loop, spares_a_due_timer_disarmed_by_an_earlier_one, .init = setup_fake, .fini = teardown)
{
	struct chime a = { .name = 'a' }, b = { .name = 'b' }, c = { .name = 'c' };

	a.victim = &b.timer;
	timer_arm(loop, &a.timer, 1000, chime_due);
	timer_arm(loop, &b.timer, 1000, chime_due);
	timer_arm(loop, &c.timer, 1000, chime_due);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_str_eq(rung, "ac");
}

Test(loop, a_timer_that_rearms_itself_for_the_past_starves_nobody, .init = setup_fake, .fini = teardown)
{
	struct chime a = { .name = 'a', .again_us = 1 }, b = { .name = 'b' };

	timer_arm(loop, &a.timer, 500, chime_due);
	timer_arm(loop, &b.timer, 1000, chime_due);
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_str_eq(rung, "ab");
	cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_str_eq(rung, "aba");
	timer_disarm(&a.timer);
}

/* What was said before the moment at which the timer is found to be due is heard, whoever was heard meanwhile. */
Test(loop, hears_what_came_in_time_before_it_calls_a_timer, .init = setup_fake, .fini = teardown)
{
	struct chime chime = { .name = 'a' };
	struct bell slow, answer;

	bell_open(&answer, 0);
	bell_open(&slow, 1);
	slow.wakes = &answer;
	slow.takes_us = 5000;
	timer_arm(loop, &chime.timer, 2000, chime_due);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_eq(answer.n_rung, 1, "the answer that lay there was not heard before the timer");
	cr_assert_str_eq(rung, "a");
	bell_close(&slow);
	bell_close(&answer);
}

Test(loop, hears_all_that_are_ready_before_it_calls_a_timer, .init = setup_fake, .fini = teardown)
{
	static struct bell bells[200];
	struct chime chime = { .name = 'a' };

	for (size_t i = 0; i < 200; i++)
		bell_open(&bells[i], 1);
	timer_arm(loop, &chime.timer, 1000, chime_due);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_str_eq(rung, "a");
	for (size_t i = 0; i < 200; i++) {
		cr_assert_geq(bells[i].n_rung, 1, "source %zu was ready, and was not heard", i);
		bell_close(&bells[i]);
	}
}

/* A timer that becomes due while others are heard waits until everybody was heard that came before it. */
Test(loop, calls_no_timer_that_became_due_while_it_caught_up, .init = setup_fake, .fini = teardown)
{
	struct chime early = { .name = 'a' }, late = { .name = 'b' };
	struct bell slow;

	bell_open(&slow, 1);
	slow.takes_us = 10;
	timer_arm(loop, &early.timer, 1010, chime_due);
	timer_arm(loop, &late.timer, 1011, chime_due);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_str_eq(rung, "a");
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_str_eq(rung, "ab");
	bell_close(&slow);
}

Test(loop, wakes_for_a_timer_with_the_real_clock, .init = setup, .fini = teardown)
{
	struct chime a = { .name = 'a' };
	uint64_t due_us = clock_now_us() + 5 * USEC_PER_MSEC;

	timer_arm(loop, &a.timer, due_us, chime_due);
	while (a.timer.loop)
		cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_geq(clock_now_us(), due_us);
}

Test(loop, turn_returns_after_its_timeout, .init = setup, .fini = teardown)
{
	cr_assert_eq(loop_turn(loop, 1), 0);
}

static void stop_due(struct timer *timer)
{
	(void)timer;
	loop_stop(loop, 42);
}

Test(loop, run_returns_what_stop_was_given, .init = setup_fake, .fini = teardown)
{
	struct timer timer = { 0 };

	timer_arm(loop, &timer, 1000, stop_due);
	cr_assert_eq(loop_run(loop), 42);
	loop_stop(loop, 7);
	cr_assert_eq(loop_run(loop), 7, "a stop from before the run counts");
}

Test(loop, more_ready_sources_than_a_batch_all_get_their_turn, .init = setup, .fini = teardown)
{
	static struct bell bells[200];
	bool all = false;

	for (size_t i = 0; i < 200; i++)
		bell_open(&bells[i], 1);
	for (int turn = 0; turn < 20 && !all; turn++) {
		cr_assert_eq(loop_turn(loop, 0), 0);
		all = true;
		for (size_t i = 0; i < 200; i++)
			all = all && bells[i].n_rung > 0;
	}
	cr_assert(all);
	for (size_t i = 0; i < 200; i++)
		bell_close(&bells[i]);
}
