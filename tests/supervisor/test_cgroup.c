/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/cgroup.h"
#include "supervisor/machine/folder.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (1ull << 20)

TestSuite(cgroup, .timeout = 30);

static char root[64];

static void set_up(void)
{
	strcpy(root, "/tmp/upg-test.XXXXXX");
	cr_assert(mkdtemp(root));
}

static void tear_down(void)
{
	cr_assert(folder_remove(root, NULL) == 0);
}

static void write_file(const char *group, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s%s", root, group);
	cr_assert(folder_make(path, NULL) == 0);
	snprintf(path, sizeof(path), "%s%s/%s", root, group, name);
	file = fopen(path, "we");
	cr_assert(file && fputs(text, file) >= 0);
	fclose(file);
}

static void group2(const char *group, const char *max, const char *high, const char *current, const char *cached)
{
	char stat[128];

	write_file(group, "memory.max", max);
	write_file(group, "memory.high", high);
	write_file(group, "memory.current", current);
	snprintf(stat, sizeof(stat), "anon 5\ninactive_file %s\nactive_file 7\n", cached);
	write_file(group, "memory.stat", stat);
}

Test(cgroup, with_the_least_room_decides_and_not_the_one_with_the_smallest_limit, .init = set_up, .fini = tear_down)
{
	struct cgroup_memory found;

	group2("/a", "209715200\n", "max\n", "199229440\n", "0"); /* 200 MiB, 10 free */
	group2("/a/b", "104857600\n", "max\n", "52428800\n", "0"); /* 100 MiB, 50 free */
	cr_assert(cgroup_memory_at(root, "/a/b", 2, &found) == 0);
	cr_assert(found.limit_bytes == 200 * MIB && found.free_bytes == 10 * MIB && found.used_bytes == 190 * MIB);
	cr_assert_str_eq(found.file, "memory.max");
	cr_assert(strlen(found.path) == strlen(root) + 2);
	/* The root of the hierarchy has no such files. */
	cr_assert(cgroup_memory_at(root, "/", 2, &found) == -ENODATA);
}

Test(cgroup, counts_cached_files_as_free_and_the_lower_of_two_limits, .init = set_up, .fini = tear_down)
{
	struct cgroup_memory found;

	group2("/a", "209715200\n", "104857600\n", "94371840\n", "41943040"); /* 100 MiB high; 90 used, of which 40 cached */
	cr_assert(cgroup_memory_at(root, "/a", 2, &found) == 0);
	cr_assert_str_eq(found.file, "memory.high");
	cr_assert(found.used_bytes == 50 * MIB && found.free_bytes == 50 * MIB);
	group2("/a", "max\n", "max\n", "94371840\n", "0");
	cr_assert(cgroup_memory_at(root, "/a", 2, &found) == -ENODATA);
	group2("/a", "1048576\n", "max\n", "94371840\n", "0");
	cr_assert(cgroup_memory_at(root, "/a", 2, &found) == 0 && found.free_bytes == 0, "more is used than is allowed");
}

Test(cgroup, of_version_1_is_understood, .init = set_up, .fini = tear_down)
{
	struct cgroup_memory found;

	write_file("/a", "memory.limit_in_bytes", "125829120\n");
	write_file("/a", "memory.usage_in_bytes", "83886080\n");
	write_file("/a", "memory.stat", "inactive_file 1\ntotal_inactive_file 20971520\n");
	write_file("/a/b", "memory.limit_in_bytes", "9223372036854771712\n");
	write_file("/a/b", "memory.usage_in_bytes", "83886080\n");
	cr_assert(cgroup_memory_at(root, "/a/b", 1, &found) == 0);
	cr_assert(found.limit_bytes == 120 * MIB && found.used_bytes == 60 * MIB && found.free_bytes == 60 * MIB);
	cr_assert_str_eq(found.file, "memory.limit_in_bytes");
}

Test(cgroup, whose_path_is_not_below_the_mount_is_the_mount_itself, .init = set_up, .fini = tear_down)
{
	struct cgroup_memory found;

	group2("", "104857600\n", "max\n", "52428800\n", "0");
	cr_assert(cgroup_memory_at(root, "/docker/0123", 2, &found) == 0 && found.free_bytes == 50 * MIB);
	cr_assert_str_eq(found.path, root);
}

Test(cgroup, of_a_process_that_is_not_there_is_not_known)
{
	struct cgroup_memory found;

	cr_assert(cgroup_memory(0x7ffffff0, &found) == -ENODATA);
}

Test(cgroup, that_waits_for_memory_the_most_decides, .init = set_up, .fini = tear_down)
{
	struct cgroup_stalled found;

	cr_assert(cgroup_stalled_at(root, "/a/b", &found) == -ENODATA);
	write_file("/a/b", "memory.pressure", "some avg10=3.99 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n");
	write_file("/a", "memory.pressure", "some avg10=57.20 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n");
	write_file("", "memory.pressure", "some avg10=9.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n");
	cr_assert(cgroup_stalled_at(root, "/a/b", &found) == 0 && found.percent == 57);
	cr_assert(strlen(found.path) == strlen(root) + 2);
}
