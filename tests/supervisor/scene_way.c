/* SPDX-License-Identifier: MIT */
/* The ways that a scene can go. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

#define STEP_US (50 * USEC_PER_MSEC)
#define A_WHILE_US (200 * USEC_PER_SEC)

/* ---- along the good way ---- */

static void stand_by(void)
{
	if (!scene.new->instance.hello)
		fake_hello(scene.new, 2, true);
	fake_standby(scene.new);
}

static void transfer(void)
{
	fake_quiesced(scene.old);
	scene.tag = fake_hand_over(scene.old, 2, true);
}

static void commit(void)
{
	fake_saved(scene.old, 10, 2);
	fake_loaded(scene.new, 10, 2);
}

static void bake(void)
{
	cr_assert(fake_commit(scene.new));
	fake_parked(scene.old);
	if (scene_state() == ROLL_IMAGE)
		fake_imaging_done(0, fake_imaging.leave_running ? CRIU_TARGET_RUNNING : CRIU_TARGET_GONE);
}

static void to_bake(void)
{
	stand_by();
	transfer();
	commit();
	bake();
	assert_state(ROLL_BAKE);
}

static void new_dies(void)
{
	fake_exit(scene.new, 11);
}

void scene_to(enum roll_state state)
{
	switch ((int)state) {
	case ROLL_STANDBY:
		break;
	case ROLL_DISMISS:
		fake_refused(scene.new, "not now");
		break;
	case ROLL_QUIESCE:
		stand_by();
		break;
	case ROLL_TRANSFER:
		stand_by();
		transfer();
		break;
	case ROLL_LOADING:
		stand_by();
		transfer();
		fake_saved(scene.old, 10, 2);
		break;
	case ROLL_COMMIT:
		stand_by();
		transfer();
		commit();
		break;
	case ROLL_ABORT:
		stand_by();
		transfer();
		roll_cancel(scene.roll);
		break;
	case ROLL_PARK:
		stand_by();
		transfer();
		commit();
		cr_assert(fake_commit(scene.new));
		break;
	case ROLL_IMAGE:
		scene_to(ROLL_PARK);
		fake_parked(scene.old);
		break;
	case ROLL_BAKE:
		to_bake();
		break;
	case ROLL_PACK:
		fake_imaging.refuses = true; /* otherwise there is an image already */
		to_bake();
		fake_imaging.refuses = false;
		cr_assert_eq(roll_pack(scene.roll, NULL), 0);
		break;
	case ROLL_BACKWARD:
		to_bake();
		roll_undo(scene.roll);
		break;
	case ROLL_ONWARD:
		to_bake();
		roll_onward(scene.roll);
		break;
	case ROLL_RETREAT:
		to_bake();
		fake_refused(scene.new, "I give up");
		break;
	case ROLL_RETREAT_IMAGING:
		scene_to(ROLL_IMAGE);
		new_dies();
		break;
	case ROLL_RESUME:
		to_bake();
		new_dies();
		break;
	case ROLL_RESTORE:
		to_bake();
		fake_exit(scene.old, 9);
		new_dies();
		break;
	case ROLL_COLD:
		scene_to(ROLL_RESTORE);
		fake_imaging_done(-5, CRIU_TARGET_RUNNING);
		break;
	default:
		cr_assert_fail("there is no way to %s here", roll_state_name(state));
	}
	assert_state(state);
}

/* ---- time ---- */

/* The loop has nothing to read, so a turn without waiting calls what is due and ends. */
static void turn(void)
{
	cr_assert_eq(loop_turn(scene.loop, 0), 0);
}

static uint64_t earlier(uint64_t due_us, const struct timer *timer)
{
	return timer->loop && timer->due_us < due_us ? timer->due_us : due_us;
}

/* To the next timer of the roll and of its health, or to @until. Its looks at memory and connections are found by steps. */
static void step(uint64_t until)
{
	const struct health *health = roll_health(scene.roll);
	uint64_t due = roll_due_us(scene.roll), next = scene.now_us + STEP_US;

	if (due && due < next)
		next = due;
	if (health)
		next = earlier(earlier(next, &health->ping), &health->tell);
	if (next > until)
		next = until;
	if (next > scene.now_us)
		scene.now_us = next;
	turn();
}

/* Return: was there a ping without an answer? */
static bool answer_ping(void)
{
	const struct instance *new = scene.roll ? roll_new(scene.roll) : NULL;
	const struct health *health = scene.roll ? roll_health(scene.roll) : NULL;

	if (!new || !health || !scene.new || new != &scene.new->instance || !instance_is_alive(new) ||
	    scene.new->nonce != health->nonce || health->answered_nonce == health->nonce)
		return false;
	scene.ponged_us = scene.now_us;
	fake_pong(scene.new);
	return true;
}

/* No time passes between a ping and its answer; that may be the one which a bake ends with. */
static void turn_and_answer(void)
{
	turn();
	while (answer_ping())
		turn();
}

void scene_pass(uint64_t us)
{
	uint64_t until = scene.now_us + us;

	turn_and_answer();
	while (scene.roll && scene.now_us < until) {
		step(until);
		turn_and_answer();
	}
}

void scene_be_silent(uint64_t us)
{
	enum roll_state before = scene_state();
	uint64_t until = scene.now_us + us;

	turn();
	while (scene.roll && scene.now_us < until && scene_state() == before)
		step(until);
}

/* ---- what must follow ---- */

