/* SPDX-License-Identifier: MIT */
#include "supervisor/process/listeners.h"

#include "base/base.h"
#include "supervisor/carry/carry.h"
#include "supervisor/machine/procfs.h"
#include "supervisor/machine/sockets_of.h"
#include "supervisor/process/instance.h"
#include "supervisor/process/regain.h"
#include "supervisor/systemd/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of a process, for a listener that may be anywhere: these are opened early, so that their numbers are low. */
#define EARLY_FDS 1024

static const struct sockaddr *at(const struct unit_listen *place)
{
	return (const struct sockaddr *)(const void *)place->at;
}

/* ---- the list ---- */

static struct listener *find(struct listeners *listeners, const struct unit_listen *place)
{
	for (size_t i = 0; i < listeners->n; i++)
		if (unit_listen_names(place, &listeners->list[i].place) && unit_listen_is(&listeners->list[i].place, place))
			return &listeners->list[i];
	return NULL;
}

static struct listener *find_or_add(struct listeners *listeners, const struct unit_listen *place)
{
	struct listener *listener = find(listeners, place);

	if (!listener) {
		struct listener *grown = reallocarray(listeners->list, listeners->n + 1, sizeof(*grown));

		if (!grown)
			return NULL;
		listeners->list = grown;
		listener = &grown[listeners->n++];
		*listener = (struct listener){ .place = *place };
	}
	listener->place = *place;
	return listener;
}

static bool is_named(const struct unit *unit, const struct unit_listen *place)
{
	for (size_t i = 0; unit && i < unit->n_listens; i++)
		if (unit_listen_names(&unit->listens[i], place))
			return true;
	return false;
}

/* The path goes first: whoever finds it finds somebody who listens. */
static void let_go(struct listener *listener)
{
	if (listener->file.inode)
		socket_file_remove(unit_listen_path(&listener->place), &listener->file);
	listener->file.inode = 0;
	listener->ref = fd_ref_drop(listener->ref);
}

void listeners_keep(struct listeners *listeners, const struct unit *const *units, size_t n)
{
	for (size_t i = listeners->n; i-- > 0;) {
		bool stays = false;

		for (size_t k = 0; k < n; k++)
			stays |= is_named(units[k], &listeners->list[i].place);
		if (stays)
			continue;
		let_go(&listeners->list[i]);
		memmove(&listeners->list[i], &listeners->list[i + 1], (listeners->n - i - 1) * sizeof(listeners->list[0]));
		listeners->n--;
	}
}

void listeners_clear(struct listeners *listeners)
{
	listeners_keep(listeners, NULL, 0);
	free(listeners->list);
	listeners->list = NULL;
}

/* ---- opening ---- */

