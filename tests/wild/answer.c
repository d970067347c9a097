/* SPDX-License-Identifier: MIT */
#include "tests/wild/answer.h"

#include "base/clock.h"
#include "base/fd.h"
#include "tests/wild/things.h"
#include "wire/app.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM_MS 300 /* for a supervisor that has no room in the channel */

const struct invent_hint *actor_hints(void)
{
	static const char *const names[] = { "x", "s0", "s1", "wild.State", "wild.Other", NULL };
	static const struct invent_hint hints[] = {
		{ "protocol", NULL, WIRE_PROTOCOL, WIRE_PROTOCOL }, { "name", names, 0, 0 }, { "type", names, 0, 0 },
		{ "version", NULL, 1, 3 }, { "records", NULL, 0, 1 }, { "payload_bytes", NULL, 0, 1 }, { "tag", NULL, 0, 5 },
		{ "fds", NULL, 0, 40 }, { NULL, NULL, 0, 0 },
	};

	return hints;
}

/* ---- saying ---- */

static void send_whole(const struct actor *actor, const ProtobufCMessage *message, const int *fds, size_t n)
{
	struct pollfd room = { .fd = actor->channel, .events = POLLOUT };

	if (wire_send(actor->channel, message, fds, n, NULL) == WIRE_AGAIN && poll(&room, 1, ROOM_MS) > 0)
		wire_send(actor->channel, message, fds, n, NULL);
}

static void send_damaged(struct actor *actor, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *packed = malloc(size + 1);

	if (packed)
		things_send_damaged(&actor->inventor.dice, actor->channel, packed, protobuf_c_message_pack(message, packed));
	free(packed);
}

/* Something else, twice, with what does not belong to it, or nothing at all. */
static void slip(struct actor *actor, ProtobufCMessage *message, const int *fds, size_t n)
{
	struct dice *dice = &actor->inventor.dice;
	int more[4];
	size_t n_more;

	switch (dice_below(dice, 7)) {
	case 0:
		return;
	case 1:
		send_whole(actor, message, fds, n);
		send_whole(actor, message, fds, n);
		return;
	case 2:
		send_damaged(actor, message);
		return;
	case 3:
		n_more = things_some(dice, actor->channel, more, 4);
		send_whole(actor, message, more, n_more);
		things_close(more, n_more);
		return;
	default:
		invent_change(&actor->inventor, message);
		send_whole(actor, message, fds, n);
	}
}

/* @question: what it answers; NULL: nothing. */
static void say(struct actor *actor, const Upgraded__Wire__AppMessage *message, const Upgraded__Wire__AppMessage *question,
		const int *fds, size_t n)
{
	ProtobufCMessage *copy = invent_copy(&message->base);

	if (!copy)
		return;
	if (question)
		invent_echo(copy, &question->base);
	if (dice_percent(&actor->inventor.dice, actor->slips))
		slip(actor, copy, fds, n);
	else
		send_whole(actor, copy, fds, n);
	protobuf_c_message_free_unpacked(copy, NULL);
}

#define SAY_WITH(kind, field, body, question, fds, n) \
	say(actor, &(Upgraded__Wire__AppMessage)APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_##kind, .field = &(body)), question, \
	    fds, n)
#define SAY(kind, field, body, question) SAY_WITH(kind, field, body, question, NULL, 0)

static void say_hello(struct actor *actor)
{
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__Schema schema = UPGRADED__WIRE__SCHEMA__INIT, *schemas[] = { &schema };

	schema.name = wire_text("wild.State");
	schema.version = 1;
	hello.protocol = WIRE_PROTOCOL;
	hello.pid = getpid();
	hello.schemas = schemas;
	hello.n_schemas = 1;
	hello.journals = dice_percent(&actor->inventor.dice, 50);
	hello.checkpoints = dice_percent(&actor->inventor.dice, 80);
	SAY(HELLO, hello, hello, NULL);
}

static void say_fds(struct actor *actor, const Upgraded__Wire__AppMessage *question)
{
	Upgraded__Wire__Fds body = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__FdInfo infos[ACTOR_OWN], *list[ACTOR_OWN];
	char names[ACTOR_OWN][24];

	for (size_t i = 0; i < actor->n_own; i++) {
		snprintf(names[i], sizeof(names[i]), "s%zu", i);
		upgraded__wire__fd_info__init(&infos[i]);
		infos[i].name = names[i];
		infos[i].tag = i;
		list[i] = &infos[i];
	}
	body.fds = list;
	body.n_fds = actor->n_own;
	body.last = true;
	SAY_WITH(FDS, fds, body, question, actor->own, actor->n_own);
}

static void say_resumed(struct actor *actor, const Upgraded__Wire__AppMessage *question)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	resumed.at_us = clock_now_us();
	SAY(RESUMED, resumed, resumed, question);
	actor->role = ACTOR_SERVES;
}

/* ---- a roll ---- */

static void drop_own(struct actor *actor)
{
	things_close(actor->own, actor->n_own);
	actor->n_own = 0;
}

/* As the child that writes a checkpoint; or too much, or nothing for as long as this process lives. */
static void report(struct actor *actor, int fd)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);
	uint8_t bytes[8192] = { 0 };
	bool slips = dice_percent(&actor->inventor.dice, actor->slips);
	size_t size;

	saved.totals = &totals;
	size = protobuf_c_message_pack(&message.base, bytes);
	if (slips)
		size = dice_below(&actor->inventor.dice, sizeof(bytes));
	if (fd < 0 || write(fd, bytes, size) < 0)
		return;
	if (!slips || dice_percent(&actor->inventor.dice, 80))
		fd_close(fd);
}

