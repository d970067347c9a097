/* SPDX-License-Identifier: MIT */
/* Internal to the room: what a step from one version of a type to the next carries and loses, field by field. */
#pragma once

#include "statefmt/arena.h"
#include "statefmt/compat.h"
#include "statefmt/succession.h"

/* Findings in the making; zeroed but for @arena to begin with. */
struct judgement {
	struct sf_arena *arena;          /* of texts */
	struct compat_finding *findings; /* the caller frees */
	size_t n, cap;
	size_t n_same;
	enum compat_verdict worst;
	const struct succession **seen; /* pairs of the step at hand: what is nested in several places is told of once; @arena's */
	size_t n_seen, cap_seen;
};

/** judgement_add() - Add a finding. Return: 0 or -ENOMEM. */
int judgement_add(struct judgement *judgement, const struct compat_finding *finding);

/** judge_step() - Add a finding for everything that changes in @step. Return: 0 or -ENOMEM. */
int judge_step(struct judgement *judgement, const struct succession_step *step);
