/* SPDX-License-Identifier: MIT */
#include "tests/torture/party.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *party_name(enum party party)
{
	static const char *const names[PARTIES] = { "old", "new", "upgraded", "criu", "cli", "checksum", "client" };

	return names[party];
}

/* ---- the log ---- */

int watcher_begin(struct watcher *watcher, struct rig *rig)
{
	char path[PATH_MAX];

	*watcher = (struct watcher){ .rig = rig };
	snprintf(path, sizeof(path), "%s/upgraded.log", rig_folder(rig));
	watcher->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (watcher->fd < 0 || lseek(watcher->fd, 0, SEEK_END) < 0)
		return -errno;
	return 0;
}

void watcher_end(struct watcher *watcher)
{
	if (watcher->fd >= 0)
		close(watcher->fd);
	watcher->fd = -1;
}

static void hear_state(struct watcher *watcher, const char *name)
{
	for (int state = 0; state < ROLL_STATES; state++)
		if (strcmp(roll_state_name((enum roll_state)state), name) == 0)
			watcher->seen[state]++;
}

static void hear_line(struct watcher *watcher, const char *line)
{
	const char *roll = strstr(line, ": roll "), *to = strstr(line, " started as pid "), *from;
	const char *arrow = line, *last = NULL;

	if (strstr(line, "This is a bug in upgraded") || strstr(line, "ERROR: AddressSanitizer"))
		watcher->bugs = true;
	if (!roll)
		return;
	/* "cached: roll v1 -> v2: quiesce -> transfer", and nothing behind that. */
	while ((arrow = strstr(arrow, " -> ")))
		last = arrow += 4;
	if (last && !strpbrk(last, " :"))
		hear_state(watcher, last);
	if (!to || watcher->new)
		return;
	watcher->new = (pid_t)strtol(to + strlen(" started as pid "), NULL, 10);
	from = strstr(to, "(pid ");
	watcher->old = from ? (pid_t)strtol(from + strlen("(pid "), NULL, 10) : 0;
}

void watcher_look(struct watcher *watcher)
{
	char *end;
	ssize_t n;

	while ((n = read(watcher->fd, watcher->line + watcher->used, sizeof(watcher->line) - watcher->used)) > 0) {
		watcher->used += (size_t)n;
		while ((end = memchr(watcher->line, '\n', watcher->used))) {
			size_t size = (size_t)(end - watcher->line) + 1;

			*end = '\0';
			hear_line(watcher, watcher->line);
			memmove(watcher->line, watcher->line + size, watcher->used - size);
			watcher->used -= size;
		}
		if (watcher->used == sizeof(watcher->line))
			watcher->used = 0; /* no line of ours is that long */
	}
}

/* ---- processes ---- */

/* The child that makes checksums is a fork of the daemon, so it has its name. */
static bool is_it(enum party party, const struct rig_process *entry, pid_t daemon)
{
	if (party == PARTY_CRIU)
		return strncmp(entry->name, "criu", 4) == 0;
	return entry->parent == daemon && strncmp(entry->name, "upgraded", 8) == 0;
}

pid_t party_find_child(enum party party, pid_t daemon)
{
	size_t n;
	struct rig_process *all = rig_process_list(&n);
	pid_t found = 0;

	for (size_t i = 0; i < n && !found; i++)
		if (all[i].state != 'Z' && is_it(party, &all[i], daemon) && rig_process_descends(all, n, all[i].pid, daemon))
			found = all[i].pid;
	free(all);
	return found;
}

pid_t party_tracee(pid_t tracer)
{
	size_t n;
	struct rig_process *all = rig_process_list(&n);
	pid_t found = 0;

	for (size_t i = 0; i < n && !found; i++)
		if (all[i].parent == tracer)
			found = all[i].pid;
	free(all);
	return found;
}

unsigned party_count_stopped(void)
{
	size_t n;
	struct rig_process *all = rig_process_list(&n);
	unsigned count = 0;

	for (size_t i = 0; i < n; i++)
		count += (all[i].state == 'T' || all[i].state == 't') && rig_process_descends(all, n, all[i].pid, getpid());
	free(all);
	return count;
}
