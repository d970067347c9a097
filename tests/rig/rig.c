/* SPDX-License-Identifier: MIT */
#include "tests/rig/private.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TAIL_BYTES 2500

const char *rig_folder(const struct rig *rig)
{
	return rig->folder;
}

const char *rig_why(const struct rig *rig)
{
	return rig->why.text;
}

const char *log_path(const struct rig *rig, const char *name, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", rig->folder, name);
	return path;
}

/* ---- failing ---- */

static void log_tail(const struct rig *rig, const char *name)
{
	char path[PATH_MAX], text[TAIL_BYTES + 1];
	FILE *file = fopen(log_path(rig, name, path), "re");
	size_t n;
	char *start = text;

	if (!file)
		return;
	/* A file shorter than that is read from its beginning. */
	bool cut = fseek(file, -TAIL_BYTES, SEEK_END) == 0;
	n = fread(text, 1, TAIL_BYTES, file);
	text[n] = '\0';
	fclose(file);
	if (cut && strchr(text, '\n'))
		start = strchr(text, '\n') + 1;
	if (*start)
		fprintf(stderr, "---- %s\n%s%s", path, start, start[strlen(start) - 1] == '\n' ? "" : "\n");
}

static void outputs_tail(const struct rig_child *child)
{
	const struct stream *streams[] = { &child->out, &child->err };

	for (int i = 0; i < 2; i++) {
		size_t skip = streams[i]->size > TAIL_BYTES ? streams[i]->size - TAIL_BYTES : 0;

		if (streams[i]->size)
			fprintf(stderr, "---- %s, %s\n%s\n", child->name, i ? "errors" : "output", streams[i]->text + skip);
	}
}

int rig_fail(struct rig *rig, int rc, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(rig->why.text, sizeof(rig->why.text), fmt, args);
	va_end(args);
	fflush(stdout);
	fprintf(stderr, "rig: %s\n", rig->why.text);
	log_tail(rig, "upgraded.log");
	log_tail(rig, "upg-load.log");
	for (const struct rig_child *child = rig->children; child; child = child->next)
		outputs_tail(child);
	fflush(stderr);
	return rc;
}

/* ---- waiting ---- */

int rig_wait(struct rig *rig, bool (*done)(void *data), void *data, uint64_t timeout_us, const char *fmt, ...)
{
	uint64_t due_us = clock_now_us() + timeout_us;
	char what[256];
	va_list args;
	int rc;

	while (!done(data)) {
		if (clock_now_us() >= due_us) {
			va_start(args, fmt);
			vsnprintf(what, sizeof(what), fmt, args);
			va_end(args);
			return rig_fail(rig, -ETIMEDOUT, "waited %.1f s for %s", (double)timeout_us / (double)USEC_PER_SEC, what);
		}
		rc = loop_turn(rig->loop, clock_timeout_ms(due_us));
		if (rc < 0)
			return rig_fail(rig, rc, "waiting: %s", strerror(-rc));
	}
	return 0;
}

/* ---- life ---- */

/* build/tests/PROGRAM is what runs here: everything else that was built lies around it. */
static int find_build(struct rig *rig)
{
	char path[PATH_MAX / 4];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return -errno;
	path[n] = '\0';
	snprintf(rig->build, sizeof(rig->build), "%s", dirname(dirname(path)));
	return 0;
}

const char *rig_program(struct rig *rig, const char *name)
{
	bool example = strncmp(name, "examples/", strlen("examples/")) == 0;
	bool tool = strncmp(name, "upg-", strlen("upg-")) == 0;
	const char *folder = getenv(example ? "UPG_EXAMPLES" : tool ? "UPG_TESTS" : "UPG_BIN");
	char usual[PATH_MAX], *real;

	if (strcmp(name, "upgraded") == 0 && getenv("UPG_DAEMON_BIN"))
		folder = getenv("UPG_DAEMON_BIN");
	if (!folder) {
		snprintf(usual, sizeof(usual), "%s%s", rig->build, example ? "/examples" : tool ? "/tests" : "");
		folder = usual;
	}
	/* The folder's: services run in another directory, and the program may not be there, or a part of its name. */
	real = realpath(folder, NULL);
	snprintf(rig->path, sizeof(rig->path), "%s/%s", real ? real : folder, example ? name + strlen("examples/") : name);
	free(real);
	return rig->path;
}

int rig_new(const char *name, struct rig **ret_rig)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	int rc;

	if (!rig)
		return -ENOMEM;
	rig->folder_lock = -1;
	/* What the daemon leaves behind becomes ours to end, also when the daemon was killed. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN); /* a load client that died is a failure to tell, not an end */
	fd_raise_limit();
	rc = find_build(rig);
	if (rc == 0)
		rc = loop_new(&rig->loop, &rig->why);
	if (rc == 0)
		rc = folder_make(rig, name);
	if (rc < 0) {
		fprintf(stderr, "rig: cannot be made: %s\n", *rig->why.text ? rig->why.text : strerror(-rc));
		rig_free(rig);
		return rc;
	}
	*ret_rig = rig;
	return 0;
}

struct rig *rig_free(struct rig *rig)
{
	if (!rig)
		return NULL;
	while (rig->children)
		program_free(rig->children);
	reap_others(rig);
	folder_remove(rig);
	if (rig->loop)
		loop_free(rig->loop);
	free(rig);
	return NULL;
}
