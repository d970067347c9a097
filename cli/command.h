/* SPDX-License-Identifier: MIT */
/* A parsed command line, carried out: one call, one answer, one exit status. */
#pragma once

#include "cli/args.h"
#include "cli/term.h"
#include "wire/control.pb-c.h"

#include <stddef.h>

struct why;

/**
 * command_run() - Ask the supervisor and tell the answer.
 * @out: what was asked for: summaries, tables, JSON.
 * @err: progress and failures.
 *
 * Return: the exit status, an ExitCode.
 */
int command_run(const struct args *args, const struct term *out, const struct term *err);

/** command_request() - What @args ask for, as a message that borrows from them. */
void command_request(Upgraded__Wire__Request *request, const struct args *args);

/** command_explain() - Compose an answer for a call that got none, from @outcome (client_outcome) and @why. @next: room for the
 * advice. @ret_result: borrows both. */
void command_explain(const struct args *args, int outcome, const struct why *why, char *next, size_t size,
		     Upgraded__Wire__Result *ret_result);
