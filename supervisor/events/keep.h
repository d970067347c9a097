/* SPDX-License-Identifier: MIT */
/* What is kept of events and rolls on the disk. All of this may wait for the disk: a thread calls it, one thing after the other.
 *
 *   STATE/events/events, events.1   each event, bounded: when the first is full, it becomes the second
 *   STATE/history/SERVICE           the last KEEP_ROLLS rolls of a service, as they were when they began and when they ended
 *
 * The end of a file may be torn, as a machine ends whenever it likes: what is whole is found.
 */
#pragma once

#include "wire/control.pb-c.h"

#include <stddef.h>
#include <stdint.h>

struct why;

#define KEEP_EVENTS_BYTES (4u << 20) /* of each of the two files */
#define KEEP_ROLLS 100u
#define KEEP_ROLLS_SLACK 50u         /* so many more, before the oldest are taken away */

struct keep {
	int events, history; /* the two folders */
};

/** keep_open() - Make the two folders in @state_dir where they are missing. Return: 0 or -errno. */
int keep_open(const char *state_dir, struct keep *ret, struct why *why);
void keep_close(struct keep *keep);

/** keep_event(), keep_roll() - Add a frame, head and all. On failure the file is as before. Return: 0 or -errno. */
int keep_event(const struct keep *keep, const uint8_t *frame, size_t size_bytes);
int keep_roll(const struct keep *keep, const char *service, const uint8_t *frame, size_t size_bytes);

struct keep_filter {
	const char *service; /* "": all */
	int64_t since_us;    /* CLOCK_REALTIME; 0: all */
	size_t most;         /* the last ones */
};

struct keep_list {
	void **entries; /* of Upgraded__Wire__Event or Upgraded__Wire__RollReport, the oldest first */
	size_t n;
};

/** keep_read_events() - Return: 0, also where nothing is kept; -ENOMEM; -errno. @ret: release with keep_events_done(). */
int keep_read_events(const struct keep *keep, const struct keep_filter *filter, struct keep_list *ret);
/** keep_read_rolls() - Each roll once, as it was at last. @ret: release with keep_rolls_done(). */
int keep_read_rolls(const struct keep *keep, const char *service, struct keep_list *ret);
void keep_events_done(struct keep_list *list);
void keep_rolls_done(struct keep_list *list);
