/* SPDX-License-Identifier: MIT */
#include "cli/render_text.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void use_utc(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
}

TestSuite(render_text, .timeout = 20, .init = use_utc);

#define VERB(name) UPGRADED__WIRE__VERB__VERB_##name

static char *output;
static size_t output_size;

static struct term page(bool utf8)
{
	struct term term = { .utf8 = utf8 };

	term.out = open_memstream(&output, &output_size);
	cr_assert(term.out);
	return term;
}

static void expect_page(struct term *term, const char *expected)
{
	fclose(term->out);
	cr_expect_str_eq(output, expected);
	free(output);
}

/* The protocol's strings are writable; these are not written. */
#define TEXT(literal) (__extension__({ static char text_[] = literal; text_; }))

#define FILL_ROLL(roll)                           \
	do {                                      \
		upgraded__wire__roll_report__init(roll); \
		(roll)->from = TEXT("1.0");       \
		(roll)->to = TEXT("2.0");         \
		(roll)->outcome = TEXT("done");   \
		(roll)->records = 1000000;        \
		(roll)->state_bytes = 246415360;  \
		(roll)->fds = 14;                 \
		(roll)->pause_us = 3210;          \
		(roll)->commit_us = 99;           \
		(roll)->way_back = TEXT("parked+image"); \
		(roll)->image_bytes = 251658240;  \
		(roll)->image_us = 890000;        \
	} while (0)

Test(render_text, summary_of_a_roll)
{
	struct args args = { .verb = VERB(ROLL), .verb_name = "roll", .service = "web", .version = "2.0" };
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;

	upgraded__wire__result__init(&result);
	FILL_ROLL(&roll);
	result.roll = &roll;
	result.text = TEXT("2.0 serves");
	result.serving = TEXT("2.0 (pid 4242)");
	render_summary(&term, &args, &result);
	expect_page(&term, "✓ web: 1.0 -> 2.0, done\n"
			   "      result  2.0 serves\n"
			   "       pause  3.21 ms\n"
			   "     records  1,000,000 (235 MiB)\n"
			   "         fds  14\n"
			   "     serving  2.0 (pid 4242)\n");
}

Test(render_text, the_wait_until_a_version_was_ready_stands_beside_the_pause)
{
	struct args args = { .verb = VERB(ROLL), .verb_name = "roll", .service = "web", .version = "2.0" };
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;

	upgraded__wire__result__init(&result);
	FILL_ROLL(&roll);
	roll.waited_us = 989000;
	roll.asked = 12;
	roll.waited_for = TEXT("connection 17 uploads");
	result.roll = &roll;
	render_summary(&term, &args, &result);
	expect_page(&term, "✓ web: 1.0 -> 2.0, done\n"
			   "       pause  3.21 ms\n"
			   "      waited  989 ms to be ready, asked 12 times\n"
			   "  waited for  connection 17 uploads\n"
			   "     records  1,000,000 (235 MiB)\n"
			   "         fds  14\n");
}

Test(render_text, a_journal_says_what_it_saved_and_what_it_could_not)
{
	struct args args = { .verb = VERB(ROLL), .verb_name = "roll", .service = "web", .version = "2.0" };
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;

	upgraded__wire__result__init(&result);
	FILL_ROLL(&roll);
	roll.outcome = TEXT("rolled-back-parked");
	roll.kept = 12;
	roll.journal = true;
	roll.replayed = 1234;
	roll.adopted = 2;
	result.code = 6;
	result.text = TEXT("2.0 died, 1.0 serves again");
	result.roll = &roll;
	render_failure(&term, &args, &result);
	expect_page(&term, "upgradectl: roll web 2.0: 2.0 died, 1.0 serves again\n"
			   "        roll  1.0 -> 2.0, rolled-back-parked\n"
			   "     journal  1,234 changes were taken over, and 2 connections of the failed version\n"
			   " connections  12 kept, 0 reset\n");
	roll.journal = false;
	roll.journal_note = TEXT("it was full");
	term = page(true);
	render_failure(&term, &args, &result);
	expect_page(&term, "upgradectl: roll web 2.0: 2.0 died, 1.0 serves again\n"
			   "        roll  1.0 -> 2.0, rolled-back-parked\n"
			   "     journal  it was full\n"
			   " connections  12 kept, 0 reset\n");
}

