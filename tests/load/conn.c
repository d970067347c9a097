/* SPDX-License-Identifier: MIT */
#include "tests/load/conn.h"

#include "base/clock.h"
#include "base/fd.h"
#include "tests/load/util.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* ---- operations ---- */

static void op_free(struct op *op)
{
	request_done(&op->request);
	free(op);
}

void op_queue_push(struct op_queue *queue, struct op *op)
{
	if (queue->end == queue->cap && queue->start > queue->cap / 2) {
		memmove(queue->ops, queue->ops + queue->start, (queue->end - queue->start) * sizeof(struct op *));
		queue->unanswered -= queue->start;
		queue->unsent -= queue->start;
		queue->end -= queue->start;
		queue->start = 0;
	} else if (queue->end == queue->cap) {
		queue->cap = queue->cap ? queue->cap * 2 : 8;
		queue->ops = mem_resize(queue->ops, queue->cap * sizeof(struct op *));
	}
	queue->ops[queue->end++] = op;
}

void op_queue_trim(struct op_queue *queue)
{
	while (queue->start < queue->unanswered)
		op_free(queue->ops[queue->start++]);
}

void op_queue_done(struct op_queue *queue)
{
	while (queue->start < queue->end)
		op_free(queue->ops[queue->start++]);
	free(queue->ops);
	*queue = (struct op_queue){ 0 };
}

/* ---- beginning and end ---- */

static void on_wrong(void *arg, uint32_t key, const char *expected, const char *got)
{
	struct conn *conn = arg;

	stats_wrong(&conn->load->stats, conn->id, key, expected, got);
}

void conn_init(struct conn *conn, struct load *load, unsigned id)
{
	const struct load_config *config = load->config;

	*conn = (struct conn){ .load = load, .id = id, .fd = -1, .hold_pos = POS_NONE, .narrow = id % 8 == 0 };
	model_init(&conn->model, id, config->keys);
	conn->model.on_wrong = on_wrong;
	conn->model.arg = conn;
	mix_init(&conn->mix, config->seed, id, config->value_min, config->value_max);
	parser_init(&conn->parser);
}

/* What belongs to the socket and not to the connection's story. */
static void stream_close(struct conn *conn)
{
	if (conn->fd >= 0)
		epoll_ctl(conn->load->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
	conn->fd = fd_close(conn->fd);
	alarm_clear(&conn->load->alarms, &conn->alarm);
	parser_done(&conn->parser);
	buffer_done(&conn->out);
	conn->hold_pos = POS_NONE;
	conn->unread = conn->disturbed = false;
	conn->mix.follows = false;
}

void conn_done(struct conn *conn)
{
	stream_close(conn);
	conn_survey_drop(conn);
	op_queue_done(&conn->ops);
	model_done(&conn->model);
}

/* Takes the connection out of every count it is in, and says how many requests are left without an answer. */
static size_t conn_leave(struct conn *conn, enum conn_state state)
{
	struct load *load = conn->load;
	size_t in_flight = op_queue_in_flight(&conn->ops);

	if (conn->state == CONN_LIVE)
		load->live--;
	load->outstanding -= in_flight;
	if (conn->auditing)
		load->auditing--;
	conn->auditing = false;
	if (conn->surveyed)
		load->surveying--;
	else if (!conn->filled)
		load->opening--;
	if (conn->reopening)
		load->reopening--;
	if (conn->fresh)
		load->fresh--;
	conn->reopening = conn->reopen_due = conn->fresh = false;
	stream_close(conn);
	conn->state = state;
	return in_flight;
}

static void conn_die(struct conn *conn)
{
	conn->load->stats.total.failed += conn_leave(conn, CONN_DEAD);
	conn_survey_drop(conn);
	op_queue_done(&conn->ops);
}

void conn_ended(struct conn *conn, const char *detail)
{
	if (conn->load->window_open && conn->state == CONN_LIVE && conn->filled) {
		conn->load->settlement.interrupted += conn_leave(conn, CONN_RESET);
		return;
	}
	conn->load->stats.total.lost++;
	stats_trouble(&conn->load->stats, conn->id, "lost", detail);
	conn_die(conn);
}

void conn_abandon(struct conn *conn)
{
	struct stats *stats = &conn->load->stats;

	/* It left the counts of the load when it was reset. */
	stats->total.lost++;
	stats->total.failed += op_queue_in_flight(&conn->ops);
	stats_trouble(stats, conn->id, "lost", "reset inside of a crash window that was never settled");
	op_queue_done(&conn->ops);
	conn->state = CONN_DEAD;
}

void conn_broken(struct conn *conn, const char *expected, const char *got)
{
	stats_wrong(&conn->load->stats, conn->id, STEP_NO_KEY, expected, got);
	conn_die(conn);
}

void conn_check_overdue(struct conn *conn, uint64_t now_us)
{
	uint64_t timeout_us = conn->load->config->timeout_us;
	char detail[160];
	const struct op *op;

	if (conn->state == CONN_CONNECTING && now_us >= conn->opened_us + timeout_us) {
		snprintf(detail, sizeof(detail), "cannot connect to %s: no answer in %llu s", conn->load->config->address,
			 (unsigned long long)(timeout_us / USEC_PER_SEC));
		conn_ended(conn, detail);
		return;
	}
	if (conn->state != CONN_LIVE || op_queue_in_flight(&conn->ops) == 0)
		return;
	op = conn->ops.ops[conn->ops.unanswered];
	if (now_us < op->issued_us + timeout_us)
		return;
	snprintf(detail, sizeof(detail), "no answer to %s in %llu s; %zu requests in flight, the connection is given up",
		 request_name(op->request.kind), (unsigned long long)(timeout_us / USEC_PER_SEC),
		 op_queue_in_flight(&conn->ops));
	stats_trouble(&conn->load->stats, conn->id, "stuck", detail);
	conn_die(conn);
}

/* ---- opening ---- */

/*
 * With its defaults, loopback takes megabytes before a server feels that nobody reads: its send buffer grows with the congestion
 * window, and that with what the receiver takes. An Ethernet's segments and a window of four of them keep both small, so that
 * some 70 KB are enough. All of it has to be said before connecting. Such a connection is slow by its own fault and not measured.
 */
static void socket_narrow(int fd)
{
	int segment = 1400, window = 4 * segment;

	setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
	setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &window, sizeof(window));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
}

