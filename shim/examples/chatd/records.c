/* SPDX-License-Identifier: MIT */
/* A pointer is written as upg_ref() and read by upg_resolve(), in whichever order the objects come. Users come before rooms: so a
 * user's rooms are still to come when he is loaded, and a room's members are there already. */
#include "shim/examples/chatd/records.h"

#include "shim/examples/chatd/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* protobuf-c has no const variant; packing only reads. */
static char *text_of(const char *text)
{
	return (char *)(uintptr_t)text;
}

/* ---- users ---- */

int save_users(struct upg_saver *saver, void *userdata)
{
	const struct server *server = userdata;
	const struct user *user;
	uint64_t rooms[ROOMS_PER_USER];
	int rc = 0;

	TAILQ_FOREACH(user, &server->chat.users, link) {
		RECORD(User) message;

		RECORD_OF(user, init)(&message);
		message.id = upg_ref(saver, user);
		message.name = text_of(user->name);
		for (size_t i = 0; i < user->n_rooms; i++)
			rooms[i] = upg_ref(saver, user->rooms[i]);
		message.rooms = rooms;
		message.n_rooms = user->n_rooms;
#if CHATD_VERSION >= 2
		message.joined_at_ns = user->joined_at_ns;
#endif
		rc = upg_save(saver, &message.base);
		if (rc < 0)
			break;
	}
	return rc;
}

int load_user(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata)
{
	struct server *server = userdata;
	const RECORD(User) *message = (const RECORD(User) *)from;

	if (!chat_name_valid(message->name) || chat_find_user(&server->chat, message->name))
		return upg_load_fail(loader, "\"%s\" came twice, or is no name", message->name);
	if (message->n_rooms > ROOMS_PER_USER)
		return upg_load_fail(loader, "%s is in %zu rooms", message->name, message->n_rooms);
	struct user *user = chat_add_user(&server->chat, message->name);
	if (!user)
		return -ENOMEM;
#if CHATD_VERSION >= 2
	user->joined_at_ns = message->joined_at_ns;
#endif
	int rc = upg_define(loader, message->id, user);
	user->n_rooms = message->n_rooms;
	for (size_t i = 0; i < message->n_rooms && rc == 0; i++)
		rc = upg_resolve(loader, message->rooms[i], "chatd.Room", (void **)&user->rooms[i]);
	return rc;
}

uint64_t count_users(void *userdata)
{
	return server_count(userdata, &((const struct server *)userdata)->chat.n_users);
}

/* ---- rooms ---- */

static int save_room(struct upg_saver *saver, const struct room *room)
{
	RECORD(Room) message;
	uint64_t *members = calloc(room->n_members + 1, sizeof *members);

	if (!members)
		return -ENOMEM;
	RECORD_OF(room, init)(&message);
	message.id = upg_ref(saver, room);
	message.name = text_of(room->name);
	for (size_t i = 0; i < room->n_members; i++)
		members[i] = upg_ref(saver, room->members[i]);
	message.members = members;
	message.n_members = room->n_members;
#if CHATD_VERSION >= 2
	message.topic = text_of(room->topic);
#endif
	int rc = upg_save(saver, &message.base);
	free(members);
	return rc;
}

int save_rooms(struct upg_saver *saver, void *userdata)
{
	const struct server *server = userdata;
	const struct room *room;
	int rc = 0;

	TAILQ_FOREACH(room, &server->chat.rooms, link) {
		rc = save_room(saver, room);
		if (rc < 0)
			break;
	}
	return rc;
}

int load_room(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata)
{
	struct server *server = userdata;
	const RECORD(Room) *message = (const RECORD(Room) *)from;

	if (!chat_name_valid(message->name) || chat_find_room(&server->chat, message->name))
		return upg_load_fail(loader, "\"%s\" came twice, or is no name", message->name);
	struct room *room = chat_add_room(&server->chat, message->name);
	if (!room)
		return upg_load_fail(loader, "out of memory, or there are over %u rooms", ROOMS_MAX);
#if CHATD_VERSION >= 2
	strncpy(room->topic, message->topic, TEXT_BYTES);
#endif
	/* In its final size: what upg_resolve() is to fill must not move. */
	room->members = calloc(message->n_members + 1, sizeof(struct user *));
	if (!room->members)
		return -ENOMEM;
	room->n_members = message->n_members;
	room->cap_members = message->n_members + 1;
	int rc = upg_define(loader, message->id, room);
	for (size_t i = 0; i < message->n_members && rc == 0; i++)
		rc = upg_resolve(loader, message->members[i], "chatd.User", (void **)&room->members[i]);
	return rc;
}

