/* SPDX-License-Identifier: MIT */
#include "shim/takeover.h"

#include "base/clock.h"
#include "base/fd.h"
#include "shim/core/channel.h"
#include "shim/core/threads.h"
#include "shim/fds/announce.h"
#include "shim/fds/handover.h"
#include "shim/journal/memory.h"
#include "shim/state/load.h"
#include "shim/state/roundtrip.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define ROOM_DESCRIPTORS 65536u /* half a megabyte of kernel memory */

void takeover_done(struct takeover *takeover)
{
	commit_unmap(&takeover->word);
}

/* ---- refusing ---- */

void upg_refuse(struct upg *upg, const char *fmt, ...)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED, .refused = &refused);
	char text[sizeof(upg->why.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (upg->rest) {
		memcpy(upg->rest->text, text, sizeof(text));
		return;
	}
	upg->takeover->refused = true;
	if (!channel_is_open(upg->channel))
		return;
	refused.reason = text;
	channel_say(upg->channel, &message, &upg->why);
}

int takeover_refuse(struct upg *upg, int rc)
{
	struct why why = upg->why; /* sending may record a reason of its own */

	upg_refuse(upg, "%s", why.text);
	upg->why = why;
	return rc;
}

/* ---- receiving ---- */

static int take_handed_fd(void *arg, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	struct upg *upg = arg;
	int r = fd_table_put(upg->fds, fd, info->name, info->tag, false, true);

	if (r < 0)
		return why_errno(why, r, "descriptor %s %" PRIu64, info->name, info->tag);
	if (info->optional)
		fd_table_mark_optional(upg->fds, fd);
	upg->takeover->n_fds++;
	return 0;
}

static void on_header(void *journal, const struct sf_header *header)
{
	journal_bind(journal, header);
}

static int receive_state(struct upg *upg, const Upgraded__Wire__Receive *receive)
{
	FD_CLEANUP int word_fd = receive->from_file ? -1 : channel_claim(upg->channel, 0);
	FD_CLEANUP int state_fd = channel_claim(upg->channel, receive->from_file ? 0 : 1);
	int r = 0;

	if (state_fd < 0)
		return why_set(&upg->why, -EPROTO, "Receive came without its descriptors");
	if (receive->verify_roundtrip && !(upg->state->roundtrip = roundtrip_new(upg->application)))
		return why_errno(&upg->why, -ENOMEM, "round trip");
	if (receive->journal && !receive->from_file) {
		FD_CLEANUP int journal_fd = channel_claim(upg->channel, 2);

		journal_attach(upg->journal, journal_fd);
		journal_limit(upg->journal, receive);
	}
	if (!receive->from_file) {
		r = commit_map(&upg->takeover->word, word_fd, receive->generation, &upg->why);
		if (r == 0)
			r = fds_receive(upg->channel, receive->deadline_us, take_handed_fd, upg, &upg->why);
	}
	if (r == 0)
		r = state_load(upg->state, state_fd, receive, on_header, upg->journal, &upg->why);
	return r;
}

static int be_received(struct upg *upg, const Upgraded__Wire__Receive *receive)
{
	int r = receive_state(upg, receive);

	if (r < 0)
		return takeover_refuse(upg, r);
	upg->takeover->received = true;
	upg->takeover->from_file = receive->from_file;
	return UPG_RECEIVED;
}

/* The kernel's table of a process's descriptors grows by doubling, and for a process with threads each doubling waits for an
 * RCU grace period, 10 ms and more: three of them made up most of the pause with 1,000 connections. So it grows now, while
 * the predecessor still serves. */
static void make_room_for_descriptors(const struct upg *upg)
{
	struct rlimit limit;
	rlim_t highest;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	/* Not in upg_open(): an application raises its limit between there and here. */
	highest = (limit.rlim_cur < ROOM_DESCRIPTORS ? limit.rlim_cur : ROOM_DESCRIPTORS) - 1;
	fd_close(fcntl(upg->channel->fd, F_DUPFD_CLOEXEC, (int)highest));
}

static int receive(struct upg *upg)
{
	Upgraded__Wire__Standby standby = UPGRADED__WIRE__STANDBY__INIT;
	Upgraded__Wire__AppMessage announce = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_STANDBY, .standby = &standby);
	Upgraded__Wire__AppMessage *message;
	int r;

	if (!channel_is_open(upg->channel))
		return UPG_FRESH;
	make_room_for_descriptors(upg);
	r = channel_say(upg->channel, &announce, &upg->why);
	if (r < 0)
		return r;
	r = channel_receive(upg->channel, UINT64_MAX, &message, &upg->why);
	if (r < 0)
		return r;
	if (r == CHANNEL_CLOSED)
		return UPG_LEAVE;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME:
		r = UPG_FRESH;
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE:
		r = be_received(upg, message->receive);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT:
		r = UPG_LEAVE;
		break;
	default:
		r = why_set(&upg->why, -EPROTO, "expected Welcome or Receive, got %s", wire_app_name(message));
	}
	channel_free(upg->channel, message);
	return r;
}

