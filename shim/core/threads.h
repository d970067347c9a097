/* SPDX-License-Identifier: MIT */
/* The threads that touch the application's state, and how they are brought to stand still. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct channel;
struct upg_config;
struct why;

struct upg_thread {
	struct threads *threads;
	struct upg_thread *next;
	pthread_t id;
	pid_t tid;
	bool stands;   /* waits at an update point */
	bool told;     /* that it is to leave */
	bool leaves;   /* is in upg_thread_leave() */
	uint64_t beat; /* the last Ping after which it passed an update point */
	void *data;    /* the application's */
	char name[32];
};

struct threads {
	struct channel *channel; /* where a Ping is answered */
	/* Guards all that follows. Held alone: a pong is posted after it is let go. */
	pthread_mutex_t lock;
	pthread_cond_t arrived;  /* a thread stands, or left */
	pthread_cond_t released; /* stop is over */
	pthread_cond_t woken;    /* waking has changed */
	struct upg_thread *first;
	struct upg_thread *waking; /* the application is waking it, without the lock: it cannot leave meanwhile */
	bool stop;
	bool dismissed; /* another process serves, for good */
	uint64_t beat; /* the Ping that is being answered; 0: none */
	/* What upg_point() looks at, without the lock: not 0 while stop, beat or dismissed want something of the threads. */
	atomic_int attention;
	const struct upg_config *config; /* how threads are woken; borrowed */
};

/** threads_init() - Return: 0; -EEXIST: somebody else handles @config->nudge_signal; -errno; threads_done() in all cases. */
int threads_init(struct threads *threads, struct channel *channel, const struct upg_config *config, struct why *why);
void threads_done(struct threads *threads);

/** threads_stop() - Bring every registered thread but the caller to an update point, and hold it there. Return: 0; -ETIMEDOUT with
 * the names of those that did not come: then none is held. */
int threads_stop(struct threads *threads, uint64_t deadline_us, struct why *why);
void threads_release(struct threads *threads);

/** threads_list() - The ids of the calling thread and of the registered ones, up to @max, which is not 0. Return: how many. */
size_t threads_list(struct threads *threads, uint32_t *ret_tids, size_t max);
/** threads_dismiss() - Another process serves: whoever stands at an update point, or comes to one, is told to leave. For good. */
void threads_dismiss(struct threads *threads);

/** threads_beat() - Ask every thread for a sign of life. The last one to give it answers the Ping @nonce. */
void threads_beat(struct threads *threads, uint64_t nonce);
