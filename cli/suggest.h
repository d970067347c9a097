/* SPDX-License-Identifier: MIT */
/* "Did you mean": the nearest of the words that there are. */
#pragma once

#include "cli/args.h"
#include "wire/control.pb-c.h"

#include <stddef.h>

/** suggest_word() - Return: the one of @n @words that @word is most like, if it is like one; NULL. */
const char *suggest_word(const char *word, const char *const *words, size_t n);

/** suggest_after() - After a failure that a mistyped service or version explains, look what there is, and put it into words.
 * Return: @buf, "" if there is nothing to say. Asks the supervisor again. */
const char *suggest_after(const struct args *args, const Upgraded__Wire__Result *result, char *buf, size_t size);
