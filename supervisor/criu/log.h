/* SPDX-License-Identifier: MIT */
/* What went wrong, by CRIU's log. */
#pragma once

#include <stddef.h>

/**
 * criu_log_reason() - Find the lines that say why a run failed, without time stamps and source positions.
 *
 * CRIU reports the cause first, and then a line for each of its functions that gave up for it. So the first lines are taken. Errors
 * that stand in the log of every run in a container are left out.
 *
 * Return: @buf; "" if the log says nothing.
 */
const char *criu_log_reason(int dir, const char *name, char *buf, size_t size);

/** criu_log_last_line() - Find the last line in @fd that is not blank, for what criu says before it has a log. Return: @buf. */
const char *criu_log_last_line(int fd, char *buf, size_t size);
