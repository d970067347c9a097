/* SPDX-License-Identifier: MIT */
/* What status says of a service, in each state that it can be in. */
#include "tests/supervisor/hosted.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

static struct status status;

static void set_up(void)
{
	hosted_set(NULL);
	memset(&status, 0, sizeof(status));
}

static void tear_down(void)
{
	status_done(&status);
	hosted_clear();
}

TestSuite(status, .timeout = 20, .init = set_up, .fini = tear_down);

static const Upgraded__Wire__ServiceStatus *look(void)
{
	status_done(&status);
	service_status(hosted.web, &status);
	return &status.message;
}

/* Its state, who serves or is wanted, and its processes. */
#define assert_says(what, which, processes)                                                                \
	do {                                                                                                   \
		assert_status(what, which);                                                                        \
		cr_assert_str_eq(hosted_processes(), (processes), "%s", hosted_processes());                        \
	} while (0)

/* The roll that is under way, or was the last one. */
#define assert_last_roll(what, way)                                                                        \
	do {                                                                                                   \
		cr_assert_not_null(look()->last_roll);                                                             \
		cr_assert_str_eq(look()->last_roll->outcome, (what), "%s", look()->last_roll->outcome);             \
		cr_assert_str_eq(look()->last_roll->way_back, (way), "%s", look()->last_roll->way_back);            \
	} while (0)

static void undo(struct caller *caller)
{
	struct roll_request back = request("");

	service_undo(hosted.web, &back, ask(caller));
}

Test(status, of_a_service_without_a_roll)
{
	struct fake *fake;

	assert_says("stopped", "", "");
	cr_assert(!*look()->unit_file && !look()->last_roll && !*look()->description && !*look()->previous);
	service_start(hosted.web, "v1", -1, ask(&ann));
	assert_says("starting", "v1", "starting v1");
	fake = started(0);
	cr_assert(strstr(look()->unit_file, "/web.conf"), "%s", look()->unit_file);
	cr_assert_eq(look()->instances[0]->pid, fake->instance.pid);
	cr_assert_eq(look()->instances[0]->since_us, hosted.now_us);
	hosted_start_up(fake);
	assert_says("running", "v1", "serving v1");
	cr_assert_str_eq(look()->name, "web");
	service_stop(hosted.web, ask(&ann));
	assert_says("stopping", "v1", "stopping v1");
	fake_begin_exit(fake, 0);
	assert_says("stopping", "v1", ""); /* it is being heard to the end */
	fake_end_exit(fake);
	assert_says("stopped", "v1", "");
	fake_exit(hosted_serve("v1"), SIGSEGV);
	assert_says("waiting to restart", "v1", "");
	cr_assert(strstr(look()->description, "killed by SIGSEGV"), "%s", look()->description);
}

Test(status, of_each_phase_of_a_roll)
{
	static const struct {
		enum roll_state state;
		const char *what, *which, *processes, *outcome;
	} phases[] = {
		{ ROLL_STANDBY, "rolling", "v1", "standby v2, serving v1", "under way" },
		{ ROLL_QUIESCE, "rolling", "v1", "standby v2, quiesced v1", "under way" },
		{ ROLL_TRANSFER, "rolling", "v1", "standby v2, quiesced v1", "under way" },
		{ ROLL_LOADING, "rolling", "v1", "standby v2, quiesced v1", "under way" },
		{ ROLL_COMMIT, "rolling", "v1", "standby v2, quiesced v1", "under way" },
		{ ROLL_PARK, "rolling", "v2", "serving v2, parked v1", "committed" },
		{ ROLL_IMAGE, "rolling", "v2", "serving v2, parked v1", "committed" },
		{ ROLL_BAKE, "baking", "v2", "serving v2, parked v1", "committed" },
	};
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		hosted_lead_on(old, new, i ? phases[i - 1].state : ROLL_STANDBY, phases[i].state);
		assert_says(phases[i].what, phases[i].which, phases[i].processes);
		cr_assert_str_eq(look()->last_roll->outcome, phases[i].outcome, "%s", look()->last_roll->outcome);
		cr_assert_str_eq(look()->previous, phases[i].state >= ROLL_PARK ? "v1" : "");
	}
	cr_assert_eq(look()->descriptors, 2, "those in custody");
	assert_last_roll("committed", "parked+image");
	hosted_pass(60 * USEC_PER_SEC);
	assert_says("running", "v2", "serving v2");
	assert_last_roll("done", "parked+image");
	cr_assert_str_eq(look()->previous, "v1");
	cr_assert_eq(look()->descriptors, 0);
}

