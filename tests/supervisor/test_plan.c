/* SPDX-License-Identifier: MIT */
/* A look ahead at one roll: what both versions may say to it, and what is made of it. */
#include "supervisor/plan/plan.h"

#include "tests/supervisor/hosted.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define HEARD(what) UPGRADED__WIRE__APP_MESSAGE__BODY_##what

/* The look ahead, and what came of it. */
static struct plan *plan;
static unsigned ends;
static struct fake *running;
static struct unit *unit; /* of what is told without a look */
static Upgraded__Wire__Plan *told;
static enum wire_exit code;
static struct why text, image_why;
static int image_rc;
static struct lines lines;

static void forget_told(void)
{
	if (told)
		upgraded__wire__plan__free_unpacked(told, NULL);
	told = NULL;
	text = image_why = (struct why){ .text = "" };
}

static void tell(const struct plan *of)
{
	forget_told();
	code = plan_tell(of, &told, &text);
	image_rc = plan_image_there(of, &image_why);
	lines = of->lines;
}

static void on_done(struct plan *done)
{
	cr_assert_eq(done, plan);
	ends++;
	tell(done);
	plan = plan_free(done);
}

static void on_message(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	(void)instance;
	(void)fds;
	cr_assert(plan && plan_hear(plan, message));
}

static const struct instance_events running_events = { .on_message = on_message };

static struct unit *parsed(const char *more)
{
	char words[2048];
	struct unit *made;
	struct why why = { 0 };

	snprintf(words, sizeof(words), "%s%s", HOSTED_UNIT, more);
	cr_assert_eq(unit_parse("web", "web.conf", words, &made, &why), 0, "%s", why.text);
	return made;
}

static void set_up(void)
{
	hosted_set(NULL);
	running = fake_new("web", "v1");
	instance_own(&running->instance, &running_events, NULL);
	fake_hello(running, 1, false);
}

static void tear_down(void)
{
	plan = plan_free(plan);
	forget_told();
	unit = unit_free(unit);
	instance_free(&running->instance);
	hosted_clear();
}

TestSuite(plan, .timeout = 20, .init = set_up, .fini = tear_down);

static struct plan_spec spec(const char *more)
{
	static const struct plan_pauses none;
	struct unit *made = parsed(more);

	return (struct plan_spec){
		.site = hosted.site,
		.origin = &hosted.origin.origin,
		.criu_detail = "criu 4.0",
		.running = &running->instance,
		.unit_consume = made,
		.version = "v2",
		.rollback = made->rollback,
		.require_image = made->require_image,
		.try_version = true,
		.pauses = &none,
		.on_done = on_done,
	};
}

static void begin(const struct plan_spec *by)
{
	struct why why = { 0 };

	cr_assert_eq(plan_start(by, &plan, &why), 0, "%s", why.text);
}

/* A plan of a roll from v1 to v2, with @more in the service file. */
static void look(const char *more)
{
	struct plan_spec by = spec(more);

	begin(&by);
}

static void inventory(size_t n, bool last)
{
	Upgraded__Wire__Inventory body = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(INVENTORY), .inventory = &body);
	uint32_t *fds = calloc(n + 1, sizeof(*fds));

	cr_assert_not_null(fds);
	body.n_fds = n;
	body.fds = fds;
	body.last = last;
	fake_say(running, &message);
	free(fds);
}

#define assert_refused(...)                                                                    \
	do {                                                                                       \
		cr_assert_eq(code, WIRE_EXIT_REFUSED);                                                 \
		cr_assert_str_eq(text.text, "web: the roll from v1 to v2 would be refused");           \
		cr_assert_not(told->possible);                                                         \
		assert_text(told->cause, __VA_ARGS__);                                                 \
	} while (0)

static const Upgraded__Wire__PlanWay *way(const char *name)
{
	size_t i = 0;

	while (i < told->n_ways && strcmp(told->ways[i]->name, name) != 0)
		i++;
	cr_assert_lt(i, told->n_ways, "there is no way %s", name);
	return told->ways[i];
}

/* ---- what the other version says ---- */

