/* SPDX-License-Identifier: MIT */
/* Answers for programs: one JSON object, its fields named as in the protocol. */
#pragma once

#include "cli/args.h"
#include "wire/control.pb-c.h"

#include <jansson.h>
#include <stdio.h>

#define JSON_SCHEMA 1 /* fields are added without a change of it; one that changes its meaning is one more */

/**
 * json_result() - An answer: the fields that all verbs have, and what this one is about, as upgradectl.schema.json says.
 *
 * Return: owned by the caller, release with json_decref(); NULL when out of memory.
 */
json_t *json_result(const struct args *args, const Upgraded__Wire__Result *result);

/** json_of() - Any message but for the fields that @skip names. @skip: ends with NULL; NULL: all. Return: NULL: memory. */
json_t *json_of(const ProtobufCMessage *message, const char *const skip[]);
/** json_progress() - One line of --progress. Return: as json_result(). */
json_t *json_progress(const struct args *args, const Upgraded__Wire__Progress *progress);

/** json_print() - Print one line of ASCII: other characters become \u escapes, so it is safe on a terminal, too.
 * Return: 0; -EIO. */
int json_print(FILE *out, const json_t *json);
