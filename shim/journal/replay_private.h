/* SPDX-License-Identifier: MIT */
/* What the two who read journals share: replay.c goes back to a version that lies parked, held.c starts one that has no
 * process. */
#pragma once

#include "shim/journal/replay.h"
#include "shim/journal/view.h"

#include <stddef.h>
#include <stdint.h>

struct application;
struct sf_plan;

/* A connection that whoever wrote the journal had accepted. */
struct newcomer {
	const struct journal_view_record *record;
	int fd;
};

struct replay {
	struct journal *own;
	struct shed *shed; /* NULL: nothing is shed here */
	const struct application *application;
	void *map; /* NULL: none */
	size_t size_bytes;
	struct journal_view view;
	struct sf_plan *plan;
	struct why unused;
	struct newcomer *newcomers;
	size_t n_newcomers, cap_newcomers;
	uint64_t n_applied, n_adopted, n_reset;
};

/** replay_reset() - Reset a connection, so that its peer learns of it at once although others hold duplicates. Owns @fd. */
void replay_reset(struct replay *replay, int fd);
/** replay_end() - End a connection that its process was about to close. Owns @fd. */
void replay_end(int fd);
/** replay_lose() - Give up a connection that the journal does not know. Owns @fd. */
void replay_lose(struct replay *replay, int fd);

/** replay_recover() - Find the bytes of a connection that nobody has dealt with. Return: 0; -EBADMSG: the journal does not have
 * them. */
int replay_recover(const struct replay *replay, const struct journal_view_record *record, int fd, const uint8_t **ret_input,
		   size_t *ret_input_bytes, const uint8_t **ret_output, size_t *ret_output_bytes);
/** replay_fill() - Put these in the place of all that @conn holds. Return: 0 or -ENOMEM. */
int replay_fill(struct upg_conn *conn, const uint8_t *input, size_t input_bytes, const uint8_t *output, size_t output_bytes);

/** replay_take_newcomer() - Keep a connection for replay_adopt_all(), end it or reset it. Return: 0: @fd is kept or closed;
 * -ENOMEM. */
int replay_take_newcomer(struct replay *replay, const Upgraded__Wire__FdInfo *info, int fd, struct why *why);
/** replay_changes(), replay_adopt_all() - The two halves of replay_apply(). */
int replay_changes(struct replay *replay, struct why *why);
int replay_adopt_all(struct replay *replay, struct why *why);
