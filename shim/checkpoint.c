/* SPDX-License-Identifier: MIT */
/* What a checkpoint costs the service is the fork: the kernel copies the page tables, and each page that is written while
 * the child lives is copied, too. The child has this thread only. All others stood at their update points, so that they
 * hold no lock of the application's, and libc sees to its own.
 *
 * The child lets go of every descriptor first: while it held a socket, the peer would not see that the parent closes it.
 */
#include "shim/checkpoint.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"
#include "shim/state/save.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATE_FD 3
#define REPORT_FD 4

/* Not every libc has it, and not every kernel: 5.9. */
static int close_from(unsigned first)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, first, UINT_MAX, 0) == 0)
		return 0;
#endif
	for (int fd = (int)first; fd < (int)sysconf(_SC_OPEN_MAX); fd++)
		close(fd);
	return 0;
}

static void close_between(unsigned first, unsigned end)
{
	for (unsigned fd = first < STATE_FD ? STATE_FD : first; fd < end; fd++)
		close((int)fd);
}

/* All others go first: where the process has as many as it may, there is room for no other one. */
static void keep_descriptors(int state_fd, int report_fd)
{
	unsigned low = (unsigned)(state_fd < report_fd ? state_fd : report_fd);
	unsigned high = (unsigned)(state_fd < report_fd ? report_fd : state_fd);
	int report, state;

	close_from(high < STATE_FD ? STATE_FD : high + 1);
	close_between(low + 1, high);
	close_between(STATE_FD, low);
	/* One of them may be where the other is to go. */
	report = fcntl(report_fd, F_DUPFD, REPORT_FD + 1);
	state = fcntl(state_fd, F_DUPFD, REPORT_FD + 1);
	if (report < 0 || state < 0 || dup2(state, STATE_FD) < 0 || dup2(report, REPORT_FD) < 0)
		_exit(1);
	close_from(REPORT_FD + 1);
}

/* Whatever the application does to signals; and nobody but us waits for it. */
static void end_in_time(uint64_t deadline_us)
{
	uint64_t now = clock_now_us(), left = deadline_us > now ? deadline_us - now : 0;
	sigset_t alarms;

	signal(SIGALRM, SIG_DFL);
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
	alarm((unsigned)(left / USEC_PER_SEC) + 1);
}

/* Where memory is short, this is what can be done without. */
static void be_the_victim(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1000", 4) < 0)
		(void)0; /* then it counts as its parent does */
	fd_close(fd);
}

static int report(const Upgraded__Wire__AppMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(&message->base);
	uint8_t *bytes = malloc(size);

	if (!bytes || protobuf_c_message_pack(&message->base, bytes) != size)
		return 1;
	return write(REPORT_FD, bytes, size) == (ssize_t)size ? 0 : 1;
}

static int report_saved(Upgraded__Wire__Totals *totals, uint64_t question)
{
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);

	saved.totals = totals;
	saved.question = question;
	return report(&message);
}

static int report_refused(struct why *why, uint64_t question)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED, .refused = &refused);

	refused.reason = why->text;
	refused.question = question;
	return report(&message);
}

static void be_the_child(struct upg *upg, const Upgraded__Wire__Prepare *prepare, int state_fd, int report_fd)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	struct why why = { 0 };

	end_in_time(prepare->commit_deadline_us);
	be_the_victim();
	keep_descriptors(state_fd, report_fd);
	if (state_save(upg->state, STATE_FD, prepare, &totals, &why) < 0)
		_exit(report_refused(&why, prepare->question));
	_exit(report_saved(&totals, prepare->question));
}

/* Return: where there is room for one more; NULL: the children do not end. */
static struct checkpoint_child *find_room(struct upg *upg)
{
	checkpoint_end(upg);
	for (unsigned i = 0; i < UPG_CHECKPOINT_CHILDREN; i++)
		if (!upg->checkpoint_children[i].pid)
			return &upg->checkpoint_children[i];
	return NULL;
}

int checkpoint_fork(struct upg *upg, const Upgraded__Wire__Prepare *prepare, int state_fd, int report_fd)
{
	struct checkpoint_child *child = find_room(upg);
	pid_t pid;

	if (!child)
		return why_set(&upg->why, -EBUSY, "%u children that wrote checkpoints have not ended", UPG_CHECKPOINT_CHILDREN);
	pid = fork();
	if (pid < 0)
		return why_errno(&upg->why, -errno, "fork");
	if (pid == 0)
		be_the_child(upg, prepare, state_fd, report_fd);
	*child = (struct checkpoint_child){ pid, (int)syscall(SYS_pidfd_open, pid, 0) };
	return 0;
}

void checkpoint_end(struct upg *upg)
{
	checkpoint_reap(upg);
	/* One may be at its last act, which is the same. */
	for (unsigned i = 0; i < UPG_CHECKPOINT_CHILDREN; i++)
		if (upg->checkpoint_children[i].pid && upg->checkpoint_children[i].pidfd >= 0)
			syscall(SYS_pidfd_send_signal, upg->checkpoint_children[i].pidfd, SIGKILL, NULL, 0);
}

/* The application may have reaped it, or ignores SIGCHLD: that is its end, too. */
static bool has_ended(const struct checkpoint_child *child, int options)
{
	siginfo_t info = { .si_pid = 0 };
	int r;

	do
		r = child->pidfd >= 0 ? waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | options) :
					waitid(P_PID, (id_t)child->pid, &info, WEXITED | options);
	while (r < 0 && errno == EINTR);
	return r < 0 || info.si_pid;
}

static void reap(struct upg *upg, int options)
{
	for (unsigned i = 0; i < UPG_CHECKPOINT_CHILDREN; i++) {
		struct checkpoint_child *child = &upg->checkpoint_children[i];

		if (!child->pid || !has_ended(child, options))
			continue;
		fd_close(child->pidfd);
		*child = (struct checkpoint_child){ .pid = 0 };
	}
}

void checkpoint_reap(struct upg *upg)
{
	reap(upg, WNOHANG);
}

void checkpoint_finish(struct upg *upg)
{
	checkpoint_end(upg);
	reap(upg, 0);
}
