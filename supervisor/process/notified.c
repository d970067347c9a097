/* SPDX-License-Identifier: MIT */
#include "supervisor/process/notified.h"

#include "base/base.h"
#include "supervisor/machine/procfs.h"
#include "supervisor/unit/unit.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DATAGRAM_MAX 4096u /* as systemd takes */
#define DATAGRAMS_A_TURN 8u /* fewer than the kernel keeps in a queue: who fills it is noticed in one turn */
#define RIGHTS_MAX 253u
#define ANCESTORS_MAX 64u

void notified_init(struct notified *notified)
{
	*notified = (struct notified){ .fd = -1 };
}

/* ---- what it says ---- */

static void take_status(char *text, struct notification *ret)
{
	if (strlen(text) > NOTIFIED_TEXT_MAX)
		text[text_whole(text, NOTIFIED_TEXT_MAX)] = 0;
	text_tame(text, strlen(text));
	ret->status = text;
}

static void take_line(char *line, struct notification *ret)
{
	char *value = strchr(line, '='), *end;

	if (!value)
		return;
	*value++ = 0;
	if (strcmp(line, "READY") == 0)
		ret->ready |= strcmp(value, "1") == 0;
	else if (strcmp(line, "STOPPING") == 0)
		ret->stopping |= strcmp(value, "1") == 0;
	else if (strcmp(line, "STATUS") == 0)
		take_status(value, ret);
	else if (strcmp(line, "EXTEND_TIMEOUT_USEC") == 0 && *value >= '0' && *value <= '9')
		ret->extend_us = strtoull(value, &end, 10);
	else if (strcmp(line, "WATCHDOG") == 0 && strcmp(value, "1") == 0)
		ret->beats = true;
	else if (strcmp(line, "WATCHDOG") == 0 && strcmp(value, "trigger") == 0)
		ret->fails = true;
}

void notified_parse(char *text, struct notification *ret)
{
	char *rest = NULL;

	*ret = (struct notification){ .ready = false };
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		take_line(line, ret);
}

/* ---- who says it ---- */

static bool is_its_own(const struct notified *notified, pid_t from)
{
	for (unsigned i = 0; i < ANCESTORS_MAX && from > 1; i++) {
		if (from == notified->pid)
			return true;
		from = procfs_parent(from);
	}
	return false;
}

/* One that asks to hear when all was read (BARRIER=1) notices the close of what it has sent. */
static pid_t sender_of(struct msghdr *message)
{
	pid_t pid = 0;

	for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one; one = CMSG_NXTHDR(message, one)) {
		if (one->cmsg_level != SOL_SOCKET)
			continue;
		if (one->cmsg_type == SCM_CREDENTIALS) {
			struct ucred who;

			memcpy(&who, CMSG_DATA(one), sizeof(who));
			pid = who.pid;
		} else if (one->cmsg_type == SCM_RIGHTS) {
			size_t n = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			int fds[RIGHTS_MAX];

			n = n < RIGHTS_MAX ? n : RIGHTS_MAX;
			memcpy(fds, CMSG_DATA(one), n * sizeof(int));
			fd_give_up_all(fds, n);
		}
	}
	return pid;
}

static void hear(struct notified *notified, char *text, pid_t from)
{
	struct notification notification;

	if (!notified->pid || !is_its_own(notified, from)) {
		if (!notified->strangers)
			log_warning("%s: pid %d is not the process %d, and does not descend from it: what it sends is not heard",
				    notified->path, (int)from, (int)notified->pid);
		notified->strangers = true;
		return;
	}
	notified_parse(text, &notification);
	notified->on_heard(notified, &notification);
}

/* Return: true if there may be another. */
static bool read_one(struct notified *notified)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
	char text[DATAGRAM_MAX + 1];
	struct iovec line = { .iov_base = text, .iov_len = DATAGRAM_MAX };
	struct msghdr message = { .msg_iov = &line, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n = notified->fd < 0 ? -1 : recvmsg(notified->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	pid_t from;

	if (n < 0)
		return false;
	from = sender_of(&message);
	text[n] = 0;
	if (!(message.msg_flags & MSG_TRUNC))
		hear(notified, text, from);
	return true;
}

static void on_ready(struct source *source, uint32_t events);

static void on_heard_again(struct timer *timer)
{
	struct notified *notified = container_of(timer, struct notified, deaf);

	if (source_add(notified->loop, &notified->source, notified->fd, EPOLLIN, on_ready) < 0)
		timer_arm(notified->loop, timer, clock_now_us() + USEC_PER_SEC, on_heard_again);
}

static void on_ready(struct source *source, uint32_t events)
{
	struct notified *notified = container_of(source, struct notified, source);
	uint64_t worked_us = clock_worked_us(), pause_us;

	(void)events;
	for (unsigned i = 0; i < DATAGRAMS_A_TURN && read_one(notified); i++)
		;
	pause_us = share_use(&notified->share, clock_now_us(), clock_worked_us() - worked_us);
	if (!pause_us || notified->fd < 0)
		return;
	source_del(&notified->source);
	timer_arm(notified->loop, &notified->deaf, clock_now_us() + pause_us, on_heard_again);
}

bool notified_has_unread(const struct notified *notified)
{
	struct pollfd end = { .fd = notified->fd, .events = POLLIN };

	return notified->fd >= 0 && poll(&end, 1, 0) > 0;
}

/* ---- life ---- */

static int give_to(const char *path, const char *user)
{
	uid_t uid;

	if (!*user)
		return chmod(path, 0600) < 0 ? -errno : 0;
	if (unit_local_user(user, &uid, NULL) < 0)
		return chmod(path, 0666) < 0 ? -errno : 0;
	return chmod(path, 0600) < 0 || chown(path, uid, (gid_t)-1) < 0 ? -errno : 0;
}

static int bind_at(int fd, const char *path, const char *user)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int on = 1;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return give_to(path, user);
}

int notified_open(struct notified *notified, struct loop *loop, const char *folder, uint64_t serial, const char *user,
		  void (*on_heard)(struct notified *notified, const struct notification *notification), struct why *why)
{
	char *path;
	int r;

	if (asprintf(&path, "%s/%" PRIu64, folder, serial) < 0)
		return why_errno(why, -ENOMEM, "NOTIFY_SOCKET");
	notified_close(notified);
	notified->loop = loop;
	notified->path = path;
	notified->on_heard = on_heard;
	notified->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = notified->fd < 0 ? -errno : bind_at(notified->fd, path, user);
	if (r == 0)
		r = source_add(loop, &notified->source, notified->fd, EPOLLIN, on_ready);
	if (r < 0) {
		why_errno(why, r, "NOTIFY_SOCKET at %s", path);
		notified_close(notified);
	}
	return r;
}

void notified_forget(const char *folder, uint64_t serial)
{
	char *path;

	if (asprintf(&path, "%s/%" PRIu64, folder, serial) < 0)
		return;
	(void)unlink(path);
	free(path);
}

void notified_leave(struct notified *notified)
{
	if (notified->loop) {
		timer_disarm(&notified->deaf);
		source_del(&notified->source);
	}
	notified->fd = fd_give_up(notified->fd); /* what lies in it unread is a peer's, and closes with it */
	free(notified->path);
	notified->path = NULL;
	notified->loop = NULL;
}

void notified_close(struct notified *notified)
{
	if (notified->path)
		(void)unlink(notified->path);
	notified_leave(notified);
}
