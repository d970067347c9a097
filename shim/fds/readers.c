/* SPDX-License-Identifier: MIT */
#include "shim/fds/readers.h"

#include "base/fd.h"
#include "base/why.h"
#include "shim/core/threads.h"
#include "shim/fds/table.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Calls that wait for something of their first argument, a descriptor, and take it. */
static const struct taking_call {
	long number;
	const char *name;
} calls[] = {
	{ SYS_read, "read" }, { SYS_readv, "readv" }, { SYS_recvfrom, "recv" }, { SYS_recvmsg, "recvmsg" },
	{ SYS_recvmmsg, "recvmmsg" }, { SYS_accept, "accept" }, { SYS_accept4, "accept4" },
};

/* How many links the folder of threads has: two, and one for each thread. That costs one call, however many threads there are. */
static size_t threads_there(void)
{
	struct stat st;

	return stat("/proc/self/task", &st) == 0 && st.st_nlink > 2 ? (size_t)st.st_nlink - 2 : 0;
}

/* Return: whether the library knows the thread, or it is the caller. */
static bool is_known(struct threads *threads, pid_t tid)
{
	bool known = tid == gettid();

	pthread_mutex_lock(&threads->lock);
	for (const struct upg_thread *t = threads->first; t && !known; t = t->next)
		known = t->tid == tid;
	pthread_mutex_unlock(&threads->lock);
	return known;
}

static size_t n_known(struct threads *threads)
{
	size_t n = 0;
	bool self = false;

	pthread_mutex_lock(&threads->lock);
	for (const struct upg_thread *t = threads->first; t; t = t->next, n++)
		self |= t->tid == gettid();
	pthread_mutex_unlock(&threads->lock);
	return n + !self;
}

static ssize_t read_text(int folder, const char *name, char *text, size_t size)
{
	FD_CLEANUP int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = 0;
	return n;
}

static bool is_registered(struct fd_table *fds, int fd)
{
	bool registered;

	pthread_mutex_lock(&fds->lock);
	registered = fd_table_at(fds, fd);
	pthread_mutex_unlock(&fds->lock);
	return registered;
}

static int check(struct fd_table *fds, int folder, const char *tid, struct why *why)
{
	char name[64], text[256], comm[32];
	unsigned long first;
	long number;

	snprintf(name, sizeof(name), "%.20s/syscall", tid);
	/* "running" has no number. */
	if (read_text(folder, name, text, sizeof(text)) <= 0 || sscanf(text, "%ld %lx", &number, &first) != 2)
		return 0;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (number != calls[i].number || !is_registered(fds, (int)first))
			continue;
		snprintf(name, sizeof(name), "%.20s/comm", tid);
		read_text(folder, name, comm, sizeof(comm));
		comm[strcspn(comm, "\n")] = 0;
		return why_set(why, -EBUSY,
			       "thread %s (tid %s), which is not registered, waits in %s() of the registered descriptor %d, and "
			       "would go on taking from it beside the next version (upg_thread_enter(); or OtherReaders=allow)",
			       comm, tid, calls[i].name, (int)first);
	}
	return 0;
}

int readers_check(struct threads *threads, struct fd_table *fds, struct why *why)
{
	struct dirent *entry;
	DIR *stream;
	int r = 0;

	if (threads_there() <= n_known(threads))
		return 0;
	stream = opendir("/proc/self/task");
	while (stream && r == 0 && (entry = readdir(stream)))
		if (isdigit((unsigned char)*entry->d_name) && !is_known(threads, (pid_t)atoi(entry->d_name)))
			r = check(fds, dirfd(stream), entry->d_name, why);
	if (stream)
		closedir(stream);
	return r;
}
