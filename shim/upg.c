/* SPDX-License-Identifier: MIT */
/* The life of an application under its supervisor: the handle put together from its modules, open, dispatch, free. */
#include "base/fd.h"
#include "base/lack.h"
#include "shim/checkpoint.h"
#include "shim/core/channel.h"
#include "shim/core/config.h"
#include "shim/core/progress.h"
#include "shim/core/threads.h"
#include "shim/core/upg.h"
#include "shim/fds/announce.h"
#include "shim/fds/handover.h"
#include "shim/fds/shed.h"
#include "shim/fds/traffic.h"
#include "shim/journal/memory.h"
#include "shim/roll.h"
#include "shim/state/application.h"
#include "shim/state/state.h"
#include "shim/takeover.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_TOLD 1024u /* of more than these, some are taken for unknown */

/* A handle and all that it leads to, in one piece. */
struct parts {
	struct upg upg; /* first: it is what the application holds */
	struct config config;
	struct channel channel;
	struct threads threads;
	struct progress progress;
	struct fd_table fds;
	struct shed shed;
	struct application application;
	struct state state;
	struct journal journal;
	struct takeover takeover;
};
_Static_assert(offsetof(struct parts, upg) == 0, "upg_free() frees all by the address of the handle");

/* ---- open and free ---- */

/* @anew: again, to a supervisor that was started while this process lived. */
static int send_hello(struct upg *upg, bool anew)
{
	const struct upg_config *config = upg->config;
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO, .hello = &hello);
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
		schemas[i].no_change = !config->types[i].change;
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
	hello.leaves = true;
	hello.n_schemas = n_types;
	hello.schemas = schema_list;
	hello.n_migrations = n_edges;
	hello.migrations = edge_list;
	for (size_t i = 0; i < n_types; i++)
		hello.journals |= config->types[i].change != NULL;
	hello.no_newcomers = !config->on_conn;
	hello.keeps = hello.listens = hello.checkpoints = true;
	hello.anew = anew;
	hello.serves = anew && upg->takeover->serves;
	r = channel_say(upg->channel, &message, &upg->why);
out:
	free(edge_list);
	free(edges);
	free(schema_list);
	free(schemas);
	return r;
}

static bool answer_new_supervisor(struct channel *channel, const Upgraded__Wire__AppMessage *message)
{
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_KEEP) {
		int end = channel_claim(channel, 0), note = message->keep->note ? channel_claim(channel, message->keep->note) : -1;

		channel_keep(channel, end, channel_claim(channel, 1));
		channel_store(channel, channel_claim(channel, 2));
		channel_note(channel, note);
	} else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_ANEW) {
		channel_come_anew(channel, channel_claim(channel, 0));
		channel_print_to(channel_claim(channel, 1), message->anew->output);
	} else {
		return false;
	}
	return true;
}

/* What the supervisor may ask at any time. That it could not be answered is no failure of what is being done. */
static bool answer(void *arg, const Upgraded__Wire__AppMessage *message)
{
	const struct upg *upg = arg;
	uint32_t tids[THREADS_TOLD];
	struct sizes_told sizes = { .n = 0 };
	size_t n;

	if (answer_new_supervisor(upg->channel, message))
		return true;
	/* An answer that came too late to be waited for. */
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_EXPECTED && !upg->takeover->asks)
		return true;
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_REGISTERED) {
		fds_tell_registered(upg->fds);
		return true;
	}
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY)
		return false;
	n = threads_list(upg->threads, tids, THREADS_TOLD);
	if (upg->takeover->serves)
		sizes_tell(&upg->state->sizes, &sizes);
	fds_tell_inventory(upg->fds, message->ask_inventory->question, tids, n, sizes.list, sizes.n);
	return true;
}

/* There is no handle then that could hold it. */
static _Thread_local struct why open_failure;

/* From the bottom up: each module gets those below it that it needs. What is not reached stays zero, which can be released. */
static int assemble(struct parts *parts, const struct upg_config *told, const struct upg_sizes *bytes)
{
	const struct upg_config *config = &parts->config.told;
	struct upg *upg = &parts->upg;
	int r;

	*upg = (struct upg){
		.config = config, .channel = &parts->channel, .threads = &parts->threads, .progress = &parts->progress,
		.fds = &parts->fds, .shed = &parts->shed, .application = &parts->application, .state = &parts->state,
		.journal = &parts->journal, .takeover = &parts->takeover,
	};
	/* These cannot fail. */
	progress_init(upg->progress, upg->channel);
	shed_init(upg->shed, upg->fds);
	state_init(upg->state, upg->application, upg->channel, upg->fds, upg->progress);
	journal_init(upg->journal, upg->application, upg->channel, upg->fds);
	r = config_init(&parts->config, told, bytes, &upg->why);
	if (r == 0)
		r = application_init(upg->application, config);
	if (r == 0)
		r = application_check_volatile(upg->application, &upg->why);
	if (r == 0)
		r = channel_init(upg->channel, answer, upg);
	if (r == 0)
		r = threads_init(upg->threads, upg->channel, config, &upg->why);
	return r < 0 ? r : fd_table_init(upg->fds, upg->channel);
}

