/* SPDX-License-Identifier: MIT */
/* State and descriptors from one process to the next, through the real protocol, and all the ways the next may say no. */
#include "tests/shim/fake.h"

#include "base/clock.h"
#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(shim_transfer, .timeout = 60);

#define THINGS 300u

static struct app *old_app, *new_app;
static struct fake old, new;
static struct fake_roll roll;
static struct fake_state state;

/* ---- the applications' part ---- */

/* Registers THINGS files, each of which holds its own tag. */
static void register_things(struct app *app)
{
	for (uint64_t tag = 0; tag < THINGS; tag++) {
		int fd = memfd_create("thing", MFD_CLOEXEC);

		APP_MUST(fd >= 0 && write(fd, &tag, sizeof(tag)) == (ssize_t)sizeof(tag));
		APP_MUST(upg_fd_register(app->upg, fd, "thing", tag) == 0);
	}
}

static void claim_thing(struct app *app, uint64_t tag)
{
	int fd = upg_fd_claim(app->upg, "thing", tag);
	uint64_t read_tag;

	APP_MUST(fd >= 0 && pread(fd, &read_tag, sizeof(read_tag), 0) == (ssize_t)sizeof(read_tag));
	APP_MUST(read_tag == tag);
	app->n_fds++;
	/* It is claimed only once, and already registered. */
	APP_MUST(upg_fd_claim(app->upg, "thing", tag) < 0);
	APP_MUST(upg_fd_register(app->upg, fd, "thing", tag) < 0);
}

static void claim_things(struct app *app)
{
	for (uint64_t tag = 0; tag < THINGS; tag++)
		claim_thing(app, tag);
	APP_MUST(upg_fd_claim(app->upg, "thing", THINGS) < 0);
	APP_MUST(upg_fd_claim(app->upg, "other", 0) < 0);
}

static void claim_all_but_one(struct app *app)
{
	for (uint64_t tag = 0; tag < THINGS; tag++)
		if (tag != 217)
			claim_thing(app, tag);
}

static void refuse(struct app *app)
{
	claim_things(app);
	upg_refuse(app->upg, "port %d is taken", 80);
}

/* ---- */

static void setup(void)
{
	fd_raise_limit();
	old_app = app_new();
	new_app = app_new();
	old_app->begin = register_things;
	new_app->claim = claim_things;
	app_fill(old_app, 1000, 100);
	fake_roll_open(&roll, 1);
}

static void teardown(void)
{
	fake_done(&old);
	fake_done(&new);
	fake_roll_done(&roll);
	free(state.data);
}

/* Both are told, and old's part is over. */
static void transfer(Upgraded__Wire__Totals *ret_saved)
{
	const Upgraded__Wire__Saved *saved;

	fake_start_serving(&old, old_app);
	fake_start_standby(&new, new_app);
	roll.target = new_app->config.types[0].version;
	fake_prepare(&old, &roll);
	fake_receive(&new, &roll);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	fake_give_fds(&new, &roll, NULL);
	saved = FAKE_TAKE(&old, SAVED)->saved;
	cr_assert_eq(saved->fds, THINGS);
	*ret_saved = *saved->totals;
}

static void commit(void)
{
	uint64_t at_us;

	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
	fake_say_commit(&new);
	at_us = FAKE_TAKE(&new, COMMITTED)->committed->at_us;
	cr_assert_leq(at_us, clock_now_us());
	cr_assert_eq(commit_owner(&roll.word), COMMIT_NEW);
}

static void expect_transfer(void)
{
	const Upgraded__Wire__Loaded *loaded;
	Upgraded__Wire__Totals saved;

	transfer(&saved);
	loaded = FAKE_TAKE(&new, LOADED)->loaded;
	cr_assert_eq(loaded->fds, THINGS);
	cr_assert_eq(saved.records, old_app->n_notes);
	cr_assert_eq(loaded->totals->records, saved.records);
	cr_assert_eq(loaded->totals->payload_bytes, saved.payload_bytes);
	cr_assert_eq(loaded->totals->digest_lo, saved.digest_lo);
	cr_assert_eq(loaded->totals->digest_hi, saved.digest_hi);
	cr_assert(saved.digest_lo || saved.digest_hi);
	commit();
	cr_assert_eq(new_app->n_notes, old_app->n_notes);
	cr_assert_eq(new_app->n_fds, THINGS);
	cr_assert_eq(new_app->text_bytes, 100);
	for (uint32_t i = 0; i < new_app->n_notes; i++)
		cr_assert_eq(new_app->notes[i].id, old_app->notes[i].id);
}

