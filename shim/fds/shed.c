/* SPDX-License-Identifier: MIT */
/* Shedding: a parked process keeps its heap and gives up its sockets.
 *
 * What is left then holds no inet socket, so an image of it needs no TCP repair and no firewall rule, and nothing collides
 * when it is restored. Closing alone is not enough: an epoll registration belongs to the open file, which others still
 * hold, and CRIU refuses an epoll set with a registration it cannot attribute. So registrations are read from
 * /proc/self/fdinfo, deleted, and put back on resume; /dev/null keeps each number taken meanwhile.
 */
#include "shim/core/upg.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fd_entry *entry_of(struct upg *upg, int fd)
{
	return fd >= 0 && (size_t)fd < upg->fds.n_by_fd ? upg->fds.by_fd[fd] : NULL;
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

/* The registrations of one epoll set that belong to registered sockets. */
static int note_epoll(struct upg *upg, int epoll_fd)
{
	char path[64], line[256];
	FILE *info;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_fd);
	info = fopen(path, "re");
	if (!info)
		return why_errno(&upg->why, -errno, "%s", path);
	while (r == 0 && fgets(line, sizeof(line), info)) {
		struct epoll_entry entry = { .epoll_fd = epoll_fd };
		uint64_t data;
		uint32_t events;

		if (sscanf(line, "tfd: %d events: %" SCNx32 " data: %" SCNx64, &entry.fd, &events, &data) != 3)
			continue;
		if (!entry_of(upg, entry.fd) || !is_socket(entry.fd))
			continue;
		entry.event.events = events;
		entry.event.data.u64 = data;
		r = remember(&upg->shed, &entry);
	}
	fclose(info);
	return r < 0 ? why_errno(&upg->why, r, "epoll registrations") : 0;
}

/* One pass over what is open: epoll sets, and timers. */
static int note_descriptors(struct upg *upg)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *d;
	int r = 0;

	if (!dir)
		return why_errno(&upg->why, -errno, "/proc/self/fd");
	while (r == 0 && (d = readdir(dir))) {
		char target[64];
		ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = 0;
		if (strcmp(target, "anon_inode:[eventpoll]") == 0)
			r = note_epoll(upg, atoi(d->d_name));
		else if (strcmp(target, "anon_inode:[timerfd]") == 0)
			r = timers_note(upg, atoi(d->d_name));
	}
	closedir(dir);
	return r;
}

int shed_sockets(struct upg *upg, uint32_t *ret_n)
{
	FD_CLEANUP int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint32_t n = 0;
	int r;

	if (null < 0)
		return why_errno(&upg->why, -errno, "/dev/null");
	upg->shed.n = upg->shed.n_timers = 0;
	r = note_descriptors(upg);
	if (r < 0)
		return r;
	for (size_t i = 0; i < upg->shed.n; i++)
		epoll_ctl(upg->shed.entries[i].epoll_fd, EPOLL_CTL_DEL, upg->shed.entries[i].fd, NULL);
	for (size_t i = 0; i < upg->fds.n_by_fd; i++) {
		struct fd_entry *entry = upg->fds.by_fd[i];

		if (!entry || !is_socket(entry->fd))
			continue;
		entry->cloexec = cloexec_of(entry->fd);
		if (dup3(null, entry->fd, entry->cloexec) < 0)
			return why_errno(&upg->why, -errno, "shedding descriptor %d", entry->fd);
		entry->shed = true;
		n++;
	}
	*ret_n = n;
	return 0;
}

int shed_restore(struct upg *upg, const Upgraded__Wire__FdInfo *info, int fd)
{
	struct fd_entry *entry = fd_table_find(&upg->fds, info->name, info->tag);

	/* What was not shed is still here: the duplicate is not needed. */
	if (!entry || !entry->shed)
		return FDS_NOT_KEPT;
	if (dup3(fd, entry->fd, entry->cloexec) < 0)
		return why_errno(&upg->why, -errno, "putting descriptor %d back", entry->fd);
	entry->shed = false;
	return FDS_NOT_KEPT;
}

/* Every socket is back at its number: one pass over what shed_sockets() noted. */
static int restore_epolls(struct upg *upg)
{
	for (size_t i = 0; i < upg->shed.n; i++) {
		struct epoll_entry *entry = &upg->shed.entries[i];
		struct fd_entry *socket = entry_of(upg, entry->fd);

		if (!socket || socket->shed)
			continue;
		if (epoll_ctl(entry->epoll_fd, EPOLL_CTL_ADD, entry->fd, &entry->event) < 0 && errno != EEXIST)
			return why_errno(&upg->why, -errno, "descriptor %d back into epoll set %d", entry->fd, entry->epoll_fd);
	}
	upg->shed.n = 0;
	return 0;
}

int shed_undo(struct upg *upg, int **ret_lost, size_t *ret_n_lost)
{
	struct shed *shed = &upg->shed;
	size_t n = 0;
	int *lost = NULL, r = restore_epolls(upg);

	timers_restore(upg);
	if (r < 0)
		return r;
	for (size_t i = 0; i < upg->fds.n_by_fd; i++)
		n += upg->fds.by_fd[i] && upg->fds.by_fd[i]->shed;
	if (n) {
		lost = malloc(n * sizeof(*lost));
		shed->spent = malloc(n * sizeof(*shed->spent));
		if (!lost || !shed->spent) {
			free(lost);
			return why_errno(&upg->why, -ENOMEM, "resume");
		}
		shed->cap_spent = n;
	}
	*ret_n_lost = 0;
	for (size_t i = 0; i < upg->fds.n_by_fd; i++) {
		struct fd_entry *entry = upg->fds.by_fd[i];

		if (!entry || !entry->shed)
			continue;
		entry->shed = false;
		entry->lost = true;
		lost[(*ret_n_lost)++] = entry->fd;
	}
	*ret_lost = lost;
	return 0;
}

/* The application closes what was lost while its threads stand, and clients wait: a thousand system calls that can wait instead.
 * /dev/null keeps each number taken until then. */
bool shed_spend(struct shed *shed, int fd)
{
	if (shed->n_spent == shed->cap_spent)
		return false;
	shed->spent[shed->n_spent++] = fd;
	return true;
}

void shed_close_spent(struct upg *upg)
{
	struct shed *shed = &upg->shed;
	int *spent;
	size_t n;

	pthread_mutex_lock(&upg->fds.lock);
	spent = shed->spent;
	n = shed->n_spent;
	shed->spent = NULL;
	shed->n_spent = shed->cap_spent = 0;
	pthread_mutex_unlock(&upg->fds.lock);
	fd_close_all(spent, n);
	free(spent);
}

void shed_done(struct shed *shed)
{
	free(shed->spent);
	free(shed->entries);
	free(shed->timers);
}
