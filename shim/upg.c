/* SPDX-License-Identifier: MIT */
/* The life of an application under its supervisor: open, receive, ready, dispatch. */
#include "shim/core/upg.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define ROOM_DESCRIPTORS 65536u /* half a megabyte of kernel memory */

/* All that belongs to one handle, in one piece. */
struct handle {
	struct upg upg; /* first: it is what the application holds */
	struct channel channel;
	struct threads threads;
	struct progress progress;
	struct fd_table fds;
	struct shed shed;
	struct application application;
	struct state state;
	struct journal journal;
};
_Static_assert(offsetof(struct handle, upg) == 0, "upg_free() frees the handle by its address");

static int send_hello(struct upg *upg)
{
	const struct upg_config *config = upg->config;
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO, .hello = &hello);
	size_t n_types = config->n_types, n_edges = config->n_migrations;
	Upgraded__Wire__Schema *schemas = calloc(n_types + 1, sizeof(*schemas));
	Upgraded__Wire__Schema **schema_list = calloc(n_types + 1, sizeof(*schema_list));
	Upgraded__Wire__MigrationEdge *edges = calloc(n_edges + 1, sizeof(*edges));
	Upgraded__Wire__MigrationEdge **edge_list = calloc(n_edges + 1, sizeof(*edge_list));
	int r = -ENOMEM;

	if (!schemas || !schema_list || !edges || !edge_list)
		goto out;
	for (size_t i = 0; i < n_types; i++) {
		upgraded__wire__schema__init(&schemas[i]);
		schemas[i].name = (char *)(uintptr_t)config->types[i].name;
		schemas[i].version = config->types[i].version;
		schemas[i].fingerprint = upg->application->schemas[i].fingerprint;
		schema_list[i] = &schemas[i];
	}
	for (size_t i = 0; i < n_edges; i++) {
		upgraded__wire__migration_edge__init(&edges[i]);
		edges[i].type = (char *)(uintptr_t)config->migrations[i].type;
		edges[i].from = config->migrations[i].from;
		edges[i].to = config->migrations[i].to;
		edge_list[i] = &edges[i];
	}
	hello.protocol = WIRE_PROTOCOL;
	hello.service = (char *)(uintptr_t)(config->service ? config->service : "");
	hello.version = (char *)(uintptr_t)(config->version ? config->version : "");
	hello.pid = getpid();
	hello.n_schemas = n_types;
	hello.schemas = schema_list;
	hello.n_migrations = n_edges;
	hello.migrations = edge_list;
	for (size_t i = 0; i < n_types; i++)
		hello.journals |= config->types[i].change != NULL;
	r = channel_say(upg->channel, &message, &upg->why);
out:
	free(edge_list);
	free(edges);
	free(schema_list);
	free(schemas);
	return r;
}

/* What the supervisor may ask at any time. That it could not be answered is no failure of what is being done. */
static bool answer(void *arg, const Upgraded__Wire__AppMessage *message)
{
	const struct upg *upg = arg;

	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY)
		return false;
	fds_tell_inventory(upg->fds);
	return true;
}

/* Say hello, if there is a supervisor. */
static int join(struct upg *upg)
{
	int fd, r = channel_inherited(&fd, &upg->why);

	if (r < 0 || fd < 0)
		return r;
	r = channel_open(upg->channel, fd, &upg->why);
	return r < 0 ? r : send_hello(upg);
}

int upg_open(const struct upg_config *config, struct upg **ret_upg)
{
	struct handle *handle;
	struct upg *upg;
	int r;

	handle = calloc(1, sizeof(*handle));
	if (!handle)
		return -ENOMEM;
	upg = &handle->upg;
	upg->config = config;
	upg->channel = &handle->channel;
	upg->threads = &handle->threads;
	upg->progress = &handle->progress;
	upg->fds = &handle->fds;
	upg->shed = &handle->shed;
	upg->application = &handle->application;
	upg->state = &handle->state;
	upg->journal = &handle->journal;
	shed_init(upg->shed, upg->fds);
	journal_init(upg->journal, upg->application, upg->channel, upg->fds);
	progress_init(upg->progress, upg->channel);
	state_init(upg->state, upg->application, upg->channel, upg->fds, upg->progress);
	r = application_init(upg->application, config);
	if (r == 0)
		r = channel_init(upg->channel, answer, upg);
	if (r == 0)
		r = threads_init(upg->threads, upg->channel, config->nudge_signal, &upg->why);
	if (r == 0)
		r = fd_table_init(upg->fds, upg->channel);
	if (r == 0)
		r = join(upg);
	if (r < 0) {
		upg_free(upg);
		return r;
	}
	*ret_upg = upg;
	return 0;
}

struct upg *upg_free(struct upg *upg)
{
	if (!upg)
		return NULL;
	channel_done(upg->channel);
	commit_unmap(&upg->word);
	shed_done(upg->shed);
	journal_done(upg->journal);
	fd_table_done(upg->fds);
	threads_done(upg->threads);
	state_done(upg->state);
	application_done(upg->application);
	free(upg);
	return NULL;
}

const char *upg_why(const struct upg *upg)
{
	return upg->why.text;
}

int upg_fd(const struct upg *upg)
{
	return upg->channel->fd;
}

