/* SPDX-License-Identifier: MIT */
/* `upgradectl plan` of a service, and the look ahead before a roll that must be able to go back by an image. */
#include "tests/supervisor/hosted.h"

#include <signal.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what
#define GIVEN_UP "web: the plan was given up"

static struct fake *serves;

static void set_up(void)
{
	hosted_set(NULL);
	serves = hosted_serve("v1");
}

static void tear_down(void)
{
	hosted_clear();
}

TestSuite(ahead, .timeout = 20, .init = set_up, .fini = tear_down);

static void plan(struct caller *caller, const char *version)
{
	struct roll_request to = request(version);

	service_plan(hosted.web, &to, ask(caller));
}

static void tell_inventory(struct fake *fake)
{
	Upgraded__Wire__Inventory inventory = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(INVENTORY), .inventory = &inventory);

	inventory.last = true;
	fake_say(fake, &message);
	hosted_turn();
}

/* ---- plan ---- */

Test(ahead, answers_with_the_plan_and_touches_nothing)
{
	plan(&ann, "v2");
	assert_waits(&ann);
	assert_status("running", "v1");
	cr_assert_str_eq(hosted_processes(), "serving v1");
	fake_hello(started(1), 2, true);
	tell_inventory(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: the roll from v1 to v2 can be done, and every way back would be there");
	assert_serving(&ann, serves);
	cr_assert(ann.result->plan->possible && ann.result->plan->rolls == 0);
	cr_assert_str_eq(ann.result->plan->rollback, "auto");
	cr_assert_eq(ann.result->plan->bake_us, 60 * USEC_PER_SEC);
	cr_assert_eq(fake_heard_times(serves, HEARD(PREPARE)), 0);
	hosted_reap();
	cr_assert(is_gone(1));
	/* It can be asked again, and after a roll it knows how long that took. */
	hosted_lead(serves, hosted_roll("v2"), ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	plan(&ann, "v3");
	fake_hello(started(3), 3, true);
	tell_inventory(started(2));
	cr_assert(ann.result->plan->rolls == 1 && ann.result->plan->pause_records == 10);
	cr_assert_str_eq(ann.result->plan->from, "v2");
}

Test(ahead, tells_why_a_roll_would_be_refused)
{
	pid_t pid;

	plan(&ann, "v2");
	pid = started(1)->instance.pid;
	lines_put(&started(1)->instance.lines, "no such table", strlen("no such table"));
	fake_exit(started(1), 1 << 8);
	tell_inventory(serves);
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll from v1 to v2 would be refused");
	assert_text(ann.asked.cause, "version v2 (pid %d) exited with status 1 before it said hello", pid);
	cr_assert_eq(ann.asked.n_lines, 1);
	assert_serving(&ann, serves);
}

Test(ahead, plans_what_was_asked_and_not_what_the_file_says)
{
	struct roll_request to = request("v2");

	to.sets_rollback = true;
	to.rollback = ROLLBACK_PARKED;
	hosted.site->criu_path = NULL;
	service_plan(hosted.web, &to, ask(&ann));
	fake_hello(started(1), 2, true);
	tell_inventory(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: the roll from v1 to v2 can be done, and every way back would be there");
	cr_assert_str_eq(ann.result->plan->rollback, "parked");
	to = request("v2");
	to.require_image = true;
	service_plan(hosted.web, &to, ask(&ann));
	fake_hello(started(2), 2, true);
	tell_inventory(serves);
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll from v1 to v2 would be refused");
	cr_assert(strstr(ann.asked.cause, "an image is required, and there would be none: no usable CRIU"), "%s",
		  ann.asked.cause);
}

Test(ahead, plans_for_the_version_that_serves_where_it_is_wanted_anew)
{
	struct roll_request to = request("v1");

	to.again = true;
	service_plan(hosted.web, &to, ask(&ann));
	fake_hello(started(1), 1, true);
	tell_inventory(serves);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: the roll from v1 to v1 can be done, and every way back would be there");
	cr_assert_not(ann.result->plan->goes_back);
}

Test(ahead, plans_nothing_where_no_roll_could_begin)
{
	plan(&ann, "v1");
	assert_answer(&ann, WIRE_EXIT_DONE, "web runs version v1 already");
	hosted_write("Bake=long\n");
	plan(&ann, "v2");
	assert_answer(&ann, WIRE_EXIT_REFUSED, "the service file of web cannot be used: a roll would be refused");
	cr_assert(strstr(ann.asked.cause, "web.conf:12: Bake=long"), "%s", ann.asked.cause);
	cr_assert_str_eq(ann.asked.next, "fix the service file");
	hosted_write(NULL);
	fake_exit(serves, 0);
	plan(&ann, "v2");
	assert_answer(&ann, WIRE_EXIT_NOT_RUNNING, "web is not running");
	cr_assert_eq(hosted.origin.n_started, 1);
}

/* ann's plan is given up for what bob asks. */
#define assert_gave_way() assert_gave_way_to("something else was asked of the service meanwhile")
#define assert_gave_way_to(why)                                                                       \
	do {                                                                                              \
		assert_answer(&ann, WIRE_EXIT_BUSY, GIVEN_UP);                                                \
		cr_assert_str_eq(ann.asked.cause, why);                                                       \
		cr_assert_str_eq(ann.asked.next, "nothing was touched");                                      \
		assert_serving(&ann, serves);                                                                 \
	} while (0)

Test(ahead, gives_way_to_whatever_else_is_asked)
{
	struct roll_request to = request("v3"), back = request("");

	plan(&ann, "v2");
	plan(&bob, "v3");
	assert_gave_way();
	cr_assert_eq(started(1)->signal, SIGKILL);
	assert_waits(&bob);
	fake_hello(started(2), 3, true);
	tell_inventory(serves);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: the roll from v1 to v3 can be done, and every way back would be there");
	plan(&ann, "v2");
	service_undo(hosted.web, &back, ask(&bob));
	assert_gave_way();
	plan(&ann, "v2");
	service_save(hosted.web, open("/dev/null", O_WRONLY | O_CLOEXEC), ask(&bob));
	assert_gave_way();
	fake_refused(serves, "no");
	plan(&ann, "v2");
	service_roll(hosted.web, &to, ask(&bob));
	assert_gave_way();
	cr_assert_str_eq(hosted_doing(), "standby");
	fake_exit(started(hosted.origin.n_started - 1), 1 << 8);
	plan(&ann, "v2");
	service_stop(hosted.web, ask(&bob));
	assert_gave_way_to("the service is being stopped");
	fake_exit(serves, 0);
	assert_answer(&bob, WIRE_EXIT_DONE, "web is stopped");
}

Test(ahead, ends_with_the_process)
{
	plan(&ann, "v2");
	fake_exit(serves, SIGSEGV);
	assert_answer(&ann, WIRE_EXIT_BUSY, GIVEN_UP);
	cr_assert_str_eq(ann.asked.cause, "the process ended meanwhile");
	cr_assert_str_eq(ann.asked.serving, "nothing");
	cr_assert_eq(started(1)->signal, SIGKILL);
	hosted_pass(100 * USEC_PER_MSEC);
	hosted_start_up(started(2));
	assert_status("running", "v1");
}

Test(ahead, ends_when_nobody_wants_to_know_any_more)
{
	plan(&ann, "v2");
	caller_leave(&ann);
	cr_assert_eq(started(1)->signal, SIGKILL);
	tell_inventory(serves);
	hosted_reap();
	hosted_pass(20 * USEC_PER_SEC);
	assert_status("running", "v1");
	/* Also at the last moment, when all has come. */
	plan(&ann, "v2");
	fake_hello(started(2), 2, true);
	caller_leave(&ann);
	tell_inventory(serves);
	cr_assert_str_eq(hosted_processes(), "serving v1");
}

/* ---- before a roll ---- */

/* ann asks for a roll that must be able to go back by an image. */
static void roll_surely(void)
{
	struct roll_request to = request("v2");

	to.require_image = true;
	service_roll(hosted.web, &to, ask(&ann));
}

Test(ahead, lets_a_roll_begin_that_could_go_back_by_an_image)
{
	roll_surely();
	cr_assert_str_eq(hosted_doing(), "preflight");
	cr_assert_eq(hosted.origin.n_started, 1, "only the process that serves is looked at");
	tell_inventory(serves);
	cr_assert_str_eq(hosted_doing(), "standby");
	hosted_lead(serves, started(1), ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
}

Test(ahead, looks_before_each_roll_if_the_service_file_says_so)
{
	struct roll_request to = request("v2"), back = request("");

	hosted_write("RequireImage=yes\n");
	service_roll(hosted.web, &to, ask(&ann));
	cr_assert_str_eq(hosted_doing(), "preflight");
	hosted_pass(2 * USEC_PER_SEC); /* it does not tell what it has registered */
	hosted_turn();
	hosted_lead(serves, started(1), ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE, "web: version v2 serves");
	/* Version v1 was started with a service file that requires none, and an undo uses that one. */
	service_undo(hosted.web, &back, ask(&bob));
	cr_assert_str_eq(hosted_doing(), "standby");
	hosted_lead(started(1), started(2), ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&bob, WIRE_EXIT_DONE, "web: version v1 serves");
}

Test(ahead, refuses_a_roll_that_could_not_go_back_by_an_image)
{
	fake_imaging.has_obstacle = true;
	roll_surely();
	tell_inventory(serves);
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused: it could not go back by an image");
	cr_assert_str_eq(ann.asked.cause, "a tape drive is open");
	cr_assert_str_eq(ann.asked.next,
			 "nothing was touched; fix the cause, or roll without --require-image (RequireImage=)");
	assert_serving(&ann, serves);
	cr_assert_eq(hosted.origin.n_started, 1);
	assert_status("running", "v1");
	fake_imaging.has_obstacle = false;
	roll_surely();
	tell_inventory(serves);
	assert_waits(&ann);
	cr_assert_str_eq(hosted_doing(), "standby");
}

Test(ahead, refuses_a_roll_that_cannot_begin_after_all)
{
	roll_surely();
	hosted.origin.refuses = true;
	tell_inventory(serves);
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll to v2 was refused");
	cr_assert_str_eq(ann.asked.cause, "version v2: no such file");
	assert_serving(&ann, serves);
}

Test(ahead, refuses_a_roll_if_the_process_ends_meanwhile)
{
	roll_surely();
	fake_exit(serves, SIGSEGV);
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll was refused");
	cr_assert_str_eq(ann.asked.cause, "the process ended meanwhile");
	cr_assert_str_eq(ann.asked.serving, "nothing");
	assert_status("waiting to restart", "v1");
	hosted_pass(100 * USEC_PER_MSEC);
	hosted_start_up(started(1));
	hosted_pass(5 * USEC_PER_SEC);
	assert_status("running", "v1");
}

Test(ahead, rolls_even_if_nobody_waits_for_it_any_more)
{
	roll_surely();
	caller_leave(&ann);
	tell_inventory(serves);
	hosted_lead(serves, started(1), ROLL_BAKE);
	hosted_pass(60 * USEC_PER_SEC);
	assert_status("running", "v2");
	/* And where it is refused, nobody hears of it. */
	fake_imaging.has_obstacle = true;
	serves = started(1);
	hosted_write("RequireImage=yes\n");
	service_roll(hosted.web, &(struct roll_request){ .version = "v3" }, ask(&ann));
	caller_leave(&ann);
	tell_inventory(serves);
	assert_status("running", "v2");
}

Test(ahead, tells_if_the_image_fails_although_nothing_spoke_against_it)
{
	roll_surely();
	tell_inventory(serves);
	hosted_lead(serves, started(1), ROLL_IMAGE);
	fake_imaging_done(-5, CRIU_TARGET_RUNNING);
	hosted_pass(60 * USEC_PER_SEC);
	assert_answer(&ann, WIRE_EXIT_DONE,
		      "web: version v2 serves, but the required image could not be taken; the way back is parked");
	cr_assert_str_eq(ann.asked.cause, "CRIU failed");
}

Test(ahead, is_over_before_the_daemon_ends)
{
	roll_surely();
	service_end(hosted.web);
	assert_answer(&ann, WIRE_EXIT_REFUSED, "web: the roll was refused");
	cr_assert_str_eq(ann.asked.cause, "the service is being stopped");
	cr_assert_eq(serves->signal, SIGTERM);
	hosted_end_all();
	assert_status("stopped", "v1");
	hosted_serve("v1");
	plan(&ann, "v2");
	hosted_end_all();
	assert_answer(&ann, WIRE_EXIT_BUSY, GIVEN_UP);
}
