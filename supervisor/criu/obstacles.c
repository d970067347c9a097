/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/obstacles.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/criu/criu.h"
#include "supervisor/criu/obstacles_private.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void look_note(struct look *look, enum obstacle_level level, int fd, const char *kind, const char *fmt, ...)
{
	struct imageable_report *report = look->report;
	struct obstacle obstacle = { .level = level, .fd = fd, .kind = kind };
	va_list args;

	va_start(args, fmt);
	vsnprintf(obstacle.text, sizeof(obstacle.text), fmt, args);
	va_end(args);
	if (level == OBSTACLE_FATAL)
		report->n_fatal++;
	else
		report->n_warnings++;
	if (report->n < OBSTACLES_MAX) {
		report->obstacle[report->n++] = obstacle;
		return;
	}
	/* What decides must not be hidden behind a thousand connections. */
	for (size_t i = 0; level == OBSTACLE_FATAL && i < OBSTACLES_MAX; i++) {
		if (report->obstacle[i].level != OBSTACLE_FATAL) {
			report->obstacle[i] = obstacle;
			return;
		}
	}
}

bool look_knows(const struct look *look, unsigned long long inode)
{
	for (size_t i = 0; i < look->spec->n_known; i++)
		if (look->spec->known[i] == inode)
			return true;
	return false;
}

size_t look_owns(const struct look *look, unsigned long long inode)
{
	size_t n = 0;

	for (size_t i = 0; i < look->n_fds; i++)
		n += look->fds[i].inode == inode && (S_ISSOCK(look->fds[i].mode) || S_ISFIFO(look->fds[i].mode));
	return n;
}

