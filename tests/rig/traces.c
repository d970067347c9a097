/* SPDX-License-Identifier: MIT */
/* What stays in the kernel when its maker has ended: mounts, locks, rules of the firewall. */
#include "tests/rig/private.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RULES_US (10 * USEC_PER_SEC)

static unsigned count_lines(const char *path, const char *but)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	unsigned n = 0;

	while (file && getline(&line, &size, file) > 0)
		n += !but || !strstr(line, but);
	free(line);
	if (file)
		fclose(file);
	return n;
}

/* ---- locks ---- */

/* The kernel lists no lock to a pid namespace whose taker is dead: others may hold the open file that has it, and an image's files
 * are such. nftw() knows no argument. */
static unsigned held;

static int try_lock(const char *path, const struct stat *st, int type, struct FTW *at)
{
	int fd = type == FTW_F && S_ISREG(st->st_mode) ? open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC) : -1;

	(void)at;
	held += fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	fd_close(fd);
	return 0;
}

static unsigned count_locks(const struct rig *rig)
{
	held = 0;
	(void)nftw(rig->folder, try_lock, 16, FTW_PHYS | FTW_MOUNT);
	/* Those of open files are listed in each pid namespace, whoever has them on this machine. */
	return count_lines("/proc/locks", " OFDLCK ") + held;
}

/* ---- the firewall ---- */

static unsigned lines_of(const char *text)
{
	unsigned n = 0;

	for (; text && *text; text++)
		n += *text == '\n' && text[1] != '#'; /* with dates and counters */
	return n;
}

static bool is_there(const char *name)
{
	static const char *const folders[] = { "/usr/sbin", "/sbin", "/usr/bin", "/bin" };
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], name);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

/* CRIU locks the network of what it images by either of them. */
static unsigned count_rules(struct rig *rig)
{
	static const char *const nft[] = { "nft", "list", "ruleset", NULL };
	static const char *const iptables[] = { "iptables-save", NULL };
	static const char *const *const tools[] = { nft, iptables };
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(tools) / sizeof(*tools); i++) {
		struct rig_answer answer = { 0 };
		struct rig_child *child;

		if (!is_there(tools[i][0]) || rig_run_begin(rig, &(struct rig_run){ .argv = tools[i] }, &child) < 0)
			continue;
		if (rig_run_wait(child, RULES_US, &answer) == 0 && answer.status == 0)
			n += lines_of(answer.out);
		rig_answer_done(&answer);
	}
	return n;
}

void rig_traces(struct rig *rig, struct rig_traces *ret_traces)
{
	*ret_traces = (struct rig_traces){
		.mounts = count_lines("/proc/self/mountinfo", NULL),
		.locks = count_locks(rig),
		.rules = count_rules(rig),
	};
}
