/* SPDX-License-Identifier: MIT */
/* upg-strike ARGUMENT...: a program that is killed at its n-th system call since a mark.
 *
 * It runs the program that UPG_STRIKE_PROGRAM names, with the arguments that it was given itself, and traces the first thread
 * of that and nobody else. A test names it `upgraded` and lets the rig start it. SIGUSR1 arms it: from the next connection that
 * is accepted (the request of upgradectl) each system call of that thread is counted, and before the UPG_STRIKE_AT-th one
 * begins, the process is killed. With UPG_STRIKE_FROM_START they are counted from the first one on.
 *
 * It adds lines to the file UPG_STRIKE_REPORT: "killed N NUMBER", with the number of the system call that was not made; "ended
 * N 0", where the program ended by itself; "counted N 0" at each SIGUSR2. Without UPG_STRIKE_AT, or with 0, it counts only.
 * SIGTERM, SIGINT and SIGHUP are passed on to the program.
 *
 * Exit status: the program's; 128 + n if signal n ended it; 125 if it cannot be traced.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_CANNOT 125
#define SYSCALL_STOP (SIGTRAP | 0x80)

static pid_t tracee;
static unsigned long at, calls;
static bool armed, marked, accepting;

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "upg-strike: %s: %s\n", what, strerror(errno));
	if (tracee > 0)
		kill(tracee, SIGKILL);
	exit(EXIT_CANNOT);
}

/* What cannot be written is missed by the test, which fails then. */
static void report(const char *how, unsigned long long number)
{
	const char *path = getenv("UPG_STRIKE_REPORT");
	FILE *file = path ? fopen(path, "ae") : NULL;

	if (!file)
		return;
	fprintf(file, "%s %lu %llu\n", how, calls, number);
	fclose(file);
}

/* The child: it waits until it is traced, so that nothing it does goes unseen. */
__attribute__((noreturn)) static void become(const char *program, char **argv, int go, const sigset_t *mask)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &byte, 1) != 1)
		_exit(EXIT_CANNOT);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execv(program, argv);
	_exit(EXIT_CANNOT);
}

static void begin(char **argv, const sigset_t *mask)
{
	char *program = getenv("UPG_STRIKE_PROGRAM");
	int go[2];

	if (!program) {
		errno = EINVAL;
		fail("UPG_STRIKE_PROGRAM names no program");
	}
	argv[0] = program;
	if (pipe2(go, O_CLOEXEC) < 0)
		fail("pipe");
	tracee = fork();
	if (tracee < 0)
		fail("fork");
	if (tracee == 0)
		become(program, argv, go[0], mask);
	if (ptrace(PTRACE_SEIZE, tracee, NULL, (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) < 0)
		fail("the program cannot be traced");
	if (armed && ptrace(PTRACE_INTERRUPT, tracee, NULL, NULL) < 0)
		fail("ptrace");
	if (write(go[1], "", 1) != 1)
		fail("pipe");
	close(go[0]);
	close(go[1]);
}

/* ---- its stops ---- */

static void go_on(int signal)
{
	if (ptrace(armed ? PTRACE_SYSCALL : PTRACE_CONT, tracee, NULL, (void *)(intptr_t)signal) < 0 && errno != ESRCH)
		fail("ptrace");
}

static bool is_accept(unsigned long long number)
{
#ifdef SYS_accept
	if (number == SYS_accept)
		return true;
#endif
	return number == SYS_accept4;
}

static void on_call(void)
{
	struct __ptrace_syscall_info info = { 0 };

	if (ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_INFO, tracee, (void *)sizeof(info), &info) <= 0)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		accepting = is_accept(info.entry.nr);
		if (!marked)
			return;
		calls++;
		if (at && calls == at) {
			report("killed", info.entry.nr);
			at = 0;
			kill(tracee, SIGKILL);
		}
	} else if (info.op == PTRACE_SYSCALL_INFO_EXIT && accepting && !info.exit.is_error) {
		marked = true;
	}
}

static void on_stop(int status)
{
	int signal = WSTOPSIG(status);

	if (status >> 16 == PTRACE_EVENT_STOP) {
		if (signal == SIGTRAP)
			go_on(0); /* we asked for it */
		else if (ptrace(PTRACE_LISTEN, tracee, NULL, NULL) < 0 && errno != ESRCH)
			fail("ptrace");
	} else if (signal == SYSCALL_STOP) {
		on_call();
		go_on(0);
	} else {
		go_on(signal);
	}
}

static void look(void)
{
	int status;

	while (waitpid(tracee, &status, WNOHANG | __WALL) == tracee) {
		if (WIFSTOPPED(status)) {
			on_stop(status);
			continue;
		}
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			report("ended", 0);
		exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	}
}

int main(int argc, char **argv)
{
	static const int ours[] = { SIGCHLD, SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP };
	const char *number = getenv("UPG_STRIKE_AT");
	sigset_t set, before;
	int signal;

	(void)argc;
	at = number ? strtoul(number, NULL, 10) : 0;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
		sigaddset(&set, ours[i]);
	sigprocmask(SIG_BLOCK, &set, &before);
	armed = marked = getenv("UPG_STRIKE_FROM_START") != NULL;
	begin(argv, &before);
	for (;;) {
		if (sigwait(&set, &signal) != 0)
			fail("sigwait");
		if (signal == SIGUSR1) {
			armed = true;
			if (ptrace(PTRACE_INTERRUPT, tracee, NULL, NULL) < 0 && errno != ESRCH)
				fail("ptrace");
		} else if (signal == SIGUSR2) {
			report("counted", 0);
		} else if (signal != SIGCHLD) {
			kill(tracee, signal);
		}
		look();
	}
}
