/* SPDX-License-Identifier: MIT */
#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/privileges.h"
#include "base/why.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(child, .timeout = 20);

static char *const clean_env[] = { (char[]){ "PATH=/usr/bin:/bin" }, (char[]){ "LC_ALL=C" }, NULL };
static struct loop *loop;
static struct child child;
static struct why why;
static int n_exits;

static void setup(void)
{
	cr_assert_eq(loop_new(&loop, &why), 0);
	child_init(&child);
}

static void teardown(void)
{
	child_done(&child);
	loop = loop_free(loop);
}

static void on_exit_count(struct child *ended)
{
	cr_assert(ended->exited);
	cr_assert_eq(ended->pidfd, -1);
	cr_assert_null(ended->source.loop);
	n_exits++;
}

static struct child_spec spec_of(char *const *argv)
{
	return (struct child_spec){ .path = argv[0], .argv = argv, .envp = clean_env, .uid = (uid_t)-1, .gid = (gid_t)-1 };
}

static void expect_spawned(const struct child_spec *spec)
{
	int r = child_spawn(loop, &child, spec, on_exit_count, &why);

	cr_assert_eq(r, 0, "%s", why.text);
	cr_assert_gt(child.pid, 0);
	cr_assert_not(child.exited);
}

static void turn_until_exit(void)
{
	while (!child.exited)
		cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_eq(n_exits, 1);
}

static const char *described(void)
{
	static char text[64];

	return child_describe(&child, text, sizeof(text));
}

static void start_script(const char *script)
{
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, strdup(script), NULL };
	struct child_spec spec = spec_of(argv);

	expect_spawned(&spec);
	free(argv[2]);
}

static const char *read_all(int fd)
{
	static char out[8192];
	size_t size = 0;
	ssize_t n;

	while ((n = read(fd, out + size, sizeof(out) - 1 - size)) > 0)
		size += (size_t)n;
	out[size] = '\0';
	return out;
}

/* What @spec's program writes to its stdout until it has ended; @spec's mappings come on top of that one. */
static const char *output_of(const struct child_spec *spec)
{
	struct child_spec with_out = *spec;
	struct child_fd fds[16];
	const char *out;
	int ends[2];

	cr_assert_lt(spec->n_fds, 16);
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	if (spec->n_fds > 0)
		memcpy(fds, spec->fds, spec->n_fds * sizeof(*fds));
	fds[spec->n_fds] = (struct child_fd){ .from = ends[1], .to = STDOUT_FILENO };
	with_out.fds = fds;
	with_out.n_fds = spec->n_fds + 1;
	expect_spawned(&with_out);
	fd_close(ends[1]);
	out = read_all(ends[0]);
	fd_close(ends[0]);
	turn_until_exit();
	return out;
}

static size_t count_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* As child.h promises for a failed spawn: no descriptor, no process, nothing watched, the child still empty. */
static void expect_refused(const struct child_spec *spec, int rc, const char *step)
{
	size_t before = count_open_fds();

	cr_assert_eq(child_spawn(loop, &child, spec, on_exit_count, &why), rc, "%s", why.text);
	cr_assert_not_null(strstr(why.text, spec->path), "'%s' does not name the program", why.text);
	cr_assert_not_null(strstr(why.text, step), "'%s' does not name the step '%s'", why.text, step);
	cr_assert_eq(count_open_fds(), before);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	cr_assert_eq(errno, ECHILD);
	cr_assert_eq(child.pid, 0);
	cr_assert_eq(child.pidfd, -1);
	cr_assert_null(child.source.loop);
}

Test(child, tells_the_exit_status_through_the_loop, .init = setup, .fini = teardown)
{
	pid_t pid;

	cr_assert_str_eq(described(), "was never started");
	start_script("exit 3");
	pid = child.pid;
	cr_assert_str_eq(described(), "is running");
	turn_until_exit();
	cr_assert(WIFEXITED(child.status));
	cr_assert_eq(WEXITSTATUS(child.status), 3);
	cr_assert_str_eq(described(), "exited with status 3");
	cr_assert_eq(child.pid, pid, "the pid stays for messages");
	cr_assert_eq(kill(pid, 0), -1, "reaped");
}

