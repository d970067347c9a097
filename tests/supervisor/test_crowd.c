/* SPDX-License-Identifier: MIT */
/* A seeded random walk over a service: a crowd asks anything of it and goes away, and its processes do whatever processes can do.
 * Nobody is answered twice or never, nothing that is gone is touched, and in the end the service can be ended. UPG_WALK_SEED=n
 * walks another way. */
#include "tests/supervisor/hosted.h"

#include <signal.h>

TestSuite(crowd, .timeout = 60);

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what
#define STEPS 20000u
#define ROUNDS 5u
#define SEED 20261129u
#define CROWD 6u

static struct caller crowd[CROWD];
static unsigned left;
static uint64_t random_state;

/* xorshift64*, as in test_walk.c. */
static uint32_t dice(uint32_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * UINT64_C(2685821657736338717)) >> 33) % n;
}

/* ---- people ---- */

static bool waits(const struct caller *caller)
{
	return caller->asked.asker.service;
}

static struct roll_request anything(void)
{
	static const char *const versions[] = { "", "", "", "v1", "v2", "v3" };
	struct roll_request made = request(versions[dice(6)]);

	made.sets_rollback = dice(4) == 0;
	made.rollback = (enum unit_rollback)dice(4);
	made.require_image = dice(6) == 0;
	made.bake_us = dice(3) == 0 ? dice(8) * USEC_PER_SEC : 0;
	made.way = dice(3) == 0 ? (enum undo_way)dice(4) : UNDO_AS_IT_GOES;
	return made;
}

static void ask_anything(struct caller *caller)
{
	struct roll_request what = anything();
	struct asker *asker = ask(caller);

	asker->wait_commit = dice(3) == 0;
	switch (service_is_idle(hosted.web) && dice(4) ? 0 : dice(10)) {
	case 0:
	case 1:
		service_start(hosted.web, what.version, dice(4) ? -1 : open("/dev/null", O_RDONLY | O_CLOEXEC), asker);
		break;
	case 2:
		service_stop(hosted.web, asker);
		break;
	case 3:
	case 4:
	case 5:
		if (!*what.version)
			snprintf(what.version, sizeof(what.version), "v%u", 1 + dice(3));
		service_roll(hosted.web, &what, asker);
		break;
	case 6:
		service_undo(hosted.web, &what, asker);
		break;
	case 7:
		service_pack(hosted.web, asker);
		break;
	case 8:
		service_save(hosted.web, open("/dev/null", O_WRONLY | O_CLOEXEC), asker);
		break;
	default:
		if (!*what.version)
			snprintf(what.version, sizeof(what.version), "v3");
		service_plan(hosted.web, &what, asker);
	}
}

static void somebody_asks_or_leaves(void)
{
	struct caller *caller = &crowd[dice(CROWD)];

	if (!waits(caller)) {
		ask_anything(caller);
	} else if (dice(4) == 0) {
		caller_leave(caller);
		left++;
	}
}

/* Whoever does not wait any more was answered once, or left. */
static void check_crowd(void)
{
	for (unsigned i = 0; i < CROWD; i++) {
		const struct caller *caller = &crowd[i];
		bool gone = !caller->asked.asker.on_result;

		cr_assert_eq(caller->asked.answers, !waits(caller) && !gone, "%u answers: %s", caller->asked.answers,
			     caller->asked.text);
	}
}

/* ---- processes ---- */

static void tell_inventory(struct fake *fake)
{
	Upgraded__Wire__Inventory inventory = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(INVENTORY), .inventory = &inventory);

	inventory.last = dice(8) > 0;
	fake_say(fake, &message);
}

static bool no_roll_is_on(void)
{
	struct status status;
	bool runs;

	service_status(hosted.web, &status);
	runs = strcmp(status.message.state, "running") == 0;
	status_done(&status);
	return runs;
}

/* Between two of these the process may be gone. */
static void hand_over(struct fake *fake, struct fake *const *at)
{
	bool saves = no_roll_is_on();

	fake_quiesced(fake);
	if (*at == fake)
		fake_hand_over(fake, dice(3), true);
	if (*at == fake)
		fake_saved(fake, 10, 2);
	if (*at == fake && saves)
		fake_resumed(fake);
}