static void checkpoint(struct actor *actor, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;

	SAY(QUIESCED, quiesced, quiesced, message);
	if (message->prepare->announce)
		say_fds(actor, message);
	report(actor, wire_fds_claim(fds, 1));
	say_resumed(actor, message);
}

static void hear_prepare(struct actor *actor, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	bool save_only = message->prepare->save_only;
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;

	commit_unmap(&actor->word);
	if (!save_only && fds->n)
		commit_map(&actor->word, fds->fd[0], message->prepare->generation, NULL);
	fd_close(actor->state);
	actor->state = wire_fds_claim(fds, save_only ? 0 : 1);
	if (dice_percent(&actor->inventor.dice, actor->slips)) {
		Upgraded__Wire__NotYet not_yet = UPGRADED__WIRE__NOT_YET__INIT;

		SAY(NOT_YET, not_yet, not_yet, message);
		return;
	}
	if (message->prepare->checkpoint) {
		checkpoint(actor, message, fds);
		return;
	}
	SAY(QUIESCED, quiesced, quiesced, message);
	if (!save_only)
		say_fds(actor, message);
	saved.totals = &totals;
	saved.fds = save_only ? 0 : (uint32_t)actor->n_own;
	SAY(SAVED, saved, saved, message);
	actor->state = fd_close(actor->state);
	actor->role = save_only ? ACTOR_SERVES : ACTOR_SAVED;
	if (save_only)
		say_resumed(actor, message);
}

static void say_loaded(struct actor *actor, const Upgraded__Wire__AppMessage *question)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;

	loaded.totals = &totals;
	loaded.fds = (uint32_t)actor->n_own;
	SAY(LOADED, loaded, loaded, question);
}

static void hear_receive(struct actor *actor, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	bool from_file = message->receive->from_file;
	Upgraded__Wire__Ready ready = UPGRADED__WIRE__READY__INIT;

	drop_own(actor);
	commit_unmap(&actor->word);
	if (!from_file && fds->n)
		commit_map(&actor->word, fds->fd[0], message->receive->generation, NULL);
	fd_close(actor->state);
	actor->state = wire_fds_claim(fds, from_file ? 0 : 1);
	actor->journal = from_file ? -1 : wire_fds_claim(fds, 2);
	if (from_file)
		SAY(READY, ready, ready, message);
	else
		actor->role = ACTOR_RECEIVES;
}

static void hear_fds(struct actor *actor, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	for (size_t i = 0; i < fds->n && actor->n_own < ACTOR_OWN; i++)
		actor->own[actor->n_own++] = wire_fds_claim(fds, i);
	if (!message->fds->last)
		return;
	if (actor->role == ACTOR_RECEIVES)
		say_loaded(actor, message);
	else if (actor->role == ACTOR_RESUMES)
		say_resumed(actor, message);
}

static void hear_commit(struct actor *actor, const Upgraded__Wire__AppMessage *message)
{
	Upgraded__Wire__Committed committed = UPGRADED__WIRE__COMMITTED__INIT;

	committed.at_us = clock_now_us();
	if (actor->word.word && !commit_take(&actor->word, COMMIT_NEW))
		_exit(0);
	SAY(COMMITTED, committed, committed, message);
	actor->role = ACTOR_SERVES;
}

static void hear_park(struct actor *actor, const Upgraded__Wire__AppMessage *message)
{
	Upgraded__Wire__Parked parked = UPGRADED__WIRE__PARKED__INIT;

	parked.fds = (uint32_t)actor->n_own;
	drop_own(actor);
	commit_unmap(&actor->word); /* shared memory would not come back from an image */
	SAY(PARKED, parked, parked, message);
}

static void hear_abort(struct actor *actor, const Upgraded__Wire__AppMessage *message)
{
	commit_unmap(&actor->word);
	if (actor->role == ACTOR_RECEIVES)
		_exit(0);
	say_resumed(actor, message);
}

static void hear_resume(struct actor *actor)
{
	drop_own(actor);
	actor->role = ACTOR_RESUMES; /* descriptors follow */
}

/* ---- all of it ---- */

static void hear_ask_inventory(struct actor *actor, const Upgraded__Wire__AppMessage *message)
{
	Upgraded__Wire__Inventory inventory = UPGRADED__WIRE__INVENTORY__INIT;
	uint32_t numbers[ACTOR_OWN];

	for (size_t i = 0; i < actor->n_own; i++)
		numbers[i] = (uint32_t)actor->own[i];
	inventory.fds = numbers;
	inventory.n_fds = actor->n_own;
	inventory.last = true;
	SAY(INVENTORY, inventory, inventory, message);
}

void actor_start(struct actor *actor)
{
	Upgraded__Wire__Standby standby = UPGRADED__WIRE__STANDBY__INIT;
	struct dice *dice = &actor->inventor.dice;
	size_t n = dice_below(dice, ACTOR_OWN - 1);
	bool lingers = dice_percent(dice, 15); /* when it gives them up it is late itself */

	for (size_t i = 0; i < n; i++)
		actor->own[actor->n_own++] = lingers ? things_lingering() : things_listener();
	say_hello(actor);
	SAY(STANDBY, standby, standby, NULL);
}

void actor_answer(struct actor *actor, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	Upgraded__Wire__Ready ready = UPGRADED__WIRE__READY__INIT;
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;

	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME:
		SAY(READY, ready, ready, message);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE:
		hear_prepare(actor, message, fds);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE:
		hear_receive(actor, message, fds);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_FDS:
		hear_fds(actor, message, fds);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_COMMIT:
		hear_commit(actor, message);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT:
		hear_abort(actor, message);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PARK:
		hear_park(actor, message);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME:
		hear_resume(actor);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PING:
		SAY(PONG, pong, pong, message);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY:
		hear_ask_inventory(actor, message);
		break;
	default: /* Baked, and what is not known here yet */
		break;
	}
}
