/* SPDX-License-Identifier: MIT */
/* Entries for a logbook in few words, and what must be in force after some of them, by the plainest means. */
#pragma once

#include "supervisor/logbook/disk.h"

#include <stddef.h>
#include <stdint.h>

struct why;

enum change_kind { PROCESS, PROCESS_GONE, SERVICE, SERVICE_GONE };

struct change {
	enum change_kind kind;
	unsigned key;
	unsigned value;
	size_t bulk; /* bytes of the service file in it */
};

/** book_put() - Write it. Return: as logbook_write(). */
int book_put(struct logbook *book, const struct change *change, struct why *why);

/** book_state() - Tell all that is in force, in its order. Return: release with free(). */
char *book_state(const struct logbook *book);

#define MODEL_MAX 64u

struct model {
	struct change items[MODEL_MAX];
	size_t n;
};

void model_apply(struct model *model, const struct change *change);

/** model_state() - As book_state() of a book with these. Release with free(). */
char *model_state(const struct model *model);

/** book_is() - Is in force what @model has? */
int book_is(const struct logbook *book, const struct model *model);

/* A file in memory. */
struct bytes {
	uint8_t *data;
	size_t size;
};

/** bytes_of() - Read FOLDER/NAME; .data is NULL if there is none. Release with free(). */
struct bytes bytes_of(const char *folder, const char *name);

/** bytes_leave() - Write FOLDER/NAME anew. */
void bytes_leave(const char *folder, const char *name, const void *data, size_t size);

/** folder_new() - Make an empty folder below @root. Return: its path, until the next call but fifteen. */
const char *folder_new(const char *root);
