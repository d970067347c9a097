/* SPDX-License-Identifier: MIT */
/* What is read of the running process and of this machine. All of it is counters that the kernel keeps: nothing walks the
 * process's memory, as the loop must not wait for that. */
#include "supervisor/plan/plan.h"

#include "supervisor/image/space.h"
#include "supervisor/machine/procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- descriptors ---- */

/* The inodes of what the process registered, of its channel and of its output. Return: how many, in @inodes, which has room. */
static size_t known_inodes(const struct plan *plan, unsigned long long *inodes)
{
	size_t n = 0;

	inodes[n++] = plan->running->channel_inode;
	inodes[n++] = plan->running->log_inode;
	for (size_t i = 0; i < plan->n_registered; i++) {
		char path[64];
		struct stat st;

		snprintf(path, sizeof(path), "/proc/%d/fd/%" PRIu32, plan->running->pid, plan->registered[i]);
		if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
			inodes[n++] = st.st_ino;
	}
	return n;
}

static void look_obstacles(struct plan *plan)
{
	unsigned long long *known = calloc(plan->n_registered + 2, sizeof(*known));
	struct obstacles_spec spec = { .pid = plan->running->pid, .known = known };

	if (!known) {
		why_errno(&plan->obstacles_cause, -ENOMEM, "descriptors");
		return;
	}
	spec.n_known = known_inodes(plan, known);
	if (*plan->to_program)
		spec.next_exe = plan->to_program;
	obstacles_check(&spec, &plan->obstacles, &plan->obstacles_cause);
	free(known);
}

/* ---- programs ---- */

static void look_programs(struct plan *plan)
{
	char path[64], **argv;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", plan->running->pid);
	n = readlink(path, plan->from_program, sizeof(plan->from_program) - 1);
	plan->from_program[n < 0 ? 0 : n] = 0;
	if (unit_command(plan->unit, plan->version, &argv, NULL) == 0) {
		snprintf(plan->to_program, sizeof(plan->to_program), "%s", argv[0]);
		unit_command_free(argv);
	}
}

/* ---- space and memory ---- */

/* What is not there counts as 0. */
static uint64_t bytes_of(const char *text, const char *name)
{
	uint64_t bytes = 0;

	(void)procfs_bytes(text, name, &bytes);
	return bytes;
}

static void look_room(struct plan *plan)
{
	struct plan_room *room = &plan->room;
	char path[64], text[8192];

	(void)image_space_needed(plan->running->pid, &room->image, NULL);
	(void)image_space_free(plan->site->images_root, &room->image_free, NULL);
	snprintf(path, sizeof(path), "/proc/%d/status", plan->running->pid);
	(void)procfs_read(path, text, sizeof(text));
	room->memory = bytes_of(text, "VmRSS") + bytes_of(text, "VmSwap");
	(void)procfs_read("/proc/meminfo", text, sizeof(text));
	room->memory_free = bytes_of(text, "MemAvailable");
}

/* ---- what runs besides what the library knows ---- */

static bool is_registered(const struct plan *plan, uint32_t tid)
{
	for (size_t i = 0; i < plan->n_threads; i++)
		if (plan->threads[i] == tid)
			return true;
	return false;
}

static void note_loose(struct plan *plan, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note_loose(struct plan *plan, const char *fmt, ...)
{
	va_list args;

	if (plan->n_loose == PLAN_LOOSE_MAX)
		return;
	va_start(args, fmt);
	vsnprintf(plan->loose[plan->n_loose++], PLAN_LOOSE_BYTES, fmt, args);
	va_end(args);
}

static void look_at_thread(struct plan *plan, const char *tid)
{
	char path[64], name[32];

	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/comm", plan->running->pid, tid);
	if (procfs_read(path, name, sizeof(name)) <= 0)
		return;
	name[strcspn(name, "\n")] = 0;
	note_loose(plan, "thread %s (tid %s) is not registered: it runs on until its process is parked", name, tid);
}

/* A process of a library that does not tell its threads has told none. */
static void look_threads(struct plan *plan)
{
	char path[64];
	struct dirent *entry;
	DIR *stream;

	if (!plan->n_threads)
		return;
	snprintf(path, sizeof(path), "/proc/%d/task", plan->running->pid);
	stream = opendir(path);
	while (stream && plan->n_loose < PLAN_LOOSE_MAX && (entry = readdir(stream)))
		if (isdigit((unsigned char)*entry->d_name) && !is_registered(plan, (uint32_t)strtoul(entry->d_name, NULL, 10)))
			look_at_thread(plan, entry->d_name);
	if (stream)
		closedir(stream);
}

static void look_others(struct plan *plan)
{
	bool allowed = plan->unit->other_readers || (plan->running->unit && plan->running->unit->other_readers);

	look_threads(plan);
	if (!procfs_maps(plan->running->pid, "anon_inode:[io_uring]"))
		return;
	note_loose(plan, "io_uring: requests under way go on taking from connections unless on_prepare() cancels them");
	if (!allowed)
		why_set(&plan->others_read, 0,
			"version %s uses io_uring: where on_prepare() cancels all requests, say OtherReaders=allow",
			plan->running->version);
}

void plan_look(struct plan *plan)
{
	look_others(plan);
	look_programs(plan);
	look_obstacles(plan);
	look_room(plan);
}

/* ---- what that means for an image ---- */

int plan_image_there(const struct plan *plan, struct why *why)
{
	const struct plan_room *room = &plan->room;

	if (plan->rollback == ROLLBACK_PARKED || plan->rollback == ROLLBACK_NONE)
		return why_set(why, -EINVAL, "Rollback=%s takes none", unit_rollback_name(plan->rollback));
	if (!plan->site->criu_path)
		return why_set(why, -ENOENT, "no usable CRIU: %s", plan->criu_detail);
	if (*plan->obstacles_cause.text)
		return why_set(why, -EIO, "%s", plan->obstacles_cause.text);
	for (size_t i = 0; i < plan->obstacles.n; i++)
		if (plan->obstacles.obstacle[i].level == OBSTACLE_FATAL)
			return why_set(why, -EINVAL, "%s", plan->obstacles.obstacle[i].text);
	if (plan->obstacles.n_fatal)
		return why_set(why, -EINVAL, "%zu things of the process cannot be imaged", plan->obstacles.n_fatal);
	if (room->image > room->image_free)
		return why_set(why, -ENOSPC, "it would take about %" PRIu64 " MiB, and %s has room for %" PRIu64 " MiB",
			       room->image >> 20, plan->site->images_root, room->image_free >> 20);
	return 0;
}
