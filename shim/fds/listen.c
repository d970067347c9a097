/* SPDX-License-Identifier: MIT */
#include "shim/fds/listen.h"

/* Listeners by address: claimed where one was handed over, or opened by the supervisor for the service; else opened.
 *
 * The tag of a listener is a hash of the address that the application named, so every version finds it by the same tag, and an
 * application never has to think of one. It also tells apart what the address that the socket has in the end does not: a port that
 * the kernel chose looks like one that was asked for.
 */
#include "base/door.h"
#include "base/fd.h"
#include "shim/core/channel.h"
#include "shim/core/upg.h"
#include "shim/fds/table.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTENER "listener"
#define PATH_AT offsetof(struct sockaddr_un, sun_path)

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
	struct sockaddr_storage room;
};

/* What is wanted. */
struct place {
	union address at;
	socklen_t bytes;
	int type;       /* without flags */
	int flags;      /* SOCK_NONBLOCK or 0 */
	bool is_chosen; /* by the kernel: a port of 0, or a unix socket without a name */
	uint64_t tag;
};

/* ---- addresses ---- */

/* What counts of an address, and nothing of the padding. */
struct key {
	size_t n;
	uint8_t bytes[sizeof(struct sockaddr_storage)];
};

static void add(struct key *key, const void *data, size_t n)
{
	memcpy(key->bytes + key->n, data, n);
	key->n += n;
}

static struct key key_of(const union address *at, socklen_t bytes)
{
	size_t path_bytes = bytes > PATH_AT ? bytes - PATH_AT : 0;
	struct key key = { .n = 0 };

	add(&key, &at->any.sa_family, sizeof(at->any.sa_family));
	switch (at->any.sa_family) {
	case AF_INET:
		add(&key, &at->v4.sin_port, sizeof(at->v4.sin_port));
		add(&key, &at->v4.sin_addr, sizeof(at->v4.sin_addr));
		break;
	case AF_INET6:
		add(&key, &at->v6.sin6_port, sizeof(at->v6.sin6_port));
		add(&key, &at->v6.sin6_addr, sizeof(at->v6.sin6_addr));
		if (IN6_IS_ADDR_LINKLOCAL(&at->v6.sin6_addr))
			add(&key, &at->v6.sin6_scope_id, sizeof(at->v6.sin6_scope_id));
		break;
	case AF_UNIX:
		/* A path ends at its first zero byte, an abstract name where its bytes end. */
		add(&key, at->local.sun_path, *at->local.sun_path ? strnlen(at->local.sun_path, path_bytes) : path_bytes);
		break;
	default:
		add(&key, (const char *)at + sizeof(at->any.sa_family), bytes - sizeof(at->any.sa_family));
	}
	return key;
}

/* FNV-1a, of 32 bits: people read tags in messages. */
static uint64_t tag_of(const struct key *key, int type)
{
	uint32_t h = UINT32_C(2166136261) ^ (uint32_t)type;

	for (size_t i = 0; i < key->n; i++)
		h = (h ^ key->bytes[i]) * UINT32_C(16777619);
	return h;
}

static size_t least_bytes(int family)
{
	switch (family) {
	case AF_INET:
		return sizeof(struct sockaddr_in);
	case AF_INET6:
		return sizeof(struct sockaddr_in6);
	default:
		return sizeof(sa_family_t);
	}
}

static int place_init(struct place *place, const struct sockaddr *address, socklen_t bytes, int type)
{
	struct key key;

	*place = (struct place){ .bytes = bytes, .type = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), .flags = type & SOCK_NONBLOCK };
	if (bytes < sizeof(sa_family_t) || bytes > sizeof(place->at))
		return -EINVAL;
	memcpy(&place->at, address, bytes);
	if (bytes < least_bytes(place->at.any.sa_family))
		return -EINVAL;
	place->is_chosen = (place->at.any.sa_family == AF_INET && !place->at.v4.sin_port) ||
			   (place->at.any.sa_family == AF_INET6 && !place->at.v6.sin6_port) ||
			   (place->at.any.sa_family == AF_UNIX && bytes <= PATH_AT);
	key = key_of(&place->at, bytes);
	place->tag = tag_of(&key, place->type);
	return 0;
}

/* ---- claiming ---- */