Test(render_text, what_only_one_of_the_versions_has_is_named)
{
	struct args args = { .verb = VERB(ROLL), .verb_name = "roll", .service = "web", .version = "2.0" };
	char *missed[] = { TEXT("udp 0 (127.0.0.1:53)") }, *left[] = { TEXT("extra 0"), TEXT("admin 3") };
	char *skipped[] = { TEXT("3 of app.Note: expired") };
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;

	upgraded__wire__result__init(&result);
	FILL_ROLL(&roll);
	roll.outcome = TEXT("rolled-back-incomplete");
	roll.n_missed = 1;
	roll.missed = missed;
	roll.n_left = 2;
	roll.left = left;
	roll.n_skipped = 1;
	roll.skipped = skipped;
	roll.clients = 3;
	result.code = 7;
	result.text = TEXT("1.0 is back, but without udp 0");
	result.roll = &roll;
	render_failure(&term, &args, &result);
	expect_page(&term, "upgradectl: roll web 2.0: 1.0 is back, but without udp 0\n"
			   "        roll  1.0 -> 2.0, rolled-back-incomplete\n"
			   " connections  0 kept, 0 reset\n"
			   "    not back  udp 0 (127.0.0.1:53)\n"
			   "      closed  extra 0\n"
			   "      closed  admin 3\n"
			   "     skipped  3 of app.Note: expired\n"
			   "     clients  read or written on 0 of 3\n");
}

Test(render_text, a_journal_that_covers_not_all_says_so_while_the_bake_is_on)
{
	struct args args = { .verb = VERB(ROLL), .verb_name = "roll", .service = "web", .version = "2.0" };
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;

	upgraded__wire__result__init(&result);
	FILL_ROLL(&roll);
	roll.outcome = TEXT("committed");
	roll.journal = true;
	roll.uncovered = 196;
	roll.journal_note = TEXT("196 connections are not in the journal");
	result.roll = &roll;
	result.text = TEXT("2.0 serves");
	render_summary(&term, &args, &result);
	fclose(term.out);
	cr_expect(strstr(output, "     journal  196 connections are not in the journal\n"
				 "     journal  kept: a failure now would lose nothing but these connections\n"), "%s", output);
	free(output);
}

Test(render_text, summary_of_a_start)
{
	struct args args = { .verb = VERB(START), .verb_name = "start", .service = "web" };
	struct term term = page(false);
	Upgraded__Wire__Result result;

	upgraded__wire__result__init(&result);
	result.text = TEXT("web runs");
	render_summary(&term, &args, &result);
	expect_page(&term, "+ web\n"
			   "      result  web runs\n");
}

Test(render_text, failure_says_cause_log_what_serves_and_what_next)
{
	struct args args = { .verb = VERB(ROLL), .verb_name = "roll", .service = "web", .version = "2.0" };
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;
	static char line_1[] = "loading", line_2[] = "\033[2Jpanic: \033]0;x\a";
	char *lines[] = { line_1, line_2 };

	upgraded__wire__result__init(&result);
	FILL_ROLL(&roll);
	roll.outcome = TEXT("rolled-back-parked");
	roll.kept = 12;
	roll.reset = 1;
	result.code = 6;
	result.text = TEXT("2.0 died, 1.0 serves again");
	result.cause = TEXT("it was killed by SIGSEGV");
	result.serving = TEXT("1.0 (pid 4101)");
	result.next = TEXT("look at its log");
	result.log_lines = lines;
	result.n_log_lines = 2;
	result.roll = &roll;
	render_failure(&term, &args, &result);
	expect_page(&term, "upgradectl: roll web 2.0: 2.0 died, 1.0 serves again\n"
			   "       cause  it was killed by SIGSEGV\n"
			   "    last log  | loading\n"
			   "              | \\x1b[2Jpanic: \\x1b]0;x\\x07\n"
			   "        roll  1.0 -> 2.0, rolled-back-parked\n"
			   " connections  12 kept, 1 reset\n"
			   " serving now  1.0 (pid 4101)\n"
			   "        next  look at its log\n");
}

