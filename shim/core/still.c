/* SPDX-License-Identifier: MIT */
#include "shim/core/still.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Raised by what a thread does itself: with these blocked or ignored, the kernel ends the process, or the fault has no end. */
static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };

/* Signals whose disposition stays: those above, what cannot be changed, and what ends nothing. Children of a process that ignores
 * SIGCHLD would be reaped without anybody learning how they ended. */
static const int left_alone[] = { SIGKILL, SIGSTOP, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGCHLD, SIGURG, SIGWINCH };

static bool is_one_of(int signal, const int *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == signal)
			return true;
	return false;
}

#define IS_ONE_OF(signal, list) is_one_of(signal, list, sizeof(list) / sizeof((list)[0]))

void still_block(sigset_t *ret_before)
{
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

void still_unblock(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

static void set_aside(struct still *still, int signal)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	if (IS_ONE_OF(signal, faults) || IS_ONE_OF(signal, left_alone))
		return;
	/* Fails for libc's own two. */
	if (sigaction(signal, NULL, &still->actions[signal]) < 0)
		return;
	if (still->actions[signal].sa_handler == SIG_IGN)
		return;
	if (sigaction(signal, &ignore, NULL) == 0)
		sigaddset(&still->set_aside, signal);
}

void still_begin(struct still *still)
{
	still->on = true;
	sigemptyset(&still->set_aside);
	still_block(&still->mask);
	for (int signal = 1; signal < _NSIG; signal++)
		set_aside(still, signal);
	/* A stopped process does not see that its channel was closed. A wish to be killed with the parent serves as well. */
	still->parent_death = 0;
	prctl(PR_GET_PDEATHSIG, &still->parent_death);
	if (still->parent_death != SIGKILL)
		prctl(PR_SET_PDEATHSIG, SIGCONT);
}

/* Somebody who sends a signal means a process that runs. Timers and children do not know that theirs stands still. */
static bool is_to_come_later(const siginfo_t *info)
{
	return info->si_code != SI_USER && info->si_code != SI_TKILL && info->si_code != SI_QUEUE;
}

/* Take what waits. All threads block it, so it waits until it is taken. */
static void take_pending(sigset_t *ret_later)
{
	struct timespec at_once = { 0 };
	sigset_t set;
	siginfo_t info;

	sigemptyset(ret_later);
	sigfillset(&set);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&set, faults[i]);
	for (;;) {
		int signal = sigtimedwait(&set, &info, &at_once);

		if (signal < 0 && errno != EINTR)
			return;
		if (signal > 0 && is_to_come_later(&info))
			sigaddset(ret_later, signal);
	}
}

void still_end(struct still *still)
{
	sigset_t later;

	if (!still->on)
		return;
	still->on = false;
	take_pending(&later);
	if (still->parent_death != SIGKILL)
		prctl(PR_SET_PDEATHSIG, still->parent_death);
	for (int signal = 1; signal < _NSIG; signal++)
		if (sigismember(&still->set_aside, signal) == 1)
			sigaction(signal, &still->actions[signal], NULL);
	for (int signal = 1; signal < _NSIG; signal++)
		if (sigismember(&later, signal) == 1)
			kill(getpid(), signal);
	still_unblock(&still->mask);
}

bool still_can_be_stopped(int channel)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0 && peer.pid == getppid();
}
