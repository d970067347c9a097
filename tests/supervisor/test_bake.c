/* SPDX-License-Identifier: MIT */
/* How a bake ends: with proof, by order, or onward to the next version. And what bounds a start. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

static void set_up(void)
{
	scene_set(NULL);
}

TestSuite(bake, .timeout = 20, .init = set_up, .fini = scene_clear);

static void begin_at(enum roll_state state)
{
	struct roll_options options = scene_options();

	scene_begin(&options);
	scene_to(state);
}

static void answer(void)
{
	fake_pong(scene.new);
	cr_assert_eq(loop_turn(scene.loop, 0), 0);
}

static void wait_a_moment(void)
{
	cr_assert_eq(loop_turn(scene.loop, 0), 0);
}

/* ---- with proof ---- */

Test(bake, of_a_stopped_version_does_not_end_well_however_short_it_is)
{
	struct roll_options options = scene_options();

	options.bake_us = 600 * USEC_PER_MSEC;
	scene_begin(&options);
	scene_to(ROLL_BAKE);
	answer();
	scene_be_silent(30 * USEC_PER_SEC);
	assert_state(ROLL_RETREAT);
	cr_assert(strstr(roll_report(scene.roll)->cause.text, "not every thread passes its update point"));
	scene_reap();
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
}

Test(bake, of_a_version_that_answers_ends_when_its_time_is_over)
{
	begin_at(ROLL_BAKE);
	scene_pass(scene.unit->bake_us - USEC_PER_SEC);
	assert_state(ROLL_BAKE);
	scene_pass(2 * USEC_PER_SEC);
	assert_outcome(ROLL_IS_DONE);
}

/* ---- a version that answers nobody ---- */

/* @answered: old has answered clients. */
static void bake_after(bool answered)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Traffic traffic = UPGRADED__WIRE__TRAFFIC__INIT;
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);

	begin_at(ROLL_TRANSFER);
	totals.records = totals.digest_lo = 10;
	totals.payload_bytes = 1000;
	traffic.answered = answered;
	saved.totals = &totals;
	saved.traffic = &traffic;
	saved.fds = 2;
	fake_say(scene.old, &message);
	fake_loaded(scene.new, 10, 2);
	cr_assert(fake_commit(scene.new));
	fake_parked(scene.old);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_BAKE);
}

Test(bake, of_a_version_that_answers_nobody_leads_back_with_all_state)
{
	bake_after(true);
	fake_traffic(scene.new, 6, false);
	scene_pass(scene.unit->bake_us + USEC_PER_SEC);
	assert_state(ROLL_BACKWARD);
	cr_assert(strstr(roll_report(scene.roll)->cause.text, "has answered none of 6 clients"), "%s",
		  roll_report(scene.roll)->cause.text);
}

Test(bake, of_a_version_that_answers_somebody_ends_well)
{
	bake_after(true);
	fake_traffic(scene.new, 6, true);
	scene_pass(scene.unit->bake_us + USEC_PER_SEC);
	assert_outcome(ROLL_IS_DONE);
}

Test(bake, of_a_version_whose_predecessor_answered_nobody_either_ends_well)
{
	bake_after(false);
	fake_traffic(scene.new, 6, false);
	scene_pass(scene.unit->bake_us + USEC_PER_SEC);
	assert_outcome(ROLL_IS_DONE);
}

Test(bake, two_clients_without_an_answer_prove_nothing)
{
	bake_after(true);
	fake_traffic(scene.new, 2, false);
	scene_pass(scene.unit->bake_us + USEC_PER_SEC);
	assert_outcome(ROLL_IS_DONE);
}

Test(bake, by_order_ends_well_whether_or_not_clients_are_answered)
{
	bake_after(true);
	fake_traffic(scene.new, 6, false);
	roll_accept(scene.roll);
	wait_a_moment();
	answer();
	assert_outcome(ROLL_IS_DONE);
}

Test(bake, looks_at_no_answers_where_the_service_file_says_so)
{
	scene_clear();
	scene_set("HealthAnswers=no\n");
	bake_after(true);
	fake_traffic(scene.new, 6, false);
	scene_pass(scene.unit->bake_us + USEC_PER_SEC);
	assert_outcome(ROLL_IS_DONE);
}

/* ---- by order ---- */

Test(bake, ends_by_order_with_the_next_sign_of_life)
{
	begin_at(ROLL_BAKE);
	roll_accept(scene.roll);
	wait_a_moment();
	assert_state(ROLL_BAKE);
	answer();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_str_eq(scene.serves->version, "v2");
}

Test(bake, by_order_does_not_end_without_one)
{
	begin_at(ROLL_BAKE);
	roll_accept(scene.roll);
	scene_be_silent(30 * USEC_PER_SEC);
	assert_state(ROLL_RETREAT);
}

