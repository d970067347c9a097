/* SPDX-License-Identifier: MIT */
/* Changes of the application's state, packed for a reader that may hold older versions of its types: whoever makes a change
 * migrates it down, so that a program that crashed is not needed to read it. */
#pragma once

#include "shim/upgrade.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct application;
struct sf_header;
struct sf_plan;
struct why;

/* In front of a packed change. @size_bytes of protobuf follow, and zeros up to a multiple of 8. */
struct change_head {
	uint16_t type; /* in the reader's order */
	uint8_t change, zero;
	uint32_t size_bytes;
};

static inline size_t change_padded(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

/* ---- the way to the reader ---- */

struct change_ways {
	const struct application *application;
	/* By type of the application. */
	int *types;            /* where it is in the reader's order; -1: the reader does not have it */
	struct sf_plan **plans; /* the way down; NULL: both hold the same version */
};

/** change_ways_init() - Find the ways to the types of a reader. @application is borrowed until change_ways_done(), @header for the
 * call. Return: 0; -ENOENT: there is no way down for a type; -ENOMEM; change_ways_done() in all cases. */
int change_ways_init(struct change_ways *ways, const struct application *application, const struct sf_header *header,
		     struct why *why);
/** change_ways_done() - Also fine for one of zeros. */
void change_ways_done(struct change_ways *ways);

/** change_ways_lead() - Does the reader have this type? */
static inline bool change_ways_lead(const struct change_ways *ways, size_t type)
{
	return ways->types[type] >= 0;
}

/** change_ways_migrate() - Are changes of this type migrated on the way? Then one thread at a time may add one. */
static inline bool change_ways_migrate(const struct change_ways *ways, size_t type)
{
	return ways->plans[type] != NULL;
}

/* ---- packed changes ---- */

struct changes {
	size_t head_bytes; /* left free in front of them, for who passes them on */
	uint8_t *data;
	size_t used, cap; /* used: 0 while there are none; else with the head */
	uint32_t n;
};

/** changes_init() - There are none yet. */
void changes_init(struct changes *changes, size_t head_bytes);
void changes_done(struct changes *changes);

/**
 * changes_add() - Pack one more.
 * @type:    the application's; the reader has it.
 * @message: borrowed, of the application's version.
 *
 * Return: 0; -EMSGSIZE; -ENOMEM; -errno: it cannot be migrated down.
 */
int changes_add(struct changes *changes, const struct change_ways *ways, size_t type, enum upg_change change,
		const ProtobufCMessage *message, struct why *why);

/** changes_clear() - There are none again. Much memory is given back, little is kept. */
void changes_clear(struct changes *changes);