Test(shim_transfer, brings_state_and_descriptors_to_the_next_process, .init = setup, .fini = teardown)
{
	expect_transfer();
	fake_say_park(&old);
	FAKE_TAKE(&old, PARKED);
	fake_vanish(&old);
	cr_assert_eq(fake_wait(&old), APP_LEFT);
	/* The new one is a version like any other. */
	fake_say_ping(&new, 1);
	FAKE_TAKE(&new, PONG);
	fake_vanish(&new);
	cr_assert_eq(fake_wait(&new), APP_ORPHANED);
}

Test(shim_transfer, brings_a_state_without_records, .init = setup, .fini = teardown)
{
	old_app->n_notes = 0;
	new_app->text_bytes = 100;
	roll.commit_us = 5 * USEC_PER_SEC;
	old_app->begin = NULL;
	new_app->claim = NULL;
	fake_start_serving(&old, old_app);
	fake_start_standby(&new, new_app);
	fake_prepare(&old, &roll);
	fake_receive(&new, &roll);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	cr_assert_eq(roll.n_held, 0);
	fake_give_fds(&new, &roll, NULL);
	cr_assert_eq(FAKE_TAKE(&old, SAVED)->saved->totals->records, 0);
	cr_assert_eq(FAKE_TAKE(&new, LOADED)->loaded->totals->records, 0);
	commit();
}

Test(shim_transfer, migrates_up_where_new_knows_the_way, .init = setup, .fini = teardown)
{
	app_version_2(new_app);
	expect_transfer();
	for (uint32_t i = 0; i < new_app->n_notes; i++)
		cr_assert_eq(new_app->notes[i].stars, new_app->notes[i].id + 1);
}

Test(shim_transfer, migrates_down_where_old_knows_the_way, .init = setup, .fini = teardown)
{
	app_version_2(old_app);
	expect_transfer();
	for (uint32_t i = 0; i < new_app->n_notes; i++)
		cr_assert_eq(new_app->notes[i].stars, 0);
}

/* ---- records that are skipped ---- */

Test(shim_transfer, counts_what_was_skipped_and_says_the_first_reason, .init = setup, .fini = teardown)
{
	const Upgraded__Wire__Loaded *loaded;
	Upgraded__Wire__Totals saved;

	new_app->skip_above = 899;
	transfer(&saved);
	loaded = FAKE_TAKE(&new, LOADED)->loaded;
	cr_assert_eq(loaded->totals->records, 1000);
	cr_assert_eq(loaded->totals->digest_lo, saved.digest_lo);
	cr_assert_eq(loaded->n_skipped, 1);
	cr_assert_eq(loaded->skipped[0]->records, 100);
	cr_assert_str_eq(loaded->skipped[0]->type, "test.Note");
	cr_assert_str_eq(loaded->skipped[0]->reason, "note 900 is one too many");
	commit();
	cr_assert_eq(new_app->n_notes, 900);
}

Test(shim_transfer, lets_the_round_trip_leave_out_what_was_skipped, .init = setup, .fini = teardown)
{
	new_app->skip_above = 1;
	new_app->claim = NULL;
	state = fake_capture(5);
	fake_start_standby(&new, new_app);
	roll.verify_roundtrip = true;
	fake_feed(&new, &roll, state.data, state.size);
	cr_assert_eq(FAKE_TAKE(&new, LOADED)->loaded->skipped[0]->records, 3);
}

static void expect_new_refuses(const char *words, int end);

Test(shim_transfer, refuses_when_more_is_missing_than_was_skipped, .init = setup, .fini = teardown)
{
	new_app->skip_above = 899;
	new_app->count_off_by = -1;
	expect_new_refuses("1000 records of test.Note came, 100 of them were skipped, but the application now holds 899",
			   APP_FAILED);
}

