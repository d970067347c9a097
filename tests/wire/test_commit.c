/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/why.h"
#include "wire/commit.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(commit, .timeout = 60);

#define GENERATION UINT64_C(77)

static struct commit_word word;
static int fd = -1;

static void setup(void)
{
	struct why why = { 0 };

	cr_assert_eq(commit_create(&word, GENERATION, &fd, &why), 0, "%s", why.text);
}

static void teardown(void)
{
	commit_unmap(&word);
	fd = fd_close(fd);
}

Test(commit, starts_by_naming_old, .init = setup, .fini = teardown)
{
	cr_assert_eq(commit_owner(&word), COMMIT_OLD);
	cr_assert_eq(atomic_load(word.word), GENERATION << 8 | COMMIT_OLD);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

Test(commit, is_changed_once_and_never_again, .init = setup, .fini = teardown)
{
	cr_assert(commit_take(&word, COMMIT_NEW));
	cr_assert_eq(commit_owner(&word), COMMIT_NEW);
	cr_assert_not(commit_take(&word, COMMIT_ABORTED));
	cr_assert_eq(commit_owner(&word), COMMIT_NEW);
}

Test(commit, agrees_with_whoever_wants_what_it_says_already, .init = setup, .fini = teardown)
{
	cr_assert(commit_take(&word, COMMIT_ABORTED));
	cr_assert(commit_take(&word, COMMIT_ABORTED));
	cr_assert_not(commit_take(&word, COMMIT_NEW));
	cr_assert_eq(commit_owner(&word), COMMIT_ABORTED);
}

Test(commit, is_seen_through_every_mapping, .init = setup, .fini = teardown)
{
	struct commit_word other;

	cr_assert_eq(commit_map(&other, fd, GENERATION, NULL), 0);
	cr_assert_eq(commit_owner(&other), COMMIT_OLD);
	cr_assert(commit_take(&word, COMMIT_NEW));
	cr_assert_eq(commit_owner(&other), COMMIT_NEW);
	cr_assert_not(commit_take(&other, COMMIT_ABORTED));
	commit_unmap(&other);
}

Test(commit, refuses_another_generation, .init = setup, .fini = teardown)
{
	struct commit_word other = { 0 };
	struct why why = { 0 };

	cr_assert_eq(commit_map(&other, fd, GENERATION + 1, &why), -EPROTO);
	cr_assert(strstr(why.text, "another roll"), "%s", why.text);
	cr_assert_null(other.word);
}

Test(commit, refuses_a_file_too_small_to_hold_it)
{
	struct commit_word other = { 0 };
	struct why why = { 0 };
	FD_CLEANUP int small = memfd_create("small", MFD_CLOEXEC);

	cr_assert_eq(write(small, "1234567", 7), 7);
	cr_assert_eq(commit_map(&other, small, GENERATION, &why), -EPROTO);
	cr_assert_null(other.word);
}

Test(commit, refuses_what_is_no_memory)
{
	struct commit_word other = { 0 };
	FD_CLEANUP int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_assert_eq(commit_map(&other, pair[0], GENERATION, NULL), -EPROTO);
	cr_assert_eq(commit_map(&other, null, GENERATION, NULL), -EPROTO);
	cr_assert_eq(commit_map(&other, -1, GENERATION, NULL), -EBADF);
	fd_close(pair[0]);
	fd_close(pair[1]);
}

Test(commit, can_be_neither_cut_nor_grown_nor_unsealed, .init = setup, .fini = teardown)
{
	cr_assert_eq(ftruncate(fd, 0), -1);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(ftruncate(fd, 4096), -1);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	cr_assert_eq(commit_owner(&word), COMMIT_OLD);
}

Test(commit, counts_nonsense_as_aborted, .init = setup, .fini = teardown)
{
	static const uint64_t nonsense[] = { 0,
					     GENERATION << 8,
					     GENERATION << 8 | 4,
					     GENERATION << 8 | 0xff,
					     (GENERATION + 1) << 8 | COMMIT_NEW,
					     UINT64_MAX };

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		atomic_store(word.word, nonsense[i]);
		cr_assert_eq(commit_owner(&word), COMMIT_ABORTED, "%#llx", (unsigned long long)nonsense[i]);
		cr_assert_not(commit_take(&word, COMMIT_NEW));
		cr_assert_eq(atomic_load(word.word), nonsense[i]);
	}
}

Test(commit, does_nothing_while_not_mapped)
{
	struct commit_word none = { 0 };

	cr_assert_not(commit_take(&none, COMMIT_NEW));
	cr_assert_eq(commit_owner(&none), COMMIT_ABORTED);
	commit_unmap(&none);
}

/* ---- races ---- */

struct racer {
	pthread_barrier_t *start;
	enum commit_owner wants;
	bool won;
};

static void *race(void *arg)
{
	struct racer *racer = arg;

	pthread_barrier_wait(racer->start);
	racer->won = commit_take(&word, racer->wants);
	return NULL;
}

#define RACERS 8

Test(commit, lets_one_of_many_racing_threads_win)
{
	for (unsigned round = 0; round < 200; round++) {
		struct racer racers[RACERS];
		pthread_t threads[RACERS];
		pthread_barrier_t start;
		enum commit_owner owner;

		cr_assert_eq(commit_create(&word, round + 1, &fd, NULL), 0);
		pthread_barrier_init(&start, NULL, RACERS);
		for (unsigned i = 0; i < RACERS; i++) {
			racers[i] = (struct racer){ &start, i % 2 ? COMMIT_NEW : COMMIT_ABORTED, false };
			cr_assert_eq(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
		}
		for (unsigned i = 0; i < RACERS; i++)
			pthread_join(threads[i], NULL);
		owner = commit_owner(&word);
		cr_assert(owner == COMMIT_NEW || owner == COMMIT_ABORTED);
		for (unsigned i = 0; i < RACERS; i++)
			cr_assert_eq(racers[i].won, racers[i].wants == owner, "round %u", round);
		pthread_barrier_destroy(&start);
		teardown();
	}
}

/* A process of its own, which maps the word by its descriptor as the shim does; exits with 1 if it won. */
static pid_t fork_racer(enum commit_owner wants, const int start[2])
{
	pid_t pid = fork();
	struct commit_word mine;
	char byte;

	if (pid)
		return pid;
	close(start[1]);
	if (commit_map(&mine, fd, GENERATION, NULL) < 0)
		_exit(9);
	/* Everyone's read ends at once: when the last writer has closed. */
	if (read(start[0], &byte, 1) < 0)
		_exit(9);
	_exit(commit_take(&mine, wants));
}

Test(commit, lets_one_of_two_racing_processes_win)
{
	for (unsigned round = 0; round < 30; round++) {
		int start[2], status[2];
		enum commit_owner owner;
		pid_t pids[2];

		setup();
		cr_assert_eq(pipe(start), 0);
		pids[0] = fork_racer(COMMIT_NEW, start);
		pids[1] = fork_racer(COMMIT_ABORTED, start);
		fd_close(start[1]);
		for (unsigned i = 0; i < 2; i++) {
			cr_assert_eq(waitpid(pids[i], &status[i], 0), pids[i]);
			cr_assert(WIFEXITED(status[i]) && WEXITSTATUS(status[i]) <= 1);
		}
		owner = commit_owner(&word);
		cr_assert_eq(WEXITSTATUS(status[0]), owner == COMMIT_NEW);
		cr_assert_eq(WEXITSTATUS(status[1]), owner == COMMIT_ABORTED);
		fd_close(start[0]);
		teardown();
	}
}
