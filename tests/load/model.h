/* SPDX-License-Identifier: MIT */
/* What a connection's keys must hold. Requests are applied as they are made, in the order the server will execute them, so
 * every answer is known before it is asked for; only cas numbers come from the server. */
#pragma once

#include "tests/load/request.h"

struct key {
	struct value *value; /* owned; NULL: no such key */
	uint64_t version;    /* changes so far */
	bool cas_known;
	uint64_t cas, cas_version; /* the number last answered, and the version it belongs to */
	bool distrusted;           /* an answer was wrong: nothing can be expected of it until it is set again */
};

struct model {
	unsigned conn;
	uint32_t n_keys;
	struct key *keys;
	/* Called for every answer, or part of one, that is not what it must be. */
	void (*on_wrong)(void *arg, uint32_t key, const char *expected, const char *got);
	void *arg;
};

void model_init(struct model *model, unsigned conn, uint32_t n_keys);
void model_done(struct model *model);

/** model_apply() - Fill in what @request must be answered and what it changes, and move on to the state after it. */
void model_apply(struct model *model, struct request *request);

/** model_cas_fresh() - Whether the cas number of @key is known and nothing sent since has changed the key. */
bool model_cas_fresh(const struct model *model, uint32_t key);

/**
 * model_check() - Compare one reply with what @request expects; faults go to @model->on_wrong.
 *
 * Return: whether the answer to @request is now complete.
 */
bool model_check(struct model *model, struct request *request, const struct reply *reply);

/** model_adopt() - From now on @key holds @value (borrowed), with @cas if it exists: what a survey found. */
void model_adopt(struct model *model, uint32_t key, struct value *value, uint64_t cas);
