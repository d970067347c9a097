/* SPDX-License-Identifier: MIT */
/* libupgrade in an event loop of libsystemd, sd-event(3). Since 1.0.
 *
 * The thread that called upg_open():
 *
 *     upg_sd_event_watch(&glue, upg, event);         after upg_ready()
 *     sd_event_loop(event);
 *     if (glue.leaves) return from main              another process serves
 *     upg_sd_event_unwatch(&glue);
 *
 * A worker thread, with a loop of its own:
 *
 *     upg_sd_event_thread_enter(&worker->glue, upg, "worker 1", event);
 *     upg_sd_event_thread_run(&worker->glue);        until another process serves, or sd_event_exit()
 *     upg_sd_event_thread_leave(&worker->glue);
 *
 * and in struct upg_config: .wake = upg_sd_event_wake. Threads that were entered otherwise need a wake() of their own.
 */
#pragma once

#include <upgrade.h>

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

struct upg_sd_event {
	struct upg *upg;
	sd_event_source *source;
	int leaves; /* upg_dispatch() said UPG_LEAVE, and the loop was left */
};

static inline int upg_sd_event_dispatch(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct upg_sd_event *glue = (struct upg_sd_event *)userdata;

	(void)fd;
	(void)events;
	if (upg_dispatch(glue->upg) != UPG_LEAVE)
		return 0;
	glue->leaves = 1;
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

/** upg_sd_event_watch() - From now on rolls happen in this loop. @glue: stays where it is until upg_sd_event_unwatch(). Without a
 * supervisor it does nothing. Return: 0; -errno. */
static inline int upg_sd_event_watch(struct upg_sd_event *glue, struct upg *handle, sd_event *event)
{
	int r;

	glue->upg = handle;
	glue->source = NULL;
	glue->leaves = 0;
	if (upg_fd(handle) < 0)
		return 0;
	r = sd_event_add_io(event, &glue->source, upg_fd(handle), EPOLLIN, upg_sd_event_dispatch, glue);
	return r < 0 ? r : 0;
}

/** upg_sd_event_unwatch() - Before sd_event_unref() and upg_free(). */
static inline void upg_sd_event_unwatch(struct upg_sd_event *glue)
{
	glue->source = sd_event_source_unref(glue->source);
}

/* A worker thread and its loop. */
struct upg_sd_event_thread {
	struct upg_thread *thread;
	sd_event *event;
	sd_event_source *source;
	int wake_fd;
};

/* Having run is all that it is for: the loop's turn ends with it. */
static inline int upg_sd_event_woken(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	eventfd_t ignored;

	(void)source;
	(void)events;
	(void)userdata;
	(void)eventfd_read(fd, &ignored);
	return 0;
}

/** upg_sd_event_wake() - struct upg_config's wake() for threads that were entered below. */
static inline void upg_sd_event_wake(struct upg_thread *thread, void *userdata)
{
	const struct upg_sd_event_thread *glue = (const struct upg_sd_event_thread *)upg_thread_data(thread);

	(void)userdata;
	(void)eventfd_write(glue->wake_fd, 1);
}

/** upg_sd_event_thread_leave() - Before sd_event_unref(). Also after a upg_sd_event_thread_enter() that failed. */
static inline void upg_sd_event_thread_leave(struct upg_sd_event_thread *glue)
{
	if (glue->thread)
		upg_thread_leave(glue->thread); /* nobody wakes it after this */
	sd_event_source_unref(glue->source);
	if (glue->wake_fd >= 0)
		close(glue->wake_fd);
}

/** upg_sd_event_thread_enter() - The calling thread, which runs @event, touches state. Return: 0; -errno. */
static inline int upg_sd_event_thread_enter(struct upg_sd_event_thread *glue, struct upg *handle, const char *name, sd_event *event)
{
	int r;

	glue->thread = NULL;
	glue->event = event;
	glue->source = NULL;
	glue->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = glue->wake_fd < 0 ? -errno :
				sd_event_add_io(event, &glue->source, glue->wake_fd, EPOLLIN, upg_sd_event_woken, NULL);
	if (r >= 0 && !(glue->thread = upg_thread_enter(handle, name, glue)))
		r = -ENOMEM;
	if (r < 0)
		upg_sd_event_thread_leave(glue);
	return r < 0 ? r : 0;
}

/** upg_sd_event_thread_run() - Run the loop, with an update point in each turn. Return: UPG_LEAVE, or UPG_GO_ON after
 * sd_event_exit() and where the loop failed. */
static inline enum upg_dispatched upg_sd_event_thread_run(struct upg_sd_event_thread *glue)
{
	do
		if (upg_point(glue->thread) == UPG_LEAVE)
			return UPG_LEAVE;
	while (sd_event_get_state(glue->event) != SD_EVENT_FINISHED && sd_event_run(glue->event, UINT64_MAX) >= 0);
	return UPG_GO_ON;
}

#ifdef __cplusplus
}
#endif