/* ---- old cannot ---- */

static void expect_old_refuses(const char *words)
{
	const char *reason;

	fake_start_serving(&old, old_app);
	fake_prepare(&old, &roll);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	fake_drain(roll.state_in);
	reason = FAKE_TAKE(&old, REFUSED)->refused->reason;
	cr_assert(strstr(reason, words), "%s\nshould say: %s", reason, words);
	fake_say_abort(&old);
	FAKE_TAKE(&old, RESUMED);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_ABORTED);
	cr_assert_eq(atomic_load(&old_app->n_aborted), 1);
}

Test(shim_transfer, refuses_to_drop_a_type_the_next_does_not_know, .init = setup, .fini = teardown)
{
	roll.target = 0;
	expect_old_refuses("does not know the type test.Note");
}

Test(shim_transfer, refuses_to_go_down_without_a_migration, .init = setup, .fini = teardown)
{
	app_version_2(old_app);
	old_app->config.n_migrations = 0;
	expect_old_refuses("no migration of test.Note leads down from version 2 to 1");
}

Test(shim_transfer, gives_the_reason_of_a_migration_that_failed, .init = setup, .fini = teardown)
{
	app_version_2(old_app);
	old_app->notes[500].stars = 99999;
	expect_old_refuses("99999 stars do not fit");
}

/* ---- new will not ---- */

/* After transfer(): new says no, and leaves; old goes on. */
static void expect_new_refuses(const char *words, int end)
{
	Upgraded__Wire__Totals saved;
	const char *reason;

	transfer(&saved);
	reason = FAKE_TAKE(&new, REFUSED)->refused->reason;
	cr_assert(strstr(reason, words), "%s\nshould say: %s", reason, words);
	cr_assert_eq(fake_wait(&new), end);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
	fake_say_abort(&old);
	FAKE_TAKE(&old, RESUMED);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_ABORTED);
}

Test(shim_transfer, refuses_when_a_descriptor_was_left_unclaimed_and_names_it, .init = setup, .fini = teardown)
{
	new_app->claim = claim_all_but_one;
	expect_new_refuses("1 descriptors were not claimed, among them thing 217", APP_FAILED);
}

Test(shim_transfer, refuses_when_objects_were_dropped_and_names_the_type, .init = setup, .fini = teardown)
{
	new_app->count_off_by = -1;
	expect_new_refuses("1000 records of test.Note came, but the application now holds 999", APP_FAILED);
}

Test(shim_transfer, refuses_when_objects_were_invented, .init = setup, .fini = teardown)
{
	new_app->count_off_by = 1;
	expect_new_refuses("now holds 1001", APP_FAILED);
}

Test(shim_transfer, gives_the_applications_reason_for_refusing, .init = setup, .fini = teardown)
{
	new_app->claim = refuse;
	expect_new_refuses("port 80 is taken", APP_LEFT);
}

static void expect_fed_refuses(const uint8_t *data, size_t size, const char *words)
{
	const char *reason;

	new_app->claim = NULL;
	fake_start_standby(&new, new_app);
	fake_feed(&new, &roll, data, size);
	reason = FAKE_TAKE(&new, REFUSED)->refused->reason;
	cr_assert(strstr(reason, words), "%s\nshould say: %s", reason, words);
	cr_assert_eq(fake_wait(&new), APP_FAILED);
	cr_assert(strstr(new_app->why, words), "%s", new_app->why);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
}

Test(shim_transfer, names_the_record_that_could_not_be_loaded, .init = setup, .fini = teardown)
{
	state = fake_capture(5);
	new_app->fail_load = true;
	expect_fed_refuses(state.data, state.size, "note 3 is of no use");
	cr_assert(strstr(new_app->why, "loading a test.Note at offset "), "%s", new_app->why);
}