ssize_t look_read(const struct look *look, const char *name, char *buf, size_t size)
{
	FD_CLEANUP int fd = openat(look->proc, name, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (have < size - 1 && (n = read(fd, buf + have, size - 1 - have)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		have += n > 0 ? (size_t)n : 0;
	}
	buf[have] = '\0';
	return (ssize_t)have;
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

bool look_is_deleted(const char *path)
{
	static const char deleted[] = " (deleted)";
	size_t length = strlen(path);

	return length >= sizeof(deleted) && strcmp(path + length - (sizeof(deleted) - 1), deleted) == 0;
}

/* ---- descriptors ---- */

/* Return: 1 taken, 0 it was closed meanwhile. */
static int fd_take(const struct look *look, int fd, struct open_fd *ret)
{
	struct open_fd open_fd = { .fd = fd };
	char name[32], info[256];
	const char *flags;
	struct stat st;
	ssize_t n;

	snprintf(name, sizeof(name), "fd/%d", fd);
	n = readlinkat(look->proc, name, open_fd.link, sizeof(open_fd.link) - 1);
	if (n < 0 || fstatat(look->proc, name, &st, 0) < 0)
		return 0;
	open_fd.link[n] = '\0';
	open_fd.inode = st.st_ino;
	open_fd.mode = st.st_mode;
	open_fd.rdev = st.st_rdev;
	open_fd.size_bytes = (unsigned long long)st.st_blocks * 512;
	open_fd.n_links = st.st_nlink;
	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	if (look_read(look, name, info, sizeof(info)) > 0 && (flags = strstr(info, "flags:")))
		open_fd.flags = (unsigned)strtoul(flags + 6, NULL, 8);
	*ret = open_fd;
	return 1;
}

static int fds_take(struct look *look, struct why *why)
{
	int dir = openat(look->proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = dir < 0 ? NULL : fdopendir(dir);
	struct dirent *entry;
	size_t room = 0;

	if (!stream) {
		fd_close(dir);
		return why_errno(why, -errno, "cannot see the descriptors of process %d", (int)look->spec->pid);
	}
	while ((entry = readdir(stream))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (look->n_fds == room) {
			struct open_fd *more = reallocarray(look->fds, room + 256, sizeof(*more));

			if (!more) {
				closedir(stream);
				return why_errno(why, -ENOMEM, "descriptors of process %d", (int)look->spec->pid);
			}
			look->fds = more;
			room += 256;
		}
		look->n_fds += (size_t)fd_take(look, atoi(entry->d_name), &look->fds[look->n_fds]);
	}
	closedir(stream);
	return 0;
}

static bool is_open(const struct look *look, int fd)
{
	for (size_t i = 0; i < look->n_fds; i++)
		if (look->fds[i].fd == fd)
			return true;
	return false;
}

/* A registration outlives close() while a duplicate is open elsewhere, and CRIU cannot find the file then. */
static void check_epoll(struct look *look, const struct open_fd *fd)
{
	char name[32], *text = malloc(1u << 20);

	snprintf(name, sizeof(name), "fdinfo/%d", fd->fd);
	if (text && look_read(look, name, text, 1u << 20) > 0) {
		for (const char *at = text; (at = strstr(at, "tfd:")); at += 4) {
			int watched = (int)strtol(at + 4, NULL, 10);

			if (!is_open(look, watched))
				look_note(look, OBSTACLE_FATAL, fd->fd, "epoll",
					  "descriptor %d: this epoll still watches descriptor %d, "
					  "which was closed without EPOLL_CTL_DEL while a duplicate is open elsewhere",
					  fd->fd, watched);
		}
	}
	free(text);
}

static void check_pidfd(struct look *look, const struct open_fd *fd)
{
	char name[32], text[512];
	const char *line;
	long pid;

	snprintf(name, sizeof(name), "fdinfo/%d", fd->fd);
	if (look_read(look, name, text, sizeof(text)) <= 0 || !(line = strstr(text, "Pid:")))
		return;
	pid = strtol(line + 4, NULL, 10);
	if (pid > 0 && pid != look->spec->pid)
		look_note(look, OBSTACLE_FATAL, fd->fd, "pidfd",
			  "descriptor %d: a pidfd of process %ld, which is not in the image", fd->fd, pid);
}

static const char *anonymous_kind(const char *link)
{
	return starts(link, "[io_uring") ? "io_uring" : starts(link, "[perf_event") ? "perf event" : "anonymous inode";
}

static void check_anonymous(struct look *look, const struct open_fd *fd)
{
	static const char *const fine[] = { "[eventfd", "[timerfd", "[signalfd", "inotify", "[fanotify", "bpf-map" };
	const char *kind = fd->link + strlen("anon_inode:");

	if (starts(kind, "[eventpoll")) {
		check_epoll(look, fd);
		return;
	}
	if (starts(kind, "[pidfd")) {
		check_pidfd(look, fd);
		return;
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		if (starts(kind, fine[i]))
			return;
	look_note(look, OBSTACLE_FATAL, fd->fd, anonymous_kind(kind),
		  "descriptor %d: %s is nothing that CRIU can image", fd->fd, kind);
}

static void check_device(struct look *look, const struct open_fd *fd)
{
	unsigned class = major(fd->rdev), number = minor(fd->rdev);
	const char *kind;

	/* null, zero, full, random, urandom; a pseudo terminal's master, which brings its slaves along */
	if (S_ISCHR(fd->mode) && class == 1 && (number == 3 || number == 5 || (number >= 7 && number <= 9)))
		return;
	if (S_ISCHR(fd->mode) && class == 5 && number == 2)
		return;
	kind = S_ISCHR(fd->mode) && (class == 5 || (class >= 136 && class <= 143)) ? "terminal" : "device";
	look_note(look, OBSTACLE_FATAL, fd->fd, kind, "descriptor %d: %s %s cannot be imaged", fd->fd, kind, fd->link);
}

/* CRIU notes the size of a file and refuses to restore when it has another one; not of a log, that is only appended to. */
static void check_size(struct look *look, const struct open_fd *fd)
{
	unsigned mode = fd->flags & O_ACCMODE;

	if (mode == O_RDONLY || (mode == O_WRONLY && (fd->flags & O_APPEND)))
		return;
	look_note(look, OBSTACLE_WARNING, fd->fd, "file",
		  "descriptor %d: the size of %.90s must not change after the image was taken: with another size it cannot be "
		  "restored", fd->fd, fd->link);
}

static void check_file(struct look *look, const struct open_fd *fd)
{
	if (starts(fd->link, "/memfd:"))
		return;
	if (!look_is_deleted(fd->link)) {
		check_size(look, fd);
		return;
	}
	if (fd->n_links > 0)
		look_note(look, OBSTACLE_FATAL, fd->fd, "removed file",
			  "descriptor %d: %s was removed under this name but has others, which "
			  "CRIU does not find",
			  fd->fd, fd->link);
	else if (fd->size_bytes > CRIU_GHOST_LIMIT_BYTES)
		look_note(look, OBSTACLE_FATAL, fd->fd, "removed file",
			  "descriptor %d: %s takes %llu bytes on disk, and a removed file "
			  "goes into the image only up to %u",
			  fd->fd, fd->link, fd->size_bytes, CRIU_GHOST_LIMIT_BYTES);
}

static void check_pipe(struct look *look, const struct open_fd *fd)
{
	unsigned mine = fd->flags & O_ACCMODE;

	if (!starts(fd->link, "pipe:[") || look_knows(look, fd->inode) || mine == O_RDWR)
		return;
	for (size_t i = 0; i < look->n_fds; i++)
		if (look->fds[i].inode == fd->inode && (look->fds[i].flags & O_ACCMODE) != mine)
			return; /* both ends are here */
	look_note(look, OBSTACLE_WARNING, fd->fd, "pipe",
		  "descriptor %d: the other end of this pipe is in another process and will "
		  "not be there after a restore",
		  fd->fd);
}

static void check_fds(struct look *look)
{
	for (size_t i = 0; i < look->n_fds; i++) {
		const struct open_fd *fd = &look->fds[i];

		if (starts(fd->link, "anon_inode:"))
			check_anonymous(look, fd);
		else if (starts(fd->link, "pidfd:") || starts(fd->link, "/pidfd:") || strcmp(fd->link, "[pidfd]") == 0)
			check_pidfd(look, fd);
		else if (S_ISCHR(fd->mode) || S_ISBLK(fd->mode))
			check_device(look, fd);
		else if (S_ISREG(fd->mode))
			check_file(look, fd);
		else if (S_ISFIFO(fd->mode))
			check_pipe(look, fd);
	}
}

int imageable_check(const struct imageable_spec *spec, struct imageable_report *ret_report, struct why *why)
{
	struct imageable_report *report = calloc(1, sizeof(*report));
	struct look look = { .spec = spec, .report = report };
	char path[32];
	int r;

	if (!report)
		return why_errno(why, -ENOMEM, "cannot look at process %d", (int)spec->pid);
	snprintf(path, sizeof(path), "/proc/%d", (int)spec->pid);
	look.proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = look.proc < 0 ? why_errno(why, -errno, "cannot look at process %d", (int)spec->pid) : 0;
	if (r == 0)
		r = fds_take(&look, why);
	if (r == 0)
		r = look_sockets(&look, why);
	if (r == 0) {
		check_fds(&look);
		look_process(&look);
		look_maps(&look);
		*ret_report = *report;
	}
	fd_close(look.proc);
	free(look.fds);
	free(report);
	return r;
}
