/* SPDX-License-Identifier: MIT */
/* A seeded random walk over the machine and its hands, with fake ends that do whatever processes can do, in any order: nothing that
 * happens is without a cell, and no state is left without something that ends it. UPG_WALK_SEED=n walks another way. */
#include "tests/supervisor/scene.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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

static void resume_over_a_journal(struct fake *fake)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	resumed.at_us = clock_now_us();
	resumed.reset = dice(3);
	resumed.replayed = dice(100);
	resumed.journal_unused = wire_text(dice(2) ? "it is damaged" : "");
	fake_resumed_with(fake, &resumed);
}

/* Old has answered clients, so new is judged by whether it answers any. */
static void save_with_traffic(struct fake *fake)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Traffic traffic = UPGRADED__WIRE__TRAFFIC__INIT;
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);

	totals.records = totals.digest_lo = 10;
	totals.payload_bytes = 1000;
	traffic.answered = true;
	saved.totals = &totals;
	saved.traffic = &traffic;
	saved.fds = 2;
	saved.question = fake->question;
	fake_say(fake, &message);
}

static void resume_without_a_door(struct fake *fake)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	info.name = wire_text("door");
	resumed.at_us = clock_now_us();
	resumed.missed = list;
	resumed.n_missed = 1;
	fake_resumed_with(fake, &resumed);
}

/* ---- doors ---- */

#define DOORS_MAX 8u

/* What old has handed over: none of it may be missing in a way back that is whole. */
static struct {
	uint64_t tags[DOORS_MAX];
	unsigned n;
} doors;

static void hand_a_door(struct fake *fake)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static uint64_t tag = 1000000;
	bool transfers = fake == scene.old && scene_state() == ROLL_TRANSFER && doors.n < DOORS_MAX;

	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	fake_hand(fake, "door", ++tag, fd, dice(2));
	if (transfers && scene_state() == ROLL_TRANSFER)
		doors.tags[doors.n++] = tag;
}

static bool has(const struct fake *fake, uint64_t tag)
{
	for (unsigned i = 0; i < fake->n_got; i++)
		if (fake->got[i].tag == tag)
			return true;
	return false;
}

static void check_doors(void)
{
	for (unsigned i = 0; i < doors.n; i++)
		cr_assert(has(scene.old, doors.tags[i]), "a door was not given back");
}

/* ---- what counts as proof ---- */

static void pong(struct fake *fake)
{
	const struct health *health = scene.roll ? roll_health(scene.roll) : NULL;

	if (fake == scene.new && health && fake->nonce == health->nonce)
		scene.ponged_us = scene.now_us;
	fake_pong(fake);
}

/* ---- anything ---- */

static void say_anything(struct fake *fake)
{
	uint64_t records = 10 + (dice(8) == 0);

	switch (dice(26)) {
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
		pong(fake);
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
	case 16:
		fake_reader_gone(fake);
		break;
	case 17:
		fake_journal_full(fake, 65536);
		break;
	case 18:
		fake_closed(fake, scene.tag);
		break;
	case 19:
		resume_over_a_journal(fake);
		break;
	case 20:
		fake_traffic(fake, dice(6), dice(4) == 0);
		break;
	case 21:
		save_with_traffic(fake);
		break;
	case 22:
		resume_without_a_door(fake);
		break;
	case 23:
		hand_a_door(fake);
		break;
	case 24:
		if (doors.n)
			fake_closed_as(fake, "door", doors.tags[dice(doors.n)]);
		break;
	default:
		/* Old's own deadline has passed: it takes the commit word back and serves. */
		if (fake == scene.old && fake->word.word && commit_take(&fake->word, COMMIT_ABORTED))
			fake_resumed(fake);
		break;
	}
}

/* What it answers is not asked any more, or not yet: nothing comes of it. */
static void answer_another_question(struct fake *fake)
{
	uint64_t question = fake->question;
	bool stands = fake->stands;
	struct roll_record before;

	memcpy(&before, roll_record(scene.roll), sizeof(before));
	scene_forget();
	fake->question = question > 1 && dice(2) ? question - 1 : question + 1;
	switch (dice(6)) {
	case 0:
		fake_quiesced(fake);
		break;
	case 1:
		fake_not_yet(fake);
		break;
	case 2:
		fake_refused(fake, "of long ago");
		break;
	case 3:
		fake_saved(fake, 10, 2);
		break;
	case 4:
		save_with_traffic(fake);
		break;
	default:
		fake_resumed(fake);
		break;
	}
	fake->question = question;
	fake->stands = stands;
	cr_assert_not_null(scene.roll);
	/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): what lies between the members was copied, too */
	cr_assert_eq(memcmp(&before, roll_record(scene.roll), sizeof(before)), 0, "an answer to another question was heard in %s",
		     roll_state_name(before.state));
	cr_assert_str_eq(scene.said, "");
	cr_assert_str_eq(scene.heard, "");
}

