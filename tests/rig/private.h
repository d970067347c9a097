/* SPDX-License-Identifier: MIT */
/* Between the files of the rig:
 *
 *   rig.c      the rig itself: made, waited with, failed, freed
 *   folder.c   build/run/NAME-PID
 *   units.c    service files and ports
 *   program.c  a program, its outputs, its end
 *   daemon.c   upgraded
 *   ctl.c      upgradectl
 *   client.c   upg-load
 *   look.c     JSON by path, processes
 *   traces.c   mounts, locks, rules of the firewall
 */
#pragma once

#include "base/base.h"
#include "tests/rig/rig.h"

#include <limits.h>
#include <stdio.h>

#define STREAM_MAX (8u << 20) /* bytes; a program that says more is at fault */

struct stream {
	struct source source;
	int fd; /* -1: closed, or never open */
	char *text; /* NUL-terminated once something came */
	size_t size, room;
	size_t told; /* how far on_line has heard */
	void (*on_line)(void *data, const char *line);
	void *data;
};

struct rig_child {
	struct rig *rig;
	struct rig_child *next;
	struct child child;
	struct stream out, err;
	int in; /* our end of its input; -1: none */
	char name[128]; /* for messages */
};

struct rig {
	struct loop *loop;
	struct why why;
	char build[PATH_MAX / 4], folder[PATH_MAX / 4];
	char path[PATH_MAX + 256]; /* rig_program()'s */
	char control[PATH_MAX];
	int folder_lock;
	unsigned port;
	struct rig_child *children;
	struct rig_child *daemon;
};

/* What a program is started with, beyond what tests may ask. */
struct program_spec {
	const struct rig_run *run;
	const char *log; /* file in the folder that its outputs are appended to instead of being captured; NULL: none */
	bool log_error_only;
	bool input; /* wants a pipe for its input; else /dev/null */
};

int folder_make(struct rig *rig, const char *name);
void folder_remove(struct rig *rig);

int program_begin(struct rig *rig, const struct program_spec *spec, struct rig_child **ret_child);
/** program_free() - Kills and reaps it if it still runs. Return: NULL. */
struct rig_child *program_free(struct rig_child *child);
int program_status(const struct rig_child *child);

/** rig_wait() - Turn the loop until @done says so. Return: 0; -ETIMEDOUT, told with @what. */
int rig_wait(struct rig *rig, bool (*done)(void *data), void *data, uint64_t timeout_us, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/** reap_others() - Kill and reap the children of this process that no rig_child stands for. Return: how many there were. */
unsigned reap_others(struct rig *rig);

/** log_path() - A file of the folder. Return: @path. */
const char *log_path(const struct rig *rig, const char *name, char path[static PATH_MAX]);
