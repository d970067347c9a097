/* SPDX-License-Identifier: MIT */
/* What the log says of messages that come where they must not: nothing where they were on their way already, a warning elsewhere.
 * */
#include "tests/supervisor/cells.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

TestSuite(roll_log, .timeout = 20);

static void begin_in(enum roll_state state)
{
	struct roll_options options;

	scene_set(NULL);
	options = scene_options();
	scene_begin(&options);
	scene_to(state);
}

/* What goes to stderr while @happen happens. Return: static. */
static const char *logged(void (*happen)(void))
{
	static char text[2048];
	int memory = memfd_create("log", MFD_CLOEXEC), stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	ssize_t n;

	cr_assert(memory >= 0 && stderr_fd >= 0);
	cr_assert_eq(dup2(memory, STDERR_FILENO), STDERR_FILENO);
	log_set_level(LOG_LEVEL_WARNING);
	happen();
	log_set_level(LOG_LEVEL_ERROR);
	cr_assert_eq(dup2(stderr_fd, STDERR_FILENO), STDERR_FILENO);
	n = pread(memory, text, sizeof(text) - 1, 0);
	cr_assert_geq(n, 0);
	text[n] = 0;
	close(memory);
	close(stderr_fd);
	return text;
}

#define SAYS(name, act)    \
	static void name(void) \
	{                      \
		act;               \
	}

SAYS(old_refuses, fake_refused(scene.old, "because"))
SAYS(old_has_saved, fake_saved(scene.old, 10, 2))
SAYS(old_has_parked, fake_parked(scene.old))
SAYS(old_serves, fake_resumed(scene.old))
SAYS(old_says_not_yet, fake_not_yet(scene.old))
SAYS(old_stands, fake_quiesced(scene.old))
SAYS(old_babbles, fake_garbage(scene.old, "nonsense"))
SAYS(new_refuses, fake_refused(scene.new, "because"))
SAYS(new_stands_by, fake_standby(scene.new))
SAYS(new_is_ready, fake_ready(scene.new))
SAYS(new_has_committed, fake_committed(scene.new))
SAYS(new_babbles, fake_garbage(scene.new, "nonsense"))
SAYS(new_answers, fake_pong(scene.new))
SAYS(new_says_quiesced, fake_quiesced(scene.new))

struct late {
	enum roll_state in;
	void (*says)(void);
};

/* ---- on its way already ---- */

Test(roll_log, is_silent_on_what_was_on_its_way)
{
	static const struct late all[] = {
		{ ROLL_DISMISS, new_refuses },	     { ROLL_ABORT, new_refuses },	     { ROLL_ABORT, old_has_saved },
		{ ROLL_ABORT, old_says_not_yet },    { ROLL_RETREAT, new_refuses },	     { ROLL_RETREAT, old_has_parked },
		{ ROLL_RETREAT, old_serves },	     { ROLL_RESUME, old_has_parked },	     { ROLL_PARK, new_has_committed },
		{ ROLL_BAKE, new_has_committed },    { ROLL_BAKE, new_answers },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const char *log;

		begin_in(all[i].in);
		if (all[i].in == ROLL_DISMISS)
			fake_hello(scene.new, 2, true);
		log = logged(all[i].says);
		cr_assert_str_eq(log, "", "%zu, in %s: %s", i, roll_state_name(all[i].in), log);
		scene_clear();
	}
}

/* It stood by when it was being ended for something else. */
Test(roll_log, is_silent_on_a_version_that_stands_by_too_late)
{
	const char *log;

	begin_in(ROLL_STANDBY);
	fake_hello(scene.new, 2, true);
	roll_cancel(scene.roll);
	assert_state(ROLL_DISMISS);
	log = logged(new_stands_by);
	cr_assert_str_eq(log, "", "%s", log);
	scene_clear();
}

Test(roll_log, is_silent_on_a_version_that_refuses_again_while_an_image_is_finished)
{
	const char *log;

	begin_in(ROLL_IMAGE);
	fake_refused(scene.new, "I give up");
	assert_state(ROLL_RETREAT_IMAGING);
	log = logged(new_refuses);
	cr_assert_str_eq(log, "", "%s", log);
	scene_clear();
}

/* ---- out of place ---- */

static void assert_warns(const struct late *late, const char *who, pid_t pid, const char *what)
{
	char expected[300];
	const char *log = logged(late->says);

	snprintf(expected, sizeof(expected), "web[%s %d]: %s\n", who, pid, what);
	cr_assert(strstr(log, expected), "in %s: %s", roll_state_name(late->in), log);
}

Test(roll_log, says_that_old_cannot_lie_parked)
{
	static const enum roll_state states[] = { ROLL_PARK, ROLL_IMAGE, ROLL_BAKE, ROLL_PACK, ROLL_BACKWARD, ROLL_ONWARD,
						  ROLL_RETREAT, ROLL_RETREAT_IMAGING };

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		begin_in(states[i]);
		assert_warns(&(struct late){ states[i], old_refuses }, "v1", scene.old_pid, "cannot lie parked: because");
		scene_clear();
	}
}

Test(roll_log, names_a_message_of_old_that_is_out_of_place)
{
	static const struct {
		struct late late;
		const char *what;
	} all[] = {
		{ { ROLL_STANDBY, old_refuses }, "its message (old-refused) does not belong in standby; ignored" },
		{ { ROLL_TRANSFER, old_stands }, "its message (quiesced) does not belong in transfer; ignored" },
		{ { ROLL_TRANSFER, old_says_not_yet }, "its message (not-yet) does not belong in transfer; ignored" },
		{ { ROLL_QUIESCE, old_has_saved }, "its message (saved) does not belong in quiesce; ignored" },
		{ { ROLL_BAKE, old_has_parked }, "its message (parked) does not belong in bake; ignored" },
		{ { ROLL_BAKE, old_serves }, "its message (resumed) does not belong in bake; ignored" },
		{ { ROLL_BAKE, old_babbles }, "nonsense; ignored" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		begin_in(all[i].late.in);
		assert_warns(&all[i].late, "v1", scene.old_pid, all[i].what);
		scene_clear();
	}
}

Test(roll_log, names_a_message_of_new_that_is_out_of_place)
{
	static const struct {
		struct late late;
		const char *what;
	} all[] = {
		{ { ROLL_BAKE, new_stands_by }, "its message (standby) does not belong in bake; ignored" },
		{ { ROLL_BAKE, new_is_ready }, "its message (started) does not belong in bake; ignored" },
		{ { ROLL_BAKE, new_babbles }, "nonsense; ignored" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		begin_in(all[i].late.in);
		assert_warns(&all[i].late, "v2", scene.new_pid, all[i].what);
		scene_clear();
	}
	begin_in(ROLL_BAKE);
	cr_assert(strstr(logged(new_says_quiesced), "web: quiesced from version v2 does not belong here; ignored\n"));
	scene_clear();
}
