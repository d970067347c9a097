/* SPDX-License-Identifier: MIT */
/* Update points.
 *
 * A running thread pays one relaxed load for each upg_point(). A roll sets `attention`, and from then on every thread that comes by
 * stops inside. Threads that block in a system call are nudged by a signal whose handler does nothing: the call returns EINTR.
 * Those that wait for a condition or in the event loop of a library are woken by the application. A nudge that lands between a
 * thread's look at `attention` and its system call is lost, so nudges repeat, a little later each time, until everyone stands or
 * the deadline passes. The relaxed load is enough because the mutex orders everything that
 * matters: who finds a thread standing sees the state that the thread wrote before it stood.
 */
#include "shim/core/threads.h"

#include "base/clock.h"
#include "base/lack.h"
#include "base/why.h"
#include "shim/core/channel.h"
#include "shim/core/still.h"
#include "shim/core/upg.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FIRST_NUDGE_US UINT64_C(200)
#define LAST_NUDGE_US UINT64_C(5000)
/* A thread that does not look at what upg_point() says goes on with what is another process's by now: as slowly as can be, while
 * main() returns. */
#define CARELESS_NS (100 * 1000 * 1000)

static void on_nudge(int signal)
{
	(void)signal;
}

/* A signal that somebody handles has a meaning already: with our handler in its place it would lose that one, and with theirs in
 * ours' place a nudge would be taken for it. */
static int handle_nudges(int signal, struct why *why)
{
	struct sigaction action = { .sa_handler = on_nudge }, before;

	sigemptyset(&action.sa_mask);
	if (sigaction(signal, NULL, &before) < 0)
		return why_errno(why, -errno, "nudge_signal %d", signal);
	if (before.sa_handler != SIG_DFL && before.sa_handler != on_nudge)
		return why_set(why, -EEXIST,
			       "nudge_signal %d (%s) is %s in this process already: name one that is free, or wake threads by "
			       "wake()",
			       signal, strsignal(signal), before.sa_handler == SIG_IGN ? "ignored" : "handled");
	return sigaction(signal, &action, NULL) < 0 ? why_errno(why, -errno, "nudge_signal %d", signal) : 0;
}

int threads_init(struct threads *threads, struct channel *channel, const struct upg_config *config, struct why *why)
{
	pthread_condattr_t attr;

	threads->channel = channel;
	pthread_mutex_init(&threads->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&threads->arrived, &attr);
	pthread_condattr_destroy(&attr);
	pthread_cond_init(&threads->released, NULL);
	pthread_cond_init(&threads->woken, NULL);
	threads->config = config;
	return config->nudge_signal ? handle_nudges(config->nudge_signal, why) : 0;
}

void threads_done(struct threads *threads)
{
	while (threads->first) {
		struct upg_thread *thread = threads->first;

		threads->first = thread->next;
		free(thread);
	}
	pthread_cond_destroy(&threads->woken);
	pthread_cond_destroy(&threads->released);
	pthread_cond_destroy(&threads->arrived);
	pthread_mutex_destroy(&threads->lock);
}

static void update_attention(struct threads *threads)
{
	atomic_store(&threads->attention, threads->stop || threads->beat || threads->dismissed);
}

/* Lock held. Where threads are to stand, this one does; @thread: NULL: it is none of ours yet. No signal handler runs in a thread
 * that stands: it would be one more writer beside whoever serves. Nor in one that has the lock: it could ask for it again.
 *
 * Return: it stood, and threads_unlock() is to give it the signals of @ret_before back. */
static bool await_release(struct threads *threads, struct upg_thread *thread, sigset_t *ret_before)
{
	if (!threads->stop)
		return false;
	still_block(ret_before);
	while (threads->stop) {
		if (thread)
			thread->stands = true;
		pthread_cond_signal(&threads->arrived);
		pthread_cond_wait(&threads->released, &threads->lock);
	}
	if (thread)
		thread->stands = false;
	return true;
}

static void threads_unlock(struct threads *threads, bool stood, const sigset_t *before)
{
	pthread_mutex_unlock(&threads->lock);
	if (stood)
		still_unblock(before);
}

struct upg_thread *upg_thread_enter(struct upg *upg, const char *name, void *data)
{
	struct threads *threads = upg->threads;
	struct upg_thread *thread;
	unsigned tries = 0;
	sigset_t before;
	bool stood;

