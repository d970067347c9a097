/* SPDX-License-Identifier: MIT */
/* The supervisor's hold on a commit word, and rolls that share one. */
#include "tests/supervisor/scene.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>

TestSuite(roll_word, .timeout = 20);

static void begin(void)
{
	struct roll_options options;

	scene_set(NULL);
	options = scene_options();
	scene_begin(&options);
}

/* ---- its users ---- */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0 || errno != EBADF;
}

Test(roll_word, names_old_and_is_freed_by_its_last_user)
{
	struct roll_word *word = NULL;
	int fd;

	cr_assert_eq(roll_word_new(5, &word, NULL), 0);
	fd = word->fd->fd;
	cr_assert_eq(commit_owner(&word->word), COMMIT_OLD);
	cr_assert_eq(word->word.generation, 5);
	cr_assert_eq(roll_word_use(word), word);
	cr_assert_eq(roll_word_use(word), word);
	cr_assert_null(roll_word_drop(word));
	cr_assert_null(roll_word_drop(word));
	cr_assert(is_open(fd));
	cr_assert_null(roll_word_drop(word));
	cr_assert_not(is_open(fd));
	cr_assert_null(roll_word_drop(NULL));
}

Test(roll_word, is_used_by_a_roll_until_it_has_decided)
{
	begin();
	cr_assert_eq(scene.word->users, 2);
	scene_to(ROLL_COMMIT);
	cr_assert_eq(scene.word->users, 2);
	cr_assert(fake_commit(scene.new));
	cr_assert_eq(scene.word->users, 1, "after the commit nothing can change any more");
	scene_clear();
	begin();
	scene_to(ROLL_ABORT);
	cr_assert_eq(scene.word->users, 2);
	fake_resumed(scene.old);
	scene_reap();
	cr_assert_eq(scene.word->users, 1);
	scene_clear();
}

Test(roll_word, outlives_its_maker_while_a_roll_needs_it)
{
	int fd;

	begin();
	fd = scene.word->fd->fd;
	scene.word = roll_word_drop(scene.word);
	cr_assert(is_open(fd));
	scene_to(ROLL_COMMIT);
	cr_assert(fake_commit(scene.new));
	cr_assert_not(is_open(fd));
	scene_go_well();
	assert_outcome(ROLL_IS_DONE);
	scene_clear();
}

/* ---- a second roll beside that of the scene, with the same word ---- */

static struct {
	struct roll *roll;
	struct fake *old, *new;
	enum roll_outcome outcome;
	const char *serves; /* its version */
} beside;

static void on_progress(struct roll *roll, const char *phase, pid_t pid, const char *text)
{
	(void)roll, (void)phase, (void)pid, (void)text;
}

static void on_commit(struct roll *roll)
{
	(void)roll;
}

static void on_end(struct roll *roll)
{
	struct instance *serves = roll_take_serving(roll);

	beside.outcome = roll_report(roll)->outcome;
	beside.serves = serves && serves == &beside.new->instance ? "v2" : "v1";
	graveyard_bury(&scene.graveyard, serves);
	beside.roll = roll_free(roll);
}

static const struct roll_events events = { .on_progress = on_progress, .on_commit = on_commit, .on_end = on_end };

static void begin_both(void)
{
	struct roll_options options;
	static const struct instance_events nobody;

	begin();
	options = scene_options();
	options.rollback = ROLLBACK_PARKED;
	options.version = "v2";
	options.generation = scene.word->word.generation;
	options.word = scene.word;
	beside.outcome = ROLL_IS_UNDER_WAY;
	fake_watch(fake_new("db", "v1"), &beside.old);
	fake_watch(fake_new("db", "v2"), &beside.new);
	instance_own(&beside.old->instance, &nobody, NULL);
	fake_hello(beside.old, 1, false);
	cr_assert_eq(roll_start(&scene.site, scene.unit, &options, &beside.old->instance, &beside.new->instance, &events, NULL,
				&beside.roll, NULL),
		     0);
	fake_hello(beside.new, 2, true);
	fake_standby(beside.new);
	fake_quiesced(beside.old);
	fake_saved(beside.old, 3, 0);
	fake_loaded(beside.new, 3, 0);
	cr_assert_eq(roll_record(beside.roll)->state, ROLL_COMMIT);
	scene_to(ROLL_COMMIT);
	cr_assert_eq(scene.word->users, 3);
}

static void clear_both(void)
{
	roll_free(beside.roll);
	beside.roll = NULL;
	scene_clear();
}

Test(roll_word, that_two_rolls_share_commits_both)
{
	begin_both();
	cr_assert(fake_commit(scene.new));
	assert_state(ROLL_PARK);
	cr_assert_eq(scene.word->users, 2, "the other one needs it still");
	cr_assert(fake_commit(beside.new));
	cr_assert_eq(roll_record(beside.roll)->state, ROLL_PARK);
	cr_assert_eq(scene.word->users, 1);
	clear_both();
}

Test(roll_word, that_two_rolls_share_aborts_both)
{
	begin_both();
	roll_cancel(scene.roll);
	fake_resumed(scene.old);
	scene_reap();
	assert_outcome(ROLL_IS_ABORTED);
	cr_assert_eq(scene.word->users, 2);
	cr_assert_not(fake_commit(beside.new));
	fake_refused(beside.new, "the roll was aborted");
	fake_resumed(beside.old);
	fake_reap(beside.new);
	cr_assert_null(beside.roll);
	cr_assert_eq(beside.outcome, ROLL_IS_ABORTED);
	cr_assert_str_eq(beside.serves, "v1");
	cr_assert_eq(scene.word->users, 1);
	clear_both();
}

Test(roll_word, that_names_new_lets_no_roll_that_shares_it_be_called_off)
{
	begin_both();
	cr_assert(fake_commit(scene.new));
	roll_cancel(beside.roll);
	cr_assert_eq(roll_record(beside.roll)->state, ROLL_PARK);
	cr_assert_eq(beside.new->signal, 0);
	clear_both();
}