Test(status, of_a_bake_tells_how_the_new_version_does)
{
	hosted_write("HealthHTTP=http://127.0.0.1:1/ready/%v\n");
	hosted_bake();
	cr_assert_eq(look()->n_health, 2);
	cr_assert_str_eq(look()->health[0]->check, "heartbeat");
	cr_assert_str_eq(look()->health[0]->state, "waiting");
	cr_assert_str_eq(look()->health[1]->check, "HealthHTTP=http://127.0.0.1:1/ready/v2");
	cr_assert_str_eq(look()->health[1]->state, "running");
	cr_assert_eq(look()->health[1]->runs, 0);
	hosted_turn(); /* a ping */
	fake_pong(started(1));
	cr_assert_str_eq(look()->health[0]->state, "ok");
	service_stop(hosted.web, ask(&bob));
	cr_assert_eq(look()->n_health, 0, "it is accepted");
}

Test(status, of_a_version_that_leaves_its_bake)
{
	struct fake *new = hosted_bake(), *back;

	undo(&bob);
	back = started(2);
	assert_says("rolling", "v2", "standby v1, serving v2, parked v1");
	cr_assert_str_eq(look()->last_roll->to, "v2", "the roll that bakes");
	hosted_lead(new, back, ROLL_QUIESCE);
	assert_says("rolling", "v2", "standby v1, quiesced v2, parked v1");
	hosted_lead_on(new, back, ROLL_QUIESCE, ROLL_PARK);
	assert_says("rolling", "v1", "serving v1, parked v2");
	cr_assert_str_eq(look()->last_roll->to, "v1");
	hosted_lead_on(new, back, ROLL_PARK, ROLL_BAKE);
	assert_says("baking", "v1", "serving v1, parked v2");
	cr_assert_str_eq(look()->previous, "v2");
	hosted_pass(60 * USEC_PER_SEC);
	assert_says("running", "v1", "serving v1");
}

Test(status, of_a_bake_without_the_parked_process)
{
	hosted_write("Rollback=image\n");
	hosted_bake();
	assert_last_roll("committed", "image");
	fake_exit(started(0), SIGKILL); /* as the dump's last step */
	assert_says("baking", "v2", "serving v2, imaged v1");
	fake_exit(started(1), SIGSEGV);
	assert_says("rolling", "v2", "imaged v1");
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_says("rolling", "v2", "parked v1");
	fake_resumed(started(0));
	assert_says("running", "v1", "serving v1");
	cr_assert_str_eq(look()->last_roll->outcome, "rolled-back-image");
}

Test(status, of_a_version_that_is_packed)
{
	hosted_write("Rollback=parked\n");
	hosted_bake();
	assert_last_roll("committed", "parked");
	service_pack(hosted.web, ask(&bob));
	assert_says("rolling", "v2", "serving v2, parked v1");
	fake_exit(started(0), SIGKILL);
	fake_imaging_done(0, CRIU_TARGET_GONE);
	assert_says("baking", "v2", "serving v2, imaged v1");
	assert_last_roll("committed", "image");
}

Test(status, of_ways_back_and_what_is_left_afterwards)
{
	struct fake *new;

	hosted_write("Rollback=none\n");
	new = hosted_bake();
	hosted_reap(); /* the old version, which is not kept */
	fake_exit(new, SIGSEGV);
	assert_says("rolling", "v2", "standby v1"); /* it starts empty */
	fake_exit(started(2), 1 << 8);
	assert_says("failed", "v1", "");
	assert_last_roll("failed", "none");
	cr_assert(strstr(look()->description, "killed by SIGSEGV"), "%s", look()->description);
	cr_assert(strstr(look()->last_roll->cause, "killed by SIGSEGV"), "%s", look()->last_roll->cause);
	/* What a roll that was refused leaves is the report of it. */
	hosted_serve("v1");
	fake_exit(hosted_roll("v2"), 1 << 8);
	assert_says("running", "v1", "serving v1");
	assert_last_roll("refused", "");
	cr_assert_str_eq(look()->description, "");
}

