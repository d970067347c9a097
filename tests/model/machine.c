/* SPDX-License-Identifier: MIT */
/* Prints the supervisor's decisions about a roll in Promela, for roll.pml: the table and the facts of supervisor/roll/state.c, and
 * those decisions of supervisor/roll/record.c on which depends who serves. They are asked, cell by cell, and not read: what is
 * checked is what the daemon does. docs/MODEL.md has the rest.
 */
#include "supervisor/roll/record.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define PARTS_MAX 5
#define NAME_BYTES 64
#define VALUES_MAX 64
#define TEXT_BYTES 160

static const char *const action_names[ROLL_ACTIONS] = {
	[ROLL_DO_NOTHING] = "nothing",
	[ROLL_DO_KILL_NEW] = "kill-new",
	[ROLL_DO_PREPARE] = "prepare",
	[ROLL_DO_ASK_AGAIN] = "ask-again",
	[ROLL_DO_COMMIT] = "commit",
	[ROLL_DO_SETTLE] = "settle",
	[ROLL_DO_ABORT] = "abort",
	[ROLL_DO_AWAIT_OLD] = "await-old",
	[ROLL_DO_CHECK_ABORTED] = "check-aborted",
	[ROLL_DO_PARK] = "park",
	[ROLL_DO_IMAGE] = "image",
	[ROLL_DO_PACK] = "pack",
	[ROLL_DO_BAKE] = "bake",
	[ROLL_DO_PROVE] = "prove",
	[ROLL_DO_BACKWARD] = "backward",
	[ROLL_DO_ONWARD] = "onward",
	[ROLL_DO_DROP_OLD] = "drop-old",
	[ROLL_DO_FINISH] = "finish",
	[ROLL_DO_CHOOSE] = "choose",
	[ROLL_DO_RESUME] = "resume",
	[ROLL_DO_RESTORE] = "restore",
	[ROLL_DO_COLD_START] = "cold-start",
	[ROLL_DO_END] = "end",
};

