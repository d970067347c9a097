/* SPDX-License-Identifier: MIT */
/* The manifest: one `key=value` a line, text, because the person who looks into an image folder has nothing else to read. */
#include "supervisor/image_dir.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANIFEST_FORMAT 1
#define MANIFEST_MAX (PATH_MAX + 2048)

int image_manifest_write(const char *dir, const struct image *image, struct why *why)
{
	FD_CLEANUP int fd = -1;
	char path[PATH_MAX], text[MANIFEST_MAX];
	int n, r;

	if (strchr(image->exe, '\n') || strchr(image->version, '\n'))
		return why_set(why, -EINVAL, "line breaks in the name of a version or its executable are not supported: %s",
			       image->exe);
	n = snprintf(text, sizeof(text),
		     "format=%d\npid=%d\nversion=%s\nexe=%s\nexe_size=%" PRIu64 "\nexe_mtime_ns=%" PRId64
		     "\ncontrol_inode=%llu\nstdout_inode=%llu\nstderr_inode=%llu\ntaken_at=%" PRId64 "\ntaken_in_us=%" PRIu64
		     "\nbytes=%" PRIu64 "\nend=1\n",
		     MANIFEST_FORMAT, (int)image->pid, image->version, image->exe, image->exe_size_bytes,
		     image->exe_mtime_ns, image->control_inode, image->stdout_inode, image->stderr_inode,
		     image->taken_at_s, image->taken_in_us, image->size_bytes);
	if (n < 0 || (size_t)n >= sizeof(text))
		return why_set(why, -ENAMETOOLONG, "the manifest of %s would be too long", dir);
	snprintf(path, sizeof(path), "%s/manifest", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return why_errno(why, -errno, "cannot make %s", path);
	r = fd_write_all(fd, text, (size_t)n, 0);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? why_errno(why, r, "cannot write %s", path) : 0;
}

static int number_take(const char *value, long long low, long long *ret)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(value, &end, 10);
	if (errno || end == value || *end || number < low)
		return -EBADMSG;
	*ret = number;
	return 0;
}

static int string_take(const char *value, char **ret)
{
	char *copy;

	if (*ret || !*value)
		return -EBADMSG;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

enum field { FORMAT, PID, EXE_SIZE, EXE_MTIME, CONTROL, STDOUT, STDERR, TAKEN_AT, TAKEN_IN, BYTES, END, N_FIELDS };

static const char *const field_name[N_FIELDS] = {
	[FORMAT] = "format", [PID] = "pid", [EXE_SIZE] = "exe_size", [EXE_MTIME] = "exe_mtime_ns",
	[CONTROL] = "control_inode", [STDOUT] = "stdout_inode", [STDERR] = "stderr_inode", [TAKEN_AT] = "taken_at",
	[TAKEN_IN] = "taken_in_us", [BYTES] = "bytes", [END] = "end",
};

/* Keys of a later format are passed over. */
static int line_take(char *line, struct image *image, long long *number, bool *seen)
{
	char *value = strchr(line, '=');

	if (!value)
		return -EBADMSG;
	*value++ = '\0';
	if (strcmp(line, "version") == 0)
		return string_take(value, &image->version);
	if (strcmp(line, "exe") == 0)
		return string_take(value, &image->exe);
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (strcmp(line, field_name[i]) != 0)
			continue;
		if (seen[i])
			return -EBADMSG;
		seen[i] = true;
		return number_take(value, i == EXE_MTIME || i == TAKEN_AT ? LLONG_MIN : 0, &number[i]);
	}
	return 0;
}

static int text_take(char *text, struct image *image, struct why *why)
{
	long long number[N_FIELDS] = { 0 };
	bool seen[N_FIELDS] = { false };
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int r = line_take(line, image, number, seen);

		if (r < 0)
			return why_errno(why, r, "line '%s'", line);
	}
	for (size_t i = 0; i < N_FIELDS; i++)
		if (!seen[i])
			return why_set(why, -EBADMSG, "it has no %s", field_name[i]);
	if (!image->version || !image->exe)
		return why_set(why, -EBADMSG, "it has no %s", image->exe ? "version" : "exe");
	if (number[FORMAT] != MANIFEST_FORMAT || number[PID] < 1 || number[PID] > INT_MAX)
		return why_set(why, -EBADMSG, "format %lld, pid %lld", number[FORMAT], number[PID]);
	image->pid = (pid_t)number[PID];
	image->exe_size_bytes = (uint64_t)number[EXE_SIZE];
	image->exe_mtime_ns = number[EXE_MTIME];
	image->control_inode = (unsigned long long)number[CONTROL];
	image->stdout_inode = (unsigned long long)number[STDOUT];
	image->stderr_inode = (unsigned long long)number[STDERR];
	image->taken_at_s = number[TAKEN_AT];
	image->taken_in_us = (uint64_t)number[TAKEN_IN];
	image->size_bytes = (uint64_t)number[BYTES];
	return 0;
}

int image_manifest_read(const char *dir, struct image *image, struct why *why)
{
	FD_CLEANUP int fd = -1;
	char path[PATH_MAX], text[MANIFEST_MAX + 1];
	ssize_t n;
	int r;

	snprintf(path, sizeof(path), "%s/manifest", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return why_errno(why, -errno, "no image: %s", path);
	n = read(fd, text, sizeof(text));
	if (n < 0)
		return why_errno(why, -errno, "cannot read %s", path);
	if ((size_t)n >= sizeof(text) || memchr(text, '\0', (size_t)n))
		return why_set(why, -EBADMSG, "%s is not a manifest", path);
	text[n] = '\0';
	r = text_take(text, image, why);
	return r < 0 ? why_prefix(why, r, "%s cannot be used", path) : 0;
}
