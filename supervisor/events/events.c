/* SPDX-License-Identifier: MIT */
#include "supervisor/events/events.h"

#include "base/base.h"
#include "supervisor/events/frame.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAITING_MAX (4u << 20) /* bytes of what waits for the disk; beyond it nothing is kept */

struct events {
	struct worker *worker; /* NULL: nothing can be kept */
	struct keep keep;
	struct events_listener *listeners;
	uint64_t n_listened;   /* so many ever began to listen */
	uint64_t last;         /* number of an event */
	size_t waiting_bytes;
	uint64_t not_kept;     /* and not told yet */
	bool fails;            /* the disk took nothing the last time */
};

/* A frame on its way to the disk. */
struct kept {
	struct work work;
	struct events *events;
	char service[WIRE_NAME_MAX + 1]; /* whose roll it is; "": it is an event */
	int r;
	size_t size_bytes;
	uint8_t frame[];
};

/* ---- kept ---- */

/* In the thread. */
static void keep_it(struct work *work)
{
	struct kept *kept = container_of(work, struct kept, work);
	const struct keep *keep = &kept->events->keep;

	kept->r = *kept->service ? keep_roll(keep, kept->service, kept->frame, kept->size_bytes) :
				   keep_event(keep, kept->frame, kept->size_bytes);
}

/* Once, and again when it is well again: a disk that is full is not to fill the log as well. */
static void tell_trouble(struct events *events, int r)
{
	if (r < 0 && !events->fails)
		log_warning("events and the history of rolls cannot be kept: %s; services are not touched by that", strerror(-r));
	if (r == 0 && events->fails)
		log_info("events and the history of rolls are kept again; %" PRIu64 " were not", events->not_kept);
	events->not_kept = r < 0 ? events->not_kept + 1 : 0;
	events->fails = r < 0;
}

static void on_kept(struct work *work)
{
	struct kept *kept = container_of(work, struct kept, work);

	kept->events->waiting_bytes -= kept->size_bytes;
	tell_trouble(kept->events, kept->r);
	free(kept);
}

static void keep(struct events *events, const char *service, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message), size = FRAME_HEAD_BYTES + length;
	struct kept *kept;

	if (!events->worker || length < 1 || length > FRAME_PAYLOAD_MAX)
		return;
	kept = events->waiting_bytes + size > WAITING_MAX ? NULL : malloc(sizeof(*kept) + size);
	if (!kept) {
		tell_trouble(events, events->waiting_bytes + size > WAITING_MAX ? -EBUSY : -ENOMEM);
		return;
	}
	*kept = (struct kept){ .events = events, .size_bytes = size };
	snprintf(kept->service, sizeof(kept->service), "%s", service);
	protobuf_c_message_pack(message, kept->frame + FRAME_HEAD_BYTES);
	frame_seal(kept->frame, length);
	events->waiting_bytes += size;
	worker_give(events->worker, &kept->work, keep_it, on_kept);
}

bool events_is_quiet(const struct events *events)
{
	return !events || events->waiting_bytes == 0;
}

/* ---- told ---- */

/* Whoever begins to listen meanwhile does not hear of this one; whoever goes away may be the one that is called next. */
static struct events_listener *next_one(struct events *events, uint64_t below)
{
	struct events_listener *next = NULL;

	for (struct events_listener *l = events->listeners; l; l = l->next)
		if (l->since < below && (!next || l->since > next->since))
			next = l;
	return next;
}

static void tell_all(struct events *events, const Upgraded__Wire__Event *event)
{
	struct events_listener *listener = next_one(events, events->n_listened + 1);

	while (listener) {
		uint64_t since = listener->since;

		listener->on_event(listener, event);
		listener = next_one(events, since);
	}
}

void events_tell(struct events *events, Upgraded__Wire__Event *event)
{
	struct timespec wall;
	char at[48], micro[16];
	struct tm tm;

	if (!events)
		return;
	clock_gettime(CLOCK_REALTIME, &wall);
	event->sequence = ++events->last;
	event->at_us = clock_now_us();
	event->wall_us = (int64_t)wall.tv_sec * (int64_t)USEC_PER_SEC + wall.tv_nsec / 1000;
	if (gmtime_r(&wall.tv_sec, &tm) && strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%S", &tm)) {
		snprintf(micro, sizeof(micro), ".%06uZ", (unsigned)(wall.tv_nsec / 1000) % 1000000u);
		strcat(at, micro);
		event->at = at;
	}
	keep(events, "", &event->base);
	tell_all(events, event);
	event->at = (char *)(uintptr_t)protobuf_c_empty_string;
}

void events_keep_roll(struct events *events, const char *service, const Upgraded__Wire__RollReport *report)
{
	if (events)
		keep(events, service, &report->base);
}

void events_listen(struct events *events, struct events_listener *listener)
{
	listener->since = ++events->n_listened;
	listener->next = events->listeners;
	events->listeners = listener;
}

void events_unlisten(struct events *events, struct events_listener *listener)
{
	struct events_listener **link = &events->listeners;

	while (*link && *link != listener)
		link = &(*link)->next;
	if (*link)
		*link = listener->next;
}

/* ---- looked up ---- */

static void look(struct work *work)
{
	struct events_look *l = container_of(work, struct events_look, work);

	l->r = l->rolls ? keep_read_rolls(l->keep, l->service, &l->list) : keep_read_events(l->keep, &l->filter, &l->list);
}

static void on_looked(struct work *work)
{
	struct events_look *l = container_of(work, struct events_look, work);

	if (l->on_done)
		l->on_done(l);
	if (l->rolls)
		keep_rolls_done(&l->list);
	else
		keep_events_done(&l->list);
	free(l);
}

struct events_look *events_look_begin(struct events *events, const char *service, bool rolls, int64_t since_us, size_t most,
				      void (*on_done)(struct events_look *look), void *owner)
{
	struct events_look *l = events && events->worker ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return NULL;
	l->keep = &events->keep;
	snprintf(l->service, sizeof(l->service), "%s", service);
	l->rolls = rolls;
	l->filter = (struct keep_filter){ .service = l->service, .since_us = since_us, .most = most };
	l->on_done = on_done;
	l->owner = owner;
	worker_give(events->worker, &l->work, look, on_looked);
	return l;
}

void events_look_forget(struct events_look *l)
{
	if (l)
		l->on_done = NULL;
}

/* ---- life ---- */

int events_open(const char *state_dir, struct loop *loop, struct events **ret, struct why *why)
{
	struct events *events = calloc(1, sizeof(*events));
	int r;

	if (!events)
		return why_errno(why, -ENOMEM, "events");
	r = keep_open(state_dir, &events->keep, why);
	if (r == 0 && (r = worker_new(loop, &events->worker, why)) < 0) {
		keep_close(&events->keep);
		free(events);
		return r;
	}
	*ret = events;
	return 0;
}

struct events *events_free(struct events *events)
{
	if (!events)
		return NULL;
	worker_free(events->worker);
	if (events->worker)
		keep_close(&events->keep);
	free(events);
	return NULL;
}