Test(shim_transfer, leaves_word_of_the_record_that_killed_it, .init = setup, .fini = teardown)
{
	uint64_t number;
	size_t type;

	state = fake_capture(5);
	new_app->dies_loading = true;
	fake_start_standby(&new, new_app);
	fake_feed(&new, &roll, state.data, state.size);
	cr_assert_eq(fake_wait(&new), APP_BROKEN);
	cr_assert(in_hand_get(&roll.in_hand, &type, &number));
	cr_assert_eq(type, 0);
	cr_assert_eq(number, 4, "note 3 is the fourth");
}

Test(shim_transfer, leaves_no_word_of_a_record_when_all_are_loaded, .init = setup, .fini = teardown)
{
	uint64_t number;
	size_t type;

	state = fake_capture(5);
	new_app->claim = NULL;
	fake_start_standby(&new, new_app);
	fake_feed(&new, &roll, state.data, state.size);
	FAKE_TAKE(&new, LOADED);
	cr_assert_not(in_hand_get(&roll.in_hand, &type, &number));
}

Test(shim_transfer, refuses_a_damaged_state, .init = setup, .fini = teardown)
{
	state = fake_capture(5);
	state.data[state.size / 2] ^= 0x10;
	expect_fed_refuses(state.data, state.size, "");
}

Test(shim_transfer, refuses_a_state_that_ends_early, .init = setup, .fini = teardown)
{
	state = fake_capture(5);
	expect_fed_refuses(state.data, state.size - 1, "");
}

Test(shim_transfer, refuses_a_state_of_nothing, .init = setup, .fini = teardown)
{
	expect_fed_refuses(NULL, 0, "");
}

Test(shim_transfer, refuses_a_state_it_has_no_migration_for, .init = setup, .fini = teardown)
{
	app_version_2(new_app);
	new_app->config.n_migrations = 0;
	state = fake_capture(5);
	expect_fed_refuses(state.data, state.size, "test.Note");
}

/* ---- the supervisor's part goes wrong ---- */

static void expect_refused(const char *words)
{
	const char *reason = FAKE_TAKE(&new, REFUSED)->refused->reason;

	cr_assert(strstr(reason, words), "%s\nshould say: %s", reason, words);
	cr_assert_eq(fake_wait(&new), APP_FAILED);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
}

Test(shim_transfer, does_not_wait_for_descriptors_past_the_deadline, .init = setup, .fini = teardown)
{
	fake_start_standby(&new, new_app);
	roll.commit_us = 50 * USEC_PER_MSEC;
	fake_receive(&new, &roll);
	expect_refused("not all descriptors came in time");
}

Test(shim_transfer, waits_longer_where_the_old_version_waits_for_a_child, .init = setup, .fini = teardown)
{
	Upgraded__Wire__Postponed postponed = UPGRADED__WIRE__POSTPONED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_POSTPONED, .postponed = &postponed);
	uint64_t until_us = clock_now_us() + 1300 * USEC_PER_MSEC;

	fake_start_standby(&new, new_app);
	roll.commit_us = USEC_PER_SEC;
	postponed.deadline_us = until_us;
	fake_receive(&new, &roll);
	fake_say(&new, &message, NULL, 0);
	fake_give_fds(&new, &roll, NULL);
	expect_refused("the state did not come in time");
	cr_assert_geq(clock_now_us(), until_us);
}

Test(shim_transfer, does_not_wait_for_state_past_the_deadline, .init = setup, .fini = teardown)
{
	fake_start_standby(&new, new_app);
	roll.commit_us = 50 * USEC_PER_MSEC;
	fake_receive(&new, &roll);
	fake_give_fds(&new, &roll, NULL);
	expect_refused("the state did not come in time");
}

Test(shim_transfer, stops_waiting_for_descriptors_when_the_roll_is_called_off, .init = setup, .fini = teardown)
{
	fake_start_standby(&new, new_app);
	fake_receive(&new, &roll);
	fake_say_abort(&new);
	expect_refused("called off: a test says so");
}

Test(shim_transfer, stops_waiting_for_descriptors_when_the_supervisor_vanishes, .init = setup, .fini = teardown)
{
	fake_start_standby(&new, new_app);
	fake_receive(&new, &roll);
	fake_vanish(&new);
	cr_assert_eq(fake_wait(&new), APP_FAILED);
	cr_assert(strstr(new_app->why, "vanished"), "%s", new_app->why);
}

