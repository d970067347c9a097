/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/obstacles.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/criu/obstacles_private.h"
#include "supervisor/machine/procfs.h"

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

void obstacles_add(struct obstacles_report *report, enum obstacle_level level, int fd, const char *kind, const char *text)
{
	struct obstacle obstacle = { .level = level, .fd = fd, .kind = kind };

	snprintf(obstacle.text, sizeof(obstacle.text), "%s", text);
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

void obstacle_note(struct subject *subject, enum obstacle_level level, int fd, const char *kind, const char *fmt, ...)
{
	struct obstacle obstacle;
	va_list args;

	va_start(args, fmt);
	vsnprintf(obstacle.text, sizeof(obstacle.text), fmt, args);
	va_end(args);
	obstacles_add(subject->report, level, fd, kind, obstacle.text);
}

/* ---- looked up, never searched for ---- */

static int compare_number(const void *a, const void *b)
{
	unsigned long long one = *(const unsigned long long *)a, two = *(const unsigned long long *)b;

	return (one > two) - (one < two);
}

static int compare_inode(const void *a, const void *b)
{
	const struct open_fd *one = *(struct open_fd *const *)a, *two = *(struct open_fd *const *)b;
	int order = compare_number(&one->inode, &two->inode);

	return order ? order : (int)(one->flags & O_ACCMODE) - (int)(two->flags & O_ACCMODE);
}

static int compare_fd(const void *a, const void *b)
{
	const struct open_fd *one = a, *two = b;

	return (one->fd > two->fd) - (one->fd < two->fd);
}

static int subject_sort(struct subject *subject, struct why *why)
{
	const struct obstacles_spec *spec = subject->spec;

	subject->by_inode = calloc(subject->n_fds + 1, sizeof(struct open_fd *));
	subject->known = calloc(spec->n_known + 1, sizeof(*subject->known));
	if (!subject->by_inode || !subject->known)
		return why_errno(why, -ENOMEM, "descriptors of process %d", (int)spec->pid);
	if (subject->n_fds)
		qsort(subject->fds, subject->n_fds, sizeof(*subject->fds), compare_fd);
	for (size_t i = 0; i < subject->n_fds; i++)
		if (S_ISSOCK(subject->fds[i].mode) || S_ISFIFO(subject->fds[i].mode))
			subject->by_inode[subject->n_by_inode++] = &subject->fds[i];
	qsort(subject->by_inode, subject->n_by_inode, sizeof(struct open_fd *), compare_inode);
	if (spec->n_known)
		memcpy(subject->known, spec->known, spec->n_known * sizeof(*spec->known));
	qsort(subject->known, spec->n_known, sizeof(*subject->known), compare_number);
	return 0;
}

bool subject_knows(const struct subject *subject, unsigned long long inode)
{
	return bsearch(&inode, subject->known, subject->spec->n_known, sizeof(inode), compare_number) != NULL;
}

struct open_fd *const *subject_owners(const struct subject *subject, unsigned long long inode, size_t *ret_n)
{
	size_t low = 0, high = subject->n_by_inode, n = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (subject->by_inode[middle]->inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	while (low + n < subject->n_by_inode && subject->by_inode[low + n]->inode == inode)
		n++;
	*ret_n = n;
	return subject->by_inode + low;
}

bool subject_has(const struct subject *subject, int fd)
{
	struct open_fd key = { .fd = fd };

	return subject->n_fds && bsearch(&key, subject->fds, subject->n_fds, sizeof(key), compare_fd);
}

ssize_t subject_read(const struct subject *subject, const char *name, char *buf, size_t size)
{
	return procfs_read_at(subject->proc, name, buf, size);
}

/* ---- descriptors ---- */

/* Return: 1 if there is such a descriptor; 0 if the process closed it meanwhile. */
static int subject_fd_take(struct subject *subject, int fd, struct open_fd *ret)
{
	struct open_fd open_fd = { .fd = fd };
	char name[32], info[256];
	const char *line;
	struct stat st;
	ssize_t n;

	snprintf(name, sizeof(name), "fd/%d", fd);
	n = readlinkat(subject->proc, name, open_fd.link, sizeof(open_fd.link) - 1);
	if (n < 0)
		return 0;
	open_fd.link[n] = '\0';
	/* There may be ten thousand of these, and this is all that is asked of them here. */
	if (sscanf(open_fd.link, "socket:[%llu]", &open_fd.inode) == 1) {
		open_fd.mode = S_IFSOCK;
		*ret = open_fd;
		return 1;
	}
	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	if (subject_read(subject, name, info, sizeof(info)) > 0 && (line = strstr(info, "flags:")))
		open_fd.flags = (unsigned)strtoul(line + 6, NULL, 8);
	/* A program that serves a file system could keep us waiting for what it says of a file. */
	line = open_fd.link[0] == '/' ? strstr(info, "mnt_id:") : NULL;
	if (line && safe_served_has(&subject->served, strtoul(line + 7, NULL, 10))) {
		obstacle_note(subject, OBSTACLE_FATAL, fd, "file",
			      "descriptor %d: %.120s is on a file system that a program serves (FUSE): what is there after a "
			      "restore is for that program to say", fd, open_fd.link);
		return 0;
	}
	snprintf(name, sizeof(name), "fd/%d", fd);
	if (fstatat(subject->proc, name, &st, 0) < 0)
		return 0;
	open_fd.inode = st.st_ino;
	open_fd.mode = st.st_mode;
	open_fd.rdev = st.st_rdev;
	open_fd.size_bytes = (unsigned long long)st.st_blocks * 512;
	open_fd.n_links = st.st_nlink;
	*ret = open_fd;
	return 1;
}

static int subject_fds_take(struct subject *subject, struct why *why)
{
	int dir = openat(subject->proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = dir < 0 ? NULL : fdopendir(dir);
	struct dirent *entry;
	size_t room = 0;

	safe_served_read(&subject->served);
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
	if (r == 0) {
		subject.is_of_user = !safe_process(subject.proc);
		r = subject_fds_take(&subject, why);
	}
	if (r == 0)
		r = subject_sort(&subject, why);
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
	free(subject.by_inode);
	free(subject.known);
	free(report);
	return r;
}
