/* SPDX-License-Identifier: MIT */
/* The protocol: a line, an answer.
 *
 *     NICK name                 OK                      who one is; again: another name
 *     JOIN room, LEAVE room     OK
 *     SAY room text             OK, and every other member gets  SAID room author text
 *     MSG user text             OK, and the user gets            TOLD author text
 *     WHO room                  USER name ..., END
 *     HISTORY room [n]          REMARK time author text ..., END  the last n, oldest first
 *     ROOMS                     ROOM name members ..., END
 *     TOPIC room [text]         OK, or TOPIC text                from version 2
 *     PING [word]               PONG word
 *     VERSION                   VERSION v2
 *     QUIT                      BYE
 *
 * Whatever is wrong: ERR and why.
 */
#include "shim/examples/chatd/command.h"

#include "shim/examples/chatd/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
	struct server *server;
	struct connection *connection;
	struct user *user; /* who calls; NULL only where a command needs no name */
	char *first;       /* the first word after the command; "" if there is none */
	char *rest;        /* what follows it */
};

static char *next_word(char **at)
{
	char *word = *at + strspn(*at, " ");
	char *end = word + strcspn(word, " ");

	*at = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

static void refuse(const struct call *call, const char *why)
{
	connection_say(call->connection, "ERR %s", why);
}

/* ---- who is where ---- */

static void run_nick(const struct call *call)
{
	struct connection *connection = call->connection;
	struct chat *chat = &call->server->chat;
	struct user *user = chat_find_user(chat, call->first);

	if (!chat_name_valid(call->first)) {
		refuse(call, "a name has 1 to 32 letters, digits, - and _");
		return;
	}
	if (user && (user->connection || connection->user)) {
		refuse(call, "that name is taken");
		return;
	}
	if (connection->user) {
		if (chat_rename_user(chat, connection->user, call->first) < 0) {
			refuse(call, "out of memory");
			return;
		}
	} else {
		/* One who came from a file and waits for his client is taken up with all that is his. */
		connection->user = user ? user : chat_add_user(chat, call->first);
		if (!connection->user) {
			refuse(call, "out of memory");
			return;
		}
		connection->user->connection = connection;
#if CHATD_VERSION >= 2
		connection->user->joined_at_ns = unix_now_ns();
#endif
	}
	connection_say(connection, "OK");
}

static void run_join(const struct call *call)
{
	struct chat *chat = &call->server->chat;
	struct room *room = chat_find_room(chat, call->first);

	if (!chat_name_valid(call->first)) {
		refuse(call, "a room's name has 1 to 32 letters, digits, - and _");
		return;
	}
	if (!room)
		room = chat_add_room(chat, call->first);
	if (!room) {
		refuse(call, "there are too many rooms");
		return;
	}
	int rc = chat_is_member(room, call->user) ? 0 : chat_join(room, call->user);
	if (rc < 0)
		refuse(call, rc == -EMFILE ? "you are in too many rooms" : "out of memory");
	else
		connection_say(call->connection, "OK");
}

/* The room that is named, or NULL after an answer. */
static struct room *room_of(const struct call *call, bool as_member)
{
	struct room *room = chat_find_room(&call->server->chat, call->first);

	if (!room)
		refuse(call, "there is no such room");
	else if (as_member && !chat_is_member(room, call->user))
		refuse(call, "you are not in that room");
	else
		return room;
	return NULL;
}

static void run_leave(const struct call *call)
{
	struct room *room = room_of(call, true);

	if (!room)
		return;
	chat_leave(room, call->user);
	connection_say(call->connection, "OK");
}

static void run_who(const struct call *call)
{
	struct room *room = room_of(call, false);

	if (!room)
		return;
	for (size_t i = 0; i < room->n_members; i++) {
#if CHATD_VERSION >= 2
		if (room->members[i]->joined_at_ns) {
			connection_say(call->connection, "USER %s since %" PRId64, room->members[i]->name,
				       room->members[i]->joined_at_ns / 1000000000);
			continue;
		}
#endif
		connection_say(call->connection, "USER %s", room->members[i]->name);
	}
	connection_say(call->connection, "END");
}

static void run_rooms(const struct call *call)
{
	struct room *room;

	TAILQ_FOREACH(room, &call->server->chat.rooms, link)
		connection_say(call->connection, "ROOM %s %zu", room->name, room->n_members);
	connection_say(call->connection, "END");
}

/* ---- what is said ---- */

static void run_say(const struct call *call)
{
	struct room *room = room_of(call, true);

	if (!room)
		return;
	struct remark *remark = chat_new_remark(call->rest, unix_now_ns());
	if (!remark) {
		refuse(call, "out of memory");
		return;
	}
	author_set(&remark->author, call->user);
	for (size_t i = 0; i < room->n_members; i++) {
		const struct user *member = room->members[i];

		if (member != call->user && member->connection)
			connection_say(member->connection, "SAID %s %s %s", room->name, call->user->name, call->rest);
	}
	chat_append(&call->server->chat, room, remark);
	connection_say(call->connection, "OK");
}

static void run_msg(const struct call *call)
{
	const struct user *to = chat_find_user(&call->server->chat, call->first);

	if (!to || !to->connection) {
		refuse(call, "there is no such user");
		return;
	}
	connection_say(to->connection, "TOLD %s %s", call->user->name, call->rest);
	connection_say(call->connection, "OK");
}

static void run_history(const struct call *call)
{
	struct room *room = room_of(call, false);
	unsigned long n = *call->rest ? strtoul(call->rest, NULL, 10) : ULONG_MAX;
	const struct remark *remark;

	if (!room)
		return;
	size_t skip = room->n_history > n ? room->n_history - n : 0;
	STAILQ_FOREACH(remark, &room->history, link) {
		if (skip)
			skip--;
		else
			connection_say(call->connection, "REMARK %" PRId64 " %s %s", remark->at_ns, author_name(&remark->author),
				       remark->text);
	}
	connection_say(call->connection, "END");
}

#if CHATD_VERSION >= 2
static void run_topic(const struct call *call)
{
	struct room *room = room_of(call, *call->rest != '\0');

	if (!room)
		return;
	if (!*call->rest) {
		connection_say(call->connection, "TOPIC %s", room->topic);
		return;
	}
	memset(room->topic, 0, sizeof room->topic);
	strncpy(room->topic, call->rest, TEXT_BYTES);
	connection_say(call->connection, "OK");
}
#endif

/* ---- the rest ---- */

static void run_ping(const struct call *call)
{
	connection_say(call->connection, "PONG %s", call->first);
}

static void run_version(const struct call *call)
{
	connection_say(call->connection, "VERSION %s", CHATD_NAME);
}

static void run_quit(const struct call *call)
{
	connection_say(call->connection, "BYE");
	call->connection->quit = true;
}

#if CHATD_BREAK_CRASH
/* Fails when it is asked to, after it has served: to try the way back. */
static void run_crash(const struct call *call)
{
	(void)call;
	abort();
}
#endif

static const struct command {
	const char *verb;
	bool named; /* needs to know who calls */
	bool word;  /* needs a word */
	bool text;  /* needs more than that */
	void (*run)(const struct call *call);
} commands[] = {
	{ .verb = "NICK", .word = true, .run = run_nick },
	{ .verb = "JOIN", .named = true, .word = true, .run = run_join },
	{ .verb = "LEAVE", .named = true, .word = true, .run = run_leave },
	{ .verb = "SAY", .named = true, .word = true, .text = true, .run = run_say },
	{ .verb = "MSG", .named = true, .word = true, .text = true, .run = run_msg },
	{ .verb = "WHO", .word = true, .run = run_who },
	{ .verb = "HISTORY", .word = true, .run = run_history },
	{ .verb = "ROOMS", .run = run_rooms },
#if CHATD_VERSION >= 2
	{ .verb = "TOPIC", .named = true, .word = true, .run = run_topic },
#endif
	{ .verb = "PING", .run = run_ping },
	{ .verb = "VERSION", .run = run_version },
	{ .verb = "QUIT", .run = run_quit },
#if CHATD_BREAK_CRASH
	{ .verb = "CRASH", .run = run_crash },
#endif
};

void command_run(struct server *server, struct connection *connection, char *line)
{
	struct call call = { .server = server, .connection = connection, .user = connection->user };
	const char *verb = next_word(&line);
	const struct command *command = commands, *end = commands + sizeof commands / sizeof *commands;

	while (command < end && strcmp(command->verb, verb) != 0)
		command++;
	call.first = next_word(&line);
	call.rest = line;
	if (command == end)
		refuse(&call, "no such command");
	else if (command->named && !call.user)
		refuse(&call, "say NICK and your name first");
	else if ((command->word && !*call.first) || (command->text && !*call.rest))
		refuse(&call, "something is missing");
	else if (strlen(call.rest) > TEXT_BYTES)
		refuse(&call, "a text has at most 512 bytes");
	else
		command->run(&call);
}
