/* SPDX-License-Identifier: MIT */
#include "tests/torture/recipe.h"

#include <stddef.h>

/* Longer than the two seconds for which somebody may be stopped where that is to be waited for; no longer than a run can bear. */
#define PATIENCE "StartTimeout=8s\nQuiesceTimeout=5s\nTransferTimeout=6s\nStopTimeout=3s\nRestartDelay=10ms\n"

const struct recipe recipes[] = {
	{ .name = "forward, parked",
	  .lines = PATIENCE "Bake=700ms\nRollback=parked\n",
	  .has_rung = true,
	  .passes = { ROLL_STANDBY, ROLL_QUIESCE, ROLL_TRANSFER, ROLL_LOADING, ROLL_COMMIT, ROLL_PARK, ROLL_BAKE, -1 } },
	{ .name = "forward, both ways back",
	  .lines = PATIENCE "Bake=1500ms\nRollback=auto\n",
	  .has_rung = true,
	  .passes = { ROLL_IMAGE, ROLL_STANDBY, ROLL_QUIESCE, ROLL_TRANSFER, ROLL_LOADING, ROLL_COMMIT, ROLL_PARK, ROLL_BAKE,
		      -1 } },
	{ .name = "forward, image",
	  .lines = PATIENCE "Bake=1500ms\nRollback=image\n",
	  .has_rung = true,
	  .passes = { ROLL_IMAGE, ROLL_BAKE, -1 } },
	{ .name = "refused when it receives",
	  .to = "v3-refuse",
	  .lines = PATIENCE "Bake=300ms\nRollback=parked\n",
	  .passes = { ROLL_SETTLE, ROLL_ABORT, -1 } },
	{ .name = "crashes while it loads",
	  .to = "v3-crash-loading",
	  .lines = PATIENCE "Bake=300ms\nRollback=parked\n",
	  .passes = { ROLL_ABORT, ROLL_SETTLE, -1 } },
	{ .name = "called off before it is ready",
	  .to = "v3-never-ready",
	  .lines = PATIENCE "Bake=300ms\nRollback=parked\n",
	  .then = THEN_ABORT,
	  .passes = { ROLL_DISMISS, -1 } },
	{ .name = "undone within the bake",
	  .lines = PATIENCE "Bake=20s\nRollback=parked\n",
	  .then = THEN_UNDO,
	  .has_rung = true,
	  .passes = { ROLL_BACKWARD, -1 } },
	{ .name = "a third version within the bake",
	  .lines = PATIENCE "Bake=20s\nRollback=parked\n",
	  .then = THEN_ONWARD,
	  .has_rung = true,
	  .passes = { ROLL_ONWARD, -1 } },
	{ .name = "packed within the bake",
	  .lines = PATIENCE "Bake=20s\nRollback=parked\n",
	  .then = THEN_PACK,
	  .has_rung = true,
	  .passes = { ROLL_PACK, -1 } },
	{ .name = "crashes late, parked",
	  .to = "v3-crash-after",
	  .lines = PATIENCE "Bake=3s\nRollback=parked\n",
	  .fails_late = true,
	  .has_rung = true,
	  .passes = { ROLL_RESUME, ROLL_RETREAT, -1 } },
	{ .name = "crashes late, while its image is taken",
	  .to = "v3-crash-after",
	  .lines = PATIENCE "Bake=3s\nRollback=auto\n",
	  .fails_late = true,
	  .has_rung = true,
	  .passes = { ROLL_RETREAT_IMAGING, ROLL_RETREAT, ROLL_RESUME, -1 } },
	/* Not RETREAT: a supervisor that ends between its decision and the end of a version that hangs leaves that version to
	 * the next one, which takes it for what serves (docs/LIMITS.md). */
	{ .name = "hangs late, image",
	  .to = "v3-hang-after",
	  .lines = PATIENCE "Bake=20s\nRollback=image\nHealthInterval=100ms\nHealthTimeout=1500ms\n",
	  .fails_late = true,
	  .has_rung = true,
	  .passes = { ROLL_RESTORE, ROLL_RESUME, -1 } },
	{ .name = "crashes late, no way back",
	  .to = "v3-crash-after",
	  .lines = PATIENCE "Bake=3s\nRollback=none\n",
	  .fails_late = true,
	  .passes = { ROLL_COLD, -1 } },
};

const unsigned recipes_n = sizeof(recipes) / sizeof(*recipes);

static bool passes(const struct recipe *recipe, enum roll_state state)
{
	for (unsigned i = 0; recipe->passes[i] >= 0; i++)
		if (recipe->passes[i] == (int)state)
			return true;
	return false;
}

const struct recipe *recipe_for(enum roll_state state, unsigned nth)
{
	unsigned n = 0;

	for (unsigned i = 0; i < recipes_n; i++)
		n += passes(&recipes[i], state);
	if (!n)
		return NULL;
	nth %= n;
	for (unsigned i = 0; i < recipes_n; i++)
		if (passes(&recipes[i], state) && nth-- == 0)
			return &recipes[i];
	return NULL;
}
