/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/log.h"

#include "base/fd.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REASONS_MAX 3u

static bool line_is_reason(const char *line)
{
	/* Errors that are no reason: a limit that may not be raised; the end of a helper, as CRIU tries whether there is an
	 * iptables; and the lines that only say that the run has failed. */
	static const char *const noise[] = { "Can't setup RLIMIT_NOFILE for self", "): exited, status=", "Dumping FAILED",
					     "Restoring FAILED" };

	if (!strstr(line, "Error ("))
		return false;
	for (size_t i = 0; i < sizeof(noise) / sizeof(noise[0]); i++)
		if (strstr(line, noise[i]))
			return false;
	return true;
}

/* "(00.01)  12: Error (criu/files.c:9): what" -> "what" */
static const char *line_text(const char *line)
{
	const char *text = strstr(line, "Error (");
	const char *end = text ? strstr(text, "): ") : NULL;

	return end ? end + 3 : line;
}

static void reason_add(char *buf, size_t size, const char *line)
{
	size_t have = strlen(buf);
	size_t length = strcspn(line, "\n");

	while (length > 0 && (line[length - 1] == ' ' || line[length - 1] == '\r'))
		length--;
	if (have + 1 < size)
		snprintf(buf + have, size - have, "%s%.*s", have ? "; " : "", (int)length, line);
}

const char *criu_log_reason(int dir, const char *name, char *buf, size_t size)
{
	char line[1024];
	FILE *file;
	int fd;

	buf[0] = '\0';
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return buf;
	file = fdopen(fd, "re");
	if (!file) {
		fd_close(fd);
		return buf;
	}
	for (unsigned n = 0; n < REASONS_MAX && fgets(line, sizeof(line), file);) {
		if (!line_is_reason(line))
			continue;
		reason_add(buf, size, line_text(line));
		n++;
	}
	fclose(file);
	return buf;
}

const char *criu_log_last_line(int fd, char *buf, size_t size)
{
	char text[2048];
	off_t end = lseek(fd, 0, SEEK_END);
	off_t start = end > (off_t)sizeof(text) - 1 ? end - ((off_t)sizeof(text) - 1) : 0;
	ssize_t n = end > 0 ? pread(fd, text, sizeof(text) - 1, start) : 0;
	const char *line;

	buf[0] = '\0';
	if (n <= 0)
		return buf;
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
		n--;
	text[n] = '\0';
	line = strrchr(text, '\n');
	snprintf(buf, size, "%s", line ? line + 1 : text);
	return buf;
}