Test(child, tells_which_signal_killed_it, .init = setup, .fini = teardown)
{
	start_script("ulimit -c 0; kill -SEGV $$");
	turn_until_exit();
	cr_assert(WIFSIGNALED(child.status));
	cr_assert_eq(WTERMSIG(child.status), SIGSEGV);
	cr_assert_str_eq(described(), "was killed by SIGSEGV");
}

Test(child, describes_a_core_dump_and_an_unknown_end)
{
	child = (struct child){ .pid = 5, .exited = true, .status = SIGABRT | WCOREFLAG };
	cr_assert_str_eq(described(), "was killed by SIGABRT (core dumped)");
	child.status = 40;
	cr_assert_str_eq(described(), "was killed by signal 40");
	child.status = 0x7f;
	cr_assert_str_eq(described(), "ended with a status that nobody could read");
}

Test(child, can_be_killed_before_and_after_its_end, .init = setup, .fini = teardown)
{
	cr_assert_eq(child_kill(&child, SIGTERM), -ESRCH, "there never was one");
	start_script("exec sleep 1000");
	cr_assert_eq(child_kill(&child, SIGTERM), 0);
	turn_until_exit();
	cr_assert_str_eq(described(), "was killed by SIGTERM");
	cr_assert_eq(child_kill(&child, SIGTERM), 0);
}

Test(child, can_be_killed_between_its_end_and_the_news_of_it, .init = setup, .fini = teardown)
{
	siginfo_t info;

	start_script("exit 0");
	cr_assert_eq(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert_eq(child_kill(&child, SIGTERM), 0);
	turn_until_exit();
	cr_assert_str_eq(described(), "exited with status 0");
}

Test(child, done_kills_and_reaps_what_still_runs, .init = setup, .fini = teardown)
{
	pid_t pid;

	start_script("exec sleep 1000");
	pid = child.pid;
	child_done(&child);
	cr_assert_eq(kill(pid, 0), -1);
	cr_assert_eq(errno, ESRCH);
	cr_assert_eq(child.pid, 0);
	cr_assert_eq(child.pidfd, -1);
	cr_assert_eq(loop_turn(loop, 0), 0);
	cr_assert_eq(n_exits, 0);
}

static void on_exit_respawn(struct child *ended)
{
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char[]){ "exit 5" }, NULL };
	struct child_spec spec = spec_of(argv);

	cr_assert_eq(child_spawn(loop, ended, &spec, on_exit_count, &why), 0, "%s", why.text);
}

Test(child, may_be_started_again_from_on_exit, .init = setup, .fini = teardown)
{
	start_script("exit 4");
	child.on_exit = on_exit_respawn;
	while (n_exits == 0)
		cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_str_eq(described(), "exited with status 5");
}

static void on_exit_done(struct child *ended)
{
	n_exits++;
	child_done(ended);
}

Test(child, may_be_done_in_on_exit, .init = setup, .fini = teardown)
{
	start_script("exit 4");
	child.on_exit = on_exit_done;
	while (n_exits == 0)
		cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_eq(child.pid, 0);
}

Test(child, refuses_a_second_process_in_one_place, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/true" }, NULL };
	struct child_spec spec = spec_of(argv);
	pid_t pid;

	start_script("exec sleep 1000");
	pid = child.pid;
	cr_assert_eq(child_spawn(loop, &child, &spec, on_exit_count, &why), -EBUSY);
	cr_assert_eq(child_adopt(loop, &child, getpid(), on_exit_count, &why), -EBUSY);
	cr_assert_eq(child.pid, pid);
}

