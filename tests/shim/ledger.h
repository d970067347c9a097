/* SPDX-License-Identifier: MIT */
/* A server of accounts over TCP, whose every answer tells whether it was given once and for a request that was carried out once. */
#pragma once

#include "tests/shim/app.h"
#include "tests/shim/buffers.h"

#include <pthread.h>
#include <stdint.h>

#define LEDGER_ACCOUNTS 4096u
#define LEDGER_LINKS 1024u
#define LEDGER_WORKERS 3u
#define LEDGER_PAGE 4096

enum ledger_kind {
	LEDGER_ADD,     /* one to the account. The last account cannot be migrated down */
	LEDGER_GET,
	LEDGER_BIG,     /* an answer of many bytes */
	LEDGER_DEPOSIT, /* as many bytes follow; their sum is added when the last has come */
	LEDGER_QUIT,    /* is answered, and the connection closed */
};

struct ledger_request {
	uint32_t kind, seq, key, size_bytes;
};

struct ledger_answer {
	uint32_t seq, size_bytes;
	uint64_t value; /* of the account, afterwards */
};

struct link {
	struct upg_conn *conn; /* NULL: free */
	struct buffers *buffers;
	uint64_t id;
	uint32_t left, key, seq;
	uint64_t sum;
	bool eof, quits;
	unsigned worker;
};

struct ledger {
	struct app app; /* first: the hooks get it */
	unsigned version;
	/* What the test says. */
	uint32_t room_bytes; /* of each receive; 0: 4096 */
	bool fails_change;   /* change() fails */
	enum buffers_kind buffers;
	uint16_t port;
	pthread_mutex_t lock;
	int listener;
	int epolls[LEDGER_WORKERS];
	bool is_private; /* the application's state is, as that of others is: what a forked child has of it stays as it was */
	_Alignas(LEDGER_PAGE) uint64_t values[LEDGER_ACCOUNTS];
	struct link links[LEDGER_LINKS];
	_Alignas(LEDGER_PAGE) atomic_bool ready;
	atomic_ulong n_handled, n_adopted, n_changes_applied;
};

/** ledger_new() - Shared memory, for the process that is forked with it. */
struct ledger *ledger_new(unsigned version);

/** ledger_byte() - What a BIG answer and a deposit consist of. */
static inline uint8_t ledger_byte(uint32_t seq, uint32_t at)
{
	return (uint8_t)(seq * 31 + at * 7 + (at >> 8));
}