	/* A thread that cannot be made known must not run, and its process is of little use without it. */
	while (!(thread = calloc(1, sizeof(*thread))))
		if (!lack_again(ENOMEM, &tries))
			return NULL;
	thread->threads = threads;
	thread->id = pthread_self();
	thread->tid = gettid();
	thread->data = data;
	snprintf(thread->name, sizeof(thread->name), "%s", name ? name : "thread");
	pthread_mutex_lock(&threads->lock);
	stood = await_release(threads, NULL, &before);
	thread->beat = threads->beat;
	thread->next = threads->first;
	threads->first = thread;
	threads_unlock(threads, stood, &before);
	return thread;
}

void *upg_thread_data(const struct upg_thread *thread)
{
	return thread->data;
}

/* Lock held. Ends the Ping under way if every thread has given its sign of life. Return: its number, for the answer; 0: not yet. */
static uint64_t beat_if_complete(struct threads *threads)
{
	uint64_t nonce = threads->beat;

	for (const struct upg_thread *t = threads->first; t; t = t->next)
		if (t->beat != nonce)
			return 0;
	threads->beat = 0;
	update_attention(threads);
	return nonce;
}

static void send_pong(struct threads *threads, uint64_t nonce)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PONG, .pong = &pong);

	if (!nonce)
		return;
	pong.nonce = nonce;
	/* A Pong that finds no room is made up for by the next Ping. */
	channel_post(threads->channel, &message, NULL, 0);
}

void upg_thread_leave(struct upg_thread *thread)
{
	struct threads *threads = thread->threads;
	uint64_t beat = 0;

	pthread_mutex_lock(&threads->lock);
	thread->leaves = true;
	while (threads->waking == thread)
		pthread_cond_wait(&threads->woken, &threads->lock);
	for (struct upg_thread **link = &threads->first; *link; link = &(*link)->next) {
		if (*link == thread) {
			*link = thread->next;
			break;
		}
	}
	if (threads->beat)
		beat = beat_if_complete(threads);
	pthread_cond_signal(&threads->arrived);
	pthread_mutex_unlock(&threads->lock);
	send_pong(threads, beat);
	free(thread);
}

/* Not inline: its frame would be set up at each upg_point(). */
static __attribute__((noinline)) int point_slow(struct upg_thread *thread)
{
	struct threads *threads = thread->threads;
	uint64_t beat = 0;
	bool leaves, again, stood;
	sigset_t before;

	pthread_mutex_lock(&threads->lock);
	if (threads->beat && thread->beat != threads->beat) {
		thread->beat = threads->beat;
		beat = beat_if_complete(threads);
	}
	stood = await_release(threads, thread, &before);
	leaves = threads->dismissed;
	again = thread->told;
	thread->told = leaves;
	threads_unlock(threads, stood, &before);
	send_pong(threads, beat);
	if (again)
		nanosleep(&(struct timespec){ .tv_nsec = CARELESS_NS }, NULL);
	return leaves ? UPG_LEAVE : UPG_GO_ON;
}

enum upg_dispatched upg_point(struct upg_thread *thread)
{
	if (__builtin_expect(atomic_load_explicit(&thread->threads->attention, memory_order_relaxed), 0))
		return (enum upg_dispatched)point_slow(thread);
	return UPG_GO_ON;
}

/* Lock held. */
static bool is_awaited(const struct threads *threads, const struct upg_thread *thread)
{
	bool has_to_come = threads->stop ? !thread->stands : thread->beat != threads->beat;

	return has_to_come && !thread->leaves && !pthread_equal(thread->id, pthread_self());
}

/* Lock held. */
static bool any_awaited(const struct threads *threads)
{
	for (const struct upg_thread *t = threads->first; t; t = t->next)
		if (is_awaited(threads, t))
			return true;
	return false;
}

/* Lock held, but not while the application wakes @thread: it may have to take a lock that somebody holds who asks for ours.
 * @thread stays where it is in the list. */
static void wake(struct threads *threads, struct upg_thread *thread)
{
	threads->waking = thread;
	pthread_mutex_unlock(&threads->lock);
	threads->config->wake(thread, threads->config->userdata);
	pthread_mutex_lock(&threads->lock);
	threads->waking = NULL;
	pthread_cond_broadcast(&threads->woken);
}