Test(plan, tells_that_a_roll_can_be_done)
{
	look("");
	cr_assert_eq(fake_heard_last(running), HEARD(ASK_INVENTORY));
	inventory(3, true);
	fake_hello(started(0), 2, true);
	cr_assert_eq(started(0)->signal, SIGKILL, "it was heard, and is of no use any more");
	cr_assert_eq(ends, 0, "the end comes from the loop");
	hosted_turn();
	cr_assert_eq(ends, 1);
	cr_assert_eq(code, WIRE_EXIT_DONE);
	cr_assert_str_eq(text.text, "web: the roll from v1 to v2 can be done, and every way back would be there");
	cr_assert(told->possible && told->inventory && told->registered == 3 && !*told->cause);
	cr_assert_str_eq(told->from, "v1");
	cr_assert_str_eq(told->to, "v2");
	cr_assert_str_eq(told->images, "criu 4.0");
	cr_assert_eq(told->pid, running->instance.pid);
	cr_assert(told->n_up == 1 && told->up[0]->ok && told->up[0]->from == 1 && told->up[0]->to == 2);
	cr_assert(told->n_down == 1 && told->down[0]->ok && told->down[0]->from == 2 && told->down[0]->to == 1);
	cr_assert_eq(running->n_sent, 1, "it heard of more than a question");
	cr_assert_eq(started(0)->n_sent, 0);
	hosted_reap();
	cr_assert(is_gone(0));
}

Test(plan, tells_that_there_is_no_way_for_a_type)
{
	look("");
	inventory(0, true);
	fake_hello(started(0), 2, false);
	hosted_turn();
	assert_refused("no migration of thing from version 1 (v1) to 2 (v2) in v2: no migration of \"thing\" leads from version 1 "
		       "to 2: the walk gets stuck at version 1; add the step from there");
	cr_assert(told->n_up == 1 && !told->up[0]->ok && strstr(told->up[0]->cause, "no migration of thing"));
	cr_assert(told->n_down == 1 && !told->down[0]->ok);
	cr_assert_not(way("live")->there);
	cr_assert(strstr(way("live")->cause, "no migration of thing from version 2 (v2) to 1 (v1) in v2"), "%s",
		  way("live")->cause);
	cr_assert(way("cold")->there);
}

Test(plan, takes_any_other_word_than_a_hello_for_a_refusal)
{
	pid_t pid;

	look("");
	inventory(0, true);
	pid = started(0)->instance.pid;
	fake_refused(started(0), "not today");
	hosted_turn();
	assert_refused("version v2 (pid %d) spoke before it said hello (refused)", pid);
	cr_assert_eq(told->n_up, 0);
	cr_assert_str_eq(way("live")->cause, "nobody knows what version v2 can migrate");
	look("");
	inventory(0, true);
	pid = started(1)->instance.pid;
	fake_garbage(started(1), "speaks protocol 99, this supervisor speaks 1");
	hosted_turn();
	assert_refused("version v2 (pid %d): speaks protocol 99, this supervisor speaks 1", pid);
}

Test(plan, tells_how_the_other_version_ended_with_its_last_lines)
{
	const char *missing = "libfoo.so.3: cannot open shared object file";
	pid_t pid;

	look("");
	inventory(0, true);
	pid = started(0)->instance.pid;
	lines_put(&started(0)->instance.lines, missing, strlen(missing));
	fake_exit(started(0), 127 << 8);
	cr_assert(is_gone(0));
	hosted_turn();
	assert_refused("version v2 (pid %d) exited with status 127 before it said hello", pid);
	cr_assert_eq(lines.n, 1);
	cr_assert_str_eq(lines.text[0], "libfoo.so.3: cannot open shared object file");
}

Test(plan, does_not_wait_forever_for_a_hello)
{
	pid_t pid;

	look("");
	inventory(0, true);
	pid = started(0)->instance.pid;
	hosted_pass(10 * USEC_PER_SEC - 1);
	cr_assert_eq(ends, 0);
	hosted_pass(1);
	hosted_turn();
	cr_assert_eq(ends, 1);
	assert_refused("version v2 (pid %d) did not say hello within 10000 ms (StartTimeout=): is it linked with libupgrade, and "
		       "does it call upg_open()?", pid);
	cr_assert_eq(started(0)->signal, SIGKILL);
}

Test(plan, finds_that_the_other_version_cannot_be_started)
{
	hosted.origin.refuses = true;
	look("");
	inventory(0, true);
	hosted_turn();
	assert_refused("version v2: no such file");
}

Test(plan, finds_that_the_running_version_never_said_hello)
{
	upgraded__wire__app_message__free_unpacked(running->instance.hello, NULL);
	running->instance.hello = NULL;
	look("");
	inventory(0, true);
	fake_hello(started(0), 2, true);
	hosted_turn();
	assert_refused("version v1 never said hello");
}

