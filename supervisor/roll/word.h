/* SPDX-License-Identifier: MIT */
/* The supervisor's hold on a commit word. Whoever begins a roll makes one and gives it to the roll; rolls that share one commit
 * together or not at all. */
#pragma once

#include "base/fd_ref.h"
#include "wire/commit.h"

struct roll_word {
	struct commit_word word;
	struct fd_ref *fd; /* to be sent to both processes */
	unsigned users;
};

/** roll_word_new() - A fresh one that names OLD, with one user. Return: 0 or -errno. */
int roll_word_new(uint64_t generation, struct roll_word **ret_word, struct why *why);

/** roll_word_use() - One user more. Return: @word. */
struct roll_word *roll_word_use(struct roll_word *word);

/** roll_word_drop() - One user less; the last one frees it. NULL is allowed. Return: NULL. */
struct roll_word *roll_word_drop(struct roll_word *word);
