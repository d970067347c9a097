/* SPDX-License-Identifier: MIT */
/* One call fails, in one process, while something is done with a service; and then everything is looked at. */
#pragma once

#include "tests/faults/sweep/kinds.h"
#include "tests/faults/steer.h"
#include "tests/torture/round.h"

enum scene {
	SCENE_ROLL,   /* to the next version, and its bake */
	SCENE_UNDO,   /* within a bake, with all state */
	SCENE_RESUME, /* within a bake, by the parked process */
	SCENE_IMAGE,  /* a roll with an image as the only way back, and that way taken */
	SCENE_START,  /* of an upgraded that finds its service serving */
	SCENES
};

const char *scene_name(enum scene scene);

struct trial {
	enum scene scene;
	enum fault_role role;
	const struct fault_kind *kind;
	uint64_t at;    /* the first call that fails */
	bool from_then; /* and all calls after it, for as long as the scene lasts */
};

struct verdict {
	bool struck;
	bool ended;     /* upgraded did, with a reason in its log */
	enum fate fate;
	int status;     /* of upgradectl */
};

/** trial_count() - One scene without any fault: how many calls there are of each kind. Return: 0 or -errno. */
int trial_count(struct torture *torture, struct faults *faults, enum scene scene, uint64_t (*ret)[FAULT_ROLES]);

/** trial_run() - @torture->trouble says what was not well. Return: 0; <0: nothing can be done any more. */
int trial_run(struct torture *torture, struct faults *faults, const struct trial *trial, struct verdict *ret);
