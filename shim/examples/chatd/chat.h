/* SPDX-License-Identifier: MIT */
/* Who is there, where, and what was said: users and rooms that point to each other. Everything in here belongs to whoever holds
 * the server's lock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#ifndef CHATD_VERSION
#error "CHATD_VERSION must be 1 or 2"
#endif

#define NAME_BYTES 32u
#define TEXT_BYTES 512u
#define ROOMS_PER_USER 64u
#define ROOMS_MAX 4096u

struct connection;
struct room;

struct user {
	char name[NAME_BYTES + 1];     /* first: what is looked up by name begins with it */
	struct connection *connection; /* NULL: came from a file, and nobody has taken up the name yet */
	struct room *rooms[ROOMS_PER_USER];
	size_t n_rooms;
#if CHATD_VERSION >= 2
	int64_t joined_at_ns; /* 0: not known */
	unsigned said;        /* remarks that refer to him */
	bool gone;            /* only those still know him */
#endif
	TAILQ_ENTRY(user) link;
};

/* Version 1 keeps the name an author had. Version 2 keeps the author, while he is there. */
struct author {
#if CHATD_VERSION >= 2
	struct user *user; /* NULL: not known any more */
#endif
	char name[NAME_BYTES + 1];
};

struct remark {
	struct room *room;
	STAILQ_ENTRY(remark) link;
	int64_t at_ns; /* unix time */
	struct author author;
	char text[];
};

STAILQ_HEAD(remarks, remark);

struct room {
	char name[NAME_BYTES + 1];
	struct user **members; /* in the order in which they came */
	size_t n_members, cap_members;
	struct remarks history; /* oldest first */
	size_t n_history;
#if CHATD_VERSION >= 2
	char topic[TEXT_BYTES + 1];
#endif
	TAILQ_ENTRY(room) link;
};

struct chat {
	TAILQ_HEAD(, user) users;
	TAILQ_HEAD(, room) rooms;
	void *users_by_name, *rooms_by_name; /* trees of search.h */
	size_t n_users, n_rooms, n_remarks;
	unsigned history_max; /* of each room */
};

void chat_init(struct chat *chat, unsigned history_max);
void chat_done(struct chat *chat);

/** chat_name_valid() - 1 to NAME_BYTES letters, digits, '-' and '_'. */
bool chat_name_valid(const char *name);

struct user *chat_find_user(const struct chat *chat, const char *name);
struct room *chat_find_room(const struct chat *chat, const char *name);

/** chat_add_user() - The name is valid and free. Return: NULL when memory is out. */
struct user *chat_add_user(struct chat *chat, const char *name);
/** chat_rename_user() - Return: 0 or -ENOMEM. */
int chat_rename_user(struct chat *chat, struct user *user, const char *name);
void chat_remove_user(struct chat *chat, struct user *user);

/** chat_add_room() - The name is valid and free. Return: NULL when memory is out, or there are too many rooms. */
struct room *chat_add_room(struct chat *chat, const char *name);

bool chat_is_member(const struct room *room, const struct user *user);
/** chat_join() - He is not in it. Return: 0, -EMFILE (he is in ROOMS_PER_USER rooms) or -ENOMEM. */
int chat_join(struct room *room, struct user *user);
void chat_leave(struct room *room, struct user *user);

/** chat_new_remark() - For chat_append(); the author is left to be set. Return: NULL when memory is out. */
struct remark *chat_new_remark(const char *text, int64_t at_ns);
/** chat_append() - The room owns it from now on, and drops its oldest one when it has too many. */
void chat_append(struct chat *chat, struct room *room, struct remark *remark);

void author_set(struct author *author, struct user *user);
const char *author_name(const struct author *author);
