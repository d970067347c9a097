/* SPDX-License-Identifier: MIT */
#include "tests/load/load.h"

#include "base/clock.h"
#include "base/fd.h"
#include "tests/load/conn.h"
#include "tests/load/util.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define OPENING_MAX 64u /* at once: a listen queue is short, and this is not what is measured */
#define EVENTS_MAX 512

/* ---- beginning and end ---- */

static int address_resolve(const char *text, struct load *load, struct why *why)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	const char *colon = strrchr(text, ':');
	struct addrinfo *found;
	char host[256];
	size_t size;
	int rc;

	if (!colon || colon == text || !colon[1])
		return why_set(why, -EINVAL, "\"%s\" is not HOST:PORT; give one like 127.0.0.1:11211", text);
	size = (size_t)(colon - text);
	if (*text == '[' && size > 2 && colon[-1] == ']') {
		text++;
		size -= 2;
	}
	snprintf(host, sizeof(host), "%.*s", (int)size, text);
	rc = getaddrinfo(host, colon + 1, &hints, &found);
	if (rc)
		return why_set(why, -EHOSTUNREACH, "cannot resolve %s port %s: %s", host, colon + 1, gai_strerror(rc));
	memcpy(&load->address, found->ai_addr, found->ai_addrlen);
	load->address_size = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int load_open(struct load *load, const struct load_config *config, struct why *why)
{
	size_t limit;
	int rc;

	*load = (struct load){ .config = config, .epoll_fd = -1, .reopen_us = UINT64_MAX,
			       .reopen_rate = config->reopen_rate };
	limit = fd_raise_limit();
	if (limit < (size_t)config->connections + 16)
		return why_set(why, -EMFILE,
			       "%u connections do not fit into the limit of %zu open files; use -c %zu or raise ulimit -Hn",
			       config->connections, limit, limit > 16 ? limit - 16 : 0);
	rc = address_resolve(config->address, load, why);
	if (rc < 0)
		return rc;
	load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (load->epoll_fd < 0)
		return why_errno(why, -errno, "epoll_create1");
	load->conns = mem_new(config->connections * sizeof(*load->conns));
	for (unsigned i = 0; i < config->connections; i++)
		conn_init(&load->conns[i], load, i);
	return 0;
}

void load_close(struct load *load)
{
	for (unsigned i = 0; load->conns && i < load->config->connections; i++)
		conn_done(&load->conns[i]);
	free(load->conns);
	load->conns = NULL;
	alarms_done(&load->alarms);
	load->epoll_fd = fd_close(load->epoll_fd);
}

int load_watch_input(struct load *load, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

	return epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void connections_open(struct load *load)
{
	while (load->opened < load->config->connections && load->opening < OPENING_MAX) {
		struct conn *conn = &load->conns[load->opened++];

		load->opening++;
		conn_open(conn);
	}
}

/* ---- the pace ---- */

uint64_t load_due_us(const struct load *load, unsigned conn, uint64_t n)
{
	uint64_t tick = n * load->config->connections + conn;

	return load->base_us + tick / load->config->rate * USEC_PER_SEC +
	       tick % load->config->rate * USEC_PER_SEC / load->config->rate;
}

static uint64_t tick_due_us(const struct load *load)
{
	unsigned n = load->config->connections;

	if (!load->config->rate || !load->ready || load->paused)
		return UINT64_MAX;
	return load_due_us(load, (unsigned)(load->tick % n), load->tick / n);
}

void load_reopen(struct load *load, uint64_t rate)
{
	load->reopen_rate = rate;
	load->reopen_us = rate && !load->paused ? clock_now_us() : UINT64_MAX;
	for (unsigned i = 0; !rate && i < load->config->connections; i++)
		load->conns[i].reopen_due = false;
}

static void pace_begin(struct load *load)
{
	load->base_us = clock_now_us();
	load->tick = 0;
	load_reopen(load, load->reopen_rate);
	for (unsigned i = 0; i < load->config->connections; i++) {
		struct conn *conn = &load->conns[i];

		conn->allowed = conn->issued = 0;
		if (!load->config->rate && conn->state == CONN_LIVE) {
			conn_pump(conn);
			if (conn->state == CONN_LIVE)
				conn_watch(conn);
		}
	}
}

static void pace_follow(struct load *load, uint64_t now_us)
{
	while (tick_due_us(load) <= now_us) {
		struct conn *conn = &load->conns[load->tick++ % load->config->connections];

		conn->allowed++;
		if (conn->state != CONN_LIVE)
			continue;
		conn_pump(conn);
		if (conn->state == CONN_LIVE)
			conn_watch(conn);
	}
}

static void reopen_follow(struct load *load, uint64_t now_us)
{
	for (; load->reopen_us <= now_us; load->reopen_us += USEC_PER_SEC / load->reopen_rate) {
		struct conn *conn = &load->conns[load->reopen_next++ % load->config->connections];

		if (conn->state != CONN_LIVE || load->window_open)
			continue;
		conn->reopen_due = true;
		conn_ready(conn, 0);
	}
}

void load_pause(struct load *load)
{
	load->paused = true;
	load->reopen_us = UINT64_MAX;
	for (unsigned i = 0; i < load->config->connections; i++)
		load->conns[i].reopen_due = false;
}

void load_continue(struct load *load)
{
	load->paused = false;
	pace_begin(load);
}

/* ---- turns ---- */

static void overdue_scan(struct load *load, uint64_t now_us)
{
	uint64_t every_us = load->config->timeout_us / 8;

	if (now_us < load->scan_us)
		return;
	load->scan_us = now_us + (every_us < USEC_PER_SEC ? every_us : USEC_PER_SEC);
	for (unsigned i = 0; i < load->config->connections; i++)
		conn_check_overdue(&load->conns[i], now_us);
}

static int events_wait(struct load *load, uint64_t until_us, struct why *why)
{
	static struct epoll_event events[EVENTS_MAX];
	uint64_t now_us = clock_now_us();
	uint64_t wait_us = until_us > now_us ? until_us - now_us : 0;
	struct timespec wait = { .tv_sec = (time_t)(wait_us / USEC_PER_SEC),
				 .tv_nsec = (long)(wait_us % USEC_PER_SEC) * 1000 };
	/* Milliseconds, as epoll_wait() has them, would be the larger part of most latencies. */
	int n = epoll_pwait2(load->epoll_fd, events, EVENTS_MAX, &wait, NULL);

	if (n < 0)
		return errno == EINTR ? 0 : why_errno(why, -errno, "epoll_pwait2");
	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr)
			conn_ready(events[i].data.ptr, events[i].events);
		else
			load->input_ready = true;
	}
	return 0;
}