Test(bake, an_order_that_came_before_it_is_remembered)
{
	static const enum roll_state before[] = { ROLL_PARK, ROLL_IMAGE, ROLL_PACK };

	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		begin_at(before[i]);
		cr_assert(roll_may_accept(scene.roll));
		roll_accept(scene.roll);
		assert_state(before[i]);
		if (before[i] == ROLL_PARK)
			fake_parked(scene.old);
		fake_imaging_done(-5, CRIU_TARGET_RUNNING);
		wait_a_moment();
		answer();
		assert_outcome(ROLL_IS_DONE);
		graveyard_bury(&scene.graveyard, scene.serves);
		scene.serves = NULL;
		fake_imaging_reset();
	}
}

Test(bake, an_order_that_waits_can_be_taken_back)
{
	begin_at(ROLL_IMAGE);
	roll_onward(scene.roll);
	cr_assert(roll_drop_wish(scene.roll));
	cr_assert_not(roll_drop_wish(scene.roll));
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_state(ROLL_BAKE);
}

Test(bake, a_stop_that_came_before_it_ends_it_at_once)
{
	begin_at(ROLL_IMAGE);
	roll_cancel(scene.roll);
	assert_state(ROLL_IMAGE);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_outcome(ROLL_IS_DONE);
}

/* ---- onward ---- */

Test(bake, is_over_when_a_third_version_has_taken_over)
{
	struct instance *lent;

	begin_at(ROLL_ONWARD);
	lent = scene.lent;
	cr_assert_not_null(lent);
	cr_assert_eq(instance_is_alive(&scene.old->instance), true, "the way back until then");
	scene.lent = NULL;
	graveyard_bury(&scene.graveyard, lent);
	roll_turned(scene.roll);
	assert_outcome(ROLL_IS_DONE);
	cr_assert_eq(scene.ended_in, ROLL_PASSED);
	cr_assert_null(scene.serves);
	cr_assert(scene.left_image);
}

Test(bake, goes_on_when_the_third_version_was_called_off)
{
	struct instance *lent;
	struct why why = { .text = "it refused" };

	begin_at(ROLL_ONWARD);
	lent = scene.lent;
	scene.lent = NULL;
	roll_return_new(scene.roll, lent, &why);
	assert_state(ROLL_BAKE);
	cr_assert_eq(roll_record(scene.roll)->trust, TRUST_PROBATION, "nobody tried to leave it");
	scene_pass(scene.unit->bake_us + USEC_PER_SEC);
	assert_outcome(ROLL_IS_DONE);
}

Test(bake, leads_back_to_the_first_version_when_the_second_is_lost_on_the_way_to_the_third)
{
	struct why why = { .text = "both are gone" };

	begin_at(ROLL_ONWARD);
	fake_exit(scene.new, SIGKILL); /* the other roll has ended it */
	graveyard_bury(&scene.graveyard, scene.lent);
	scene.lent = NULL;
	roll_lose_new(scene.roll, &why);
	assert_state(ROLL_RESUME);
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
}

/* ---- a start has an end ---- */

Test(bake, a_version_that_gets_on_for_ever_is_refused_in_the_end)
{
	begin_at(ROLL_STANDBY);
	fake_hello(scene.new, 2, true);
	for (unsigned i = 0; i < 300 && scene.roll; i++) {
		if (instance_is_alive(&scene.new->instance))
			fake_progress(scene.new, "reading the catalogue");
		scene_be_silent(USEC_PER_SEC);
		scene_reap();
	}
	assert_outcome(ROLL_IS_REFUSED);
	cr_assert(strstr(scene.report.cause.text, "100000 ms (StartTimeoutMax=)"), "%s", scene.report.cause.text);
}

/* ---- an answer belongs to the question it was asked for ---- */

Test(bake, a_late_answer_to_an_earlier_prepare_does_not_move_the_roll)
{
	begin_at(ROLL_QUIESCE);
	fake_not_yet(scene.old);
	scene_pass(20 * USEC_PER_MSEC);
	cr_assert_eq(scene.old->question, 2, "asked again");
	scene.old->question = 1;
	fake_quiesced(scene.old);
	fake_refused(scene.old, "of long ago");
	assert_state(ROLL_QUIESCE);
	scene.old->question = 3; /* not asked yet */
	fake_quiesced(scene.old);
	assert_state(ROLL_QUIESCE);
	scene.old->question = 2;
	fake_quiesced(scene.old);
	assert_state(ROLL_TRANSFER);
}

Test(bake, an_older_library_answers_without_a_number)
{
	begin_at(ROLL_QUIESCE);
	scene.old->question = 0;
	fake_quiesced(scene.old);
	assert_state(ROLL_TRANSFER);
}
