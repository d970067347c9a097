/* SPDX-License-Identifier: MIT */
#include "supervisor/image/checksum_job.h"
#include "supervisor/machine/folder.h"
#include "tests/supervisor/imaged.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

TestSuite(checksum, .timeout = 60);

static struct loop *loop;
static struct checksum_job job;
static char root[64];
static bool done;
static int done_rc;
static struct why done_why;

static void on_done(struct checksum_job *done_job, int rc, const struct why *why)
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
	checksum_job_init(&job, NULL);
	folder_temporary(root);
	done = false;
}

static void tear_down(void)
{
	checksum_job_done(&job);
	cr_assert(folder_remove(root, NULL) == 0);
	loop_free(loop);
}

static void file_make(const char *name, const void *data, size_t size)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	fd_close(fd);
}

static void start(const char *const *names, size_t n, uint64_t timeout_us)
{
	struct checksum_spec spec = { .dir = root, .names = names, .n = n, .timeout_us = timeout_us };
	struct why why;

	cr_assert(checksum_start(loop, &job, &spec, on_done, &why) == 0, "%s", why.text);
	cr_assert(checksum_job_busy(&job));
}

Test(checksum, of_files_is_that_of_their_bytes, .init = set_up, .fini = tear_down)
{
	static const char *const names[] = { "a", "missing", "empty", "large" };
	static uint8_t large[700001];
	struct checksum sum;

	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i * 7 >> 3);
	file_make("a", "hello", 5);
	file_make("empty", "", 0);
	file_make("large", large, sizeof(large));
	start(names, 4, WAIT_US);
	UNTIL(loop, done);
	cr_assert(done_rc == 0 && job.n == 4, "%s", done_why.text);
	sum = checksum_data("hello", 5);
	cr_assert(job.entries[0].rc == 0 && job.entries[0].size_bytes == 5 && !memcmp(&job.entries[0].sum, &sum, sizeof(sum)));
	cr_assert(job.entries[1].rc == -ENOENT);
	sum = checksum_data("", 0);
	cr_assert(job.entries[2].rc == 0 && job.entries[2].size_bytes == 0 && !memcmp(&job.entries[2].sum, &sum, sizeof(sum)));
	sum = checksum_data(large, sizeof(large));
	cr_assert(job.entries[3].size_bytes == sizeof(large) && !memcmp(&job.entries[3].sum, &sum, sizeof(sum)));
}

/* XXH3-128 of nothing, and of one byte: what every other implementation says. */
Test(checksum, is_xxh3)
{
	struct checksum sum = checksum_data("", 0), back;
	char text[CHECKSUM_TEXT];

	cr_assert_str_eq(checksum_text(&sum, text), "99aa06d3014798d86001c324468d497f");
	cr_assert(checksum_parse(text, &back) == 0 && memcmp(&sum, &back, sizeof(sum)) == 0);
	cr_assert(checksum_parse("99aa06d3014798d86001c324468d497", &back) < 0);
	cr_assert(checksum_parse("99aa06d3014798d86001c324468d497ff", &back) < 0);
	cr_assert(checksum_parse("99AA06d3014798d86001c324468d497f", &back) < 0);
}

Test(checksum, waits_for_no_fifo_and_follows_no_link, .init = set_up, .fini = tear_down)
{
	static const char *const names[] = { "fifo", "link", "folder" };
	char path[128];

	snprintf(path, sizeof(path), "%s/fifo", root);
	cr_assert(mkfifo(path, 0600) == 0);
	snprintf(path, sizeof(path), "%s/link", root);
	cr_assert(symlink("/etc/passwd", path) == 0);
	snprintf(path, sizeof(path), "%s/folder", root);
	cr_assert(mkdir(path, 0700) == 0);
	start(names, 3, WAIT_US);
	UNTIL(loop, done);
	cr_assert(done_rc == 0);
	for (size_t i = 0; i < 3; i++)
		cr_assert(job.entries[i].rc < 0, "%s", names[i]);
}

static void make_endless(void)
{
	char path[128];

	/* So large that no machine reads it while this test runs. */
	snprintf(path, sizeof(path), "%s/endless", root);
	file_make("endless", "x", 1);
	cr_assert(truncate(path, (off_t)1 << 42) == 0);
}

Test(checksum, has_a_deadline, .init = set_up, .fini = tear_down)
{
	static const char *const names[] = { "endless", "endless" };

	make_endless();
	start(names, 2, 50 * USEC_PER_MSEC);
	UNTIL(loop, done);
	cr_assert(done_rc == -ETIMEDOUT, "%s", done_why.text);
	cr_assert(job.entries[1].rc == -EINPROGRESS);
}

Test(checksum, whose_process_is_killed_says_so, .init = set_up, .fini = tear_down)
{
	static const char *const names[] = { "endless" };

	make_endless();
	start(names, 1, WAIT_US);
	cr_assert(kill(job.child.pid, SIGKILL) == 0);
	UNTIL(loop, done);
	cr_assert(done_rc == -EIO && strstr(done_why.text, "SIGKILL"), "%s", done_why.text);
}

Test(checksum, given_up_leaves_no_process, .init = set_up, .fini = tear_down)
{
	static const char *const names[] = { "endless" };
	int before = count_open_fds();
	siginfo_t info;

	make_endless();
	start(names, 1, WAIT_US);
	checksum_job_done(&job);
	cr_assert(!checksum_job_busy(&job) && !done);
	cr_assert(waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 && errno == ECHILD);
	cr_assert(count_open_fds() == before);
}

/* A peer sees the end of a connection when this process closes it, whatever is being summed up. */
Test(checksum, holds_nobodys_descriptors, .init = set_up, .fini = tear_down)
{
	static const char *const names[] = { "endless" };
	char byte;
	int pair[2];

	make_endless();
	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	start(names, 1, WAIT_US);
	fd_close(pair[0]);
	cr_assert(read(pair[1], &byte, 1) == 0);
	fd_close(pair[1]);
}
