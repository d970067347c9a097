/* SPDX-License-Identifier: MIT */
/* What an operator may ask while something is under way, against fakes: he always gets through, and one failed attempt is not
 * remembered. */
#include "tests/supervisor/asked.h"
#include "tests/supervisor/fake.h"

#include <signal.h>

static struct place place;
static struct fake_origin origin;
static struct service *web;
static uint64_t now_us;
static struct fake *old, *new, *third;
/* Who asks: for a start or a roll; for something else meanwhile. */
static struct asked first, second;

static void set_up(void)
{
	now_us = 1000 * USEC_PER_SEC;
	clock_fake(&now_us);
	place_open(&place);
	fake_origin_init(&origin);
	fake_imaging_reset();
	place.registry.host.origin = &origin.origin;
	place.registry.host.site.imaging = &imaging_fake;
	place.registry.host.site.criu_path = "criu";
	place_write(&place, "web.conf",
		    "[Service]\nExec=/bin/web-%v\nVersion=v1\nBake=60s\nRollback=auto\nStartTimeout=10s\nRestart=no\n");
	web = registry_find(&place.registry, "web", NULL);
	cr_assert_not_null(web);
	asked_init(&first);
	asked_init(&second);
}

static void tear_down(void)
{
	cr_assert_eq(place.registry.host.site.counts.misfits, 0, "an event had no cell; see the log");
	place_close(&place);
	clock_fake(NULL);
}

TestSuite(calloff, .timeout = 20, .init = set_up, .fini = tear_down);

/* The processes that were started and that nobody has asked for yet. */
static unsigned heeded;

static bool is_anybody_started(void)
{
	return origin.n_started > heeded;
}

/* The latest process that was started is this one. */
static void is_started(struct fake **at)
{
	struct fake **latest = &origin.started[origin.n_started - 1];

	cr_assert(is_anybody_started());
	heeded = origin.n_started;
	fake_watch(*latest, at);
	*latest = NULL;
}

static void turn(void)
{
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(loop_turn(place.registry.host.site.loop, 0), 0);
}

static void pass(uint64_t us)
{
	turn();
	now_us += us;
	turn();
}

static void start(const char *version)
{
	asked_init(&first);
	service_start(web, version, -1, &first.asker);
}

static void serve_v1(void)
{
	start("");
	is_started(&old);
	cr_assert_str_eq(old->instance.version, "v1");
	fake_hello(old, 1, true);
	fake_standby(old);
	fake_ready(old);
	cr_assert_eq(first.answers, 1);
	cr_assert_eq(first.code, WIRE_EXIT_DONE, "%s", first.text);
	asked_init(&first);
}

static void roll(const char *version)
{
	struct roll_request request = { .version = "" };

	snprintf(request.version, sizeof(request.version), "%s", version);
	asked_init(&first);
	service_roll(web, &request, &first.asker);
}

/* From @from, which serves, up to the commit of @to. */
static void take_over(struct fake *from, struct fake *to)
{
	fake_hello(to, 1, true);
	fake_standby(to);
	fake_quiesced(from);
	fake_hand_over(from, 0, true);
	fake_saved(from, 3, 0);
	fake_loaded(to, 3, 0);
	cr_assert(fake_commit(to));
}

static void bake_v2(void)
{
	serve_v1();
	roll("v2");
	is_started(&new);
	take_over(old, new);
	fake_parked(old);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	cr_assert_eq(first.answers, 0);
}

static void was_answered(const struct asked *asked, enum wire_exit code, const char *words)
{
	cr_assert_eq(asked->answers, 1, "%u answers", asked->answers);
	cr_assert_eq(asked->code, code, "%d: %s: %s", (int)asked->code, asked->text, asked->cause);
	cr_assert(strstr(asked->text, words), "%s", asked->text);
}

static void abort_it(void)
{
	asked_init(&second);
	service_abort(web, &second.asker);
}

static void stop_it(void)
{
	asked_init(&second);
	service_stop(web, &second.asker);
}

/* ---- a start ---- */

Test(calloff, a_version_that_could_not_be_started_is_not_what_the_next_start_takes)
{
	origin.refuses = true;
	start("v9");
	was_answered(&first, WIRE_EXIT_ERROR, "web version v9 could not be started");
	origin.refuses = false;
	serve_v1();
}

Test(calloff, nor_one_that_ended_before_it_was_ready)
{
	start("v9");
	is_started(&new);
	fake_exit(new, 0x100);
	was_answered(&first, WIRE_EXIT_ERROR, "web version v9 could not be started");
	serve_v1();
}

