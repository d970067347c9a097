/* SPDX-License-Identifier: MIT */
/* What a log of CRIU's says went wrong. */
#pragma once

#include <stddef.h>

/**
 * criu_log_reason() - The lines that say why a run failed, without time stamps and source positions.
 *
 * CRIU reports the cause first and then one line for each caller that gave up because of it, so the first lines are taken.
 * Lines that are in the log of every run in a container (RLIMIT_NOFILE) are no reason.
 *
 * Return: @buf; "" if the log says nothing.
 */
const char *criu_log_reason(int dir, const char *name, char *buf, size_t size);

/** criu_log_last_line() - The last line with text of what is in @fd, for what criu says before it has a log. Return: @buf. */
const char *criu_log_last_line(int fd, char *buf, size_t size);
