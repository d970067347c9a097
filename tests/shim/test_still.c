/* SPDX-License-Identifier: MIT */
/* A parked process is still: what signals do to it, and who else takes from descriptors that move. */
#include "shim/core/still.h"

#include "base/why.h"
#include "shim/core/channel.h"
#include "shim/core/threads.h"
#include "shim/upgrade.h"
#include "shim/fds/readers.h"
#include "shim/fds/table.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(still, .timeout = 20);

static atomic_int handled;
static struct still still;

static void on_signal(int signal)
{
	(void)signal;
	handled++;
}

static void handle(int signal)
{
	struct sigaction action = { .sa_handler = on_signal };

	cr_assert_eq(sigaction(signal, &action, NULL), 0);
}

static void *loose_main(void *arg)
{
	int *end = arg;
	char byte;

	while (recv(*end, &byte, 1, 0) < 0 && errno == EINTR)
		;
	return NULL;
}

static int ends[2];
static pthread_t loose;

/* A thread that the library knows nothing of, and that blocks no signals. */
static void start_loose(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	cr_assert_eq(pthread_create(&loose, NULL, loose_main, &ends[0]), 0);
}

static void end_loose(void)
{
	close(ends[1]);
	pthread_join(loose, NULL);
	close(ends[0]);
}

Test(still, keeps_signals_from_ending_the_process_and_from_handlers)
{
	handle(SIGUSR1);
	start_loose();
	still_begin(&still);
	kill(getpid(), SIGTERM);
	kill(getpid(), SIGINT);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGRTMIN + 3);
	poll(NULL, 0, 20);
	cr_assert_eq(handled, 0);
	still_end(&still);
	cr_assert_eq(handled, 0, "what somebody sent to a parked process was not meant for one that serves");
	kill(getpid(), SIGUSR1);
	while (!handled)
		poll(NULL, 0, 1);
	end_loose();
}

Test(still, lets_what_timers_raised_come_afterwards)
{
	struct itimerval timer = { .it_value.tv_usec = 1000 };

	handle(SIGALRM);
	still_begin(&still);
	cr_assert_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
	poll(NULL, 0, 50);
	cr_assert_eq(handled, 0);
	still_end(&still);
	while (!handled)
		poll(NULL, 0, 1);
	cr_assert_eq(handled, 1);
}

Test(still, does_not_lose_how_children_ended)
{
	int status;
	pid_t pid;

	still_begin(&still);
	pid = fork();
	if (pid == 0)
		_exit(7);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(WEXITSTATUS(status), 7);
	still_end(&still);
}

Test(still, leaves_masks_and_wishes_as_they_were)
{
	sigset_t before, after;
	int wish;

	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	still_begin(&still);
	prctl(PR_GET_PDEATHSIG, &wish);
	cr_assert_eq(wish, SIGCONT, "a stopped process goes on when its supervisor ends");
	still_end(&still);
	still_end(&still);
	prctl(PR_GET_PDEATHSIG, &wish);
	cr_assert_eq(wish, SIGHUP);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int signal = 1; signal < _NSIG; signal++)
		cr_assert_eq(sigismember(&after, signal), signal == SIGUSR2, "%d", signal);
}

Test(still, can_be_stopped_only_by_a_supervisor_that_is_its_parent)
{
	int pair[2], status;
	pid_t pid;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	cr_assert_not(still_can_be_stopped(pair[0]), "nobody is its own parent");
	pid = fork();
	if (pid == 0)
		_exit(still_can_be_stopped(pair[0]) ? 1 : 2);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(WEXITSTATUS(status), 1);
}

Test(still, is_refused_while_an_unknown_thread_takes_from_what_moves)
{
	struct channel channel = { .fd = -1 };
	struct threads threads = { 0 };
	struct fd_table table = { 0 };
	struct why why = { 0 };
	struct upg_thread known = { .tid = 0 };
	const struct upg_config config = { .nudge_signal = 0 };

	cr_assert_eq(threads_init(&threads, &channel, &config, &why), 0);
	cr_assert_eq(fd_table_init(&table, &channel), 0);
	cr_assert_eq(readers_check(&threads, &table, &why), 0, "%s", why.text);
	start_loose();
	poll(NULL, 0, 20);
	cr_assert_eq(readers_check(&threads, &table, &why), 0, "what does not move is its own: %s", why.text);
	cr_assert_eq(fd_table_put(&table, ends[0], "peer", 0, true, false), 0);
	/* Until the thread is in its call. */
	while (readers_check(&threads, &table, &why) == 0)
		poll(NULL, 0, 1);
	cr_assert(strstr(why.text, "waits in recv() of the registered descriptor"), "%s", why.text);
	/* The same thread, registered. */
	sscanf(strstr(why.text, "tid ") + 4, "%d", &known.tid);
	threads.first = &known;
	cr_assert_eq(readers_check(&threads, &table, &why), 0, "%s", why.text);
	threads.first = NULL;
	end_loose();
	fd_table_done(&table);
	threads_done(&threads);
}
