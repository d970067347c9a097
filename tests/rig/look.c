/* SPDX-License-Identifier: MIT */
#include "tests/rig/private.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- JSON ---- */

static const json_t *at_path(const json_t *json, const char *path)
{
	char key[64];

	while (json && *path) {
		size_t n = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)n, path);
		json = isdigit((unsigned char)key[0]) ? json_array_get(json, strtoul(key, NULL, 10)) : json_object_get(json, key);
		path += n + (path[n] == '.');
	}
	return json;
}

int64_t rig_number(const json_t *json, const char *path)
{
	const json_t *value = at_path(json, path);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

const char *rig_text(const json_t *json, const char *path)
{
	const char *text = json_string_value(at_path(json, path));

	return text ? text : "";
}

/* ---- processes ---- */

struct process {
	pid_t pid, parent;
};

static bool process_read(const char *pid, struct process *ret)
{
	char path[64], text[512], *end;
	FILE *file;
	size_t n;
	int parent;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	/* The name stands in parentheses and may hold any character, also those. */
	end = strrchr(text, ')');
	if (!end || sscanf(end, ") %*c %d", &parent) != 1)
		return false;
	*ret = (struct process){ .pid = (pid_t)strtol(pid, NULL, 10), .parent = parent };
	return true;
}

/* Return: all processes there are, @ret_n of them; release with free(). */
static struct process *processes_read(size_t *ret_n)
{
	DIR *dir = opendir("/proc");
	struct process *all = NULL, *grown;
	struct dirent *entry;
	size_t n = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		grown = reallocarray(all, n + 1, sizeof(*all));
		if (!grown)
			break;
		all = grown;
		n += process_read(entry->d_name, &all[n]);
	}
	if (dir)
		closedir(dir);
	*ret_n = n;
	return all;
}

static bool descends(const struct process *all, size_t n, pid_t pid, pid_t from)
{
	/* At most as many steps as there are processes: the list is no snapshot, so it might hold a circle. */
	for (size_t step = 0; step < n && pid > 1; step++) {
		size_t i = 0;

		while (i < n && all[i].pid != pid)
			i++;
		if (i == n)
			return false;
		pid = all[i].parent;
		if (pid == from)
			return true;
	}
	return false;
}

unsigned rig_processes(void)
{
	size_t n;
	struct process *all = processes_read(&n);
	unsigned count = 0;

	for (size_t i = 0; i < n; i++)
		count += descends(all, n, all[i].pid, getpid());
	free(all);
	return count;
}

static bool is_known(const struct rig *rig, pid_t pid)
{
	for (const struct rig_child *child = rig->children; child; child = child->next)
		if (child->child.pid == pid && !child->child.exited)
			return true;
	return false;
}

unsigned reap_others(struct rig *rig)
{
	unsigned count = 0, round;

	/* The end of one makes its children ours: until a look finds none. */
	do {
		size_t n;
		struct process *all = processes_read(&n);

		round = 0;
		for (size_t i = 0; i < n; i++) {
			if (all[i].parent != getpid() || is_known(rig, all[i].pid))
				continue;
			kill(all[i].pid, SIGKILL); /* our child and not reaped: the number is its own */
			while (waitpid(all[i].pid, NULL, 0) < 0 && errno == EINTR)
				;
			round++;
		}
		free(all);
		count += round;
	} while (round);
	return count;
}

void rig_reap(const struct rig *rig)
{
	size_t n;
	struct process *all = processes_read(&n);

	for (size_t i = 0; i < n; i++)
		if (all[i].parent == getpid() && !is_known(rig, all[i].pid))
			waitpid(all[i].pid, NULL, WNOHANG);
	free(all);
}