/* Enums that are no machine's have no names of their own in the daemon. */
static const char *const old_names[] = {
	[OLD_SERVES] = "serves", [OLD_ASKED] = "asked",	      [OLD_STANDS] = "stands", [OLD_GOES_ON] = "goes-on",
	[OLD_PARKED] = "parked", [OLD_RESTORED] = "restored", [OLD_SPENT] = "spent",
};
static const char *const image_names[] = { [IMAGE_NONE] = "none", [IMAGE_THERE] = "there", [IMAGE_SPENT] = "spent" };
static const char *const wish_names[] = {
	[WISH_NONE] = "none",	[WISH_ACCEPT] = "accept",	  [WISH_ONWARD] = "onward",
	[WISH_UNDO] = "undo",	[WISH_LEAVE_SICK] = "leave-sick", [WISH_PARKED] = "parked",
	[WISH_IMAGE] = "image",
};
static const char *const trust_names[] = {
	[TRUST_PROBATION] = "probation",
	[TRUST_NOT_LEFT] = "not-left",
	[TRUST_KEPT] = "kept",
};
static const char *const retreat_names[] = {
	[RETREAT_AWAIT_NEW] = "await-new", [RETREAT_END_OLD] = "end-old", [RETREAT_PARKED] = "parked",
	[RETREAT_IMAGE] = "image",	   [RETREAT_COLD] = "cold",
};
static const char *const turn_names[] = {
	[TURN_NONE] = "none",	    [TURN_END] = "end",	  [TURN_ACCEPT] = "accept",
	[TURN_ONWARD] = "onward",   [TURN_UNDO] = "undo", [TURN_LEAVE_SICK] = "leave-sick",
	[TURN_GIVE_UP] = "give-up", [TURN_KEEP] = "keep",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- names ---- */

/* "new-gone" of 'E' is E_NEW_GONE. */
static const char *constant(char *buf, const char *prefix, const char *name)
{
	int n = snprintf(buf, NAME_BYTES, "%s_", prefix);

	for (; *name && n < NAME_BYTES - 1; name++)
		buf[n++] = *name == '-' ? '_' : (char)toupper((unsigned char)*name);
	buf[n] = 0;
	return buf;
}

static void define(const char *prefix, const char *const *names, size_t count)
{
	char buf[NAME_BYTES];

	for (size_t i = 0; i < count; i++) {
		assert(names[i]);
		printf("#define %s %zu\n", constant(buf, prefix, names[i]), i);
	}
	printf("\n");
}

/* ---- a decision as nested choices ---- */

/* What a decision depends on: a variable of the model, and the names of its values; without names it is a bit. */
struct part {
	const char *variable, *prefix;
	const char *const *names;
	size_t count;
};

struct decision {
	const struct part *parts;
	size_t n;
	/* Prints what is decided for these values, as statements. */
	const char *(*decide)(const size_t *values, char *buf, size_t size);
};

/* Is the same decided with the values @a and @b of part @at, whatever those of the parts from @next on are? */
static bool are_alike(const struct decision *decision, size_t *values, size_t at, size_t a, size_t b, size_t next)
{
	char one[TEXT_BYTES], other[TEXT_BYTES];

	if (next == decision->n) {
		values[at] = a;
		decision->decide(values, one, sizeof(one));
		values[at] = b;
		decision->decide(values, other, sizeof(other));
		return strcmp(one, other) == 0;
	}
	for (values[next] = 0; values[next] < decision->parts[next].count; values[next]++)
		if (!are_alike(decision, values, at, a, b, next + 1))
			return false;
	return true;
}

/* The first value of part @at that is like @value. */
static size_t first_alike(const struct decision *decision, size_t *values, size_t at, size_t value)
{
	size_t first = 0;

	while (first < value && !are_alike(decision, values, at, first, value, at + 1))
		first++;
	return first;
}

static void print_value(const struct part *part, size_t value)
{
	char name[NAME_BYTES];

	if (part->names)
		printf("%s == %s", part->variable, constant(name, part->prefix, part->names[value]));
	else
		printf("%s%s", value ? "" : "!", part->variable);
}

/* @indent: how deep it stands in what is printed. */
static void print_from(const struct decision *decision, size_t *values, size_t at, int indent)
{
	const struct part *part = &decision->parts[at];
	size_t first[VALUES_MAX], sizes[VALUES_MAX] = { 0 }, usual = 0;
	char text[TEXT_BYTES];
	int inner = indent;

	if (at == decision->n) {
		printf("%*s%s\n", indent, "", decision->decide(values, text, sizeof(text)));
		return;
	}
	assert(part->count <= VALUES_MAX);
	for (size_t value = 0; value < part->count; value++) {
		first[value] = first_alike(decision, values, at, value);
		sizes[first[value]]++;
	}
	for (size_t value = 0; value < part->count; value++)
		usual = sizes[value] > sizes[usual] ? value : usual;
	if (sizes[usual] < part->count) {
		printf("%*sif\n", indent, "");
		inner += 4;
	}
	for (size_t value = 0; sizes[usual] < part->count && value < part->count; value++) {
		if (first[value] != value || value == usual)
			continue;
		printf("%*s:: ", indent, "");
		for (size_t other = value; other < part->count; other++)
			if (first[other] == value) {
				printf("%s", other == value ? "" : " || ");
				print_value(part, other);
			}
		printf(" ->\n");
		values[at] = value;
		print_from(decision, values, at + 1, inner);
	}
	if (sizes[usual] < part->count)
		printf("%*s:: else ->\n", indent, "");
	values[at] = usual;
	print_from(decision, values, at + 1, inner);
	if (sizes[usual] < part->count)
		printf("%*sfi\n", indent, "");
}

static void print_decision(const char *name, const struct decision *decision)
{
	size_t values[PARTS_MAX] = { 0 };

	assert(decision->n <= PARTS_MAX);
	printf("inline %s\n{\n", name);
	print_from(decision, values, 0, 2);
	printf("}\n\n");
}

/* ---- the table ---- */

static const char *state_names[ROLL_STATES], *event_names[ROLL_EVENTS];

static const char *decide_step(const size_t *values, char *buf, size_t size)
{
	struct roll_step step = roll_step((enum roll_state)values[0], (enum roll_event)values[1]);
	char next[NAME_BYTES], action[NAME_BYTES];

	if (!step.legal)
		snprintf(buf, size, "legal = false");
	else
		snprintf(buf, size, "next = %s; action = %s", constant(next, "S", roll_state_name(step.next)),
			 constant(action, "DO", action_names[step.action]));
	return buf;
}

/* Ends have no cells. For each other state: its cells, and nothing else is legal. */
static void print_step(void)
{
	printf("inline roll_step()\n{\n  legal = true;\n  if\n");
	for (size_t state = 0; state < ROLL_STATES; state++) {
		char name[NAME_BYTES], text[TEXT_BYTES];

		if (roll_is_over((enum roll_state)state))
			continue;
		printf("  :: state == %s ->\n    if\n", constant(name, "S", state_names[state]));
		for (size_t event = 0; event < ROLL_EVENTS; event++)
			if (roll_accepts((enum roll_state)state, (enum roll_event)event))
				printf("    :: event == %s -> %s\n", constant(name, "E", event_names[event]),
				       decide_step((size_t[]){ state, event }, text, sizeof(text)));
		printf("    :: else -> legal = false\n    fi\n");
	}
	printf("  :: else -> legal = false\n  fi\n}\n\n");
}

static void print_states_where(const char *what, const char *prefix, const char *name,
			       bool (*is)(enum roll_state, size_t), size_t arg)
{
	char buf[NAME_BYTES];

	printf("#define %s(s) (false", constant(buf, prefix, name));
	for (size_t state = 0; state < ROLL_STATES; state++)
		if (is((enum roll_state)state, arg))
			printf(" || (s) == %s", constant(buf, "S", state_names[state]));
	printf(") /* %s */\n", what);
}

static bool accepts(enum roll_state state, size_t event)
{
	return roll_accepts(state, (enum roll_event)event);
}

static bool is_over(enum roll_state state, size_t arg)
{
	(void)arg;
	return roll_is_over(state);
}

static bool serves(enum roll_state state, size_t side)
{
	return roll_facts(state)->serves == (enum roll_side)side;
}

/* The deadline of a state that has one of its own comes from roll.c's timer. */
static bool has_deadline(enum roll_state state, size_t arg)
{
	enum roll_patience patience = roll_facts(state)->patience;

	(void)arg;
	return patience != PATIENCE_NONE && patience != PATIENCE_ELSEWHERE;
}

static bool watches(enum roll_state state, size_t what)
{
	return roll_facts(state)->watches & what;
}

static bool settles(enum roll_state state, size_t event)
{
	return roll_step(state, (enum roll_event)event).action == ROLL_DO_SETTLE;
}

/* What a deadline does here has been done already when it passes again. */
static bool kills_again(enum roll_state state, size_t arg)
{
	struct roll_step step = roll_step(state, ROLL_EV_TIMEOUT);

	(void)arg;
	return step.legal && step.next == state && step.action == ROLL_DO_KILL_NEW;
}

static bool has_committed(enum roll_state state, size_t arg)
{
	(void)arg;
	return roll_has_committed(state);
}

static void print_facts(void)
{
	for (size_t event = 0; event < ROLL_EVENTS; event++)
		print_states_where("roll_accepts()", "ACCEPTS", event_names[event], accepts, event);
	print_states_where("roll_is_over()", "IS", "over", is_over, 0);
	print_states_where("roll_has_committed()", "HAS", "committed", has_committed, 0);
	print_states_where("serves", "SERVES", "nobody", serves, ROLL_NOBODY);
	print_states_where("serves", "SERVES", "old", serves, ROLL_OLD);
	print_states_where("serves", "SERVES", "new", serves, ROLL_NEW);
	print_states_where("patience", "HAS", "deadline", has_deadline, 0);
	print_states_where("TIMEOUT stays and kills new", "KILLS", "again", kills_again, 0);
	print_states_where("watches", "WATCHES", "health", watches, ROLL_WATCH_HEALTH);
	print_states_where("watches", "WATCHES", "bake", watches, ROLL_WATCH_BAKE);
	print_states_where("on_old_garbage()", "SETTLES", "old-refused", settles, ROLL_EV_OLD_REFUSED);
	printf("\n");
}

/* ---- decisions of the record ---- */

static const char *decide_retreat(const size_t *values, char *buf, size_t size)
{
	struct roll_record record = {
		.old = (enum roll_old)values[2],
		.image = (enum roll_image)values[3],
		.wish = (enum roll_wish)values[4],
	};
	char name[NAME_BYTES];

	snprintf(buf, size, "retreat = %s",
		 constant(name, "RETREAT", retreat_names[record_retreat(&record, values[0], values[1])]));
	return buf;
}

static const char *decide_overdue(const size_t *values, char *buf, size_t size)
{
	struct roll_record record = { .state = (enum roll_state)values[0], .old = (enum roll_old)values[1] };
	char name[NAME_BYTES];

	snprintf(buf, size, "overdue = %s", constant(name, "E", event_names[record_overdue(&record)]));
	return buf;
}

static const char *decide_turn(const size_t *values, char *buf, size_t size)
{
	struct roll_record record = {
		.ends_at_once = values[0],
		.wish = (enum roll_wish)values[1],
		.trust = (enum roll_trust)values[2],
	};
	char name[NAME_BYTES];

	snprintf(buf, size, "turn = %s", constant(name, "TURN", turn_names[record_turn(&record, values[3])]));
	return buf;
}

static const char *decide_rung(const size_t *values, char *buf, size_t size)
{
	struct roll_record record = {
		.commit_us = values[0],
		.old = (enum roll_old)values[1],
		.image = (enum roll_image)values[2],
	};
	unsigned rungs = record_rungs(&record);

	snprintf(buf, size, "rung_parked = %s; rung_image = %s", rungs & ROLL_RUNG_PARKED ? "true" : "false",
		 rungs & ROLL_RUNG_IMAGE ? "true" : "false");
	return buf;
}

#define NAMED(variable, prefix, names) \
	{ \
		variable, prefix, names, COUNT(names) \
	}
#define BIT(variable) \
	{ \
		variable, NULL, NULL, 2 \
	}

static void print_decisions(void)
{
	const struct part retreat[] = { BIT("new_lives"), BIT("old_lives"), NAMED("old", "OLD", old_names),
					NAMED("image", "IMAGE", image_names), NAMED("wish", "WISH", wish_names) };
	const struct part overdue[] = { NAMED("state", "S", state_names), NAMED("old", "OLD", old_names) };
	const struct part turn[] = { BIT("ends_at_once"), NAMED("wish", "WISH", wish_names),
				     NAMED("trust", "TRUST", trust_names), BIT("rung_usable") };
	const struct part rung[] = { BIT("committed"), NAMED("old", "OLD", old_names),
				     NAMED("image", "IMAGE", image_names) };

	print_decision("record_retreat()", &(struct decision){ retreat, COUNT(retreat), decide_retreat });
	print_decision("record_overdue()", &(struct decision){ overdue, COUNT(overdue), decide_overdue });
	print_decision("record_turn()", &(struct decision){ turn, COUNT(turn), decide_turn });
	print_decision("record_rungs()", &(struct decision){ rung, COUNT(rung), decide_rung });
}

int main(void)
{
	for (size_t i = 0; i < ROLL_STATES; i++)
		state_names[i] = roll_state_name((enum roll_state)i);
	for (size_t i = 0; i < ROLL_EVENTS; i++)
		event_names[i] = roll_event_name((enum roll_event)i);
	printf("/* Made by tests/model/machine.c out of supervisor/roll/state.c and record.c. */\n\n");
	define("S", state_names, ROLL_STATES);
	define("E", event_names, ROLL_EVENTS);
	define("DO", action_names, ROLL_ACTIONS);
	define("OLD", old_names, COUNT(old_names));
	define("IMAGE", image_names, COUNT(image_names));
	define("WISH", wish_names, COUNT(wish_names));
	define("TRUST", trust_names, COUNT(trust_names));
	define("RETREAT", retreat_names, COUNT(retreat_names));
	define("TURN", turn_names, COUNT(turn_names));
	print_facts();
	print_step();
	print_decisions();
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
