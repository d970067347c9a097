/* SPDX-License-Identifier: MIT */
/*
 * Whether stderr takes a line without waiting cannot be asked: poll(2) says nothing of a disk, and O_NONBLOCK belongs to the open
 * file, which the shell or systemd shares with us. So a thread of its own waits.
 *
 * The lines are a ring of bytes, each with its length before it, and lines are whole in it. Those that are dropped are the
 * youngest: what is in the ring was there before. So the count of them goes in as the next line that finds room, at the place where
 * they are missing.
 */
#include "base/log_queue.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log_journal.h"
#include "base/why.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES ((size_t)256 << 10)
#define RESERVE_BYTES (RING_BYTES / 4) /* for lines that matter */
#define CHUNK_BYTES LOG_LINE_BYTES     /* of whole lines, in one write(2) */
#define JOURNAL_PATH "/run/systemd/journal/socket"

/* Before each line. */
struct head {
	uint16_t size;
	bool native;
};

struct chunk {
	char bytes[LOG_RECORD_BYTES];
	size_t size;
	bool native; /* one record, not lines */
};

static struct {
	atomic_bool on;
	pthread_mutex_t lock;
	pthread_cond_t more, idle;
	pthread_t thread;
	char *ring;
	size_t head, used;
	uint64_t dropped;
	bool ending, ended;
	int journal; /* a socket, which the thread uses; -1: lines go to stderr */
	const char *journal_path;
} queue = {
	.journal = -1, .journal_path = JOURNAL_PATH, .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER
};

void log_write(const char *lines, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDERR_FILENO, lines, size);
		struct pollfd full = { .fd = STDERR_FILENO, .events = POLLOUT };

		if (n < 0 && errno == EAGAIN) /* somebody who shares it made it non-blocking */
			(void)poll(&full, 1, -1);
		else if (n < 0 && errno != EINTR)
			return;
		if (n <= 0)
			continue;
		lines += n;
		size -= (size_t)n;
	}
}

/* ---- the ring, under the lock ---- */

static void ring_add(const void *bytes, size_t size)
{
	size_t at = (queue.head + queue.used) % RING_BYTES, first = RING_BYTES - at;

	if (first > size)
		first = size;
	memcpy(queue.ring + at, bytes, first);
	memcpy(queue.ring, (const char *)bytes + first, size - first);
	queue.used += size;
}

static void ring_peek(void *bytes, size_t size)
{
	size_t first = RING_BYTES - queue.head;

	if (first > size)
		first = size;
	memcpy(bytes, queue.ring + queue.head, first);
	memcpy((char *)bytes + first, queue.ring, size - first);
}

static void ring_drop(size_t size)
{
	queue.head = (queue.head + size) % RING_BYTES;
	queue.used -= size;
}

static void ring_put(const char *line, size_t size, bool native)
{
	struct head head = { .size = (uint16_t)size, .native = native };

	if (size == 0)
		return;
	ring_add(&head, sizeof(head));
	ring_add(line, size);
}

/* A record, or as many lines as there is room for. */
static void ring_take(struct chunk *chunk)
{
	struct head head;

	while (queue.used > 0) {
		ring_peek(&head, sizeof(head));
		if (chunk->size > 0 && (head.native || chunk->native || chunk->size + head.size > CHUNK_BYTES))
			return;
		ring_drop(sizeof(head));
		ring_peek(chunk->bytes + chunk->size, head.size);
		ring_drop(head.size);
		chunk->size += head.size;
		chunk->native = head.native;
	}
}

/* The number of lines that were dropped goes in before the line that is the first to find room. */
static void put(const char *line, size_t size, bool matters, bool native)
{
	size_t room = RING_BYTES - (matters ? 0 : RESERVE_BYTES), notice = 0;
	char told[LOG_RECORD_BYTES];

	if (queue.dropped)
		notice = log_compose_dropped(told, queue.dropped, native);
	if (queue.used + notice + size + 2 * sizeof(struct head) > room) {
		queue.dropped++;
		return;
	}
	ring_put(told, notice, native);
	ring_put(line, size, native);
	queue.dropped = 0;
	pthread_cond_signal(&queue.more);
}

static void write_out(const char *line, size_t size, bool native)
{
	if (native)
		log_journal_send(queue.journal, queue.journal_path, line, size);
	else
		log_write(line, size);
}

