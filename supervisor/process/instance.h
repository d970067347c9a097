/* SPDX-License-Identifier: MIT */
/* One process of a service: the child, the channel to its shim, and what it prints. */
#pragma once

#include "base/child.h"
#include "base/loop.h"
#include "supervisor/process/outbox.h"
#include "supervisor/unit/unit.h"
#include "wire/app.h"
#include "wire/wire.h"

#include <stdbool.h>

#define INSTANCE_LINES 12u
#define INSTANCE_LINE_BYTES 240u

struct instance;

/* What an owner hears. Called from the loop. Only on_exit may free the instance, as its last act; elsewhere bury it. */
struct instance_events {
	/* It said hello, which is in @instance->hello. Optional. */
	void (*on_hello)(struct instance *instance);
	/* @fds belongs to the message: claim what is wanted. Hello was checked and is kept in @instance->hello. */
	void (*on_message)(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds);
	/* Something came that is no message of the protocol; it was dropped. */
	void (*on_garbage)(struct instance *instance, const char *reason);
	/* The process has ended and was reaped; everything it said before has been heard. */
	void (*on_exit)(struct instance *instance);
};

/* The last lines a process printed, oldest first from @first. */
struct lines {
	char text[INSTANCE_LINES][INSTANCE_LINE_BYTES];
	unsigned first, n;
};

struct instance {
	struct loop *loop;
	const struct instance_events *events;
	void *owner;
	char service[UNIT_NAME_MAX + 1];
	char version[UNIT_NAME_MAX + 1];
	struct child child;
	uint64_t since_us;
	uint64_t exited_us; /* when its end was heard of */
	bool exited;
	bool exit_told; /* on_exit was called */

	int channel; /* -1 once the other end is closed */
	struct source channel_source;
	struct outbox outbox;
	unsigned long long channel_inode; /* of the application's end: what CRIU calls it */
	Upgraded__Wire__AppMessage *hello; /* NULL until it was said */

	int log;
	struct source log_source;
	unsigned long long log_inode; /* of the application's end */
	struct lines lines;
	char partial[INSTANCE_LINE_BYTES];
	size_t n_partial;
};

/** instance_start() - Run @unit's @version. @unit is borrowed for the call. Return: 0 or -errno with file and line, or step. */
int instance_start(struct loop *loop, const struct unit *unit, const char *version, const struct instance_events *events,
		   void *owner, struct instance **ret_instance, struct why *why);

/**
 * instance_reconnect() - New ends for a process that comes back from its image.
 * @ret_channel, @ret_log: the application's ends, owned by the caller, to be given to the restore.
 *
 * The process must have been reaped. Keeps hello, version and lines. The inodes are the new ends' from here on; what the
 * image calls them is noted in the image.
 */
int instance_reconnect(struct instance *instance, int *ret_channel, int *ret_log, struct why *why);

/** instance_adopt() - The restored process runs as @pid, a child of ours. */
int instance_adopt(struct instance *instance, pid_t pid, struct why *why);

/** instance_send() - Send or queue. A peer that is gone is no error here: its exit will be heard. */
void instance_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n);

/** instance_limits() - The caps that @unit sets, for a Prepare or a Receive. */
Upgraded__Wire__Limits instance_limits(const struct unit *unit);

/** instance_kill() - SIGKILL or gentler. */
void instance_kill(struct instance *instance, int signal);

/** instance_is_alive() - Runs, as far as we have heard. */
bool instance_is_alive(const struct instance *instance);

/** instance_free() - A process still alive is killed and reaped. Return: NULL. */
struct instance *instance_free(struct instance *instance);

/** instance_line() - The @i-th of the last lines, or NULL. */
const char *instance_line(const struct instance *instance, unsigned i);