/* Say hello, if there is a supervisor. */
static int join(struct upg *upg)
{
	int fd, r = channel_inherited(&fd, &upg->why);

	if (r < 0 || fd < 0)
		return r;
	r = channel_open(upg->channel, fd, &upg->why);
	upg->fds->more_may_come = true;
	return r < 0 ? r : send_hello(upg, false);
}

const char *upg_version(void)
{
	return UPG_VERSION;
}

int upg_open_sized(const struct upg_config *config, const struct upg_sizes *bytes, struct upg **ret_upg)
{
	struct parts *parts = calloc(1, sizeof(*parts));
	int r;

	*open_failure.text = 0;
	if (!parts)
		return -ENOMEM;
	r = assemble(parts, config, bytes);
	if (r == 0)
		r = join(&parts->upg);
	if (r < 0) {
		open_failure = parts->upg.why;
		upg_free(&parts->upg);
		return r;
	}
	*ret_upg = &parts->upg;
	return 0;
}

struct upg *upg_free(struct upg *upg)
{
	if (!upg)
		return NULL;
	takeover_done(upg->takeover);
	journal_done(upg->journal);
	state_done(upg->state);
	application_done(upg->application);
	shed_done(upg->shed);
	fd_table_done(upg->fds);
	/* In a forked child, threads that are not there may wait for its conditions, and would be waited for. */
	if (channel_is_ours(upg->channel))
		threads_done(upg->threads);
	channel_done(upg->channel);
	config_done(&((struct parts *)upg)->config);
	free(upg);
	return NULL;
}

const char *upg_why(const struct upg *upg)
{
	return upg ? upg->why.text : open_failure.text;
}

int upg_fd(const struct upg *upg)
{
	return upg->channel->fd;
}

/* ---- serving ---- */

static int handle(struct upg *upg, const Upgraded__Wire__AppMessage *message)
{
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE:
		return roll_leave(upg, message->prepare);
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PING:
		fd_traffic_tell(upg->fds);
		threads_beat(upg->threads, message->ping->nonce);
		return UPG_GO_ON;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_CHECKPOINTED:
		checkpoint_end(upg);
		return UPG_GO_ON;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_BAKED:
		journal_end(upg->journal);
		fd_table_end_custody(upg->fds);
		channel_store(upg->channel, -1);
		return UPG_GO_ON;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT:
		/* Crossed with our own message that the roll is off. */
		return UPG_GO_ON;
	default:
		return why_set(&upg->why, -EPROTO, "did not expect %s", wire_app_name(message));
	}
}

/* It is waited for: without a hello nothing can be asked of this process any more. Return: 0; -errno: it is still to be said. */
static int greet_anew(struct upg *upg)
{
	unsigned tries = 0;
	int r;

	upg->channel->anew = false;
	do
		r = send_hello(upg, true);
	while (r < 0 && lack_again(-r, &tries));
	upg->channel->anew = r == -ENOMEM;
	return r == -ENOMEM ? r : 0;
}

static int dispatch(struct upg *upg)
{
	if (!channel_is_open(upg->channel))
		return UPG_GO_ON;
	if (!channel_is_ours(upg->channel))
		return why_set(&upg->why, -ECHILD, "process %d was forked by the one that called upg_open(): it has to call "
			       "upg_free(), or to exec", (int)getpid());
	fd_table_tell(upg->fds);
	journal_tell(upg->journal);
	checkpoint_reap(upg);
	for (;;) {
		Upgraded__Wire__AppMessage *message;
		int r = channel_receive(upg->channel, 0, &message, &upg->why);

		if (r == CHANNEL_TIMEOUT)
			return UPG_GO_ON;
		if (r == CHANNEL_CLOSED && upg->channel->anew) {
			/* What the one before had begun has come to its end. */
			if (greet_anew(upg) < 0)
				return UPG_GO_ON; /* at the next event, then */
			continue;
		}
		if (r == CHANNEL_CLOSED) {
			/* The supervisor is gone: serve on without one, and write nothing down that nobody will read. Perhaps
			 * another one comes. */
			if (!channel_is_kept(upg->channel))
				channel_close(upg->channel);
			journal_end(upg->journal);
			return UPG_GO_ON;
		}
		if (r < 0)
			return upg->channel->fds.cut ? takeover_refuse(upg, r) : r;
		r = handle(upg, message);
		channel_free(upg->channel, message);
		if (r != UPG_GO_ON)
			return r;
	}
}

enum upg_dispatched upg_dispatch(struct upg *upg)
{
	return (enum upg_dispatched)takeover_end(upg, dispatch(upg), UPG_GO_ON);
}
