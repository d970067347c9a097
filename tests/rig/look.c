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

pid_t rig_pid_in(const json_t *entry, const char *state)
{
	json_t *instance;
	pid_t pid = 0;
	size_t i;

	json_array_foreach(json_object_get(entry, "instances"), i, instance)
		if (strcmp(rig_text(instance, "state"), state) == 0)
			pid = (pid_t)rig_number(instance, "pid");
	return pid;
}

/* ---- processes ---- */

static bool process_read(const char *pid, struct rig_process *ret)
{
	char path[64], text[512], *name, *end;
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
	name = strchr(text, '(');
	end = strrchr(text, ')');
	*ret = (struct rig_process){ .pid = (pid_t)strtol(pid, NULL, 10) };
	if (!name || !end || sscanf(end, ") %c %d", &ret->state, &parent) != 2)
		return false;
	ret->parent = parent;
	*end = '\0';
	snprintf(ret->name, sizeof(ret->name), "%s", name + 1);
	return true;
}

struct rig_process *rig_process_list(size_t *ret_n)
{
	DIR *dir = opendir("/proc");
	struct rig_process *all = NULL, *grown;
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

bool rig_process_descends(const struct rig_process *all, size_t n, pid_t pid, pid_t from)
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
	struct rig_process *all = rig_process_list(&n);
	unsigned count = 0;

	for (size_t i = 0; i < n; i++)
		count += rig_process_descends(all, n, all[i].pid, getpid());
	free(all);
	return count;
}

unsigned rig_descriptors(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

uint64_t rig_memory_kib(pid_t pid)
{
	char path[64], line[256];
	unsigned long long kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib;
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
		struct rig_process *all = rig_process_list(&n);

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
	struct rig_process *all = rig_process_list(&n);

	for (size_t i = 0; i < n; i++)
		if (all[i].parent == getpid() && !is_known(rig, all[i].pid))
			waitpid(all[i].pid, NULL, WNOHANG);
	free(all);
}
