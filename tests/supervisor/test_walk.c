/* SPDX-License-Identifier: MIT */
/* A seeded random walk over the machine and its hands, with fake ends that do whatever processes can do, in any order: nothing that
 * happens is without a cell, and no state is left without something that ends it. UPG_WALK_SEED=n walks another way. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(walk, .timeout = 60);

#define EVENTS 100000u
#define SEED 20261128u

static uint64_t random_state;

/* xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016. */
static uint32_t dice(uint32_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * UINT64_C(2685821657736338717)) >> 33) % n;
}

static bool lives(const struct fake *fake)
{
	return fake && fake->instance.life == INSTANCE_RUNS;
}

/* ---- what the parties may do, sensible or not ---- */

static void say_anything(struct fake *fake)
{
	uint64_t records = 10 + (dice(8) == 0);

	switch (dice(17)) {
	case 0:
		fake_hello(fake, fake == scene.old ? 1 : 1 + dice(2), dice(2));
		break;
	case 1:
		fake_standby(fake);
		break;
	case 2:
		fake_ready(fake);
		break;
	case 3:
		fake_quiesced(fake);
		break;
	case 4:
		fake_not_yet(fake);
		break;
	case 5:
		fake_refused(fake, "because");
		break;
	case 6:
		fake_saved(fake, records, 2);
		break;
	case 7:
		fake_loaded(fake, records, 2);
		break;
	case 8:
		fake_committed(fake);
		break;
	case 9:
		if (fake != scene.old)
			fake_commit(fake);
		break;
	case 10:
		fake_parked(fake);
		break;
	case 11:
		fake_resumed(fake);
		break;
	case 12:
		fake_pong(fake);
		break;
	case 13:
		fake_progress(fake, "half");
		break;
	case 14:
		fake_hand_over(fake, dice(3), dice(2));
		break;
	case 15:
		fake_garbage(fake, "no such message");
		break;
	default:
		/* Old's own deadline has passed: it takes the commit word back and serves. */
		if (fake == scene.old && fake->word.word && commit_take(&fake->word, COMMIT_ABORTED))
			fake_resumed(fake);
		break;
	}
}

/* What a well-behaved process would say now, so that the walk comes as far as the end of a bake, too. */
static void say_the_right_thing(void)
{
	switch ((int)scene_state()) {
	case ROLL_STANDBY:
		if (lives(scene.new) && !scene.new->instance.hello)
			fake_hello(scene.new, 2, true);
		else if (lives(scene.new))
			fake_standby(scene.new);
		break;
	case ROLL_QUIESCE:
		if (lives(scene.old))
			fake_quiesced(scene.old);
		break;
	case ROLL_TRANSFER:
		if (lives(scene.old))
			fake_saved(scene.old, 10, 2);
		break;
	case ROLL_LOADING:
		if (lives(scene.new))
			fake_loaded(scene.new, 10, 2);
		break;
	case ROLL_COMMIT:
		if (lives(scene.new))
			fake_commit(scene.new);
		break;
	case ROLL_PARK:
		if (lives(scene.old))
			fake_parked(scene.old);
		break;
	case ROLL_ABORT:
	case ROLL_RESUME:
		if (lives(scene.old))
			fake_resumed(scene.old);
		break;
	case ROLL_COLD:
		if (lives(scene.cold))
			fake_ready(scene.cold);
		break;
	default:
		break;
	}
}

static void image_anything(void)
{
	static const enum criu_target targets[] = { CRIU_TARGET_RUNNING, CRIU_TARGET_STOPPED, CRIU_TARGET_GONE };

	if (fake_imaging.job && dice(2))
		fake_imaging_done(0, fake_imaging.leave_running ? CRIU_TARGET_RUNNING : CRIU_TARGET_GONE);
	else if (fake_imaging.job)
		fake_imaging_done(-5, targets[dice(3)]);
}

static void be_the_operator(void)
{
	switch (dice(9)) {
	case 0:
		roll_cancel(scene.roll);
		break;
	case 1:
		if (roll_may_undo(scene.roll))
			roll_undo(scene.roll);
		break;
	case 2:
		(void)roll_give_up(scene.roll, dice(2) ? ROLL_RUNG_PARKED : ROLL_RUNG_IMAGE, NULL);
		break;
	case 3:
		(void)roll_pack(scene.roll, NULL);
		break;
	case 4:
		if (roll_may_accept(scene.roll))
			roll_accept(scene.roll);
		break;
	case 5:
		if (roll_may_go_onward(scene.roll))
			roll_onward(scene.roll);
		break;
	case 6:
		(void)roll_drop_wish(scene.roll);
		break;
	default:
		break;
	}
}