Test(plan, goes_away_at_any_moment)
{
	look("");
	plan = plan_free(plan);
	look("");
	inventory(5, false);
	fake_hello(started(1), 2, true);
	plan = plan_free(plan);
	look("");
	inventory(5, true);
	fake_hello(started(2), 2, true);
	plan = plan_free(plan);
	hosted_pass(20 * USEC_PER_SEC);
	cr_assert_eq(ends, 0);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(started(i)->signal, SIGKILL);
}

/* ---- what the running version has registered ---- */

Test(plan, takes_an_inventory_in_parts)
{
	look("");
	fake_hello(started(0), 2, true);
	inventory(100, false);
	inventory(0, false);
	hosted_turn();
	cr_assert_eq(ends, 0);
	inventory(50, true);
	hosted_turn();
	cr_assert(told->inventory && told->registered == 150);
}

Test(plan, does_without_an_inventory)
{
	look("");
	fake_hello(started(0), 2, true);
	inventory(7, false);
	hosted_pass(2 * USEC_PER_SEC - 1);
	cr_assert_eq(ends, 0);
	hosted_pass(1);
	hosted_turn();
	cr_assert_eq(ends, 1);
	cr_assert(!told->inventory && told->registered == 7);
	cr_assert_eq(code, WIRE_EXIT_DONE);
}

Test(plan, ignores_what_comes_after_the_inventory)
{
	look("");
	inventory(3, true);
	inventory(9, true);
	hosted_pass(5 * USEC_PER_SEC);
	inventory(9, true);
	fake_hello(started(0), 2, true);
	hosted_turn();
	cr_assert_eq(ends, 1);
	cr_assert_eq(told->registered, 3);
}

Test(plan, does_not_believe_an_inventory_without_end)
{
	look("");
	fake_hello(started(0), 2, true);
	inventory(1u << 19, false);
	inventory(1u << 19, false);
	hosted_turn();
	cr_assert_eq(ends, 0);
	inventory(1, false);
	hosted_turn();
	cr_assert(!told->inventory && told->registered == 1u << 20);
}

/* ---- what is read of the process and this machine ---- */

