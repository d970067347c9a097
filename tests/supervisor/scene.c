/* SPDX-License-Identifier: MIT */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GENERATION 77u
#define STEP_US (10 * USEC_PER_MSEC)

struct scene scene;

/* ---- the owner ---- */

static void on_progress(struct roll *roll, const char *phase, pid_t pid, const char *text)
{
	char line[400];
	size_t n = strlen(scene.said);

	(void)roll;
	(void)pid;
	scene.progresses++;
	snprintf(line, sizeof(line), "%s: %s\n", phase, text);
	if (n + strlen(line) + 1 > sizeof(scene.said)) {
		memmove(scene.said, scene.said + sizeof(scene.said) / 2, sizeof(scene.said) - sizeof(scene.said) / 2);
		n = strlen(scene.said);
	}
	snprintf(scene.said + n, sizeof(scene.said) - n, "%s", line);
}

static void on_commit(struct roll *roll)
{
	(void)roll;
	scene.commits++;
}

static void on_lent_exit(struct instance *instance)
{
	(void)instance; /* the test says what comes of it */
}

static void on_lent_garbage(struct instance *instance, const char *reason)
{
	(void)instance;
	(void)reason;
}

static void on_lent_message(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	(void)instance;
	roll_hear_aside(scene.roll, message, fds);
}

static void ignore_message(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	(void)instance;
	(void)message;
	(void)fds;
}

/* Who serves after the roll is the test's. */
static const struct instance_events serving_events = {
	.on_message = ignore_message, .on_garbage = on_lent_garbage, .on_exit = on_lent_exit
};
static const struct instance_events lent_events = {
	.on_message = on_lent_message, .on_garbage = on_lent_garbage, .on_exit = on_lent_exit
};

static void on_backward(struct roll *roll)
{
	scene.lent = roll_lend_new(roll);
	instance_own(scene.lent, &lent_events, NULL);
}

static void on_imaged(struct roll *roll)
{
	cr_assert_neq(roll_image_generation(roll), 0);
}

static void on_packed(struct roll *roll, const char *failure)
{
	(void)roll;
	scene.packs++;
	scene.pack_failed = failure;
}

static int start_empty(struct roll *roll, const char *version, struct instance **ret_instance, struct why *why)
{
	(void)roll;
	if (scene.cold_refused)
		return why_set(why, -2, "version %s: no such file", version);
	fake_watch(fake_new("web", version), &scene.cold);
	*ret_instance = &scene.cold->instance;
	return 0;
}

static void on_end(struct roll *roll)
{
	struct image *image;

	scene.ended_in = roll_record(roll)->state;
	scene.report = *roll_report(roll);
	scene.serves = roll_take_serving(roll);
	if (scene.serves)
		instance_own(scene.serves, &serving_events, NULL);
	image = roll_take_image(roll);
	scene.left_image = image;
	image_free(image);
	if (roll_may_undo(roll))
		cr_assert_fail("a roll that is over can be undone");
	scene.roll = NULL;
	if (fake_imaging.job && fake_imaging.job->owner == roll)
		fake_imaging.job = NULL;
	roll_free(roll);
}

static const struct roll_events events = {
	.on_progress = on_progress, .on_commit = on_commit, .on_backward = on_backward, .on_imaged = on_imaged,
	.on_packed = on_packed, 	.start_empty = start_empty, .on_end = on_end
};

/* ---- begin and end ---- */

void scene_set(const char *more)
{
	char text[2048];
	struct why why = { 0 };

	memset(&scene, 0, sizeof(scene));
	scene.now_us = 1000 * USEC_PER_SEC;
	clock_fake(&scene.now_us);
	fake_imaging_reset();
	cr_assert_eq(loop_new(&scene.loop, &why), 0);
	snprintf(text, sizeof(text), "%s%s", SCENE_UNIT, more ? more : "");
	cr_assert_eq(unit_parse("web", "web.conf", text, &scene.unit, &why), 0, "%s", why.text);
	scene.site = (struct roll_site){
		.loop = scene.loop, .criu_path = "criu", .images_root = "/nonexistent/images", .imaging = &imaging_fake,
		.graveyard = &scene.graveyard
	};
}

