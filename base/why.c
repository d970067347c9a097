/* SPDX-License-Identifier: MIT */
#include "base/why.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Longer than a reason can be, so that text_append() alone decides where the text is cut. */
#define SCRATCH_BYTES (2 * sizeof(struct why))

/* Cuts between characters, not inside one: reasons travel in protobuf strings, which must stay UTF-8. */
static void text_append(struct why *why, const char *more)
{
	size_t have = strlen(why->text);
	size_t room = sizeof(why->text) - 1 - have;
	size_t take = strlen(more);

	if (take > room) {
		take = room;
		while (take > 0 && ((unsigned char)more[take] & 0xc0) == 0x80)
			take--;
	}
	memcpy(why->text + have, more, take);
	why->text[have + take] = '\0';
}

/* Print into a buffer of its own and not into @why: an argument may be the present text of @why. */
static void text_print(struct why *why, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

static void text_print(struct why *why, const char *fmt, va_list args)
{
	char scratch[SCRATCH_BYTES];

	why->text[0] = '\0';
	if (vsnprintf(scratch, sizeof(scratch), fmt, args) >= 0)
		text_append(why, scratch);
}

int why_set(struct why *why, int rc, const char *fmt, ...)
{
	int saved_errno = errno;
	struct why fresh;
	va_list args;

	if (!why)
		return rc;
	va_start(args, fmt);
	text_print(&fresh, fmt, args);
	va_end(args);
	*why = fresh;
	errno = saved_errno;
	return rc;
}

int why_errno(struct why *why, int rc, const char *fmt, ...)
{
	int saved_errno = errno;
	char scratch[128];
	struct why fresh;
	va_list args;

	if (!why)
		return rc;
	va_start(args, fmt);
	text_print(&fresh, fmt, args);
	va_end(args);
	text_append(&fresh, ": ");
	text_append(&fresh, strerror_r(rc < 0 ? -rc : rc, scratch, sizeof(scratch)));
	*why = fresh;
	errno = saved_errno;
	return rc;
}

int why_prefix(struct why *why, int rc, const char *fmt, ...)
{
	int saved_errno = errno;
	struct why fresh;
	va_list args;

	if (!why)
		return rc;
	va_start(args, fmt);
	text_print(&fresh, fmt, args);
	va_end(args);
	if (why->text[0]) {
		text_append(&fresh, ": ");
		text_append(&fresh, why->text);
	}
	*why = fresh;
	errno = saved_errno;
	return rc;
}