static bool is_at(int fd, const struct place *place)
{
	struct key wanted = key_of(&place->at, place->bytes), is;
	union address at = { .room.ss_family = AF_UNSPEC };
	socklen_t bytes = sizeof(at), size = sizeof(int);
	int type = 0;

	if (getsockname(fd, &at.any, &bytes) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != place->type)
		return false;
	is = key_of(&at, bytes);
	return is.n == wanted.n && memcmp(is.bytes, wanted.bytes, is.n) == 0 && door_kind(fd) != DOOR_NONE;
}

/* What waits at this address, whatever its name. Lock held. */
static struct fd_entry *find_at(const struct fd_table *table, const struct place *place)
{
	for (size_t i = 0; i < table->n_by_fd; i++)
		if (table->by_fd[i] && !table->by_fd[i]->claimed && is_at((int)i, place))
			return table->by_fd[i];
	return NULL;
}

/* Of several whose port the kernel chose, each call gets the next one. Otherwise a tag that is taken is another address of the same
 * hash. @ret: what waits under the tag, or else at the address; NULL. Moves the tag on to the first that is not taken. */
static struct fd_entry *find(struct fd_table *table, struct place *place)
{
	struct fd_entry *entry = fd_table_find(table, LISTENER, place->tag);

	while (entry && (entry->claimed || (!place->is_chosen && !is_at(entry->fd, place))))
		entry = fd_table_find(table, LISTENER, ++place->tag);
	if (entry || place->is_chosen)
		return entry;
	pthread_mutex_lock(&table->lock);
	entry = find_at(table, place);
	pthread_mutex_unlock(&table->lock);
	return entry;
}

/* ---- opening ---- */

/* Two sockets that getaddrinfo() told of, 0.0.0.0 and ::, are to be bound beside each other. A socket of datagrams never shares its
 * port: with SO_REUSEADDR it would take it from another process that serves there. */