Test(render_text, failure_falls_back_on_what_the_roll_reports)
{
	struct args args = { .verb = VERB(UNDO), .verb_name = "undo", .service = "web" };
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;
	static char line[] = "last words";
	char *lines[] = { line };

	upgraded__wire__result__init(&result);
	upgraded__wire__roll_report__init(&roll);
	roll.cause = TEXT("it hung");
	roll.log_lines = lines;
	roll.n_log_lines = 1;
	result.code = 1;
	result.roll = &roll;
	render_failure(&term, &args, &result);
	expect_page(&term, "upgradectl: undo web: failed\n"
			   "       cause  it hung\n"
			   "    last log  | last words\n");
}

Test(render_text, status_is_a_block_per_service)
{
	struct term term = page(true);
	struct moment now = { .monotonic_us = UINT64_C(1000000000), .wall = 1763690531 };
	Upgraded__Wire__Result result;
	Upgraded__Wire__ServiceStatus web, idle;
	Upgraded__Wire__Instance serving, imaged;
	Upgraded__Wire__RollReport roll;
	Upgraded__Wire__ServiceStatus *services[] = { &web, &idle };
	Upgraded__Wire__Instance *instances[] = { &serving, &imaged };

	upgraded__wire__result__init(&result);
	upgraded__wire__service_status__init(&web);
	upgraded__wire__service_status__init(&idle);
	upgraded__wire__instance__init(&serving);
	upgraded__wire__instance__init(&imaged);
	FILL_ROLL(&roll);
	roll.started = TEXT("2025-11-21T02:00:00Z");
	serving.pid = 4242;
	serving.version = TEXT("2.0");
	serving.state = TEXT("serving");
	serving.since_us = UINT64_C(1000000000) - UINT64_C(123000000);
	imaged.pid = 4200; /* it had that, and is no process now */
	imaged.version = TEXT("1.0");
	imaged.state = TEXT("imaged");
	imaged.since_us = UINT64_C(2000000000); /* not this clock: left out */
	web.name = TEXT("web");
	web.state = TEXT("running");
	web.version = TEXT("2.0");
	web.unit_file = TEXT("/etc/upgraded/web.conf");
	web.previous = TEXT("1.0");
	web.descriptors = 12;
	web.descriptors_told = true;
	web.restarts = 1;
	web.instances = instances;
	web.n_instances = 2;
	web.last_roll = &roll;
	idle.name = TEXT("idle");
	idle.state = TEXT("failed");
	idle.description = TEXT("exited with status 3");
	result.services = services;
	result.n_services = 2;
	render_status(&term, &result, now);
	expect_page(&term, "● web - running\n"
			   "        unit  /etc/upgraded/web.conf\n"
			   "     version  2.0\n"
			   "     process  4242, 2.0 serving since Fri 2025-11-21 02:00:08 UTC, 2min 3s ago\n"
			   "       image  1.0 imaged\n"
			   " descriptors  12\n"
			   "    restarts  1\n"
			   "    previous  1.0 (upgradectl undo web)\n"
			   "   last roll  1.0 -> 2.0, done, started 2025-11-21T02:00:00Z\n"
			   "       pause  3.21 ms\n"
			   "     records  1,000,000 (235 MiB)\n"
			   "         fds  14\n"
			   "\n"
			   "● idle - failed\n"
			   "         why  exited with status 3\n"
			   "    restarts  0\n");
}

