/* SPDX-License-Identifier: MIT */
/* What a service answers that means well, so that rolls get as far as they can; and the slips it makes. */
#pragma once

#include "tests/wild/invent.h"
#include "wire/commit.h"
#include "wire/wire.h"

#define ACTOR_OWN 8u /* sockets that move in a roll */

struct actor {
	int channel;
	struct inventor inventor;
	unsigned slips;            /* percent of answers that are not as they should be */
	struct commit_word word;   /* mapped while a roll is under way */
	int state;                 /* the pipe or the file that came with the last question; -1: none */
	int journal;               /* its memory; -1: none */
	int own[ACTOR_OWN];
	size_t n_own;
	enum { ACTOR_SERVES, ACTOR_RECEIVES, ACTOR_SAVED, ACTOR_RESUMES } role;
};

/** actor_start() - Say who is there, with its first sockets. */
void actor_start(struct actor *actor);

/** actor_answer() - Do and say what belongs to @message, which came with @fds; what is claimed of them is kept. */
void actor_answer(struct actor *actor, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);

/** actor_hints() - What is plausible in an application's messages. */
const struct invent_hint *actor_hints(void);
