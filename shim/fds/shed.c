/* SPDX-License-Identifier: MIT */
/* Shedding: a parked process keeps its heap and gives up its sockets.
 *
 * Then an image of the process needs no TCP repair and no firewall rule, and nothing collides when it is restored. Closing the
 * sockets is not enough: an epoll registration belongs to the open file, which others still hold, and CRIU refuses an epoll set
 * with a registration that it cannot attribute. So registrations are read from /proc/self/fdinfo, deleted, and put back on resume.
 * Meanwhile /dev/null keeps each number taken.
 */
#include "shim/fds/shed.h"

#include "base/fd.h"
#include "base/lack.h"
#include "base/why.h"
#include "shim/fds/handover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void shed_init(struct shed *shed, struct fd_table *fds)
{
	*shed = (struct shed){ .fds = fds };
}

void shed_done(struct shed *shed)
{
	free(shed->entries);
	timers_done(&shed->timers);
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* The number keeps its close-on-exec flag through both replacements. */
static int cloexec_of(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && !(flags & FD_CLOEXEC) ? 0 : O_CLOEXEC;
}

static int remember(struct shed *shed, const struct epoll_entry *entry)
{
	if (shed->n == shed->cap) {
		size_t cap = shed->cap ? shed->cap * 2 : 64;
		struct epoll_entry *entries = realloc(shed->entries, cap * sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		shed->entries = entries;
		shed->cap = cap;
	}
	shed->entries[shed->n++] = *entry;
	return 0;
}

/* Note those registrations of one epoll set that are of sockets in the table. */
static int note_epoll(struct shed *shed, int epoll_fd, struct why *why)
{
	char path[64], line[256];
	FILE *info;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_fd);
	info = fopen(path, "re");
	if (!info)
		return why_errno(why, -errno, "%s", path);
	while (r == 0 && fgets(line, sizeof(line), info)) {
		struct epoll_entry entry = { .epoll_fd = epoll_fd };
		uint64_t data;
		uint32_t events;

		if (sscanf(line, "tfd: %d events: %" SCNx32 " data: %" SCNx64, &entry.fd, &events, &data) != 3)
			continue;
		if (!fd_table_at(shed->fds, entry.fd) || !is_socket(entry.fd))
			continue;
		entry.event.events = events;
		entry.event.data.u64 = data;
		r = remember(shed, &entry);
	}
	fclose(info);
	return r < 0 ? why_errno(why, r, "epoll registrations") : 0;
}

/* Note epoll sets and timers, in one pass over all open descriptors. */
static int note_descriptors(struct shed *shed, struct why *why)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *d;
	int r = 0;

	if (!dir)
		return why_errno(why, -errno, "/proc/self/fd");
	while (r == 0 && (d = readdir(dir))) {
		char target[64];
		ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = 0;
		if (strcmp(target, "anon_inode:[eventpoll]") == 0)
			r = note_epoll(shed, atoi(d->d_name), why);
		else if (strcmp(target, "anon_inode:[timerfd]") == 0)
			r = timers_note(&shed->timers, atoi(d->d_name), why);
	}
	closedir(dir);
	return r;
}

int shed_sockets(struct shed *shed, uint32_t *ret_n, struct why *why)
{
	struct fd_table *table = shed->fds;
	FD_CLEANUP int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint32_t n = 0;
	int r;

	if (null < 0)
		return why_errno(why, -errno, "/dev/null");
	shed->n = shed->timers.n = 0;
	r = note_descriptors(shed, why);
	if (r < 0)
		return r;
	for (size_t i = 0; i < shed->n; i++)
		epoll_ctl(shed->entries[i].epoll_fd, EPOLL_CTL_DEL, shed->entries[i].fd, NULL);
	for (size_t i = 0; i < table->n_by_fd; i++) {
		struct fd_entry *entry = table->by_fd[i];

		if (!entry || !is_socket(entry->fd))
			continue;
		entry->cloexec = cloexec_of(entry->fd);
		entry->door = door_kind(entry->fd);
		if (dup3(null, entry->fd, entry->cloexec) < 0)
			return why_errno(why, -errno, "shedding descriptor %d", entry->fd);
		entry->shed = true;
		n++;
	}
	*ret_n = n;
	return 0;
}