Test(render_text, status_lists_the_addresses_that_are_listened_at)
{
	struct term term = page(true);
	struct moment now = { .monotonic_us = 500000000, .wall = 1763690531 };
	Upgraded__Wire__Listener held, unused, lost, *listeners[] = { &held, &unused, &lost };
	Upgraded__Wire__ServiceStatus web, *services[] = { &web };
	Upgraded__Wire__Result result;

	upgraded__wire__result__init(&result);
	upgraded__wire__service_status__init(&web);
	for (size_t i = 0; i < 3; i++)
		upgraded__wire__listener__init(listeners[i]);
	web.name = TEXT("web");
	web.state = TEXT("running");
	held.address = TEXT("[::]:80");
	held.state = TEXT("held");
	unused.address = TEXT("udp:0.0.0.0:53");
	unused.state = TEXT("unused");
	lost.address = TEXT("/run/web.sock");
	lost.state = TEXT("not held");
	lost.detail = TEXT("it could not be taken");
	web.listeners = listeners;
	web.n_listeners = 3;
	result.services = services;
	result.n_services = 1;
	render_status(&term, &result, now);
	expect_page(&term, "● web - running\n"
			   "     listens  [::]:80\n"
			   "     listens  udp:0.0.0.0:53, unused\n"
			   "     listens  /run/web.sock, not held: it could not be taken\n"
			   "    restarts  0\n");
}

Test(render_text, status_says_for_which_child_a_roll_waits)
{
	struct term term = page(true);
	struct moment now = { .monotonic_us = 500000000, .wall = 1763690531 };
	Upgraded__Wire__Result result;
	Upgraded__Wire__ServiceStatus web, *services[] = { &web };
	Upgraded__Wire__RollReport roll;

	upgraded__wire__result__init(&result);
	upgraded__wire__service_status__init(&web);
	upgraded__wire__roll_report__init(&roll);
	web.name = TEXT("web");
	web.state = TEXT("rolling");
	web.last_roll = &roll;
	roll.from = TEXT("1.0");
	roll.to = TEXT("2.0");
	roll.outcome = TEXT("under way");
	roll.asked = 7;
	roll.waited_us = 3000000;
	roll.waited_for = TEXT("its child process 4711 (redis-rdb-bgsave): writes \033dump.rdb");
	roll.child = 4711;
	roll.child_since_us = now.monotonic_us - 3000000;
	result.services = services;
	result.n_services = 1;
	render_status(&term, &result, now);
	expect_page(&term, "● web - rolling\n"
			   "    restarts  0\n"
			   "   last roll  1.0 -> 2.0, under way\n"
			   "   waits for  its child process 4711 (redis-rdb-bgsave): writes \\x1bdump.rdb, since "
			   "Fri 2025-11-21 02:02:08 UTC, 3s ago\n"
			   "      waited  3.00 s to be ready, asked 7 times\n");
}

Test(render_text, list_is_an_aligned_table)
{
	struct term term = page(true);
	Upgraded__Wire__RollReport last;
	Upgraded__Wire__Result result;
	Upgraded__Wire__ServiceStatus web, other;
	Upgraded__Wire__Instance parked, serving;
	Upgraded__Wire__ServiceStatus *services[] = { &web, &other };
	Upgraded__Wire__Instance *instances[] = { &parked, &serving };

	upgraded__wire__result__init(&result);
	upgraded__wire__service_status__init(&web);
	upgraded__wire__service_status__init(&other);
	upgraded__wire__instance__init(&serving);
	upgraded__wire__instance__init(&parked);
	parked.pid = 4101;
	parked.state = TEXT("parked");
	serving.pid = 4242;
	serving.state = TEXT("serving");
	web.name = TEXT("web");
	web.state = TEXT("baking");
	web.version = TEXT("2.0.0-rc1");
	web.previous = TEXT("1.0");
	web.instances = instances;
	web.n_instances = 2;
	web.descriptors = 4000000000u;
	web.descriptors_told = true;
	web.unit_file = TEXT("/etc/w.conf");
	upgraded__wire__roll_report__init(&last);
	last.outcome = TEXT("done");
	last.started = TEXT("2025-11-21T02:00:00Z");
	web.last_roll = &last;
	result.realtime_us = UINT64_C(1763690700) * 1000000;
	other.name = TEXT("a-longer-name");
	other.state = TEXT("stopped");
	result.services = services;
	result.n_services = 2;
	render_list(&term, &result, true);
	expect_page(&term, "SERVICE        STATE    VERSION    PID   PREVIOUS  LAST ROLL       RESTARTS  DESCRIPTORS  FILE\n"
			   "web            baking   2.0.0-rc1  4242  1.0       done, 5min ago  0         4000000000   /etc/w.conf\n"
			   "a-longer-name  stopped  -          -     -         -               0         -            -\n");
}

