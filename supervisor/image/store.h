/* SPDX-License-Identifier: MIT */
/* All images on disk, also those of earlier runs of the supervisor, and how many of them may stay. */
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
	IMAGE_KEPT,      /* the way back failed, and this image may be the last of a state: stays whatever the limits say */
	IMAGE_TOO_MANY,
	IMAGE_TOO_OLD,
	IMAGE_TOO_LARGE, /* together with the newer ones it takes more than the limit */
};

struct image_entry {
	char *service;
	uint64_t generation;
	char *path;
	struct image *image;     /* NULL: it cannot be used, and @why says why */
	struct why why;
	struct why kept;         /* why it is kept; "": it is not */
	int64_t taken_at_s;
	uint64_t size_bytes;
	enum image_verdict verdict;
	bool removed;
};

/* In the order of the services' names, and the newest image of each service first. */
struct image_list {
	struct image_entry *entries;
	size_t n;
};

/**
 * image_store_list() - List the images under @root, of one service or (NULL) of all. Half images are left out.
 * @ret: owned by the caller, also after a failure; release with image_list_done().
 *
 * Return: 0 or -errno.
 */
int image_store_list(const char *root, const char *service, struct image_list *ret, struct why *why);
void image_list_done(struct image_list *list);

/** image_store_newest() - Return: the highest generation of any image under @root, half ones included; 0: there is none. */
uint64_t image_store_newest(const char *root);

/** image_list_only() - Drop all entries but the one at @i. */
void image_list_only(struct image_list *list, size_t i);

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
 * image_store_gc() - Remove the images of a service that are beyond the limits, the oldest first.
 * @busy: the generation in use; 0: none.
 * @ret:  NULL, or the images that there were, with verdicts; release with image_list_done().
 *
 * Return: how many were removed, or -errno. Each is logged.
 */
int image_store_gc(const char *root, const char *service, const struct image_limits *limits, const struct image_set *busy,
		   struct image_list *ret, struct why *why);

/** image_entry_remove() - Remove an image whatever the limits say. Return: 0 or -errno. */
int image_entry_remove(struct image_entry *entry, struct why *why);

/** image_keep() - Exempt @image from all limits from now on. Return: 0 or -errno. */
int image_keep(const struct image *image, const char *reason, struct why *why);

const char *image_verdict_name(enum image_verdict verdict);