Test(calloff, after_a_failed_start_the_version_that_served_last_is_taken)
{
	start("v3");
	is_started(&new);
	fake_hello(new, 1, true);
	fake_standby(new);
	fake_ready(new);
	stop_it();
	fake_exit(new, 0);
	was_answered(&second, WIRE_EXIT_DONE, "web is stopped");
	origin.refuses = true;
	start("v9");
	origin.refuses = false;
	start("");
	is_started(&new);
	cr_assert_str_eq(new->instance.version, "v3");
}

Test(calloff, a_start_can_be_aborted)
{
	start("v9");
	is_started(&new);
	abort_it();
	was_answered(&first, WIRE_EXIT_ERROR, "the start of version v9 was aborted");
	cr_assert_eq(second.answers, 0, "its process has not ended yet");
	cr_assert(fake_reap(new));
	was_answered(&second, WIRE_EXIT_DONE, "the start was aborted");
	cr_assert(service_is_idle(web));
	serve_v1();
}

Test(calloff, a_stop_ends_a_start)
{
	start("");
	is_started(&new);
	stop_it();
	was_answered(&first, WIRE_EXIT_ERROR, "was aborted");
	cr_assert(fake_reap(new));
	was_answered(&second, WIRE_EXIT_DONE, "web is stopped");
}

Test(calloff, a_start_that_gets_on_for_ever_has_an_end)
{
	start("");
	is_started(&new);
	fake_hello(new, 1, true);
	for (unsigned i = 0; i < 300 && new; i++) {
		if (instance_is_alive(&new->instance))
			fake_progress(new, "reading the catalogue");
		pass(USEC_PER_SEC);
		if (fake_reap(new))
			break;
	}
	was_answered(&first, WIRE_EXIT_ERROR, "could not be started");
	cr_assert(strstr(first.cause, "StartTimeoutMax="), "%s", first.cause);
}

/* ---- a roll before its commit ---- */

Test(calloff, a_roll_can_be_aborted_while_its_version_starts)
{
	serve_v1();
	roll("v2");
	is_started(&new);
	abort_it();
	cr_assert_eq(second.answers, 0);
	cr_assert(fake_reap(new));
	was_answered(&first, WIRE_EXIT_REFUSED, "the roll to v2 was refused");
	cr_assert_str_eq(first.cause, "aborted by the operator");
	was_answered(&second, WIRE_EXIT_DONE, "the roll to v2 was aborted");
	cr_assert(strstr(second.serving, "v1"));
	roll("v2");
	is_started(&new);
}

Test(calloff, a_roll_can_be_aborted_within_its_pause)
{
	serve_v1();
	roll("v2");
	is_started(&new);
	fake_hello(new, 1, true);
	fake_standby(new);
	fake_quiesced(old);
	abort_it();
	cr_assert(fake_reap(new));
	fake_resumed(old);
	was_answered(&first, WIRE_EXIT_ROLLED_BACK, "was aborted before it committed");
	was_answered(&second, WIRE_EXIT_DONE, "the roll to v2 was aborted");
}

Test(calloff, an_abort_that_comes_too_late_wins_all_the_same)
{
	serve_v1();
	roll("v2");
	is_started(&new);
	fake_hello(new, 1, true);
	fake_standby(new);
	fake_quiesced(old);
	fake_hand_over(old, 0, true);
	fake_saved(old, 3, 0);
	fake_loaded(new, 3, 0);
	/* It takes the word, and nobody has heard of that yet. */
	cr_assert(commit_take(&new->word, COMMIT_NEW));
	abort_it();
	/* It came too late to call anything off: what has taken over is undone, as soon as its bake begins. */
	cr_assert_eq(second.answers, 0);
	fake_parked(old);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	is_started(&third);
	cr_assert_str_eq(third->instance.version, "v1");
	take_over(new, third);
	was_answered(&second, WIRE_EXIT_DONE, "version v1 serves");
}

Test(calloff, a_stop_calls_a_roll_off_and_stops_what_serves)
{
	serve_v1();
	roll("v2");
	is_started(&new);
	stop_it();
	cr_assert(fake_reap(new));
	was_answered(&first, WIRE_EXIT_REFUSED, "the roll to v2 was refused");
	cr_assert_eq(second.answers, 0);
	cr_assert_eq(old->signal, SIGTERM);
	fake_exit(old, 0);
	was_answered(&second, WIRE_EXIT_DONE, "web is stopped");
}

