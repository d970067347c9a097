/* SPDX-License-Identifier: MIT */
#include "cli/format.h"

#include "base/text.h"

#include "base/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MSEC UINT64_C(1000)
#define SEC (1000 * MSEC)
#define MIN (60 * SEC)
#define HOUR (60 * MIN)
#define DAY (24 * HOUR)

struct unit {
	const char *name;
	uint64_t us;
};

/* There is no "m": one slip from "ms" would make a wait sixty thousand times too long. */
static const struct unit units[] = {
	{ "", SEC }, { "us", 1 }, { "ms", MSEC }, { "s", SEC }, { "min", MIN }, { "h", HOUR }, { "d", DAY },
};

static const struct unit *unit_find(const char *name)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(units[i].name, name))
			return &units[i];
	return NULL;
}

int duration_parse(const char *what, const char *text, uint64_t *ret_us, struct why *why)
{
	const char *p = text;
	const struct unit *unit;
	uint64_t value = 0;
	uint64_t us;
	bool over = false;

	for (; *p >= '0' && *p <= '9'; p++) {
		over |= __builtin_mul_overflow(value, 10u, &value);
		over |= __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value);
	}
	unit = p == text ? NULL : unit_find(p);
	if (!unit)
		return why_set(why, -EINVAL, "%s \"%s\" is not a duration: use 300ms, 5s, 2min or 1h", what, text);
	if (over || __builtin_mul_overflow(value, unit->us, &us))
		return why_set(why, -ERANGE, "%s \"%s\" is too long a time", what, text);
	*ret_us = us;
	return 0;
}

const char *format_count(char *buf, size_t size, uint64_t count)
{
	return text_count(buf, size, count);
}

const char *format_time(char *buf, size_t size, uint64_t us)
{
	bool seconds = us >= SEC;
	uint64_t unit = seconds ? SEC : MSEC;
	const char *name = seconds ? "s" : "ms";

	if (us < MSEC)
		snprintf(buf, size, "%" PRIu64 " us", us);
	else if (us >= MIN)
		return format_age(buf, size, us);
	/* Decimals are cut and not rounded: 9.999 ms must not be shown as 10.00. */
	else if (us < 10 * unit)
		snprintf(buf, size, "%" PRIu64 ".%02" PRIu64 " %s", us / unit, us % unit / (unit / 100), name);
	else if (us < 100 * unit)
		snprintf(buf, size, "%" PRIu64 ".%" PRIu64 " %s", us / unit, us % unit / (unit / 10), name);
	else
		snprintf(buf, size, "%" PRIu64 " %s", us / unit, name);
	return buf;
}

const char *format_elapsed(char *buf, size_t size, uint64_t us)
{
	snprintf(buf, size, "%" PRIu64 ".%03" PRIu64 "s", us / SEC, us % SEC / MSEC);
	return buf;
}

const char *format_age(char *buf, size_t size, uint64_t us)
{
	static const struct {
		uint64_t big, small;
		const char *big_name, *small_name;
	} steps[] = { { DAY, HOUR, "d", "h" }, { HOUR, MIN, "h", "min" }, { MIN, SEC, "min", "s" } };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		uint64_t rest;

		if (us < steps[i].big)
			continue;
		rest = us % steps[i].big / steps[i].small;
		if (rest)
			snprintf(buf, size, "%" PRIu64 "%s %" PRIu64 "%s", us / steps[i].big, steps[i].big_name, rest,
				 steps[i].small_name);
		else
			snprintf(buf, size, "%" PRIu64 "%s", us / steps[i].big, steps[i].big_name);
		return buf;
	}
	if (us < MSEC)
		snprintf(buf, size, "%" PRIu64 "us", us);
	else if (us < SEC)
		snprintf(buf, size, "%" PRIu64 "ms", us / MSEC);
	else if (us < 10 * SEC && us % SEC >= 100 * MSEC)
		snprintf(buf, size, "%" PRIu64 ".%" PRIu64 "s", us / SEC, us % SEC / (100 * MSEC));
	else
		snprintf(buf, size, "%" PRIu64 "s", us / SEC);
	return buf;
}

const char *format_bytes(char *buf, size_t size, uint64_t bytes)
{
	static const char *const names[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	uint64_t whole = bytes;
	uint64_t rest = 0;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(buf, size, "%" PRIu64 " B", bytes);
		return buf;
	}
	for (;; i++) {
		rest = whole % 1024;
		whole /= 1024;
		if (whole < 1024 || i + 1 == sizeof(names) / sizeof(names[0]))
			break;
	}
	if (whole < 10)
		snprintf(buf, size, "%" PRIu64 ".%" PRIu64 " %s", whole, rest * 10 / 1024, names[i]);
	else
		snprintf(buf, size, "%" PRIu64 " %s", whole, names[i]);
	return buf;
}

int since_parse(const char *what, const char *text, time_t now, int64_t *ret_us, struct why *why)
{
	static const char *const layouts[] = { "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d" };
	uint64_t ago_us;

	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		struct tm tm = { .tm_isdst = -1 };
		const char *end = strptime(text, layouts[i], &tm);
		time_t then;

		if (!end || *end)
			continue;
		then = mktime(&tm);
		if (then == (time_t)-1)
			break;
		*ret_us = (int64_t)then * 1000000;
		return 0;
	}
	if (duration_parse(what, text, &ago_us, NULL) < 0)
		return why_set(why, -EINVAL, "%s: \"%.80s\" is neither a duration (10min) nor a time (2026-11-30 04:00)", what,
			       text);
	*ret_us = (int64_t)now * 1000000 - (ago_us < INT64_MAX / 2 ? (int64_t)ago_us : INT64_MAX / 2);
	return 0;
}