int upg_receive(struct upg *upg)
{
	return takeover_outcome(upg, receive(upg));
}

static int take_over(struct upg *upg)
{
	Upgraded__Wire__Committed committed = UPGRADED__WIRE__COMMITTED__INIT;
	Upgraded__Wire__AppMessage message =
		APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_COMMITTED, .committed = &committed);
	bool ours;

	/* Whoever serves writes: from before the first moment in which it may. */
	journal_begin(upg->journal);
	committed.at_us = clock_now_us();
	ours = commit_take(&upg->takeover->word, COMMIT_NEW);
	commit_unmap(&upg->takeover->word);
	if (!ours)
		return UPG_LEAVE;
	/* From here on this process serves whatever becomes of the supervisor, so a failed report changes nothing. */
	channel_say(upg->channel, &message, &upg->why);
	fd_table_close_left(upg->fds);
	return UPG_SERVE;
}

static int await_commit(struct upg *upg)
{
	Upgraded__Wire__AppMessage *message;
	int r = channel_receive(upg->channel, UINT64_MAX, &message, &upg->why);

	if (r < 0)
		return r;
	/* Nobody is left who could say that the old version's state is complete here. It calls the roll off by itself. */
	if (r == CHANNEL_CLOSED)
		return UPG_LEAVE;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_COMMIT:
		r = take_over(upg);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT:
		r = UPG_LEAVE;
		break;
	default:
		r = why_set(&upg->why, -EPROTO, "expected Commit, got %s", wire_app_name(message));
	}
	channel_free(upg->channel, message);
	return r;
}

/* Nobody served before, so there is no commit word to take. */
static int send_ready(struct upg *upg)
{
	Upgraded__Wire__Ready ready = UPGRADED__WIRE__READY__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_READY, .ready = &ready);
	int r = channel_say(upg->channel, &message, &upg->why);

	return r < 0 ? r : UPG_SERVE;
}

static int ready_received(struct upg *upg)
{
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED, .loaded = &loaded);
	int r = state_check(upg->state, &upg->why);
	struct fd_batch left;

	if (r < 0)
		return takeover_refuse(upg, r);
	upg->state->roundtrip = roundtrip_free(upg->state->roundtrip);
	if (upg->takeover->from_file)
		return send_ready(upg);
	loaded.totals = &upg->state->totals;
	loaded.fds = upg->takeover->n_fds;
	loaded.left_count = (uint32_t)fd_table_list_left(upg->fds, &left);
	loaded.left = left.pointers;
	loaded.n_left = left.n;
	r = channel_say(upg->channel, &message, &upg->why);
	return r < 0 ? r : await_commit(upg);
}

static int ready(struct upg *upg)
{
	if (!channel_is_open(upg->channel))
		return UPG_SERVE;
	if (upg->takeover->refused)
		return UPG_LEAVE;
	if (upg->takeover->received)
		return ready_received(upg);
	return send_ready(upg);
}

int upg_ready(struct upg *upg)
{
	return takeover_outcome(upg, ready(upg));
}

int takeover_outcome(struct upg *upg, int outcome)
{
	if (outcome != UPG_LEAVE)
		return outcome;
	fd_table_end_custody(upg->fds);
	threads_dismiss(upg->threads);
	return outcome;
}
