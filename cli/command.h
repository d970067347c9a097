/* SPDX-License-Identifier: MIT */
/* A parsed command line, carried out: one call, one answer, one exit status. */
#pragma once

#include "cli/args.h"
#include "cli/term.h"

/**
 * command_run() - Ask the supervisor and tell the answer.
 * @out: what was asked for: summaries, tables, JSON.
 * @err: progress and failures.
 *
 * Return: the exit status, an ExitCode.
 */
int command_run(const struct args *args, const struct term *out, const struct term *err);
