/* SPDX-License-Identifier: MIT */
/* The commit word: one 64-bit word, `generation << 8 | owner`, in memory that the old version, the new one and the supervisor
 * share.
 *
 * The version that the commit word names may serve. The word starts at OLD and is changed once, by compare-and-swap: by the new
 * version to NEW, by the old one to ABORTED (its deadline passed, or its supervisor vanished), or by the supervisor to ABORTED.
 * Exactly one of them wins. So whatever crashes and whenever, exactly one version may serve, and no one needs to ask anyone.
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

/** commit_create() - Make a commit word that names OLD. Its memfd is sealed against resizing: a peer that could truncate it could
 * kill us with SIGBUS. @ret_fd is owned by the caller. Return: 0 or -errno. */
int commit_create(struct commit_word *word, uint64_t generation, int *ret_fd, struct why *why);

/** commit_map() - Map the commit word in @fd (borrowed). Return: 0; -EPROTO: @fd holds none, or one of another generation;
 * -errno. */
int commit_map(struct commit_word *word, int fd, uint64_t generation, struct why *why);

/** commit_unmap() - Unmap it. Must come before an image is taken: a restored process would get a private copy. Safe on a zeroed
 * one. */
void commit_unmap(struct commit_word *word);

/** commit_take() - Change OLD to @owner. Return: true if this call did so, or the word named @owner already. */
bool commit_take(struct commit_word *word, enum commit_owner owner);

/** commit_owner() - Read whom the word names. A word that holds nonsense counts as ABORTED: the old version surely has the
 * state. */
enum commit_owner commit_owner(const struct commit_word *word);
