/* SPDX-License-Identifier: MIT */
#include "cli/progress.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(progress, .timeout = 20);

/* A terminal on which lines are rewritten: what remains to be seen after \r and "erase to the end of the line". */
static char *screen_of(const char *bytes)
{
	char *screen = calloc(1, strlen(bytes) + 1);
	size_t line = 0;
	size_t at = 0;

	cr_assert(screen);
	for (const char *p = bytes; *p; p++) {
		if (*p == '\r' && p[1] == '\n') {
			/* A line of hints, which is drawn below and left again. */
			p = strstr(p, "\033[A");
			cr_assert(p);
			p += 2;
		} else if (*p == '\r') {
			at = line;
		} else if (!strncmp(p, "\033[K", 3) || !strncmp(p, "\033[J", 3)) {
			screen[at] = '\0';
			p += 2;
		} else {
			cr_assert_neq(*p, '\033', "another escape sequence came: %s", p + 1);
			screen[at++] = *p;
			if (*p == '\n') {
				screen[at] = '\0';
				line = at;
			}
		}
	}
	return screen;
}

struct scene {
	struct term term;
	struct progress progress;
	char *bytes;
	size_t size;
};

static void scene_begin(struct scene *scene, bool live, size_t width)
{
	memset(scene, 0, sizeof(*scene));
	scene->term = (struct term){ .live = live, .utf8 = true, .width = width };
	scene->term.out = open_memstream(&scene->bytes, &scene->size);
	cr_assert(scene->term.out);
	progress_init(&scene->progress, &scene->term);
}

static void scene_step(struct scene *scene, const char *phase, const char *text, uint64_t elapsed_us)
{
	Upgraded__Wire__Progress message;
	char *phase_copy = strdup(phase);
	char *text_copy = strdup(text);

	upgraded__wire__progress__init(&message);
	message.phase = phase_copy;
	message.text = text_copy;
	message.elapsed_us = elapsed_us;
	progress_show(&scene->progress, &message);
	free(phase_copy);
	free(text_copy);
}

static void scene_expect(struct scene *scene, const char *expected)
{
	char *screen;

	fclose(scene->term.out);
	screen = screen_of(scene->bytes);
	cr_expect_str_eq(screen, expected);
	free(screen);
	free(scene->bytes);
}

Test(progress, each_phase_is_one_line_completed_in_place)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "preflight", "looking", 1000);
	scene_step(&scene, "preflight", "nothing in the way", 2000);
	scene_step(&scene, "quiesce", "4 threads", 50000);
	progress_end(&scene.progress, MARK_OK, 61500, "");
	scene_expect(&scene, "  ✓ preflight   50.0 ms  nothing in the way\n"
			     "  ✓ quiesce     61.5 ms  4 threads\n");
}

Test(progress, the_current_phase_stands_open)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "bake", "watching for 30s", 70000);
	scene_expect(&scene, "  ▸ bake        70.0 ms  watching for 30s");
}

Test(progress, the_phase_before_an_abort_failed)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "verify", "digests", 10000);
	scene_step(&scene, "abort", "the old version goes on", 20000);
	progress_end(&scene.progress, MARK_FAIL, 30000, "");
	scene_expect(&scene, "  ✗ verify      20.0 ms  digests\n"
			     "  ✗ abort       30.0 ms  the old version goes on\n");
}

Test(progress, a_way_back_that_worked_has_a_mark_of_its_own)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "bake", "new died: SIGSEGV", 10000);
	scene_step(&scene, "restore", "from the image", 20000);
	scene_step(&scene, "resume", "12 connections", 30000);
	progress_end(&scene.progress, MARK_OK, 40000, "");
	scene_expect(&scene, "  ✗ bake        20.0 ms  new died: SIGSEGV\n"
			     "  ↩ restore     30.0 ms  from the image\n"
			     "  ↩ resume      40.0 ms  12 connections\n");
}

Test(progress, time_never_runs_backwards)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "bake", "", 10000);
	progress_end(&scene.progress, MARK_OK, 3, "");
	scene_expect(&scene, "  ✓ bake        10.0 ms  \n");
}

