/* SPDX-License-Identifier: MIT */
/* Preloaded into upgraded: whoever opens the FIFO of the environment's UPG_HEAP reads how many bytes its allocator has given out.
 * What a process takes of the machine says little about that: an allocator keeps memory, in an order of its own. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A sanitizer has an allocator of its own. */
static size_t bytes_given_out(void)
{
	void *symbol = dlsym(RTLD_DEFAULT, "__sanitizer_get_current_allocated_bytes");
	size_t (*sanitized)(void);
	struct mallinfo2 info;

	memcpy(&sanitized, &symbol, sizeof(sanitized)); /* ISO C has no cast for it, and POSIX says that it is one */
	if (sanitized)
		return sanitized();
	info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

static void *tell(void *path)
{
	for (;;) {
		int fd = open(path, O_WRONLY | O_CLOEXEC); /* until somebody reads */

		if (fd < 0 && errno != EINTR)
			return NULL;
		if (fd < 0)
			continue;
		dprintf(fd, "%zu\n", bytes_given_out());
		close(fd);
	}
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("UPG_HEAP");
	sigset_t all, before;
	pthread_t thread;

	/* Of what upgraded starts, nobody is asked. */
	if (!path || strcmp(program_invocation_short_name, "upgraded") != 0)
		return;
	path = strdup(path);
	unsetenv("LD_PRELOAD");
	unsetenv("UPG_HEAP");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (path && pthread_create(&thread, NULL, tell, (void *)(size_t)path) == 0)
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