/* As the library opens them, so that both are found by the same address. */
static int set_options(int fd, const struct unit_listen *place)
{
	const int on = 1;

	if (place->options.reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
		return -errno;
	if (unit_listen_family(place) == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (unit_listen_family(place) != AF_UNIX && place->type == SOCK_STREAM &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	return 0;
}

static int bind_plain(int fd, const struct unit_listen *place)
{
	return bind(fd, at(place), place->at_bytes) < 0 ? -errno : 0;
}

/* Whose it is is settled before anybody can be told that it is there. */
static int bind_path(int fd, struct listener *listener, const struct unit *unit, struct why *why)
{
	const struct unit_listen_options *options = &listener->place.options;
	const char *path = unit_listen_path(&listener->place);
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;
	int r = *options->user ? unit_local_user(options->user, &uid, why) : 0;

	if (r == 0 && *options->group)
		r = unit_local_group(options->group, &gid, why);
	if (r == 0)
		r = socket_file_bind(fd, path, options->mode ? options->mode : unit->socket_mode, &listener->file, why);
	if (r == 0 && (*options->user || *options->group))
		r = socket_file_give(path, &listener->file, uid, gid, why);
	return r;
}

static int bind_and_listen(int fd, struct listener *listener, const struct unit *unit, struct why *why)
{
	const struct unit_listen *place = &listener->place;
	int r = set_options(fd, place);

	if (r == 0)
		r = unit_listen_path(place) ? bind_path(fd, listener, unit, why) : bind_plain(fd, place);
	if (r == 0 && place->type == SOCK_STREAM &&
	    listen(fd, (int)(place->options.backlog ? place->options.backlog : unit->listen_backlog)) < 0)
		r = -errno;
	return r == 0 ? fd_inode(fd, &listener->inode) : r;
}

static int hold(struct listener *listener, int fd_consume)
{
	listener->ref = fd_ref_new(fd_consume);
	*listener->why.text = 0;
	return listener->ref ? 0 : -ENOMEM;
}

static int open_one(struct listener *listener, const struct unit *unit, struct why *why)
{
	int fd = socket(unit_listen_family(&listener->place), listener->place.type | SOCK_CLOEXEC, 0);
	struct why cause = { 0 };
	int r = fd < 0 ? -errno : bind_and_listen(fd, listener, unit, &cause);

	listener->shared = false;
	if (r == 0)
		return hold(listener, fd);
	fd_close(fd);
	let_go(listener);
	return why_set(why, r, "%s:%u: Listen=: cannot listen at %s: %s", unit->path, listener->place.line, listener->place.text,
		       *cause.text ? cause.text : strerror(-r));
}

/* Of the two families of a bare port one is enough, where the machine has no other. */
static bool may_lack(const struct listener *listener, int r)
{
	return listener->place.is_any && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL);
}

/* ---- what systemd has opened ---- */

/* systemd keeps it as well: whatever becomes of it here, nobody is refused there. */
static int dup_given(struct listener *listener, int given)
{
	int fd = fcntl(given, F_DUPFD_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	r = fd_inode(fd, &listener->inode);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	listener->shared = false;
	return hold(listener, fd);
}

static int given_place(int given, const struct unit_listen *named, struct unit_listen *ret)
{
	socklen_t bytes = sizeof(ret->at), size = sizeof(ret->type);

	*ret = *named;
	if (getsockname(given, (struct sockaddr *)(void *)ret->at, &bytes) < 0 || bytes > sizeof(ret->at) ||
	    getsockopt(given, SOL_SOCKET, SO_TYPE, &ret->type, &size) < 0)
		return -errno;
	ret->at_bytes = bytes;
	unit_listen_tell(ret);
	return 0;
}

/* All that has the name. Return: 0; -errno. */
static int open_given(struct listeners *listeners, const struct unit *unit, const struct unit_listen *named, struct why *why)
{
	char names[256];
	size_t n = 0;
	int given, r = 0;

	for (; r == 0 && (given = activation_get(listeners->activation, named->systemd, n)) >= 0; n++) {
		struct listener *listener = NULL;
		struct unit_listen place;

		r = given_place(given, named, &place);
		if (r == 0 && !(listener = find_or_add(listeners, &place)))
			r = -ENOMEM;
		if (r == 0 && !listener->ref)
			r = dup_given(listener, given);
	}
	if (r < 0)
		return why_errno(why, r, "%s:%u: Listen=%s", unit->path, named->line, named->text);
	if (n)
		return 0;
	return why_set(why, -ENOENT, "%s:%u: Listen=%s: systemd has opened no socket of that name for upgraded; there are: %s (a "
		       ".socket unit with FileDescriptorName=%s and Service=upgraded.service opens one)", unit->path, named->line,
		       named->text, activation_names(listeners->activation, names, sizeof(names)), named->systemd);
}

/* ---- taking from the process that serves ---- */

static bool is_at(int fd, const struct unit_listen *place)
{
	_Alignas(8) char is[128] = "";
	socklen_t bytes = sizeof(is), size = sizeof(int);
	char one[128], other[128];
	int type = 0;

	if (getsockname(fd, (struct sockaddr *)(void *)is, &bytes) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return false;
	if (type != place->type || door_kind(fd) == DOOR_NONE ||
	    ((const struct sockaddr *)(const void *)is)->sa_family != unit_listen_family(place))
		return false;
	return strcmp(door_text((const struct sockaddr *)(const void *)is, bytes, one, sizeof(one)),
		      door_text(at(place), place->at_bytes, other, sizeof(other))) == 0;
}

/* A look through the sockets of a process. */
struct taking {
	const struct unit_listen *place;
	int pidfd;
	int fd;    /* that was taken; -1: none yet */
	int error; /* if none is */
};

static int take_if_there(void *arg, int number, unsigned long long inode)
{
	struct taking *taking = arg;
	int fd = pidfd_getfd(taking->pidfd, number, 0); /* closed on exec by itself */

	(void)inode;
	if (fd < 0 && errno == EPERM)
		taking->error = -EPERM;
	if (fd >= 0 && is_at(fd, taking->place)) {
		taking->fd = fd;
		return 1;
	}
	/* It may be the last one of a connection by now: its close is not waited for. */
	fd_give_up(fd);
	return 0;
}

/* Return: the caller's; -ENOENT: the process does not listen there; -EPERM; another -errno. */
static int take_from(pid_t pid, const struct unit_listen *place)
{
	FD_CLEANUP int pidfd = pidfd_open(pid, 0);
	struct taking taking = { .place = place, .pidfd = pidfd, .fd = -1, .error = -ENOENT };
	int r;

	if (pidfd < 0)
		return -errno;
	r = procfs_each_socket(pid, EARLY_FDS, take_if_there, &taking);
	if (r < 0)
		return r;
	return taking.fd >= 0 ? taking.fd : taking.error;
}

static int take_one(struct listener *listener, const struct instance *serving)
{
	int fd = take_from(serving->pid, &listener->place);

	if (fd < 0)
		return fd;
	listener->file.inode = 0;
	listener->shared = true;
	if (fd_inode(fd, &listener->inode) < 0) {
		fd_give_up(fd);
		return -EBADF;
	}
	if (unit_listen_path(&listener->place))
		(void)socket_file_find(unit_listen_path(&listener->place), &listener->file);
	return hold(listener, fd);
}

static void note_not_held(struct listener *listener, const struct instance *serving, int r)
{
	why_set(&listener->why, 0, "it could not be taken from pid %d: %s", (int)serving->pid,
		r == -EPERM || r == -EACCES ? "that needs the right to trace it" : strerror(-r));
	log_service(WARNING, serving->service, "%s: %s; after a crash it will refuse clients until the next start",
		    listener->place.text, listener->why.text);
}

/* ---- all that a service file names ---- */

/* Somebody may have removed its path, or a version that ended have shut it down. */
static bool is_good(const struct listener *listener)
{
	if (!listener->ref)
		return false;
	return door_is_open(listener->ref->fd, listener->place.type == SOCK_STREAM ? DOOR_LISTENER : DOOR_DATAGRAMS) &&
	       door_is_reachable(listener->ref->fd);
}

/* Return: 0; 1: it is the process's, and not to be had; -errno. */
static int have_one(struct listener *listener, const struct unit *unit, const struct instance *serving, struct why *why)
{
	int taken = serving ? take_one(listener, serving) : -ENOENT, r;

	if (taken == 0)
		return 0;
	r = open_one(listener, unit, why);
	if (r == -EADDRINUSE && (taken == -EPERM || taken == -EACCES)) {
		note_not_held(listener, serving, taken);
		return 1;
	}
	if (r == 0 || !may_lack(listener, r))
		return r;
	listener->unused = true;
	return 0;
}

/* Return: as have_one(). */
static int open_named(struct listeners *listeners, const struct unit *unit, size_t i, bool anew, const struct instance *serving,
		      struct why *why)
{
	struct listener *listener;

	if (*unit->listens[i].systemd) {
		int r = open_given(listeners, unit, &unit->listens[i], why);

		return r < 0 ? r : 1;
	}
	listener = find_or_add(listeners, &unit->listens[i]);
	if (!listener)
		return why_errno(why, -ENOMEM, "%s:%u: Listen=", unit->path, unit->listens[i].line);
	if (is_good(listener) || (listener->unused && !anew))
		return 1;
	let_go(listener);
	listener->unused = false;
	return have_one(listener, unit, serving, why);
}

int listeners_open(struct listeners *listeners, const struct unit *unit, bool anew, const struct instance *serving,
		   const struct unit_listen **ret_failed, struct why *why)
{
	bool opened[UNIT_LISTENS_MAX] = { false };
	int r = 0;

	*ret_failed = NULL;
	for (size_t i = 0; i < unit->n_listens && r >= 0; i++) {
		r = open_named(listeners, unit, i, anew, serving, why);
		opened[i] = r == 0;
		if (r < 0)
			*ret_failed = &unit->listens[i];
	}
	for (size_t i = 0; i < unit->n_listens && r < 0; i++) {
		struct listener *listener = opened[i] ? find(listeners, &unit->listens[i]) : NULL;

		if (listener)
			let_go(listener);
	}
	return r < 0 ? r : 0;
}

void listeners_regain(struct listeners *listeners, const struct unit *unit, const struct instance *serving)
{
	for (size_t i = 0; i < unit->n_listens; i++) {
		struct listener *listener;
		int r = -ENOMEM;

		if (*unit->listens[i].systemd) {
			struct why why = { 0 };

			/* The process that serves has it, and systemd has it again. */
			if (open_given(listeners, unit, &unit->listens[i], &why) < 0)
				log_warning("%s: %s", serving->service, why.text);
			continue;
		}
		listener = find_or_add(listeners, &unit->listens[i]);
		if (listener && listener->ref)
			continue;
		if (listener)
			r = take_one(listener, serving);
		if (!listener || r == 0)
			continue;
		listener->unused = r == -ENOENT;
		if (r != -ENOENT)
			note_not_held(listener, serving, r);
	}
}

/* ---- who has them ---- */

/* All sockets that a process has, as of now. */
struct held {
	struct sockets_of sockets;
	bool unseen;
};

/* What cannot be seen counts as yes: it is not ours to close then. */
static bool has(const struct held *held, const struct listener *listener)
{
	return held->unseen || sockets_of_find(&held->sockets, listener->inode) >= 0;
}

/* Once for all listeners: a process may have as many descriptors as it likes. @by: NULL: nobody. One that ends meanwhile loses
 * all its descriptors, its channel among them: if that is there afterwards, what was seen is all there was. */
static void look_at(const struct instance *by, struct held *ret)
{
	*ret = (struct held){ .unseen = false };
	if (by)
		ret->unseen = sockets_of_read(by->pid, PROCFS_FDS_MAX, &ret->sockets) < 0 || !by->channel_inode ||
			      procfs_find_socket(by->pid, by->channel_inode, PROCFS_FDS_MAX) < 0;
}

void listeners_give(struct listeners *listeners, const struct unit *unit, const struct instance *serving, struct instance *to)
{
	struct held held;

	if (!listeners->n)
		return;
	look_at(serving, &held);
	for (size_t i = 0; i < listeners->n; i++) {
		struct listener *listener = &listeners->list[i];

		if (!listener->ref || !is_named(unit, &listener->place) ||
		    (serving && listener->shared && has(&held, listener)))
			continue;
		instance_lend_listener(to, listener->ref, listener->place.options.name);
		listener->shared = true;
	}
	sockets_of_done(&held.sockets);
}

static void leave_unused(struct listener *listener, const struct unit *unit, const struct instance *serving)
{
	let_go(listener);
	listener->unused = true;
	/* Of the two that a bare port names, most programs listen at one. */
	if (!listener->place.is_any)
		log_service(WARNING, serving->service,
			    "version %s (pid %d) does not listen at %s (%s:%u: Listen=): closed", serving->version,
			    (int)serving->pid, listener->place.text, unit->path, listener->place.line);
}

void listeners_settle(struct listeners *listeners, const struct unit *unit, const struct instance *serving)
{
	struct held held;

	if (!listeners->n)
		return;
	look_at(serving, &held);
	for (size_t i = 0; i < listeners->n; i++) {
		struct listener *listener = &listeners->list[i];
		const char *path = unit_listen_path(&listener->place);

		if (!listener->ref || !is_named(unit, &listener->place))
			continue;
		if (!has(&held, listener))
			leave_unused(listener, unit, serving);
		else if (path && listener->file.inode && !*listener->place.options.user && !*listener->place.options.group)
			socket_file_own(path, &listener->file, serving->pid);
	}
	sockets_of_done(&held.sockets);
}

/* ---- from one program to the next ---- */

void listeners_put(const struct listeners *listeners, struct carry *carry, Upgraded__Carry__Service *left)
{
	Upgraded__Carry__Listener *entries = calloc(listeners->n + 1, sizeof(*entries));
	size_t n = 0;

	left->listeners = calloc(listeners->n + 1, sizeof(Upgraded__Carry__Listener *));
	if (!entries || !left->listeners) {
		free(entries);
		carry_fail(carry, -ENOMEM);
		return;
	}
	left->listeners[0] = entries; /* so that it is released where none is held, too */
	for (size_t i = 0; i < listeners->n; i++) {
		const struct listener *listener = &listeners->list[i];
		Upgraded__Carry__Listener *entry = &entries[n];

		if (!listener->ref)
			continue;
		upgraded__carry__listener__init(entry);
		entry->descriptor = carry_hold(carry, listener->ref->fd);
		entry->text = (char *)(uintptr_t)listener->place.text;
		entry->systemd = (char *)(uintptr_t)listener->place.systemd;
		entry->line = listener->place.line;
		entry->any = listener->place.is_any;
		entry->file_device = listener->file.inode ? listener->file.device : 0;
		entry->file_inode = listener->file.inode;
		left->listeners[n++] = entry;
	}
	left->n_listeners = n;
}

void listeners_packed_done(Upgraded__Carry__Service *left)
{
	if (left->listeners)
		free(left->listeners[0]);
	free(left->listeners);
	left->listeners = NULL;
	left->n_listeners = 0;
}

/* What the file of its service says of it is known by its address. */
static int place_of(int fd, const Upgraded__Carry__Listener *entry, struct unit_listen *ret)
{
	socklen_t bytes = sizeof(ret->at), size = sizeof(ret->type);

	*ret = (struct unit_listen){ .line = entry->line, .is_any = entry->any };
	snprintf(ret->text, sizeof(ret->text), "%s", entry->text);
	snprintf(ret->systemd, sizeof(ret->systemd), "%s", entry->systemd);
	if (getsockname(fd, (struct sockaddr *)(void *)ret->at, &bytes) < 0 || bytes > sizeof(ret->at) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &ret->type, &size) < 0)
		return -errno;
	ret->at_bytes = bytes;
	return 0;
}

void listeners_take_left(struct listeners *listeners, struct carry *carry, const Upgraded__Carry__Service *left)
{
	for (size_t i = 0; i < left->n_listeners; i++) {
		const Upgraded__Carry__Listener *entry = left->listeners[i];
		int fd = carry_take(carry, entry->descriptor);
		struct listener *listener;
		struct unit_listen place;

		if (fd < 0 || place_of(fd, entry, &place) < 0 || !(listener = find_or_add(listeners, &place)) ||
		    fd_inode(fd, &listener->inode) < 0) {
			fd_close(fd);
			continue;
		}
		listener->shared = true;
		listener->file.device = (dev_t)entry->file_device;
		listener->file.inode = (ino_t)entry->file_inode;
		(void)hold(listener, fd);
	}
}
