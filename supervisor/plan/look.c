/* SPDX-License-Identifier: MIT */
/* What is read of the running process and of this machine. All of it is counters that the kernel keeps: nothing walks the
 * process's memory, as the loop must not wait for that. */
#include "supervisor/plan/plan.h"

#include "supervisor/image/space.h"
#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
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
	struct obstacles_spec spec = { .pid = plan->running->pid, .known = known,
				       .children_stay = plan->running->children != CHILDREN_END };

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

/* ---- child processes ---- */

static void look_children(struct plan *plan)
{
	pid_t pids[PLAN_CHILDREN_MAX];

	plan->n_children = procfs_children(plan->running->pid, pids, PLAN_CHILDREN_MAX);
	for (size_t i = 0; i < plan->n_children; i++) {
		struct plan_child *child = &plan->children[i];

		child->pid = pids[i];
		child->is_alone = procfs_group(pids[i]) != plan->running->pid;
		procfs_name(pids[i], child->name, sizeof(child->name));
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

void plan_look(struct plan *plan)
{
	look_programs(plan);
	look_obstacles(plan);
	look_children(plan);
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