Test(plan, reads_what_the_process_is_and_what_it_takes)
{
	char program[128], line[160];
	int fd;

	snprintf(program, sizeof(program), "%s/web-v2", hosted.place.folder);
	fd = open(program, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	cr_assert_geq(fd, 0);
	fd_close(fd);
	snprintf(line, sizeof(line), "Exec=%s/web-%%v --port 80\n", hosted.place.folder);
	running->instance.pid = getpid();
	look(line);
	inventory(3, true);
	fake_hello(started(0), 2, true);
	hosted_turn();
	cr_assert(strstr(told->from_program, "/supervisor"), "%s", told->from_program);
	cr_assert_str_eq(told->to_program, program);
	cr_assert_geq(told->image_bytes, 4u << 20);
	cr_assert_gt(told->memory_bytes, 1u << 20);
	cr_assert_gt(told->memory_free_bytes, 0);
	cr_assert_gt(told->image_free_bytes, 0);
}

Test(plan, leaves_out_what_it_cannot_read)
{
	look("");
	inventory(3, true);
	fake_hello(started(0), 2, true);
	hosted_turn();
	cr_assert_str_eq(told->from_program, "");
	cr_assert_str_eq(told->to_program, "/nonexistent/web-v2", "the child looks whether it is there, as that may last");
	cr_assert(told->image_bytes == 0 && told->memory_bytes == 0);
}

/* A look that asks only whether there would be an image. */
static void look_for_image(const char *more)
{
	struct plan_spec by = spec(more);

	by.try_version = false;
	by.require_image = true;
	begin(&by);
	inventory(0, true);
	hosted_turn();
	cr_assert_null(plan);
	cr_assert_eq(hosted.origin.n_started, 0);
}

Test(plan, finds_that_there_would_be_an_image)
{
	look_for_image("");
	cr_assert_eq(image_rc, 0, "%s", image_why.text);
	cr_assert(told->possible && told->n_up == 0);
	look_for_image("Rollback=image\n");
	cr_assert_eq(image_rc, 0, "%s", image_why.text);
}

Test(plan, finds_why_there_would_be_no_image)
{
	look_for_image("Rollback=parked\n");
	cr_assert_str_eq(image_why.text, "Rollback=parked takes none");
	assert_refused("an image is required, and there would be none: Rollback=parked takes none");
	look_for_image("Rollback=none\n");
	cr_assert_str_eq(image_why.text, "Rollback=none takes none");
	fake_imaging.has_obstacle = true;
	look_for_image("");
	cr_assert_str_eq(image_why.text, "a tape drive is open");
	cr_assert(told->fatal == 1 && told->n_obstacles == 1 && told->obstacles[0]->fatal);
	fake_imaging.has_obstacle = false;
	hosted.site->images_root = "/proc"; /* which has no room for anything */
	running->instance.pid = getpid();
	look_for_image("");
	cr_assert(strstr(image_why.text, "it would take about "), "%s", image_why.text);
	cr_assert(strstr(image_why.text, " MiB, and /proc has room for 0 MiB"), "%s", image_why.text);
	hosted.site->criu_path = NULL;
	look_for_image("");
	cr_assert_str_eq(image_why.text, "no usable CRIU: criu 4.0");
}

/* ---- the answer ---- */

/* A plan that has found nothing bad, to be changed. */
static struct plan found(const char *more)
{
	unit_free(unit);
	unit = parsed(more);
	return (struct plan){
		.site = hosted.site, .criu_detail = "criu 4.0", .running = &running->instance, .unit = unit, .version = "v2",
		.rollback = unit->rollback, .require_image = unit->require_image,
		.room = { .image = 1 << 20, .image_free = 1 << 30, .memory = 1 << 20, .memory_free = 1 << 30 },
	};
}

#define assert_told(what, ...)                           \
	do {                                                 \
		assert_text(text.text, __VA_ARGS__);             \
		cr_assert_eq(code, (what));                      \
	} while (0)

Test(plan, tells_which_ways_back_would_not_be_there)
{
	struct plan of = found("");

	tell(&of);
	assert_told(WIRE_EXIT_DONE, "web: the roll from v1 to v2 can be done, and every way back would be there");
	hosted.site->criu_path = NULL;
	tell(&of);
	assert_told(WIRE_EXIT_ERROR, "web: the roll from v1 to v2 can be done, but not every way back would be there (image)");
	cr_assert_str_eq(way("image")->cause, "no usable CRIU: criu 4.0");
	of = found("Bake=0\n");
	tell(&of);
	assert_told(WIRE_EXIT_ERROR,
		    "web: the roll from v1 to v2 can be done, but not every way back would be there (parked, image)");
	cr_assert_str_eq(way("parked")->cause, "Bake=0: the new version is accepted at once");
}

Test(plan, does_not_miss_ways_back_that_nobody_wants)
{
	struct plan of = found("Rollback=image\n");

	tell(&of);
	assert_told(WIRE_EXIT_DONE, "web: the roll from v1 to v2 can be done, and every way back would be there");
	cr_assert(!way("parked")->wanted && !way("parked")->there);
	cr_assert_str_eq(way("parked")->cause, "Rollback=image does not keep the process");
	of = found("Rollback=none\n");
	hosted.site->criu_path = NULL;
	tell(&of);
	cr_assert_eq(code, WIRE_EXIT_DONE);
	cr_assert(!way("live")->wanted && !way("parked")->wanted && !way("image")->wanted && way("cold")->wanted);
}

Test(plan, tells_what_each_way_back_costs)
{
	struct plan of = found("");

	of.room.memory = 300 << 20;
	tell(&of);
	cr_assert_str_eq(way("live")->cost, "a roll backwards, at any time while the new version lives: a pause like the roll's; "
					    "what was written is carried back; what only the new version opens is "
					    "closed then");
	cr_assert_str_eq(way("parked")->cost, "300 MiB of memory for the bake of 60000 ms; back in milliseconds; "
					      "what was written since the commit is lost");
	cr_assert_str_eq(way("image")->cost, "about 2 MiB on disk; back by a restore with the same pid; "
					     "what was written since the commit is lost");
	of = found("Journal=yes\n");
	plan_pauses_note(&of.pauses, 12345, &(struct plan_size){ .records = 100 });
	tell(&of);
	cr_assert(strstr(way("live")->cost, "a pause of about 12.3 ms"), "%s", way("live")->cost);
	cr_assert(strstr(way("image")->cost, "is in the journal, if both versions can keep one"), "%s", way("image")->cost);
}

Test(plan, tells_that_memory_may_be_short)
{
	struct plan of = found("");

	of.room.memory = of.room.memory_free + 1;
	tell(&of);
	assert_told(WIRE_EXIT_ERROR,
		    "web: the roll from v1 to v2 may run out of memory: both versions hold the state at once");
	of.room.memory--;
	tell(&of);
	cr_assert_eq(code, WIRE_EXIT_DONE);
}

Test(plan, refuses_where_an_image_is_required_and_would_not_be_there)
{
	struct plan of = found("RequireImage=yes\n");

	tell(&of);
	cr_assert_eq(code, WIRE_EXIT_DONE);
	why_set(&of.obstacles_cause, 0, "cannot look at process 7");
	tell(&of);
	assert_refused("an image is required, and there would be none: cannot look at process 7");
	*of.obstacles_cause.text = 0;
	of.obstacles.n_fatal = 70; /* none of which is listed */
	tell(&of);
	assert_refused("an image is required, and there would be none: 70 things of the process cannot be imaged");
}

Test(plan, lists_fatal_obstacles_first)
{
	struct plan of = found("");
	static const struct obstacle some[] = {
		{ OBSTACLE_WARNING, 3, "inotify", "loses its watches" },
		{ OBSTACLE_FATAL, 4, "device", "a tape drive" },
		{ OBSTACLE_WARNING, -1, "terminal", "has none any more" },
		{ OBSTACLE_FATAL, 5, "io_uring", "a ring" },
	};

	memcpy(of.obstacles.obstacle, some, sizeof(some));
	of.obstacles.n = 4;
	of.obstacles.n_fatal = of.obstacles.n_warnings = 2;
	tell(&of);
	cr_assert_eq(told->n_obstacles, 4);
	cr_assert(told->obstacles[0]->fd == 4 && told->obstacles[1]->fd == 5 && told->obstacles[2]->fd == 3);
	cr_assert(told->obstacles[1]->fatal && !told->obstacles[2]->fatal);
	cr_assert_str_eq(told->obstacles[3]->text, "has none any more");
	cr_assert_str_eq(way("image")->cause, "a tape drive");
}

Test(plan, tells_the_pauses_of_the_last_rolls)
{
	struct plan of = found("");

	tell(&of);
	cr_assert(told->rolls == 0 && told->pause_median_us == 0);
	for (unsigned i = 1; i <= 11; i++)
		plan_pauses_note(&of.pauses, i == 11 ? 1000 : i * 100, &(struct plan_size){ .records = i });
	tell(&of);
	/* 400, ..., 1000 and 1000: the first three are forgotten. */
	cr_assert(told->rolls == PLAN_PAUSES && told->pause_min_us == 400 && told->pause_max_us == 1000);
	cr_assert_eq(told->pause_median_us, 800);
	cr_assert_eq(told->pause_records, 11);
}

/* @fake says hello with @n types, the first @n_bad of which nobody else knows. */
static void hello_with(struct fake *fake, unsigned n, unsigned n_bad)
{
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(HELLO), .hello = &hello);
	Upgraded__Wire__Schema schemas[100], *list[100];
	char names[100][UNIT_NAME_MAX + 16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "%s%u", i >= n - n_bad ? fake->instance.version : "type", i);
		upgraded__wire__schema__init(&schemas[i]);
		schemas[i].name = names[i];
		schemas[i].version = 1;
		list[i] = &schemas[i];
	}
	hello.protocol = WIRE_PROTOCOL;
	hello.n_schemas = n;
	hello.schemas = list;
	fake_say(fake, &message);
}

