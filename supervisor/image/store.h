/* SPDX-License-Identifier: MIT */
/* All images there are, of this run of the supervisor and of earlier ones, and how many of them may stay. */
#pragma once

#include "base/why.h"
#include "supervisor/image/image.h"
#include "supervisor/unit/unit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum image_verdict {
	IMAGE_STAYS,
	IMAGE_IN_USE,    /* a roll that is under way may go back to it: stays whatever the limits say */
	IMAGE_KEPT,      /* its way back failed, and it may be the last that is left of a state: stays as well */
	IMAGE_TOO_MANY,
	IMAGE_TOO_OLD,
	IMAGE_TOO_LARGE, /* with the newer ones it takes more than the limit */
};

struct image_entry {
	char *service;
	uint64_t generation;
	char *path;
	struct image *image;     /* NULL: it cannot be used, and @why says why */
	struct why why;
	struct why kept;         /* why it is kept whatever the limits say; "": it is not */
	int64_t taken_at_s;
	uint64_t size_bytes;
	enum image_verdict verdict;
	bool removed;
};

/* By the names of services, and the newest of each first. */
struct image_list {
	struct image_entry *entries;
	size_t n;
};

/** image_store_list() - What lies under @root, of one service or (NULL) of all. Half ones are not there.
 * @ret: owned by the caller, also after a failure; release with image_list_done().
 * Return: 0 or -errno. */
int image_store_list(const char *root, const char *service, struct image_list *ret, struct why *why);
void image_list_done(struct image_list *list);
/** image_list_only() - Forget all but the one at @i. */
void image_list_only(struct image_list *list, size_t i);

/** image_store_newest() - Of @service, that can be used; of @version, if that is not NULL. Return: 0; -ENOENT; -errno. */
int image_store_newest(const char *root, const char *service, const char *version, struct image **ret_image, struct why *why);

#define IMAGE_SET_MAX 64u

/* Images by their generations: those that rolls under way may go back to. */
struct image_set {
	uint64_t generation[IMAGE_SET_MAX];
	size_t n;
	bool all; /* more were added than there is room for: every image counts as one of them */
};

/** image_set_add() - @generation: 0: nothing is added. */
void image_set_add(struct image_set *set, uint64_t generation);
bool image_set_has(const struct image_set *set, uint64_t generation);

/** image_store_judge() - Give each image of one service its verdict. @busy: those in use. @now_s: CLOCK_REALTIME. */
void image_store_judge(struct image_list *list, const struct image_limits *limits, const struct image_set *busy, int64_t now_s);

/**
 * image_store_gc() - Remove what is beyond the limits, oldest first.
 * @ret: NULL, or what there was, with verdicts; release with image_list_done().
 *
 * Return: how many were removed, or -errno. Each is logged.
 */
int image_store_gc(const char *root, const char *service, const struct image_limits *limits, const struct image_set *busy,
		   struct image_list *ret, struct why *why);

/** image_entry_remove() - Whatever the limits say. Return: 0 or -errno. */
int image_entry_remove(struct image_entry *entry, struct why *why);

/** image_keep() - From now on no limit counts for it. Return: 0 or -errno. */
int image_keep(const struct image *image, const char *reason, struct why *why);

const char *image_verdict_name(enum image_verdict verdict);