Test(calloff, a_stop_waits_for_an_image_under_way_and_then_stops)
{
	serve_v1();
	roll("v2");
	is_started(&new);
	take_over(old, new);
	fake_parked(old);
	stop_it();
	cr_assert_eq(second.answers, 0);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	was_answered(&first, WIRE_EXIT_DONE, "version v2 serves");
	cr_assert_eq(new->signal, SIGTERM);
	fake_exit(new, 0);
	was_answered(&second, WIRE_EXIT_DONE, "web is stopped");
}

Test(calloff, the_end_of_the_daemon_waits_for_no_progress)
{
	start("");
	is_started(&new);
	service_end(web);
	cr_assert_eq(new->signal, SIGKILL);
	cr_assert(fake_reap(new));
	service_end(web);
	cr_assert(service_is_idle(web));
}

Test(calloff, where_nothing_is_under_way_there_is_nothing_to_abort)
{
	abort_it();
	was_answered(&second, WIRE_EXIT_DONE, "nothing is under way");
	serve_v1();
	abort_it();
	was_answered(&second, WIRE_EXIT_DONE, "nothing is under way");
}

/* ---- a bake ---- */

Test(calloff, a_bake_that_is_aborted_is_undone)
{
	bake_v2();
	abort_it();
	is_started(&third);
	cr_assert_str_eq(third->instance.version, "v1");
	cr_assert_eq(second.answers, 0);
	take_over(new, third);
	was_answered(&second, WIRE_EXIT_DONE, "version v1 serves");
	was_answered(&first, WIRE_EXIT_ROLLED_BACK, "version v2 was undone: v1 serves");
}

Test(calloff, a_bake_can_be_accepted)
{
	bake_v2();
	service_accept(web, &second.asker);
	turn();
	fake_pong(new);
	turn();
	was_answered(&second, WIRE_EXIT_DONE, "version v2 is accepted");
	was_answered(&first, WIRE_EXIT_DONE, "version v2 serves");
}

Test(calloff, where_no_bake_is_on_there_is_nothing_to_accept)
{
	serve_v1();
	service_accept(web, &second.asker);
	was_answered(&second, WIRE_EXIT_REFUSED, "no bake is on");
}

/* ---- a roll within a bake ---- */

static struct asked onward;

static void go_onward(void)
{
	struct roll_request request = { .version = "v3" };

	asked_init(&onward);
	service_roll(web, &request, &onward.asker);
	is_started(&third);
	cr_assert_str_eq(third->instance.version, "v3");
}

Test(calloff, a_roll_within_a_bake_leads_to_the_third_version_and_ends_the_bake_by_its_commit)
{
	bake_v2();
	go_onward();
	cr_assert_eq(onward.answers + first.answers, 0);
	cr_assert(instance_is_alive(&old->instance), "v1 is the way back until then");
	take_over(new, third);
	was_answered(&first, WIRE_EXIT_DONE, "version v2 serves");
	cr_assert(!old || old->signal == SIGKILL);
	fake_parked(new);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	cr_assert_eq(onward.answers, 0, "its bake is on");
	/* A failure now leads back to v2. */
	fake_exit(third, 11);
	fake_resumed(new);
	was_answered(&onward, WIRE_EXIT_ROLLED_BACK, "version v3 failed");
	cr_assert(strstr(onward.serving, "v2"));
}

Test(calloff, a_roll_within_a_bake_that_is_refused_leaves_the_bake_as_it_was)
{
	bake_v2();
	go_onward();
	fake_exit(third, 0x100);
	was_answered(&onward, WIRE_EXIT_REFUSED, "the roll to v3 was refused");
	cr_assert_eq(first.answers, 0);
	cr_assert(instance_is_alive(&old->instance));
	/* And a failure of v2 leads back to v1. */
	fake_exit(new, 11);
	fake_resumed(old);
	was_answered(&first, WIRE_EXIT_ROLLED_BACK, "version v2 failed");
}

Test(calloff, a_roll_within_a_bake_can_be_aborted)
{
	bake_v2();
	go_onward();
	abort_it();
	cr_assert(fake_reap(third));
	was_answered(&onward, WIRE_EXIT_REFUSED, "the roll to v3 was refused");
	was_answered(&second, WIRE_EXIT_DONE, "the roll to v3 was aborted");
	cr_assert_eq(first.answers, 0);
}

Test(calloff, a_stop_within_a_roll_within_a_bake_stops_the_second_version)
{
	bake_v2();
	go_onward();
	stop_it();
	cr_assert(fake_reap(third));
	was_answered(&onward, WIRE_EXIT_REFUSED, "v");
	was_answered(&first, WIRE_EXIT_DONE, "version v2 serves");
	cr_assert_eq(new->signal, SIGTERM);
	fake_exit(new, 0);
	was_answered(&second, WIRE_EXIT_DONE, "web is stopped");
}

