/* SPDX-License-Identifier: MIT */
#include "tests/faults/steer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char lines[2 * PATH_MAX + 128];

int faults_open(struct rig *rig, struct faults **ret_faults)
{
	char path[PATH_MAX], library[PATH_MAX];
	struct faults *faults;
	int fd, rc = 0;

	snprintf(path, sizeof(path), "%s/faults", rig_folder(rig));
	snprintf(library, sizeof(library), "%s", rig_program(rig, "upg-faults.so"));
	if (access(library, R_OK) < 0)
		return rig_fail(rig, -errno, "%s: %s", library, strerror(errno));
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*faults)) < 0)
		rc = -errno;
	faults = rc < 0 ? MAP_FAILED : mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (rc == 0 && faults == MAP_FAILED)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		return rig_fail(rig, rc, "%s: %s", path, strerror(-rc));
	snprintf(lines, sizeof(lines), "Environment=LD_PRELOAD=%s\nEnvironment=" FAULTS_FILE "=%s\n", library, path);
	setenv(FAULTS_FILE, path, 1);
	setenv("LD_PRELOAD", library, 1);
	*ret_faults = faults;
	return 0;
}

struct faults *faults_close(struct faults *faults)
{
	if (!faults)
		return NULL;
	faults_clear(faults);
	unsetenv("LD_PRELOAD");
	unsetenv(FAULTS_FILE);
	munmap(faults, sizeof(*faults));
	return NULL;
}

const char *faults_lines(void)
{
	return lines;
}

void faults_clear(struct faults *faults)
{
	faults_disarm(faults);
	faults->n_rules = 0;
	atomic_store(&faults->struck, 0);
	faults->n_frames = 0;
	faults->pid = 0;
	faults->call[0] = '\0';
}

size_t faults_add(struct faults *faults, const struct fault_rule *rule)
{
	struct fault_rule *added = &faults->rules[faults->n_rules];

	/* A copy of the whole would copy what is atomic. */
	*added = (struct fault_rule){ .role = rule->role, .classes = rule->classes, .where = rule->where, .action = rule->action,
				      .error = rule->error, .amount = rule->amount, .at = rule->at, .every = rule->every,
				      .times = rule->times };
	snprintf(added->path, sizeof(added->path), "%s", rule->path);
	return faults->n_rules++;
}

void faults_arm(struct faults *faults, pid_t old)
{
	atomic_store(&faults->old, old);
	atomic_store_explicit(&faults->armed, 1, memory_order_release);
}

void faults_disarm(struct faults *faults)
{
	atomic_store_explicit(&faults->armed, 0, memory_order_release);
}

/* Who called: as addr2line says it, and as numbers where there is no such program. */
static void print_callers(const struct faults *faults, struct rig *rig, FILE *to)
{
	char command[PATH_MAX + FAULT_FRAMES * 24], line[512];
	const char *program = faults->program;
	size_t used;
	FILE *from;

	if (strncmp(program, "cached-", 7) == 0)
		snprintf(line, sizeof(line), "examples/%s", program);
	else
		snprintf(line, sizeof(line), "%s", program);
	used = (size_t)snprintf(command, sizeof(command), "LD_PRELOAD= addr2line -fpe '%s'", rig_program(rig, line));
	for (uint32_t i = 0; i < faults->n_frames; i++)
		if (faults->frames[i]) /* of a return address, what is before it */
			used += (size_t)snprintf(command + used, sizeof(command) - used, " 0x%llx",
						 (unsigned long long)faults->frames[i] - 1);
	from = popen(command, "re");
	while (from && fgets(line, sizeof(line), from)) {
		line[strcspn(line, "\n")] = '\0';
		fprintf(to, "\n      %s", line);
	}
	if (from)
		pclose(from);
}

char *faults_place(const struct faults *faults, struct rig *rig)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	fprintf(to, "%s() of %s (pid %d)", faults->call, faults->program, (int)faults->pid);
	print_callers(faults, rig, to);
	fclose(to);
	return text;
}

uint64_t faults_spread(uint64_t i, uint64_t of)
{
	/* A step that has no factor in common with @of comes by each number. */
	for (uint64_t step = of * 618 / 1000;; step++) {
		uint64_t a = step, b = of;

		while (b) {
			uint64_t rest = a % b;

			a = b;
			b = rest;
		}
		if (a == 1)
			return 1 + i * step % of;
	}
}