static void drop(struct instance *instance)
{
	if (instance)
		graveyard_bury(&scene.graveyard, instance);
}

void scene_clear(void)
{
	roll_free(scene.roll);
	drop(scene.serves);
	drop(scene.lent);
	graveyard_done(&scene.graveyard);
	unit_free(scene.unit);
	roll_word_drop(scene.word);
	loop_free(scene.loop);
	clock_fake(NULL);
	cr_assert_eq(scene.site.counts.misfits, 0, "an event had no cell; see the log");
}

struct roll_options scene_options(void)
{
	return (struct roll_options){
		.rollback = scene.unit->rollback, .verify = scene.unit->verify, .bake_us = scene.unit->bake_us,
		.purpose = PURPOSE_FORWARD
	};
}

void scene_begin(const struct roll_options *options)
{
	struct roll_options whole = *options;
	struct fake *old = fake_new("web", "v1"), *new = fake_new("web", "v2");
	static const struct instance_events nobody;
	struct why why = { 0 };

	roll_word_drop(scene.word);
	cr_assert_eq(roll_word_new(GENERATION, &scene.word, &why), 0, "%s", why.text);
	whole.version = "v2";
	whole.generation = GENERATION;
	whole.word = scene.word;
	fake_watch(old, &scene.old);
	fake_watch(new, &scene.new);
	instance_own(&old->instance, &nobody, NULL);
	fake_hello(old, 1, false);
	cr_assert_eq(roll_start(&scene.site, scene.unit, &whole, &old->instance, &new->instance, &events, &scene, &scene.roll,
				&why),
		     0);
}

enum roll_state scene_state(void)
{
	return scene.roll ? roll_record(scene.roll)->state : scene.ended_in;
}

/* ---- along the good way ---- */

static void stand_by(void)
{
	fake_hello(scene.new, 2, true);
	fake_standby(scene.new);
}

static void transfer(void)
{
	fake_quiesced(scene.old);
	fake_hand_over(scene.old, 2, true);
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

static void step(uint64_t us)
{
	scene.now_us += us;
	turn();
}

void scene_pass(uint64_t us)
{
	uint64_t until = scene.now_us + us;

	while (scene.roll && scene.now_us < until) {
		const struct instance *new = roll_new(scene.roll);

		if (new && scene.new && new == &scene.new->instance && instance_is_alive(new) &&
		    fake_heard_last(scene.new) == UPGRADED__WIRE__APP_MESSAGE__BODY_PING)
			fake_pong(scene.new);
		step(STEP_US);
	}
}

void scene_be_silent(uint64_t us)
{
	enum roll_state before = scene_state();
	uint64_t until = scene.now_us + us;

	while (scene.roll && scene.now_us < until && scene_state() == before)
		step(STEP_US);
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

void scene_conclude(void)
{
	for (unsigned i = 0; scene.roll && i < 64; i++) {
		cr_assert(scene_is_bounded(), "%s: nothing ends it", roll_state_name(scene_state()));
		if (scene.lent)
			return;
		if (fake_imaging.job)
			fake_imaging_done(-5, CRIU_TARGET_RUNNING);
		scene_reap();
		if (scene.roll)
			scene_be_silent(200 * USEC_PER_SEC);
	}
	cr_assert_null(scene.roll, "it does not end: %s", roll_state_name(scene_state()));
}

bool scene_said(const char *text)
{
	return strstr(scene.said, text);
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
		return health && (health->concluding || health->verdict);
	case ROLL_BACKWARD:
	case ROLL_ONWARD:
		return scene.lent;
	default:
		return false;
	}
}
