/* SPDX-License-Identifier: MIT */
/*
 * main() of the sanitized unit tests, in place of Criterion's own, for two reasons.
 *
 * Criterion 2.4.1's runner loses a little memory of its own when it runs tests side by side, and LeakSanitizer then fails a run
 * in which every test passed. A suppression by the library's name would not do: each test is called from within it, so
 * leaks of ours would be hidden too. What is switched off here is the runner's main thread alone: tests run in
 * processes that never come through this function.
 *
 * The runner forks while threads of nanomsg work beside it, and gcc 12's AddressSanitizer does not take the locks of its
 * allocator around a fork. A child that is forked while such a thread allocates waits for a lock that nobody holds, before its test
 * begins, for ever. So the runner forks when those threads sleep.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <pthread.h>
#include <sanitizer/lsan_interface.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOKS 1000 /* so that a thread that never sleeps delays a test, and no more than that */

static pid_t runner;

static bool sleeps(const char *tid)
{
	char path[64], line[256] = "";
	const char *state;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%.16s/stat", tid);
	file = fopen(path, "re");
	if (!file)
		return true; /* it has ended */
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	(void)fclose(file);
	state = strrchr(line, ')');
	return !state || state[1] == '\0' || state[2] != 'R';
}

static bool others_sleep(void)
{
	bool all = true;
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *task;

	while (tasks && all && (task = readdir(tasks)))
		all = task->d_name[0] == '.' || strtol(task->d_name, NULL, 10) == (long)gettid() || sleeps(task->d_name);
	if (tasks)
		(void)closedir(tasks);
	return all;
}

static void wait_for_others(void)
{
	if (getpid() != runner)
		return;
	for (int i = 0; i < LOOKS && !others_sleep(); i++)
		(void)sched_yield();
}

int main(int argc, char *argv[])
{
	struct criterion_test_set *tests;
	int failed = 0;

	__lsan_disable();
	runner = getpid();
	if (pthread_atfork(wait_for_others, NULL, NULL) != 0)
		return EXIT_FAILURE;
	tests = criterion_initialize();
	if (criterion_handle_args(argc, argv, true))
		failed = !criterion_run_all_tests(tests);
	criterion_finalize(tests);
	return failed;
}
