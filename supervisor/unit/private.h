/* SPDX-License-Identifier: MIT */
/* Between the files of this folder: unit.c reads a service file, keys.c knows its keys, checks.c and command.c their values. */
#pragma once

#include "supervisor/unit/unit.h"

/** unit_set() - Take one line of section [Service] into @unit. Return: 0; -EINVAL with file and line in @why; -ENOMEM. */
int unit_set(struct unit *unit, const struct unit_line *line, struct why *why);

/** unit_check_add() - Take the check of health that @line states. Return: 0; -EINVAL with file and line in @why; -ENOMEM. */
int unit_check_add(struct unit *unit, enum unit_check_kind kind, const struct unit_line *line, struct why *why);

/** unit_listen_add() - Take the addresses that a Listen= names. Return: 0; -EINVAL with file and line in @why. */
int unit_listen_add(struct unit *unit, const struct unit_line *line, struct why *why);

/** unit_command_check() - Can Exec= be read, and is each version's program another file? Return: 0 or -EINVAL. */
int unit_command_check(const struct unit *unit, struct why *why);

/** unit_names() - Is @key set in the file? */
bool unit_names(const struct unit *unit, const char *key);

/** unit_kind_parse(), unit_ready_parse() - Return: false: @text is none. */
bool unit_kind_parse(const char *text, enum unit_kind *ret);
bool unit_ready_parse(const char *text, enum unit_ready *ret);

/** unit_signal_parse() - "TERM", "SIGQUIT", as of a signal that ends a process in good order. Return: false: it is none. */
bool unit_signal_parse(const char *text, int *ret);

/** unit_plain_settle() - All of the file was read: what Kind=plain does not allow is refused, and its own defaults are set. Return:
 * 0; -EINVAL with file and key in @why. */
int unit_plain_settle(struct unit *unit, struct why *why);
