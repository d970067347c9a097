/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/probe.h"

#include "base/clock.h"
#include "base/fd.h"
#include "supervisor/machine/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CRIU_LIMIT_US (20 * USEC_PER_SEC)  /* of one run; usual is under 0.1 s, a loaded small machine needs more */
#define STEP_LIMIT_US (5 * USEC_PER_SEC)   /* of everything else */

/* In the order they are taken. In brackets: what the step waits for. */
enum step {
	STEP_VERSION,   /* [criu] */
	STEP_START,     /* [the process has written the byte back: it runs and reads] */
	STEP_DUMP,      /* [criu] */
	STEP_REAP,      /* [the process's end: its pid must be free] */
	STEP_RESTORE,   /* [criu] */
	STEP_TALK,      /* [the restored process has written the byte back] */
	STEP_LEAVE,     /* [the process's end] */
};

static const char *const step_name[] = {
	[STEP_VERSION] = "asking criu for its version",
	[STEP_START] = "starting a small process",
	[STEP_DUMP] = "taking its image",
	[STEP_REAP] = "ending it",
	[STEP_RESTORE] = "restoring it",
	[STEP_TALK] = "talking to it after the restore",
	[STEP_LEAVE] = "cleaning up",
};

void probe_init(struct probe *probe, void *owner)
{
	*probe = (struct probe){ .owner = owner, .control = -1, .output_fd = -1 };
	criu_job_init(&probe->criu, probe);
	child_init(&probe->child);
}

static void ends_close(struct probe *probe)
{
	source_del(&probe->output);
	probe->control = fd_close(probe->control);
	probe->output_fd = fd_close(probe->output_fd);
}

void probe_done(struct probe *probe)
{
	timer_disarm(&probe->timer);
	criu_job_done(&probe->criu);
	child_done(&probe->child);
	ends_close(probe);
	if (probe->dir)
		folder_remove(probe->dir, NULL);
	free(probe->dir);
	free(probe->criu_path);
	probe->dir = NULL;
	probe->criu_path = NULL;
	probe->on_done = NULL;
}

static void probe_finish(struct probe *probe)
{
	void (*on_done)(struct probe *probe, bool ok, const struct why *detail) = probe->on_done;
	struct why detail = probe->detail;
	bool ok = probe->ok;

	probe_done(probe);
	on_done(probe, ok, &detail);
}

static void limit_on_due(struct timer *timer);

static void step_enter(struct probe *probe, enum step step)
{
	probe->step = step;
	timer_arm(probe->loop, &probe->timer, clock_now_us() + STEP_LIMIT_US, limit_on_due);
}

/* End the probe. A process that is still alive has to end first. */
static void probe_leave(struct probe *probe)
{
	step_enter(probe, STEP_LEAVE);
	ends_close(probe);
	if (probe->child.pidfd < 0) {
		probe_finish(probe);
		return;
	}
	child_kill(&probe->child, SIGKILL);
}

static void probe_fail(struct probe *probe, const struct why *reason)
{
	probe->ok = false;
	why_set(&probe->detail, -EIO, "images do not work here: %s: %s", step_name[probe->step], reason->text);
	probe_leave(probe);
}

static void probe_fail_errno(struct probe *probe, int rc, const char *what)
{
	struct why why;

	why_errno(&why, rc, "%s", what);
	probe_fail(probe, &why);
}

static void limit_on_due(struct timer *timer)
{
	struct probe *probe = container_of(timer, struct probe, timer);
	struct why why;

	if (probe->step == STEP_LEAVE || probe->step == STEP_REAP) {
		why_set(&probe->detail, -ETIMEDOUT, "images do not work here: %s: process %d does not end",
			step_name[probe->step], (int)probe->pid);
		probe->ok = false;
		probe_finish(probe);
		return;
	}
	why_set(&why, -ETIMEDOUT, "process %d gave no answer within %llu s", (int)probe->pid,
		(unsigned long long)(STEP_LIMIT_US / USEC_PER_SEC));
	probe_fail(probe, &why);
}

/* ---- the process and its two descriptors ---- */

static void criu_on_done(struct criu_job *job, int rc, const struct why *why);
static void output_on_ready(struct source *source, uint32_t events);