/* What it was told last, as the library would do it. */
static void do_as_told(struct fake *fake, struct fake *const *at)
{
	switch ((int)fake_heard_last(fake)) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY__NOT_SET:
		if (!fake->instance.hello)
			fake_hello(fake, (unsigned)atoi(fake->instance.version + 1), dice(16) > 0);
		else
			fake_standby(fake);
		break;
	case HEARD(WELCOME):
		fake_ready(fake);
		break;
	case HEARD(PREPARE):
		hand_over(fake, at);
		break;
	case HEARD(RECEIVE):
	case HEARD(FDS):
		if (dice(2))
			fake_loaded(fake, 10, 2);
		else if (dice(4) == 0)
			fake_resumed(fake);
		else if (dice(4) == 0)
			fake_ready(fake);
		break;
	case HEARD(COMMIT):
		if (fake->word.word)
			fake_commit(fake);
		break;
	case HEARD(PARK):
		fake_parked(fake);
		break;
	case HEARD(ABORT):
	case HEARD(RESUME):
		fake_resumed(fake);
		break;
	case HEARD(PING):
		fake_pong(fake);
		break;
	case HEARD(ASK_INVENTORY):
		tell_inventory(fake);
		break;
	default:
		break;
	}
}

static void misbehave(struct fake *fake)
{
	switch (dice(10)) {
	case 0:
		fake_refused(fake, "because");
		break;
	case 1:
		fake_not_yet(fake);
		break;
	case 2:
		fake_garbage(fake, "no such message");
		break;
	case 3:
		fake_progress(fake, "half");
		break;
	case 4:
		fake_ready(fake);
		break;
	case 5:
		fake_resumed(fake);
		break;
	case 6:
		fake_standby(fake);
		break;
	case 7:
		fake_parked(fake);
		break;
	case 8:
		fake_begin_exit(fake, SIGSEGV);
		break;
	default:
		fake_exit(fake, dice(2) ? SIGSEGV : 0);
	}
}

static void some_process_does_something(void)
{
	unsigned i = hosted.origin.n_started ? dice(hosted.origin.n_started) : 0;
	struct fake **at = &hosted.origin.started[i], *fake = *at;

	if (!fake)
		return;
	if (fake->instance.life == INSTANCE_LAST_WORDS) {
		if (dice(2))
			fake_end_exit(fake);
		else
			fake_refused(fake, "last words");
	} else if (fake->instance.life == INSTANCE_RUNS) {
		if (fake->signal && dice(4))
			fake_exit(fake, fake->signal);
		else if (dice(24))
			do_as_told(fake, at);
		else
			misbehave(fake);
	}
}

/* Freed ones make room. */
static void compact(void)
{
	struct fake_origin *origin = &hosted.origin;
	unsigned n = 0;

	for (unsigned i = 0; i < origin->n_started; i++) {
		struct fake *fake = origin->started[i];

		origin->started[i] = NULL;
		if (fake)
			fake_watch(fake, &origin->started[n++]);
	}
	origin->n_started = n;
}

/* ---- all of it ---- */

static void rewrite(void)
{
	static const char *const files[] = {
		"", "", "Rollback=parked\n", "Rollback=image\n", "Rollback=none\n", "RequireImage=yes\n", "Bake=2s\n", "Bake=0\n",
		"Restart=no\nBake=1s\n", "MemoryLow=1024T\n", "Bake=long\n", "HealthTCP=127.0.0.1:1\nHealthFailures=1\n",
	};

	hosted_write(files[dice(sizeof(files) / sizeof(files[0]))]);
}

static void step(void)
{
	uint32_t what = dice(100);

	if (what < 10)
		somebody_asks_or_leaves();
	else if (what < 80)
		some_process_does_something();
	else if (what < 95)
		hosted_pass(dice(8) ? dice(200) * USEC_PER_MSEC : dice(20) * USEC_PER_SEC);
	else if (what < 97 && fake_imaging.job)
		fake_imaging_done(dice(3) ? 0 : -5, dice(2) ? CRIU_TARGET_RUNNING : CRIU_TARGET_GONE);
	else if (what == 97)
		rewrite();
	else if (what == 98)
		hosted.origin.refuses = dice(6) == 0;
	else if (what == 99)
		fake_imaging.refuses = dice(3) == 0;
	check_crowd();
	(void)hosted_processes();
	compact();
}

static void go_round(void)
{
	hosted_set(NULL);
	for (unsigned i = 0; i < STEPS / ROUNDS; i++)
		step();
	hosted_end_all();
	for (unsigned i = 0; i < CROWD; i++)
		cr_assert_not(waits(&crowd[i]), "nobody has answered it");
	check_crowd();
	for (unsigned i = 0; i < CROWD; i++) {
		ask(&crowd[i]); /* what it was answered is freed */
		memset(&crowd[i], 0, sizeof(crowd[i]));
	}
	hosted_clear();
}

Test(crowd, is_answered_once_each_whatever_happens)
{
	const char *seed = getenv("UPG_WALK_SEED");

	random_state = seed && *seed ? strtoull(seed, NULL, 10) : SEED;
	random_state = random_state ? random_state : SEED;
	for (unsigned i = 0; i < ROUNDS; i++)
		go_round();
	cr_assert_gt(left, 10);
}