static uint64_t min_us(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int load_turn(struct load *load, uint64_t until_us, struct why *why)
{
	struct alarm *alarm;
	uint64_t now_us;
	int rc;

	connections_open(load);
	until_us = min_us(until_us, min_us(load->scan_us, load->reopen_us));
	until_us = min_us(until_us, min_us(tick_due_us(load), alarms_next_us(&load->alarms)));
	rc = events_wait(load, until_us, why);
	if (rc < 0)
		return rc;
	now_us = clock_now_us();
	while ((alarm = alarms_due(&load->alarms, now_us)))
		conn_alarm((struct conn *)(void *)((char *)alarm - offsetof(struct conn, alarm)));
	pace_follow(load, now_us);
	reopen_follow(load, now_us);
	overdue_scan(load, now_us);
	if (!load->ready && load->opened == load->config->connections && load->opening == 0) {
		load->ready = true;
		pace_begin(load);
	}
	return 0;
}

/* ---- audit and settlement ---- */

void load_audit(struct load *load)
{
	load->audited = 0;
	for (unsigned i = 0; i < load->config->connections; i++) {
		struct conn *conn = &load->conns[i];

		if (conn->state != CONN_LIVE || conn->auditing)
			continue;
		conn->auditing = true;
		conn->next_key = 0;
		load->auditing++;
	}
	for (unsigned i = 0; i < load->config->connections; i++)
		if (load->conns[i].state == CONN_LIVE)
			conn_ready(&load->conns[i], 0);
}

/* Answers that came from the version that was lost, on a connection that should then have been reset. */
static uint64_t answers_of_lost(const struct load *load, const struct conn *conn)
{
	uint64_t n = 0;

	for (size_t i = conn->ops.start; i < conn->ops.unanswered; i++) {
		const struct step *step = &conn->ops.ops[i]->request.step;

		n += step->sent_us > load->settlement.commit_us && step->acked_us < load->settlement.resume_us;
	}
	return n;
}

void load_settle(struct load *load, uint64_t commit_us, uint64_t resume_us)
{
	load->window_open = false;
	load->settlement.commit_us = commit_us;
	load->settlement.resume_us = resume_us;
	for (unsigned i = 0; i < load->config->connections; i++) {
		struct conn *conn = &load->conns[i];

		if (conn->state == CONN_LIVE) {
			load->settlement.kept++;
			load->settlement.served_by_lost += answers_of_lost(load, conn);
			op_queue_trim(&conn->ops);
		} else if (conn->state == CONN_RESET) {
			load->settlement.reset++;
			conn_survey_begin(conn);
		}
	}
}