uint64_t count_rooms(void *userdata)
{
	return server_count(userdata, &((const struct server *)userdata)->chat.n_rooms);
}

/* ---- what was said ---- */

static int save_remark(struct upg_saver *saver, const struct remark *remark)
{
	RECORD(Remark) message;

	RECORD_OF(remark, init)(&message);
	message.room = upg_ref(saver, remark->room);
	message.text = text_of(remark->text);
	message.at_ns = remark->at_ns;
#if CHATD_VERSION == 1
	message.author = text_of(author_name(&remark->author));
#else
	message.author_name = text_of(author_name(&remark->author));
	if (remark->author.user && !remark->author.user->gone)
		message.author = upg_ref(saver, remark->author.user);
#endif
	return upg_save(saver, &message.base);
}

int save_remarks(struct upg_saver *saver, void *userdata)
{
	const struct server *server = userdata;
	const struct room *room;
	const struct remark *remark;

	TAILQ_FOREACH(room, &server->chat.rooms, link) {
		STAILQ_FOREACH(remark, &room->history, link) {
			int rc = save_remark(saver, remark);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

static int load_author(struct upg_loader *loader, const RECORD(Remark) *message, struct author *author, struct server *server)
{
	(void)loader;
	(void)server;
#if CHATD_VERSION == 1
	strncpy(author->name, message->author, NAME_BYTES);
	return 0;
#else
	strncpy(author->name, message->author_name, NAME_BYTES);
	if (message->author_by_name) {
		author->user = chat_find_user(&server->chat, message->author_name);
		return 0;
	}
	return upg_resolve(loader, message->author, "chatd.User", (void **)&author->user);
#endif
}

int load_remark(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata)
{
	struct server *server = userdata;
	const RECORD(Remark) *message = (const RECORD(Remark) *)from;
	struct room *room;
	int rc = upg_resolve(loader, message->room, "chatd.Room", (void **)&room);

	if (rc < 0)
		return rc;
	/* A local variable will not wait for the room to come. */
	if (!room)
		return upg_load_fail(loader, "something was said in a room that did not come before it");
	struct remark *remark = chat_new_remark(message->text, message->at_ns);
	if (!remark)
		return -ENOMEM;
	remark->room = room;
	STAILQ_INSERT_TAIL(&room->history, remark, link);
	room->n_history++;
	server->chat.n_remarks++;
	return load_author(loader, message, &remark->author, server);
}

uint64_t count_remarks(void *userdata)
{
	return server_count(userdata, &((const struct server *)userdata)->chat.n_remarks);
}

/* ---- when everything is there ---- */

static const char *settle_connections(struct server *server)
{
	struct connection *connection;

	TAILQ_FOREACH(connection, &server->connections, link) {
		if (!connection->user)
			continue;
		if (connection->user->connection)
			return "a user has two connections";
		connection->user->connection = connection;
	}
	return NULL;
}

static void settle_authors(struct room *room)
{
#if CHATD_VERSION >= 2
	struct remark *remark;

	STAILQ_FOREACH(remark, &room->history, link) {
		if (remark->author.user)
			remark->author.user->said++;
	}
#else
	(void)room;
#endif
}

/* Each member of a room has the room in his list, and there are as many members as entries in those lists. */
static const char *check_members(const struct chat *chat)
{
	const struct room *room;
	const struct user *user;
	size_t n_members = 0, n_rooms = 0;

	TAILQ_FOREACH(room, &chat->rooms, link) {
		n_members += room->n_members;
		for (size_t i = 0; i < room->n_members; i++) {
			if (!room->members[i] || !chat_is_member(room, room->members[i]))
				return "a room has a member who is not in it";
		}
	}
	TAILQ_FOREACH(user, &chat->users, link)
		n_rooms += user->n_rooms;
	return n_members == n_rooms ? NULL : "a user is in a room that does not know him";
}

const char *records_settle(struct server *server)
{
	const char *wrong = settle_connections(server);
	struct room *room;

	TAILQ_FOREACH(room, &server->chat.rooms, link)
		settle_authors(room);
	return wrong ? wrong : check_members(&server->chat);
}