Test(child, failing_to_exec_leaves_nothing_behind, .init = setup, .fini = teardown)
{
	char *missing[] = { (char[]){ "/nonexistent/program" }, NULL };
	char *not_executable[] = { (char[]){ "/etc/passwd" }, NULL };
	struct child_spec spec = spec_of(missing);

	expect_refused(&spec, -ENOENT, "exec");
	spec = spec_of(not_executable);
	expect_refused(&spec, -EACCES, "exec");
}

static void expect_no_try(const struct child_spec *spec, int rc, const char *step)
{
	size_t before = count_open_fds();

	cr_assert_eq(child_try(spec, &why), rc, "%s", why.text);
	cr_assert_not_null(strstr(why.text, step), "'%s' does not name the step '%s'", why.text, step);
	cr_assert_eq(count_open_fds(), before);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG | __WALL), -1);
}

Test(child, tried_goes_through_all_steps_and_starts_nothing, .init = setup, .fini = teardown)
{
	char file[] = "/tmp/upg-test.XXXXXX", text[128];
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, text, NULL };
	char *missing[] = { (char[]){ "/nonexistent/program" }, NULL }, *folder[] = { (char[]){ "/tmp" }, NULL };
	struct child_spec spec = spec_of(argv);
	int fd = mkstemp(file);

	cr_assert_geq(fd, 0);
	close(fd);
	snprintf(text, sizeof(text), "rm %s", file);
	cr_assert_eq(child_try(&spec, &why), 0, "%s", why.text);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG | __WALL), -1, "it was waited for");
	cr_assert_eq(unlink(file), 0, "the program did not run");
	spec.cwd = "/nonexistent/folder";
	expect_no_try(&spec, -ENOENT, "chdir to /nonexistent/folder");
	spec = spec_of(missing);
	expect_no_try(&spec, -ENOENT, "exec");
	spec = spec_of(folder);
	expect_no_try(&spec, -EACCES, "exec");
	spec = spec_of(argv);
	spec.nofile = 1u << 30;
	expect_no_try(&spec, -EPERM, "above the hard limit");
}

Test(child, tried_as_another_user_needs_what_that_user_may, .init = setup, .fini = teardown)
{
	char folder[] = "/tmp/upg-test.XXXXXX", path[64], command[128];
	char *argv[] = { path, NULL };
	struct child_spec spec = spec_of(argv);

	if (geteuid() != 0)
		cr_skip_test("only root may start as another user");
	cr_assert_not_null(mkdtemp(folder)); /* 0700 */
	snprintf(path, sizeof(path), "%s/true", folder);
	snprintf(command, sizeof(command), "cp /bin/true %s", path);
	cr_assert_eq(system(command), 0);
	cr_assert_eq(child_try(&spec, &why), 0, "%s", why.text);
	spec.uid = spec.gid = 65534;
	expect_no_try(&spec, -EACCES, "its folder open to it");
	spec.path = "/bin/true";
	spec.cwd = folder;
	expect_no_try(&spec, -EACCES, "chdir");
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(rmdir(folder), 0);
}

Test(child, is_known_to_be_watched_until_it_was_reaped, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/sleep" }, (char[]){ "1000" }, NULL };
	struct child_spec spec = spec_of(argv);
	struct child from;
	pid_t pid;

	child_init(&from);
	cr_assert_eq(child_spawn(loop, &from, &spec, NULL, &why), 0, "%s", why.text);
	pid = from.pid;
	cr_assert(child_is_watched(pid));
	cr_assert_not(child_is_watched(getpid()));
	cr_assert_eq(child_move(&from, &child, on_exit_count), 0);
	cr_assert(child_is_watched(pid));
	child_done(&from);
	cr_assert(child_is_watched(pid));
	cr_assert_eq(child_kill(&child, SIGKILL), 0);
	turn_until_exit();
	cr_assert_not(child_is_watched(pid));
}

Test(child, failing_to_change_directory_leaves_nothing_behind, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/true" }, NULL };
	struct child_spec spec = spec_of(argv);

	spec.cwd = "/nonexistent/folder";
	expect_refused(&spec, -ENOENT, "chdir to /nonexistent/folder");
}

