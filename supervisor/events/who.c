/* SPDX-License-Identifier: MIT */
#include "supervisor/events/who.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel has it for each process once somebody logged in: pam_loginuid(8) sets it, and sudo(8) does not change it. */
static bool look_up_login(pid_t pid, uid_t *ret)
{
	char path[64], text[32], *end;
	unsigned long uid;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/loginuid", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	fd_close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	uid = strtoul(text, &end, 10);
	if (end == text || uid >= UINT32_MAX) /* all ones: nobody logged in */
		return false;
	*ret = (uid_t)uid;
	return true;
}

int who_of_socket(int fd, struct who *ret)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	*ret = (struct who){ .asked = true, .uid = peer.uid, .pid = peer.pid };
	ret->logged_in = peer.pid > 0 && look_up_login(peer.pid, &ret->login);
	return 0;
}

const char *who_text(const struct who *who, char *buf)
{
	if (!who->asked)
		snprintf(buf, WHO_BYTES, "upgraded itself");
	else if (who->logged_in && who->login != who->uid)
		snprintf(buf, WHO_BYTES, "uid %u (pid %d, logged in as uid %u)", (unsigned)who->uid, (int)who->pid,
			 (unsigned)who->login);
	else
		snprintf(buf, WHO_BYTES, "uid %u (pid %d)", (unsigned)who->uid, (int)who->pid);
	return buf;
}

void who_tell(const struct who *who, Upgraded__Wire__Who *ret)
{
	upgraded__wire__who__init(ret);
	ret->uid = who->uid;
	ret->pid = who->pid;
	ret->logged_in = who->logged_in;
	ret->login_uid = who->login;
}

void who_take(const Upgraded__Wire__Who *told, struct who *ret)
{
	*ret = (struct who){ .asked = told != NULL };
	if (!told)
		return;
	ret->uid = told->uid;
	ret->pid = told->pid;
	ret->logged_in = told->logged_in;
	ret->login = told->login_uid;
}
