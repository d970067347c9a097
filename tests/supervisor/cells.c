/* SPDX-License-Identifier: MIT */
#include "tests/supervisor/cells.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- who does it ---- */

static struct fake *runs(struct fake *fake)
{
	return fake && fake->instance.life == INSTANCE_RUNS ? fake : NULL;
}

struct fake *cells_old(void)
{
	return scene.old && roll_old(scene.roll) == &scene.old->instance ? runs(scene.old) : NULL;
}

struct fake *cells_new(void)
{
	if (scene_state() == ROLL_COLD)
		return runs(scene.cold);
	return scene.new && roll_new(scene.roll) == &scene.new->instance ? runs(scene.new) : NULL;
}

/* ---- texts ---- */

/* @text with the pids for OLD, NEW and COLD. Return: static. */
static const char *expand(const char *text)
{
	static char whole[2][512];
	static unsigned turn;
	char *at = whole[++turn % 2], *end = at + sizeof(whole[0]) - 12;
	const char *const names[] = { "OLD", "NEW", "COLD" };
	const pid_t pids[] = { scene.old_pid, scene.new_pid, scene.cold_pid };

	for (size_t i; text && *text && at < end;) {
		for (i = 0; i < 3 && strncmp(text, names[i], strlen(names[i])) != 0; i++)
			;
		if (i < 3) {
			at += snprintf(at, 12, "%d", pids[i]);
			text += strlen(names[i]);
		} else {
			*at++ = *text++;
		}
	}
	*at = 0;
	return whole[turn % 2];
}

static void check_text(const char *what, const char *is, const char *should, const char *label)
{
	cr_assert_str_eq(is, expand(should), "%s: %s is \"%s\", not \"%s\"", label, what, is, expand(should));
}

/* ---- at the end ---- */

static const struct fake *server_of(enum roll_outcome outcome)
{
	switch (outcome) {
	case ROLL_IS_DONE: /* where a third version has taken over, the other roll knows who serves */
		return scene.ended_in == ROLL_PASSED ? NULL : scene.new;
	case ROLL_IS_REFUSED:
	case ROLL_IS_ABORTED:
	case ROLL_IS_UNANSWERED:
	case ROLL_IS_BACK_PARKED:
	case ROLL_IS_BACK_IMAGE:
	case ROLL_IS_BACK_PART:
		return scene.old;
	case ROLL_IS_COLD:
		return scene.cold;
	case ROLL_IS_UNDER_WAY:
	case ROLL_IS_BACK_LIVE:
	case ROLL_IS_FAILED:
		break;
	}
	return NULL;
}

static void check_end(enum roll_outcome outcome, const char *label)
{
	const struct fake *all[] = { scene.old, scene.new, scene.cold }, *server;

	/* Called off with an old that was asked, and then said nothing to the end. */
	if (outcome == ROLL_IS_ABORTED && scene.report.wire.unanswered_us)
		outcome = ROLL_IS_UNANSWERED;
	server = server_of(outcome);
	cr_assert_null(scene.roll, "%s: the roll is not over: %s", label, roll_state_name(scene_state()));
	cr_assert_eq(scene.report.outcome, outcome, "%s: %s instead of %s", label, roll_outcome_name(scene.report.outcome),
		     roll_outcome_name(outcome));
	cr_assert_eq(scene.serves, server ? &server->instance : NULL, "%s: the wrong one serves", label);
	cr_assert(!server || server->signal != SIGKILL, "%s: who serves was killed", label);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		cr_assert(all[i] == server || !all[i] || all[i]->instance.life != INSTANCE_RUNS || all[i]->signal == SIGKILL,
			  "%s: one is left running", label);
}

/* ---- a cell ---- */

static void begin(enum roll_state in)
{
	struct roll_options options;

	scene_set(NULL);
	options = scene_options();
	scene_begin(&options);
	scene_to(in);
	scene_forget();
}

static bool is_somebody_there(const struct deed *deed, enum roll_state in)
{
	bool there;

	begin(in);
	there = !deed->can || deed->can();
	scene_clear();
	return there;
}

static const struct roll_report *report(void)
{
	return scene.roll ? roll_report(scene.roll) : &scene.report;
}

