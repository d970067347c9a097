/* SPDX-License-Identifier: MIT */
/* What goes to the log meanwhile, for a test to read. */
#pragma once

#include "base/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int logged_to = -1, logged_before = -1;
static char *logged_text;

static inline void log_catch(void)
{
	unsetenv("JOURNAL_STREAM");
	logged_to = memfd_create("log", MFD_CLOEXEC);
	logged_before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	cr_assert_geq(logged_to, 0);
	cr_assert_geq(dup2(logged_to, STDERR_FILENO), 0);
}

static inline void log_release(void)
{
	dup2(logged_before, STDERR_FILENO);
	logged_before = fd_close(logged_before);
	logged_to = fd_close(logged_to);
	free(logged_text);
	logged_text = NULL;
}

/* All of it so far; valid until the next call. */
static inline const char *log_caught(void)
{
	struct stat st;
	ssize_t n;

	cr_assert_eq(fstat(logged_to, &st), 0);
	free(logged_text);
	logged_text = malloc((size_t)st.st_size + 1);
	cr_assert_not_null(logged_text);
	n = pread(logged_to, logged_text, (size_t)st.st_size, 0);
	logged_text[n > 0 ? n : 0] = '\0';
	return logged_text;
}

static inline unsigned log_times(const char *words)
{
	unsigned n = 0;

	for (const char *at = log_caught(); (at = strstr(at, words)) != NULL; at++)
		n++;
	return n;
}