static bool reap_one(void)
{
	struct fake *all[] = { scene.old, scene.new, scene.cold };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] && fake_reap(all[i]))
			return true;
	return false;
}

void scene_reap(void)
{
	while (reap_one())
		;
}

/* The roll backward has ended it, and nothing came of that. */
static void lose_lent(void)
{
	struct instance *lent = scene.lent;

	scene.lent = NULL;
	if (instance_is_alive(lent))
		fake_exit(fake_of(lent), SIGKILL);
	graveyard_bury(&scene.graveyard, lent);
	roll_lose_new(scene.roll, &(struct why){ .text = "it ended on the way back" });
}

void scene_conclude(void)
{
	for (unsigned i = 0; scene.roll && i < 64; i++) {
		cr_assert(scene_is_bounded(), "%s: nothing ends it", roll_state_name(scene_state()));
		if (scene.lent)
			lose_lent();
		if (fake_imaging.job)
			fake_imaging_done(-5, CRIU_TARGET_RUNNING);
		scene_reap();
		if (scene.roll)
			scene_be_silent(A_WHILE_US);
	}
	cr_assert_null(scene.roll, "it does not end: %s", roll_state_name(scene_state()));
}

/* ---- everybody does what they should ---- */

static bool lives(const struct fake *fake)
{
	return fake && fake->instance.life == INSTANCE_RUNS;
}

static void old_says_the_right_thing(enum roll_state state)
{
	if (!lives(scene.old) || scene.old->signal == SIGKILL)
		return;
	switch ((int)state) {
	case ROLL_QUIESCE:
		fake_quiesced(scene.old);
		break;
	case ROLL_TRANSFER:
		if (!roll_descriptors(scene.roll))
			scene.tag = fake_hand_over(scene.old, 2, true);
		fake_saved(scene.old, 10, 2);
		break;
	case ROLL_PARK:
		fake_parked(scene.old);
		break;
	case ROLL_ABORT:
	case ROLL_RESUME:
		fake_resumed(scene.old);
		break;
	default:
		break;
	}
}

static void new_says_the_right_thing(enum roll_state state)
{
	if (!lives(scene.new) || scene.new->signal == SIGKILL)
		return;
	switch ((int)state) {
	case ROLL_STANDBY:
		if (!scene.new->instance.hello)
			fake_hello(scene.new, 2, true);
		else
			fake_standby(scene.new);
		break;
	case ROLL_LOADING:
		fake_loaded(scene.new, 10, 2);
		break;
	case ROLL_COMMIT:
		fake_commit(scene.new);
		break;
	default:
		break;
	}
}

static void cold_says_the_right_thing(void)
{
	if (!lives(scene.cold) || scene.cold->signal == SIGKILL)
		return;
	if (!scene.cold->instance.hello)
		fake_hello(scene.cold, 1, false);
	else if (!fake_heard(scene.cold, UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME))
		fake_standby(scene.cold);
	else
		fake_ready(scene.cold);
}

void scene_say_the_right_thing(void)
{
	enum roll_state state = scene_state();

	old_says_the_right_thing(state);
	if (scene_state() == state)
		new_says_the_right_thing(state);
	if (scene_state() == ROLL_COLD && state == ROLL_COLD)
		cold_says_the_right_thing();
}

static void end_backward_well(void)
{
	struct instance *lent = scene.lent;

	scene.lent = NULL;
	graveyard_bury(&scene.graveyard, lent);
	roll_turned(scene.roll);
}

void scene_go_well(void)
{
	for (unsigned i = 0; scene.roll && i < 64; i++) {
		enum roll_state before = scene_state();

		if (fake_imaging.job)
			fake_imaging_done(0, fake_imaging.leave_running ? CRIU_TARGET_RUNNING : CRIU_TARGET_GONE);
		if (scene.roll && scene_state() == before)
			scene_say_the_right_thing();
		scene_reap();
		if (scene.roll && scene.lent)
			end_backward_well();
		if (scene.roll && scene_state() == before)
			scene_pass(scene_state() == ROLL_BAKE ? A_WHILE_US : 10 * USEC_PER_MSEC);
	}
	cr_assert_null(scene.roll, "it does not end although all goes well: %s", roll_state_name(scene_state()));
}

/* As struct health would do it, in a turn of the loop. */
void scene_judge(enum health_verdict verdict, const char *text)
{
	struct health *health = (struct health *)(uintptr_t)roll_health(scene.roll);

	snprintf(health->why.text, sizeof(health->why.text), "%s", text);
	health->verdict = verdict;
	health->on_verdict(health, verdict);
}

void scene_turn_down(const char *text)
{
	struct instance *lent = scene.lent;
	struct why why = { 0 };

	scene.lent = NULL;
	why_set(&why, 0, "%s", text);
	roll_return_new(scene.roll, lent, &why);
}

bool scene_is_bounded(void)
{
	const struct health *health = scene.roll ? roll_health(scene.roll) : NULL;

	if (!scene.roll || roll_due_us(scene.roll))
		return true;
	switch ((int)scene_state()) {
	case ROLL_IMAGE:
	case ROLL_PACK:
		return fake_imaging.job && !fake_imaging.restores;
	case ROLL_RESTORE:
		return fake_imaging.job && fake_imaging.restores;
	case ROLL_BAKE:
		return health && (health->concluding || health->verdict) && (health->ping.loop || health->tell.loop);
	case ROLL_BACKWARD:
	case ROLL_ONWARD:
		return scene.lent;
	default:
		return false;
	}
}
