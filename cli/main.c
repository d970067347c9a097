/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/why.h"
#include "cli/args.h"
#include "cli/command.h"
#include "cli/complete.h"
#include "cli/far.h"
#include "cli/leave.h"
#include "cli/state.h"
#include "cli/term.h"
#include "wire/wire.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#ifndef UPGRADED_VERSION
#define UPGRADED_VERSION "0.1.0"
#endif

static int usage_error(const struct why *why)
{
	struct term err;

	term_init(&err, stderr, COLOR_AUTO);
	fputs("upgradectl: ", stderr);
	term_text(&err, why->text, TERM_WHOLE);
	fputs("\nTry \"upgradectl --help\".\n", stderr);
	return WIRE_EXIT_USAGE;
}

/* Output that could not be written is a failure, whatever else went well. */
static int finish(int status)
{
	if (fflush(stdout) == EOF && status == WIRE_EXIT_DONE)
		return WIRE_EXIT_ERROR;
	return status;
}

int main(int argc, char **argv)
{
	static char err_buffer[4096];
	const char *socket = getenv(ARGS_SOCKET_ENV);
	struct why why = { "" };
	struct args args;
	struct term out;
	struct term err;
	int rc;

	fd_open_standard();
	setlocale(LC_ALL, "");
	/* A line in one write: a terminal never shows half of one. */
	setvbuf(stderr, err_buffer, _IOFBF, sizeof(err_buffer));
	if (argc == 3 && strcmp(argv[1], "help") == 0 && (strcmp(argv[2], "state") == 0 || strcmp(argv[2], "leave") == 0)) {
		static char help[] = "--help";

		argv[1] = argv[2];
		argv[2] = help;
	}
	if (argc > 1 && strcmp(argv[1], "completion") == 0)
		return finish(complete_main(argc - 2, argv + 2));
	if (args_is_state(argc, argv))
		return finish(state_main(argc, argv));
	if (leave_is_meant(argc, argv))
		return finish(leave_main(argc, argv));
	if (argc == 2 && strcmp(argv[1], "stdio-bridge") == 0)
		return far_bridge(socket && *socket ? socket : ARGS_SOCKET_DEFAULT);
	rc = args_parse(argc, argv, socket, &args, &why);
	if (rc < 0)
		return usage_error(&why);
	if (rc == ARGS_HELP) {
		args_help(stdout, args.help_of);
		return finish(WIRE_EXIT_DONE);
	}
	if (rc == ARGS_VERSION) {
		puts("upgradectl " UPGRADED_VERSION);
		return finish(WIRE_EXIT_DONE);
	}
	term_init(&out, stdout, args.color);
	term_init(&err, stderr, args.color);
	if (args.verb == UPGRADED__WIRE__VERB__VERB_VERSION && !args.json && !args.quiet)
		puts("upgradectl " UPGRADED_VERSION);
	return finish(command_run(&args, &out, &err));
}
