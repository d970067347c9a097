/* SPDX-License-Identifier: MIT */
#include "tests/load/conn.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define READ_BYTES (256u * 1024u)

/* All keys set for the first time, all read back, or all surveyed: the last answer of it has come. */
static void housekeeping_check(struct conn *conn)
{
	struct load *load = conn->load;

	if (conn->next_key < conn->model.n_keys || op_queue_in_flight(&conn->ops))
		return;
	if (!conn->filled) {
		conn->filled = true;
		load->opening--;
	} else if (conn->surveyed) {
		conn_survey_end(conn);
	}
}

void conn_audit_check(struct conn *conn)
{
	if (!conn->auditing || conn->next_key < conn->model.n_keys)
		return;
	/* Requests made after the audit's may still be in flight: its own are through when none of before is. */
	for (size_t i = conn->ops.unanswered; i < conn->ops.end; i++)
		if (conn->ops.ops[i]->end_pos <= conn->audit_pos)
			return;
	conn->auditing = false;
	conn->load->auditing--;
}

static void op_answered(struct conn *conn, struct op *op, uint64_t now_us)
{
	struct load *load = conn->load;

	op->request.step.acked_us = now_us;
	if (op->measured)
		stats_latency(&load->stats, now_us > op->due_us ? now_us - op->due_us : 0);
	if (op->request.survey)
		conn_survey_take(conn, &op->request);
	load->outstanding--;
	load->fresh -= conn->fresh;
	conn->fresh = false;
	load->stats.total.answered++;
	conn->ops.unanswered++;
	if (!load->window_open || conn->surveyed)
		op_queue_trim(&conn->ops);
}

static void reply_take(struct conn *conn, const struct reply *reply, uint64_t now_us)
{
	struct op *op;

	if (op_queue_in_flight(&conn->ops) == 0) {
		conn_broken(conn, "no answer: nothing was asked", reply->line);
		return;
	}
	op = conn->ops.ops[conn->ops.unanswered];
	if (op->request.step.sent_us == STEP_NEVER) {
		conn_broken(conn, "no answer before the request has been sent to its end", reply->line);
		return;
	}
	if (model_check(&conn->model, &op->request, reply))
		op_answered(conn, op, now_us);
}

static void bytes_take(struct conn *conn, const uint8_t *data, size_t size, uint64_t now_us)
{
	struct reply reply;
	int rc = PARSER_MORE;

	while (conn->state == CONN_LIVE) {
		rc = parser_next(&conn->parser, &data, &size, &reply);
		if (rc != PARSER_REPLY)
			break;
		reply_take(conn, &reply, now_us);
	}
	if (rc < 0) {
		conn_broken(conn, "an answer of the protocol", conn->parser.fault);
		return;
	}
	if (conn->state != CONN_LIVE)
		return;
	if (conn->disturbed && op_queue_in_flight(&conn->ops) == 0 && conn->hold_pos == POS_NONE && !conn->unread) {
		conn->disturbed = false;
		conn->clean_from_us = now_us;
	}
	conn_audit_check(conn);
	housekeeping_check(conn);
}

void conn_receive(struct conn *conn)
{
	static uint8_t bytes[READ_BYTES]; /* one thread, and nothing of it outlives the call */
	char detail[120];

	while (conn->state == CONN_LIVE) {
		ssize_t n = recv(conn->fd, bytes, sizeof(bytes), 0);
		uint64_t now_us = clock_now_us();

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			snprintf(detail, sizeof(detail), "%s with %zu requests in flight", strerror(errno),
				 op_queue_in_flight(&conn->ops));
			conn_ended(conn, detail);
		} else if (n == 0) {
			snprintf(detail, sizeof(detail), "closed by the server with %zu requests in flight",
				 op_queue_in_flight(&conn->ops));
			conn_ended(conn, detail);
		} else {
			bytes_take(conn, bytes, (size_t)n, now_us);
		}
	}
}