static void image_anything(void)
{
	static const enum criu_target targets[] = { CRIU_TARGET_RUNNING, CRIU_TARGET_STOPPED, CRIU_TARGET_GONE };

	if (fake_imaging.job && dice(2))
		fake_imaging_done(0, fake_imaging.leave_running ? CRIU_TARGET_RUNNING : CRIU_TARGET_GONE);
	else if (fake_imaging.job)
		fake_imaging_done(-5, targets[dice(3)]);
}

/* The bake ends with a sign of life: at once, or as soon as it is on. */
static void accept_now(void)
{
	bool bakes = roll_is_baking(scene.roll);

	if (!roll_may_accept(scene.roll))
		return;
	roll_accept(scene.roll);
	cr_assert_geq(roll_record(scene.roll)->wish, WISH_ACCEPT);
	cr_assert(!bakes || roll_health(scene.roll)->concluding, "accepted, and nothing is asked for");
}

static void go_onward(void)
{
	bool bakes = roll_is_baking(scene.roll);

	if (!roll_may_go_onward(scene.roll))
		return;
	roll_onward(scene.roll);
	cr_assert_geq(roll_record(scene.roll)->wish, WISH_ONWARD);
	cr_assert_eq(scene_state() == ROLL_ONWARD, bakes);
	cr_assert_eq(scene.lent != NULL, bakes);
}

static void take_back_a_wish(void)
{
	enum roll_state state = scene_state();
	enum roll_wish wish = roll_record(scene.roll)->wish;
	bool waits = state == ROLL_PARK || state == ROLL_IMAGE || state == ROLL_PACK;
	bool can = waits && wish >= WISH_ACCEPT && wish <= WISH_UNDO;

	cr_assert_eq(roll_drop_wish(scene.roll), can);
	cr_assert_eq(roll_record(scene.roll)->wish, can ? WISH_NONE : wish);
	assert_state(state);
}

static void be_the_operator(void)
{
	switch (dice(10)) {
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
		accept_now();
		break;
	case 5:
	case 6:
		go_onward();
		break;
	case 7:
		take_back_a_wish();
		break;
	default:
		break;
	}
}

