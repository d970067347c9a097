/* SPDX-License-Identifier: MIT */
#include "base/closer.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

/* Each may wait in one close. When all of them do, the others stay open until one comes back. */
#define THREADS_MAX 8u
#define HOLD_NS 1000000

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work, rest; /* there is something to do; a thread has done something */
	bool started, stopping;
	unsigned held;
	int *queue; /* a stack would let the first wait for ever */
	size_t first, n, cap;
	unsigned threads, busy;
} closer = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER };

static atomic_size_t waiting;
static _Atomic uint64_t given;

/* Return: true if the close of @fd may wait all the same. */
static bool calm(int fd)
{
	struct linger linger;
	socklen_t size = sizeof(linger);
	int family;

	if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size) < 0)
		return true; /* no socket: a file system may have its say */
	if (linger.l_onoff && linger.l_linger) {
		linger = (struct linger){ 0 };
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		return true; /* whoever has a copy may have switched it on again */
	}
	size = sizeof(family);
	/* Messages that nobody took may hold anything. */
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 || family == AF_UNIX;
}

/* ---- the threads; lock held ---- */

static void *run(void *unused);

static int start_thread(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attributes, run, NULL);
	pthread_attr_destroy(&attributes);
	closer.threads += r == 0;
	return -r;
}

/* Return: -1: this thread is to end. */
static int take(void)
{
	int fd;

	while (!closer.n || closer.held) {
		if (!closer.n && closer.stopping)
			return -1;
		pthread_cond_wait(&closer.work, &closer.lock);
	}
	fd = closer.queue[closer.first];
	closer.first = (closer.first + 1) % closer.cap;
	closer.n--;
	closer.busy++;
	return fd;
}

static void *run(void *unused)
{
	sigset_t all;
	int fd;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	pthread_mutex_lock(&closer.lock);
	while ((fd = take()) >= 0) {
		bool slow;

		pthread_mutex_unlock(&closer.lock);
		slow = calm(fd);
		pthread_mutex_lock(&closer.lock);
		/* Somebody else goes on with the others meanwhile. */
		if (slow && closer.busy == closer.threads && closer.threads < THREADS_MAX)
			start_thread();
		pthread_mutex_unlock(&closer.lock);
		fd_close(fd);
		atomic_fetch_sub(&waiting, 1);
		pthread_mutex_lock(&closer.lock);
		closer.busy--;
		pthread_cond_broadcast(&closer.rest);
	}
	closer.threads--;
	pthread_cond_broadcast(&closer.rest);
	pthread_mutex_unlock(&closer.lock);
	return unused;
}

/* ---- what others call ---- */

int closer_start(void)
{
	pthread_condattr_t attributes;
	int r;

	pthread_mutex_lock(&closer.lock);
	if (!closer.started) {
		pthread_condattr_init(&attributes);
		pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
		pthread_cond_init(&closer.rest, &attributes);
		pthread_condattr_destroy(&attributes);
	}
	closer.stopping = false;
	r = closer.threads ? 0 : start_thread();
	closer.started = r == 0;
	pthread_mutex_unlock(&closer.lock);
	return r;
}

/* Lock held. Return: false: the time is over. */
static bool rest_until(const struct timespec *until)
{
	return pthread_cond_timedwait(&closer.rest, &closer.lock, until) != ETIMEDOUT;
}

size_t closer_stop(uint64_t deadline_us)
{
	const struct timespec until = { .tv_sec = (time_t)(deadline_us / USEC_PER_SEC),
					.tv_nsec = (long)(deadline_us % USEC_PER_SEC) * 1000 };

	pthread_mutex_lock(&closer.lock);
	closer.started = false;
	closer.stopping = true;
	pthread_cond_broadcast(&closer.work);
	while (closer.threads && rest_until(&until))
		;
	if (!closer.threads) {
		free(closer.queue);
		closer.queue = NULL;
		closer.first = closer.cap = 0;
	}
	pthread_mutex_unlock(&closer.lock);
	return atomic_load(&waiting);
}

size_t closer_waiting(void)
{
	return atomic_load(&waiting);
}

uint64_t closer_given(void)
{
	return atomic_load(&given);
}

void closer_hold(void)
{
	struct timespec until;

	pthread_mutex_lock(&closer.lock);
	closer.held++;
	if (closer.busy) {
		/* A thread that waits in its close has taken the descriptor out of our table long before this time is over. */
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += HOLD_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		while (closer.busy && rest_until(&until))
			;
	}
	pthread_mutex_unlock(&closer.lock);
}

void closer_release(void)
{
	pthread_mutex_lock(&closer.lock);
	if (--closer.held == 0 && closer.n)
		pthread_cond_broadcast(&closer.work);
	pthread_mutex_unlock(&closer.lock);
}

/* Lock held. */
static int make_room(void)
{
	size_t cap = closer.cap ? closer.cap * 2 : 256;
	int *queue;

	if (closer.n < closer.cap)
		return 0;
	queue = malloc(cap * sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	for (size_t i = 0; i < closer.n; i++)
		queue[i] = closer.queue[(closer.first + i) % closer.cap];
	free(closer.queue);
	closer.queue = queue;
	closer.first = 0;
	closer.cap = cap;
	return 0;
}

/* Return: true: a thread will close it. */
static bool hand_over(int fd)
{
	bool taken;

	pthread_mutex_lock(&closer.lock);
	taken = closer.started && make_room() == 0;
	if (taken) {
		closer.queue[(closer.first + closer.n++) % closer.cap] = fd;
		atomic_fetch_add(&waiting, 1);
		if (closer.threads > closer.busy) /* the others look again anyway */
			pthread_cond_signal(&closer.work);
	}
	pthread_mutex_unlock(&closer.lock);
	return taken;
}

int fd_give_up(int fd)
{
	int saved_errno = errno;

	if (fd < 0)
		return -1;
	atomic_fetch_add(&given, 1);
	if (!hand_over(fd)) {
		calm(fd);
		fd_close(fd);
	}
	errno = saved_errno;
	return -1;
}

void fd_give_up_all(int *fds, size_t n)
{
	bool started;

	pthread_mutex_lock(&closer.lock);
	started = closer.started;
	pthread_mutex_unlock(&closer.lock);
	if (!started) {
		fd_close_all(fds, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		fds[i] = fd_give_up(fds[i]);
}
