/* SPDX-License-Identifier: MIT */
/*
 * What happens, each thing once: to all who listen, and into files that outlive the supervisor (keep.h).
 *
 * Whoever tells an event does not wait: a thread writes it. Where the disk does not get on or is full, events are not kept, which
 * is logged; nothing else comes of that.
 */
#pragma once

#include "base/work.h"
#include "supervisor/events/keep.h"
#include "supervisor/events/who.h"
#include "wire/name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct events;
struct loop;
struct why;

/* Embedded in whoever wants to hear. It may go away within a call, its own as well. */
struct events_listener {
	struct events_listener *next; /* these two are private */
	uint64_t since;
	void (*on_event)(struct events_listener *listener, const Upgraded__Wire__Event *event);
};

/**
 * events_open() - Where nothing can be kept, events are told all the same.
 * @state_dir: borrowed for the call. @loop: until events_free().
 *
 * Return: 0; -ENOMEM; -EAGAIN: no thread can be had. @why: filled as well where nothing can be kept: then it is a warning.
 */
int events_open(const char *state_dir, struct loop *loop, struct events **ret, struct why *why);

/** events_free() - Waits until all that was told is written. NULL is allowed. Return: NULL. */
struct events *events_free(struct events *events);

/** events_tell() - @event: borrowed; gets its times and its number. @events: NULL: nobody listens. */
void events_tell(struct events *events, Upgraded__Wire__Event *event);

/** events_keep_roll() - A roll of @service, as it is now, for its history. NULL is allowed. */
void events_keep_roll(struct events *events, const char *service, const Upgraded__Wire__RollReport *report);

void events_listen(struct events *events, struct events_listener *listener);
/** events_unlisten() - One that does not listen is allowed. */
void events_unlisten(struct events *events, struct events_listener *listener);

/** events_is_quiet() - Does nothing wait for the disk? NULL is allowed. */
bool events_is_quiet(const struct events *events);

/* A look into what was kept. */
struct events_look {
	struct work work; /* private */
	const struct keep *keep;
	char service[WIRE_NAME_MAX + 1];
	bool rolls; /* those of the service; or else events */
	struct keep_filter filter;
	int r;                 /* 0; -errno */
	struct keep_list list; /* of what was asked for */
	void (*on_done)(struct events_look *look); /* NULL: nobody wants to know any more */
	void *owner;
};

/**
 * events_look_begin() - Read what was kept, in the thread.
 * @service: "": all of them, which only events can be of.
 * @on_done: may take nothing out of the list; all is released behind it.
 *
 * Return: to be given to events_look_forget(); NULL: memory is out, or nothing is kept.
 */
struct events_look *events_look_begin(struct events *events, const char *service, bool rolls, int64_t since_us, size_t most,
				      void (*on_done)(struct events_look *look), void *owner);
/** events_look_forget() - Its owner goes away. NULL is allowed. */
void events_look_forget(struct events_look *look);
