/* SPDX-License-Identifier: MIT */
/* For criu.c alone: requests to CRIU and its answers, as bytes. */
#pragma once

#include "supervisor/criu/criu.h"

#define CRIU_MESSAGE_MAX (64u * 1024u)

/* Folders, as descriptors of this process: CRIU opens them through /proc/PID/fd. */
struct criu_dirs {
	int images;
	int work;
};

/** criu_send_dump() - Ask for a dump. Return: 0 or -errno. Never blocks. */
int criu_send_dump(int socket, const struct criu_dirs *dirs, const struct criu_dump_spec *spec, struct why *why);

/** criu_send_restore() - Ask for a restore. @fds[i]: the number that the fd of inherit i has in criu. Return: 0 or -errno. Never
 * blocks. */
int criu_send_restore(int socket, const struct criu_dirs *dirs, const struct criu_restore_spec *spec, const int *fds,
		      struct why *why);

/** criu_send_version() - Ask for the version. Return: 0 or -errno. Never blocks. */
int criu_send_version(int socket, struct why *why);

/** criu_take_answer() - Read the answer into @job. Return: 1; 0: there is none yet; -errno: none will come. */
int criu_take_answer(struct criu_job *job);