/* The roll backward or onward comes to an end of some kind. */
static void end_the_other_roll(void)
{
	struct instance *lent = scene.lent;
	struct why why = { .text = "it was aborted" };

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
	default: /* the other roll has ended it first */
		if (instance_is_alive(lent))
			fake_exit(fake_of(lent), SIGKILL);
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

/* So that the walk comes as far as the end of a bake, too. On the way old may hand doors over and say that it answers clients,
 * and new that it does not. */
static void be_sensible(void)
{
	bool transfers = scene_state() == ROLL_TRANSFER && lives(scene.old);

	if (transfers && dice(3) == 0)
		hand_a_door(scene.old);
	else if (transfers && roll_descriptors(scene.roll) && dice(3) == 0)
		save_with_traffic(scene.old);
	else if (roll_is_baking(scene.roll) && lives(scene.new) && dice(4) == 0)
		fake_traffic(scene.new, 3 + dice(3), false);
	else
		scene_say_the_right_thing();
}

static void happen(void)
{
	struct fake *one = somebody();
	uint32_t what = dice(100);

	if (what < 30)
		be_sensible();
	else if (what < 57 && one)
		say_anything(one);
	else if (what < 60 && one)
		answer_another_question(one);
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
	scene.unit->journal = dice(2);
	scene.old_knows_no_journal = dice(8) == 0;
	scene.new_knows_no_journal = dice(8) == 0;
	scene.hears_aside = dice(2);
	scene.site.criu_path = dice(8) ? "criu" : NULL;
	doors.n = 0;
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

static void check_under_way(void)
{
	enum roll_state state = scene_state();

	cr_assert(scene_is_bounded(), "%s: nothing ends it", roll_state_name(state));
	/* What is lent has one owner, and the roll that has it knows who serves. */
	cr_assert_eq(scene.lent != NULL, state == ROLL_BACKWARD || state == ROLL_ONWARD, "%s", roll_state_name(state));
	cr_assert(!scene.lent || (!roll_new(scene.roll) && !roll_serving(scene.roll)));
}

/* A version is accepted by a stop, by another roll, or by a sign of life, which is asked for when its time is over or by order. */
static void check_accepted(void)
{
	const struct roll_record *record = &scene.record;

	cr_assert_eq(commit_owner(&scene.word->word), COMMIT_NEW);
	if (scene.ended_in == ROLL_PASSED || record->ends_at_once)
		return;
	cr_assert_eq(scene.ponged_us, scene.now_us, "a bake has ended without a sign of life");
	cr_assert(record->wish == WISH_ACCEPT || scene.now_us >= record->commit_us + scene.unit->bake_us,
		  "a bake was too short, and nobody has ended it");
}

static bool leaves_serving(enum roll_outcome outcome)
{
	return outcome != ROLL_IS_FAILED && outcome != ROLL_IS_BACK_LIVE && scene.ended_in != ROLL_PASSED;
}

static void check_end(void)
{
	enum roll_outcome outcome = scene.report.outcome;

	cr_assert_neq(outcome, ROLL_IS_UNDER_WAY);
	cr_assert_eq(scene.serves != NULL, leaves_serving(outcome));
	/* Nobody was given up who had the only state: refused and aborted mean that old serves. */
	if (outcome == ROLL_IS_REFUSED || outcome == ROLL_IS_ABORTED)
		cr_assert_str_eq(scene.serves->version, "v1");
	if (outcome == ROLL_IS_DONE)
		check_accepted();
	if (outcome == ROLL_IS_ABORTED)
		cr_assert_neq(commit_owner(&scene.word->word), COMMIT_NEW);
	/* What is lost and what was taken from a journal exclude each other. */
	if (outcome == ROLL_IS_BACK_PARKED || outcome == ROLL_IS_BACK_IMAGE)
		cr_assert(!scene.report.wire.journal || !*scene.report.journal_note.text, "%s", scene.report.journal_note.text);
	/* A way back is whole, or names what is missing. */
	if (outcome == ROLL_IS_BACK_PARKED || outcome == ROLL_IS_BACK_IMAGE)
		check_doors();
	if (scene.ended_in == ROLL_ROLLED_BACK)
		cr_assert_eq(outcome == ROLL_IS_BACK_PART, scene.report.missed.n > 0);
}

static void check(void)
{
	if (scene.roll)
		check_under_way();
	else
		check_end();
}

/* Ways that the walk must have gone, or it has shown little. */
static struct {
	unsigned by_order, by_time, in_part, with_doors, answered_nobody;
} gone;

static void note_way(void)
{
	bool proved = scene.ended_in == ROLL_DONE && !scene.record.ends_at_once;

	gone.by_order += proved && scene.record.wish == WISH_ACCEPT;
	gone.by_time += proved && scene.record.wish != WISH_ACCEPT;
	gone.in_part += scene.report.outcome == ROLL_IS_BACK_PART;
	gone.with_doors += doors.n && scene.report.outcome == ROLL_IS_BACK_PARKED;
	gone.answered_nobody += strstr(scene.report.cause.text, "has answered none of") != NULL;
}

static void assert_much_was_seen(const unsigned reached[ROLL_STATES], unsigned rolls)
{
	for (enum roll_state state = 0; state < ROLL_STATES; state++)
		cr_assert(reached[state] || state == ROLL_SETTLE, "%s was never reached in %u rolls", roll_state_name(state),
			  rolls);
	cr_assert(gone.by_order && gone.by_time && gone.in_part && gone.with_doors && gone.answered_nobody,
		  "accepted by order %u, by time %u; back in part %u, with doors %u; answered nobody %u", gone.by_order,
		  gone.by_time, gone.in_part, gone.with_doors, gone.answered_nobody);
}

Test(walk, finds_no_event_without_a_cell_and_no_state_without_an_end)
{
	const char *seed = getenv("UPG_WALK_SEED");
	unsigned reached[ROLL_STATES] = { 0 }, rolls = 0, open_fds;

	random_state = seed ? strtoull(seed, NULL, 10) + 1 : SEED;
	scene_set("JournalSize=64K\n");
	open_fds = scene_open_fds();
	while (scene.site.counts.steps < EVENTS) {
		begin();
		rolls++;
		while (scene.roll) {
			happen();
			reached[scene_state()]++;
			cr_assert_eq(scene.site.counts.misfits, 0, "an event had no cell; see the log");
			check();
		}
		note_way();
		put_away();
	}
	assert_much_was_seen(reached, rolls);
	scene.word = roll_word_drop(scene.word);
	cr_assert_eq(scene_open_fds(), open_fds, "a descriptor was left open");
	scene_clear();
}