int shed_restore(struct shed *shed, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	struct fd_entry *entry = fd_table_find(shed->fds, info->name, info->tag);

	/* A descriptor that was not shed is still here: the duplicate is not needed. */
	if (!entry || !entry->shed)
		return FDS_NOT_KEPT;
	if (dup3(fd, entry->fd, entry->cloexec) < 0)
		return why_errno(why, -errno, "putting descriptor %d back", entry->fd);
	entry->shed = false;
	return FDS_NOT_KEPT;
}

/* Every socket is back at its number: put its registrations back. */
static int restore_epolls(struct shed *shed, struct why *why)
{
	unsigned tries = 0;

	for (size_t i = 0; i < shed->n; i++) {
		struct epoll_entry *entry = &shed->entries[i];
		struct fd_entry *socket = fd_table_at(shed->fds, entry->fd);

		if (!socket || socket->shed)
			continue;
		/* Nobody else has the state of this process: a lack that is over in a moment must not cost it. */
		while (epoll_ctl(entry->epoll_fd, EPOLL_CTL_ADD, entry->fd, &entry->event) < 0 && errno != EEXIST)
			if (!lack_again(errno, &tries))
				return why_errno(why, -errno, "descriptor %d back into epoll set %d", entry->fd, entry->epoll_fd);
	}
	shed->n = 0;
	return 0;
}

/* What is still shed now is lost. Return: how many are listed in @lost, which has room for all. */
static size_t list_lost(struct fd_table *table, int *lost)
{
	size_t n = 0;

	for (size_t i = 0; i < table->n_by_fd; i++) {
		struct fd_entry *entry = table->by_fd[i];

		if (!entry || !entry->shed)
			continue;
		entry->shed = false;
		entry->lost = true;
		lost[n++] = entry->fd;
	}
	return n;
}

void shed_list_missed(struct shed *shed, struct shed_missed *ret)
{
	struct fd_table *table = shed->fds;

	ret->n = 0;
	for (size_t i = 0; i < table->n_by_fd && ret->n < SHED_MISSED_MAX; i++) {
		const struct fd_entry *entry = table->by_fd[i];
		Upgraded__Wire__FdInfo *info = &ret->infos[ret->n];

		if (!entry || entry->door == DOOR_NONE ||
		    (!entry->lost && door_is_open(entry->fd, entry->door) && door_is_reachable(entry->fd)))
			continue;
		upgraded__wire__fd_info__init(info);
		info->name = strdup(entry->name); /* the application may close it before this is said */
		info->tag = entry->tag;
		if (info->name)
			ret->list[ret->n++] = info;
	}
}

void shed_missed_done(struct shed_missed *missed)
{
	while (missed->n)
		free(missed->infos[--missed->n].name);
}

int shed_undo(struct shed *shed, int **ret_lost, size_t *ret_n_lost, struct why *why)
{
	struct fd_table *table = shed->fds;
	int *lost = NULL, r = restore_epolls(shed, why);
	unsigned tries = 0;
	size_t n = 0;

	timers_restore(&shed->timers);
	if (r < 0)
		return r;
	for (size_t i = 0; i < table->n_by_fd; i++)
		n += table->by_fd[i] && table->by_fd[i]->shed;
	while (n && ((!lost && !(lost = malloc(n * sizeof(*lost)))) || fd_table_keep_spent(table, n) < 0)) {
		if (!lack_again(ENOMEM, &tries)) {
			free(lost);
			return why_errno(why, -ENOMEM, "resume");
		}
	}
	*ret_n_lost = list_lost(table, lost);
	*ret_lost = lost;
	return 0;
}
