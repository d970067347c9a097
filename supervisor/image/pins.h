/* SPDX-License-Identifier: MIT */
/* Pins: the files that an image needs besides its own. CRIU opens them again by their paths, and they must not have changed. */
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
	bool size_matters; /* CRIU compares the size, except of a file that is only appended to */
	bool time_matters; /* false of a file that the process itself writes, or whose changes it sees anyway */
};

struct image_pins {
	struct image_pin *pins;
	size_t n, room;
};

/**
 * pins_take() - Note every file that a process has mapped or open, as it is now.
 * @ret: zeroed; owned by the caller, also after a failure.
 *
 * A file that was removed is not pinned: it goes into the image itself, up to CRIU_GHOST_LIMIT_BYTES. The executable must not have
 * been removed.
 *
 * Return: 0; -ESTALE: a file, which @why names, was replaced or removed while it is in use; -errno.
 */
int pins_take(pid_t pid, struct image_pins *ret, struct why *why);

/** pins_check() - Are the files still as they were? Return: 0; -ESTALE or -ENOENT with file, change and what to do; -errno. */
int pins_check(const struct image_pins *pins, struct why *why);

/** pins_exe() - The executable's path; NULL: none is pinned. */
const char *pins_exe(const struct image_pins *pins);

/** pins_add() - Add @pin, whose path is copied. Return: 0; -ENOMEM; -E2BIG. */
int pins_add(struct image_pins *pins, const struct image_pin *pin);

/** pins_done() - Safe on a zeroed one. */
void pins_done(struct image_pins *pins);

const char *pin_kind_name(enum pin_kind kind); /* "exe", "mapped", "open" */