Test(child, failing_to_become_another_user_leaves_nothing_behind, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/true" }, NULL };
	struct child_spec spec = spec_of(argv);

	if (geteuid() == 0)
		cr_assert_eq(setresuid(65534, 65534, 65534), 0);
	spec.uid = 12345;
	expect_refused(&spec, -EPERM, "setgroups");
	spec.uid = (uid_t)-1;
	spec.gid = 12345;
	expect_refused(&spec, -EPERM, "setgid to 12345");
}

Test(child, failing_to_map_a_descriptor_leaves_nothing_behind, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/true" }, NULL };
	struct child_fd closed[] = { { .from = 900, .to = 7 } };
	struct child_fd none[] = { { .from = -1, .to = 7 } };
	struct child_fd twice[] = { { .from = 0, .to = 7 }, { .from = 1, .to = 7 } };
	struct child_spec spec = spec_of(argv);

	spec.n_fds = 1;
	spec.fds = closed;
	expect_refused(&spec, -EBADF, "descriptor 7");
	spec.fds = none;
	expect_refused(&spec, -EBADF, "descriptor 7");
	spec.n_fds = 2;
	spec.fds = twice;
	expect_refused(&spec, -EINVAL, "two descriptors are to become its descriptor 7");
}

Test(child, asking_for_more_descriptors_than_allowed_is_refused, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/true" }, NULL };
	struct child_spec spec = spec_of(argv);

	spec.nofile = ULLONG_MAX - 1;
	expect_refused(&spec, -EPERM, "hard limit");
}

#define N_MAPPED 3

static void open_pipes(int ends[N_MAPPED][2])
{
	for (size_t i = 0; i < N_MAPPED; i++)
		cr_assert_eq(pipe2(ends[i], O_CLOEXEC), 0);
}

/* The child writes each number to the descriptor of that number; what comes out at which end tells who was where. */
static void expect_mapped(int ends[N_MAPPED][2], const int to[N_MAPPED])
{
	char script[256], expected[16];
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, script, NULL };
	struct child_spec spec = spec_of(argv);
	struct child_fd fds[N_MAPPED];

	for (size_t i = 0; i < N_MAPPED; i++)
		fds[i] = (struct child_fd){ .from = ends[i][1], .to = to[i] };
	snprintf(script, sizeof(script), "for n in %d %d %d; do echo $n >/proc/self/fd/$n; done", to[0], to[1], to[2]);
	spec.fds = fds;
	spec.n_fds = N_MAPPED;
	expect_spawned(&spec);
	turn_until_exit();
	cr_assert_str_eq(described(), "exited with status 0");
	for (size_t i = 0; i < N_MAPPED; i++) {
		fd_close(ends[i][1]);
		snprintf(expected, sizeof(expected), "%d\n", to[i]);
		cr_assert_str_eq(read_all(ends[i][0]), expected);
		fd_close(ends[i][0]);
	}
}

Test(child, maps_descriptors_that_take_each_others_numbers, .init = setup, .fini = teardown)
{
	int ends[N_MAPPED][2];

	open_pipes(ends);
	expect_mapped(ends, (int[]){ ends[1][1], ends[2][1], ends[0][1] });
}

/* The numbers the kernel would hand out next are the ones a copy on its way is in danger of getting. */
Test(child, maps_descriptors_to_the_next_free_numbers, .init = setup, .fini = teardown)
{
	int ends[N_MAPPED][2], next;

	open_pipes(ends);
	next = dup(STDERR_FILENO);
	cr_assert_geq(next, 0);
	fd_close(next);
	expect_mapped(ends, (int[]){ next + 2, next + 3, next + 1 });
}

