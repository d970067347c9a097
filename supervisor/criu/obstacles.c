/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/obstacles.h"

#include "base/fd.h"
#include "base/why.h"
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
#include <unistd.h>

void obstacle_note(struct subject *subject, enum obstacle_level level, int fd, const char *kind, const char *fmt, ...)
{
	struct obstacles_report *report = subject->report;
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
	/* A fatal obstacle decides. A thousand connections must not hide it. */
	for (size_t i = 0; level == OBSTACLE_FATAL && i < OBSTACLES_MAX; i++) {
		if (report->obstacle[i].level != OBSTACLE_FATAL) {
			report->obstacle[i] = obstacle;
			return;
		}
	}
}

bool subject_knows(const struct subject *subject, unsigned long long inode)
{
	for (size_t i = 0; i < subject->spec->n_known; i++)
		if (subject->spec->known[i] == inode)
			return true;
	return false;
}

size_t subject_owns(const struct subject *subject, unsigned long long inode)
{
	size_t n = 0;

	for (size_t i = 0; i < subject->n_fds; i++)
		n += subject->fds[i].inode == inode && (S_ISSOCK(subject->fds[i].mode) || S_ISFIFO(subject->fds[i].mode));
	return n;
}

ssize_t subject_read(const struct subject *subject, const char *name, char *buf, size_t size)
{
	FD_CLEANUP int fd = openat(subject->proc, name, O_RDONLY | O_CLOEXEC);
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

bool path_is_deleted(const char *path)
{
	static const char deleted[] = " (deleted)";
	size_t length = strlen(path);

	return length >= sizeof(deleted) && strcmp(path + length - (sizeof(deleted) - 1), deleted) == 0;
}

/* ---- descriptors ---- */

/* Return: 1 if there is such a descriptor; 0 if the process closed it meanwhile. */
static int subject_fd_take(const struct subject *subject, int fd, struct open_fd *ret)
{
	struct open_fd open_fd = { .fd = fd };
	char name[32], info[256];
	const char *flags;
	struct stat st;
	ssize_t n;

	snprintf(name, sizeof(name), "fd/%d", fd);
	n = readlinkat(subject->proc, name, open_fd.link, sizeof(open_fd.link) - 1);
	if (n < 0 || fstatat(subject->proc, name, &st, 0) < 0)
		return 0;
	open_fd.link[n] = '\0';
	open_fd.inode = st.st_ino;
	open_fd.mode = st.st_mode;
	open_fd.rdev = st.st_rdev;
	open_fd.size_bytes = (unsigned long long)st.st_blocks * 512;
	open_fd.n_links = st.st_nlink;
	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	if (subject_read(subject, name, info, sizeof(info)) > 0 && (flags = strstr(info, "flags:")))
		open_fd.flags = (unsigned)strtoul(flags + 6, NULL, 8);
	*ret = open_fd;
	return 1;
}

static int subject_fds_take(struct subject *subject, struct why *why)
{
	int dir = openat(subject->proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = dir < 0 ? NULL : fdopendir(dir);
	struct dirent *entry;
	size_t room = 0;

	if (!stream) {
		fd_close(dir);
		return why_errno(why, -errno, "cannot see the descriptors of process %d", (int)subject->spec->pid);
	}
	while ((entry = readdir(stream))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (subject->n_fds == room) {
			struct open_fd *more = reallocarray(subject->fds, room + 256, sizeof(*more));

			if (!more) {
				closedir(stream);
				return why_errno(why, -ENOMEM, "descriptors of process %d", (int)subject->spec->pid);
			}
			subject->fds = more;
			room += 256;
		}
		subject->n_fds += (size_t)subject_fd_take(subject, atoi(entry->d_name), &subject->fds[subject->n_fds]);
	}
	closedir(stream);
	return 0;
}

int obstacles_check(const struct obstacles_spec *spec, struct obstacles_report *ret_report, struct why *why)
{
	struct obstacles_report *report = calloc(1, sizeof(*report));
	struct subject subject = { .spec = spec, .report = report };
	char path[32];
	int r;

	if (!report)
		return why_errno(why, -ENOMEM, "cannot look at process %d", (int)spec->pid);
	snprintf(path, sizeof(path), "/proc/%d", (int)spec->pid);
	subject.proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = subject.proc < 0 ? why_errno(why, -errno, "cannot look at process %d", (int)spec->pid) : 0;
	if (r == 0)
		r = subject_fds_take(&subject, why);
	if (r == 0)
		r = obstacles_of_sockets(&subject, why);
	if (r == 0) {
		obstacles_of_fds(&subject);
		obstacles_of_process(&subject);
		obstacles_of_maps(&subject);
		*ret_report = *report;
	}
	fd_close(subject.proc);
	free(subject.fds);
	free(report);
	return r;
}
