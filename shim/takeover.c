/* SPDX-License-Identifier: MIT */
#include "shim/takeover.h"

#include "base/clock.h"
#include "base/fd.h"
#include "shim/core/channel.h"
#include "shim/core/threads.h"
#include "shim/fds/announce.h"
#include "shim/fds/handover.h"
#include "shim/journal/held.h"
#include "shim/journal/memory.h"
#include "shim/state/load.h"
#include "shim/state/roundtrip.h"
#include "wire/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define ROOM_DESCRIPTORS 65536u /* half a megabyte of kernel memory */

void takeover_done(struct takeover *takeover)
{
	commit_unmap(&takeover->word);
	fd_given_done(&takeover->given);
	held_free(takeover->held);
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
		memcpy(upg->rest->why.text, text, sizeof(text));
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

enum upg_rest upg_await_child(struct upg *upg, pid_t child, const char *fmt, ...)
{
	va_list args;

	if (!upg->rest)
		return UPG_AWAIT_CHILD;
	va_start(args, fmt);
	vsnprintf(upg->rest->why.text, sizeof(upg->rest->why.text), fmt, args);
	va_end(args);
	upg->rest->child = child > 0 ? child : 0;
	return UPG_AWAIT_CHILD;
}

/* ---- receiving ---- */

static int take_handed_fd(void *arg, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	struct upg *upg = arg;
	int r = fd_table_put(upg->fds, fd, info->name, info->tag, false, true);

	if (r < 0)
		return why_errno(why, r, "descriptor %s %" PRIu64, info->name, info->tag);
	if (info->optional)
		fd_table_drop(upg->fds, info->name, info->tag);
	upg->takeover->n_fds++;
	return 0;
}

/* Of a process that takes the place of one that ended nothing counts until the journals of that are applied: should it end
 * before, they are all there is. */
static void on_header(void *arg, const struct sf_header *header)
{
	struct upg *upg = arg;

	if (upg->takeover->held)
		journal_lay_out(upg->journal, header);
	else
		journal_bind(upg->journal, header);
}

/* It comes behind all others. */
static int map_in_hand(struct upg *upg, const Upgraded__Wire__Receive *receive)
{
	FD_CLEANUP int fd = -1;

	if (receive->held)
		fd = channel_claim(upg->channel, 1 + (size_t)receive->journals + (receive->journal ? 1 : 0));
	else if (receive->from_file)
		fd = channel_claim(upg->channel, 1);
	else
		fd = channel_claim(upg->channel, receive->journal ? 3 : 2);
	return in_hand_map(&upg->state->in_hand, fd, &upg->why);
}

static int take_held_fd(void *arg, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	struct upg *upg = arg;

	return held_take_fd(upg->takeover->held, info, fd, why);
}

/* A process has ended: its journals, and what it had open. The deadline may move. */
static int receive_held(struct upg *upg, Upgraded__Wire__Receive *receive)
{
	int fds[JOURNALS_MAX], r;
	uint64_t next_tag = 0;
	size_t n = receive->journals;

	if (n > JOURNALS_MAX)
		return why_set(&upg->why, -E2BIG, "%zu journals", n);
	for (size_t i = 0; i < n; i++)
		fds[i] = channel_claim(upg->channel, 1 + i);
	r = held_new(upg->journal, fds, n, &upg->takeover->held, &upg->why);
	for (size_t i = 0; i < n; i++)
		fd_close(fds[i]);
	if (receive->journal) {
		FD_CLEANUP int journal_fd = channel_claim(upg->channel, 1 + n);

		journal_attach_own(upg->journal, journal_fd);
	}
	upg->fds->stands_in = true;
	upg->fds->checkpoint = receive->generation;
	if (r == 0)
		r = fds_receive(upg->channel, &receive->deadline_us, take_held_fd, upg, &next_tag, &upg->why);
	if (r == 0 && next_tag > upg->fds->last_tag)
		upg->fds->last_tag = next_tag - 1;
	return r;
}

static int receive_state(struct upg *upg, Upgraded__Wire__Receive *receive)
{
	FD_CLEANUP int word_fd = receive->from_file ? -1 : channel_claim(upg->channel, 0);
	FD_CLEANUP int state_fd = channel_claim(upg->channel, receive->from_file ? 0 : 1);
	uint64_t next_tag = 0;
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
	if (receive->in_hand)
		r = map_in_hand(upg, receive);
	if (r == 0 && receive->held)
		r = receive_held(upg, receive);
	if (r == 0 && !receive->from_file) {
		r = commit_map(&upg->takeover->word, word_fd, receive->generation, &upg->why);
		if (r == 0)
			r = fds_receive(upg->channel, &receive->deadline_us, take_handed_fd, upg, &next_tag, &upg->why);
		if (r == 0 && next_tag > upg->fds->last_tag)
			upg->fds->last_tag = next_tag - 1;
	}
	if (r == 0)
		r = fd_given_put(&upg->takeover->given, upg->fds, &upg->why);
	if (r == 0)
		r = state_load(upg->state, state_fd, receive, on_header, upg, &upg->why);
	in_hand_unmap(&upg->state->in_hand);
	return r;
}

/* @receive: its deadline moves. */
static int be_received(struct upg *upg, Upgraded__Wire__Receive *receive)
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

/* ---- what will come ---- */

#define EXPECTED_US (2 * USEC_PER_SEC) /* it is to help; nothing fails without it */

/* Nothing but the end of the roll may come besides, before Standby. */
static int await_expected(struct upg *upg)
{
	Upgraded__Wire__AppMessage *message;
	int r = channel_receive(upg->channel, clock_now_us() + EXPECTED_US, &message, &upg->why);

	if (r < 0)
		return r;
	if (r != CHANNEL_MESSAGE)
		return -ENOENT;
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_EXPECTED)
		sizes_expect(&upg->state->sizes, message->expected->counts, message->expected->n_counts);
	else
		upg->takeover->called_off = message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT;
	channel_free(upg->channel, message);
	return 0;
}

