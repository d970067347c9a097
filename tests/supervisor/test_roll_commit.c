/* SPDX-License-Identifier: MIT */
/* Around the commit: the commit word decides, whatever anybody says of it; and what is kept of old
 * afterwards. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

TestSuite(roll_commit, .timeout = 20);

#define MS USEC_PER_MSEC
#define S USEC_PER_SEC

static void begin(const char *unit)
{
	struct roll_options options;

	scene_set(unit);
	options = scene_options();
	scene_begin(&options);
}

/* ---- new takes the commit word and says nothing ---- */

static const enum roll_state before_commit[] = { ROLL_QUIESCE, ROLL_TRANSFER, ROLL_LOADING, ROLL_COMMIT };

#define EACH_BEFORE_COMMIT(state) \
	(const enum roll_state *state = before_commit; state < before_commit + 4; state++)

Test(roll_commit, that_nobody_spoke_of_is_found_when_the_roll_is_called_off)
{
	for EACH_BEFORE_COMMIT (state) {
		begin(NULL);
		scene_to(*state);
		cr_assert(commit_take(&scene.new->word, COMMIT_NEW));
		scene_pass(30 * MS);
		scene_forget();
		roll_cancel(scene.roll);
		assert_state(ROLL_PARK);
		cr_assert_str_eq(scene.heard, "old:park", "nobody is killed, and old is not told to go on");
		cr_assert_eq(roll_record(scene.roll)->commit_us, scene.now_us);
		cr_assert_eq(roll_report(scene.roll)->wire.pause_us, 30 * MS);
		cr_assert_str_eq(roll_report(scene.roll)->cause.text, "", "nothing went wrong in the end");
		cr_assert_eq(scene.commits, 1);
		scene_go_well();
		assert_outcome(ROLL_IS_DONE);
		cr_assert_eq(scene.serves, &scene.new->instance);
		scene_clear();
	}
}

Test(roll_commit, that_nobody_spoke_of_is_found_at_the_deadline)
{
	begin(NULL);
	scene_to(ROLL_COMMIT);
	cr_assert(commit_take(&scene.new->word, COMMIT_NEW));
	scene_pass(5 * S);
	assert_state(ROLL_PARK);
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

/* What it says too early is not heard; the commit word is asked when it counts. */
Test(roll_commit, that_was_told_too_early_counts_when_it_is_settled)
{
	begin(NULL);
	scene_to(ROLL_LOADING);
	cr_assert(fake_commit(scene.new));
	assert_state(ROLL_LOADING);
	fake_refused(scene.new, "too late to refuse");
	assert_state(ROLL_PARK);
	scene_clear();
}

/* Its refusal comes first, and its end after it: it has served all the same, for a moment. */
Test(roll_commit, by_a_version_that_is_ending_leads_to_the_way_back_when_its_end_is_told)
{
	begin(NULL);
	scene_to(ROLL_COMMIT);
	cr_assert(commit_take(&scene.new->word, COMMIT_NEW));
	fake_begin_exit(scene.new, SIGSEGV);
	scene_forget();
	fake_refused(scene.new, "its last words");
	assert_state(ROLL_PARK);
	cr_assert_str_eq(scene.heard, "old:park");
	cr_assert_eq(scene.commits, 0, "nobody is told of a version that serves");
	cr_assert_null(roll_health(scene.roll));
	fake_end_exit(scene.new);
	assert_state(ROLL_RESUME);
	scene_go_well();
	assert_outcome(ROLL_IS_BACK_PARKED);
	scene_clear();
}

Test(roll_commit, by_a_version_that_is_ending_without_a_way_back_starts_empty)
{
	begin("Rollback=none\n");
	scene_to(ROLL_COMMIT);
	cr_assert(commit_take(&scene.new->word, COMMIT_NEW));
	fake_begin_exit(scene.new, SIGSEGV);
	fake_refused(scene.new, "its last words");
	assert_state(ROLL_PARK);
	fake_end_exit(scene.new);
	assert_state(ROLL_RETREAT);
	scene_go_well();
	assert_outcome(ROLL_IS_COLD);
	scene_clear();
}

/* ---- the word names ABORTED ---- */

Test(roll_commit, is_not_possible_any_more_once_old_took_the_word_back)
{
	begin(NULL);
	scene_to(ROLL_COMMIT);
	cr_assert(commit_take(&scene.old->word, COMMIT_ABORTED));
	cr_assert_not(fake_commit(scene.new));
	assert_state(ROLL_COMMIT);
	fake_resumed(scene.old);
	assert_state(ROLL_ABORT);
	scene_reap();
	assert_outcome(ROLL_IS_ABORTED);
	cr_assert_eq(scene.serves, &scene.old->instance);
	scene_clear();
}

Test(roll_commit, is_not_possible_any_more_once_the_roll_was_called_off)
{
	for EACH_BEFORE_COMMIT (state) {
		begin(NULL);
		scene_to(*state);
		roll_cancel(scene.roll);
		cr_assert_eq(commit_owner(&scene.old->word), COMMIT_ABORTED);
		cr_assert_not(commit_take(&scene.new->word, COMMIT_NEW));
		scene_clear();
	}
}

/* ---- when ---- */

Test(roll_commit, has_the_time_that_new_gives_if_that_can_be)
{
	/* From the beginning of the pause; new says so 20 ms after it. */
	static const struct {
		int64_t says_us, counts_us;
	} all[] = { { 0, 0 }, { 7000, 7000 }, { 20000, 20000 }, { -1, 20000 }, { 20001, 20000 } };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		uint64_t began;

		begin(NULL);
		scene_to(ROLL_COMMIT);
		began = roll_record(scene.roll)->prepared_us;
		cr_assert_eq(began, scene.now_us);
		scene_pass(20 * MS);
		cr_assert(commit_take(&scene.new->word, COMMIT_NEW));
		fake_committed_at(scene.new, began + (uint64_t)all[i].says_us);
		assert_state(ROLL_PARK);
		cr_assert_eq(roll_report(scene.roll)->wire.commit_us, began + (uint64_t)all[i].counts_us, "%zu", i);
		cr_assert_eq(roll_report(scene.roll)->wire.pause_us, (uint64_t)all[i].counts_us, "%zu", i);
		scene_clear();
	}
}

