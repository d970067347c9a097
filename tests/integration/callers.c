/* SPDX-License-Identifier: MIT */
#include "tests/integration/callers.h"

#include "base/clock.h"
#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CALLERS_MAX 32u
#define PATIENCE_US (20 * USEC_PER_SEC) /* for one answer, over all tries */
#define AGAIN_MS 1

struct callers {
	pthread_t threads[CALLERS_MAX];
	unsigned n;
	struct sockaddr_storage address;
	socklen_t bytes;
	const char *request, *answer;
	atomic_bool stops, gave_up;
	atomic_uint answered, refused, cut;
	_Atomic uint64_t worst_us;
};

enum call { CALL_ANSWERED, CALL_REFUSED, CALL_CUT };

static enum call call(const struct callers *callers)
{
	FD_CLEANUP int fd = socket(callers->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = { .tv_sec = PATIENCE_US / USEC_PER_SEC };
	size_t want = strlen(callers->answer), used = 0, asks = strlen(callers->request);
	char text[128];

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&callers->address, callers->bytes) < 0)
		return CALL_REFUSED;
	if (send(fd, callers->request, asks, MSG_NOSIGNAL) != (ssize_t)asks)
		return CALL_CUT;
	while (used < want) {
		ssize_t n = recv(fd, text + used, sizeof(text) - used, 0);

		if (n <= 0)
			return CALL_CUT;
		used += (size_t)n;
	}
	return memcmp(text, callers->answer, want) == 0 ? CALL_ANSWERED : CALL_CUT;
}

static void note_worst(struct callers *callers, uint64_t us)
{
	uint64_t worst = atomic_load(&callers->worst_us);

	while (us > worst && !atomic_compare_exchange_weak(&callers->worst_us, &worst, us))
		;
}

/* One who does not give up until he was answered. */
static bool be_answered(struct callers *callers)
{
	uint64_t begun_us = clock_now_us();

	while (clock_now_us() - begun_us < PATIENCE_US) {
		switch (call(callers)) {
		case CALL_ANSWERED:
			atomic_fetch_add(&callers->answered, 1);
			note_worst(callers, clock_now_us() - begun_us);
			return true;
		case CALL_REFUSED:
			atomic_fetch_add(&callers->refused, 1);
			poll(NULL, 0, AGAIN_MS);
			break;
		case CALL_CUT:
			atomic_fetch_add(&callers->cut, 1);
			break;
		}
	}
	return false;
}

static void *caller(void *data)
{
	struct callers *callers = data;
	bool last;

	do {
		last = atomic_load(&callers->stops); /* before he comes: he comes once after the end was wanted */
		if (!be_answered(callers)) {
			atomic_store(&callers->gave_up, true);
			return NULL;
		}
	} while (!last);
	return NULL;
}

struct callers *callers_start(unsigned n, const struct sockaddr *address, socklen_t bytes, const char *request, const char *answer)
{
	struct callers *callers = calloc(1, sizeof(*callers));

	cr_assert(callers && n <= CALLERS_MAX && bytes <= sizeof(callers->address));
	memcpy(&callers->address, address, bytes);
	callers->bytes = bytes;
	callers->request = request;
	callers->answer = answer;
	for (; callers->n < n; callers->n++)
		cr_assert_eq(pthread_create(&callers->threads[callers->n], NULL, caller, callers), 0);
	return callers;
}

unsigned callers_answered(const struct callers *callers)
{
	return atomic_load(&callers->answered);
}

void callers_await(const struct callers *callers, unsigned more)
{
	uint64_t due_us = clock_now_us() + PATIENCE_US;
	unsigned from = callers_answered(callers);

	while (callers_answered(callers) < from + more) {
		cr_assert_lt(clock_now_us(), due_us, "nobody is answered");
		poll(NULL, 0, AGAIN_MS);
	}
}

struct callers_report callers_stop(struct callers *callers)
{
	struct callers_report report;

	atomic_store(&callers->stops, true);
	for (unsigned i = 0; i < callers->n; i++)
		pthread_join(callers->threads[i], NULL);
	cr_assert_not(atomic_load(&callers->gave_up), "somebody was not answered in 20 s");
	report = (struct callers_report){ .answered = callers->answered, .refused = callers->refused, .cut = callers->cut,
					  .worst_us = callers->worst_us };
	free(callers);
	return report;
}
