/* SPDX-License-Identifier: MIT */
#include "cli/progress.h"

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
		if (*p == '\r') {
			at = line;
		} else if (!strncmp(p, "\033[K", 3)) {
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
	progress_end(&scene.progress, MARK_OK, 61500);
	scene_expect(&scene, "  ✓    0.050s  preflight   nothing in the way\n"
			     "  ✓    0.061s  quiesce     4 threads\n");
}

Test(progress, the_current_phase_stands_open)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "bake", "watching for 30s", 70000);
	scene_expect(&scene, "  ·    0.070s  bake        watching for 30s");
}

Test(progress, the_phase_before_an_abort_failed)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "verify", "digests", 10000);
	scene_step(&scene, "abort", "the old version goes on", 20000);
	progress_end(&scene.progress, MARK_FAIL, 30000);
	scene_expect(&scene, "  ✗    0.020s  verify      digests\n"
			     "  ✗    0.030s  abort       the old version goes on\n");
}

Test(progress, a_way_back_that_worked_has_a_mark_of_its_own)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "bake", "new died: SIGSEGV", 10000);
	scene_step(&scene, "restore", "from the image", 20000);
	scene_step(&scene, "resume", "12 connections", 30000);
	progress_end(&scene.progress, MARK_OK, 40000);
	scene_expect(&scene, "  ✗    0.020s  bake        new died: SIGSEGV\n"
			     "  ↩    0.030s  restore     from the image\n"
			     "  ↩    0.040s  resume      12 connections\n");
}

Test(progress, time_never_runs_backwards)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	scene_step(&scene, "bake", "", 10000);
	progress_end(&scene.progress, MARK_OK, 3);
	scene_expect(&scene, "  ✓    0.010s  bake        \n");
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
	progress_end(&scene.progress, MARK_OK, 3);
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
	progress_end(&scene.progress, MARK_OK, 70000);
	cr_expect_null(strchr(scene.bytes, '\r'));
	scene_expect(&scene, "   0.001s  preflight   looking\n"
			     "   0.002s  preflight   nothing in the way\n"
			     "   0.061s  commit\n"
			     "   0.061s  bake        log: \\x1b[31m\n");
}

Test(progress, nothing_shown_leaves_nothing_to_end)
{
	struct scene scene;

	scene_begin(&scene, true, 80);
	progress_end(&scene.progress, MARK_OK, 1);
	scene_expect(&scene, "");
}
