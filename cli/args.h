/* SPDX-License-Identifier: MIT */
/* The command line, parsed and checked before anything is sent. */
#pragma once

#include "wire/control.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct why;

#define ARGS_SOCKET_ENV "UPGRADED_SOCKET"
#define ARGS_SOCKET_DEFAULT "/run/upgraded/control"

enum args_outcome {
	ARGS_RUN = 0,
	ARGS_HELP = 1,    /* --help was asked for: nothing else was checked */
	ARGS_VERSION = 2, /* --version was */
};

enum color_choice { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

/* Strings are borrowed from argv and the environment, or static. */
struct args {
	Upgraded__Wire__Verb verb;
	const char *verb_name;
	const char *service;     /* NULL: all of them */
	const char *version;     /* NULL: as configured */
	const char *program;     /* roll upgraded: an absolute path; NULL: the file that it was started from */
	const char *socket_path;
	const char *host;        /* NULL: this one */
	const char *help_of;     /* with ARGS_HELP: the verb that help was asked for; NULL: all */
	uint64_t timeout_us;     /* 0: wait as long as it takes */
	bool json, wide, names;  /* how to print: -o; none of them: text */
	bool progress;           /* json: a line for each message of a roll, before the answer */
	bool wait_commit;
	const char *rollback;    /* NULL: as configured */
	uint64_t bake_us;        /* 0: as configured */
	const char *way;         /* undo: NULL: the one that loses nothing */
	const char *verify;      /* NULL: as configured */
	bool require_image;      /* roll, undo, plan: refuse without one */
	bool again;              /* roll, plan: also to the version that serves */
	uint64_t generation;     /* images: which one; 0: the newest, or all */
	const char *file;        /* save: to write; start --from: to read; NULL: none */
	const char *page;        /* report: the file to write; "": named after the roll; NULL: no report is wanted */
	bool detach;             /* roll, undo: do not wait */
	int64_t since_us;        /* events: CLOCK_REALTIME; 0: all */
	const char *wait_for;    /* wait: done, commit, serving */
	bool quiet;
	bool verbose;            /* whatever is said of a roll is shown, on a terminal, too */
	enum color_choice color;
};

/**
 * args_parse() - Read the command line. Prints nothing, and may be called any number of times.
 * @argv:       options are moved to its front, as getopt_long(3) does.
 * @env_socket: the value of $UPGRADED_SOCKET; NULL or empty counts as unset.
 * @ret_args:   written only with ARGS_RUN, and with ARGS_HELP as far as that matters.
 *
 * Return: an args_outcome; -errno: a usage error, told in @why.
 */
int args_parse(int argc, char **argv, const char *env_socket, struct args *ret_args, struct why *why);

/** args_is_state() - Whether the verb is `state`, whose command line is another: state_args_parse() reads it. */
bool args_is_state(int argc, char **argv);

/** args_help() - The help for the verb @name; NULL: the text of --help. */
void args_help(FILE *out, const char *name);

struct args_verb {
	const char *name; /* may be two words: "images list" */
	const char *operands; /* as --help has them: "SERVICE [VERSION]" */
	const char *does;
};

/** args_verb_at() - The verbs, one after the other; those of `state` are not among them. Return: false: there is no @i-th. */
bool args_verb_at(size_t i, struct args_verb *ret_verb);

/** args_option_at() - The long options, one after the other. Return: its name; NULL: there is no @i-th. */
const char *args_option_at(size_t i, bool *ret_takes_value);

/** args_usage() - The text of --help. */
void args_usage(FILE *out);

/**
 * name_check() - Is @name fit to be a service's or a version's? See wire_name_check().
 * @what: "service" or "version", for the message.
 *
 * Return: 0; -EINVAL with the offending character in @why.
 */
int name_check(const char *what, const char *name, struct why *why);