static int ask_expected(struct upg *upg)
{
	Upgraded__Wire__AskExpected ask = UPGRADED__WIRE__ASK_EXPECTED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_EXPECTED, .ask_expected = &ask);
	struct takeover *takeover = upg->takeover;
	int r;

	if (takeover->asked || takeover->stood_by || !channel_is_open(upg->channel))
		return 0;
	takeover->asked = takeover->asks = true;
	r = channel_say(upg->channel, &message, &upg->why);
	if (r == 0)
		r = await_expected(upg);
	takeover->asks = false;
	return r;
}

int upg_expected(struct upg *upg, const char *type, uint64_t *ret_records, uint64_t *ret_bytes)
{
	struct type_size size;
	int r = ask_expected(upg);

	if (r == 0)
		r = sizes_expected(&upg->state->sizes, type, &size);
	if (r < 0)
		return r;
	*ret_records = size.records;
	if (ret_bytes)
		*ret_bytes = size.bytes;
	return 0;
}

/* ---- standing by ---- */

/* Listeners may come before what is waited for. Return: as channel_receive(). */
static int receive_word(struct upg *upg, Upgraded__Wire__AppMessage **ret_message)
{
	for (;;) {
		Upgraded__Wire__AppMessage *message;
		int r = channel_receive(upg->channel, UINT64_MAX, &message, &upg->why);

		if (r != CHANNEL_MESSAGE || message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_LISTENERS) {
			*ret_message = r == CHANNEL_MESSAGE ? message : NULL;
			return r;
		}
		r = fd_given_take(&upg->takeover->given, upg->channel, message->listeners, &upg->why);
		channel_free(upg->channel, message);
		if (r < 0)
			return r;
	}
}

static int receive(struct upg *upg)
{
	Upgraded__Wire__Standby standby = UPGRADED__WIRE__STANDBY__INIT;
	Upgraded__Wire__AppMessage announce = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_STANDBY, .standby = &standby);
	Upgraded__Wire__AppMessage *message;
	int r;

	if (!channel_is_open(upg->channel))
		return UPG_FRESH;
	if (upg->takeover->called_off)
		return UPG_LEAVE;
	upg->takeover->stood_by = true;
	standby.pid = getpid();
	make_room_for_descriptors(upg);
	r = channel_say(upg->channel, &announce, &upg->why);
	if (r < 0)
		return r;
	r = receive_word(upg, &message);
	if (r < 0)
		return r;
	if (r != CHANNEL_MESSAGE)
		return UPG_LEAVE;
	/* load() may listen: all of them have come by then. */
	upg->fds->more_may_come = false;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME:
		r = fd_given_put(&upg->takeover->given, upg->fds, &upg->why);
		r = r < 0 ? r : UPG_FRESH;
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