Test(calloff, a_roll_that_comes_before_the_bake_begins_when_it_does)
{
	struct roll_request request = { .version = "v3" };

	serve_v1();
	roll("v2");
	is_started(&new);
	take_over(old, new);
	fake_parked(old);
	asked_init(&onward);
	service_roll(web, &request, &onward.asker);
	cr_assert_not(is_anybody_started(), "the image is being taken");
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	is_started(&third);
	cr_assert_str_eq(third->instance.version, "v3");
	/* The one that waits can be called off before that, see below. */
	abort_it();
	cr_assert(fake_reap(third));
	was_answered(&onward, WIRE_EXIT_REFUSED, "the roll to v3 was refused");
}

Test(calloff, a_roll_that_waits_for_the_bake_can_be_aborted)
{
	struct roll_request request = { .version = "v3" };

	serve_v1();
	roll("v2");
	is_started(&new);
	take_over(old, new);
	fake_parked(old);
	asked_init(&onward);
	service_roll(web, &request, &onward.asker);
	abort_it();
	was_answered(&second, WIRE_EXIT_DONE, "was aborted");
	was_answered(&onward, WIRE_EXIT_REFUSED, "before it began");
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	cr_assert_not(is_anybody_started());
}

/* Whoever asked for it has gone away (^C), and v2 is left all the same: neither is what is answered to who comes later. */
Test(calloff, what_an_undo_that_waits_outdoes_is_refused)
{
	struct roll_request back = { .version = "" }, request = { .version = "v3" };

	serve_v1();
	roll("v2");
	is_started(&new);
	take_over(old, new);
	fake_parked(old);
	service_undo(web, &back, &second.asker);
	service_forget(&second.asker);
	asked_init(&onward);
	service_roll(web, &request, &onward.asker);
	was_answered(&onward, WIRE_EXIT_BUSY, "something else was asked of this roll");
	asked_init(&second);
	service_accept(web, &second.asker);
	was_answered(&second, WIRE_EXIT_BUSY, "something else was asked of this roll");
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	is_started(&third);
	cr_assert_str_eq(third->instance.version, "v1");
	abort_it();
	cr_assert(fake_reap(third));
}

/* The accept that is dropped was of somebody who has gone away; the pack goes on. */
Test(calloff, an_abort_of_what_waits_does_not_answer_who_asked_for_something_else)
{
	asked_init(&onward);
	place_write(&place, "web.conf", "[Service]\nExec=/bin/web-%v\nVersion=v1\nBake=60s\nRollback=parked\n");
	serve_v1();
	roll("v2");
	is_started(&new);
	take_over(old, new);
	fake_parked(old);
	service_accept(web, &second.asker);
	service_forget(&second.asker);
	service_pack(web, &onward.asker);
	abort_it();
	was_answered(&second, WIRE_EXIT_DONE, "was aborted");
	cr_assert_eq(onward.answers, 0, "%s", onward.text);
	fake_exit(old, 9);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	was_answered(&onward, WIRE_EXIT_DONE, "version v1 has left memory");
}

Test(calloff, the_version_that_bakes_is_not_rolled_to_again)
{
	struct roll_request request = { .version = "v2" };

	bake_v2();
	service_roll(web, &request, &second.asker);
	was_answered(&second, WIRE_EXIT_DONE, "web runs version v2 already");
}

/* ---- an answer belongs to the question it was asked for ---- */

static int nowhere(void)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

Test(calloff, a_late_answer_to_a_save_that_was_given_up_does_not_answer_the_next)
{
	uint64_t given_up;

	serve_v1();
	service_save(web, nowhere(), &first.asker);
	given_up = old->question;
	abort_it();
	was_answered(&first, WIRE_EXIT_ERROR, "was not saved");
	was_answered(&second, WIRE_EXIT_DONE, "the save was aborted");
	asked_init(&second);
	service_save(web, nowhere(), &second.asker);
	cr_assert_gt(old->question, given_up);
	old->question = given_up;
	fake_quiesced(old);
	fake_saved(old, 1, 0);
	fake_resumed(old);
	cr_assert_eq(second.answers, 0, "%s", second.text);
	old->question = given_up + 1;
	fake_quiesced(old);
	fake_saved(old, 2, 0);
	fake_resumed(old);
	was_answered(&second, WIRE_EXIT_DONE, "web is saved");
}