Test(progress, a_line_never_fills_the_terminal)
{
	for (size_t width = 1; width < 90; width++) {
		struct scene scene;
		char *screen;
		struct term term;

		scene_begin(&scene, true, width);
		scene_step(&scene, "quiesce", "a text that is a good deal longer than what a narrow terminal has room for", 1);
		fclose(scene.term.out);
		screen = screen_of(scene.bytes);
		term = scene.term;
		/* Below the mark and the time nothing more can be left out. */
		if (width > 16)
			cr_expect_lt(term_columns(&term, screen), width, "\"%s\" on %zu columns", screen, width);
		free(screen);
		free(scene.bytes);
	}
}

Test(progress, long_and_hostile_messages_stay_on_their_line)
{
	struct scene scene;
	char text[4000];
	char *screen;

	memset(text, 'x', sizeof(text));
	memcpy(text, "\033[2J\n", 5);
	text[sizeof(text) - 1] = '\0';
	scene_begin(&scene, true, 80);
	scene_step(&scene, text, text, 1);
	scene_step(&scene, "bake", text, 2);
	progress_end(&scene.progress, MARK_OK, 3, "");
	fclose(scene.term.out);
	screen = screen_of(scene.bytes); /* asserts that no other escape came */
	cr_expect(strstr(screen, "\\x1b[2J\\n"));
	free(screen);
	free(scene.bytes);
}

Test(progress, a_text_is_cut_between_characters)
{
	struct scene scene;
	char text[600] = "";
	char *screen;

	for (size_t i = 0; i + 3 < sizeof(text) - 1; i += 2)
		memcpy(text + i, "\u00e9", 2);
	scene_begin(&scene, true, 4000);
	scene_step(&scene, "bake", text, 1);
	fclose(scene.term.out);
	screen = screen_of(scene.bytes);
	cr_expect_null(strstr(screen, "\\x"), "%s", screen);
	free(screen);
	free(scene.bytes);
}

Test(progress, elsewhere_each_message_is_a_line)
{
	struct scene scene;

	scene_begin(&scene, false, 0);
	scene_step(&scene, "preflight", "looking", 1000);
	scene_step(&scene, "preflight", "nothing in the way", 2000);
	scene_step(&scene, "commit", "", 61500);
	scene_step(&scene, "bake", "log: \033[31m", 61500);
	progress_end(&scene.progress, MARK_OK, 70000, "");
	cr_expect_null(strchr(scene.bytes, '\r'));
	scene_expect(&scene, "   0.001s  preflight   looking\n"
			     "   0.002s  preflight   nothing in the way\n"
			     "   0.061s  commit\n"
			     "   0.061s  bake        log: \\x1b[31m\n");
}

/* ---- of a supervisor that tells when phases begin ---- */

static Upgraded__Wire__Progress phase_of(const char *phase, uint64_t begun_us, uint64_t at_us)
{
	Upgraded__Wire__Progress message;

	upgraded__wire__progress__init(&message);
	message.kind = at_us == begun_us ? UPGRADED__WIRE__PROGRESS_KIND__PROGRESS_BEGINS :
					   UPGRADED__WIRE__PROGRESS_KIND__PROGRESS_GOES_ON;
	message.phase = wire_text(phase);
	message.service = wire_text("web");
	message.from = wire_text("v1");
	message.to = wire_text("v2");
	message.roll_id = 17;
	message.pid = 2852;
	message.at_us = 1000000 + at_us;
	message.elapsed_us = at_us;
	message.phase_us = at_us - begun_us;
	return message;
}

static void scene_phase(struct scene *scene, const char *phase, uint64_t begun_us, uint64_t at_us)
{
	Upgraded__Wire__Progress message = phase_of(phase, begun_us, at_us);

	progress_show(&scene->progress, &message);
}

