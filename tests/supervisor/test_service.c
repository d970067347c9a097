/* SPDX-License-Identifier: MIT */
/* What is asked of a service: what it says to whom, and what it does. */
#include "tests/supervisor/hosted.h"

#include <errno.h>
#include <signal.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what
#define IN_BAKE "wait for the end of the bake, end it with upgradectl accept, or go back with upgradectl undo"
#define OTHERWISE "wait for it, or abort it with upgradectl abort"

static void set_up(void)
{
	hosted_set(NULL);
}

static void tear_down(void)
{
	hosted_clear();
}

TestSuite(service, .timeout = 20, .init = set_up, .fini = tear_down);

static void start(struct caller *caller, const char *version)
{
	service_start(hosted.web, version, -1, ask(caller));
}

static void stop(struct caller *caller)
{
	service_stop(hosted.web, ask(caller));
}

static void roll(struct caller *caller, const char *version)
{
	struct roll_request to = request(version);

	service_roll(hosted.web, &to, ask(caller));
}

static void undo(struct caller *caller)
{
	struct roll_request back = request("");

	service_undo(hosted.web, &back, ask(caller));
}

static void plan(struct caller *caller, const char *version)
{
	struct roll_request to = request(version);

	service_plan(hosted.web, &to, ask(caller));
}

/* Return: the descriptor that was given along. */
static int save(struct caller *caller)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	service_save(hosted.web, fd, ask(caller));
	return fd;
}

/* ---- stopping ---- */

Test(service, stops_its_process_gently)
{
	struct fake *fake = hosted_serve("v1");

	stop(&ann);
	cr_assert_eq(fake->signal, SIGTERM);
	assert_waits(&ann);
	assert_status("stopping", "v1");
	cr_assert_str_eq(hosted_processes(), "stopping v1");
	fake_exit(fake, 0);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is stopped");
	cr_assert_str_eq(ann.asked.serving, "nothing");
	assert_status("stopped", "v1");
	/* The time to end it by force is over, too. */
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 1);
}

Test(service, kills_a_process_that_does_not_stop)
{
	struct fake *fake = hosted_serve("v1");

	stop(&ann);
	hosted_pass(5 * USEC_PER_SEC - 1);
	cr_assert_eq(fake->signal, SIGTERM);
	hosted_pass(1);
	cr_assert_eq(fake->signal, SIGKILL);
	assert_waits(&ann);
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_DONE, "web is stopped");
	assert_status("stopped", "v1");
}

Test(service, is_stopped_however_its_process_ends)
{
	struct fake *fake = hosted_serve("v1");

	stop(&ann);
	fake_exit(fake, SIGSEGV);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is stopped");
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 1, "it was started again");
}

Test(service, answers_the_first_of_two_who_stop_it)
{
	struct fake *fake = hosted_serve("v1");

	stop(&ann);
	stop(&bob);
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: it is being stopped already");
	fake_exit(fake, 0);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is stopped");
	cr_assert_eq(bob.asked.answers, 1);
	stop(&bob);
	assert_answer(&bob, WIRE_EXIT_DONE, "web is stopped already");
}

Test(service, is_stopped_while_it_starts)
{
	start(&ann, "v1");
	stop(&bob);
	assert_answer(&ann, WIRE_EXIT_ERROR, "web: the start of version v1 was aborted");
	cr_assert_str_eq(ann.asked.cause, "the service is being stopped");
	assert_waits(&bob);
	/* It has nothing yet that is not elsewhere. */
	cr_assert_eq(started(0)->signal, SIGKILL);
	hosted_reap();
	assert_answer(&bob, WIRE_EXIT_DONE, "web is stopped");
	/* Nothing ever served: the next start has to name a version. */
	assert_status("stopped", "");
}

Test(service, is_not_started_again_once_it_was_stopped)
{
	fake_exit(hosted_serve("v1"), SIGSEGV);
	assert_status("waiting to restart", "v1");
	stop(&ann);
	assert_answer(&ann, WIRE_EXIT_DONE, "web will not be started again");
	assert_status("stopped", "v1");
	stop(&ann);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is stopped already");
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 1);
}