void upg_refuse(struct upg *upg, const char *fmt, ...)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED, .refused = &refused);
	char text[sizeof(upg->why.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	upg->refused = true;
	if (!channel_is_open(upg->channel))
		return;
	refused.reason = text;
	channel_say(upg->channel, &message, &upg->why);
}

/* Tell the supervisor what upg_why() tells the application. Return: @rc. */
static int refuse_because(struct upg *upg, int rc)
{
	struct why why = upg->why; /* sending may record a reason of its own */

	upg_refuse(upg, "%s", why.text);
	upg->why = why;
	return rc;
}

/* ---- the new version's side ---- */

static int take_handed_fd(void *arg, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	struct upg *upg = arg;
	int r = fd_table_put(upg->fds, fd, info->name, info->tag, false, true);

	if (r < 0)
		return why_errno(why, r, "descriptor %s %" PRIu64, info->name, info->tag);
	upg->n_received_fds++;
	return 0;
}

static void on_header(void *arg, const struct sf_header *header)
{
	journal_bind(((struct upg *)arg)->journal, header);
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
	}
	if (!receive->from_file) {
		r = commit_map(&upg->word, word_fd, receive->generation, &upg->why);
		if (r == 0)
			r = fds_receive(upg->channel, receive->deadline_us, take_handed_fd, upg, &upg->why);
	}
	if (r == 0)
		r = state_load(upg->state, state_fd, receive, on_header, upg, &upg->why);
	return r;
}

static int be_received(struct upg *upg, const Upgraded__Wire__Receive *receive)
{
	int r = receive_state(upg, receive);

	if (r < 0)
		return refuse_because(upg, r);
	upg->received = true;
	upg->from_file = receive->from_file;
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

int upg_receive(struct upg *upg)
{
	Upgraded__Wire__Standby standby = UPGRADED__WIRE__STANDBY__INIT;
	Upgraded__Wire__AppMessage announce = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_STANDBY, .standby = &standby);
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

static int take_over(struct upg *upg)
{
	Upgraded__Wire__Committed committed = UPGRADED__WIRE__COMMITTED__INIT;
	Upgraded__Wire__AppMessage message =
		APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_COMMITTED, .committed = &committed);
	bool ours;

	/* Whoever serves writes: from before the first moment in which it may. */
	journal_begin(upg->journal);
	committed.at_us = clock_now_us();
	ours = commit_take(&upg->word, COMMIT_NEW);
	commit_unmap(&upg->word);
	if (!ours)
		return UPG_LEAVE;
	/* From here on this process serves whatever becomes of the supervisor, so a failed report changes nothing. */
	channel_say(upg->channel, &message, &upg->why);
	return UPG_SERVE;
}

static int await_commit(struct upg *upg)
{
	Upgraded__Wire__AppMessage *message;
	int r = channel_receive(upg->channel, UINT64_MAX, &message, &upg->why);

	if (r < 0)
		return r;
	/* Nobody is left who could say that old's state is complete here. Old calls the roll off by itself. */
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

/* Nobody served before, so there is no word to take. */
static int send_ready(struct upg *upg)
{
	Upgraded__Wire__Ready ready = UPGRADED__WIRE__READY__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_READY, .ready = &ready);
	int r = channel_say(upg->channel, &message, &upg->why);

	return r < 0 ? r : UPG_SERVE;
}

static int ready_received(struct upg *upg)
{
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED, .loaded = &loaded);
	int r = state_check(upg->state, &upg->why);

	if (r < 0)
		return refuse_because(upg, r);
	upg->state->roundtrip = roundtrip_free(upg->state->roundtrip);
	if (upg->from_file)
		return send_ready(upg);
	loaded.totals = &upg->state->totals;
	loaded.fds = upg->n_received_fds;
	r = channel_say(upg->channel, &message, &upg->why);
	return r < 0 ? r : await_commit(upg);
}

int upg_ready(struct upg *upg)
{
	if (!channel_is_open(upg->channel))
		return UPG_SERVE;
	if (upg->refused)
		return UPG_LEAVE;
	if (upg->received)
		return ready_received(upg);
	return send_ready(upg);
}

/* ---- serving ---- */

static int handle(struct upg *upg, const Upgraded__Wire__AppMessage *message)
{
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE:
		return roll_leave(upg, message->prepare);
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PING:
		threads_beat(upg->threads, message->ping->nonce);
		return UPG_OK;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_BAKED:
		journal_end(upg->journal);
		fd_table_end_custody(upg->fds);
		return UPG_OK;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT:
		/* Crossed with our own word that the roll is off. */
		return UPG_OK;
	default:
		return why_set(&upg->why, -EPROTO, "did not expect %s", wire_app_name(message));
	}
}

int upg_dispatch(struct upg *upg)
{
	if (!channel_is_open(upg->channel))
		return UPG_OK;
	fd_table_tell(upg->fds);
	journal_tell(upg->journal);
	for (;;) {
		Upgraded__Wire__AppMessage *message;
		int r = channel_receive(upg->channel, 0, &message, &upg->why);

		if (r == CHANNEL_TIMEOUT)
			return UPG_OK;
		if (r == CHANNEL_CLOSED) {
			/* The supervisor is gone: serve on without one, and write nothing down that nobody will read. */
			channel_close(upg->channel);
			journal_end(upg->journal);
			return UPG_OK;
		}
		if (r < 0)
			return upg->channel->fds.cut ? refuse_because(upg, r) : r;
		r = handle(upg, message);
		channel_free(upg->channel, message);
		if (r != UPG_OK)
			return r;
	}
}
