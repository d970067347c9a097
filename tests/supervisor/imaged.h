/* SPDX-License-Identifier: MIT */
/* For the tests of images: a process to take one of, and waiting for what the loop reports.
 *
 * The process is /bin/cat, from a SEQPACKET socket to a pipe. A fork of the test itself would carry Criterion's descriptors
 * along, which CRIU refuses. CRIU comes from $UPG_CRIU, else from PATH; without one that works
 * the tests fail, because then nothing was tested. */
#pragma once

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/why.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_US (30 * USEC_PER_SEC)
#define UNTIL(loop, condition) \
	do { \
		uint64_t until_us = clock_now_us() + WAIT_US; \
		while (!(condition) && clock_now_us() < until_us) \
			cr_assert(loop_turn(loop, 1000) == 0); \
		cr_assert(condition, "not within %llu s", (unsigned long long)(WAIT_US / USEC_PER_SEC)); \
	} while (0)

struct imaged {
	struct child child;
	int control;  /* our ends */
	int output;
	unsigned long long control_inode; /* its ends */
	unsigned long long output_inode;
	pid_t pid;
};

static inline const char *criu_path(void)
{
	const char *path = getenv("UPG_CRIU");

	return path && *path ? path : "criu";
}

static inline void folder_temporary(char *path)
{
	strcpy(path, "/tmp/upg-test.XXXXXX");
	cr_assert(mkdtemp(path));
}

/* Its own ends go to the caller. */
static inline void imaged_ends(struct imaged *imaged, int *ret_control, int *ret_output)
{
	int pair[2], pipe_ends[2];

	cr_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	cr_assert(pipe2(pipe_ends, O_CLOEXEC) == 0);
	imaged->control = pair[0];
	imaged->output = pipe_ends[0];
	*ret_control = pair[1];
	*ret_output = pipe_ends[1];
}

static inline void imaged_says(struct imaged *imaged, char letter)
{
	char byte = 0;

	cr_assert(send(imaged->control, &letter, 1, MSG_NOSIGNAL) == 1);
	cr_assert(read(imaged->output, &byte, 1) == 1);
	cr_assert(byte == letter, "it said %c", byte);
}

/* @path reads its stdin and writes it to its stdout. @more, if >= 0, is one more descriptor it is to have. */
static inline void imaged_start(struct loop *loop, struct imaged *imaged, char *const *argv, int more)
{
	struct child_fd fds[4];
	char *envp[] = { NULL };
	struct child_spec spec = { .path = argv[0], .argv = argv, .envp = envp, .fds = fds, .n_fds = more >= 0 ? 4 : 3,
				   .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int control, output;
	struct why why;

	child_init(&imaged->child);
	imaged_ends(imaged, &control, &output);
	cr_assert(fd_inode(control, &imaged->control_inode) == 0);
	cr_assert(fd_inode(output, &imaged->output_inode) == 0);
	fds[0] = (struct child_fd){ control, 0 };
	fds[1] = (struct child_fd){ output, 1 };
	fds[2] = (struct child_fd){ output, 2 };
	fds[3] = (struct child_fd){ more, 3 };
	cr_assert(child_spawn(loop, &imaged->child, &spec, NULL, &why) == 0, "%s", why.text);
	imaged->pid = imaged->child.pid;
	fd_close(control);
	fd_close(output);
	imaged_says(imaged, 'a');
}

static inline void imaged_start_cat(struct loop *loop, struct imaged *imaged)
{
	char path[] = "/bin/cat";
	char *argv[] = { path, NULL };

	imaged_start(loop, imaged, argv, -1);
}

static inline void imaged_done(struct imaged *imaged)
{
	child_done(&imaged->child);
	fd_close(imaged->control);
	fd_close(imaged->output);
}

static inline int count_open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}
