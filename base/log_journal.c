/* SPDX-License-Identifier: MIT */
/*
 * The journal's own protocol: a datagram for each line, with its fields. What goes to stderr instead has a priority and a text, and
 * nobody could ask for the lines of one service.
 */
#include "base/log_journal.h"

#include "base/fd.h"
#include "base/log_queue.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>

int log_priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARNING:
		return LOG_WARNING;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	case LOG_LEVEL_DEBUG:
		return LOG_DEBUG;
	}
	return LOG_NOTICE;
}

static size_t field(char *record, size_t used, const char *name, const char *value)
{
	size_t room = LOG_RECORD_BYTES - LOG_LINE_BYTES - used;
	int n;

	if (!value || !*value)
		return used;
	n = snprintf(record + used, room, "%s=%s\n", name, value);
	/* One that does not fit is left out: the message is not. */
	return n > 0 && (size_t)n < room ? used + (size_t)n : used;
}

size_t log_journal_compose(char *record, enum log_level level, const struct log_about *about, const char *message,
			   size_t size)
{
	static const struct log_about nothing;
	bool printed = about && about->printed;
	size_t used = (size_t)snprintf(record, LOG_RECORD_BYTES, "PRIORITY=%d\n", log_priority(level));
	char number[24] = "";

	if (!about)
		about = &nothing;
	used = field(record, used, "SYSLOG_IDENTIFIER", printed ? about->service : program_invocation_short_name);
	if (about->pid > 0)
		snprintf(number, sizeof(number), "%d", (int)about->pid);
	used = field(record, used, printed ? "SYSLOG_PID" : "UPGRADED_PID", number);
	used = field(record, used, "UPGRADED_SERVICE", about->service);
	used = field(record, used, "UPGRADED_VERSION", about->version);
	snprintf(number, sizeof(number), "%" PRIu64, about->roll);
	used = field(record, used, "UPGRADED_ROLL", about->roll ? number : "");
	used = field(record, used, "UPGRADED_PHASE", about->phase);
	memcpy(record + used, "MESSAGE=", 8);
	used += 8;
	if (size > LOG_LINE_BYTES - 16)
		size = LOG_LINE_BYTES - 16;
	memcpy(record + used, message, size);
	used += size;
	record[used++] = '\n';
	return used;
}

int log_journal_open(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	/* Only to find out whether somebody listens: a journal that is started anew is found by its path. */
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fd_close(fd);
	address = (struct sockaddr_un){ .sun_family = AF_UNSPEC };
	if (connect(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0)
		return fd_close(fd);
	return fd;
}

/* "PRIORITY=4\n...\nMESSAGE=text\n" as "<4>text\n". */
static void write_plainly(const char *record, size_t size)
{
	static const char name[] = "\nMESSAGE=", first[] = "PRIORITY=";
	const char *text = memmem(record, size, name, sizeof(name) - 1);
	char line[LOG_LINE_BYTES];
	size_t n;

	if (!text)
		return;
	text += sizeof(name) - 1;
	n = size - (size_t)(text - record);
	if (n > sizeof(line) - 3)
		n = sizeof(line) - 3;
	line[0] = '<';
	line[1] = record[sizeof(first) - 1];
	line[2] = '>';
	memcpy(line + 3, text, n);
	line[3 + n - 1] = '\n';
	log_write(line, 3 + n);
}

void log_journal_send(int fd, const char *path, const char *record, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	ssize_t n = -1;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0)
		do
			n = sendto(fd, record, size, MSG_NOSIGNAL, (const struct sockaddr *)&address, sizeof(address));
		while (n < 0 && errno == EINTR);
	if (n < 0)
		write_plainly(record, size);
}
