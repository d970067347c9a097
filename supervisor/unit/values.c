/* SPDX-License-Identifier: MIT */
#include "supervisor/unit/values.h"

#include "base/clock.h"
#include "base/why.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int unit_name_check(const char *what, const char *name, struct why *why)
{
	size_t at = 0;

	switch (wire_name_check(name, &at)) {
	case WIRE_NAME_EMPTY:
	case WIRE_NAME_LONG:
		return why_set(why, -EINVAL, "%s name of %zu characters: 1 to %u are allowed", what, strlen(name), UNIT_NAME_MAX);
	case WIRE_NAME_DOTTED:
		return why_set(why, -EINVAL, "%s name '%s': must not begin with a dot", what, name);
	case WIRE_NAME_CHARACTER:
		return why_set(why, -EINVAL, "%s name: character %zu is not one of A-Z a-z 0-9 . _ @ -", what, at + 1);
	case WIRE_NAME_FITS:
		break;
	}
	/* `upgradectl roll upgraded` is about the supervisor. */
	if (strcmp(what, "service") == 0 && strcmp(name, "upgraded") == 0)
		return why_set(why, -EINVAL, "'upgraded' is the supervisor itself; a service needs another name");
	return 0;
}

int unit_duration(const char *text, uint64_t *ret_us)
{
	static const struct {
		const char *suffix;
		uint64_t us;
	} suffixes[] = { { "", USEC_PER_SEC },	    { "us", 1 },		   { "ms", USEC_PER_MSEC },
			 { "s", USEC_PER_SEC },	    { "min", 60 * USEC_PER_SEC }, { "h", 3600 * USEC_PER_SEC },
			 { "d", 24 * 3600 * USEC_PER_SEC } };
	char *end;
	uint64_t n;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		if (strcmp(end, suffixes[i].suffix) != 0)
			continue;
		/* A year is more than anyone waits, and keeps sums of deadlines far from overflow. */
		if (n > 366ULL * 24 * 3600 * USEC_PER_SEC / suffixes[i].us)
			return -EINVAL;
		*ret_us = n * suffixes[i].us;
		return 0;
	}
	return -EINVAL;
}

int unit_size(const char *text, uint64_t *ret_bytes)
{
	static const char suffixes[] = "KMGT";
	unsigned shift = 0;
	uint64_t n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (*end && end[1] == 0 && strchr(suffixes, *end))
		shift = 10 * (unsigned)(strchr(suffixes, *end) - suffixes + 1);
	else if (*end)
		return -EINVAL;
	if (errno || n > UINT64_MAX >> 1 >> shift)
		return -EINVAL;
	*ret_bytes = n << shift;
	return 0;
}

bool unit_rollback_parse(const char *text, enum unit_rollback *ret)
{
	for (int i = ROLLBACK_AUTO; i <= ROLLBACK_NONE; i++) {
		if (strcmp(text, unit_rollback_name((enum unit_rollback)i)) == 0) {
			*ret = (enum unit_rollback)i;
			return true;
		}
	}
	return false;
}

const char *unit_rollback_name(enum unit_rollback rollback)
{
	static const char *const names[] = {
		[ROLLBACK_AUTO] = "auto", [ROLLBACK_PARKED] = "parked", [ROLLBACK_IMAGE] = "image", [ROLLBACK_NONE] = "none"
	};
	return names[rollback];
}

bool unit_verify_parse(const char *text, enum unit_verify *ret)
{
	bool roundtrip = strcmp(text, "roundtrip") == 0;

	if (!roundtrip && strcmp(text, "none") != 0)
		return false;
	*ret = roundtrip ? VERIFY_ROUNDTRIP : VERIFY_NONE;
	return true;
}