Test(service, accepts_a_version_that_bakes_when_it_is_stopped)
{
	struct fake *new = hosted_bake();

	stop(&bob);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_serving(&ann, new);
	assert_waits(&bob);
	cr_assert_eq(new->signal, SIGTERM);
	hosted_reap(); /* the parked version */
	cr_assert(is_gone(0));
	fake_exit(new, 0);
	assert_answer(&bob, WIRE_EXIT_DONE, "web is stopped");
	assert_status("stopped", "v2");
	/* The state is gone, and with it what could be gone back to. */
	start(&ann, "");
	hosted_start_up(started(2));
	cr_assert_str_eq(started(2)->instance.version, "v2");
	undo(&ann);
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: there is nothing to undo: version v2 was not rolled to");
}

Test(service, is_stopped_even_if_the_version_that_bakes_is_just_ending)
{
	struct fake *new = hosted_bake();

	fake_begin_exit(new, SIGSEGV);
	stop(&bob);
	fake_end_exit(new);
	assert_answer(&bob, WIRE_EXIT_DONE, "web is stopped");
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 2);
}

/* ---- starting ---- */

Test(service, is_not_started_twice)
{
	struct fake *fake = hosted_serve("v1");

	start(&bob, "v2");
	assert_answer(&bob, WIRE_EXIT_ERROR, "web runs already: version v1 (pid %d)", fake->instance.pid);
	cr_assert_str_eq(bob.asked.next, "to change its version use upgradectl roll");
	assert_serving(&bob, fake);
	cr_assert_eq(hosted.origin.n_started, 1);
}

Test(service, answers_the_first_of_two_who_start_it)
{
	start(&ann, "v1");
	start(&bob, "v2");
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: another change is under way (starting)");
	cr_assert_str_eq(bob.asked.next, OTHERWISE);
	fake_exit(started(0), 1 << 8);
	assert_answer(&ann, WIRE_EXIT_ERROR, "web version v1 could not be started");
	start(&bob, "v2");
	hosted_start_up(started(1));
	assert_answer(&bob, WIRE_EXIT_DONE, "web version v2 serves (pid %d)", started(1)->instance.pid);
	cr_assert_eq(ann.asked.answers, 1);
}

Test(service, takes_the_version_of_its_file_the_first_time_and_then_the_last_one)
{
	hosted_write("Version=v3\n");
	start(&ann, "");
	cr_assert_str_eq(started(0)->instance.version, "v3");
	hosted_start_up(started(0));
	stop(&ann);
	fake_exit(started(0), 0);
	hosted_serve("v1");
	stop(&ann);
	fake_exit(started(1), 0);
	start(&ann, "");
	cr_assert_str_eq(started(2)->instance.version, "v1");
}

Test(service, reads_its_file_anew_at_each_start)
{
	fake_exit(hosted_serve("v1"), 0);
	hosted_write("Restart=no\n");
	fake_exit(hosted_serve("v1"), SIGSEGV);
	assert_status("failed", "v1");
	hosted_write("Restart=perhaps\n");
	start(&ann, "v1");
	assert_answer(&ann, WIRE_EXIT_ERROR, "the service file of web cannot be used");
	cr_assert(strstr(ann.asked.cause, "web.conf:12: Restart=perhaps: expected on-failure or no"), "%s", ann.asked.cause);
	cr_assert_str_eq(ann.asked.next, "fix the service file");
	place_remove(&hosted.place, "web.conf");
	start(&ann, "v1");
	assert_answer(&ann, WIRE_EXIT_NO_SUCH_SERVICE, "there is no service web");
	cr_assert_eq(hosted.origin.n_started, 2);
}

/* ---- a roll ---- */

Test(service, rolls_and_answers_at_the_end_of_the_bake)
{
	struct fake *new = hosted_bake();

	assert_waits(&ann);
	cr_assert(strstr(ann.said, "standby: version v2 started as pid "), "%s", ann.said);
	cr_assert(strstr(ann.said, "bake: watching version v2 for 60000 ms; way back: parked+image\n"), "%s", ann.said);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_serving(&ann, new);
	cr_assert_str_eq(ann.result->roll->outcome, "done");
	cr_assert_eq(ann.result->roll->records, 10);
	cr_assert_eq(fake_heard_last(new), HEARD(BAKED));
	cr_assert_eq(started(0)->signal, SIGKILL);
	hosted_reap();
	assert_status("running", "v2");
	cr_assert_str_eq(hosted_processes(), "serving v2");
	/* What is started again after a crash is the version that was accepted. */
	fake_exit(new, SIGSEGV);
	hosted_pass(100 * USEC_PER_MSEC);
	cr_assert_str_eq(started(2)->instance.version, "v2");
}

