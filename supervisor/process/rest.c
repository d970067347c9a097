/* SPDX-License-Identifier: MIT */
#include "supervisor/process/rest.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "supervisor/machine/procfs.h"
#include "supervisor/process/instance.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>

#define ASK_AGAIN_US (10 * USEC_PER_MSEC)
#define ASKED_AT_MOST 1000u
/* Each question stops all threads for a moment; and the child's end is heard of by itself, mostly. */
#define CHILD_PAUSE_MAX_US USEC_PER_SEC

static uint64_t anew(const struct rest *rest)
{
	return clock_now_us() + rest->unit->quiesce_timeout_us;
}

void rest_begin(struct rest *rest, struct loop *loop, const struct unit *unit, void (*on_child_gone)(struct rest *rest))
{
	*rest = (struct rest){ .loop = loop, .unit = unit, .pidfd = -1, .on_child_gone = on_child_gone };
	rest->due_us = anew(rest);
}

/* ---- the child ---- */

static void unwatch(struct rest *rest)
{
	if (!rest->loop || rest->pidfd < 0)
		return;
	source_del(&rest->source);
	rest->pidfd = fd_close(rest->pidfd);
}

static void on_gone(struct source *source, uint32_t events)
{
	struct rest *rest = container_of(source, struct rest, source);

	(void)events;
	unwatch(rest);
	rest->gone = true;
	rest->child_us = 0;
	rest->due_us = anew(rest);
	rest->on_child_gone(rest);
}

/* A process may name any number, but only what is its own is looked at. Whoever is its child once we hold it was it before, too. */
static void watch(struct rest *rest, pid_t parent)
{
	int fd;

	if (procfs_parent(rest->child) != parent)
		return;
	fd = pidfd_open(rest->child, 0);
	if (fd >= 0 && procfs_parent(rest->child) == parent &&
	    source_add(rest->loop, &rest->source, fd, EPOLLIN, on_gone) == 0)
		rest->pidfd = fd;
	else
		fd_close(fd);
}

static void note_child(struct rest *rest, const struct instance *instance, pid_t child)
{
	if (child == rest->child)
		return;
	unwatch(rest);
	rest->child = child;
	rest->gone = false;
	if (child)
		watch(rest, instance->pid);
}

/* ---- what it says ---- */

static void set_reason(struct rest *rest, const char *said, bool child)
{
	char what[96] = "", name[32];

	if (child && rest->pidfd >= 0)
		snprintf(what, sizeof(what), "its child process %d (%s)", rest->child,
			 procfs_name(rest->child, name, sizeof(name)));
	else if (child && rest->child)
		snprintf(what, sizeof(what), "its child process %d%s", rest->child, rest->gone ? ", which has ended" : "");
	else if (child)
		snprintf(what, sizeof(what), "a child process of its own");
	snprintf(rest->reason.text, sizeof(rest->reason.text), "%s%s%.200s", what, *what && *said ? ": " : "", said);
	text_tame(rest->reason.text, strlen(rest->reason.text));
}

void rest_ask(struct rest *rest)
{
	if (rest->child_us)
		rest->due_us = anew(rest);
}

void rest_hear(struct rest *rest, const struct instance *instance, const Upgraded__Wire__NotYet *not_yet)
{
	bool waited = rest->child_us, waits;

	note_child(rest, instance, not_yet->awaits_child && not_yet->child > 0 ? not_yet->child : 0);
	/* Until it has noticed that the child is gone, it says what it said before. */
	waits = not_yet->awaits_child && !rest->gone;
	set_reason(rest, not_yet->reason, not_yet->awaits_child);
	if (waited || waits)
		rest->due_us = anew(rest);
	if (!waits) {
		rest->child_us = 0;
		return;
	}
	if (!rest->child_us)
		rest->child_us = clock_now_us();
	if (!rest->child_due_us)
		rest->child_due_us = rest->child_us + rest->unit->child_timeout_us;
}

static uint64_t pause_us(uint64_t timeout_us)
{
	uint64_t us = timeout_us / ASKED_AT_MOST;

	return us > ASK_AGAIN_US ? us : ASK_AGAIN_US;
}

/* However long it may take, it is asked no more often than some thousand times. */
uint64_t rest_pause_us(const struct rest *rest)
{
	uint64_t us;

	if (!rest->child_us)
		return pause_us(rest->unit->quiesce_timeout_us);
	us = pause_us(rest->unit->child_timeout_us);
	return us < CHILD_PAUSE_MAX_US ? us : CHILD_PAUSE_MAX_US;
}

enum rest_overdue rest_overdue(const struct rest *rest)
{
	uint64_t now_us = clock_now_us();

	if (rest->child_us)
		return now_us >= rest->child_due_us ? REST_CHILD_OVER : REST_IN_TIME;
	return now_us > rest->due_us ? REST_QUIESCE_OVER : REST_IN_TIME;
}

const char *rest_child_timeout(const struct rest *rest, char *buf, size_t size)
{
	uint64_t us = rest->unit->child_timeout_us;
	bool whole = us % USEC_PER_SEC == 0;

	snprintf(buf, size, "%" PRIu64 " %s", us / (whole ? USEC_PER_SEC : USEC_PER_MSEC), whole ? "s" : "ms");
	return buf;
}

void rest_end(struct rest *rest)
{
	unwatch(rest);
	rest->child_us = 0;
	rest->child = 0;
}
