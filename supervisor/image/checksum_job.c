/* SPDX-License-Identifier: MIT */
/*
 * The entries lie in memory that parent and child share, so nothing has to be read from a pipe or parsed: the child fills the
 * entries in and ends. If it was killed, the entries that it had done are there, too.
 */
#include "supervisor/image/checksum_job.h"

#include "base/clock.h"
#include "base/fd.h"
#include "supervisor/process/graveyard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#define READ_BYTES (256u << 10)

const char *checksum_text(const struct checksum *sum, char buf[CHECKSUM_TEXT])
{
	for (size_t i = 0; i < CHECKSUM_BYTES; i++)
		snprintf(buf + 2 * i, CHECKSUM_TEXT - 2 * i, "%02x", sum->bytes[i]);
	return buf;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int checksum_parse(const char *text, struct checksum *ret)
{
	struct checksum sum;

	if (strlen(text) != CHECKSUM_TEXT - 1)
		return -EINVAL;
	for (size_t i = 0; i < CHECKSUM_BYTES; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		sum.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret = sum;
	return 0;
}

static struct checksum canonical(XXH128_hash_t hash)
{
	XXH128_canonical_t bytes;
	struct checksum sum;

	XXH128_canonicalFromHash(&bytes, hash);
	memcpy(sum.bytes, bytes.digest, sizeof(sum.bytes));
	return sum;
}

struct checksum checksum_data(const void *data, size_t size_bytes)
{
	return canonical(XXH3_128bits(data, size_bytes));
}

static int file_read(int fd, XXH3_state_t *state, uint64_t *ret_size_bytes)
{
	static uint8_t buffer[READ_BYTES]; /* one thread */
	uint64_t size = 0;
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		XXH3_128bits_update(state, buffer, (size_t)n);
		size += (uint64_t)n;
	}
	*ret_size_bytes = size;
	return 0;
}

int checksum_file(int dir, const char *name, struct checksum_entry *ret)
{
	/* O_NONBLOCK: not to hang on a FIFO that somebody put there. */
	FD_CLEANUP int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct checksum_entry entry = { .rc = fd < 0 ? -errno : 0 };
	XXH3_state_t *state = XXH3_createState();
	struct stat st;

	if (!state)
		entry.rc = -ENOMEM;
	if (entry.rc == 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
		entry.rc = -EINVAL;
	if (entry.rc == 0) {
		XXH3_128bits_reset(state);
		entry.rc = file_read(fd, state, &entry.size_bytes);
	}
	if (entry.rc == 0)
		entry.sum = canonical(XXH3_128bits_digest(state));
	XXH3_freeState(state);
	*ret = entry;
	return entry.rc;
}

/* ---- the child ---- */

struct sums {
	struct checksum_job *job;
	const struct checksum_spec *spec;
	int dir;
};

static void child_run(void *userdata)
{
	const struct sums *sums = userdata;

	for (size_t i = 0; i < sums->spec->n; i++)
		checksum_file(sums->dir, sums->spec->names[i], &sums->job->entries[i]);
}

/* ---- the parent ---- */

void checksum_job_init(struct checksum_job *job, void *owner)
{
	*job = (struct checksum_job){ .owner = owner };
	child_init(&job->child);
}

bool checksum_job_busy(const struct checksum_job *job)
{
	return job->on_done != NULL;
}

static void entries_free(struct checksum_job *job)
{
	if (job->entries)
		munmap(job->entries, job->mapped_bytes);
	job->entries = NULL;
	job->n = 0;
}

static void sums_on_exit(struct child *child)
{
	struct checksum_job *job = container_of(child, struct checksum_job, child);
	void (*on_done)(struct checksum_job *done, int rc, const struct why *why) = job->on_done;
	struct why why = { 0 };
	char how[64];
	int rc = 0;

	timer_disarm(&job->timer);
	if (job->timed_out)
		rc = why_set(&why, -ETIMEDOUT, "checksums not done after %.1f s", (double)job->limit_us / 1e6);
	else if (!WIFEXITED(child->status) || WEXITSTATUS(child->status) != 0)
		rc = why_set(&why, -EIO, "the process that makes checksums %s", child_describe(child, how, sizeof(how)));
	job->on_done = NULL;
	on_done(job, rc, &why); /* may start @job again, or free it */
}

static void on_deadline(struct timer *timer)
{
	struct checksum_job *job = container_of(timer, struct checksum_job, timer);

	job->timed_out = true;
	child_kill(&job->child, SIGKILL);
}

static int entries_make(struct checksum_job *job, size_t n, struct why *why)
{
	void *shared;

	entries_free(job);
	job->mapped_bytes = (n + 1) * sizeof(*job->entries);
	shared = mmap(NULL, job->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return why_errno(why, -errno, "memory for the checksums of %zu files", n);
	job->entries = shared;
	job->n = n;
	for (size_t i = 0; i < n; i++)
		job->entries[i].rc = -EINPROGRESS;
	return 0;
}

int checksum_start(struct loop *loop, struct checksum_job *job, const struct checksum_spec *spec,
		   void (*on_done)(struct checksum_job *job, int rc, const struct why *why), struct why *why)
{
	FD_CLEANUP int dir = open(spec->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct sums sums = { .job = job, .spec = spec, .dir = dir };
	const struct child_work work = { .run = child_run, .userdata = &sums, .keep_fd = dir, .background = spec->background };
	int r;

	if (checksum_job_busy(job))
		return why_set(why, -EBUSY, "checksums are being made already");
	if (dir < 0)
		return why_errno(why, -errno, "%s", spec->dir);
	r = entries_make(job, spec->n, why);
	if (r < 0)
		return r;
	r = child_fork(loop, &job->child, &work, sums_on_exit, why);
	if (r < 0) {
		entries_free(job);
		return why_prefix(why, r, "no process to make checksums of %s in", spec->dir);
	}
	job->loop = loop;
	job->timed_out = false;
	job->limit_us = spec->timeout_us;
	job->on_done = on_done;
	timer_arm(loop, &job->timer, clock_now_us() + spec->timeout_us, on_deadline);
	return 0;
}

void checksum_job_done(struct checksum_job *job)
{
	timer_disarm(&job->timer);
	if (job->graveyard && job->child.pidfd >= 0)
		graveyard_bury_child(job->graveyard, &job->child);
	child_done(&job->child);
	entries_free(job);
	job->on_done = NULL;
}