Test(status, lists_what_undo_can_go_back_to)
{
	struct fake *serves = hosted_serve("v1");

	for (unsigned i = 2; i <= 3; i++) {
		char version[8];
		struct fake *to;

		snprintf(version, sizeof(version), "v%u", i);
		to = hosted_roll(version);
		hosted_lead(serves, to, ROLL_BAKE);
		hosted_pass(60 * USEC_PER_SEC);
		serves = to;
	}
	cr_assert_eq(look()->n_history, 2);
	cr_assert_str_eq(look()->history[0], "v1");
	cr_assert_str_eq(look()->history[1], "v2");
	cr_assert_str_eq(look()->previous, "v2");
}

/* ---- since when ---- */

/* A process in the state @what is in it since @us. */
static void assert_since(const char *what, uint64_t us)
{
	const Upgraded__Wire__ServiceStatus *message = look();

	for (size_t i = 0; i < message->n_instances; i++) {
		if (strcmp(message->instances[i]->state, what) != 0)
			continue;
		cr_assert_eq(message->instances[i]->since_us, us, "%s since %" PRIu64 ", not %" PRIu64, what,
			     message->instances[i]->since_us, us);
		return;
	}
	cr_assert_fail("nobody is %s: %s", what, hosted_processes());
}

/* Return: now. */
static uint64_t later(void)
{
	hosted_pass(2 * USEC_PER_SEC);
	return hosted.now_us;
}

Test(status, says_since_when_a_version_serves_and_lies_parked)
{
	uint64_t asked_us, started_us, ready_us, new_us, rests_us, commit_us;
	struct fake *old, *new;

	started_us = later();
	service_start(hosted.web, "v1", -1, ask(&ann));
	old = started(0);
	later();
	assert_since("starting", started_us);
	ready_us = hosted.now_us;
	hosted_start_up(old);
	later();
	assert_since("serving", ready_us);
	new_us = hosted.now_us;
	new = hosted_roll("v2");
	later();
	assert_since("standby", new_us);
	assert_since("serving", ready_us);
	rests_us = hosted.now_us;
	hosted_lead(old, new, ROLL_QUIESCE);
	hosted_lead_on(old, new, ROLL_QUIESCE, ROLL_COMMIT);
	hosted_pass(USEC_PER_SEC / 10);
	assert_since("quiesced", rests_us);
	commit_us = hosted.now_us;
	hosted_lead_on(old, new, ROLL_COMMIT, ROLL_BAKE);
	later();
	assert_since("serving", commit_us);
	assert_since("parked", commit_us);
	hosted_pass(60 * USEC_PER_SEC);
	assert_status("running", "v2");
	assert_since("serving", commit_us);
	asked_us = hosted.now_us;
	service_stop(hosted.web, ask(&ann));
	hosted_pass(USEC_PER_SEC);
	assert_since("stopping", asked_us);
}

Test(status, says_since_when_a_version_serves_again_from_memory)
{
	struct fake *new = hosted_bake();
	uint64_t back_us = later();

	fake_exit(new, SIGSEGV);
	fake_resumed(started(0));
	later();
	assert_status("running", "v1");
	assert_since("serving", back_us);
}

Test(status, says_since_when_a_version_lies_in_its_image_and_serves_again_from_it)
{
	uint64_t imaged_us, back_us;

	hosted_write("Rollback=image\n");
	hosted_bake();
	imaged_us = later();
	fake_exit(started(0), SIGKILL); /* as the dump's last step */
	back_us = later();
	assert_since("imaged", imaged_us);
	fake_exit(started(1), SIGSEGV);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	assert_since("parked", back_us);
	fake_resumed(started(0));
	later();
	assert_status("running", "v1");
	assert_since("serving", back_us);
}

Test(status, says_since_when_a_version_serves_after_an_undo)
{
	struct fake *new = hosted_bake();
	uint64_t commit_us;

	later();
	undo(&bob);
	later();
	commit_us = hosted.now_us;
	hosted_lead(new, started(2), ROLL_BAKE);
	later();
	assert_since("serving", commit_us);
	assert_since("parked", commit_us);
}

/* A roll that is called off is no reason to count anew: the version never stopped serving. */
Test(status, says_since_when_a_version_serves_beyond_a_roll_that_is_called_off)
{
	struct fake *old = hosted_serve("v1"), *new;
	uint64_t ready_us = hosted.now_us;

	later();
	new = hosted_roll("v2");
	hosted_lead(old, new, ROLL_TRANSFER);
	fake_refused(old, "the state does not fit");
	fake_resumed(old);
	hosted_reap();
	assert_status("running", "v1");
	assert_since("serving", ready_us);
}
