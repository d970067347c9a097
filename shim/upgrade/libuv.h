/* SPDX-License-Identifier: MIT */
/* libupgrade in an event loop of libuv (1.0 or later). Since 1.0.
 *
 * The thread that called upg_open():
 *
 *     upg_libuv_watch(&glue, upg, loop);             after upg_ready()
 *     uv_run(loop, UV_RUN_DEFAULT);
 *     if (glue.leaves) return from main              another process serves
 *
 * A worker thread, with a loop of its own:
 *
 *     upg_libuv_thread_enter(&worker->glue, upg, "worker 1", loop);
 *     upg_libuv_thread_run(&worker->glue);           until another process serves, or uv_stop()
 *     upg_libuv_thread_leave(&worker->glue);
 *
 * and in struct upg_config: .wake = upg_libuv_wake. Threads that were entered otherwise need a wake() of their own. A signal
 * (nudge_signal) wakes no loop of libuv: it waits again after EINTR.
 *
 * Connections that move are watched by uv_poll_t. A uv_tcp_t owns its descriptor and its buffers, and gives neither away.
 */
#pragma once

#include <upgrade.h>

#include <errno.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

struct upg_libuv {
	struct upg *upg;
	uv_poll_t poll;
	int watches, leaves; /* leaves: upg_dispatch() said UPG_LEAVE, and the loop was stopped */
};

static inline void upg_libuv_dispatch(uv_poll_t *poll, int status, int events)
{
	struct upg_libuv *glue = (struct upg_libuv *)poll->data;

	(void)events;
	if (status < 0 || upg_dispatch(glue->upg) != UPG_LEAVE)
		return;
	glue->leaves = 1;
	uv_stop(poll->loop);
}

/** upg_libuv_watch() - From now on rolls happen in this loop. @glue: stays where it is until the loop has closed its handle.
 * Without a supervisor it does nothing. Return: 0; a negative error number of libuv, which is a -errno. */
static inline int upg_libuv_watch(struct upg_libuv *glue, struct upg *handle, uv_loop_t *loop)
{
	int r;

	glue->upg = handle;
	glue->watches = glue->leaves = 0;
	if (upg_fd(handle) < 0)
		return 0;
	r = uv_poll_init(loop, &glue->poll, upg_fd(handle));
	if (r < 0)
		return r;
	glue->watches = 1;
	glue->poll.data = glue;
	return uv_poll_start(&glue->poll, UV_READABLE, upg_libuv_dispatch);
}

/** upg_libuv_unwatch() - Before upg_free(); run the loop once more, so that it lets go of @glue. */
static inline void upg_libuv_unwatch(struct upg_libuv *glue)
{
	if (glue->watches)
		uv_close((uv_handle_t *)&glue->poll, NULL);
	glue->watches = 0;
}

/* A worker thread and its loop. */
struct upg_libuv_thread {
	struct upg_thread *thread;
	uv_loop_t *loop;
	uv_async_t wake;
};

/* Having run is all that it is for: the loop's turn ends with it. */
static inline void upg_libuv_woken(uv_async_t *async)
{
	(void)async;
}

/** upg_libuv_wake() - struct upg_config's wake() for threads that were entered below. */
static inline void upg_libuv_wake(struct upg_thread *thread, void *userdata)
{
	struct upg_libuv_thread *glue = (struct upg_libuv_thread *)upg_thread_data(thread);

	(void)userdata;
	uv_async_send(&glue->wake);
}

/** upg_libuv_thread_enter() - The calling thread, which runs @loop, touches state. Return: 0; -ENOMEM or another -errno. */
static inline int upg_libuv_thread_enter(struct upg_libuv_thread *glue, struct upg *handle, const char *name, uv_loop_t *loop)
{
	int r = uv_async_init(loop, &glue->wake, upg_libuv_woken);

	if (r < 0)
		return r;
	glue->loop = loop;
	glue->thread = upg_thread_enter(handle, name, glue);
	if (glue->thread)
		return 0;
	uv_close((uv_handle_t *)&glue->wake, NULL);
	return -ENOMEM;
}

/** upg_libuv_thread_run() - Run the loop, with an update point in each turn. Return: UPG_LEAVE, or UPG_GO_ON when nothing is left
 * to wait for. To end it, close its handles: uv_stop() ends one turn. */
static inline enum upg_dispatched upg_libuv_thread_run(struct upg_libuv_thread *glue)
{
	do
		if (upg_point(glue->thread) == UPG_LEAVE)
			return UPG_LEAVE;
	while (uv_run(glue->loop, UV_RUN_ONCE));
	return UPG_GO_ON;
}

/** upg_libuv_thread_leave() - Before uv_loop_close(); run the loop once more, so that it lets go of @glue. */
static inline void upg_libuv_thread_leave(struct upg_libuv_thread *glue)
{
	upg_thread_leave(glue->thread); /* nobody wakes it after this */
	uv_close((uv_handle_t *)&glue->wake, NULL);
}

#ifdef __cplusplus
}
#endif