Test(plan, lists_the_types_without_a_way_first_where_it_cannot_list_all)
{
	upgraded__wire__app_message__free_unpacked(running->instance.hello, NULL);
	running->instance.hello = NULL;
	hello_with(running, 100, 2);
	look("");
	inventory(0, true);
	hello_with(started(0), 98, 0);
	hosted_turn();
	assert_refused("version v2 does not know the type v198 of version v1: its records would be lost");
	cr_assert_eq(told->n_up, 60);
	cr_assert(!told->up[0]->ok && !told->up[1]->ok && told->up[2]->ok);
	cr_assert_str_eq(told->up[0]->type, "v198");
	cr_assert_eq(told->up[0]->to, 0);
	cr_assert(told->n_down == 60 && told->down[0]->ok);
	cr_assert(way("live")->there, "going back loses nothing");
}

/* ---- threads ---- */

#define STRANGE_NAME "odd\033[2J"

struct waiter {
	int end, tell; /* what it waits for, and where it says who it is */
};

static void *wait_for_end(void *arg)
{
	const struct waiter *waiter = arg;
	pid_t tid = gettid();
	char none;

	(void)!write(waiter->tell, &tid, sizeof(tid));
	(void)!read(waiter->end, &none, 1);
	return NULL;
}

/* Of this process: as many as there are, but for @loose. */
static size_t list_threads(uint32_t *ret_tids, size_t max, uint32_t loose)
{
	DIR *stream = opendir("/proc/self/task");
	struct dirent *entry;
	size_t n = 0;

	cr_assert_not_null(stream);
	while ((entry = readdir(stream)) && n < max)
		if (*entry->d_name != '.' && strtoul(entry->d_name, NULL, 10) != loose)
			ret_tids[n++] = (uint32_t)strtoul(entry->d_name, NULL, 10);
	closedir(stream);
	return n;
}

