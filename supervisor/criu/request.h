/* SPDX-License-Identifier: MIT */
/* Of criu.c alone: what is said to CRIU and what it answers, as bytes. */
#pragma once

#include "supervisor/criu/criu.h"

#define CRIU_MESSAGE_MAX (64u * 1024u)

/* What every request has in common, as numbers of this process: CRIU opens them through /proc/PID/fd. */
struct criu_dirs {
	int images;
	int work;
};

/** criu_send_dump() - Return: 0 or -errno. Never blocks. */
int criu_send_dump(int socket, const struct criu_dirs *dirs, const struct criu_dump_spec *spec, struct why *why);

/** criu_send_restore() - @fds[i] is the number that the fd of inherit i has in criu. Return: 0 or -errno. Never blocks. */
int criu_send_restore(int socket, const struct criu_dirs *dirs, const struct criu_restore_spec *spec, const int *fds,
		      struct why *why);

/** criu_send_version() - Return: 0 or -errno. Never blocks. */
int criu_send_version(int socket, struct why *why);

/** criu_take_answer() - Read the answer into @job. Return: 1 taken, 0 nothing there yet, -errno: none will come. */
int criu_take_answer(struct criu_job *job);
