/* SPDX-License-Identifier: MIT */
/* What a roll, an undo or a plan is asked with, checked: it may be copied and kept. */
#pragma once

#include "supervisor/events/who.h"
#include "supervisor/unit/unit.h"

#include <stdbool.h>
#include <stdint.h>

/* How to undo. */
enum undo_way {
	UNDO_AS_IT_GOES, /* by the way that loses least */
	UNDO_LIVE,       /* by a roll in the other direction, with all state */
	UNDO_PARKED,     /* within the bake: to the process that lies parked, with the state as of the commit */
	UNDO_IMAGE,      /* ... to its image */
};

struct roll_request {
	char version[UNIT_NAME_MAX + 1]; /* to go to; "": undo takes the one before */
	bool sets_rollback;              /* @rollback counts, not Rollback= */
	bool sets_verify;                /* @verify counts, not Verify= */
	enum unit_rollback rollback;
	enum unit_verify verify;
	uint64_t bake_us;                /* instead of Bake=; 0: as configured */
	bool require_image;              /* refuse a roll that could not go back by an image; RequireImage= may say so, too */
	enum undo_way way;
	struct who who;                  /* asks for it */
	bool again;                      /* also to the version that serves: a fresh process of it takes over */
};
