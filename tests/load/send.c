/* SPDX-License-Identifier: MIT */
#include "tests/load/conn.h"

#include "base/clock.h"
#include "tests/load/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define CUT_PER_MILLE 40u
#define CUT_PAUSE_MIN_US 1000u
#define CUT_PAUSE_MAX_US 250000u
#define UNREAD_PER_MILLE 1u        /* bursts after which answers are left unread ... */
#define UNREAD_NARROW_PER_MILLE 12u /* ... more often where the server feels it */
#define UNREAD_MIN_US 50000u
#define UNREAD_MAX_US 500000u
#define READ_BACK_KEYS 40u         /* of one request in an audit or survey */

void conn_flush(struct conn *conn)
{
	struct buffer *out = &conn->out;
	char detail[120];

	for (;;) {
		uint64_t end_pos = out->start_pos + (out->end - out->start);
		uint64_t limit = conn->hold_pos < end_pos ? conn->hold_pos : end_pos;
		uint64_t now_us;
		ssize_t n;

		if (limit == out->start_pos)
			return;
		now_us = clock_now_us();
		n = send(conn->fd, out->data + out->start, (size_t)(limit - out->start_pos), MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			/* What was answered before the end still counts, and reading finds the end by itself. */
			snprintf(detail, sizeof(detail), "sending: %s", strerror(errno));
			conn_receive(conn);
			if (conn->state == CONN_LIVE)
				conn_ended(conn, detail);
			return;
		}
		buffer_drop(out, (size_t)n);
		while (conn->ops.unsent < conn->ops.end && conn->ops.ops[conn->ops.unsent]->end_pos <= out->start_pos)
			conn->ops.ops[conn->ops.unsent++]->request.step.sent_us = now_us;
	}
}

/* Applies, encodes and queues a request, which it consumes. Return: where its bytes begin, and with @ret_layout how they lie. */
static uint64_t request_issue(struct conn *conn, struct request *request, uint64_t due_us, bool measured,
			      struct layout *ret_layout)
{
	struct load *load = conn->load;
	struct op *op = mem_new(sizeof(*op));
	uint64_t begin = conn->out.start_pos + (conn->out.end - conn->out.start);

	model_apply(&conn->model, request);
	request_encode(request, conn->id, &conn->out, ret_layout);
	op->request = *request;
	op->issued_us = clock_now_us();
	op->due_us = due_us ? due_us : op->issued_us;
	op->end_pos = begin + ret_layout->line + ret_layout->data;
	op->measured = measured && !conn->narrow && !conn->disturbed && op->due_us >= conn->clean_from_us;
	op_queue_push(&conn->ops, op);
	load->outstanding++;
	load->stats.total.requests++;
	load->stats.kinds[request->kind]++;
	return begin;
}

/* First all keys are set; an audit or survey reads them all. These come before anything else and are not delayed. */
static void housekeep(struct conn *conn)
{
	uint32_t n_keys = conn->model.n_keys;
	struct request request;
	struct layout layout;

	if (!conn->filled) {
		mix_set(&conn->mix, &conn->model, conn->next_key++, &request);
		request_issue(conn, &request, 0, false, &layout);
		return;
	}
	request_init_get(&request, REQUEST_GETS, READ_BACK_KEYS);
	request.n_items = 0;
	while (conn->next_key < n_keys && request.n_items < READ_BACK_KEYS) {
		/* Of a key that once was wrong an audit can say nothing new. */
		if (conn->surveyed || !conn->model.keys[conn->next_key].distrusted)
			request.items[request.n_items++].key = conn->next_key;
		conn->next_key++;
	}
	conn->load->audited += conn->surveyed ? 0 : request.n_items;
	request.survey = conn->surveyed;
	if (request.n_items)
		request_issue(conn, &request, 0, false, &layout);
	else
		request_done(&request);
	conn->audit_pos = conn->out.start_pos + (conn->out.end - conn->out.start);
}

static bool housekeeping_due(const struct conn *conn)
{
	return (!conn->filled || conn->surveyed || conn->auditing) && conn->next_key < conn->model.n_keys;
}

static bool burst_due(const struct conn *conn)
{
	const struct load *load = conn->load;

	if (!load->ready || load->paused || !conn->filled || conn->surveyed || conn->reopen_due)
		return false;
	if (load->config->rate)
		return conn->allowed > conn->issued;
	/* Waiting for half of the answers makes room for several requests in one write. */
	return op_queue_in_flight(&conn->ops) <= load->config->pipeline / 2;
}

/* From here on this connection's latencies tell of the client's own pauses. */
static void disturb(struct conn *conn, uint64_t pause_us)
{
	conn->disturbed = true;
	for (size_t i = conn->ops.unanswered; i < conn->ops.end; i++)
		conn->ops.ops[i]->measured = false;
	alarm_set(&conn->load->alarms, &conn->alarm, clock_now_us() + pause_us);
}

/* Requests that go out in one write: mostly one. They share the moment at which the first is due; the pace is made up for by
 * not sending at the moments of the others. */
static void burst_issue(struct conn *conn)
{
	struct load *load = conn->load;
	uint64_t *rng = &conn->mix.rng;
	size_t room = load->config->pipeline - op_queue_in_flight(&conn->ops);
	size_t n = rng_below(rng, 10) < 3 ? (size_t)rng_between(rng, 1, room) : 1;
	bool unread = rng_below(rng, 1000) < (conn->narrow ? UNREAD_NARROW_PER_MILLE : UNREAD_PER_MILLE);
	size_t cut = !unread && rng_below(rng, 1000) < CUT_PER_MILLE ? (size_t)rng_below(rng, n) : SIZE_MAX;
	uint64_t due_us = load->config->rate ? load_due_us(load, conn->id, conn->issued) : 0;

	if (unread)
		n = conn->narrow ? room : 1;
	for (size_t i = 0; i < n; i++) {
		struct request request;
		struct layout layout;
		uint64_t begin;

		if (unread)
			mix_big(&conn->mix, &conn->model, &request);
		else
			mix_next(&conn->mix, &conn->model, &request);
		begin = request_issue(conn, &request, due_us, true, &layout);
		if (i == cut)
			conn->hold_pos = begin + layout_cut(&layout, rng);
	}
	conn->issued += n;
	if (cut != SIZE_MAX) {
		load->stats.total.cuts++;
		disturb(conn, rng_between(rng, CUT_PAUSE_MIN_US, CUT_PAUSE_MAX_US));
	} else if (unread) {
		load->stats.total.unread++;
		conn->unread = true;
		disturb(conn, rng_between(rng, UNREAD_MIN_US, UNREAD_MAX_US));
	}
}

static bool may_reopen(const struct conn *conn)
{
	return conn->reopen_due && conn->state == CONN_LIVE && conn->filled && !conn->surveyed && !conn->auditing &&
	       !conn->load->paused && !conn->load->window_open && conn->hold_pos == POS_NONE && !conn->unread &&
	       op_queue_in_flight(&conn->ops) == 0;
}

void conn_pump(struct conn *conn)
{
	if (may_reopen(conn)) {
		conn_reopen(conn);
		return;
	}
	while (conn->state == CONN_LIVE && conn->hold_pos == POS_NONE && !conn->unread &&
	       op_queue_in_flight(&conn->ops) < conn->load->config->pipeline) {
		if (housekeeping_due(conn))
			housekeep(conn);
		else if (burst_due(conn))
			burst_issue(conn);
		else
			break;
	}
	if (conn->state != CONN_LIVE)
		return;
	conn_audit_check(conn);
	conn_flush(conn);
}
