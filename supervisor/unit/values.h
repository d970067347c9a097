/* SPDX-License-Identifier: MIT */
/* Values that stand in a service file or in a request: each is read here, from text, once. */
#pragma once

#include "wire/name.h"

#include <stdbool.h>
#include <stdint.h>

struct why;

#define UNIT_NAME_MAX WIRE_NAME_MAX

enum unit_rollback { ROLLBACK_AUTO, ROLLBACK_PARKED, ROLLBACK_IMAGE, ROLLBACK_NONE };
enum unit_verify { VERIFY_NONE, VERIFY_ROUNDTRIP };

/** unit_name_check() - Is @name fit to be a service's or a version's? See wire_name_check(). @what: "service" or "version", for the
 * message. Return: 0 or -EINVAL. */
int unit_name_check(const char *what, const char *name, struct why *why);

/** unit_duration() - "300ms", "5s", "2min", "1h", "7d", bare seconds; up to a year. Return: 0 or -EINVAL. */
int unit_duration(const char *text, uint64_t *ret_us);

/** unit_size() - "500", "64K", "16M", "2G", "1T", in units of 1024. Return: 0 or -EINVAL. */
int unit_size(const char *text, uint64_t *ret_bytes);

/** unit_rollback_parse(), unit_verify_parse() - Return: false if @text is none of the names; then @ret is not written. */
bool unit_rollback_parse(const char *text, enum unit_rollback *ret);
bool unit_verify_parse(const char *text, enum unit_verify *ret);

const char *unit_rollback_name(enum unit_rollback rollback);