enum upg_received upg_receive(struct upg *upg)
{
	int r = takeover_end(upg, receive(upg), UPG_LEAVE);

	return r == UPG_LEAVE ? UPG_NOT_RECEIVED : (enum upg_received)r;
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
	Upgraded__Wire__Replayed replayed = UPGRADED__WIRE__REPLAYED__INIT;
	struct state_skipped skipped;
	int r;

	ready.pid = getpid();
	/* Who comes to what nobody listens at is to be refused. */
	fd_table_close_left(upg->fds);
	state_list_skipped(upg->state, &skipped);
	ready.skipped = skipped.list;
	ready.n_skipped = skipped.n;
	if (upg->takeover->from_file)
		ready.totals = &upg->state->totals;
	if (upg->takeover->held) {
		held_tell(upg->takeover->held, &replayed);
		ready.replayed = &replayed;
	}
	r = channel_say(upg->channel, &message, &upg->why);
	return r < 0 ? r : UPG_SERVE;
}

/* The checkpoint is loaded. What is done from the moment in which this serves is written down again. */
static int ready_held(struct upg *upg)
{
	struct takeover *takeover = upg->takeover;
	int r = held_apply(takeover->held, &upg->why);

	if (r < 0)
		return takeover_refuse(upg, r);
	upg->fds->stands_in = false;
	journal_say_bound(upg->journal);
	journal_begin(upg->journal);
	/* Now: an application may serve from within this. */
	if (upg->config->on_go_on)
		upg->config->on_go_on(&(struct upg_go_on){ .reason = UPG_CAME_BACK }, upg->config->userdata);
	r = send_ready(upg);
	takeover->held = held_free(takeover->held);
	return r;
}

static int ready_received(struct upg *upg)
{
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED, .loaded = &loaded);
	int r = state_check(upg->state, &upg->why);
	struct state_skipped skipped;
	struct fd_batch left;

	if (r < 0)
		return takeover_refuse(upg, r);
	upg->state->roundtrip = roundtrip_free(upg->state->roundtrip);
	if (upg->takeover->held)
		return ready_held(upg);
	if (upg->takeover->from_file)
		return send_ready(upg);
	loaded.totals = &upg->state->totals;
	loaded.fds = upg->takeover->n_fds;
	loaded.left_count = (uint32_t)fd_table_list_left(upg->fds, &left);
	loaded.left = left.pointers;
	loaded.n_left = left.n;
	state_list_skipped(upg->state, &skipped);
	loaded.skipped = skipped.list;
	loaded.n_skipped = skipped.n;
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

enum upg_readied upg_ready(struct upg *upg)
{
	return takeover_end(upg, ready(upg), UPG_LEAVE) == UPG_SERVE ? UPG_SERVE : UPG_NOT_READY;
}

enum upg_readied upg_become(struct upg *upg, int (*start)(enum upg_received how, void *userdata), void *userdata)
{
	enum upg_received how = upg_receive(upg);
	int r;

	if (how == UPG_NOT_RECEIVED)
		return UPG_NOT_READY;
	r = start(how, userdata);
	if (r == 0)
		return upg_ready(upg);
	if (!upg->takeover->refused) {
		why_errno(&upg->why, r, "the application's start");
		takeover_refuse(upg, r);
	}
	takeover_end(upg, r, UPG_LEAVE);
	return UPG_NOT_READY;
}

int takeover_end(struct upg *upg, int outcome, int failed_means)
{
	/* What went wrong on the way to an outcome is the supervisor's to tell. */
	if (outcome >= 0)
		*upg->why.text = 0;
	else
		outcome = failed_means;
	upg->takeover->serves |= outcome == UPG_SERVE;
	if (outcome != UPG_LEAVE)
		return outcome;
	fd_table_leave(upg->fds);
	threads_dismiss(upg->threads);
	return outcome;
}