Test(shim_transfer, refuses_fewer_descriptors_than_names, .init = setup, .fini = teardown)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *infos[] = { &info, &info };
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
	char name[] = "thing";

	info.name = name;
	fds.n_fds = 2;
	fds.fds = infos;
	fake_start_standby(&new, new_app);
	fake_receive(&new, &roll);
	fake_say(&new, &message, &roll.word_fd, 1);
	expect_refused("2 descriptors are named but 1 came");
}

Test(shim_transfer, refuses_two_descriptors_of_one_name, .init = setup, .fini = teardown)
{
	fake_hold(&roll, "thing", 1, memfd_create("one", MFD_CLOEXEC));
	fake_hold(&roll, "thing", 1, memfd_create("two", MFD_CLOEXEC));
	fake_start_standby(&new, new_app);
	fake_receive(&new, &roll);
	fake_give_fds(&new, &roll, NULL);
	expect_refused("thing 1");
}

Test(shim_transfer, refuses_a_word_of_another_roll, .init = setup, .fini = teardown)
{
	fake_start_standby(&new, new_app);
	roll.generation++;
	fake_receive(&new, &roll);
	expect_refused("another roll");
}

Test(shim_transfer, refuses_to_receive_without_descriptors, .init = setup, .fini = teardown)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;

	fake_start_standby(&new, new_app);
	FAKE_SAY(&new, RECEIVE, receive, &receive);
	expect_refused("without its descriptors");
}

/* ---- between loaded and commit ---- */

static void be_loaded(void)
{
	state = fake_capture(3);
	new_app->claim = NULL;
	fake_start_standby(&new, new_app);
	fake_feed(&new, &roll, state.data, state.size);
	FAKE_TAKE(&new, LOADED);
}

Test(shim_transfer, leaves_when_it_is_called_off_before_the_commit, .init = setup, .fini = teardown)
{
	be_loaded();
	fake_say_abort(&new);
	cr_assert_eq(fake_wait(&new), APP_LEFT);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
}

Test(shim_transfer, leaves_when_the_supervisor_vanishes_before_the_commit, .init = setup, .fini = teardown)
{
	be_loaded();
	fake_vanish(&new);
	cr_assert_eq(fake_wait(&new), APP_LEFT);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_OLD);
}

Test(shim_transfer, leaves_when_old_was_quicker_to_take_the_word, .init = setup, .fini = teardown)
{
	be_loaded();
	cr_assert(commit_take(&roll.word, COMMIT_ABORTED));
	fake_say_commit(&new);
	cr_assert_eq(fake_wait(&new), APP_LEFT);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_ABORTED);
}

Test(shim_transfer, serves_although_the_supervisor_vanished_at_the_commit, .init = setup, .fini = teardown)
{
	be_loaded();
	fake_say_commit(&new);
	fake_vanish(&new);
	cr_assert_eq(fake_wait(&new), APP_ORPHANED);
	cr_assert_eq(commit_owner(&roll.word), COMMIT_NEW);
}

/* ---- what it was told to leave is another one's ---- */

static void claim_connection(struct app *app)
{
	app->fds[0] = upg_fd_claim(app->upg, "thing", 0);
	APP_MUST(app->fds[0] >= 0);
}

static void close_connection(struct app *app)
{
	upg_close(app->upg, app->fds[0], -1);
}

Test(shim_transfer, does_not_shut_down_what_it_was_told_to_leave, .init = setup, .fini = teardown)
{
	int pair[2]; /* a connection of old's, and its client */
	char byte;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	state = fake_capture(3);
	fake_hold(&roll, "thing", 0, pair[0]);
	new_app->claim = claim_connection;
	new_app->leave = close_connection;
	fake_start_standby(&new, new_app);
	fake_feed(&new, &roll, state.data, state.size);
	FAKE_TAKE(&new, LOADED);
	fake_say_abort(&new);
	cr_assert_eq(fake_wait(&new), APP_LEFT);
	cr_assert(recv(pair[1], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "the client noticed");
	fd_close(pair[1]);
}
