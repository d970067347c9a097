/* SPDX-License-Identifier: MIT */
/* The round trip: before it takes over, the new version saves what it has loaded, migrated back to the versions it came in. Equal
 * sets of records prove that going back will lose nothing; unequal ones stop the roll while the old version still has
 * everything. */
#pragma once

#include "statefmt/statefmt.h"

struct application;
struct refs;
struct roundtrip;
struct why;

/** roundtrip_new() - Get ready to compare with the stream that is about to be read. @application is borrowed. Return: NULL if
 * memory is out. */
struct roundtrip *roundtrip_new(const struct application *application);
struct roundtrip *roundtrip_free(struct roundtrip *roundtrip); /* NULL allowed; returns NULL */

/** roundtrip_begin() - Note the stream's header, which is borrowed for the call. Return: 0; -ENOENT: there is no way back to one of
 * its versions; -ENOMEM. */
int roundtrip_begin(struct roundtrip *roundtrip, const struct sf_header *header, struct why *why);

/** roundtrip_note() - Note a record as it came. Return: 0 or -ENOMEM. */
int roundtrip_note(struct roundtrip *roundtrip, const struct sf_record *record, struct why *why);

/** roundtrip_check() - Save all that was loaded, migrated back to the stream's versions, and compare. @refs: the ids that objects
 * came with, see refs_turn(). Return: 0; -EPROTO with types, fields and an example; -errno. */
int roundtrip_check(struct roundtrip *roundtrip, struct refs *refs, struct why *why);
