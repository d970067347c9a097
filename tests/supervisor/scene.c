/* SPDX-License-Identifier: MIT */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GENERATION 77u

struct scene scene;

/* ---- what the ends hear ---- */

static const char *name_of(const struct fake *fake)
{
	if (fake == scene.old)
		return "old";
	return fake == scene.new ? "new" : "cold";
}

/* Old has the only state until new has committed, so nobody ends it before it has missed the deadline that it was told: to come to
 * rest, or to go on by itself. */
static void check_promise(const struct fake *old)
{
	const struct roll_record *record = scene.roll ? roll_record(scene.roll) : NULL;

	if (!record || record->commit_us || roll_is_over(record->state))
		return;
	cr_assert(old->quiesce_deadline_us, "old was never asked for anything, and killed");
	cr_assert_gt(scene.now_us, old->stands ? old->commit_deadline_us : old->quiesce_deadline_us,
		     "old was killed before its deadline");
}

static void check_resume(void)
{
	cr_assert(!scene.new || scene.new->instance.life == INSTANCE_ENDED, "old was told to resume beside a new that lives");
}

/* While another roll has new, nobody else talks to it; and old is the way back until that roll has committed. */
static void check_beside(const struct fake *fake, const char *what)
{
	if (!scene.roll || !scene.lent)
		return;
	cr_assert_neq(&fake->instance, scene.lent, "new was told something (%s) while another roll has it", what);
	cr_assert(fake != scene.old || strcmp(what, "SIGKILL") != 0, "old was killed, and is the way back of another roll");
}

static void on_heard(struct fake *fake, const char *what)
{
	size_t n = strlen(scene.heard);

	check_beside(fake, what);
	if (fake == scene.old && strcmp(what, "SIGKILL") == 0) {
		check_promise(fake);
		scene.old_killed_in = scene_state();
		scene.old_killed_us = scene.now_us;
	}
	if (fake == scene.old && strcmp(what, "resume") == 0)
		check_resume();
	if (strcmp(what, "ping") == 0)
		return;
	if (n + 40 > sizeof(scene.heard)) {
		memmove(scene.heard, scene.heard + sizeof(scene.heard) / 2, sizeof(scene.heard) - sizeof(scene.heard) / 2);
		n = strlen(scene.heard);
	}
	snprintf(scene.heard + n, sizeof(scene.heard) - n, "%s%s:%s", n ? " " : "", name_of(fake), what);
}

static struct fake *enter_fake(const char *version, struct fake **at, pid_t *ret_pid)
{
	struct fake *fake = fake_new("web", version);

	fake_watch(fake, at);
	fake->on_heard = on_heard;
	*ret_pid = fake->instance.pid;
	return fake;
}

/* ---- the owner ---- */

static const char *name_of_pid(pid_t pid)
{
	if (!pid)
		return "nobody";
	if (pid == scene.old_pid || pid == FAKE_IMAGE_PID)
		return "old";
	return pid == scene.new_pid ? "new" : "cold";
}

static void on_progress(struct roll *roll, const char *phase, pid_t pid, const char *text)
{
	char line[400];
	size_t n = strlen(scene.said);

	(void)roll;
	scene.progresses++;
	snprintf(line, sizeof(line), "%s, %s: %s\n", phase, name_of_pid(pid), text);
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
	snprintf(scene.pack_failure, sizeof(scene.pack_failure), "%s", failure ? failure : "");
}

static void on_aside(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	size_t n = strlen(scene.asides);

	(void)roll, (void)fds;
	snprintf(scene.asides + n, sizeof(scene.asides) - n, "%s%s", n ? " " : "", wire_app_name(message));
}

static int start_empty(struct roll *roll, const char *version, struct instance **ret_instance, struct why *why)
{
	(void)roll;
	if (scene.cold_refused)
		return why_set(why, -2, "version %s: no such file", version);
	*ret_instance = &enter_fake(version, &scene.cold, &scene.cold_pid)->instance;
	return 0;
}

static void on_end(struct roll *roll)
{
	struct image *image;

	scene.ended_in = roll_record(roll)->state;
	scene.report = *roll_report(roll);
	scene.record = *roll_record(roll);
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
	.on_packed = on_packed, .start_empty = start_empty, .on_end = on_end
};
static const struct roll_events events_with_aside = {
	.on_progress = on_progress, .on_commit = on_commit, .on_backward = on_backward, .on_imaged = on_imaged,
	.on_packed = on_packed, .start_empty = start_empty, .on_end = on_end, .on_aside = on_aside
};

/* ---- begin and end ---- */

void scene_set(const char *more)
{
	char text[2048];
	struct why why = { 0 };

	memset(&scene, 0, sizeof(scene));
	log_set_level(LOG_LEVEL_ERROR); /* what a roll says is in scene.said */
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
	struct roll *roll = scene.roll;

	scene.roll = NULL;
	roll_free(roll);
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
	struct fake *old = enter_fake("v1", &scene.old, &scene.old_pid), *new = enter_fake("v2", &scene.new, &scene.new_pid);
	static const struct instance_events nobody;
	struct why why = { 0 };

	roll_word_drop(scene.word);
	cr_assert_eq(roll_word_new(GENERATION, &scene.word, &why), 0, "%s", why.text);
	whole.version = "v2";
	whole.generation = GENERATION;
	whole.word = scene.word;
	old->knows_no_journal = scene.old_knows_no_journal;
	new->knows_no_journal = scene.new_knows_no_journal;
	scene.old_killed_us = 0;
	instance_own(&old->instance, &nobody, NULL);
	if (!scene.old_says_no_hello)
		fake_hello(old, 1, false);
	cr_assert_eq(roll_start(&scene.site, scene.unit, &whole, &old->instance, &new->instance,
				scene.hears_aside ? &events_with_aside : &events, &scene, &scene.roll, &why),
		     0);
}

enum roll_state scene_state(void)
{
	return scene.roll ? roll_record(scene.roll)->state : scene.ended_in;
}

void scene_forget(void)
{
	*scene.said = *scene.heard = 0;
}

bool scene_said(const char *text)
{
	return strstr(scene.said, text);
}

unsigned scene_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}
