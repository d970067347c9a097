/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static struct loop *loop;
static struct worker *worker;

static void begin(void)
{
	struct why why = { 0 };

	cr_assert_eq(loop_new(&loop, &why), 0, "%s", why.text);
	cr_assert_eq(worker_new(loop, &worker, &why), 0, "%s", why.text);
}

static void end(void)
{
	worker = worker_free(worker);
	loop = loop_free(loop);
}

TestSuite(work, .init = begin, .fini = end, .timeout = 40);

/* Which waits until it is let go on. */
struct job {
	struct work work;
	int letter;
	pthread_mutex_t gate;
	pthread_t thread;
	unsigned again; /* so often it is given once more */
};

static char order[64];

static void run(struct work *work)
{
	struct job *job = container_of(work, struct job, work);

	job->thread = pthread_self();
	pthread_mutex_lock(&job->gate);
	pthread_mutex_unlock(&job->gate);
}

static void on_done(struct work *work)
{
	struct job *job = container_of(work, struct job, work);
	size_t n = strlen(order);

	cr_assert(!work->worker);
	cr_assert(!pthread_equal(job->thread, pthread_self()));
	order[n] = (char)job->letter;
	order[n + 1] = '\0';
	if (job->again && job->again--)
		worker_give(worker, work, run, on_done);
}

#define JOB(c) { .letter = (c), .gate = PTHREAD_MUTEX_INITIALIZER }

static void turn_until(const char *ought)
{
	while (strcmp(order, ought) != 0)
		cr_assert_eq(loop_turn(loop, 10000), 0);
}

Test(work, is_done_in_its_order_while_the_loop_turns)
{
	struct job a = JOB('a'), b = JOB('b'), c = JOB('c');

	pthread_mutex_lock(&a.gate);
	worker_give(worker, &a.work, run, on_done);
	worker_give(worker, &b.work, run, on_done);
	worker_give(worker, &c.work, run, on_done);
	/* Nothing is done before the first one is. */
	for (int i = 0; i < 3; i++)
		cr_assert_eq(loop_turn(loop, 5), 0);
	cr_assert_str_empty(order);
	cr_assert(a.work.worker && c.work.worker);
	pthread_mutex_unlock(&a.gate);
	turn_until("abc");
}

Test(work, may_be_given_again_when_it_is_done)
{
	struct job a = JOB('a');

	a.again = 3;
	worker_give(worker, &a.work, run, on_done);
	turn_until("aaaa");
}

Test(work, that_is_waited_for_ends_with_all_that_was_before_it)
{
	struct job a = JOB('a'), b = JOB('b'), c = JOB('c');

	pthread_mutex_lock(&c.gate);
	worker_give(worker, &a.work, run, on_done);
	worker_give(worker, &b.work, run, on_done);
	worker_give(worker, &c.work, run, on_done);
	worker_wait(&b.work);
	cr_assert_str_eq(order, "ab");
	pthread_mutex_unlock(&c.gate);
	/* The bell rings for those two as well: nothing comes of that. */
	turn_until("abc");
	worker_give(worker, &a.work, run, on_done);
	worker_wait(&a.work);
	cr_assert_str_eq(order, "abca");
}

Test(work, is_done_before_its_worker_is_gone)
{
	struct job a = JOB('a'), b = JOB('b');

	worker_give(worker, &a.work, run, on_done);
	worker_give(worker, &b.work, run, on_done);
	worker = worker_free(worker);
	cr_assert_str_eq(order, "ab");
}

Test(work, worker_of_nothing_ends)
{
	cr_assert_null(worker_free(NULL));
}
