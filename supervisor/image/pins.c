/* SPDX-License-Identifier: MIT */
#include "supervisor/image/pins.h"

#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SLOTS (2 * IMAGE_PINS_MAX) /* a power of two, so that at most half of them are taken */

const char *pin_kind_name(enum pin_kind kind)
{
	static const char *const names[PIN_KINDS] = {
		[PIN_EXE] = "exe", [PIN_MAPPED] = "mapped", [PIN_OPEN] = "open", [PIN_FOLDER] = "folder",
		[PIN_REMOVED] = "removed", [PIN_SOCKET] = "socket", [PIN_PEER] = "peer", [PIN_PIPE] = "pipe",
	};

	return names[kind];
}

const char *pin_kind_spoken(enum pin_kind kind)
{
	static const char *const names[PIN_KINDS] = {
		[PIN_EXE] = "executable", [PIN_MAPPED] = "mapped file", [PIN_OPEN] = "open file",
		[PIN_FOLDER] = "working directory or root", [PIN_REMOVED] = "removed file", [PIN_SOCKET] = "unix socket",
		[PIN_PEER] = "connection to the unix socket", [PIN_PIPE] = "pipe",
	};

	return names[kind];
}

int pins_add(struct image_pins *pins, const struct image_pin *pin)
{
	struct image_pin *added;

	if (pins->n == IMAGE_PINS_MAX)
		return -E2BIG;
	if (pins->n == pins->room) {
		size_t room = pins->room ? 2 * pins->room : 64;
		struct image_pin *more = reallocarray(pins->pins, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		pins->pins = more;
		pins->room = room;
	}
	added = &pins->pins[pins->n];
	*added = *pin;
	added->path = strdup(pin->path);
	if (!added->path)
		return -ENOMEM;
	pins->n++;
	return 0;
}

void pins_done(struct image_pins *pins)
{
	for (size_t i = 0; i < pins->n; i++) {
		if (pins->pins[i].is_held)
			fd_close(pins->pins[i].fd);
		free(pins->pins[i].path);
	}
	free(pins->pins);
	free(pins->index);
	*pins = (struct image_pins){ 0 };
}

const char *pins_exe(const struct image_pins *pins)
{
	for (size_t i = 0; i < pins->n; i++)
		if (pins->pins[i].kind == PIN_EXE)
			return pins->pins[i].path;
	return NULL;
}

/* ---- by path ---- */

/* The slot of @path, or the free one where it would be. A slot holds the number of a pin and one; 0: free. */
static uint16_t *slot_of(const struct image_pins *pins, const char *path)
{
	size_t at = XXH3_64bits(path, strlen(path)) & (SLOTS - 1);

	while (pins->index[at] && strcmp(pins->pins[pins->index[at] - 1].path, path) != 0)
		at = (at + 1) & (SLOTS - 1);
	return &pins->index[at];
}

struct image_pin *pins_find(struct image_pins *pins, const char *path)
{
	uint16_t *slot;

	if (!pins->index)
		pins->index = calloc(SLOTS, sizeof(*pins->index));
	if (!pins->index) { /* memory is out: slower then */
		for (size_t i = 0; i < pins->n; i++)
			if (strcmp(pins->pins[i].path, path) == 0)
				return &pins->pins[i];
		return NULL;
	}
	for (; pins->n_indexed < pins->n; pins->n_indexed++) {
		slot = slot_of(pins, pins->pins[pins->n_indexed].path);
		if (!*slot)
			*slot = (uint16_t)(pins->n_indexed + 1);
	}
	slot = slot_of(pins, path);
	return *slot ? &pins->pins[*slot - 1] : NULL;
}