Test(child, maps_one_descriptor_to_its_own_and_to_standard_numbers, .init = setup, .fini = teardown)
{
	char script[128];
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, script, NULL };
	struct child_spec spec = spec_of(argv);
	struct child_fd fds[3];
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	fds[0] = (struct child_fd){ .from = ends[1], .to = ends[1] };
	fds[1] = (struct child_fd){ .from = ends[1], .to = STDERR_FILENO };
	fds[2] = (struct child_fd){ .from = ends[0], .to = STDIN_FILENO };
	snprintf(script, sizeof(script), "echo a >&2; echo b >/proc/self/fd/%d; read x; read y; echo $y$x", ends[1]);
	spec.fds = fds;
	spec.n_fds = 3;
	cr_assert_str_eq(output_of(&spec), "ba\n");
	fd_close(ends[0]);
	fd_close(ends[1]);
}

Test(child, leaks_no_descriptor, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char[]){ "ls /proc/$$/fd; :" }, NULL };
	struct child_fd fds[] = { { .from = STDERR_FILENO, .to = 9 }, { .from = STDERR_FILENO, .to = 30 } };
	struct child_spec spec = spec_of(argv);
	int leaky[64];

	for (size_t i = 0; i < 64; i++)
		cr_assert_geq(leaky[i] = dup(STDERR_FILENO), 0); /* on purpose without CLOEXEC */
	cr_assert_eq(dup2(STDERR_FILENO, 500), 500);
	cr_assert_str_eq(output_of(&spec), "0\n1\n2\n");
	n_exits = 0;
	spec.fds = fds;
	spec.n_fds = 2;
	cr_assert_str_eq(output_of(&spec), "0\n1\n2\n30\n9\n");
	for (size_t i = 0; i < 64; i++)
		fd_close(leaky[i]);
	fd_close(500);
}

Test(child, has_dev_null_where_nothing_was_mapped, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" },
			 (char[]){ "readlink /proc/$$/fd/0; readlink /proc/$$/fd/2; read x || echo end" }, NULL };
	struct child_spec spec = spec_of(argv);

	cr_assert_str_eq(output_of(&spec), "/dev/null\n/dev/null\nend\n");
}

Test(child, starts_with_default_signals_but_sigpipe, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/grep" }, (char[]){ "-E" }, (char[]){ "^Sig(Blk|Ign)" },
			 (char[]){ "/proc/self/status" }, NULL };
	struct child_spec spec = spec_of(argv);
	sigset_t blocked, now;

	signal(SIGUSR1, SIG_IGN);
	signal(SIGRTMAX, SIG_IGN);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGRTMIN);
	cr_assert_eq(sigprocmask(SIG_SETMASK, &blocked, NULL), 0);
	cr_assert_str_eq(output_of(&spec), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\n");
	cr_assert_eq(sigprocmask(SIG_SETMASK, NULL, &now), 0);
	cr_assert(sigismember(&now, SIGTERM) == 1 && sigismember(&now, SIGRTMIN) == 1 && sigismember(&now, SIGINT) == 0,
		  "this process's own mask was changed");
}

Test(child, leads_a_session_of_its_own_in_the_root_folder, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" },
			 (char[]){ "read pid comm state ppid pgrp sid rest </proc/self/stat; pwd; echo $pid $pgrp $sid" },
			 NULL };
	struct child_spec spec = spec_of(argv);
	char expected[64];
	const char *out = output_of(&spec);

	snprintf(expected, sizeof(expected), "/\n%d %d %d\n", child.pid, child.pid, child.pid);
	cr_assert_str_eq(out, expected);
}

Test(child, gets_the_folder_and_environment_it_was_given_and_no_other, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/usr/bin/env" }, (char[]){ "-" }, (char[]){ "/bin/pwd" }, NULL };
	char *print[] = { (char[]){ "/usr/bin/env" }, NULL };
	struct child_spec spec = spec_of(argv);

	spec.cwd = "/usr";
	cr_assert_str_eq(output_of(&spec), "/usr\n");
	n_exits = 0;
	setenv("SECRET", "x", 1);
	spec = spec_of(print);
	cr_assert_str_eq(output_of(&spec), "PATH=/usr/bin:/bin\nLC_ALL=C\n");
}