void conn_open(struct conn *conn)
{
	struct load *load = conn->load;
	struct epoll_event event = { .events = EPOLLOUT, .data.ptr = conn };
	char detail[160];
	int one = 1;

	conn->state = CONN_CONNECTING;
	conn->events = EPOLLOUT;
	conn->opened_us = clock_now_us();
	conn->fd = socket(load->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		goto fail;
	/* Without this a request's second part would wait for the first to be acknowledged. */
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (conn->narrow)
		socket_narrow(conn->fd);
	if (connect(conn->fd, (struct sockaddr *)&load->address, load->address_size) < 0 && errno != EINPROGRESS)
		goto fail;
	if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) == 0)
		return;
fail:
	snprintf(detail, sizeof(detail), "cannot connect to %s: %s", load->config->address, strerror(errno));
	conn_ended(conn, detail);
}

void conn_reopen(struct conn *conn)
{
	conn->load->live--;
	conn->load->reopening++;
	conn->load->fresh += !conn->fresh;
	conn->load->stats.total.reopened++;
	op_queue_trim(&conn->ops);
	stream_close(conn);
	conn->reopen_due = false;
	conn->reopening = conn->fresh = true;
	conn_open(conn);
	/* How long that takes is not what a request's latency says. */
	conn->disturbed = true;
}

static void conn_connected(struct conn *conn)
{
	char detail[160];
	int error = 0;
	socklen_t size = sizeof(error);

	getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error) {
		snprintf(detail, sizeof(detail), "cannot connect to %s: %s", conn->load->config->address, strerror(error));
		conn_ended(conn, detail);
		return;
	}
	conn->state = CONN_LIVE;
	conn->load->live++;
	if (conn->reopening)
		conn->load->reopening--;
	conn->reopening = false;
	conn->next_key = 0;
	conn_pump(conn);
	if (conn->state == CONN_LIVE)
		conn_watch(conn);
}

/* ---- events ---- */

void conn_watch(struct conn *conn)
{
	uint64_t end_pos = conn->out.start_pos + (conn->out.end - conn->out.start);
	uint64_t limit = conn->hold_pos < end_pos ? conn->hold_pos : end_pos;
	struct epoll_event event = { .data.ptr = conn };

	event.events = EPOLLRDHUP;
	if (!conn->unread)
		event.events |= EPOLLIN;
	if (limit > conn->out.start_pos)
		event.events |= EPOLLOUT;
	if (event.events == conn->events)
		return;
	conn->events = event.events;
	epoll_ctl(conn->load->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

void conn_ready(struct conn *conn, uint32_t events)
{
	if (conn->state == CONN_CONNECTING) {
		conn_connected(conn);
		return;
	}
	if (conn->state != CONN_LIVE)
		return;
	/* An end is not left unread: it may be the very thing that this client is here to see. */
	if (conn->unread && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		conn_alarm(conn);
	else if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		conn_receive(conn);
	if (conn->state == CONN_LIVE)
		conn_pump(conn);
	if (conn->state == CONN_LIVE)
		conn_watch(conn);
}

void conn_alarm(struct conn *conn)
{
	alarm_clear(&conn->load->alarms, &conn->alarm);
	conn->hold_pos = POS_NONE;
	if (conn->unread) {
		conn->unread = false;
		conn_receive(conn);
	}
	if (conn->state == CONN_LIVE)
		conn_pump(conn);
	if (conn->state == CONN_LIVE)
		conn_watch(conn);
}
