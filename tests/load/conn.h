/* SPDX-License-Identifier: MIT */
/* One connection: opened once, sequential, strict. */
#pragma once

#include "tests/load/load.h"
#include "tests/load/mix.h"
#include "tests/load/proto.h"

enum conn_state {
	CONN_IDLE,       /* not opened yet */
	CONN_CONNECTING,
	CONN_LIVE,
	CONN_RESET,      /* ended inside of a crash window: waits for the settlement */
	CONN_DEAD,       /* ended, and should not have */
};

struct op {
	struct request request;
	uint64_t issued_us;
	uint64_t due_us;  /* where latency counts from */
	uint64_t end_pos; /* of its last byte in the connection's stream */
	bool measured;
};

/* Operations in the order they were made: answered ones (kept only while a crash window is open: the journal), then those sent
 * without an answer, then those not completely sent. Indices into @ops. */
struct op_queue {
	struct op **ops;
	size_t start, unanswered, unsent, end, cap;
};

void op_queue_push(struct op_queue *queue, struct op *op);
/** op_queue_trim() - Forget the answered ones. */
void op_queue_trim(struct op_queue *queue);
void op_queue_done(struct op_queue *queue);

static inline size_t op_queue_in_flight(const struct op_queue *queue)
{
	return queue->end - queue->unanswered;
}

#define POS_NONE UINT64_MAX

struct conn {
	struct load *load;
	unsigned id;
	int fd; /* owned; -1 */
	enum conn_state state;
	uint32_t events; /* what epoll was told */
	uint64_t opened_us;
	bool narrow;     /* small buffers, so that the server is left with output it cannot send; not measured */
	bool surveyed;   /* reopened after a reset, to be read back before anything else */
	bool filled;     /* all keys have been set once */
	bool reopen_due; /* to be closed and opened again when nothing is in flight */
	bool reopening;  /* that is going on */
	bool fresh;      /* it was opened again, and nothing was heard since */
	struct model model;
	struct mix mix;
	struct parser parser;
	struct buffer out;
	struct op_queue ops;

	struct alarm alarm;    /* end of the pause in a cut request, or of leaving answers unread */
	uint64_t hold_pos;     /* nothing from here on is sent for now; POS_NONE */
	bool unread;           /* answers are left unread for now */
	bool disturbed;        /* the client itself delays this connection: latencies say nothing */
	uint64_t clean_from_us; /* requests due before were delayed by the client */

	uint64_t allowed, issued; /* requests the pace has allowed, and made of them */
	uint32_t next_key;        /* to be set first, audited, or surveyed; n_keys: through */
	bool auditing;
	uint64_t audit_pos;       /* end of the audit's last request in the stream */

	struct op_queue journal;  /* of a reset connection */
	struct value **observed;  /* the survey's findings, n_keys each */
	uint64_t *observed_cas;
};

void conn_init(struct conn *conn, struct load *load, unsigned id);
void conn_done(struct conn *conn);

/** conn_open() - Begin to connect. Failure ends the connection as any other would. */
void conn_open(struct conn *conn);

/** conn_reopen() - Close a connection with nothing in flight, as a client may at any time, and open it again. */
void conn_reopen(struct conn *conn);

/** conn_ready() - Handle what epoll reported. */
void conn_ready(struct conn *conn, uint32_t events);

/** conn_alarm() - The pause is over. */
void conn_alarm(struct conn *conn);

/** conn_check_overdue() - End the connection if an answer has been missing for too long. */
void conn_check_overdue(struct conn *conn, uint64_t now_us);

/** conn_ended() - The stream has ended or failed: lost, or reset inside of a crash window. */
void conn_ended(struct conn *conn, const char *detail);

/** conn_abandon() - A reset connection that will not be settled is a lost one. */
void conn_abandon(struct conn *conn);

/** conn_broken() - The stream makes no sense any more: one wrong answer, and all that were to come after it failed. */
void conn_broken(struct conn *conn, const char *expected, const char *got);

/** conn_watch() - Tell epoll what this connection waits for now. */
void conn_watch(struct conn *conn);

/* send.c */

/** conn_pump() - Make and send the requests whose time has come. */
void conn_pump(struct conn *conn);

/** conn_flush() - Send what may be sent. */
void conn_flush(struct conn *conn);

/* receive.c */

/** conn_receive() - Read and check answers until there are no more bytes. */
void conn_receive(struct conn *conn);

/** conn_audit_check() - Take the connection out of the audit when it is through. */
void conn_audit_check(struct conn *conn);

/* survey.c */

/** conn_survey_begin() - Open a reset connection again; its operations so far become the journal. */
void conn_survey_begin(struct conn *conn);

/** conn_survey_take() - Remember what a survey's request found. */
void conn_survey_take(struct conn *conn, const struct request *request);

/** conn_survey_end() - Judge what was found against the journal and go on with it. */
void conn_survey_end(struct conn *conn);

/** conn_survey_drop() - Release journal and findings. */
void conn_survey_drop(struct conn *conn);