Test(progress, a_phase_has_its_own_time_and_its_own_figures)
{
	struct scene scene;
	Upgraded__Wire__Progress message;

	scene_begin(&scene, true, 80);
	scene_phase(&scene, "standby", 0, 0);
	scene_phase(&scene, "quiesce", 17000, 17000);
	message = phase_of("transfer", 20000, 20000);
	message.quiesce_us = 90;
	progress_show(&scene.progress, &message);
	message = phase_of("commit", 52000, 52000);
	message.records = 19320;
	message.state_bytes = 6959306;
	progress_show(&scene.progress, &message);
	message = phase_of("park", 53000, 53000);
	message.pause_us = 34100;
	progress_show(&scene.progress, &message);
	message = phase_of("image", 54000, 54000);
	message.from_pid = 7;
	progress_show(&scene.progress, &message);
	message = phase_of("bake", 150000, 150000);
	message.image_bytes = 11 << 20;
	message.way_back = wire_text("parked+image");
	message.bake_us = 20000000;
	message.bake_ends_us = message.at_us + 12000000;
	progress_show(&scene.progress, &message);
	scene_expect(&scene, "web  v1 -> v2   roll 17\n"
			     "  ✓ standby     17.0 ms  pid 2852, v2 is ready\n"
			     "  ✓ quiesce     90 us    all threads of v1 stopped\n"
			     "  ✓ transfer    32.0 ms  19,320 records, 6.6 MiB\n"
			     "  ✓ commit      34.1 ms  pause; v2 serves\n"
			     "  ✓ park        1.00 ms  pid 7, v1 is parked\n"
			     "  ✓ image       96.0 ms  11 MiB; way back: parked + image\n"
			     "  ▸ bake        12s of 20s left  ");
}

Test(progress, the_phase_that_failed_says_why)
{
	struct scene scene;
	Upgraded__Wire__Progress message;

	scene_begin(&scene, true, 80);
	scene_phase(&scene, "transfer", 20000, 20000);
	message = phase_of("abort", 52000, 52000);
	message.cause = wire_text("version v2 (pid 2852) was killed by SIGSEGV");
	progress_show(&scene.progress, &message);
	progress_end(&scene.progress, MARK_FAIL, 54000, "");
	scene_expect(&scene, "web  v1 -> v2   roll 17\n"
			     "  ✗ transfer    32.0 ms  version v2 (pid 2852) was killed by SIGSEGV\n"
			     "  ✗ abort       2.00 ms  v1 goes on\n");
}

Test(progress, while_state_moves_there_is_how_far_and_how_long)
{
	struct scene scene;
	Upgraded__Wire__Progress message;

	scene_begin(&scene, true, 120);
	scene_phase(&scene, "transfer", 0, 0);
	message = phase_of("transfer", 0, 2000000);
	message.records = 50000;
	message.records_expected = 200000;
	message.state_bytes = 100 << 20;
	progress_show(&scene.progress, &message);
	scene_expect(&scene, "web  v1 -> v2   roll 17\n"
			     "  ▸ transfer    2.00 s   50,000 of 200,000 records, 100 MiB, 6.00 s left, "
			     "25,000 records/s, 50 MiB/s");
}

Test(progress, news_that_matter_stay_and_others_pass)
{
	struct scene scene;
	Upgraded__Wire__Progress message;

	scene_begin(&scene, true, 80);
	scene_phase(&scene, "bake", 0, 0);
	scene_step(&scene, "bake", "watching it", 0);
	message = phase_of("bake", 0, 0);
	message.kind = UPGRADED__WIRE__PROGRESS_KIND__PROGRESS_NEWS;
	message.note = true;
	message.text = wire_text("a way back is lost");
	progress_show(&scene.progress, &message);
	scene_expect(&scene, "web  v1 -> v2   roll 17\n"
			     "    a way back is lost\n"
			     "  ▸ bake        0 us     ");
}

Test(progress, words_are_not_cut)
{
	struct scene scene;

	scene_begin(&scene, true, 36);
	scene_step(&scene, "image", "taking a picture of everything", 1);
	scene_expect(&scene, "  ▸ image       1 us     taking a…");
}

Test(progress, nothing_shown_leaves_nothing_to_end)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	progress_end(&scene.progress, MARK_OK, 1, "");
	scene_expect(&scene, "");
}
