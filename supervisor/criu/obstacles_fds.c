/* SPDX-License-Identifier: MIT */
/* Obstacles among the descriptors that are no sockets. */
#include "supervisor/criu/obstacles_private.h"

#include "supervisor/criu/criu.h"
#include "supervisor/machine/procfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* An epoll registration outlives close() while a duplicate of the descriptor is open elsewhere. CRIU cannot find that file. */
static void check_epoll(struct subject *subject, const struct open_fd *fd)
{
	char name[32], *text = malloc(1u << 20);

	snprintf(name, sizeof(name), "fdinfo/%d", fd->fd);
	if (text && subject_read(subject, name, text, 1u << 20) > 0) {
		for (const char *at = text; (at = strstr(at, "tfd:")); at += 4) {
			int watched = (int)strtol(at + 4, NULL, 10);

			if (!subject_has(subject, watched))
				obstacle_note(subject, OBSTACLE_FATAL, fd->fd, "epoll",
					      "descriptor %d: this epoll still watches descriptor %d, "
					      "which was closed without EPOLL_CTL_DEL while a duplicate is open elsewhere",
					      fd->fd, watched);
		}
	}
	free(text);
}

static void check_pidfd(struct subject *subject, const struct open_fd *fd)
{
	char name[32], text[512];
	const char *line;
	long pid;

	snprintf(name, sizeof(name), "fdinfo/%d", fd->fd);
	if (subject_read(subject, name, text, sizeof(text)) <= 0 || !(line = strstr(text, "Pid:")))
		return;
	pid = strtol(line + 4, NULL, 10);
	if (pid == getpid() && subject->spec->holds_us && !subject->found_us) {
		subject->found_us = true;
		return;
	}
	if (pid > 0 && pid != subject->spec->pid)
		obstacle_note(subject, OBSTACLE_FATAL, fd->fd, "pidfd",
			      "descriptor %d: a pidfd of process %ld, which is not in the image", fd->fd, pid);
}

static const char *anonymous_kind(const char *link)
{
	return text_starts(link, "[io_uring") ? "io_uring" : text_starts(link, "[perf_event") ? "perf event" : "anonymous inode";
}

static void check_anonymous(struct subject *subject, const struct open_fd *fd)
{
	static const char *const fine[] = { "[eventfd", "[timerfd", "[signalfd", "inotify", "[fanotify", "bpf-map" };
	const char *kind = fd->link + strlen("anon_inode:");

	if (subject->is_of_user && (text_starts(kind, "inotify") || text_starts(kind, "[fanotify"))) {
		obstacle_note(subject, OBSTACLE_FATAL, fd->fd, "inotify",
			      "descriptor %d: %s: CRIU would watch its paths again as root, and its user may have led them "
			      "elsewhere by then", fd->fd, text_starts(kind, "inotify") ? "inotify" : "fanotify");
		return;
	}

	if (text_starts(kind, "[eventpoll")) {
		check_epoll(subject, fd);
		return;
	}
	if (text_starts(kind, "[pidfd")) {
		check_pidfd(subject, fd);
		return;
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		if (text_starts(kind, fine[i]))
			return;
	obstacle_note(subject, OBSTACLE_FATAL, fd->fd, anonymous_kind(kind),
		      "descriptor %d: %s is nothing that CRIU can image", fd->fd, kind);
}

static void check_device(struct subject *subject, const struct open_fd *fd)
{
	unsigned class = major(fd->rdev), number = minor(fd->rdev);
	const char *kind;

	/* CRIU knows null, zero, full, random and urandom, and the master of a pseudo terminal, with its slaves. */
	if (S_ISCHR(fd->mode) && class == 1 && (number == 3 || number == 5 || (number >= 7 && number <= 9)))
		return;
	if (S_ISCHR(fd->mode) && class == 5 && number == 2)
		return;
	kind = S_ISCHR(fd->mode) && (class == 5 || (class >= 136 && class <= 143)) ? "terminal" : "device";
	obstacle_note(subject, OBSTACLE_FATAL, fd->fd, kind, "descriptor %d: %s %s cannot be imaged", fd->fd, kind, fd->link);
}

/* CRIU notes the size of an open file and refuses to restore when the file has another size by then. It makes an exception for
 * a file that is only appended to, like a log. */
static void check_size(struct subject *subject, const struct open_fd *fd)
{
	unsigned mode = fd->flags & O_ACCMODE;

	if (mode == O_RDONLY || (mode == O_WRONLY && (fd->flags & O_APPEND)))
		return;
	obstacle_note(subject, OBSTACLE_WARNING, fd->fd, "file",
		      "descriptor %d: the size of %.90s must not change after the image was taken: with another size it cannot be "
		      "restored", fd->fd, fd->link);
}

static void check_file(struct subject *subject, const struct open_fd *fd)
{
	if (text_starts(fd->link, "/memfd:"))
		return;
	if (!procfs_is_deleted(fd->link)) {
		check_size(subject, fd);
		return;
	}
	if (fd->n_links > 0)
		obstacle_note(subject, OBSTACLE_FATAL, fd->fd, "removed file",
			      "descriptor %d: %s was removed under this name but has others, which CRIU does not find",
			      fd->fd, fd->link);
	else if (fd->size_bytes > CRIU_GHOST_LIMIT_BYTES)
		obstacle_note(subject, OBSTACLE_FATAL, fd->fd, "removed file",
			      "descriptor %d: %s takes %llu bytes on disk, and a removed file goes into the image only up to %u",
			      fd->fd, fd->link, fd->size_bytes, CRIU_GHOST_LIMIT_BYTES);
}

static void check_pipe(struct subject *subject, const struct open_fd *fd)
{
	unsigned mine = fd->flags & O_ACCMODE;
	struct open_fd *const *owners;
	size_t n;

	if (!text_starts(fd->link, "pipe:[") || subject_knows(subject, fd->inode) || mine == O_RDWR)
		return;
	owners = subject_owners(subject, fd->inode, &n);
	/* They are in the order of their modes. */
	if (n && ((owners[0]->flags & O_ACCMODE) != mine || (owners[n - 1]->flags & O_ACCMODE) != mine))
		return; /* both ends are here */
	obstacle_note(subject, OBSTACLE_WARNING, fd->fd, "pipe",
		      "descriptor %d: the other end of this pipe is in another process and will not be there after a restore",
		      fd->fd);
}

void obstacles_of_fds(struct subject *subject)
{
	for (size_t i = 0; i < subject->n_fds; i++) {
		const struct open_fd *fd = &subject->fds[i];

		if (text_starts(fd->link, "anon_inode:"))
			check_anonymous(subject, fd);
		else if (text_starts(fd->link, "pidfd:") || text_starts(fd->link, "/pidfd:") || strcmp(fd->link, "[pidfd]") == 0)
			check_pidfd(subject, fd);
		else if (S_ISCHR(fd->mode) || S_ISBLK(fd->mode))
			check_device(subject, fd);
		else if (S_ISREG(fd->mode))
			check_file(subject, fd);
		else if (S_ISFIFO(fd->mode))
			check_pipe(subject, fd);
	}
}
