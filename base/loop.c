/* SPDX-License-Identifier: MIT */
#include "base/loop.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define BATCH 64

struct loop {
	int epoll_fd;
	bool stopping;
	int status;
	bool turning;
	size_t n_sources;
	struct timer *waiting; /* sorted by due_us; equal ones in the order they were armed */
	struct timer *due;     /* taken off @waiting in this turn, and not called yet */
	int n_batch;
	int at_batch;          /* first event of @batch that was not dispatched yet */
	struct epoll_event batch[BATCH];
};

int loop_new(struct loop **ret_loop, struct why *why)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return why_errno(why, -ENOMEM, "cannot make an event loop");
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		r = -errno;
		free(loop);
		return why_errno(why, r, "cannot make an event loop: epoll_create1");
	}
	*ret_loop = loop;
	return 0;
}

struct loop *loop_free(struct loop *loop)
{
	if (!loop)
		return NULL;
	assert(!loop->turning);
	assert(!loop->waiting && !loop->due && loop->n_sources == 0);
	fd_close(loop->epoll_fd);
	free(loop);
	return NULL;
}

void loop_stop(struct loop *loop, int status)
{
	loop->stopping = true;
	loop->status = status;
}

int loop_run(struct loop *loop)
{
	int r;

	/* A loop_stop() from before the run counts: the caller may have decided to end while it set up. */
	while (!loop->stopping) {
		r = loop_turn(loop, -1);
		if (r < 0)
			return r;
	}
	loop->stopping = false;
	return loop->status;
}

static void events_dispatch(struct loop *loop)
{
	struct source *source;
	uint32_t events;

	while (loop->at_batch < loop->n_batch) {
		const struct epoll_event *event = &loop->batch[loop->at_batch++];

		source = event->data.ptr;
		if (!source)
			continue; /* deleted by a callback of this batch */
		/* A source_set() by a callback of this batch counts: nobody is called for an event that they no longer wait for. */
		events = event->events & (source->events | EPOLLERR | EPOLLHUP);
		if (events)
			source->on_ready(source, events);
	}
}

/* The due timers leave the list before the first of them is called. So a timer that arms itself again for "now" waits for the next
 * turn and cannot starve the others. */
static void timers_dispatch(struct loop *loop, uint64_t now_us)
{
	struct timer **end = &loop->waiting;

	while (*end && (*end)->due_us <= now_us)
		end = &(*end)->next;
	if (end == &loop->waiting)
		return;
	loop->due = loop->waiting;
	loop->waiting = *end;
	*end = NULL;
	while (loop->due) {
		struct timer *timer = loop->due;

		timer_disarm(timer);
		timer->on_due(timer);
	}
}

/* Return: how many sources were ready, at most BATCH, or -errno; their callbacks were called. */
static int batch_dispatch(struct loop *loop, int timeout_ms)
{
	int n = epoll_wait(loop->epoll_fd, loop->batch, BATCH, timeout_ms);

	if (n < 0 && errno != EINTR)
		return -errno;
	loop->turning = true;
	loop->n_batch = n > 0 ? n : 0;
	loop->at_batch = 0;
	events_dispatch(loop);
	loop->turning = false;
	return loop->n_batch;
}

/* What became ready up to the moment at which a timer was found to be due is heard before the timer is called: an answer that came
 * in time must not be unread when its timeout is told. The kernel reports ready sources in turn, so each was among as many batches
 * as hold all of them. */
static int catch_up(struct loop *loop)
{
	size_t rounds = loop->n_sources / BATCH + 1;
	int n;

	do {
		n = batch_dispatch(loop, 0);
	} while (n == BATCH && --rounds);
	return n < 0 ? n : 0;
}

int loop_turn(struct loop *loop, int timeout_ms)
{
	int until_timer_ms = loop->waiting ? clock_timeout_ms(loop->waiting->due_us) : -1;
	uint64_t now_us;
	int r;

	assert(!loop->turning); /* a callback must not turn the loop that called it */
	if (until_timer_ms >= 0 && (timeout_ms < 0 || until_timer_ms < timeout_ms))
		timeout_ms = until_timer_ms;
	r = batch_dispatch(loop, timeout_ms);
	if (r < 0 || !loop->waiting)
		return r < 0 ? r : 0;
	/* Taken before what is ready is asked for once more: no timer is called that became due while others were heard. */
	now_us = clock_now_us();
	if (loop->waiting->due_us > now_us)
		return 0;
	r = catch_up(loop);
	loop->turning = true;
	timers_dispatch(loop, now_us);
	loop->turning = false;
	return r;
}

int source_add(struct loop *loop, struct source *source, int fd, uint32_t events,
	       void (*on_ready)(struct source *source, uint32_t events))
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (source->loop)
		return -EEXIST;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	source->loop = loop;
	source->fd = fd;
	source->events = events;
	source->on_ready = on_ready;
	loop->n_sources++;
	return 0;
}

int source_set(struct source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (!source->loop)
		return -ENOENT;
	if (events == source->events)
		return 0;
	if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
		return -errno;
	source->events = events;
	return 0;
}

void source_del(struct source *source)
{
	struct loop *loop = source->loop;
	int saved_errno = errno;

	if (!loop)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (int i = loop->at_batch; i < loop->n_batch; i++)
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
	loop->n_sources--;
	source->loop = NULL;
	errno = saved_errno;
}

void timer_arm(struct loop *loop, struct timer *timer, uint64_t due_us, void (*on_due)(struct timer *timer))
{
	struct timer **at = &loop->waiting;

	timer_disarm(timer);
	while (*at && (*at)->due_us <= due_us)
		at = &(*at)->next;
	timer->loop = loop;
	timer->due_us = due_us;
	timer->on_due = on_due;
	timer->next = *at;
	*at = timer;
}

static bool timer_unlink(struct timer **list, const struct timer *timer)
{
	for (struct timer **at = list; *at; at = &(*at)->next) {
		if (*at == timer) {
			*at = timer->next;
			return true;
		}
	}
	return false;
}

void timer_disarm(struct timer *timer)
{
	struct loop *loop = timer->loop;

	if (!loop)
		return;
	if (!timer_unlink(&loop->due, timer))
		timer_unlink(&loop->waiting, timer);
	timer->loop = NULL;
	timer->next = NULL;
}