static int set_options(int fd, const struct place *place)
{
	const int on = 1;

	if (place->at.any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (place->type != SOCK_DGRAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	return 0;
}

/* Return: 0: nothing is at the path any more; -EADDRINUSE: somebody answers there, or it is no socket. */
static int remove_stale_path(const struct place *place)
{
	char path[sizeof(place->at.local.sun_path) + 1] = "";
	FD_CLEANUP int fd = -1;
	struct stat st;

	memcpy(path, place->at.local.sun_path, place->bytes - PATH_AT);
	if (lstat(path, &st) < 0)
		return 0; /* bind() says what is wrong, if anything is */
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	fd = socket(AF_UNIX, place->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, &place->at.any, place->bytes) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static bool has_path(const struct place *place)
{
	return place->at.any.sa_family == AF_UNIX && place->bytes > PATH_AT && *place->at.local.sun_path;
}

static int bind_and_listen(int fd, const struct place *place, int backlog)
{
	int r = set_options(fd, place);

	if (r == 0 && has_path(place))
		r = remove_stale_path(place);
	if (r < 0)
		return r;
	if (bind(fd, &place->at.any, place->bytes) < 0 || (place->type != SOCK_DGRAM && listen(fd, backlog) < 0))
		return -errno;
	return 0;
}

static int open_at(struct upg *upg, const struct place *place, int backlog)
{
	int fd = socket(place->at.any.sa_family, place->type | place->flags | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = bind_and_listen(fd, place, backlog);
	if (r == 0)
		r = upg_fd_register(upg, fd, LISTENER, place->tag);
	if (r == 0)
		return fd;
	fd_close(fd);
	return r;
}

/* ---- what the supervisor has opened ---- */

int fd_given_take(struct fd_given *given, struct channel *channel, const Upgraded__Wire__Listeners *message, struct why *why)
{
	if (message->count != channel->fds.n || message->count > FD_GIVEN_MAX - given->n)
		return why_set(why, -EPROTO, "%u listeners are named but %zu came", message->count, channel->fds.n);
	for (size_t i = 0; i < message->count; i++) {
		const char *name = i < message->n_names ? message->names[i] : "";

		given->list[given->n].fd = channel_claim(channel, i);
		snprintf(given->list[given->n++].name, sizeof(given->list->name), "%s", name);
	}
	return 0;
}

void fd_given_done(struct fd_given *given)
{
	while (given->n)
		fd_close(given->list[--given->n].fd);
}

/* Its address is its name, unless it has one: then its tag is how many before it have the same. Return: 0; -EINVAL: it is nothing
 * that could be listened at; -ENOMEM. */
static int put_one(struct fd_table *table, int fd, const char *name)
{
	union address at = { .room.ss_family = AF_UNSPEC };
	socklen_t bytes = sizeof(at), size = sizeof(int);
	struct place place;
	int type = 0, r;

	if (door_kind(fd) == DOOR_NONE || getsockname(fd, &at.any, &bytes) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return -EINVAL;
	r = place_init(&place, &at.any, bytes, type);
	if (r < 0)
		return r;
	if (*name)
		place.tag = 0;
	else
		name = LISTENER;
	while (fd_table_find(table, name, place.tag))
		place.tag++;
	r = fd_table_put(table, fd, name, place.tag, false, false);
	if (r == 0) {
		struct fd_entry *entry = fd_table_find(table, name, place.tag);

		entry->given = entry->optional = true;
	}
	return r;
}

int fd_given_put(struct fd_given *given, struct fd_table *table, struct why *why)
{
	size_t n = given->n;
	int r = 0;

	given->n = 0;
	for (size_t i = 0; i < n; i++) {
		/* In their order, which is that of the file: of two with one name the first is tag 0. */
		int one = r < 0 ? r : put_one(table, given->list[i].fd, given->list[i].name);

		if (one < 0)
			fd_close(given->list[i].fd);
		if (one < 0 && one != -EINVAL)
			r = one;
	}
	return r < 0 ? why_errno(why, r, "a listener of Listen=") : 0;
}

static bool has_port_of(int fd, const struct place *place)
{
	union address at = { .room.ss_family = AF_UNSPEC };
	socklen_t bytes = sizeof(at);

	if (getsockname(fd, &at.any, &bytes) < 0 || at.any.sa_family != place->at.any.sa_family)
		return false;
	return (at.any.sa_family == AF_INET && at.v4.sin_port == place->at.v4.sin_port) ||
	       (at.any.sa_family == AF_INET6 && at.v6.sin6_port == place->at.v6.sin6_port);
}

/* The service file may name another address than the application does, with the same port: one of them keeps the other from being
 * opened. Return: @buf, "" where that is not so. */
static const char *given_instead(struct fd_table *table, const struct place *place, char *buf, size_t size)
{
	*buf = 0;
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < table->n_by_fd && !*buf; i++)
		if (table->by_fd[i] && table->by_fd[i]->given && !table->by_fd[i]->claimed && has_port_of((int)i, place))
			door_address((int)i, buf, size);
	pthread_mutex_unlock(&table->lock);
	return buf;
}

/* ---- */

static int refuse_open(struct upg *upg, const struct place *place, const char *text, int r)
{
	char given[128];

	if (r == -EADDRINUSE && *given_instead(upg->fds, place, given, sizeof(given)))
		return why_set(&upg->why, r, "listen on %s: Listen= of the service file names %s instead, which has the port", text,
			       given);
	return why_errno(&upg->why, r, "listen on %s", *text ? text : "the address");
}

int upg_listen(struct upg *upg, const struct sockaddr *address, socklen_t address_bytes, int type, int backlog)
{
	struct fd_entry *entry;
	struct place place;
	char text[128];
	int r = place_init(&place, address, address_bytes, type);

	if (r < 0)
		return why_errno(&upg->why, r, "upg_listen: the address");
	door_text(&place.at.any, place.bytes, text, sizeof(text));
	if (upg->fds->more_may_come)
		return why_set(&upg->why, -EBUSY, "listen on %s: call upg_listen() after upg_receive(), in which the version that "
			       "serves hands over the socket that it has there", *text ? text : "the address");
	entry = find(upg->fds, &place);
	/* A path that leads nowhere any more makes a listener that nobody can reach. */
	if (entry && door_is_reachable(entry->fd) && entry->given)
		fd_nonblock(entry->fd, place.flags != 0); /* nobody else reads from it, and it may be as who crashed had it */
	if (entry && door_is_reachable(entry->fd))
		return fd_table_claim(upg->fds, entry->name, entry->tag);
	while (fd_table_find(upg->fds, LISTENER, place.tag))
		place.tag++;
	r = open_at(upg, &place, backlog);
	return r < 0 ? refuse_open(upg, &place, text, r) : r;
}