Test(service, answers_at_the_commit_whoever_wants_that)
{
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	ann.asked.asker.wait_commit = true;
	hosted_lead(old, new, ROLL_COMMIT);
	assert_waits(&ann);
	hosted_lead_on(old, new, ROLL_COMMIT, ROLL_PARK);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	assert_serving(&ann, new);
	cr_assert_str_eq(ann.result->roll->outcome, "committed");
	hosted_lead_on(old, new, ROLL_PARK, ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(ann.asked.answers, 1);
	assert_status("running", "v2");
}

Test(service, is_not_rolled_to_the_version_that_it_runs)
{
	struct fake *old = hosted_serve("v1");

	roll(&bob, "v1");
	assert_answer(&bob, WIRE_EXIT_DONE, "web runs version v1 already");
	cr_assert(strstr(bob.asked.next, "a new build needs a new version name"), "%s", bob.asked.next);
	cr_assert(strstr(bob.asked.next, "use --again"), "%s", bob.asked.next);
	assert_serving(&bob, old);
}

Test(service, refuses_a_roll_to_what_cannot_be_started)
{
	struct fake *old = hosted_serve("v1");

	hosted.origin.refuses = true;
	roll(&bob, "v2");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused");
	cr_assert_str_eq(bob.asked.cause, "version v2: no such file");
	cr_assert_str_eq(bob.asked.next, "nothing was touched");
	assert_serving(&bob, old);
	hosted.origin.refuses = false;
	hosted_lead(old, hosted_roll("v2"), ROLL_BAKE);
	assert_status("baking", "v2");
}

Test(service, refuses_a_roll_whose_checks_cannot_be_made)
{
	struct fake *old = hosted_serve("v1");

	hosted_write("HealthTCP=127.0.0.1:1%v\n");
	roll(&bob, "v2");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused");
	cr_assert(strstr(bob.asked.cause, "web.conf:12: HealthTCP"), "%s", bob.asked.cause);
	assert_serving(&bob, old);
	cr_assert_eq(hosted.origin.n_started, 1);
}

Test(service, refuses_a_roll_with_a_service_file_that_is_broken_or_gone)
{
	struct fake *old = hosted_serve("v1");

	hosted_write("Bake=long\n");
	roll(&bob, "v2");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "the service file of web cannot be used");
	cr_assert(strstr(bob.asked.cause, "web.conf:12: Bake=long"), "%s", bob.asked.cause);
	cr_assert_str_eq(bob.asked.next, "nothing was touched; fix the service file");
	assert_serving(&bob, old);
	place_remove(&hosted.place, "web.conf");
	roll(&bob, "v2");
	assert_answer(&bob, WIRE_EXIT_REFUSED, "the service file of web cannot be used");
	/* Its process runs by what was read before. */
	fake_exit(old, SIGSEGV);
	hosted_pass(100 * USEC_PER_MSEC);
	hosted_start_up(started(1));
	assert_status("running", "v1");
}

Test(service, serves_on_when_the_new_version_refuses)
{
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");
	pid_t pid = new->instance.pid;

	lines_put(&new->instance.lines, "no licence", strlen("no licence"));
	fake_hello(new, 2, true);
	fake_refused(new, "not on this machine");
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused; nothing was touched");
	assert_text(ann.asked.cause, "version v2 (pid %d) refused to take over: not on this machine", pid);
	cr_assert_eq(ann.asked.n_lines, 1);
	assert_serving(&ann, old);
	cr_assert_eq(old->n_sent, 1, "it heard of the roll"); /* Welcome */
	cr_assert(is_gone(1));
	assert_status("running", "v1");
}

