/* SPDX-License-Identifier: MIT */
/* Does CRIU work here? We try it, because `criu check` passes where a dump or a restore fails. */
#pragma once

#include "supervisor/criu/criu.h"

#include <stdint.h>

struct probe {
	void *owner;
	char criu_version[32];
	uint64_t dump_us;
	uint64_t restore_us;

	/* probe.c only. */
	struct loop *loop;
	struct criu_job criu;
	struct child child;         /* the process that is imaged */
	struct source output;       /* what it writes */
	struct timer timer;
	char *criu_path;
	char *dir;
	unsigned step;
	int control;                /* our ends; the process's own are closed here once it has them */
	int output_fd;
	unsigned long long control_inode;
	unsigned long long output_inode;
	pid_t pid;
	bool ok;
	struct why detail;
	void (*on_done)(struct probe *probe, bool ok, const struct why *detail);
};

void probe_init(struct probe *probe, void *owner);

/**
 * probe_start() - Image, end and restore a small process in exactly the way the supervisor uses CRIU.
 * @work_dir: the probe makes a folder of its own in it, and removes that again.
 * @on_done:  called once from the loop; @detail says CRIU's version and the times taken, or which step failed and why.
 *
 * The process is `cat`: it reads a SEQPACKET socket whose other end is here, and writes to a pipe that is read here. After the
 * restore both are new, and a byte must come through.
 *
 * Return: 0; -errno if it could not be started: on_done is not called. Context: loop thread; returns at once.
 */
int probe_start(struct loop *loop, struct probe *probe, const char *criu_path, const char *work_dir,
		void (*on_done)(struct probe *probe, bool ok, const struct why *detail), struct why *why);

/** probe_gc() - Remove the folders that probes left in @work_dir which were killed. No probe may be under way. */
void probe_gc(const char *work_dir);

/** probe_done() - Stop a probe under way, whose on_done is not called, and leave nothing of it behind. */
void probe_done(struct probe *probe);
