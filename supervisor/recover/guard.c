/* SPDX-License-Identifier: MIT */
#include "supervisor/recover/guard.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define REASON_BYTES 512u
#define STACK_BYTES (64u << 10) /* the stack may be what is wrong */

static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP, SIGALRM };

#define N_FAULTS (sizeof(faults) / sizeof(faults[0]))

static struct {
	char **argv, **env;    /* for the program before; the last entry of @env is the reason */
	size_t reason_at;
	char left[96], reasons[N_FAULTS][REASON_BYTES], given[REASON_BYTES];
	int before;            /* -1: none */
	bool on;
	char gave_way[REASON_BYTES]; /* "": nobody did */
} guard = { .before = -1 };

/* Async-signal-safe: nothing but system calls. */
static void execute_before(char *reason) __attribute__((noreturn));
static void execute_before(char *reason)
{
	sigset_t none;

	alarm(0); /* the program before has as much time as it needs */
	if (guard.before >= 0) {
		guard.env[guard.reason_at] = reason;
		sigemptyset(&none);
		sigaddset(&none, SIGALRM);
		for (size_t i = 0; i < N_FAULTS; i++)
			sigaddset(&none, faults[i]);
		sigprocmask(SIG_UNBLOCK, &none, NULL);
		execveat(guard.before, "", guard.argv, guard.env, AT_EMPTY_PATH);
	}
	_exit(EXIT_FAILURE);
}

static void on_fault(int number)
{
	for (size_t i = 0; i < N_FAULTS; i++)
		if (faults[i] == number)
			execute_before(guard.reasons[i]);
	_exit(EXIT_FAILURE);
}

static bool is_ours(const char *entry)
{
	return strncmp(entry, GUARD_LEFT_ENV "=", sizeof(GUARD_LEFT_ENV)) == 0 ||
	       strncmp(entry, GUARD_GAVE_WAY_ENV "=", sizeof(GUARD_GAVE_WAY_ENV)) == 0;
}

/* All but our own, with room for those. Return: the caller's array of borrowed texts; NULL if memory is out. */
static char **environment(size_t *ret_n)
{
	size_t n = 0, kept = 0;
	char **list;

	while (environ[n])
		n++;
	list = calloc(n + 3, sizeof(*list));
	for (size_t i = 0; list && i < n; i++)
		if (!is_ours(environ[i]))
			list[kept++] = environ[i];
	*ret_n = kept;
	return list;
}

/* A library may call exit(3), too. */
static void on_exit_of_ours(void)
{
	static char reason[] = GUARD_GAVE_WAY_ENV "=it ended before it had taken over";

	if (guard.on)
		execute_before(reason);
}

static void catch_faults(void)
{
	static char stack[STACK_BYTES];
	const stack_t aside = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK };

	atexit(on_exit_of_ours);
	sigaltstack(&aside, NULL);
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < N_FAULTS; i++) {
		snprintf(guard.reasons[i], REASON_BYTES, GUARD_GAVE_WAY_ENV "=%s%s",
			 faults[i] == SIGALRM ? "it did not take over in time" : "it was ended by SIG",
			 faults[i] == SIGALRM ? "" : sigabbrev_np(faults[i]));
		sigaction(faults[i], &action, NULL);
	}
}

int guard_begin(char **argv)
{
	const char *left = getenv(GUARD_LEFT_ENV), *gave_way = getenv(GUARD_GAVE_WAY_ENV);
	int memory, before;
	size_t n, soft;

	guard.argv = argv;
	if (gave_way)
		snprintf(guard.gave_way, sizeof(guard.gave_way), "%s", gave_way);
	unsetenv(GUARD_GAVE_WAY_ENV);
	if (!left || sscanf(left, "%d %d %zu", &memory, &before, &soft) != 3 || memory < 0)
		return -1;
	unsetenv(GUARD_LEFT_ENV);
	fd_set_limit_at_start(soft);
	if (before >= 0)
		(void)fcntl(before, F_SETFD, FD_CLOEXEC); /* it can be executed all the same */
	guard.before = before;
	guard.on = true;
	guard.env = environment(&n);
	snprintf(guard.left, sizeof(guard.left), GUARD_LEFT_ENV "=%d -1 %zu", memory, soft);
	if (!guard.env) {
		guard.before = -1;
		return memory;
	}
	guard.env[n] = guard.left;
	guard.reason_at = n + 1;
	if (before >= 0)
		catch_faults();
	return memory;
}

const char *guard_gave_way(void)
{
	return *guard.gave_way ? guard.gave_way : NULL;
}

void guard_give_way(const char *why)
{
	log_error("%s; %s", why,
		  guard.before >= 0 ? "the upgraded before goes on" :
				      "ending; the services go on, and a supervisor that is started anew finds them");
	log_settle(USEC_PER_SEC);
	snprintf(guard.given, sizeof(guard.given), GUARD_GAVE_WAY_ENV "=%s", why);
	execute_before(guard.given);
}

void guard_done(void)
{
	const struct itimerval never = { .it_value.tv_sec = 0 };

	if (!guard.on)
		return;
	guard.on = false;
	setitimer(ITIMER_REAL, &never, NULL);
	if (guard.before >= 0)
		for (size_t i = 0; i < N_FAULTS; i++)
			signal(faults[i], SIG_DFL);
	guard.before = fd_close(guard.before);
	free(guard.env);
	guard.env = NULL;
}

bool guard_is_on(void)
{
	return guard.on;
}

/* ---- the program that is to be replaced ---- */

static char **arguments(const char *program)
{
	size_t n = 0;
	char **list;

	while (guard.argv[n])
		n++;
	list = calloc(n + 1, sizeof(*list));
	for (size_t i = 0; list && i < n; i++)
		list[i] = i ? guard.argv[i] : (char *)(uintptr_t)program;
	return list;
}

int guard_execute(const char *program, int left, uint64_t deadline_us)
{
	const struct itimerval never = { .it_value.tv_sec = 0 };
	const struct itimerval due = { .it_value = { .tv_sec = (time_t)(deadline_us / USEC_PER_SEC),
						     .tv_usec = (suseconds_t)(deadline_us % USEC_PER_SEC) } };
	/* Without CLOEXEC: the next program executes it if it has to. A file that was replaced is there by this still. */
	int before = open("/proc/self/exe", O_PATH), r;
	char text[96], **argv = arguments(program), **env;
	size_t n;

	env = environment(&n);
	if (before < 0 || !argv || !env) {
		r = before < 0 ? -errno : -ENOMEM;
	} else {
		snprintf(text, sizeof(text), GUARD_LEFT_ENV "=%d %d %zu", left, before, fd_limit_at_start());
		env[n] = text;
		/* It runs on over execve(2). Whoever comes catches it; whoever does not get that far is ended by it. */
		signal(SIGALRM, SIG_DFL);
		setitimer(ITIMER_REAL, &due, NULL);
		execve(program, argv, env);
		r = -errno;
		setitimer(ITIMER_REAL, &never, NULL);
		signal(SIGALRM, SIG_IGN);
	}
	fd_close(before);
	free(argv);
	free(env);
	return r;
}
