/* SPDX-License-Identifier: MIT */
/* What an image needs besides itself: files that CRIU opens again by their paths, and that must be what they were. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

#define IMAGE_PINS_MAX 4096u

enum pin_kind { PIN_EXE, PIN_MAPPED, PIN_OPEN };

struct image_pin {
	enum pin_kind kind;
	char *path;
	uint64_t size_bytes;
	int64_t mtime_ns;
	uint64_t device, inode;
	unsigned mode;
	bool size_matters; /* CRIU insists on the size, but for a log that is only appended to */
	bool time_matters; /* not of a file that the process itself writes, or sees changes of */
};

struct image_pins {
	struct image_pin *pins;
	size_t n, room;
};

/**
 * pins_take() - Every file that a process has mapped or open, as it is now.
 * @ret: zeroed; owned by the caller, also after a failure.
 *
 * What was removed altogether is not pinned, as it goes into the image itself (up to CRIU_GHOST_LIMIT_BYTES), except for the
 * executable.
 *
 * Return: 0; -ESTALE: one that was replaced or removed while it is in use, named; -errno.
 */
int pins_take(pid_t pid, struct image_pins *ret, struct why *why);

/** pins_check() - Are they still as they were? Return: 0; -ESTALE or -ENOENT with file, change and what to do; -errno. */
int pins_check(const struct image_pins *pins, struct why *why);

/** pins_exe() - The executable's path; NULL: none is pinned. */
const char *pins_exe(const struct image_pins *pins);

/** pins_add() - @path is copied. Return: 0 or -ENOMEM, -E2BIG. */
int pins_add(struct image_pins *pins, const struct image_pin *pin);
void pins_done(struct image_pins *pins);

const char *pin_kind_name(enum pin_kind kind); /* "exe", "mapped", "open" */