/* Lock held on the way in and out, and let go between. Wakes the threads that are still awaited. */
static void nudge(struct threads *threads)
{
	const struct upg_config *config = threads->config;

	for (struct upg_thread *t = threads->first; t; t = t->next) {
		if (!is_awaited(threads, t))
			continue;
		if (config->nudge_signal)
			pthread_kill(t->id, config->nudge_signal);
		if (config->wake)
			wake(threads, t);
	}
}

static struct timespec to_timespec(uint64_t at_us)
{
	return (struct timespec){ .tv_sec = (time_t)(at_us / USEC_PER_SEC),
				  .tv_nsec = (long)(at_us % USEC_PER_SEC) * 1000 };
}

static void name_missing(const struct threads *threads, struct why *why)
{
	pthread_t self = pthread_self();
	char names[256] = "";
	size_t used = 0;

	for (const struct upg_thread *t = threads->first; t && used < sizeof(names); t = t->next) {
		int n;

		if (t->stands || pthread_equal(t->id, self))
			continue;
		n = snprintf(names + used, sizeof(names) - used, "%s%s (tid %d)", used ? ", " : "", t->name, t->tid);
		if (n > 0)
			used += (size_t)n;
	}
	why_set(why, 0, "did not reach an update point in time: %s", names);
}

int threads_stop(struct threads *threads, uint64_t deadline_us, struct why *why)
{
	uint64_t pause_us = FIRST_NUDGE_US, due_us = 0;
	int r = 0;

	pthread_mutex_lock(&threads->lock);
	threads->stop = true;
	update_attention(threads);
	while (any_awaited(threads)) {
		uint64_t now_us = clock_now_us();
		struct timespec at;

		if (now_us >= deadline_us) {
			name_missing(threads, why);
			r = -ETIMEDOUT;
			break;
		}
		/* Each thread that comes ends the wait below: nudge again only when the pause is over. */
		if (now_us >= due_us) {
			nudge(threads);
			due_us = clock_now_us() + pause_us; /* waking may have taken long, and who was woken needs the lock */
			if (pause_us < LAST_NUDGE_US)
				pause_us *= 2;
			continue; /* who came while the lock was let go is not announced again */
		}
		at = to_timespec(due_us < deadline_us ? due_us : deadline_us);
		pthread_cond_timedwait(&threads->arrived, &threads->lock, &at);
	}
	pthread_mutex_unlock(&threads->lock);
	if (r < 0)
		threads_release(threads);
	return r;
}

void threads_release(struct threads *threads)
{
	pthread_mutex_lock(&threads->lock);
	threads->stop = false;
	update_attention(threads);
	pthread_cond_broadcast(&threads->released);
	pthread_mutex_unlock(&threads->lock);
}

size_t threads_list(struct threads *threads, uint32_t *ret_tids, size_t max)
{
	size_t n = 0;

	ret_tids[n++] = (uint32_t)gettid();
	pthread_mutex_lock(&threads->lock);
	for (const struct upg_thread *t = threads->first; t && n < max; t = t->next)
		if (t->tid != gettid())
			ret_tids[n++] = (uint32_t)t->tid;
	pthread_mutex_unlock(&threads->lock);
	return n;
}

void threads_dismiss(struct threads *threads)
{
	pthread_mutex_lock(&threads->lock);
	threads->dismissed = true;
	pthread_mutex_unlock(&threads->lock);
	threads_release(threads);
}

void threads_beat(struct threads *threads, uint64_t nonce)
{
	pthread_t self = pthread_self();
	uint64_t complete;

	pthread_mutex_lock(&threads->lock);
	/* A Ping still under way is finished first: if each new one replaced it, a slow thread would never have answered. */
	if (!threads->beat)
		threads->beat = nonce;
	for (struct upg_thread *t = threads->first; t; t = t->next)
		if (pthread_equal(t->id, self))
			t->beat = threads->beat;
	update_attention(threads);
	complete = beat_if_complete(threads);
	if (!complete)
		nudge(threads);
	pthread_mutex_unlock(&threads->lock);
	send_pong(threads, complete);
}
