/* SPDX-License-Identifier: MIT */
/* `upgradectl state VERB FILE...`: looks at state files, without the supervisor. */
#pragma once

#include "cli/args.h"
#include "cli/term.h"

#include <stddef.h>

struct why;

#define STATE_IMPORTS_MAX 16u

/* Strings are borrowed from argv. */
struct state_call {
	const struct state_verb *verb;
	char *const *files;
	size_t n_files;
	bool json;
	bool quiet;
	enum color_choice color;
	const char *type; /* only records of this type; NULL: all */
	uint64_t limit;   /* records, or differences, to print; UINT64_MAX: all */
	const char *key;  /* diff: the field that names a record; NULL: each type's first */
	const char *imports[STATE_IMPORTS_MAX]; /* compat: where .proto files are looked for */
	size_t n_imports;
};

struct state_verb {
	const char *name;
	size_t min_files, max_files; /* operands, which are files but for verbs that say otherwise */
	bool picks;                  /* takes --type and --limit */
	bool keys;                   /* takes --key */
	bool imports;                /* takes -I */
	const char *operands;
	const char *does;

	/* Return: WIRE_EXIT_DONE; WIRE_EXIT_ERROR: damaged, different or not compatible; WIRE_EXIT_USAGE: no file was read. */
	int (*run)(const struct state_call *call, const struct term *out, const struct term *err);
};

int state_show(const struct state_call *call, const struct term *out, const struct term *err);
int state_verify(const struct state_call *call, const struct term *out, const struct term *err);
int state_diff(const struct state_call *call, const struct term *out, const struct term *err);
int state_compat(const struct state_call *call, const struct term *out, const struct term *err);
int state_stats(const struct state_call *call, const struct term *out, const struct term *err);

/** state_args_parse() - Read a whole command line whose first operand is "state". Return: as args_parse(). */
int state_args_parse(int argc, char **argv, struct state_call *ret_call, struct why *why);

/** state_usage() - Print the text of `state --help`. */
void state_usage(FILE *out);

/** state_main() - Carry out a whole command line. Return: the exit status. */
int state_main(int argc, char **argv);
