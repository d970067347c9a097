/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/threads.h"

#include "base/text.h"
#include "supervisor/machine/procfs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKED_MAX 4096u /* at so many of a process; it may have more */

static void read_word(pid_t pid, const char *tid, const char *what, char *buf, size_t size)
{
	char path[96];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", (int)pid, tid, what);
	n = procfs_read(path, buf, size);
	if (n > 0 && buf[n - 1] == '\n')
		buf[--n] = '\0';
	if (n <= 0)
		*buf = '\0';
	text_tame(buf, strlen(buf));
}

/* "12 (name) S ...": a name may hold anything. */
static char state_of(pid_t pid, const char *tid)
{
	char stat[256], *end;

	read_word(pid, tid, "stat", stat, sizeof(stat));
	end = strrchr(stat, ')');
	return end && end[1] == ' ' ? end[2] : '?';
}

static void describe(pid_t pid, const char *tid, char *text)
{
	char name[32], where[64];
	char state = state_of(pid, tid);
	int n;

	read_word(pid, tid, "comm", name, sizeof(name));
	n = snprintf(text, THREAD_BYTES, "%s (tid %.10s) ", *name ? name : "?", tid);
	if (n < 0 || (unsigned)n >= THREAD_BYTES)
		return;
	if (state == 'R') {
		snprintf(text + n, THREAD_BYTES - (size_t)n, "runs");
		return;
	}
	if (state == 'T' || state == 't') {
		snprintf(text + n, THREAD_BYTES - (size_t)n, "is stopped");
		return;
	}
	read_word(pid, tid, "wchan", where, sizeof(where));
	if (*where && strcmp(where, "0") != 0)
		snprintf(text + n, THREAD_BYTES - (size_t)n, "%s %s", state == 'D' ? "waits for a device in" : "waits in", where);
	else
		snprintf(text + n, THREAD_BYTES - (size_t)n, state == 'D' ? "waits for a device" : "waits");
}

void threads_look(pid_t pid, struct threads *ret)
{
	const struct dirent *entry;
	char path[64];
	DIR *folder;

	ret->n = ret->more = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	folder = opendir(path);
	if (!folder)
		return;
	while ((entry = readdir(folder)) && ret->n + ret->more < LOOKED_MAX) {
		if (*entry->d_name == '.')
			continue;
		if (ret->n < THREADS_MAX)
			describe(pid, entry->d_name, ret->text[ret->n++]);
		else
			ret->more++;
	}
	closedir(folder);
}
