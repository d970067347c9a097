/* SPDX-License-Identifier: MIT */
/* Is there a user, a group? A name service may be slow, or hang: so a child process asks, and we wait for it only so long; or
 * nobody is asked, and this machine's own files are read. */
#include "supervisor/unit/unit.h"

#include "base/clock.h"
#include "base/child.h"
#include "base/fd.h"
#include "base/spawn.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum answer { KNOWN = 'k', NO_USER = 'u', NO_GROUP = 'g' };

struct question {
	const struct unit *unit;
	int answer_to;
};

/* In the child process. */
static void ask(void *userdata)
{
	const struct question *question = userdata;
	const struct unit *unit = question->unit;
	char answer = KNOWN;

	if (*unit->user && !getpwnam(unit->user))
		answer = NO_USER;
	else if (*unit->group && !getgrnam(unit->group))
		answer = NO_GROUP;
	(void)!write(question->answer_to, &answer, 1);
}

/* One that does not end at once is reaped later, as a stray (strays.h). */
static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, WNOHANG);
}

static int wait_for(int fd, uint64_t due_us, char *ret_answer)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	int r;

	do
		r = poll(&ready, 1, clock_timeout_ms(due_us));
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : UNIT_USERS_SILENT;
	return read(fd, ret_answer, 1) == 1 ? 0 : -EIO;
}

int unit_users_known(const struct unit *unit, uint64_t timeout_us, struct why *why)
{
	uint64_t due_us = clock_now_us() + timeout_us;
	FD_CLEANUP int in = -1;
	struct question question = { .unit = unit };
	struct child_work work = { .run = ask, .userdata = &question };
	char answer = 0;
	int pair[2], r;
	pid_t pid;

	if (!*unit->user && !*unit->group)
		return 0;
	if (pipe2(pair, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "%s: User=, Group=: pipe", unit->path);
	in = pair[0];
	work.keep_fd = question.answer_to = pair[1];
	r = spawn_work(&work, &pid, why);
	fd_close(pair[1]);
	if (r < 0)
		return why_prefix(why, r, "%s: User=, Group=", unit->path);
	r = wait_for(in, due_us, &answer);
	end(pid);
	if (r == UNIT_USERS_SILENT)
		return why_set(why, r, "%s: User=%s Group=%s: the name service has not answered yet", unit->path, unit->user,
			       unit->group);
	if (r < 0)
		return why_errno(why, r, "%s: User=%s Group=%s", unit->path, unit->user, unit->group);
	if (answer == KNOWN)
		return 0;
	return why_set(why, -EINVAL, "%s: %s=%s: this machine knows no such %s", unit->path, answer == NO_USER ? "User" : "Group",
		       answer == NO_USER ? unit->user : unit->group, answer == NO_USER ? "user" : "group");
}

/* ---- in files ---- */

static bool is_number(const char *name, unsigned *ret)
{
	char *end;
	unsigned long n = strtoul(name, &end, 10);

	*ret = (unsigned)n;
	return *name >= '0' && *name <= '9' && !*end && n < UINT32_MAX;
}

int unit_local_user(const char *name, uid_t *ret_uid, struct why *why)
{
	const struct passwd *entry;
	bool found = is_number(name, ret_uid);
	FILE *file = found ? NULL : fopen("/etc/passwd", "re");

	while (file && !found && (entry = fgetpwent(file))) {
		found = strcmp(entry->pw_name, name) == 0;
		*ret_uid = entry->pw_uid;
	}
	if (file)
		fclose(file);
	return found ? 0 : why_set(why, -ENOENT, "/etc/passwd has no user %s", name);
}

int unit_local_group(const char *name, gid_t *ret_gid, struct why *why)
{
	const struct group *entry;
	bool found = is_number(name, ret_gid);
	FILE *file = found ? NULL : fopen("/etc/group", "re");

	while (file && !found && (entry = fgetgrent(file))) {
		found = strcmp(entry->gr_name, name) == 0;
		*ret_gid = entry->gr_gid;
	}
	if (file)
		fclose(file);
	return found ? 0 : why_set(why, -ENOENT, "/etc/group has no group %s", name);
}
