/* SPDX-License-Identifier: MIT */
#include "supervisor/recover/suspects.h"

#include "base/base.h"
#include "supervisor/logbook/logbook.h"
#include "supervisor/machine/procfs.h"
#include "supervisor/process/origin.h"
#include "supervisor/process/regain.h"
#include "supervisor/recover/users.h"
#include "supervisor/service/registry.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHANNEL_FDS 64 /* a channel begins as descriptor 3, and stays low */
#define STAND_IN "UPG-VERSION" /* for the version, where a path is looked at for it */

struct suspect {
	pid_t pid, parent;
	uid_t uid;
	uint64_t start_ticks;
	const struct unit *unit;
	char version[UNIT_NAME_MAX + 1];
};

struct gathering {
	struct unit **units; /* of services without a process; one that cannot be read is not there */
	uid_t *users;        /* of these */
	size_t n_units;
	struct suspect *suspects;
	size_t n;
	struct why *why;
	const struct unit *unit; /* of the process that is being looked at */
	int pidfd;
};

/* ---- which services ---- */

struct known {
	const char *service;
	bool lives;
};

static int look_for(void *arg, const Upgraded__Logbook__Entry *entry)
{
	struct known *known = arg;

	if (entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS && strcmp(entry->process->service, known->service) == 0 &&
	    regain_lives(entry->process))
		known->lives = true;
	return 0;
}

static int list_units(struct gathering *g, const struct registry *registry, struct spawner *spawner)
{
	struct known known;
	int r = 0;

	for (const struct service *s = registry_next(registry, NULL); r == 0 && s; s = registry_next(registry, s)) {
		struct unit **more = reallocarray(g->units, g->n_units + 1, sizeof(*more));
		uid_t *users = reallocarray(g->users, g->n_units + 1, sizeof(*users));
		struct why why = { 0 };

		g->units = more ? more : g->units;
		g->users = users ? users : g->users;
		if (!more || !users)
			return why_errno(g->why, -ENOMEM, "%s", service_name(s));
		known.service = service_name(s);
		known.lives = false;
		r = logbook_each(spawner->logbook, look_for, &known);
		if (r < 0 || known.lives)
			continue;
		if (unit_load(registry->host.config_dir, service_name(s), &more[g->n_units], &why) < 0)
			continue;
		users[g->n_units] = users_find(more[g->n_units]);
		g->n_units++;
	}
	return r < 0 ? why_errno(g->why, r, "the logbook could not be read to its end") : 0;
}

/* ---- is it the process of one of them? ---- */

static bool is_program(const struct unit *unit, const char *version, const char *program)
{
	char **argv, path[PATH_MAX];
	bool is;

	if (unit_name_check("version", version, NULL) < 0 || unit_command(unit, version, &argv, NULL) < 0)
		return false;
	is = strcmp(argv[0], program) == 0 || (realpath(argv[0], path) && strcmp(path, program) == 0);
	unit_command_free(argv);
	return is;
}

/* The part of @program that stands where Exec= has %v. */
static void find_version(const struct unit *unit, const char *program, char version[static UNIT_NAME_MAX + 1])
{
	char **argv;
	const char *at;

	*version = 0;
	if (unit_command(unit, STAND_IN, &argv, NULL) < 0)
		return;
	at = strstr(argv[0], STAND_IN);
	if (at && strncmp(argv[0], program, (size_t)(at - argv[0])) == 0) {
		const char *tail = at + strlen(STAND_IN), *from = program + (at - argv[0]), *until;
		const char *other = strstr(tail, STAND_IN);
		size_t rest = other ? 0 : strlen(tail), length = strlen(from);

		until = other ? from + strcspn(from, "/") : from + (length > rest ? length - rest : 0);
		if ((size_t)(until - from) <= UNIT_NAME_MAX)
			snprintf(version, UNIT_NAME_MAX + 1, "%.*s", (int)(until - from), from);
	}
	unit_command_free(argv);
}

static bool runs(const struct unit *unit, const char *program, char version[static UNIT_NAME_MAX + 1])
{
	find_version(unit, program, version);
	if (*version && is_program(unit, version, program))
		return true;
	/* A link leads there, perhaps: for the version that is named it can be followed. */
	snprintf(version, UNIT_NAME_MAX + 1, "%s", unit->version);
	return *version && is_program(unit, version, program);
}

/* One half of a pair that was made by whoever we run as: a socket that somebody has connected to one of root's has a peer with an
 * address. */
static bool is_channel(int fd)
{
	struct sockaddr_un at;
	socklen_t size = sizeof(int);
	struct ucred maker;
	int value;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size) < 0 || value != AF_UNIX)
		return false;
	size = sizeof(value);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) < 0 || value != SOCK_SEQPACKET)
		return false;
	size = sizeof(at);
	if (getsockname(fd, (struct sockaddr *)&at, &size) < 0 || size > sizeof(sa_family_t))
		return false;
	size = sizeof(at);
	if (getpeername(fd, (struct sockaddr *)&at, &size) < 0 || size > sizeof(sa_family_t))
		return false;
	size = sizeof(maker);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &maker, &size) == 0 && maker.uid == geteuid();
}