Test(child, starts_with_the_descriptor_limit_of_the_start_or_its_own, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char[]){ "ulimit -Sn" }, NULL };
	struct child_spec spec = spec_of(argv);
	struct rlimit limit;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 300;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	fd_raise_limit();
	cr_assert_str_eq(output_of(&spec), "300\n");
	n_exits = 0;
	spec.nofile = 20;
	cr_assert_str_eq(output_of(&spec), "20\n");
}

Test(child, becomes_the_user_without_keeping_groups_of_ours, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/grep" }, (char[]){ "-E" }, (char[]){ "^([UG]id|Groups)" },
			 (char[]){ "/proc/self/status" }, NULL };
	struct child_spec spec = spec_of(argv);
	gid_t ours[] = { 4, 20 };

	if (geteuid() != 0)
		cr_skip_test("needs root");
	cr_assert_eq(setgroups(2, ours), 0);
	spec.uid = 65534;
	spec.gid = 65533;
	cr_assert_str_eq(output_of(&spec), "Uid:\t65534\t65534\t65534\t65534\nGid:\t65533\t65533\t65533\t65533\nGroups:\t \n");
	n_exits = 0;
	spec.user = "nobody";
	cr_assert_str_eq(output_of(&spec),
			 "Uid:\t65534\t65534\t65534\t65534\nGid:\t65533\t65533\t65533\t65533\nGroups:\t65533 \n");
}

/* ---- what it may still become ---- */

static struct child_spec nobody_spec(char *const *argv)
{
	struct child_spec spec = spec_of(argv);

	if (geteuid() != 0)
		cr_skip_test("needs root");
	spec.uid = 65534;
	spec.gid = 65534;
	return spec;
}

static char *const show_privileges[] = { (char[]){ "/bin/grep" }, (char[]){ "-E" }, (char[]){ "^(Cap|NoNew)" },
					 (char[]){ "/proc/self/status" }, NULL };

Test(child, can_be_kept_from_ever_having_more_rights, .init = setup, .fini = teardown)
{
	struct child_spec spec = nobody_spec(show_privileges);

	spec.dropped = (struct privileges){ .no_new = true, .bounded = true };
	cr_assert_str_eq(output_of(&spec), "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
					   "CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n");
}

static long session_keyring(void)
{
	return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
}

/* In a process of its own: there is no way back to the keyring that was left. */
Test(child, has_a_session_keyring_of_its_own)
{
	struct privileges privileges = { 0 };
	long ours = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);

	if (ours < 0)
		cr_skip_test("no keyrings here: %s", strerror(errno));
	cr_assert_eq(privileges_settle(&privileges), 0);
	cr_assert_eq(session_keyring(), ours);
	privileges.own_keyring = true;
	cr_assert_eq(privileges_settle(&privileges), 0);
	cr_assert_neq(session_keyring(), ours);
}

Test(child, keeps_the_capabilities_that_it_is_to_have_as_another_user, .init = setup, .fini = teardown)
{
	struct child_spec spec = nobody_spec(show_privileges);

	spec.dropped = (struct privileges){ .no_new = true, .bounded = true, .ambient = UINT64_C(1) << 10 };
	cr_assert_str_eq(output_of(&spec), "CapInh:\t0000000000000400\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\n"
					   "CapBnd:\t0000000000000000\nCapAmb:\t0000000000000400\nNoNewPrivs:\t1\n");
}

Test(child, keeps_the_rest_of_the_bounding_set, .init = setup, .fini = teardown)
{
	struct child_spec spec = nobody_spec(show_privileges);

	spec.dropped = (struct privileges){ .bounded = true, .must_bound = true, .bounding = 0x21 };
	cr_assert_not_null(strstr(output_of(&spec), "CapBnd:\t0000000000000021\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\n"));
}