/* The roll backward comes to an end of some kind. */
static void end_the_other_roll(void)
{
	struct instance *lent = scene.lent;
	struct why why = { .text = "it was called off" };

	if (!lent)
		return;
	scene.lent = NULL;
	switch (dice(3)) {
	case 0:
		graveyard_bury(&scene.graveyard, lent);
		roll_turned(scene.roll);
		break;
	case 1:
		roll_return_new(scene.roll, lent, &why);
		break;
	default:
		graveyard_bury(&scene.graveyard, lent);
		roll_lose_new(scene.roll, &why);
	}
}

static struct fake *somebody(void)
{
	struct fake *all[] = { scene.old, scene.new, scene.cold };
	struct fake *one = all[dice(3)];

	return lives(one) ? one : NULL;
}

/* It ends, and what it said before is heard first. */
static void end_with_last_words(struct fake *fake)
{
	fake_begin_exit(fake, dice(2) ? 0 : 11);
	for (uint32_t n = dice(4); n > 0; n--)
		say_anything(fake);
	fake_end_exit(fake);
}

static void happen(void)
{
	struct fake *one = somebody();
	uint32_t what = dice(100);

	if (what < 30)
		say_the_right_thing();
	else if (what < 60 && one)
		say_anything(one);
	else if (what < 72 && one)
		(void)fake_reap(one);
	else if (what < 76 && one)
		end_with_last_words(one);
	else if (what < 84)
		image_anything();
	else if (what < 88)
		be_the_operator();
	else if (what < 92)
		end_the_other_roll();
	else
		scene_pass(dice(4) ? dice(200 * 1000) : dice(30u * 1000 * 1000));
}

/* ---- one roll after the other ---- */

static void begin(void)
{
	struct roll_options options = scene_options();

	fake_imaging_reset();
	fake_imaging.has_obstacle = dice(16) == 0;
	fake_imaging.refuses = dice(16) == 0;
	fake_imaging.rung_is_bad = dice(8) == 0;
	fake_imaging.pids_wait = dice(4);
	options.rollback = (enum unit_rollback)dice(4);
	options.purpose = dice(4) ? PURPOSE_FORWARD : (enum roll_purpose)dice(4);
	options.require_image = dice(4) == 0;
	scene.cold_refused = dice(4) == 0;
	scene.site.criu_path = dice(8) ? "criu" : NULL;
	scene_begin(&options);
}

/* Whoever serves now belongs to the test, as do those it still holds. */
static void put_away(void)
{
	if (scene.serves)
		graveyard_bury(&scene.graveyard, scene.serves);
	if (scene.lent)
		graveyard_bury(&scene.graveyard, scene.lent);
	scene.serves = scene.lent = NULL;
	graveyard_done(&scene.graveyard);
}

static void check(void)
{
	enum roll_outcome outcome = scene.report.outcome;

	if (scene.roll) {
		cr_assert(scene_is_bounded(), "%s: nothing ends it; seed %llu", roll_state_name(scene_state()),
			  (unsigned long long)random_state);
		return;
	}
	cr_assert_neq(outcome, ROLL_IS_UNDER_WAY);
	cr_assert_eq(scene.serves != NULL,
		     outcome != ROLL_IS_FAILED && outcome != ROLL_IS_BACK_LIVE && scene.ended_in != ROLL_PASSED);
	/* Nobody was given up who had the only state: refused and aborted mean that old serves. */
	if (outcome == ROLL_IS_REFUSED || outcome == ROLL_IS_ABORTED)
		cr_assert_str_eq(scene.serves->version, "v1");
	if (outcome == ROLL_IS_DONE)
		cr_assert_eq(commit_owner(&scene.word->word), COMMIT_NEW);
	if (outcome == ROLL_IS_ABORTED)
		cr_assert_neq(commit_owner(&scene.word->word), COMMIT_NEW);
}

Test(walk, finds_no_event_without_a_cell_and_no_state_without_an_end)
{
	const char *seed = getenv("UPG_WALK_SEED");
	unsigned reached[ROLL_STATES] = { 0 }, rolls = 0;

	random_state = seed ? strtoull(seed, NULL, 10) + 1 : SEED;
	scene_set(NULL);
	log_set_level(LOG_LEVEL_ERROR); /* processes that misbehave are logged each time */
	while (scene.site.counts.steps < EVENTS) {
		begin();
		rolls++;
		while (scene.roll) {
			happen();
			reached[scene_state()]++;
			cr_assert_eq(scene.site.counts.misfits, 0, "an event had no cell; see the log");
			check();
		}
		put_away();
	}
	for (enum roll_state state = 0; state < ROLL_STATES; state++)
		cr_assert(reached[state] || state == ROLL_SETTLE, "%s was never reached in %u rolls", roll_state_name(state),
			  rolls);
	scene_clear();
}