static int on_socket(void *arg, int number, unsigned long long inode)
{
	const struct gathering *g = arg;
	int fd = pidfd_getfd(g->pidfd, number, 0);
	bool is = fd >= 0 && is_channel(fd);

	(void)inode;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
		return why_errno(g->why, -errno, "descriptor %d of a process that may serve", number);
	fd_give_up(fd);
	return is;
}

/* Return: 1: it may be; 0: it is not; -errno. */
static int suspect(struct gathering *g, pid_t pid, struct suspect *ret)
{
	char name[64], program[PATH_MAX];
	FD_CLEANUP int pidfd = -1;
	ssize_t length;
	size_t i = 0;
	int r;

	snprintf(name, sizeof(name), "/proc/%d/exe", (int)pid);
	length = readlink(name, program, sizeof(program) - 1);
	if (length <= 0 || procfs_user(pid, &ret->uid) < 0)
		return 0;
	program[length] = 0;
	if (procfs_is_deleted(program))
		*strrchr(program, ' ') = 0;
	while (i < g->n_units && !(g->users[i] == ret->uid && runs(g->units[i], program, ret->version)))
		i++;
	if (i == g->n_units)
		return 0;
	g->pidfd = pidfd = pidfd_open(pid, 0);
	ret->pid = pid;
	ret->unit = g->units[i];
	ret->parent = procfs_parent(pid);
	if (pidfd < 0 || procfs_start_ticks(pid, &ret->start_ticks) < 0)
		return 0;
	r = procfs_each_socket(pid, CHANNEL_FDS, on_socket, g);
	return r < 0 && !*g->why->text ? 0 : r; /* it has ended */
}

static int on_process(void *arg, pid_t pid)
{
	struct gathering *g = arg;
	struct suspect found, *more;
	int r = pid == getpid() ? 0 : suspect(g, pid, &found);

	if (r <= 0)
		return r;
	more = reallocarray(g->suspects, g->n + 1, sizeof(*more));
	if (!more)
		return why_errno(g->why, -ENOMEM, "pid %d", (int)pid);
	g->suspects = more;
	more[g->n++] = found;
	return 0;
}

/* ---- into the logbook ---- */

/* A child of such a process is what it has started. */
static bool is_child(const struct gathering *g, const struct suspect *of)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->suspects[i].pid == of->parent && g->suspects[i].unit == of->unit)
			return true;
	return false;
}

static int write_suspect(struct spawner *spawner, const struct suspect *suspect, struct why *why)
{
	Upgraded__Logbook__Process process = UPGRADED__LOGBOOK__PROCESS__INIT;
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;
	char *text;
	int r = unit_text(suspect->unit, &text);

	if (r < 0)
		return why_errno(why, r, "pid %d", (int)suspect->pid);
	/* Without any inode: nothing of what systemd holds is taken for its own. */
	process.serial = ++spawner->last_serial;
	process.service = (char *)(uintptr_t)suspect->unit->name;
	process.version = (char *)(uintptr_t)suspect->version;
	process.pid = suspect->pid;
	process.start_ticks = suspect->start_ticks;
	process.since_us = clock_now_us();
	process.unit_path = suspect->unit->path;
	process.unit_text = (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
	process.place = INSTANCE_SERVES;
	process.uid = suspect->uid;
	process.boot_id = (char *)(uintptr_t)regain_boot();
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS;
	entry.process = &process;
	r = logbook_write(spawner->logbook, &entry, why);
	free(text);
	log_warning("%s: pid %d runs its program, here as version %s, as its user, and has a channel that an upgraded has made; "
		    "nothing proves that it is the one that serves: it is left alone, and no other one is started",
		    suspect->unit->name, (int)suspect->pid, suspect->version);
	return r;
}

int suspects_gather(struct registry *registry, struct spawner *spawner, struct why *why)
{
	struct gathering g = { .why = why };
	int r;

	*why->text = 0;
	r = list_units(&g, registry, spawner);
	if (r == 0 && g.n_units) {
		r = procfs_each(on_process, &g);
		if (r < 0 && !*why->text)
			why_errno(why, r, "/proc");
	}
	for (size_t i = 0; r == 0 && i < g.n; i++)
		if (!is_child(&g, &g.suspects[i]))
			r = write_suspect(spawner, &g.suspects[i], why);
	for (size_t i = 0; i < g.n_units; i++)
		unit_free(g.units[i]);
	free(g.units);
	free(g.users);
	free(g.suspects);
	return r < 0 ? why_prefix(why, r, "what serves could not be found without the logbook") : 0;
}
