/* SPDX-License-Identifier: MIT */
/* All connections, one epoll set, and the pace at which requests fall due. */
#pragma once

#include "base/why.h"
#include "tests/load/alarm.h"
#include "tests/load/stats.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct conn;

struct load_config {
	const char *address; /* HOST:PORT */
	unsigned connections;
	unsigned keys;       /* of each connection */
	uint64_t rate;       /* requests per second over all connections; 0: as fast as possible */
	uint64_t reopen_rate; /* connections closed and opened again per second, to begin with; 0: none */
	uint64_t duration_us; /* 0: until told */
	size_t value_min, value_max;
	unsigned pipeline;   /* most requests in flight on a connection */
	uint64_t seed;
	uint64_t timeout_us;
	bool control;
};

/* The crash window that is being settled, or was last. */
struct settlement {
	uint64_t commit_us, resume_us;
	uint64_t kept, reset, interrupted, reverted, wrong;
	uint64_t served_by_lost; /* requests on kept connections that only the lost version can have answered */
};

struct load {
	const struct load_config *config;
	struct sockaddr_storage address;
	socklen_t address_size;
	int epoll_fd;
	struct conn *conns;
	struct alarms alarms;
	struct stats stats;

	bool ready;       /* all connections are open and have their keys */
	bool paused;
	bool window_open; /* a crash is allowed to happen */
	bool input_ready; /* the control input is readable */
	unsigned opened;  /* connections begun */
	unsigned opening; /* ... and not through with their first keys */
	unsigned live;
	unsigned reopening;   /* closed by us and not open again */
	unsigned fresh;       /* opened again, and nothing was heard on them yet */
	unsigned auditing;    /* connections that have keys yet to ask for or to hear of in an audit */
	unsigned surveying;   /* reset connections being read back */
	uint64_t outstanding; /* requests without an answer, on all connections */
	uint64_t audited;     /* keys that the last audit read */
	struct settlement settlement;

	uint64_t base_us, tick; /* the pace: request number tick is due at base + tick / rate */
	uint64_t reopen_rate;
	uint64_t reopen_us;     /* when the next connection is to be closed and opened again */
	unsigned reopen_next;   /* which one */
	uint64_t scan_us;       /* when to look for overdue answers next */
};

/** load_open() - Resolve the address and make ready; no connection is opened before load_turn(). Return: 0 or -errno. */
int load_open(struct load *load, const struct load_config *config, struct why *why);
void load_close(struct load *load);

/** load_watch_input() - Also wake for @fd; sets @load->input_ready. Return: 0 or -errno (-EPERM: a regular file). */
int load_watch_input(struct load *load, int fd);

/** load_turn() - One wait, at most until @until_us, and what came of it. Return: 0 or -errno. */
int load_turn(struct load *load, uint64_t until_us, struct why *why);

/** load_due_us() - When the @n-th request of connection @conn is due. */
uint64_t load_due_us(const struct load *load, unsigned conn, uint64_t n);

void load_pause(struct load *load);
void load_continue(struct load *load);

/** load_reopen() - So many connections per second from here on. The last ones are through when @load->fresh is 0. */
void load_reopen(struct load *load, uint64_t rate);

/** load_audit() - Read all keys of all live connections. Done when @load->auditing is 0. */
void load_audit(struct load *load);

/** load_settle() - Close the crash window and read reset connections back. Done when @load->surveying is 0. Everything that
 * was to be read from the sockets must have been (a load_turn() or two after the server resumed). */
void load_settle(struct load *load, uint64_t commit_us, uint64_t resume_us);