/* The running version is this process; it tells all of its threads but @loose, and many that are none. */
static void tell_threads(uint32_t loose)
{
	Upgraded__Wire__Inventory body = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(INVENTORY), .inventory = &body);
	static uint32_t tids[20000];
	size_t n = sizeof(tids) / sizeof(tids[0]) / 2;

	for (size_t i = 0; i < n; i++)
		tids[i] = (uint32_t)(INT32_MAX - i);
	body.threads = tids;
	body.n_threads = n + list_threads(tids + n, n, loose);
	body.last = true;
	running->instance.pid = getpid();
	fake_say(running, &message);
}

Test(plan, names_the_thread_that_is_not_registered_and_no_other)
{
	struct plan_spec by = spec("");
	int end[2], told_by[2];
	struct waiter waiter;
	pthread_t thread;
	char want[128];
	pid_t tid;

	cr_assert_eq(pipe2(end, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(told_by, O_CLOEXEC), 0);
	waiter = (struct waiter){ .end = end[0], .tell = told_by[1] };
	cr_assert_eq(pthread_create(&thread, NULL, wait_for_end, &waiter), 0);
	cr_assert_eq(pthread_setname_np(thread, STRANGE_NAME), 0);
	cr_assert_eq(read(told_by[0], &tid, sizeof(tid)), (ssize_t)sizeof(tid));
	by.try_version = false;
	begin(&by);
	tell_threads((uint32_t)tid);
	hosted_turn();
	cr_assert_eq(ends, 1);
	snprintf(want, sizeof(want), "thread odd?[2J (tid %d) is not registered: ", (int)tid);
	cr_assert_eq(told->n_loose, 1u);
	cr_assert_eq(strncmp(told->loose[0], want, strlen(want)), 0, "%s", told->loose[0]);
	close(end[1]);
	pthread_join(thread, NULL);
	close(end[0]);
	close(told_by[0]);
	close(told_by[1]);
}

Test(plan, expects_the_pause_for_what_is_there_now_and_not_for_what_was)
{
	struct plan_pauses pauses = { .n = 0 };
	const struct plan_size small = { 1000, 100000, 10 }, large = { 1000000, 100000000, 10 };
	uint64_t expected;

	cr_assert_eq(plan_pauses_expect(&pauses, &large), 0, "no roll has committed");
	plan_pauses_note(&pauses, 10000, &small);
	cr_assert_eq(plan_pauses_expect(&pauses, &small), 10000);
	expected = plan_pauses_expect(&pauses, &large);
	cr_assert(expected > 100 * 10000 && expected < 1000 * 10000, "%" PRIu64, expected);
	/* One that went wrong does not set the scale. */
	plan_pauses_note(&pauses, 1000000, &small);
	plan_pauses_note(&pauses, 10000, &small);
	cr_assert_eq(plan_pauses_expect(&pauses, &small), 10000);
}

Test(plan, tells_what_the_running_version_holds)
{
	Upgraded__Wire__Count counts[] = { UPGRADED__WIRE__COUNT__INIT, UPGRADED__WIRE__COUNT__INIT };
	Upgraded__Wire__Count *list[] = { &counts[0], &counts[1] };
	Upgraded__Wire__Inventory body = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(HEARD(INVENTORY), .inventory = &body);

	look("");
	counts[0].records = 200000;
	counts[1].records = 29;
	counts[0].bytes = 1 << 20;
	body.last = true;
	body.counts = list;
	body.n_counts = 2;
	fake_say(running, &message);
	fake_hello(started(0), 2, true);
	hosted_turn();
	cr_assert(told->counted);
	cr_assert_eq(told->records, 200029);
	cr_assert_eq(told->state_bytes, 1 << 20);
}