/* ---- what is kept of old ---- */

struct kept {
	const char *unit, *heard, *rungs;
	size_t in_custody;
	unsigned images;
};

static void check_kept(const struct kept *kept)
{
	char watches[100];

	begin(kept->unit);
	scene_to(ROLL_COMMIT);
	scene_forget();
	cr_assert(fake_commit(scene.new));
	if (scene.old)
		fake_parked(scene.old);
	if (fake_imaging.job)
		fake_imaging_done(0, fake_imaging.leave_running ? CRIU_TARGET_RUNNING : CRIU_TARGET_GONE);
	assert_state(ROLL_BAKE);
	cr_assert_str_eq(scene.heard, kept->heard, "%s: %s", kept->unit, scene.heard);
	cr_assert_str_eq(rungs_text(roll_report(scene.roll)->rungs), kept->rungs, "%s", kept->unit);
	cr_assert_eq(roll_descriptors(scene.roll), kept->in_custody, "%s", kept->unit);
	cr_assert_eq(fake_imaging.taken, kept->images, "%s", kept->unit);
	snprintf(watches, sizeof(watches), "way back: %s\n", kept->rungs);
	cr_assert(scene_said(watches));
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_str_eq(rungs_text(scene.report.rungs), kept->rungs, "%s: the report tells what there was", kept->unit);
	cr_assert_eq(scene.left_image, kept->images != 0, "%s", kept->unit);
	scene_clear();
}

Test(roll_commit, keeps_of_old_what_rollback_says)
{
	static const struct kept all[] = {
		{ "Rollback=auto\n", "old:park", "parked+image", 2, 1 },
		{ "Rollback=parked\n", "old:park", "parked", 2, 0 },
		{ "Rollback=image\n", "old:park", "image", 2, 1 },
		{ "Rollback=none\n", "old:SIGKILL new:baked", "none", 0, 0 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		check_kept(&all[i]);
}

/* All it had is in new by then, so nothing but a way back is lost. */
Test(roll_commit, goes_on_without_an_old_that_died_when_all_was_saved)
{
	begin(NULL);
	scene_to(ROLL_LOADING);
	fake_exit(scene.old, SIGSEGV);
	fake_loaded(scene.new, 10, 2);
	scene_forget();
	cr_assert(fake_commit(scene.new));
	assert_state(ROLL_BAKE);
	cr_assert_null(scene.old, "nobody needs what is left of it");
	cr_assert_str_eq(scene.heard, "new:baked");
	cr_assert_str_eq(scene.said, "commit, new: version v2 serves; the pause was 0.000 ms\n"
				     "bake, new: watching version v2 for 60000 ms; way back: none\n");
	cr_assert_eq(roll_descriptors(scene.roll), 0);
	scene_clear();
}

Test(roll_commit, is_when_the_watch_over_new_begins)
{
	begin(NULL);
	scene_to(ROLL_COMMIT);
	cr_assert_not(fake_heard(scene.new, UPGRADED__WIRE__APP_MESSAGE__BODY_PING));
	cr_assert(fake_commit(scene.new));
	scene_pass(1);
	cr_assert_eq(fake_heard_times(scene.new, UPGRADED__WIRE__APP_MESSAGE__BODY_PING), 1);
	scene_pass(3 * S);
	cr_assert_eq(fake_heard_times(scene.new, UPGRADED__WIRE__APP_MESSAGE__BODY_PING), 4);
	scene_clear();
}

/* ---- who is the first to go when memory is short ---- */

static void begin_with_victim(void)
{
	begin(NULL);
	scene.new->instance.victim.is_first = true; /* as origin_start_aside() has it */
}

Test(roll_commit, makes_the_parked_version_the_victim_and_spares_the_new_one)
{
	for EACH_BEFORE_COMMIT (state) {
		begin_with_victim();
		scene_to(*state);
		cr_assert(scene.new->instance.victim.is_first && !scene.old->instance.victim.is_first);
		scene_clear();
	}
	begin_with_victim();
	scene_to(ROLL_PARK);
	cr_assert(!scene.new->instance.victim.is_first && scene.old->instance.victim.is_first);
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	cr_assert_not(scene.serves->victim.is_first);
	scene_clear();
}

Test(roll_commit, that_is_gone_back_from_spares_the_version_that_serves_again)
{
	begin_with_victim();
	scene_to(ROLL_BAKE);
	fake_exit(scene.new, SIGSEGV);
	assert_state(ROLL_RESUME);
	cr_assert_not(scene.old->instance.victim.is_first, "before it serves");
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
	scene_clear();
}

Test(roll_commit, that_never_comes_leaves_the_version_that_serves_as_it_was)
{
	begin_with_victim();
	scene_to(ROLL_LOADING);
	roll_cancel(scene.roll);
	cr_assert_not(scene.old->instance.victim.is_first);
	scene_clear();
}