Test(service, serves_on_when_the_new_version_is_too_slow_or_cannot_read_the_state)
{
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	hosted_pass(10 * USEC_PER_SEC);
	cr_assert_eq(new->signal, SIGKILL);
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused; nothing was touched");
	cr_assert(strstr(ann.asked.cause, "did not say hello within 10000 ms (StartTimeout=)"), "%s", ann.asked.cause);
	new = hosted_roll("v2");
	fake_hello(new, 2, false);
	fake_standby(new);
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused; nothing was touched");
	cr_assert(strstr(ann.asked.cause, "no migration of thing from version 1 (v1) to 2 (v2) in v2"), "%s", ann.asked.cause);
	assert_serving(&ann, old);
}

Test(service, serves_on_when_a_roll_is_called_off)
{
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");
	pid_t pid = old->instance.pid;

	hosted_lead(old, new, ROLL_QUIESCE);
	fake_refused(old, "a thread is stuck");
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK, "web: the roll to v2 was aborted before it committed; nothing was lost");
	assert_text(ann.asked.cause, "version v1 (pid %d): a thread is stuck", pid);
	assert_serving(&ann, old);
	cr_assert_str_eq(ann.result->roll->outcome, "aborted");
	assert_status("running", "v1");
}

Test(service, goes_back_to_memory_when_the_new_version_fails)
{
	struct fake *new = hosted_bake(), *old = started(0);
	pid_t pid = new->instance.pid;

	hosted_pass(5 * USEC_PER_SEC);
	lines_put(&new->instance.lines, "assertion failed", strlen("assertion failed"));
	fake_exit(new, SIGABRT);
	assert_waits(&ann);
	assert_status("rolling", "v2");
	fake_resumed(old);
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK,
		      "web: version v2 failed after it had taken over; v1 is back from memory and serves");
	assert_text(ann.asked.cause, "version v2 (pid %d) was killed by SIGABRT", pid);
	cr_assert_str_eq(ann.asked.next, "changes since the commit are lost. Fix the cause, then run: upgradectl roll web v2");
	cr_assert_str_eq(ann.result->log_lines[0], "assertion failed");
	cr_assert_eq(ann.result->roll->lost_us, 5 * USEC_PER_SEC);
	assert_serving(&ann, old);
	assert_status("running", "v1");
	undo(&ann);
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: there is nothing to undo: version v1 was not rolled to");
}

Test(service, goes_back_to_the_image_when_nothing_else_is_left)
{
	struct fake *new = hosted_bake(), *old = started(0);

	fake_exit(old, SIGKILL);
	fake_exit(new, SIGSEGV);
	cr_assert(fake_imaging.restores);
	fake_imaging_done(0, CRIU_TARGET_RUNNING);
	fake_resumed(old);
	assert_answer(&ann, WIRE_EXIT_ROLLED_BACK,
		      "web: version v2 failed after it had taken over; v1 is back from its image and serves");
	cr_assert_str_eq(ann.result->roll->outcome, "rolled-back-image");
	assert_serving(&ann, old);
	assert_status("running", "v1");
}

Test(service, starts_the_version_before_empty_when_no_way_back_is_left)
{
	struct fake *new;

	hosted_write("Rollback=none\n");
	new = hosted_bake();
	hosted_reap(); /* the old version, which is not kept */
	fake_exit(new, SIGSEGV);
	assert_waits(&ann);
	cr_assert_str_eq(started(2)->instance.version, "v1");
	hosted_start_up(started(2));
	cr_assert_eq(fake_heard_last(started(2)), HEARD(WELCOME));
	assert_answer(&ann, WIRE_EXIT_WAY_BACK_FAILED,
		      "web: the roll to v2 failed and no way back was left; v1 was started empty");
	assert_serving(&ann, started(2));
	assert_status("running", "v1");
}

Test(service, has_the_process_that_does_not_count_go_first_when_memory_is_short)
{
	struct fake *old = hosted_serve("v1"), *new;
	struct roll_request back = request("");

	cr_assert_not(old->instance.victim.is_first);
	new = hosted_roll("v2");
	cr_assert(new->instance.victim.is_first && !old->instance.victim.is_first);
	hosted_lead(old, new, ROLL_BAKE);
	cr_assert(!new->instance.victim.is_first && old->instance.victim.is_first);
	/* Undone with all its state: a fresh process is first until it has taken over. */
	service_undo(hosted.web, &back, ask(&bob));
	cr_assert(started(2)->instance.victim.is_first && !new->instance.victim.is_first);
	hosted_lead(new, started(2), ROLL_BAKE);
	cr_assert(!started(2)->instance.victim.is_first && new->instance.victim.is_first);
}

