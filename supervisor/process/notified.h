/* SPDX-License-Identifier: MIT */
/* What one process tells by sd_notify(3): the socket that its NOTIFY_SOCKET names, which is its alone.
 *
 * Who has sent something the kernel says. It counts if it comes from the process or from one that descends from it; what others
 * send is dropped. However much is sent, the loop has time for others.
 */
#pragma once

#include "base/loop.h"
#include "supervisor/process/share.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

#define NOTIFIED_TEXT_MAX 240u /* bytes of a STATUS= that are kept */

/* One datagram. */
struct notification {
	bool ready;            /* READY=1 */
	bool stopping;         /* STOPPING=1 */
	bool beats;            /* WATCHDOG=1 */
	bool fails;            /* WATCHDOG=trigger */
	uint64_t extend_us;    /* EXTEND_TIMEOUT_USEC=; 0: not asked for */
	const char *status;    /* STATUS=, tamed; NULL: none */
};

struct notified {
	struct loop *loop;
	char *path;            /* NULL: there is none */
	int fd;
	pid_t pid;             /* whose it is; 0: nobody's yet */
	struct source source;
	struct timer deaf;     /* until then it is not listened to */
	struct share share;
	bool strangers;        /* something came from somebody else: told once */
	void (*on_heard)(struct notified *notified, const struct notification *notification);
};

/** notified_init() - To the closed state; required before any other call. */
void notified_init(struct notified *notified);

/**
 * notified_open() - Listen at @folder/@serial, in the place of whatever a supervisor before us had there.
 * @user: a user's name, who may write to it besides us; "": nobody else. One that this machine's own files do not have is not known
 *        here, and then everybody may write: who did, the kernel says.
 *
 * Return: 0 or -errno.
 */
int notified_open(struct notified *notified, struct loop *loop, const char *folder, uint64_t serial, const char *user,
		  void (*on_heard)(struct notified *notified, const struct notification *notification), struct why *why);

/** notified_forget() - The process @serial has ended while nobody listened there. */
void notified_forget(const char *folder, uint64_t serial);

/** notified_has_unread() - Does something lie in there that was not heard yet? */
bool notified_has_unread(const struct notified *notified);

/** notified_parse() - @text is changed. */
void notified_parse(char *text, struct notification *ret);

/** notified_close() - Its path goes, too. Safe on a closed one. */
void notified_close(struct notified *notified);

/** notified_leave() - The same, but the path stays: another supervisor goes on there. */
void notified_leave(struct notified *notified);
