/* SPDX-License-Identifier: MIT */
#include "shim/examples/chatd/chat.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* ---- by name ---- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b); /* users and rooms begin with their names */
}

static void *find(void *const *tree, const char *name)
{
	void *node = tfind(name, tree, compare_names);

	return node ? *(void **)node : NULL;
}

struct user *chat_find_user(const struct chat *chat, const char *name)
{
	return find(&chat->users_by_name, name);
}

struct room *chat_find_room(const struct chat *chat, const char *name)
{
	return find(&chat->rooms_by_name, name);
}

bool chat_name_valid(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	size_t size = strlen(name);

	return size >= 1 && size <= NAME_BYTES && strspn(name, letters) == size;
}

/* ---- authors ---- */

#if CHATD_VERSION == 1

void author_set(struct author *author, struct user *user)
{
	memcpy(author->name, user->name, sizeof author->name);
}

const char *author_name(const struct author *author)
{
	return author->name;
}

static void author_done(struct author *author)
{
	(void)author;
}

static void user_release(struct user *user)
{
	free(user);
}

#else

static void user_release(struct user *user)
{
	user->gone = true;
	if (user->said == 0)
		free(user);
}

void author_set(struct author *author, struct user *user)
{
	author->user = user;
	user->said++;
}

const char *author_name(const struct author *author)
{
	return author->user ? author->user->name : author->name;
}

static void author_done(struct author *author)
{
	if (author->user && --author->user->said == 0 && author->user->gone)
		free(author->user);
}

#endif

/* ---- rooms ---- */

static void drop_oldest(struct chat *chat, struct room *room)
{
	struct remark *remark = STAILQ_FIRST(&room->history);

	STAILQ_REMOVE_HEAD(&room->history, link);
	room->n_history--;
	chat->n_remarks--;
	author_done(&remark->author);
	free(remark);
}

static void remove_room(struct chat *chat, struct room *room)
{
	while (room->n_history)
		drop_oldest(chat, room);
	tdelete(room, &chat->rooms_by_name, compare_names);
	TAILQ_REMOVE(&chat->rooms, room, link);
	chat->n_rooms--;
	free(room->members);
	free(room);
}

/* Rooms outlive their last member, for what was said in them, but not without limit. */
static void make_room_for_a_room(struct chat *chat)
{
	struct room *room;

	TAILQ_FOREACH(room, &chat->rooms, link) {
		if (room->n_members == 0) {
			remove_room(chat, room);
			return;
		}
	}
}

struct room *chat_add_room(struct chat *chat, const char *name)
{
	if (chat->n_rooms >= ROOMS_MAX)
		make_room_for_a_room(chat);
	struct room *room = chat->n_rooms < ROOMS_MAX ? calloc(1, sizeof *room) : NULL;
	if (!room)
		return NULL;
	strncpy(room->name, name, NAME_BYTES);
	if (!tsearch(room, &chat->rooms_by_name, compare_names)) {
		free(room);
		return NULL;
	}
	STAILQ_INIT(&room->history);
	TAILQ_INSERT_TAIL(&chat->rooms, room, link);
	chat->n_rooms++;
	return room;
}

bool chat_is_member(const struct room *room, const struct user *user)
{
	for (size_t i = 0; i < user->n_rooms; i++) {
		if (user->rooms[i] == room)
			return true;
	}
	return false;
}

int chat_join(struct room *room, struct user *user)
{
	if (user->n_rooms == ROOMS_PER_USER)
		return -EMFILE;
	if (room->n_members == room->cap_members) {
		size_t cap = room->cap_members ? room->cap_members * 2 : 8;
		struct user **members = realloc(room->members, cap * sizeof(struct user *));
		if (!members)
			return -ENOMEM;
		room->members = members;
		room->cap_members = cap;
	}
	room->members[room->n_members++] = user;
	user->rooms[user->n_rooms++] = room;
	return 0;
}

/* Take one pointer out of an array and keep the others' order. */
static void take_out(void *array, size_t *n, const void *pointer)
{
	void **at = array;
	size_t i = 0;

	while (i < *n && at[i] != pointer)
		i++;
	if (i == *n)
		return;
	memmove(&at[i], &at[i + 1], (*n - i - 1) * sizeof(void *));
	*n -= 1;
}

void chat_leave(struct room *room, struct user *user)
{
	take_out(room->members, &room->n_members, user);
	take_out(user->rooms, &user->n_rooms, room);
}

struct remark *chat_new_remark(const char *text, int64_t at_ns)
{
	size_t size = strlen(text) + 1;
	struct remark *remark = calloc(1, sizeof *remark + size);

	if (remark) {
		memcpy(remark->text, text, size);
		remark->at_ns = at_ns;
	}
	return remark;
}

void chat_append(struct chat *chat, struct room *room, struct remark *remark)
{
	remark->room = room;
	STAILQ_INSERT_TAIL(&room->history, remark, link);
	room->n_history++;
	chat->n_remarks++;
	while (room->n_history > chat->history_max)
		drop_oldest(chat, room);
}

/* ---- users ---- */

struct user *chat_add_user(struct chat *chat, const char *name)
{
	struct user *user = calloc(1, sizeof *user);

	if (!user)
		return NULL;
	strncpy(user->name, name, NAME_BYTES);
	if (!tsearch(user, &chat->users_by_name, compare_names)) {
		free(user);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&chat->users, user, link);
	chat->n_users++;
	return user;
}

int chat_rename_user(struct chat *chat, struct user *user, const char *name)
{
	char before[NAME_BYTES + 1];

	memcpy(before, user->name, sizeof before);
	tdelete(user, &chat->users_by_name, compare_names);
	memset(user->name, 0, sizeof user->name);
	strncpy(user->name, name, NAME_BYTES);
	if (tsearch(user, &chat->users_by_name, compare_names))
		return 0;
	/* There is memory for this: the node of the old name was freed above. */
	memcpy(user->name, before, sizeof before);
	tsearch(user, &chat->users_by_name, compare_names);
	return -ENOMEM;
}

void chat_remove_user(struct chat *chat, struct user *user)
{
	while (user->n_rooms)
		chat_leave(user->rooms[user->n_rooms - 1], user);
	tdelete(user, &chat->users_by_name, compare_names);
	TAILQ_REMOVE(&chat->users, user, link);
	chat->n_users--;
	user_release(user);
}

/* ---- */

void chat_init(struct chat *chat, unsigned history_max)
{
	*chat = (struct chat){ .history_max = history_max };
	TAILQ_INIT(&chat->users);
	TAILQ_INIT(&chat->rooms);
}

void chat_done(struct chat *chat)
{
	while (!TAILQ_EMPTY(&chat->users))
		chat_remove_user(chat, TAILQ_FIRST(&chat->users));
	while (!TAILQ_EMPTY(&chat->rooms))
		remove_room(chat, TAILQ_FIRST(&chat->rooms));
}