Test(service, that_starts_empty_for_want_of_a_way_back_counts)
{
	struct fake *new;

	hosted_write("Rollback=none\n");
	new = hosted_bake();
	hosted_reap(); /* the old version, which is not kept */
	fake_exit(new, SIGSEGV);
	cr_assert_not(started(2)->instance.victim.is_first);
}

Test(service, can_be_started_by_hand_after_a_way_back_that_failed)
{
	struct fake *new;
	pid_t pid;

	hosted_write("Rollback=none\n");
	new = hosted_bake();
	pid = new->instance.pid;
	hosted.origin.refuses = true;
	hosted_reap(); /* the old version, which is not kept */
	fake_exit(new, SIGSEGV);
	assert_answer(&ann, WIRE_EXIT_WAY_BACK_FAILED,
		      "web: the roll to v2 failed, no way back was left, and version v1 does not start");
	cr_assert_str_eq(ann.asked.serving, "nothing");
	cr_assert_str_eq(ann.asked.next, "start it by hand: upgradectl start web v1");
	assert_status("failed", "v1");
	roll(&ann, "v2");
	assert_answer(&ann, WIRE_EXIT_NOT_RUNNING, "web is not running");
	assert_text(ann.asked.cause, "version v2 (pid %d) was killed by SIGSEGV", pid);
	hosted.origin.refuses = false;
	start(&ann, "");
	hosted_start_up(started(2));
	assert_status("running", "v1");
}

Test(service, starts_a_version_again_that_ended_during_a_roll_which_was_refused)
{
	struct fake *old = hosted_serve("v1");

	hosted_roll("v2");
	fake_exit(old, SIGSEGV);
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused; nothing was touched");
	cr_assert_str_eq(ann.asked.serving, "nothing");
	assert_status("waiting to restart", "v1");
	hosted_pass(100 * USEC_PER_MSEC);
	hosted_start_up(started(2));
	assert_status("running", "v1");
}

Test(service, rolls_as_it_was_asked_to_and_not_as_its_file_says)
{
	struct fake *old = hosted_serve("v1"), *new;
	struct roll_request to = request("v2");

	to.sets_rollback = true;
	to.rollback = ROLLBACK_PARKED;
	to.bake_us = 5 * USEC_PER_SEC;
	service_roll(hosted.web, &to, ask(&ann));
	new = started(1);
	hosted_lead(old, new, ROLL_BAKE);
	cr_assert_eq(fake_imaging.taken, 0);
	hosted_pass(5 * USEC_PER_SEC - 1);
	assert_waits(&ann);
	hosted_pass(1);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	cr_assert_str_eq(ann.result->roll->way_back, "parked");
	cr_assert_not(ann.result->roll->verified);
	to = request("v3");
	to.sets_verify = true;
	to.verify = VERIFY_ROUNDTRIP;
	service_roll(hosted.web, &to, ask(&ann));
	hosted_lead(new, started(2), ROLL_BAKE);
	stop(&bob);
	cr_assert(ann.result->roll->verified);
}

/* ---- busy ---- */

/* bob is refused whatever he asks, but for what calls off. @committed: undo and a roll onward mean something now. */
static void refuses_bob(const char *change, const char *doing, bool committed)
{
	int fd;

	if (!committed) {
		undo(&bob);
		assert_answer(&bob, WIRE_EXIT_BUSY, "web: another %s is under way (%s)", change, doing);
		roll(&bob, "v3");
		assert_answer(&bob, WIRE_EXIT_BUSY, "web: another %s is under way (%s)", change, doing);
	}
	start(&bob, "v3");
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: another %s is under way (%s)", change, doing);
	cr_assert_str_eq(bob.asked.next, OTHERWISE);
	plan(&bob, "v3");
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: another %s is under way (%s)", change, doing);
	fd = save(&bob);
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: another %s is under way (%s)", change, doing);
	cr_assert(fcntl(fd, F_GETFD) < 0 && errno == EBADF, "the file is still open");
}

