/* SPDX-License-Identifier: MIT */
/* How a roll is led into each of its states. The states are the machine's own: one that no recipe passes fails the whole run, so
 * that a state that is added gets its row here. */
#pragma once

#include "supervisor/roll/state.h"

#include <stdbool.h>

#define RECIPE_PASSES 12

enum recipe_then {
	THEN_NOTHING,
	THEN_UNDO,   /* within the bake */
	THEN_ONWARD, /* a third version, within the bake */
	THEN_PACK,
	THEN_ABORT,  /* once the new version was started */
};

struct recipe {
	const char *name;
	const char *to;    /* the version; NULL: a sound one that does not serve now */
	const char *lines; /* of the service file */
	enum recipe_then then;
	bool fails_late;   /* the new version fails after the commit by itself: what was written since then is lost */
	bool has_rung;     /* there is a way back that needs no new process */
	int passes[RECIPE_PASSES]; /* states in the order in which they are entered; ends with -1 */
};

extern const struct recipe recipes[];
extern const unsigned recipes_n;

/** recipe_for() - The @nth recipe that passes @state, round and round; NULL: there is none. */
const struct recipe *recipe_for(enum roll_state state, unsigned nth);
