/* SPDX-License-Identifier: MIT */
#include "cli/complete_versions.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSIONS_MAX 256u

struct versions {
	char *list[VERSIONS_MAX];
	size_t n;
};

static void add(struct versions *versions, const char *name, size_t length)
{
	for (size_t i = 0; i < versions->n; i++)
		if (strlen(versions->list[i]) == length && strncmp(versions->list[i], name, length) == 0)
			return;
	if (!length || versions->n == VERSIONS_MAX)
		return;
	versions->list[versions->n] = strndup(name, length);
	versions->n += versions->list[versions->n] != NULL;
}

/* The program of the last Exec= of @path. Quotes are for programs with odd names: those are not completed. */
static bool program_read(const char *path, char *ret_program, size_t size)
{
	FILE *file = fopen(path, "re");
	char line[PATH_MAX + 64];
	bool found = false;

	while (file && fgets(line, sizeof(line), file)) {
		const char *p = line + strspn(line, " \t");

		if (strncmp(p, "Exec", 4) != 0)
			continue;
		p += 4 + strspn(p + 4, " \t");
		if (*p != '=')
			continue;
		p += 1 + strspn(p + 1, " \t");
		snprintf(ret_program, size, "%.*s", (int)strcspn(p, " \t\n"), p);
		found = *ret_program == '/' && !strpbrk(ret_program, "\"'\\");
	}
	if (file)
		fclose(file);
	return found;
}

/* @program with @version in the place of each %v; what is special to glob(3) and stands in the path itself is escaped.
 * Return: false: it is too long. */
static bool expand(const char *program, const char *service, const char *version, char *ret_path, size_t size)
{
	size_t used = 0;

	for (const char *p = program; *p && used + 2 < size; p++) {
		const char *in = *p == '%' && p[1] == 'v' ? version : *p == '%' && p[1] == 'n' ? service : NULL;

		if (in) {
			used += (size_t)snprintf(ret_path + used, size - used, "%s", in);
			p++;
			continue;
		}
		p += *p == '%' && p[1] == '%';
		if (strchr("*?[\\", *p))
			ret_path[used++] = '\\';
		ret_path[used++] = *p;
	}
	if (used >= size)
		return false;
	ret_path[used] = '\0';
	return true;
}

/* @found is a file that @program names with some version: what stands in the place of the first %v, if that makes the path. */
static void add_found(struct versions *versions, const char *program, const char *service, const char *found)
{
	char before[PATH_MAX], path[PATH_MAX], version[256];
	const char *at = strstr(program, "%v");
	size_t start;

	snprintf(before, sizeof(before), "%.*s", (int)(at - program), program);
	if (!expand(before, service, "", path, sizeof(path)))
		return;
	start = strlen(path);
	for (size_t length = 1; length < sizeof(version) && start < strlen(found) && found[start + length - 1] &&
		found[start + length - 1] != '/'; length++) {
		snprintf(version, sizeof(version), "%.*s", (int)length, found + start);
		if (expand(program, service, version, path, sizeof(path)) && strcmp(path, found) == 0) {
			add(versions, version, length);
			return;
		}
	}
}

static void add_programs(struct versions *versions, const Upgraded__Wire__ServiceStatus *service)
{
	char program[PATH_MAX], pattern[PATH_MAX], usual[128];
	const char *path = service->unit_file;
	glob_t found;

	/* Of a service that has not been started the supervisor has not read it yet. */
	snprintf(usual, sizeof(usual), "/etc/upgraded/%s.conf", service->name);
	if (!*path)
		path = usual;
	if (!program_read(path, program, sizeof(program)) || !strstr(program, "%v") ||
	    !expand(program, service->name, "*", pattern, sizeof(pattern)))
		return;
	if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		add_found(versions, program, service->name, found.gl_pathv[i]);
	globfree(&found);
}

void complete_versions(const Upgraded__Wire__ServiceStatus *service, bool history_only,
		       void (*on_version)(const char *version, void *userdata), void *userdata)
{
	struct versions versions = { .n = 0 };

	for (size_t i = 0; i < service->n_history; i++)
		add(&versions, service->history[i], strlen(service->history[i]));
	if (!history_only) {
		add(&versions, service->version, strlen(service->version));
		for (size_t i = 0; i < service->n_instances; i++)
			add(&versions, service->instances[i]->version, strlen(service->instances[i]->version));
		add_programs(&versions, service);
	}
	for (size_t i = 0; i < versions.n; i++) {
		on_version(versions.list[i], userdata);
		free(versions.list[i]);
	}
}
