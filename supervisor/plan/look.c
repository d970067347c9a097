/* SPDX-License-Identifier: MIT */
/* What is read of the running process and of this machine. All of it is counters that the kernel keeps: nothing walks the
 * process's memory, as the loop must not wait for that. */
#include "supervisor/plan/plan.h"

#include "base/text.h"
#include "supervisor/image/pins.h"
#include "supervisor/image/space.h"
#include "supervisor/machine/pressure.h"
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
#include <sys/resource.h>
#include <unistd.h>

/* ---- descriptors ---- */

static int compare_number(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, two = *(const uint32_t *)b;

	return (one > two) - (one < two);
}

/* The inodes of the sockets and pipes among what the process registered, of its channel and of its output. What the process says is
 * compared with what it has open, so that it is no more work than that, whatever it says. Return: how many, in @inodes, which has
 * room. */
static size_t known_inodes(const struct plan *plan, unsigned long long *inodes)
{
	char path[64];
	struct dirent *entry;
	size_t n = 0;
	DIR *stream;

	inodes[n++] = plan->running->channel_inode;
	inodes[n++] = plan->running->log_inode;
	if (!plan->n_registered)
		return n;
	qsort(plan->registered, plan->n_registered, sizeof(*plan->registered), compare_number);
	snprintf(path, sizeof(path), "/proc/%d/fd", plan->running->pid);
	stream = opendir(path);
	while (stream && n < plan->n_registered + 2 && (entry = readdir(stream))) {
		uint32_t number = (uint32_t)strtoul(entry->d_name, NULL, 10);
		unsigned long long inode;
		char link[64];
		ssize_t length;

		if (entry->d_name[0] == '.' ||
		    !bsearch(&number, plan->registered, plan->n_registered, sizeof(number), compare_number))
			continue;
		length = readlinkat(dirfd(stream), entry->d_name, link, sizeof(link) - 1);
		link[length > 0 ? length : 0] = '\0';
		if (sscanf(link, "socket:[%llu]", &inode) == 1 || sscanf(link, "pipe:[%llu]", &inode) == 1)
			inodes[n++] = inode;
	}
	if (stream)
		closedir(stream);
	return n;
}

/* The very look that the take of an image begins with. */
static void look_pins(struct plan *plan, const unsigned long long *known, size_t n_known)
{
	const struct pins_spec spec = { .pid = plan->running->pid, .known = known, .n_known = n_known };
	struct image_pins pins = { 0 };
	struct why why = { 0 };

	if (plan->site->imaging->pins_take(&spec, &pins, &why) < 0)
		obstacles_add(&plan->obstacles, OBSTACLE_FATAL, -1, "files", why.text);
	pins_done(&pins);
}

static void look_obstacles(struct plan *plan)
{
	unsigned long long *known = calloc(plan->n_registered + 2, sizeof(*known));
	struct obstacles_spec spec = { .pid = plan->running->pid, .known = known,
				       .children_stay = plan->running->children != CHILDREN_END };

	const Upgraded__Wire__AppMessage *hello = plan->running->hello;
	struct why why = { 0 };

	spec.holds_us = hello && hello->hello->keeps;
	if (instance_may_have_image(plan->running, &why) < 0) {
		obstacles_add(&plan->obstacles, OBSTACLE_FATAL, -1, "process", why.text);
		free(known);
		return;
	}
	if (!known) {
		why_errno(&plan->obstacles_cause, -ENOMEM, "descriptors");
		return;
	}
	spec.n_known = known_inodes(plan, known);
	if (*plan->to_program)
		spec.next_exe = plan->to_program;
	/* As a roll will look for them before it takes an image. */
	if (plan->site->imaging->find_obstacles(&spec, &plan->obstacles, &plan->obstacles_cause) == 0)
		look_pins(plan, known, spec.n_known);
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
	struct pressure pressure;
	char path[64], text[8192];

	(void)image_space_needed(plan->running->pid, &room->image, NULL);
	(void)image_space_free(plan->site->images_root, &room->image_free, NULL);
	snprintf(path, sizeof(path), "/proc/%d/status", plan->running->pid);
	(void)procfs_read(path, text, sizeof(text));
	room->memory = bytes_of(text, "VmRSS") + bytes_of(text, "VmSwap");
	/* The kernel ends a process of the group that has no room, however much the machine has. */
	pressure_look(plan->running->pid, &pressure);
	room->memory_free = pressure.available_bytes;
	room->group = pressure.group;
}

/* ---- descriptors for all three ---- */

#define DESCRIPTORS_BESIDE 64u /* what a version has open besides, at least */

static size_t open_count(pid_t pid)
{
	char path[32];
	size_t n = 0;
	DIR *stream;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	stream = opendir(path);
	while (stream && readdir(stream))
		n++;
	if (stream)
		closedir(stream);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the stream's own */
}

/* The new version gets all that are registered, and so do we. It may raise its limit up to the hard one. */
static void look_descriptors(struct plan *plan)
{
	struct rlimit ours;
	size_t used;

	if (getrlimit(RLIMIT_NOFILE, &ours) < 0)
		return;
	used = open_count(getpid());
	if (plan->n_registered + DESCRIPTORS_BESIDE > ours.rlim_max)
		why_set(&plan->descriptors_cause, -EMFILE, "version %s would get %zu descriptors and could have %llu at most: "
			"raise the "
			"hard limit of upgraded (LimitNOFILE= in its unit)", plan->version, plan->n_registered,
			(unsigned long long)ours.rlim_max);
	else if (used + plan->n_registered + DESCRIPTORS_BESIDE > ours.rlim_cur)
		why_set(&plan->descriptors_cause, -EMFILE, "upgraded would hold duplicates of %zu descriptors, and has %zu of "
			"%llu open: "
			"raise its limit (LimitNOFILE= in its unit)", plan->n_registered, used, (unsigned long long)ours.rlim_cur);
}

/* ---- the last resort ---- */

static void look_cold(struct plan *plan)
{
	(void)origin_try(plan->origin, plan->unit, plan->running->version, &plan->cold_cause);
}

/* ---- what runs besides what the library knows ---- */

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
	text_tame(name, strlen(name));
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
	qsort(plan->threads, plan->n_threads, sizeof(*plan->threads), compare_number);
	snprintf(path, sizeof(path), "/proc/%d/task", plan->running->pid);
	stream = opendir(path);
	while (stream && plan->n_loose < PLAN_LOOSE_MAX && (entry = readdir(stream))) {
		uint32_t tid = (uint32_t)strtoul(entry->d_name, NULL, 10);

		if (isdigit((unsigned char)*entry->d_name) &&
		    !bsearch(&tid, plan->threads, plan->n_threads, sizeof(tid), compare_number))
			look_at_thread(plan, entry->d_name);
	}
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
	look_children(plan);
	look_room(plan);
	look_descriptors(plan);
	look_cold(plan);
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
