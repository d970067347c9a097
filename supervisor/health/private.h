/* SPDX-License-Identifier: MIT */
/* Shared by health.c, command.c and net.c alone. */
#pragma once

#include "supervisor/health/health.h"

/** health_check_done() - Hear that a run came to its end. @fmt: printf-like, what it found. Context: from the loop, not from within
 * health_command_start() or health_net_start(). */
void health_check_done(struct health_check *check, bool healthy, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** health_command_start(), health_net_start() - Begin a run; health_check_done() follows. Return: 0; -errno: it will not. */
int health_command_start(struct health_check *check, struct why *why);
int health_net_start(struct health_check *check, struct why *why);

/** health_command_cancel(), health_net_cancel() - Break a run off, if there is one: health_check_done() will not follow. */
void health_command_cancel(struct health_check *check);
void health_net_cancel(struct health_check *check);

/** health_net_done() - Release what all checks share. All of them were cancelled before. */
void health_net_done(struct health *health);
