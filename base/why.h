/* SPDX-License-Identifier: MIT */
/* Why an operation failed, in words for the person at the terminal. */
#pragma once

#include <stdarg.h>

/* Fixed size, so that reporting a failure cannot itself fail. Text that does not fit is cut at its end. */
struct why {
	char text[480];
};

/**
 * why_set() - Record the reason for a failure.
 * @why: borrowed; NULL is allowed and records nothing.
 * @rc:  the status the caller is about to return.
 *
 * Return: @rc, so that one line both explains and returns. Thread-safe for distinct @why; keeps errno.
 */
int why_set(struct why *why, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** why_errno() - As why_set(), with ": " and the text of the negative errno @rc appended. */
int why_errno(struct why *why, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** why_prefix() - Put "@fmt: " before a reason that a deeper layer recorded. Return: @rc. */
int why_prefix(struct why *why, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
