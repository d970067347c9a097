/* SPDX-License-Identifier: MIT */
/* Processes of services as they really are: children of ours, with children of their own. The "services" are shell scripts. */
#include "supervisor/machine/procfs.h"
#include "supervisor/process/origin.h"
#include "tests/supervisor/fake.h"
#include "tests/supervisor/output_log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TURNS 400 /* of 50 ms */

static struct loop *loop;
static struct spawner spawner;
static struct unit *unit;
static struct instance *instance;
static char dir[] = "/tmp/upg-spawned.XXXXXX";
static struct why why;
static char described[512];
static bool ended;

static void ignore_message(struct instance *of, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	(void)of;
	(void)message;
	(void)fds;
}

static void ignore_garbage(struct instance *of, const char *reason)
{
	(void)of;
	(void)reason;
}

static void on_exit_of(struct instance *of)
{
	cr_assert_eq(of, instance);
	instance_describe_end(of, described, sizeof(described));
	ended = true;
}

static const struct instance_events events = {
	.on_message = ignore_message, .on_garbage = ignore_garbage, .on_exit = on_exit_of
};

static void set_up(void)
{
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	cr_assert_eq(loop_new(&loop, NULL), 0);
	cr_assert_eq(spawner_init(&spawner, loop), 0);
	log_catch();
}

