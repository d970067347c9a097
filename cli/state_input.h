/* SPDX-License-Identifier: MIT */
/* A state file that is read: its bytes, its reader, and the types that it describes. */
#pragma once

#include "statefmt/schema.h"
#include "statefmt/statefmt.h"

#include "base/why.h"
#include "cli/term.h"

struct state_input {
	const char *path;             /* as given */
	int fd;
	struct sf_reader *reader;     /* NULL: the stream has no header one could read */
	const struct sf_header *header;
	struct schema_set *schemas;   /* NULL: the file describes no types, or badly */
	const struct schema_message **messages; /* per type of the header; NULL: not described */
};

enum state_open { STATE_OPEN = 0, STATE_DAMAGED = 1 };

/**
 * state_input_open() - Open @path ("-": standard input) and read its header.
 * @ret_input: release with state_input_close(), also after a failure.
 *
 * Return: STATE_OPEN; STATE_DAMAGED: the preamble or the header is; -errno: it cannot be read. A bad description of types is
 * no damage here: see state_input_check().
 */
int state_input_open(const char *path, struct state_input *ret_input, struct why *why);
void state_input_close(struct state_input *input);

/** state_input_next() - Read the next record of @type (NULL: any). Return: as sf_reader_next(). */
int state_input_next(struct state_input *input, const char *type, struct sf_record *ret_record, struct why *why);

/** state_input_check() - Check the description of types, if there is one: can it be read, does it name every type of the header,
 * and does it agree with the fingerprints? Return: 0 or -EBADMSG. */
int state_input_check(const struct state_input *input, struct why *why);

/** state_input_has_type() - Has the header a type of that name? */
bool state_input_has_type(const struct state_input *input, const char *type);

/** state_input_complain() - Print "upgradectl: PATH: why". */
void state_input_complain(const struct term *err, const char *path, const struct why *why);
