/* SPDX-License-Identifier: MIT */
#include "cli/file.h"

#include "base/fd.h"
#include "base/loop.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20) /* the service stands still while it writes: it should wait for us rarely */
#define COPY_BYTES 65536

void file_init(struct file *file)
{
	*file = (struct file){ .feed.fd = -1, .write_end = -1, .fd = -1 };
}

/* Copy up to @most bytes. Return: how many; 0: there is no more. */
static size_t copy(struct file *file, size_t most)
{
	char data[COPY_BYTES];
	ssize_t n = read(file->feed.fd, data, most < sizeof(data) ? most : sizeof(data));

	if (n > 0 && file->error == 0)
		file->error = fd_write_all(file->fd, data, (size_t)n, 0);
	if (n > 0 && file->error == 0)
		return (size_t)n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* Where the file cannot be written, the service hears of it by its pipe: the save fails at once. */
	file->feed.fd = fd_close(file->feed.fd);
	return 0;
}

static void on_readable(struct client_feed *feed)
{
	copy(container_of(feed, struct file, feed), COPY_BYTES);
}

static int open_pipe(struct file *file, struct why *why)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "pipe");
	file->feed = (struct client_feed){ .fd = ends[0], .on_readable = on_readable };
	file->write_end = ends[1];
	(void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* a smaller one does, too */
	return fd_nonblock(ends[0], 1) < 0 ? why_errno(why, -errno, "pipe") : 0;
}

static int open_output(struct file *file, struct why *why)
{
	if (isatty(STDOUT_FILENO))
		return why_set(why, -ENOTTY, "standard output is a terminal, and state is no text: name a file, or redirect it");
	file->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	return file->fd < 0 ? why_errno(why, -errno, "standard output") : 0;
}

static int open_beside(struct file *file, struct why *why)
{
	if (asprintf(&file->building, "%s.XXXXXX", file->path) < 0) {
		file->building = NULL;
		return why_errno(why, -ENOMEM, "%s", file->path);
	}
	file->fd = mkostemp(file->building, O_CLOEXEC);
	if (file->fd < 0) {
		int error = -errno;

		free(file->building);
		file->building = NULL;
		return why_errno(why, error, "%s: cannot be written beside it", file->path);
	}
	return 0;
}

int file_create(const char *path, struct file *file, struct why *why)
{
	int r;

	file_init(file);
	file->path = path;
	r = strcmp(path, "-") == 0 ? open_output(file, why) : open_beside(file, why);
	if (r == 0)
		r = open_pipe(file, why);
	if (r < 0)
		file_discard(file);
	return r;
}

/* The service has written everything when its answer came. Whatever it may write later is no part of the file. */
static int copy_rest(struct file *file)
{
	int left = 0;

	if (file->feed.fd >= 0 && ioctl(file->feed.fd, FIONREAD, &left) < 0)
		return -errno;
	while (left > 0 && file->feed.fd >= 0)
		left -= (int)copy(file, (size_t)left);
	file->feed.fd = fd_close(file->feed.fd);
	return file->error;
}

/* The new name must survive a power failure, as the contents do. */
static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int r = fd >= 0 && fsync(fd) == 0 ? 0 : -errno;

	fd_close(fd);
	free(folder);
	return r;
}

static int name_it(struct file *file)
{
	if (fsync(file->fd) < 0 || rename(file->building, file->path) < 0)
		return -errno;
	free(file->building);
	file->building = NULL;
	return 0;
}

int file_publish(struct file *file, struct why *why)
{
	int r = copy_rest(file);

	if (r == 0 && file->building)
		r = name_it(file);
	if (r < 0) {
		why_errno(why, r, "%s", file->path);
		file_discard(file);
		return r;
	}
	if (strcmp(file->path, "-") != 0) {
		r = sync_folder(file->path);
		if (r < 0)
			why_errno(why, r, "%s: its folder", file->path);
	}
	file->fd = fd_close(file->fd);
	return r;
}

void file_discard(struct file *file)
{
	file->feed.fd = fd_close(file->feed.fd);
	file->write_end = fd_close(file->write_end);
	file->fd = fd_close(file->fd);
	if (file->building)
		unlink(file->building);
	free(file->building);
	file->building = NULL;
}