static void tear_down(void)
{
	char command[64];

	instance_free(instance);
	spawner_done(&spawner);
	/* Whatever is left was ended, and goes by itself: otherwise this takes too long. */
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	loop_free(loop);
	unit_free(unit);
	log_release();
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

TestSuite(spawned, .init = set_up, .fini = tear_down, .timeout = 60);

static const char *in_folder(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void unit_is(const char *lines)
{
	char text[1024], path[64];

	snprintf(text, sizeof(text), "[Service]\nExec=%s/app-%%v\n%s", dir, lines);
	snprintf(path, sizeof(path), "%s/web.conf", dir);
	unit = unit_free(unit);
	cr_assert_eq(unit_parse("web", path, text, &unit, &why), 0, "%s", why.text);
}

/* A version that does what @script says. */
static int start(const char *lines, const char *script)
{
	FILE *file = fopen(in_folder("app-v1"), "we");

	cr_assert_not_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", script);
	fclose(file);
	cr_assert_eq(chmod(in_folder("app-v1"), 0755), 0);
	unit_is(lines);
	return origin_start(&spawner.origin, unit, "v1", &events, NULL, &instance, &why);
}

#define TURN_UNTIL(condition) \
	do { \
		for (unsigned turn = 0; turn < TURNS && !(condition); turn++) \
			cr_assert_eq(loop_turn(loop, 50), 0); \
		cr_assert(condition, "never came: %s\n%s", #condition, log_caught()); \
	} while (0)

/* The number in the line that begins with @word. */
static pid_t told(const char *word)
{
	char *list[LINES_MAX];
	size_t n;

	for (unsigned turns = 0; turns < TURNS; turns++) {
		n = lines_list(&instance->lines, list);
		for (size_t i = 0; i < n; i++)
			if (strncmp(list[i], word, strlen(word)) == 0)
				return (pid_t)atoi(list[i] + strlen(word));
		cr_assert_eq(loop_turn(loop, 50), 0);
	}
	cr_assert_fail("it never said %s\n%s", word, log_caught());
	return 0;
}

static bool lives(pid_t pid)
{
	siginfo_t info = { 0 };

	/* Ours to reap, once its parent has ended. */
	(void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
	return kill(pid, 0) == 0 && info.si_pid == 0;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* ---- what cannot be started ---- */

Test(spawned, names_the_program_that_is_missing)
{
	unit_is("");
	cr_assert_eq(origin_start(&spawner.origin, unit, "v7", &events, NULL, &instance, &why), -ENOENT);
	cr_assert(strstr(why.text, "web.conf:2: version v7: cannot start "), "%s", why.text);
	cr_assert(strstr(why.text, in_folder("app-v7")), "%s", why.text);
}

Test(spawned, names_the_program_that_cannot_be_run)
{
	cr_assert_eq(mkdir(in_folder("app-v2"), 0755), 0);
	cr_assert_eq(mkdir(in_folder("app-v3"), 0755), 0);
	unit_is("");
	cr_assert_eq(origin_start(&spawner.origin, unit, "v2", &events, NULL, &instance, &why), -EACCES);
	cr_assert(strstr(why.text, "is it executable"), "%s", why.text);
	cr_assert_eq(origin_start(&spawner.origin, unit, "v3/x", &events, NULL, &instance, &why), -ENOENT);
}

Test(spawned, names_the_user_that_nobody_knows)
{
	cr_assert_eq(start("User=no-such-user-here\n", "exit 0"), -ENOENT);
	cr_assert(strstr(why.text, "app-v1: this machine knows no user no-such-user-here"), "%s", why.text);
	cr_assert_eq(start("Group=no-such-group-here\n", "exit 0"), -ENOENT);
	cr_assert(strstr(why.text, "app-v1: this machine knows no group no-such-group-here"), "%s", why.text);
}

/* A disk that hangs, made by somebody who does not answer whether the program may be opened. Return: he answers when this is
 * closed. */
static int disk_hangs(const char *path)
{
	int hung = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);

	if (hung < 0 || fanotify_mark(hung, FAN_MARK_ADD, FAN_OPEN_EXEC_PERM, AT_FDCWD, path) < 0)
		cr_skip("this kernel does not let us: %s", strerror(errno));
	return hung;
}

static int start_hanging(int *ret_hung)
{
	uint64_t before;
	int r;

	cr_assert_eq(start("", "echo I run; exec sleep 1000"), 0, "%s", why.text); /* makes the file */
	told("I run");
	instance = instance_free(instance);
	*ret_hung = disk_hangs(in_folder("app-v1"));
	before = clock_now_us();
	r = origin_start(&spawner.origin, unit, "v1", &events, NULL, &instance, &why);
	cr_assert_lt(clock_now_us() - before, 5 * USEC_PER_SEC, "the loop waited for the disk");
	return r;
}

Test(spawned, whose_disk_hangs_holds_nobody_up_and_says_what_it_waits_for)
{
	int hung;

	cr_assert_eq(start_hanging(&hung), 0, "%s", why.text);
	unit->start_timeout_us = 2 * USEC_PER_SEC;
	instance_describe_slow_start(instance, unit, false, &why);
	cr_assert(strstr(why.text, "was not its program within 2000 ms (StartTimeout=): it waits for its program "), "%s",
		  why.text);
	cr_assert(strstr(why.text, in_folder("app-v1")), "%s", why.text);
	instance_kill(instance, SIGKILL);
	TURN_UNTIL(ended);
	cr_assert_str_eq(described, "was killed by SIGKILL");
	fd_close(hung);
}

Test(spawned, whose_disk_comes_back_runs)
{
	int hung;

	cr_assert_eq(start_hanging(&hung), 0, "%s", why.text);
	fd_close(hung);
	told("I run");
	instance_describe_slow_start(instance, unit, false, &why);
	cr_assert(strstr(why.text, "did not say hello"), "%s", why.text);
}

Test(spawned, whose_program_proves_to_be_none_late_says_so_at_its_end)
{
	int hung;

	cr_assert_eq(start_hanging(&hung), 0, "%s", why.text);
	cr_assert_eq(truncate(in_folder("app-v1"), 0), 0);
	fd_close(hung);
	TURN_UNTIL(ended);
	cr_assert(strstr(described, "app-v1: exec (not a program for this machine"), "%s", described);
}

/* ---- as whom ---- */

Test(spawned, of_a_user_has_its_home_and_may_open_its_output)
{
	if (geteuid() != 0)
		cr_skip("needs root");
	cr_assert_eq(chmod(dir, 0755), 0);
	cr_assert_eq(start("User=nobody\n",
			   "echo ids $(id -u) home $HOME; echo again >/dev/stdout && echo yes >&2; exec sleep 1000"), 0, "%s",
		     why.text);
	TURN_UNTIL(log_times("]: again") && log_times("]: yes"));
	cr_assert_eq(log_times("]: ids 65534 home /nonexistent"), 1, "%s", log_caught());
}

/* ---- how it ends ---- */

Test(spawned, is_heard_to_its_last_line_even_if_that_has_no_end)
{
	char *list[LINES_MAX];

	cr_assert_eq(start("", "echo first; printf 'last words'; exit 3"), 0, "%s", why.text);
	TURN_UNTIL(ended);
	cr_assert_str_eq(described, "exited with status 3");
	cr_assert_eq(lines_list(&instance->lines, list), 2);
	cr_assert_str_eq(list[1], "last words");
}

Test(spawned, that_leaves_a_chatty_child_ends_all_the_same)
{
	pid_t child;

	/* One that would have to be read for ever; in a session of its own nobody ends it. */
	cr_assert_eq(start("LogRate=10\n", "setsid yes 2>/dev/null & echo child $!; sleep 0.1; exit 3"), 0, "%s", why.text);
	TURN_UNTIL(ended);
	cr_assert_str_eq(described, "exited with status 3");
	/* The pipe was closed, and `yes` noticed. */
	child = waitpid(-1, NULL, 0);
	cr_assert_gt(child, 0);
}

Test(spawned, that_goes_to_the_background_is_told_so_and_ended_there)
{
	cr_assert_eq(start("", "setsid sleep 1000 >/dev/null 2>&1 & sleep 0.05; exit 0"), 0, "%s", why.text);
	TURN_UNTIL(ended);
	cr_assert(strstr(described, "exited with status 0, and its channel was left to pid "), "%s", described);
	cr_assert(strstr(described, "which was ended: it has to stay in the foreground, without daemon(3)"), "%s", described);
	cr_assert_gt(waitpid(-1, NULL, 0), 0);
}

Test(spawned, that_only_ends_is_not_blamed_for_more)
{
	cr_assert_eq(start("", "exit 0"), 0, "%s", why.text);
	TURN_UNTIL(ended);
	cr_assert_str_eq(described, "exited with status 0");
}

Test(spawned, that_is_dead_and_held_by_a_tracer_does_not_keep_the_loop_busy)
{
	unsigned turns = 0;
	int ready[2], status;
	pid_t tracer;
	char byte;

	cr_assert_eq(start("", "exec sleep 1000"), 0, "%s", why.text);
	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	tracer = fork();
	if (tracer == 0) {
		if (ptrace(PTRACE_SEIZE, instance->pid, 0, 0) < 0)
			_exit(1);
		(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	ready[1] = fd_close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		cr_skip("no tracing here");
	instance_kill(instance, SIGKILL);
	for (uint64_t until = clock_now_us() + 300 * USEC_PER_MSEC; clock_now_us() < until; turns++)
		cr_assert_eq(loop_turn(loop, 300), 0);
	cr_assert_lt(turns, 20u);
	cr_assert_not(ended);
	kill(tracer, SIGKILL);
	cr_assert_eq(waitpid(tracer, &status, 0), tracer);
	TURN_UNTIL(ended);
	cr_assert_str_eq(described, "was killed by SIGKILL");
	fd_close(ready[0]);
}

/* ---- a program behind a wrapper ---- */

Test(spawned, speaks_for_itself)
{
	struct fake *fake = fake_new("web", "v1");
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO, .hello = &hello);
	char text[512];

	instance = &fake->instance;
	instance_own(instance, &events, NULL);
	hello.protocol = WIRE_PROTOCOL;
	hello.pid = instance->pid + 1;
	fake_say(fake, &message);
	cr_assert_null(instance->hello);
	cr_assert_eq(fake->signal, SIGKILL);
	fake_standby(fake); /* has no effect any more */
	cr_assert(fake_reap(fake));
	snprintf(text, sizeof(text), "is not the program, which says that it is pid %d: where Exec= names a script, let the "
		 "script's last line be 'exec PROGRAM ...'", instance->pid + 1);
	cr_assert_str_eq(described, text);
}

static unsigned n_ready;

static void count_ready(struct instance *of, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	(void)of;
	(void)fds;
	n_ready += message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_READY;
}

/* It said hello, and made a daemon of itself: its child may be faster than its end. */
Test(spawned, is_not_spoken_for_by_its_child)
{
	static const struct instance_events counting = { .on_message = count_ready, .on_garbage = ignore_garbage,
							 .on_exit = on_exit_of };
	struct fake *fake = fake_new("web", "v1");
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__Ready ready = UPGRADED__WIRE__READY__INIT;
	Upgraded__Wire__AppMessage first = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO, .hello = &hello);
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_READY, .ready = &ready);

	instance = &fake->instance;
	instance_own(instance, &counting, NULL);
	hello.protocol = WIRE_PROTOCOL;
	hello.pid = instance->pid;
	fake_say(fake, &first);
	cr_assert_not_null(instance->hello);
	ready.pid = instance->pid + 1;
	fake_say(fake, &message);
	cr_assert_eq(n_ready, 0);
	ready.pid = instance->pid;
	fake_say(fake, &message);
	cr_assert_eq(n_ready, 1);
	ready.pid = 0; /* an older library */
	fake_say(fake, &message);
	cr_assert_eq(n_ready, 2);
	instance_kill(instance, SIGKILL);
	cr_assert(fake_reap(fake));
}

Test(spawned, says_which_types_it_has_in_letters)
{
	static const char *const names[] = { "", "a\tb", "a\033[1m", "\2331m", "\302\2331m", "\xff", "\x7f" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct fake *fake = fake_new("web", "v1");
		Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
		Upgraded__Wire__Schema schema = UPGRADED__WIRE__SCHEMA__INIT, *schemas[] = { &schema };
		Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO, .hello = &hello);

		instance_own(&fake->instance, &events, NULL);
		schema.name = wire_text(names[i]);
		schema.version = 1;
		hello.protocol = WIRE_PROTOCOL;
		hello.n_schemas = 1;
		hello.schemas = schemas;
		fake_say(fake, &message);
		cr_assert_null(fake->instance.hello, "%zu", i);
		instance_free(&fake->instance);
	}
}

/* ---- its child processes ---- */

#define HAS_CHILD "sleep 1000 >&2 & echo child $!; trap 'exit 0' TERM; while :; do sleep 0.01; done"

/* The child is a copy of the shell first. */
static pid_t start_with_child(const char *lines)
{
	char name[32];
	pid_t child;

	cr_assert_eq(start(lines, HAS_CHILD), 0, "%s", why.text);
	child = told("child ");
	TURN_UNTIL(strcmp(procfs_name(child, name, sizeof(name)), "sleep") == 0);
	return child;
}

static void kill_and_free(void)
{
	instance_kill(instance, SIGKILL);
	TURN_UNTIL(ended);
	ended = false;
	instance = instance_free(instance);
}

static void expect_ended(pid_t child)
{
	cr_assert_not(lives(child));
	reap(child);
}

Test(spawned, ends_with_its_children_while_it_serves)
{
	static const char *const lines[] = { "", "Children=hand-over\n", "Children=end\n" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		pid_t child = start_with_child(lines[i]);

		instance_set_place(instance, INSTANCE_SERVES);
		kill_and_free();
		TURN_UNTIL(!lives(child));
		expect_ended(child);
	}
	cr_assert_geq(log_times("of its child processes end (pid "), 3u, "%s", log_caught());
}

Test(spawned, hands_its_children_over_when_it_is_replaced)
{
	pid_t child = start_with_child("");
	char words[128];

	instance_set_place(instance, INSTANCE_SERVES);
	instance_set_place(instance, INSTANCE_IS_REPLACED);
	kill_and_free();
	cr_assert(lives(child));
	snprintf(words, sizeof(words), "web: pid %d (sleep), which version v1 ", child);
	cr_assert_eq(log_times(words), 1, "%s", log_caught());
	origin_end_children(&spawner.origin, "another");
	cr_assert(lives(child));
	origin_end_children(&spawner.origin, "web");
	for (unsigned turns = 0; turns < TURNS && kill(child, 0) == 0; turns++)
		cr_assert_eq(loop_turn(loop, 50), 0);
	cr_assert_eq(kill(child, 0), -1, "it was not ended with its service, or not reaped");
}

Test(spawned, that_serves_again_has_its_children_for_itself_again)
{
	pid_t child = start_with_child("");

	instance_set_place(instance, INSTANCE_IS_REPLACED);
	instance_set_place(instance, INSTANCE_SERVES);
	kill_and_free();
	TURN_UNTIL(!lives(child));
	expect_ended(child);
}

Test(spawned, keeps_its_children_where_that_is_wanted_once_it_has_served)
{
	pid_t child = start_with_child("Children=keep\n");

	instance_set_place(instance, INSTANCE_SERVES);
	kill_and_free();
	cr_assert(lives(child));
	origin_end_children(&spawner.origin, "web");
	cr_assert(lives(child));
	kill(child, SIGKILL);
	for (unsigned turns = 0; turns < TURNS && kill(child, 0) == 0; turns++)
		cr_assert_eq(loop_turn(loop, 50), 0);
	child = start_with_child("Children=keep\n");
	kill_and_free();
	TURN_UNTIL(!lives(child));
	expect_ended(child);
}

Test(spawned, of_which_children_are_left_is_still_read)
{
	pid_t child;

	cr_assert_eq(start("", "(while :; do echo I am left; sleep 0.01; done) & echo child $!; exec sleep 1000"), 0, "%s",
		     why.text);
	child = told("child ");
	instance_set_place(instance, INSTANCE_IS_REPLACED);
	kill_and_free();
	log_release();
	log_catch();
	TURN_UNTIL(log_times("web[v1 ") && log_times("I am left") > 10);
	origin_end_children(&spawner.origin, "web");
	for (unsigned turns = 0; turns < TURNS && kill(child, 0) == 0; turns++)
		cr_assert_eq(loop_turn(loop, 50), 0);
}

Test(spawned, hands_its_children_s_children_over_as_well)
{
	pid_t grandchild, child;

	cr_assert_eq(start("", "sh -c 'sleep 1000 & echo grandchild $!; echo child $$; wait' & exec sleep 1000"), 0, "%s",
		     why.text);
	grandchild = told("grandchild ");
	child = told("child ");
	instance_set_place(instance, INSTANCE_IS_REPLACED);
	kill_and_free();
	kill(child, SIGKILL);
	TURN_UNTIL(child_is_watched(grandchild));
	cr_assert(lives(grandchild));
	origin_end_children(&spawner.origin, "web");
	for (unsigned turns = 0; turns < TURNS && kill(grandchild, 0) == 0; turns++)
		cr_assert_eq(loop_turn(loop, 50), 0);
	cr_assert_eq(kill(grandchild, 0), -1);
}

/* As a restore does it: somebody else makes the process, with the ends that it is to have. */
Test(spawned, that_comes_back_says_whose_its_lines_are)
{
	char words[64];
	int channel, log;
	pid_t pid;

	cr_assert_eq(start("", "exec sleep 1000"), 0, "%s", why.text);
	instance_set_place(instance, INSTANCE_IS_REPLACED); /* what it leaves behind has its output */
	instance_kill(instance, SIGKILL);
	TURN_UNTIL(ended);
	cr_assert_eq(instance_reconnect(instance, &channel, &log, &why), 0, "%s", why.text);
	pid = fork();
	if (pid == 0) {
		dprintf(log, "here again\n");
		for (;;)
			pause();
	}
	fd_close(channel);
	fd_close(log);
	cr_assert_eq(instance_adopt(instance, pid, &why), 0, "%s", why.text);
	TURN_UNTIL(log_times("here again"));
	snprintf(words, sizeof(words), "web[v1 %d]: here again", (int)pid);
	cr_assert_eq(log_times(words), 1, "%s", log_caught());
}

#define ORPHANS 1200u

/* Of another service, say, that keeps its children. Return: their group. */
static pid_t make_orphans(void)
{
	char command[128];
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		snprintf(command, sizeof(command), "for i in $(seq %u); do sleep 1000 & done", ORPHANS);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(1);
	}
	reap(pid);
	return pid;
}

Test(spawned, has_its_children_found_among_any_number_of_others)
{
	static pid_t pids[2 * ORPHANS];
	pid_t child, others = make_orphans();
	size_t n = procfs_children(getpid(), pids, 2 * ORPHANS);

	cr_assert_eq(n, ORPHANS);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(procfs_group(pids[i]), others, "pid %d is none of them", (int)pids[i]);
	child = start_with_child("");
	instance_set_place(instance, INSTANCE_IS_REPLACED);
	kill_and_free();
	cr_assert(child_is_watched(child));
	origin_end_children(&spawner.origin, "web");
	for (unsigned turns = 0; turns < TURNS && kill(child, 0) == 0; turns++)
		cr_assert_eq(loop_turn(loop, 50), 0);
	cr_assert_eq(kill(child, 0), -1, "it was not ended with its service");
	kill(-others, SIGKILL);
}