Test(child, that_may_not_be_bounded_is_started_unless_that_was_asked_for, .init = setup, .fini = teardown)
{
	struct child_spec spec = spec_of(show_privileges);

	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		cr_skip_test("cannot be anybody else");
	spec.privileges = (struct privileges){ .no_new = true, .bounded = true };
	cr_assert_not_null(strstr(output_of(&spec), "NoNewPrivs:\t1\n"));
	spec.privileges.must_bound = true;
	cr_assert_eq(child_spawn(loop, &child, &spec, on_exit_count, &why), -EPERM);
	cr_assert_not_null(strstr(why.text, "limit capabilities"), "%s", why.text);
}

Test(child, knows_capabilities_by_their_names)
{
	cr_assert_eq(capability_number("CAP_CHOWN"), 0);
	cr_assert_eq(capability_number("CAP_NET_BIND_SERVICE"), 10);
	cr_assert_eq(capability_number("CAP_CHECKPOINT_RESTORE"), 40);
	cr_assert_eq(capability_number("CHOWN"), -1);
	cr_assert_eq(capability_number("CAP_"), -1);
}

static pid_t fork_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (;;)
			pause();
	}
	cr_assert_gt(pid, 0);
	return pid;
}

Test(child, adopts_a_process_that_is_already_ours, .init = setup, .fini = teardown)
{
	pid_t pid = fork_sleeper();

	cr_assert_eq(child_adopt(loop, &child, pid, on_exit_count, &why), 0, "%s", why.text);
	cr_assert_eq(child.pid, pid);
	cr_assert_eq(child_kill(&child, SIGKILL), 0);
	turn_until_exit();
	cr_assert_str_eq(described(), "was killed by SIGKILL");
}

Test(child, adopts_one_that_has_ended_and_still_tells, .init = setup, .fini = teardown)
{
	pid_t pid = fork_sleeper();
	siginfo_t info;

	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert_eq(child_adopt(loop, &child, pid, on_exit_count, &why), 0, "%s", why.text);
	turn_until_exit();
	cr_assert_str_eq(described(), "was killed by SIGKILL");
}

Test(child, does_not_adopt_what_is_not_ours, .init = setup, .fini = teardown)
{
	size_t before = count_open_fds();
	pid_t gone = fork_sleeper();

	kill(gone, SIGKILL);
	waitpid(gone, NULL, 0);
	cr_assert_eq(child_adopt(loop, &child, gone, on_exit_count, &why), -ESRCH);
	cr_assert_eq(child_adopt(loop, &child, getppid(), on_exit_count, &why), -ECHILD);
	cr_assert_not_null(strstr(why.text, "is not a child of this process"));
	cr_assert_eq(count_open_fds(), before);
	cr_assert_eq(child.pidfd, -1);
}

static void on_exit_unexpected(struct child *ended)
{
	cr_assert_fail("pid %d was moved away from here", ended->pid);
}

Test(child, is_watched_where_it_was_moved_to, .init = setup, .fini = teardown)
{
	char *argv[] = { (char[]){ "/bin/sleep" }, (char[]){ "1000" }, NULL };
	struct child_spec spec = spec_of(argv);
	struct child from;
	pid_t pid;

	child_init(&from);
	cr_assert_eq(child_spawn(loop, &from, &spec, on_exit_unexpected, &why), 0, "%s", why.text);
	pid = from.pid;
	cr_assert_eq(child_move(&from, &child, on_exit_count), 0);
	cr_assert_eq(from.pidfd, -1);
	cr_assert_null(from.source.loop);
	cr_assert_eq(child.pid, pid);
	cr_assert_eq(child_kill(&child, SIGKILL), 0);
	turn_until_exit();
	cr_assert_str_eq(described(), "was killed by SIGKILL");
}

/* ---- a copy of this process ---- */

static int kept;

static void wait_for_end(void *userdata)
{
	char byte;

	(void)!write(kept, userdata, 1);
	while (read(kept, &byte, 1) > 0)
		;
}

