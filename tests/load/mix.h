/* SPDX-License-Identifier: MIT */
/* What a connection asks next: a seeded mixture of commands that keeps every key coming and going. */
#pragma once

#include "tests/load/model.h"

struct mix {
	uint64_t seed, rng, seq;
	size_t value_min, value_max;
	bool follows; /* the last request wants this one after it */
	enum request_kind follow_kind;
	uint32_t follow_key;
};

void mix_init(struct mix *mix, uint64_t seed, unsigned conn, size_t value_min, size_t value_max);

/** mix_next() - @ret_request is filled, but not yet applied to @model. */
void mix_next(struct mix *mix, const struct model *model, struct request *ret_request);

/** mix_set() - Give @key a new value. */
void mix_set(struct mix *mix, const struct model *model, uint32_t key, struct request *ret_request);

/** mix_big() - A get of many keys, most of them several times, whose answer is large. */
void mix_big(struct mix *mix, const struct model *model, struct request *ret_request);