static void check_consequence(const struct cell *cell, const struct roll_report *before, const char *label)
{
	size_t n = strlen(scene.said);

	if (n)
		scene.said[n - 1] = 0;
	cr_assert_eq(scene_state(), cell->next, "%s: leads to %s, not %s", label, roll_state_name(scene_state()),
		     roll_state_name(cell->next));
	check_text("what is heard", scene.heard, cell->hears, label);
	check_text("what is said", scene.said, cell->says, label);
	check_text("the cause", report()->cause.text, cell->cause ? cell->cause : before->cause.text, label);
	check_text("the way back", rungs_text(report()->rungs), cell->rungs ? cell->rungs : rungs_text(before->rungs), label);
}

/* Return: was there somebody who could do it? */
static bool check_deed(const struct deed *deed, const struct cell *cell, const char *label)
{
	struct roll_report before = *report();
	struct why why = { 0 };
	int r;

	if (deed->can) {
		cr_assert_eq(deed->can(), !cell->nobody, "%s", label);
		if (cell->nobody)
			return false;
	}
	r = deed->happen(&why);
	cr_assert_eq(r < 0, cell->refusal != NULL, "%s: %s", label, why.text);
	check_text("the refusal", why.text, cell->refusal, label);
	check_consequence(cell, &before, label);
	return true;
}

/* Once, with @conclude for what follows, which is @how. */
static void check_once(const struct deed *deed, const struct cell *cell, void (*conclude)(void), enum roll_outcome outcome,
		       const char *how)
{
	char label[128];

	snprintf(label, sizeof(label), "%s in %s, and then all goes %s", deed->name, roll_state_name(cell->in), how);
	begin(cell->in);
	if (check_deed(deed, cell, label)) {
		conclude();
		check_end(outcome, label);
	}
	scene_clear();
}

static void check_cell(const struct deed *deed, const struct cell *cell)
{
	check_once(deed, cell, scene_go_well, cell->well, "well");
	if (!cell->nobody)
		check_once(deed, cell, scene_conclude, cell->ill, "ill");
}

void cells_check(const struct deed *deed, const struct cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check_cell(deed, &cells[i]);
}

void cells_check_all(const struct deed *deed, const struct cell *cells, size_t n)
{
	bool has_cell[ROLL_STATES] = { [ROLL_SETTLE] = true }; /* no time passes in it */

	cells_check(deed, cells, n);
	for (size_t i = 0; i < n; i++)
		has_cell[cells[i].in] = true;
	for (enum roll_state state = 0; state < ROLL_STATES; state++)
		cr_assert(has_cell[state] || roll_is_over(state), "%s in %s is not in the table", deed->name,
			  roll_state_name(state));
}

void cells_check_idle(const struct deed *deed, unsigned but)
{
	static const enum roll_outcome well[ROLL_STATES] = {
		[ROLL_STANDBY] = ROLL_IS_DONE,	       [ROLL_DISMISS] = ROLL_IS_REFUSED,
		[ROLL_QUIESCE] = ROLL_IS_DONE,	       [ROLL_TRANSFER] = ROLL_IS_DONE,
		[ROLL_LOADING] = ROLL_IS_DONE,	       [ROLL_COMMIT] = ROLL_IS_DONE,
		[ROLL_ABORT] = ROLL_IS_ABORTED,	       [ROLL_PARK] = ROLL_IS_DONE,
		[ROLL_IMAGE] = ROLL_IS_DONE,	       [ROLL_BAKE] = ROLL_IS_DONE,
		[ROLL_PACK] = ROLL_IS_DONE,	       [ROLL_BACKWARD] = ROLL_IS_BACK_LIVE,
		[ROLL_RETREAT] = ROLL_IS_BACK_PARKED,  [ROLL_RETREAT_IMAGING] = ROLL_IS_BACK_PARKED,
		[ROLL_RESUME] = ROLL_IS_BACK_PARKED,   [ROLL_RESTORE] = ROLL_IS_BACK_IMAGE,
		[ROLL_COLD] = ROLL_IS_COLD,	       [ROLL_ONWARD] = ROLL_IS_DONE,
	};

	for (enum roll_state state = 0; state < ROLL_STATES; state++) {
		struct cell cell = { .in = state, .next = state, .well = well[state] };

		if (but & 1u << state || roll_is_over(state) || state == ROLL_SETTLE)
			continue;
		cell.nobody = !is_somebody_there(deed, state);
		check_once(deed, &cell, scene_go_well, cell.well, "well");
	}
}