Test(child, that_is_a_copy_has_closed_all_but_what_it_keeps_when_the_call_returns, .init = setup, .fini = teardown)
{
	struct child_work work = { .run = wait_for_end, .userdata = "x", .background = true };
	int pair[2], other[2];
	char byte = 0;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(pipe2(other, O_CLOEXEC | O_NONBLOCK), 0);
	work.keep_fd = kept = pair[1];
	cr_assert_eq(child_fork(loop, &child, &work, on_exit_count, &why), 0, "%s", why.text);
	fd_close(pair[1]);
	fd_close(other[1]);
	cr_assert_eq(read(other[0], &byte, 1), 0, "the copy has this pipe's other end no more");
	cr_assert_eq(read(pair[0], &byte, 1), 1);
	cr_assert_eq(byte, 'x');
	cr_assert_eq(getsid(child.pid), child.pid);
	cr_assert_eq(getpriority(PRIO_PROCESS, (id_t)child.pid), 19);
	cr_assert_not(child.exited);
	fd_close(pair[0]);
	turn_until_exit();
	cr_assert_eq(child.status, 0, "%s", described());
	fd_close(other[0]);
}

static void do_nothing(void *userdata)
{
	(void)userdata;
}

Test(child, that_is_a_copy_keeps_no_descriptor_or_any_one, .init = setup, .fini = teardown)
{
	int keep[] = { -1, 0, STDERR_FILENO, fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 900) };

	for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); i++) {
		const struct child_work work = { .run = do_nothing, .keep_fd = keep[i] };

		n_exits = 0;
		cr_assert_eq(child_fork(loop, &child, &work, on_exit_count, &why), 0, "%s", why.text);
		turn_until_exit();
		cr_assert_eq(child.status, 0, "%s", described());
	}
	fd_close(keep[3]);
}

/* ---- a tracer ---- */

/* Holds @pid, also when it has ended, until it is killed itself. Return: its pid, once it holds it. */
static pid_t tracer_of(pid_t pid)
{
	int ready[2];
	char byte;
	pid_t tracer;

	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	tracer = fork();
	if (tracer == 0) {
		bool holds = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;

		if (holds && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	fd_close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	fd_close(ready[0]);
	return tracer;
}

Test(child, that_is_dead_and_held_by_a_tracer_costs_no_busy_loop, .init = setup, .fini = teardown)
{
	uint64_t until;
	unsigned turns = 0;
	pid_t tracer;

	start_script("exec sleep 1000");
	tracer = tracer_of(child.pid);
	cr_assert_eq(child_kill(&child, SIGKILL), 0);
	until = clock_now_us() + 300 * USEC_PER_MSEC;
	while (clock_now_us() < until) {
		cr_assert_eq(loop_turn(loop, 20), 0);
		turns++;
	}
	cr_assert_not(child.exited);
	cr_assert_lt(turns, 60, "%u turns in 300 ms", turns);
	kill(tracer, SIGKILL);
	cr_assert_eq(waitpid(tracer, NULL, 0), tracer);
	turn_until_exit();
	cr_assert_eq(WTERMSIG(child.status), SIGKILL);
}

Test(child, that_is_held_by_a_tracer_can_change_hands, .init = setup, .fini = teardown)
{
	struct child to;
	pid_t tracer;

	child_init(&to);
	start_script("exec sleep 1000");
	tracer = tracer_of(child.pid);
	cr_assert_eq(child_kill(&child, SIGKILL), 0);
	while (!child.again.loop)
		cr_assert_eq(loop_turn(loop, 20), 0);
	cr_assert_eq(child_move(&child, &to, on_exit_count), 0);
	cr_assert_null(child.again.loop);
	cr_assert_eq(loop_turn(loop, 20), 0);
	kill(tracer, SIGKILL);
	cr_assert_eq(waitpid(tracer, NULL, 0), tracer);
	while (!to.exited)
		cr_assert_eq(loop_turn(loop, -1), 0);
	cr_assert_eq(n_exits, 1);
}