void log_queue_put(const char *line, size_t size, bool matters, bool native)
{
	if (!atomic_load_explicit(&queue.on, memory_order_acquire)) {
		write_out(line, size, native);
		return;
	}
	pthread_mutex_lock(&queue.lock);
	put(line, size, matters, native);
	pthread_mutex_unlock(&queue.lock);
}

bool log_queue_is_native(void)
{
	return atomic_load_explicit(&queue.on, memory_order_acquire) && queue.journal >= 0;
}

void log_queue_journal_at(const char *path)
{
	queue.journal_path = path;
}

/* ---- the thread ---- */

/* Return: false: there is none. */
static bool next_chunk(struct chunk *chunk)
{
	chunk->size = 0;
	chunk->native = false;
	ring_take(chunk);
	if (chunk->size > 0)
		return true;
	if (!queue.dropped)
		return false;
	/* Nobody has logged since, and the reader is back. */
	chunk->native = queue.journal >= 0;
	chunk->size = log_compose_dropped(chunk->bytes, queue.dropped, chunk->native);
	queue.dropped = 0;
	return true;
}

static void *write_on(void *unused)
{
	struct chunk chunk;

	(void)unused;
	pthread_mutex_lock(&queue.lock);
	for (;;) {
		if (!next_chunk(&chunk)) {
			if (queue.ending)
				break;
			pthread_cond_wait(&queue.more, &queue.lock);
			continue;
		}
		pthread_mutex_unlock(&queue.lock);
		write_out(chunk.bytes, chunk.size, chunk.native);
		pthread_mutex_lock(&queue.lock);
	}
	queue.ended = true;
	pthread_cond_signal(&queue.idle);
	pthread_mutex_unlock(&queue.lock);
	return NULL;
}

/* Signals are for the program's own thread. */
static int start_thread(void)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&queue.thread, NULL, write_on, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

/* ---- life ---- */

/* A child of fork() has no such thread, and may have the lock as some thread of its parent held it. */
static void forget_in_child(void)
{
	atomic_store_explicit(&queue.on, false, memory_order_release);
}

static int make_idle(void)
{
	pthread_condattr_t attributes;
	int r;

	if (pthread_condattr_init(&attributes) != 0)
		return -ENOMEM;
	r = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	if (r == 0)
		r = pthread_cond_init(&queue.idle, &attributes);
	pthread_condattr_destroy(&attributes);
	return -r;
}

int log_defer(struct why *why)
{
	static bool watches_forks;
	int r;

	if (atomic_load(&queue.on))
		return 0;
	queue.ring = malloc(RING_BYTES);
	queue.head = queue.used = 0;
	queue.ending = queue.ended = false;
	queue.journal = log_is_journal() ? log_journal_open(queue.journal_path) : -1;
	r = queue.ring ? make_idle() : -ENOMEM;
	if (r == 0 && !watches_forks)
		r = -pthread_atfork(NULL, NULL, forget_in_child);
	watches_forks |= r == 0;
	if (r == 0)
		r = start_thread();
	if (r < 0) {
		free(queue.ring);
		queue.ring = NULL;
		queue.journal = fd_close(queue.journal);
		return why_errno(why, r, "cannot write the log by a thread of its own");
	}
	atomic_store_explicit(&queue.on, true, memory_order_release);
	return 0;
}

static struct timespec monotonic(uint64_t us)
{
	return (struct timespec){ .tv_sec = (time_t)(us / USEC_PER_SEC), .tv_nsec = (long)(us % USEC_PER_SEC) * 1000 };
}

void log_settle(uint64_t timeout_us)
{
	struct timespec due = monotonic(clock_now_us() + timeout_us);
	bool ended;

	if (!atomic_load(&queue.on))
		return;
	pthread_mutex_lock(&queue.lock);
	queue.ending = true;
	pthread_cond_signal(&queue.more);
	while (!queue.ended && pthread_cond_timedwait(&queue.idle, &queue.lock, &due) == 0)
		;
	ended = queue.ended;
	pthread_mutex_unlock(&queue.lock);
	if (!ended) {
		pthread_detach(queue.thread); /* it waits for stderr still, and uses the ring: lines go on into it */
		return;
	}
	atomic_store(&queue.on, false);
	pthread_join(queue.thread, NULL);
	queue.journal = fd_close(queue.journal);
	free(queue.ring);
	queue.ring = NULL;
}
