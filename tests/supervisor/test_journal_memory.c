/* SPDX-License-Identifier: MIT */
#include "base/fd.h"
#include "base/why.h"
#include "supervisor/custody/journal_memory.h"
#include "wire/journal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(journal_memory, .timeout = 20);

static struct why why;

Test(journal_memory, takes_no_memory_until_it_is_written_to)
{
	FD_CLEANUP int fd = -1;
	struct stat st;

	cr_assert_eq(journal_memory_create(JOURNAL_BYTES_DEFAULT, &fd, &why), 0, "%s", why.text);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_size, (off_t)JOURNAL_BYTES_DEFAULT);
	cr_assert_eq(st.st_blocks, 0);
}

Test(journal_memory, keeps_its_size_whoever_has_it)
{
	FD_CLEANUP int fd = -1;
	char *map;

	cr_assert_eq(journal_memory_create(JOURNAL_BYTES_MIN, &fd, &why), 0, "%s", why.text);
	cr_assert_lt(ftruncate(fd, 0), 0);
	cr_assert_eq(errno, EPERM);
	cr_assert_lt(ftruncate(fd, 1 << 20), 0);
	cr_assert_eq(errno, EPERM);
	cr_assert_lt(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	cr_assert_eq(errno, EPERM);
	map = mmap(NULL, JOURNAL_BYTES_MIN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(map, MAP_FAILED);
	map[JOURNAL_BYTES_MIN - 1] = 'x';
	munmap(map, JOURNAL_BYTES_MIN);
}

Test(journal_memory, does_not_leak_into_programs)
{
	FD_CLEANUP int fd = -1;

	cr_assert_eq(journal_memory_create(JOURNAL_BYTES_MIN, &fd, &why), 0, "%s", why.text);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

Test(journal_memory, of_an_impossible_size_is_told)
{
	int fd = -1;

	cr_assert_lt(journal_memory_create(UINT64_MAX, &fd, &why), 0);
	cr_assert_eq(fd, -1);
	cr_assert_str_not_empty(why.text);
}