/* Make the channel and the output pipe. Our ends go into @probe, the process's own ends to the caller. */
static int ends_open(struct probe *probe, int *ret_control, int *ret_output)
{
	int pair[2], pipe_ends[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	if (pipe2(pipe_ends, O_CLOEXEC) < 0) {
		r = -errno;
		fd_close(pair[0]);
		fd_close(pair[1]);
		return r;
	}
	probe->control = pair[0];
	probe->output_fd = pipe_ends[0];
	*ret_control = pair[1];
	*ret_output = pipe_ends[1];
	r = source_add(probe->loop, &probe->output, probe->output_fd, EPOLLIN, output_on_ready);
	return r;
}

static void probe_child_on_exit(struct child *child)
{
	struct probe *probe = container_of(child, struct probe, child);
	struct criu_restore_spec spec = { .criu_path = probe->criu_path, .images_dir = probe->dir, .pid = probe->pid,
					  .n_inherits = 2, .timeout_us = CRIU_LIMIT_US, .log_is_dropped = true };
	FD_CLEANUP int control = -1;
	FD_CLEANUP int output = -1;
	char keys[2][48], end[64];
	struct criu_inherit inherits[2];
	struct why why;
	int r;

	if (probe->step == STEP_LEAVE) {
		probe_finish(probe);
		return;
	}
	if (probe->step == STEP_DUMP)
		return; /* criu ended it, and will say so */
	if (probe->step != STEP_REAP) {
		why_set(&why, -EIO, "process %d %s", (int)probe->pid, child_describe(child, end, sizeof(end)));
		probe_fail(probe, &why);
		return;
	}
	step_enter(probe, STEP_RESTORE);
	ends_close(probe);
	r = ends_open(probe, &control, &output);
	if (r < 0) {
		probe_fail_errno(probe, r, "new descriptors");
		return;
	}
	snprintf(keys[0], sizeof(keys[0]), "socket:[%llu]", probe->control_inode);
	snprintf(keys[1], sizeof(keys[1]), "pipe:[%llu]", probe->output_inode);
	inherits[0] = (struct criu_inherit){ .key = keys[0], .fd = control };
	inherits[1] = (struct criu_inherit){ .key = keys[1], .fd = output };
	spec.inherits = inherits;
	timer_disarm(&probe->timer); /* criu has its own */
	if (criu_restore_start(probe->loop, &probe->criu, &spec, criu_on_done, &why) < 0)
		probe_fail(probe, &why);
}

static int cat_spawn(struct probe *probe, struct why *why)
{
	char path[] = "/bin/cat";
	char *argv[] = { path, NULL }, *envp[] = { NULL };
	FD_CLEANUP int control = -1;
	FD_CLEANUP int output = -1;
	struct child_fd fds[2];
	struct child_spec spec = { .path = path, .argv = argv, .envp = envp, .fds = fds, .n_fds = 2,
				   .uid = (uid_t)-1, .gid = (gid_t)-1 };
	int r;

	r = ends_open(probe, &control, &output);
	if (r == 0)
		r = fd_inode(control, &probe->control_inode);
	if (r == 0)
		r = fd_inode(output, &probe->output_inode);
	if (r < 0)
		return why_errno(why, r, "descriptors");
	fds[0] = (struct child_fd){ .from = control, .to = STDIN_FILENO };
	fds[1] = (struct child_fd){ .from = output, .to = STDOUT_FILENO };
	r = child_spawn(probe->loop, &probe->child, &spec, probe_child_on_exit, why);
	if (r == 0)
		probe->pid = probe->child.pid;
	return r;
}

static void talk_send(struct probe *probe)
{
	if (send(probe->control, "p", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		probe_fail_errno(probe, -errno, "cannot send to the process");
}

static void dump_begin(struct probe *probe)
{
	struct criu_dump_spec spec = { .criu_path = probe->criu_path, .images_dir = probe->dir, .pid = probe->pid,
				       .external_sockets = &probe->control_inode, .n_external_sockets = 1,
				       .timeout_us = CRIU_LIMIT_US, .log_is_dropped = true };
	struct why why;

	probe->step = STEP_DUMP;
	timer_disarm(&probe->timer); /* criu has its own */
	if (criu_dump_start(probe->loop, &probe->criu, &spec, criu_on_done, &why) < 0)
		probe_fail(probe, &why);
}

static void probe_succeed(struct probe *probe)
{
	probe->ok = true;
	why_set(&probe->detail, 0, "criu %s takes an image in %.0f ms and restores it in %.0f ms", probe->criu_version,
		(double)probe->dump_us / 1e3, (double)probe->restore_us / 1e3);
	probe_leave(probe);
}

static void output_on_ready(struct source *source, uint32_t events)
{
	struct probe *probe = container_of(source, struct probe, output);
	char byte;
	ssize_t n = read(probe->output_fd, &byte, 1);

	(void)events;
	if (n <= 0) {
		source_del(source); /* the process has closed it; probe_child_on_exit() hears of its end */
		return;
	}
	if (probe->step == STEP_START)
		dump_begin(probe);
	else if (probe->step == STEP_TALK)
		probe_succeed(probe);
}

/* ---- criu ---- */

static void version_done(struct probe *probe)
{
	struct why why;

	snprintf(probe->criu_version, sizeof(probe->criu_version), "%s", probe->criu.version);
	step_enter(probe, STEP_START);
	if (cat_spawn(probe, &why) < 0)
		probe_fail(probe, &why);
	else
		talk_send(probe);
}

static void dump_done(struct probe *probe)
{
	probe->dump_us = probe->criu.elapsed_us;
	step_enter(probe, STEP_REAP);
	if (probe->child.pidfd < 0)
		probe_child_on_exit(&probe->child); /* it was reaped before criu said that it is done */
}

static void restore_done(struct probe *probe)
{
	struct why why;

	probe->restore_us = probe->criu.elapsed_us;
	step_enter(probe, STEP_TALK);
	if (child_adopt(probe->loop, &probe->child, probe->criu.restored_pid, probe_child_on_exit, &why) < 0)
		probe_fail(probe, &why);
	else
		talk_send(probe);
}

static void criu_on_done(struct criu_job *job, int rc, const struct why *why)
{
	struct probe *probe = container_of(job, struct probe, criu);

	if (rc < 0)
		probe_fail(probe, why);
	else if (probe->step == STEP_VERSION)
		version_done(probe);
	else if (probe->step == STEP_DUMP)
		dump_done(probe);
	else
		restore_done(probe);
}

void probe_gc(const char *work_dir)
{
	DIR *stream = opendir(work_dir);
	struct dirent *entry;

	while (stream && (entry = readdir(stream)))
		if (strncmp(entry->d_name, "probe.", 6) == 0 && strlen(entry->d_name) == strlen("probe.XXXXXX"))
			(void)folder_remove_at(dirfd(stream), entry->d_name);
	if (stream)
		closedir(stream);
}

static int dir_make(struct probe *probe, const char *work_dir, struct why *why)
{
	int r = folder_make(work_dir, why);

	if (r < 0)
		return r;
	if (asprintf(&probe->dir, "%s/probe.XXXXXX", work_dir) < 0) {
		probe->dir = NULL;
		return why_errno(why, -ENOMEM, "folder for a probe");
	}
	if (!mkdtemp(probe->dir)) {
		r = why_errno(why, -errno, "cannot make a folder in %s", work_dir);
		free(probe->dir);
		probe->dir = NULL;
	}
	return r;
}

int probe_start(struct loop *loop, struct probe *probe, const char *criu_path, const char *work_dir,
		void (*on_done)(struct probe *probe, bool ok, const struct why *detail), struct why *why)
{
	void *owner = probe->owner;
	int r;

	if (probe->on_done)
		return why_set(why, -EBUSY, "a probe of criu is under way");
	if (!criu_path || !*criu_path)
		return why_set(why, -ENOENT, "no criu is configured");
	probe_init(probe, owner);
	probe->loop = loop;
	probe->criu_path = strdup(criu_path);
	r = probe->criu_path ? dir_make(probe, work_dir, why) : why_errno(why, -ENOMEM, "a probe of criu");
	probe->step = STEP_VERSION;
	if (r == 0)
		r = criu_version_start(loop, &probe->criu, criu_path, CRIU_LIMIT_US, criu_on_done, why);
	if (r < 0)
		probe_done(probe);
	else
		probe->on_done = on_done;
	return r;
}
