/* SPDX-License-Identifier: MIT */
/* The commit word: one 64-bit word, `generation << 8 | owner`, in memory that old, new and the supervisor share.
 *
 * Serving is allowed to whoever the word names. It starts at OLD and is changed once, by compare-and-swap: by new to NEW, or by
 * old (its deadline passed, its supervisor vanished) or the supervisor to ABORTED. Exactly one of them wins, so at any crash at any
 * instant exactly one version may serve, and no one needs to ask anyone.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct why;

enum commit_owner {
	COMMIT_OLD = 1,
	COMMIT_NEW = 2,
	COMMIT_ABORTED = 3, /* old serves on, and this generation can never commit */
};

struct commit_word {
	_Atomic uint64_t *word; /* NULL while not mapped */
	uint64_t generation;
};

/** commit_create() - A fresh word that names OLD, in a memfd sealed against resizing (a peer that could truncate it could
 * kill us with SIGBUS). @ret_fd is owned by the caller. Return: 0 or -errno. */
int commit_create(struct commit_word *word, uint64_t generation, int *ret_fd, struct why *why);

/** commit_map() - Map the word in @fd (borrowed). Return: 0; -EPROTO if it is not one or of another generation; -errno. */
int commit_map(struct commit_word *word, int fd, uint64_t generation, struct why *why);

/** commit_unmap() - Safe on a zeroed one. Must be done before an image: a restored process would get a private copy. */
void commit_unmap(struct commit_word *word);

/** commit_take() - Change OLD to @owner. Return: true if this call did it or @owner was named already. */
bool commit_take(struct commit_word *word, enum commit_owner owner);

/** commit_owner() - Who is named. A word that holds nonsense counts as ABORTED: old is the one that surely has the state. */
enum commit_owner commit_owner(const struct commit_word *word);