Test(render_text, checks_are_a_line_each)
{
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__Check good, bad, bare;
	Upgraded__Wire__Check *checks[] = { &good, &bad, &bare };

	upgraded__wire__result__init(&result);
	upgraded__wire__check__init(&good);
	upgraded__wire__check__init(&bad);
	upgraded__wire__check__init(&bare);
	good.name = TEXT("criu");
	good.ok = true;
	good.detail = TEXT("4.2.1");
	bad.name = TEXT("state folder");
	bad.detail = TEXT("no room");
	bare.name = TEXT("x");
	bare.ok = true;
	result.checks = checks;
	result.n_checks = 3;
	render_checks(&term, &result);
	expect_page(&term, "ok  criu          4.2.1\n"
			   "no  state folder  no room\n"
			   "ok  x\n");
}

Test(render_text, colours_end_on_the_line_they_began)
{
	struct term term = page(true);
	Upgraded__Wire__Result result;
	Upgraded__Wire__ServiceStatus web;
	Upgraded__Wire__ServiceStatus *services[] = { &web };

	term.color = true;
	upgraded__wire__result__init(&result);
	upgraded__wire__service_status__init(&web);
	web.name = TEXT("web");
	web.state = TEXT("failed");
	result.services = services;
	result.n_services = 1;
	render_list(&term, &result, false);
	expect_page(&term, "\033[1mSERVICE  STATE   VERSION  PID  PREVIOUS  LAST ROLL\033[0m\n"
			   "web      \033[31mfailed  \033[0m-        -    -         -\n");
}

Test(render_text, status_tells_of_each_check_within_a_bake)
{
	struct term term = page(true);
	struct moment now = { 0 };
	Upgraded__Wire__Result result;
	Upgraded__Wire__ServiceStatus web, *services[] = { &web };
	Upgraded__Wire__HealthCheck heartbeat, ready, port, *checks[] = { &heartbeat, &ready, &port };

	upgraded__wire__result__init(&result);
	upgraded__wire__service_status__init(&web);
	upgraded__wire__health_check__init(&heartbeat);
	upgraded__wire__health_check__init(&ready);
	upgraded__wire__health_check__init(&port);
	heartbeat.check = TEXT("heartbeat");
	heartbeat.state = TEXT("ok");
	ready.check = TEXT("HealthHTTP=http://127.0.0.1:8080/ready");
	ready.state = TEXT("failing");
	ready.failures = 2;
	ready.detail = TEXT("HTTP status 503: \033[1mbusy");
	port.check = TEXT("HealthTCP=127.0.0.1:8080");
	port.state = TEXT("running");
	web.name = TEXT("web");
	web.state = TEXT("baking");
	web.health = checks;
	web.n_health = 3;
	result.services = services;
	result.n_services = 1;
	render_status(&term, &result, now);
	expect_page(&term, "● web - baking\n"
			   "      health  ok  heartbeat\n"
			   "      health  failing  HealthHTTP=http://127.0.0.1:8080/ready, 2 in a row: "
			   "HTTP status 503: \\x1b[1mbusy\n"
			   "      health  running  HealthTCP=127.0.0.1:8080\n"
			   "    restarts  0\n");
}
