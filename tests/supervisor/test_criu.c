/* SPDX-License-Identifier: MIT */
#include "supervisor/criu/criu.h"
#include "supervisor/criu/log.h"
#include "supervisor/machine/folder.h"
#include "supervisor/criu/probe.h"
#include "tests/supervisor/imaged.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

TestSuite(criu, .timeout = 120);

static struct loop *loop;
static struct criu_job job;
static char folder[64];
static bool done;
static int done_rc;
static struct why done_why;

static void on_done(struct criu_job *done_job, int rc, const struct why *why)
{
	cr_assert(done_job == &job);
	cr_assert(!done, "told twice");
	done = true;
	done_rc = rc;
	done_why = *why;
}

static void set_up(void)
{
	struct why why;

	cr_assert(loop_new(&loop, &why) == 0);
	criu_job_init(&job, NULL);
	folder_temporary(folder);
	done = false;
}

static void tear_down(void)
{
	struct why why;

	criu_job_done(&job);
	cr_assert(folder_remove(folder, &why) == 0, "%s", why.text);
	loop_free(loop);
}

static void dump(const struct imaged *imaged, bool leave_running)
{
	struct criu_dump_spec spec = { .criu_path = criu_path(), .images_dir = folder, .pid = imaged->pid,
				       .external_sockets = &imaged->control_inode, .n_external_sockets = 1,
				       .leave_running = leave_running, .timeout_us = WAIT_US };
	struct why why;

	done = false;
	cr_assert(criu_dump_start(loop, &job, &spec, on_done, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
}

static void restore(struct imaged *imaged)
{
	char keys[2][64];
	struct criu_inherit inherits[2];
	struct criu_restore_spec spec = { .criu_path = criu_path(), .images_dir = folder, .pid = imaged->pid,
					  .inherits = inherits, .n_inherits = 2, .timeout_us = WAIT_US };
	int control, output;
	struct why why;

	fd_close(imaged->control);
	fd_close(imaged->output);
	imaged_ends(imaged, &control, &output);
	snprintf(keys[0], sizeof(keys[0]), "socket:[%llu]", imaged->control_inode);
	snprintf(keys[1], sizeof(keys[1]), "pipe:[%llu]", imaged->output_inode);
	inherits[0] = (struct criu_inherit){ keys[0], control };
	inherits[1] = (struct criu_inherit){ keys[1], output };
	done = false;
	cr_assert(criu_restore_start(loop, &job, &spec, on_done, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
	fd_close(control);
	fd_close(output);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "we");

	cr_assert(file);
	fputs(text, file);
	fclose(file);
	cr_assert(chmod(path, mode) == 0);
}

Test(criu, tells_its_version, .init = set_up, .fini = tear_down)
{
	struct why why;

	cr_assert(criu_version_start(loop, &job, criu_path(), WAIT_US, on_done, &why) == 0, "%s", why.text);
	cr_assert(criu_job_busy(&job));
	UNTIL(loop, done);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(!criu_job_busy(&job));
	cr_assert(job.version[0] >= '3' && job.version[0] <= '9', "%s", job.version);
}

Test(criu, brings_a_process_back_with_its_pid_and_new_descriptors, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	int before = count_open_fds();
	struct why why;

	imaged_start_cat(loop, &imaged);
	dump(&imaged, false);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(job.target == CRIU_TARGET_GONE);
	UNTIL(loop, imaged.child.exited);

	restore(&imaged);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(job.restored_pid == imaged.pid);
	cr_assert(job.elapsed_us > 0);
	cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, &why) == 0, "%s", why.text);
	imaged_says(&imaged, 'z');

	child_kill(&imaged.child, SIGKILL);
	UNTIL(loop, imaged.child.exited);
	imaged_done(&imaged);
	cr_assert(count_open_fds() == before);
}

Test(criu, images_a_process_that_goes_on, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;

	imaged_start_cat(loop, &imaged);
	dump(&imaged, true);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(job.target == CRIU_TARGET_RUNNING);
	imaged_says(&imaged, 'b');
	imaged_done(&imaged); /* kills and reaps */

	restore(&imaged);
	cr_assert(done_rc == 0, "%s", done_why.text);
	cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
	imaged_says(&imaged, 'c');
	imaged_done(&imaged);
}

Test(criu, says_in_its_own_words_why_a_dump_failed_and_lets_the_process_go_on, .init = set_up, .fini = tear_down)
{
	char path[] = "/bin/cat";
	char *argv[] = { path, NULL };
	struct imaged imaged;
	int pair[2];

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	imaged_start(loop, &imaged, argv, pair[1]); /* its other end is here, and nobody said that this is well */
	dump(&imaged, false);
	cr_assert(done_rc == -EIO);
	cr_assert(strstr(done_why.text, "half of stream unix connection"), "%s", done_why.text);
	cr_assert(strstr(done_why.text, folder), "%s", done_why.text);
	cr_assert(strstr(done_why.text, "dump.log"), "%s", done_why.text);
	cr_assert(strstr(done_why.text, "goes on"), "%s", done_why.text);
	cr_assert(job.target == CRIU_TARGET_RUNNING);
	imaged_says(&imaged, 'b');
	imaged_done(&imaged);
	fd_close(pair[0]);
	fd_close(pair[1]);
}

Test(criu, says_that_a_process_is_gone, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;

	imaged_start_cat(loop, &imaged);
	imaged_done(&imaged);
	dump(&imaged, false);
	cr_assert(done_rc == -EIO);
	cr_assert(job.target == CRIU_TARGET_GONE);
	cr_assert(strstr(done_why.text, "has ended"), "%s", done_why.text);
}

Test(criu, refuses_to_restore_over_a_living_pid_and_leaves_it_alone, .init = set_up, .fini = tear_down)
{
	struct imaged imaged, copy;

	imaged_start_cat(loop, &imaged);
	dump(&imaged, true);
	cr_assert(done_rc == 0, "%s", done_why.text);
	copy = imaged;
	copy.control = copy.output = -1;
	copy.pid = 0; /* or the caller's own child would count as what the restore left */
	restore(&copy);
	cr_assert(done_rc == -EIO);
	cr_assert(strstr(done_why.text, "File exists") || strstr(done_why.text, "exist"), "%s", done_why.text);
	imaged_says(&imaged, 'b');
	fd_close(copy.control);
	fd_close(copy.output);
	imaged_done(&imaged);
}

Test(criu, leaves_nothing_of_a_restore_that_failed_half_way, .init = set_up, .fini = tear_down)
{
	char path[] = "/bin/cat";
	char file[128];
	char *argv[] = { path, NULL };
	struct imaged imaged;
	int fd;

	snprintf(file, sizeof(file), "%s/open-file", folder);
	write_file(file, "x", 0600);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	imaged_start(loop, &imaged, argv, fd);
	fd_close(fd);
	dump(&imaged, false);
	cr_assert(done_rc == 0, "%s", done_why.text);
	UNTIL(loop, imaged.child.exited);
	cr_assert(unlink(file) == 0); /* found out only when the process exists already and opens its files */
	restore(&imaged);
	cr_assert(done_rc == -EIO);
	cr_assert(strstr(done_why.text, "open-file"), "%s", done_why.text);
	cr_assert(job.restored_pid == 0);
	cr_assert(kill(imaged.pid, 0) < 0 && errno == ESRCH, "pid %d is still taken", (int)imaged.pid);

	write_file(file, "x", 0600);
	restore(&imaged);
	cr_assert(done_rc == 0, "a second attempt: %s", done_why.text);
	cr_assert(child_adopt(loop, &imaged.child, job.restored_pid, NULL, NULL) == 0);
	imaged_says(&imaged, 'd');
	imaged_done(&imaged);
}

Test(criu, is_killed_at_its_deadline_and_the_process_goes_on, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct criu_dump_spec spec = { .images_dir = folder, .timeout_us = 200 * USEC_PER_MSEC };
	char slow[128];
	struct why why;

	snprintf(slow, sizeof(slow), "%s/slow-criu", folder);
	/* Stops the process, as CRIU does, and then takes for ever. */
	write_file(slow, "#!/bin/sh\nkill -STOP $(cat ${0%/*}/pid)\nexec sleep 1000\n", 0700);
	imaged_start_cat(loop, &imaged);
	snprintf(slow, sizeof(slow), "%s/pid", folder);
	char number[16];
	snprintf(number, sizeof(number), "%d", (int)imaged.pid);
	write_file(slow, number, 0600);
	snprintf(slow, sizeof(slow), "%s/slow-criu", folder);
	spec.criu_path = slow;
	spec.pid = imaged.pid;
	cr_assert(criu_dump_start(loop, &job, &spec, on_done, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
	cr_assert(done_rc == -ETIMEDOUT);
	cr_assert(strstr(done_why.text, "0.2 s"), "%s", done_why.text);
	cr_assert(job.target == CRIU_TARGET_RUNNING, "%s", done_why.text);
	imaged_says(&imaged, 'e');
	imaged_done(&imaged);
}

/* Wherever in a dump the deadline strikes: what is said of the process is true, and nearly always it goes on. */
Test(criu, says_truly_what_became_of_a_process_whose_dump_was_stopped, .init = set_up, .fini = tear_down)
{
	unsigned ended = 0;

	for (uint64_t limit_us = 5 * USEC_PER_MSEC; limit_us <= 45 * USEC_PER_MSEC; limit_us += 5 * USEC_PER_MSEC) {
		struct imaged imaged;
		struct criu_dump_spec spec = { .criu_path = criu_path(), .images_dir = folder, .n_external_sockets = 1,
					       .leave_running = true, .timeout_us = limit_us };
		struct why why;

		imaged_start_cat(loop, &imaged);
		spec.pid = imaged.pid;
		spec.external_sockets = &imaged.control_inode;
		done = false;
		cr_assert(criu_dump_start(loop, &job, &spec, on_done, &why) == 0, "%s", why.text);
		UNTIL(loop, done);
		cr_assert(done_rc == 0 || done_rc == -ETIMEDOUT, "%s", done_why.text);
		if (job.target == CRIU_TARGET_GONE) {
			UNTIL(loop, imaged.child.exited);
			ended++;
		} else {
			cr_assert(job.target == CRIU_TARGET_RUNNING, "%s", done_why.text);
			imaged_says(&imaged, 'f');
		}
		imaged_done(&imaged);
	}
	cr_assert(ended <= 2);
}

Test(criu, reports_a_criu_that_ends_without_an_answer, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct criu_dump_spec spec = { .images_dir = folder, .timeout_us = WAIT_US };
	char broken[128];
	struct why why;

	snprintf(broken, sizeof(broken), "%s/broken-criu", folder);
	write_file(broken, "#!/bin/sh\necho some library is missing >&2\nexit 127\n", 0700);
	imaged_start_cat(loop, &imaged);
	spec.criu_path = broken;
	spec.pid = imaged.pid;
	cr_assert(criu_dump_start(loop, &job, &spec, on_done, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
	cr_assert(done_rc == -EIO);
	cr_assert(strstr(done_why.text, "some library is missing"), "%s", done_why.text);
	imaged_done(&imaged);
}

Test(criu, cannot_be_started_where_there_is_none, .init = set_up, .fini = tear_down)
{
	struct why why;

	cr_assert(criu_version_start(loop, &job, NULL, WAIT_US, on_done, &why) == -ENOENT);
	cr_assert(criu_version_start(loop, &job, "", WAIT_US, on_done, &why) == -ENOENT);
	cr_assert(strstr(why.text, "no criu"), "%s", why.text);
	cr_assert(criu_version_start(loop, &job, "no-such-criu", WAIT_US, on_done, &why) == -ENOENT);
	cr_assert(strstr(why.text, "PATH"), "%s", why.text);
	cr_assert(criu_version_start(loop, &job, "/nowhere/criu", WAIT_US, on_done, &why) == -ENOENT);
	cr_assert(!criu_job_busy(&job));
}

Test(criu, can_be_given_up_at_any_time, .init = set_up, .fini = tear_down)
{
	struct imaged imaged;
	struct criu_dump_spec spec = { .criu_path = criu_path(), .images_dir = folder, .n_external_sockets = 1,
				       .leave_running = true, .timeout_us = WAIT_US };
	int before;

	imaged_start_cat(loop, &imaged);
	before = count_open_fds();
	spec.pid = imaged.pid;
	spec.external_sockets = &imaged.control_inode;
	cr_assert(criu_dump_start(loop, &job, &spec, on_done, NULL) == 0);
	loop_turn(loop, 10);
	criu_job_done(&job);
	cr_assert(!done);
	cr_assert(count_open_fds() == before);
	imaged_says(&imaged, 'g');
	imaged_done(&imaged);
}

Test(criu, reason_skips_what_every_log_says, .init = set_up, .fini = tear_down)
{
	char path[128], reason[200];
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	snprintf(path, sizeof(path), "%s/dump.log", folder);
	write_file(path, "(00.000001) Version: 9\n"
			 "(00.000101) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
			 "(00.001000) Error (criu/util.c:2): exited, status=1\n"
			 "(00.002000)     12: Error (criu/files.c:20): Can't do this\n"
			 "(00.002100) Error (criu/cr-dump.c:30): So we give up\n"
			 "(00.002200) Error (criu/cr-dump.c:40): Dumping FAILED.\n", 0600);
	cr_assert_str_eq(criu_log_reason(dir, "dump.log", reason, sizeof(reason)), "Can't do this; So we give up");
	cr_assert_str_eq(criu_log_reason(dir, "nothing.log", reason, sizeof(reason)), "");
	cr_assert_str_eq(criu_log_reason(dir, "dump.log", reason, 5), "Can'");
	fd_close(dir);
}

/* ---- where it is ---- */

static void program_at(char *path, size_t size, const char *name, mode_t mode)
{
	snprintf(path, size, "%s/%s", folder, name);
	write_file(path, "#!/bin/sh\n", mode);
	cr_assert(chmod(path, mode) == 0);
}

Test(criu, that_was_brought_is_found_first, .init = set_up, .fini = tear_down)
{
	char first[128], second[128], found[128] = "";
	const char *list[] = { first, second, NULL };
	struct why why;

	snprintf(first, sizeof(first), "%s/first", folder);
	snprintf(second, sizeof(second), "%s/second", folder);
	cr_assert(criu_find_among(list, found, sizeof(found), &why) == -ENOENT);
	program_at(second, sizeof(second), "second", 0755);
	cr_assert(criu_find_among(list, found, sizeof(found), &why) == 0, "%s", why.text);
	cr_assert_str_eq(found, second);
	program_at(first, sizeof(first), "first", 0644);
	cr_assert(criu_find_among(list, found, sizeof(found), &why) == 0, "what cannot be executed is none: %s", why.text);
	cr_assert_str_eq(found, second);
	program_at(first, sizeof(first), "first", 0755);
	cr_assert(criu_find_among(list, found, sizeof(found), &why) == 0, "%s", why.text);
	cr_assert_str_eq(found, first);
}

Test(criu, that_others_can_write_is_refused_and_not_passed_over, .init = set_up, .fini = tear_down)
{
	char first[128], second[128], found[128] = "";
	const char *list[] = { first, second, NULL };
	struct why why;

	program_at(first, sizeof(first), "first", 0757);
	program_at(second, sizeof(second), "second", 0755);
	cr_assert(criu_find_among(list, found, sizeof(found), &why) == -EPERM);
	cr_assert(strstr(why.text, first) && strstr(why.text, "chmod"), "%s", why.text);
	cr_assert_str_empty(found);
}

/* ---- the probe ---- */

static bool probe_ok;

static void on_probed(struct probe *probe, bool ok, const struct why *detail)
{
	(void)probe;
	done = true;
	probe_ok = ok;
	done_why = *detail;
}

Test(criu, probe_finds_that_it_works_and_leaves_nothing, .init = set_up, .fini = tear_down)
{
	struct probe probe;
	int before = count_open_fds();
	struct why why;

	probe_init(&probe, NULL);
	cr_assert(probe_start(loop, &probe, criu_path(), folder, on_probed, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
	cr_assert(probe_ok, "%s", done_why.text);
	cr_assert(strstr(done_why.text, probe.criu_version) && strstr(done_why.text, " ms"), "%s", done_why.text);
	fprintf(stderr, "%s\n", done_why.text);
	cr_assert(count_open_fds() == before);
	cr_assert(rmdir(folder) == 0, "the probe left files");
}

Test(criu, probe_names_the_step_that_failed, .init = set_up, .fini = tear_down)
{
	char wrapper[128], script[512];
	struct probe probe;
	struct why why;

	/* A CRIU that restores nothing: the third time it is run, it says no. */
	snprintf(wrapper, sizeof(wrapper), "%s/criu-twice", folder);
	snprintf(script, sizeof(script),
		 "#!/bin/sh\necho . >>%s/runs\n[ $(wc -l <%s/runs) -lt 3 ] || { echo not today >&2; exit 1; }\nexec %s \"$@\"\n",
		 folder, folder, criu_path());
	write_file(wrapper, script, 0700);
	probe_init(&probe, NULL);
	cr_assert(probe_start(loop, &probe, wrapper, folder, on_probed, &why) == 0, "%s", why.text);
	UNTIL(loop, done);
	cr_assert(!probe_ok);
	cr_assert(strstr(done_why.text, "restoring it") && strstr(done_why.text, "not today"), "%s", done_why.text);
	cr_assert(!strstr(done_why.text, "log:"), "%s", done_why.text);
}