Test(service, does_one_thing_at_a_time)
{
	struct fake *old = hosted_serve("v1");

	save(&ann);
	refuses_bob("change", "saving", false);
	fake_saved(old, 10, 0);
	fake_resumed(old);
	assert_answer(&ann, WIRE_EXIT_DONE, "web is saved");
	stop(&ann);
	refuses_bob("change", "stopping", false);
	fake_exit(old, 0);
	start(&ann, "v1");
	refuses_bob("change", "starting", false);
	hosted_write("RequireImage=yes\n");
	hosted_start_up(started(1));
	roll(&ann, "v2");
	refuses_bob("change", "preflight", false);
	assert_waits(&ann);
}

Test(service, does_nothing_else_during_a_roll)
{
	static const struct {
		enum roll_state state;
		const char *name;
	} states[] = {
		{ ROLL_STANDBY, "standby" }, { ROLL_QUIESCE, "quiesce" }, { ROLL_TRANSFER, "transfer" },
		{ ROLL_LOADING, "loading" }, { ROLL_COMMIT, "commit" },	  { ROLL_PARK, "park" },
		{ ROLL_IMAGE, "image" },
	};
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");
	enum roll_state at = ROLL_STANDBY;

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		hosted_lead_on(old, new, at, states[i].state);
		at = states[i].state;
		refuses_bob("roll", states[i].name, at >= ROLL_PARK);
	}
	assert_waits(&ann);
}

Test(service, only_ends_a_bake_while_a_version_bakes)
{
	int fd;

	hosted_bake();
	start(&bob, "v3");
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: another roll is under way (bake)");
	cr_assert_str_eq(bob.asked.next, IN_BAKE);
	plan(&bob, "v3");
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: another roll is under way (bake)");
	fd = save(&bob);
	assert_answer(&bob, WIRE_EXIT_BUSY, "web: another roll is under way (bake)");
	cr_assert(fcntl(fd, F_GETFD) < 0);
	undo(&bob);
	assert_waits(&bob);
	cr_assert_str_eq(hosted_doing(), "backward");
}

/* ---- without a file ---- */

Test(service, is_known_as_long_as_something_of_it_runs_even_without_its_file)
{
	struct registry *registry = &hosted.place.registry;
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	place_remove(&hosted.place, "web.conf");
	cr_assert_eq(registry_scan(registry, NULL), 0);
	hosted_lead(old, new, ROLL_BAKE);
	cr_assert_eq(registry_scan(registry, NULL), 0);
	undo(&bob);
	hosted_lead(new, started(2), ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
	fake_exit(started(2), SIGSEGV);
	cr_assert_eq(registry_scan(registry, NULL), 0);
	assert_status("waiting to restart", "v1");
	stop(&bob);
	assert_answer(&bob, WIRE_EXIT_DONE, "web will not be started again");
	cr_assert_eq(registry_known(registry, "web"), hosted.web);
	cr_assert_eq(registry_scan(registry, NULL), 0);
	cr_assert_null(registry_known(registry, "web"));
}

/* ---- who asked goes away ---- */

Test(service, starts_and_stops_even_if_nobody_waits_for_it_any_more)
{
	start(&ann, "v1");
	caller_leave(&ann);
	fake_progress(started(0), "half");
	hosted_start_up(started(0));
	assert_status("running", "v1");
	stop(&ann);
	caller_leave(&ann);
	hosted_pass(5 * USEC_PER_SEC);
	hosted_reap();
	assert_status("stopped", "v1");
	start(&ann, "v1");
	caller_leave(&ann);
	fake_exit(started(1), 1 << 8);
	assert_status("failed", "v1");
}

Test(service, rolls_even_if_nobody_waits_for_it_any_more)
{
	static const enum roll_state states[] = { ROLL_STANDBY, ROLL_QUIESCE, ROLL_TRANSFER, ROLL_LOADING,
						  ROLL_COMMIT,	ROLL_PARK,    ROLL_IMAGE,    ROLL_BAKE };
	struct fake *old = hosted_serve("v1");

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		const char *version = i % 2 ? "v1" : "v2";
		struct fake *new = hosted_roll(version);

		hosted_lead(old, new, states[i]);
		caller_leave(&ann);
		hosted_lead_on(old, new, states[i], ROLL_BAKE);
		hosted_pass(60 * USEC_PER_SEC);
		hosted_reap();
		assert_status("running", version);
		old = new;
	}
}

