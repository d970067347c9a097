/* SPDX-License-Identifier: MIT */
/* libupgrade in an event loop of libevent (2.0 or later). Since 1.0.
 *
 * The thread that called upg_open():
 *
 *     upg_libevent_watch(&glue, upg, base);          after upg_ready()
 *     event_base_dispatch(base);
 *     if (glue.leaves) return from main              another process serves
 *     upg_libevent_unwatch(&glue);
 *
 * A worker thread, with a base of its own; evthread_use_pthreads() was called before the base was made:
 *
 *     upg_libevent_thread_enter(&worker->glue, upg, "worker 1", base);
 *     upg_libevent_thread_run(&worker->glue);        until another process serves, or event_base_loopexit()
 *     upg_libevent_thread_leave(&worker->glue);
 *
 * and in struct upg_config: .wake = upg_libevent_wake. Threads that were entered otherwise need a wake() of their own.
 * A signal (nudge_signal) wakes no loop of libevent: it waits again after EINTR.
 */
#pragma once

#include <upgrade.h>

#include <errno.h>
#include <event2/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct upg_libevent {
	struct upg *upg;
	struct event_base *base;
	struct event *event;
	int leaves; /* upg_dispatch() said UPG_LEAVE, and the loop was left */
};

static inline void upg_libevent_dispatch(evutil_socket_t fd, short what, void *arg)
{
	struct upg_libevent *glue = (struct upg_libevent *)arg;

	(void)fd;
	(void)what;
	if (upg_dispatch(glue->upg) != UPG_LEAVE)
		return;
	glue->leaves = 1;
	event_base_loopbreak(glue->base);
}

/** upg_libevent_watch() - From now on rolls happen in this loop. @glue: stays where it is until upg_libevent_unwatch(). Without a
 * supervisor it does nothing. Return: 0; -ENOMEM. */
static inline int upg_libevent_watch(struct upg_libevent *glue, struct upg *handle, struct event_base *base)
{
	glue->upg = handle;
	glue->base = base;
	glue->event = NULL;
	glue->leaves = 0;
	if (upg_fd(handle) < 0)
		return 0;
	glue->event = event_new(base, upg_fd(handle), EV_READ | EV_PERSIST, upg_libevent_dispatch, glue);
	return glue->event && event_add(glue->event, NULL) == 0 ? 0 : -ENOMEM;
}

/** upg_libevent_unwatch() - Before event_base_free() and upg_free(). */
static inline void upg_libevent_unwatch(struct upg_libevent *glue)
{
	if (glue->event)
		event_free(glue->event);
	glue->event = NULL;
}

/* A worker thread and its loop. */
struct upg_libevent_thread {
	struct upg_thread *thread;
	struct event_base *base;
	struct event *wake;
};

/* Having run is all that it is for: the loop's turn ends with it. */
static inline void upg_libevent_woken(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/** upg_libevent_wake() - struct upg_config's wake() for threads that were entered below. */
static inline void upg_libevent_wake(struct upg_thread *thread, void *userdata)
{
	struct upg_libevent_thread *glue = (struct upg_libevent_thread *)upg_thread_data(thread);

	(void)userdata;
	event_active(glue->wake, EV_READ, 0);
}

/** upg_libevent_thread_enter() - The calling thread, which runs @base, touches state. Return: 0; -ENOMEM. */
static inline int upg_libevent_thread_enter(struct upg_libevent_thread *glue, struct upg *handle, const char *name,
					    struct event_base *base)
{
	glue->base = base;
	glue->thread = NULL;
	glue->wake = event_new(base, -1, EV_PERSIST, upg_libevent_woken, NULL);
	if (glue->wake)
		glue->thread = upg_thread_enter(handle, name, glue);
	if (glue->thread)
		return 0;
	if (glue->wake)
		event_free(glue->wake);
	return -ENOMEM;
}

/** upg_libevent_thread_run() - Run the loop, with an update point in each turn. It waits even where there is nothing to wait for.
 * Return: UPG_LEAVE, or UPG_GO_ON after event_base_loopexit() and the like. */
static inline enum upg_dispatched upg_libevent_thread_run(struct upg_libevent_thread *glue)
{
	for (;;) {
		if (upg_point(glue->thread) == UPG_LEAVE)
			return UPG_LEAVE;
		if (event_base_loop(glue->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) < 0 || event_base_got_exit(glue->base) ||
		    event_base_got_break(glue->base))
			return UPG_GO_ON;
	}
}

/** upg_libevent_thread_leave() - Before event_base_free(). */
static inline void upg_libevent_thread_leave(struct upg_libevent_thread *glue)
{
	upg_thread_leave(glue->thread); /* nobody wakes it after this */
	event_free(glue->wake);
}

#ifdef __cplusplus
}
#endif
