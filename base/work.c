/* SPDX-License-Identifier: MIT */
#include "base/work.h"

#include "base/fd.h"
#include "base/loop.h"
#include "base/why.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct list {
	struct work *first, **end;
};

struct worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t given, did;
	/* Under the lock. */
	struct list todo, done;
	bool ending;

	int bell; /* an eventfd: something is done */
	struct source source;
};

static void list_init(struct list *list)
{
	*list = (struct list){ .end = &list->first };
}

static void list_add(struct list *list, struct work *work)
{
	work->next = NULL;
	*list->end = work;
	list->end = &work->next;
}

static struct work *list_take(struct list *list)
{
	struct work *work = list->first;

	if (work && !(list->first = work->next))
		list->end = &list->first;
	return work;
}

/* ---- the thread ---- */

static void *work_on(void *arg)
{
	const uint64_t one = 1;
	struct worker *worker = arg;
	struct work *work;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	pthread_mutex_lock(&worker->lock);
	for (;;) {
		while (!(work = list_take(&worker->todo)) && !worker->ending)
			pthread_cond_wait(&worker->given, &worker->lock);
		if (!work)
			break;
		pthread_mutex_unlock(&worker->lock);
		work->run(work);
		pthread_mutex_lock(&worker->lock);
		list_add(&worker->done, work);
		pthread_cond_signal(&worker->did);
		/* Fails only when it has rung for 2^64 times. */
		(void)!write(worker->bell, &one, sizeof(one));
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

/* ---- the loop's thread ---- */

static struct work *take_done(struct worker *worker)
{
	struct work *work;

	pthread_mutex_lock(&worker->lock);
	work = list_take(&worker->done);
	pthread_mutex_unlock(&worker->lock);
	return work;
}

static bool end_one(struct worker *worker)
{
	struct work *work = take_done(worker);

	if (!work)
		return false;
	work->worker = NULL;
	work->on_done(work);
	return true;
}

static void on_bell(struct source *source, uint32_t events)
{
	struct worker *worker = container_of(source, struct worker, source);
	uint64_t n;

	(void)events;
	/* Who waited for its work has heard of others as well. */
	(void)!read(worker->bell, &n, sizeof(n));
	while (end_one(worker))
		;
}

static int start(struct worker *worker, struct loop *loop, struct why *why)
{
	int r;

	worker->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->bell < 0)
		return why_errno(why, -errno, "eventfd");
	r = source_add(loop, &worker->source, worker->bell, EPOLLIN, on_bell);
	if (r == 0)
		r = -pthread_create(&worker->thread, NULL, work_on, worker);
	if (r < 0) {
		source_del(&worker->source);
		fd_close(worker->bell);
		return why_errno(why, r, "a thread that waits for the disk");
	}
	return 0;
}

int worker_new(struct loop *loop, struct worker **ret_worker, struct why *why)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int r;

	if (!worker)
		return why_errno(why, -ENOMEM, "a thread that waits for the disk");
	list_init(&worker->todo);
	list_init(&worker->done);
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->given, NULL);
	pthread_cond_init(&worker->did, NULL);
	r = start(worker, loop, why);
	if (r < 0) {
		free(worker);
		return r;
	}
	*ret_worker = worker;
	return 0;
}

void worker_give(struct worker *worker, struct work *work, void (*run)(struct work *work), void (*on_done)(struct work *work))
{
	work->worker = worker;
	work->run = run;
	work->on_done = on_done;
	pthread_mutex_lock(&worker->lock);
	list_add(&worker->todo, work);
	pthread_cond_signal(&worker->given);
	pthread_mutex_unlock(&worker->lock);
}

void worker_wait(struct work *work)
{
	struct worker *worker = work->worker;

	/* Its on_done() may give it again: that is another time. */
	for (bool found = false; !found;) {
		struct work *done;

		pthread_mutex_lock(&worker->lock);
		while (!(done = list_take(&worker->done)))
			pthread_cond_wait(&worker->did, &worker->lock);
		pthread_mutex_unlock(&worker->lock);
		found = done == work;
		done->worker = NULL;
		done->on_done(done);
	}
}

struct worker *worker_free(struct worker *worker)
{
	if (!worker)
		return NULL;
	pthread_mutex_lock(&worker->lock);
	worker->ending = true;
	pthread_cond_signal(&worker->given);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	while (end_one(worker))
		;
	source_del(&worker->source);
	fd_close(worker->bell);
	pthread_cond_destroy(&worker->given);
	pthread_cond_destroy(&worker->did);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
	return NULL;
}