Test(service, goes_back_even_if_nobody_waits_for_it_any_more)
{
	struct fake *new = hosted_bake();

	caller_leave(&ann);
	fake_exit(new, SIGSEGV);
	fake_resumed(started(0));
	assert_status("running", "v1");
}

/* ---- the daemon ends ---- */

Test(service, ends_with_the_daemon)
{
	hosted_serve("v1");
	hosted_end_all();
	cr_assert(is_gone(0));
	assert_status("stopped", "v1");
	cr_assert_eq(hosted.origin.n_started, 1);
	/* A start is called off. */
	start(&ann, "v1");
	service_end(hosted.web);
	cr_assert_not(service_is_idle(hosted.web));
	assert_answer(&ann, WIRE_EXIT_ERROR, "web: the start of version v1 was aborted");
	hosted_end_all();
	cr_assert(is_gone(1));
	/* A restart does not come any more. */
	fake_exit(hosted_serve("v1"), SIGSEGV);
	hosted_end_all();
	hosted_pass(60 * USEC_PER_SEC);
	cr_assert_eq(hosted.origin.n_started, 3);
	assert_status("stopped", "v1");
}

/* ann's roll is at @state when the daemon ends. */
static void ends_in(enum roll_state state, enum wire_exit code, const char *text)
{
	struct fake *old = hosted_serve("v1"), *new = hosted_roll("v2");

	hosted_lead(old, new, state);
	hosted_end_all();
	assert_answer(&ann, code, "%s", text);
}

Test(service, ends_with_the_daemon_when_its_roll_has_come_to_an_end)
{
	static const char refused[] = "web: the roll to v2 was refused; nothing was touched",
			  aborted[] = "web: the roll to v2 was aborted before it committed; nothing was lost",
			  done[] = "web: version v2 serves";

	ends_in(ROLL_STANDBY, WIRE_EXIT_REFUSED, refused);
	assert_status("stopped", "v1");
	ends_in(ROLL_QUIESCE, WIRE_EXIT_ROLLED_BACK, aborted);
	ends_in(ROLL_TRANSFER, WIRE_EXIT_ROLLED_BACK, aborted);
	ends_in(ROLL_LOADING, WIRE_EXIT_ROLLED_BACK, aborted);
	ends_in(ROLL_COMMIT, WIRE_EXIT_ROLLED_BACK, aborted);
	cr_assert_str_eq(ann.asked.cause, "aborted by the operator");
	assert_status("stopped", "v1");
	ends_in(ROLL_PARK, WIRE_EXIT_DONE, done);
	ends_in(ROLL_IMAGE, WIRE_EXIT_DONE, done);
	ends_in(ROLL_BAKE, WIRE_EXIT_DONE, done);
	assert_status("stopped", "v2");
}

Test(service, goes_at_once_with_all_that_is_under_way)
{
	static const enum roll_state states[] = { ROLL_STANDBY, ROLL_TRANSFER, ROLL_PARK, ROLL_BAKE };
	struct fake *old;

	start(&ann, "v1");
	hosted_clear();
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		hosted_set(NULL);
		old = hosted_serve("v1");
		hosted_lead(old, hosted_roll("v2"), states[i]);
		if (states[i] == ROLL_BAKE)
			undo(&bob);
		hosted_clear();
		cr_assert(ann.asked.answers == 0 && !ann.asked.asker.service && !bob.asked.asker.service);
	}
	hosted_set(NULL);
	hosted_serve("v1");
	save(&ann);
	hosted_clear();
	hosted_set(NULL);
	hosted_serve("v1");
	plan(&ann, "v2");
	hosted_clear();
	assert_answer(&ann, WIRE_EXIT_BUSY, "web: the plan was given up");
	cr_assert_str_eq(ann.asked.cause, "upgraded ends");
	hosted_set(NULL);
}

Test(service, does_not_tell_that_a_version_is_ready_which_is_dismissed)
{
	struct fake *new;

	hosted_serve("v1");
	new = hosted_roll("v2");
	fake_hello(new, 2, true);
	fake_refused(new, "not today");
	fake_standby(new);
	cr_assert_null(strstr(ann.said, "is ready to receive"), "%s", ann.said);
	hosted_reap();
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused; nothing was touched");
}
