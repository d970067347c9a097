/* SPDX-License-Identifier: MIT */
#include "supervisor/image/store.h"

#include "base/clock.h"
#include "base/fd.h"
#include "supervisor/image/manifest.h"
#include "supervisor/image/removal.h"
#include "supervisor/machine/folder.h"
#include "tests/supervisor/imaged.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

TestSuite(image_store, .timeout = 60);

#define DAY_S 86400
#define NOW_S 1000000000

static char root[64];

static void set_up(void)
{
	folder_temporary(root);
}

static void tear_down(void)
{
	cr_assert(folder_remove(root, NULL) == 0);
}

static bool exists(const char *service, uint64_t generation)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s/%llu", root, service, (unsigned long long)generation);
	return lstat(path, &st) == 0;
}

/* A whole image as far as the store looks: its manifest, and a file of @size bytes. */
static void image_make(const char *service, uint64_t generation, const char *version, int64_t taken_at_s, uint64_t size)
{
	char folder[256], path[300];
	struct image_file file = { .name = (char *)(uintptr_t)"pages-1.img", .size_bytes = size };
	struct image_pin pin = { .kind = PIN_EXE, .path = (char *)(uintptr_t)"/bin/true" };
	struct image image = { .service = (char *)(uintptr_t)service, .version = (char *)(uintptr_t)version, .pid = 5,
			       .generation = generation, .taken_at_s = taken_at_s, .size_bytes = size, .files = &file,
			       .n_files = 1, .pins = { .pins = &pin, .n = 1 } };
	struct why why;
	int fd;

	snprintf(folder, sizeof(folder), "%s/%s/%llu", root, service, (unsigned long long)generation);
	cr_assert(folder_make(folder, NULL) == 0);
	cr_assert(image_manifest_write(folder, &image, &why) == 0, "%s", why.text);
	snprintf(path, sizeof(path), "%s/pages-1.img", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	fd_close(fd);
}

static void manifest_break(const char *service, uint64_t generation)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/%llu/manifest", root, service, (unsigned long long)generation);
	cr_assert(truncate(path, 20) == 0);
}

Test(image_store, lists_by_service_and_the_newest_first, .init = set_up, .fini = tear_down)
{
	struct image_list list;
	struct why why;
	char path[256];

	image_make("web", 9, "v1", NOW_S, 1);
	image_make("web", 10, "v2", NOW_S, 1);
	image_make("cached", 11, "v3", NOW_S, 1);
	snprintf(path, sizeof(path), "%s/web/12.tmp", root);
	cr_assert(folder_make(path, NULL) == 0);
	snprintf(path, sizeof(path), "%s/web/013", root);
	cr_assert(folder_make(path, NULL) == 0);
	cr_assert(image_store_list(root, NULL, &list, &why) == 0, "%s", why.text);
	cr_assert(list.n == 3, "%zu", list.n);
	cr_assert_str_eq(list.entries[0].service, "cached");
	cr_assert(list.entries[1].generation == 10 && list.entries[2].generation == 9);
	cr_assert_str_eq(list.entries[1].image->version, "v2");
	image_list_done(&list);
	cr_assert(image_store_list(root, "cached", &list, &why) == 0 && list.n == 1);
	image_list_done(&list);
	cr_assert(image_store_list(root, "none", &list, &why) == 0 && list.n == 0);
	image_list_done(&list);
}

Test(image_store, lists_what_cannot_be_used_with_the_reason, .init = set_up, .fini = tear_down)
{
	struct image_list list;
	struct why why;

	image_make("web", 9, "v1", NOW_S, 4);
	image_make("web", 10, "v2", NOW_S, 4);
	manifest_break("web", 10);
	cr_assert(image_store_list(root, "web", &list, &why) == 0 && list.n == 2);
	cr_assert(!list.entries[0].image && strstr(list.entries[0].why.text, "its end is missing"), "%s", list.entries[0].why.text);
	cr_assert(list.entries[0].size_bytes == 24 && list.entries[0].taken_at_s > NOW_S);
	cr_assert(list.entries[1].image && list.entries[1].generation == 9);
	image_list_done(&list);
}

/* ---- the limits ---- */

static void judge(const struct image_limits *limits, uint64_t in_use, const enum image_verdict *expected, size_t n)
{
	struct image_set busy = { .n = 0 };
	struct image_list list;

	image_set_add(&busy, in_use);
	cr_assert(image_store_list(root, "web", &list, NULL) == 0 && list.n == n);
	image_store_judge(&list, limits, &busy, NOW_S);
	for (size_t i = 0; i < n; i++)
		cr_assert(list.entries[i].verdict == expected[i], "generation %llu: %s",
			  (unsigned long long)list.entries[i].generation, image_verdict_name(list.entries[i].verdict));
	image_list_done(&list);
}

#define JUDGE(limits, busy, ...) \
	judge(&(struct image_limits)limits, busy, (enum image_verdict[]){ __VA_ARGS__ }, \
	      sizeof((enum image_verdict[]){ __VA_ARGS__ }) / sizeof(enum image_verdict))
#define LIMITS(...) { __VA_ARGS__ }

Test(image_store, keeps_the_newest, .init = set_up, .fini = tear_down)
{
	for (uint64_t i = 1; i <= 4; i++)
		image_make("web", i, "v", NOW_S, 10);
	JUDGE(LIMITS(.keep = 2), 0, IMAGE_STAYS, IMAGE_STAYS, IMAGE_TOO_MANY, IMAGE_TOO_MANY);
	JUDGE(LIMITS(.keep = 0), 0, IMAGE_TOO_MANY, IMAGE_TOO_MANY, IMAGE_TOO_MANY, IMAGE_TOO_MANY);
	JUDGE(LIMITS(.keep = 9), 0, IMAGE_STAYS, IMAGE_STAYS, IMAGE_STAYS, IMAGE_STAYS);
}

Test(image_store, takes_nothing_that_is_in_use_and_gives_it_no_place, .init = set_up, .fini = tear_down)
{
	for (uint64_t i = 1; i <= 3; i++)
		image_make("web", i, "v", NOW_S - 10 * DAY_S, 10);
	JUDGE(LIMITS(.keep = 1), 3, IMAGE_IN_USE, IMAGE_STAYS, IMAGE_TOO_MANY);
	JUDGE(LIMITS(.keep = 1), 1, IMAGE_STAYS, IMAGE_TOO_MANY, IMAGE_IN_USE);
	JUDGE(LIMITS(.keep = 3, .max_age_us = DAY_S * USEC_PER_SEC, .max_size_bytes = 1), 2, IMAGE_TOO_OLD, IMAGE_IN_USE,
	      IMAGE_TOO_OLD);
}

Test(image_store, takes_what_is_too_old, .init = set_up, .fini = tear_down)
{
	image_make("web", 1, "v", NOW_S - 8 * DAY_S, 10);
	image_make("web", 2, "v", NOW_S - 7 * DAY_S, 10);
	image_make("web", 3, "v", NOW_S + DAY_S, 10); /* the clock was set back */
	JUDGE(LIMITS(.keep = 9, .max_age_us = 7 * DAY_S * USEC_PER_SEC), 0, IMAGE_STAYS, IMAGE_STAYS, IMAGE_TOO_OLD);
	JUDGE(LIMITS(.keep = 9), 0, IMAGE_STAYS, IMAGE_STAYS, IMAGE_STAYS);
}

Test(image_store, counts_sizes_from_the_newest, .init = set_up, .fini = tear_down)
{
	image_make("web", 1, "v", NOW_S, 10);
	image_make("web", 2, "v", NOW_S, 50);
	image_make("web", 3, "v", NOW_S, 20);
	JUDGE(LIMITS(.keep = 9, .max_size_bytes = 80), 0, IMAGE_STAYS, IMAGE_STAYS, IMAGE_STAYS);
	/* What goes leaves its place to a smaller one. */
	JUDGE(LIMITS(.keep = 9, .max_size_bytes = 60), 0, IMAGE_STAYS, IMAGE_TOO_LARGE, IMAGE_STAYS);
	JUDGE(LIMITS(.keep = 9, .max_size_bytes = 60), 2, IMAGE_STAYS, IMAGE_IN_USE,
	      IMAGE_TOO_LARGE);
}

Test(image_store, gives_no_place_to_what_cannot_be_used, .init = set_up, .fini = tear_down)
{
	image_make("web", 1, "v", NOW_S, 10);
	image_make("web", 2, "v", NOW_S, 10);
	manifest_break("web", 2);
	JUDGE(LIMITS(.keep = 1), 0, IMAGE_STAYS, IMAGE_STAYS);
}

Test(image_store, knows_the_images_that_are_in_use)
{
	struct image_set set = { .n = 0 };

	cr_assert_not(image_set_has(&set, 0));
	image_set_add(&set, 0);
	cr_assert_eq(set.n, 0);
	for (uint64_t generation = 1; generation <= IMAGE_SET_MAX; generation++)
		image_set_add(&set, generation);
	image_set_add(&set, 1);
	cr_assert(image_set_has(&set, 1) && image_set_has(&set, IMAGE_SET_MAX));
	cr_assert_not(image_set_has(&set, IMAGE_SET_MAX + 1));
}

Test(image_store, holds_every_image_in_use_when_there_are_too_many)
{
	struct image_set set = { .n = 0 };

	for (uint64_t generation = 1; generation <= IMAGE_SET_MAX + 1; generation++)
		image_set_add(&set, generation);
	cr_assert(image_set_has(&set, IMAGE_SET_MAX + 1));
	cr_assert(image_set_has(&set, 1000));
}

Test(image_store, keeps_what_it_was_told_to_keep, .init = set_up, .fini = tear_down)
{
	struct image_limits limits = { .keep = 0, .max_age_us = 1, .max_size_bytes = 1 };
	const struct image_set none = { .n = 0 };
	struct image_list list;
	struct image *image;
	struct why why;

	image_make("web", 1, "v", 5, 10);
	image_make("web", 2, "v", 5, 10);
	cr_assert(image_load(root, "web", 1, &image, &why) == 0);
	cr_assert(image_keep(image, "for\na reason", &why) == 0, "%s", why.text);
	image_free(image);
	cr_assert(image_store_gc(root, "web", &limits, &none, &list, &why) == 1);
	cr_assert(!exists("web", 2) && exists("web", 1));
	cr_assert(list.n == 2 && list.entries[0].removed && list.entries[1].verdict == IMAGE_KEPT);
	cr_assert_str_eq(list.entries[1].kept.text, "for");
	cr_assert(image_entry_remove(&list.entries[1], &why) == 0 && !exists("web", 1));
	image_list_done(&list);
}

Test(image_store, gc_removes_and_says_what, .init = set_up, .fini = tear_down)
{
	const struct image_set none = { .n = 0 }, third = { .generation = { 3 }, .n = 1 };
	struct image_limits limits = { .keep = 1 };
	struct image_list list;
	struct why why;

	image_make("web", 1, "v", NOW_S, 10);
	image_make("web", 2, "v", NOW_S, 10);
	image_make("web", 3, "v", NOW_S, 10);
	image_make("other", 1, "v", NOW_S, 10);
	cr_assert(image_store_gc(root, "web", &limits, &third, &list, &why) == 1, "%s", why.text);
	cr_assert(exists("web", 3) && exists("web", 2) && !exists("web", 1) && exists("other", 1));
	cr_assert(list.entries[2].removed && !list.entries[1].removed);
	image_list_done(&list);
	cr_assert(image_store_gc(root, "web", &limits, &none, NULL, &why) == 1);
	cr_assert(exists("web", 3) && !exists("web", 2));
	cr_assert(image_store_gc(root, "web", &limits, &none, NULL, &why) == 0);
	cr_assert(image_store_gc(root, "nobody", &limits, &none, NULL, &why) == 0);
}

Test(image_store, knows_the_newest_generation_of_all_services, .init = set_up, .fini = tear_down)
{
	char path[128];

	cr_assert_eq(image_store_newest(root), 0);
	image_make("web", 7, "v", NOW_S, 10);
	image_make("other", 1795905826549083, "v", NOW_S, 10);
	cr_assert_eq(image_store_newest(root), 1795905826549083);
	snprintf(path, sizeof(path), "%s/web/1795905826549090.tmp", root);
	cr_assert(folder_make(path, NULL) == 0);
	cr_assert_eq(image_store_newest(root), 1795905826549090, "a half image has had its generation, too");
	snprintf(path, sizeof(path), "%s/web/18446744073709551615", root);
	cr_assert(folder_make(path, NULL) == 0);
	cr_assert_eq(image_store_newest(root), 1795905826549090, "no generation is that high");
	cr_assert_eq(image_store_newest("/nonexistent"), 0);
}

static size_t entries_of(const char *service)
{
	char path[128];
	struct dirent *entry;
	size_t n = 0;
	DIR *stream;

	snprintf(path, sizeof(path), "%s/%s", root, service);
	stream = opendir(path);
	while (stream && (entry = readdir(stream)))
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	if (stream)
		closedir(stream);
	return n;
}

Test(image_store, removes_beside_the_loop, .init = set_up, .fini = tear_down)
{
	const struct image_set none = { .n = 0 };
	struct image_limits limits = { .keep = 1 };
	struct loop *loop;
	struct why why;
	char path[128];

	cr_assert(loop_new(&loop, &why) == 0);
	image_make("web", 1, "v", NOW_S, 10);
	image_make("web", 2, "v", NOW_S, 10);
	image_make("web", 3, "v", NOW_S, 10);
	snprintf(path, sizeof(path), "%s/web/.9.gone", root); /* of an earlier run, which was ended over it */
	cr_assert(folder_make(path, NULL) == 0);
	removal_begin(loop, root);
	UNTIL(loop, removal_is_over());
	cr_assert_eq(entries_of("web"), 3);
	cr_assert(image_store_gc(root, "web", &limits, &none, NULL, &why) == 2, "%s", why.text);
	cr_assert(exists("web", 3) && !exists("web", 2) && !exists("web", 1));
	UNTIL(loop, removal_is_over());
	cr_assert_eq(entries_of("web"), 1);
	/* Of the same name twice, before the child has come to it. */
	for (int i = 0; i < 3; i++) {
		image_make("web", 5, "v", NOW_S, 10);
		snprintf(path, sizeof(path), "%s/web/5", root);
		cr_assert(removal_of(path, &why) == 0, "%s", why.text);
		cr_assert(!exists("web", 5));
	}
	UNTIL(loop, removal_is_over());
	cr_assert_eq(entries_of("web"), 1);
	removal_end();
	loop_free(loop);
}

Test(image_store, a_folder_of_which_nothing_is_left_goes_at_the_start, .init = set_up, .fini = tear_down)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/web/9.tmp", root);
	cr_assert(folder_make(path, NULL) == 0);
	image_make("other", 1, "v", NOW_S, 10);
	cr_assert(image_gc_partial(root, NULL) == 1);
	snprintf(path, sizeof(path), "%s/web", root);
	cr_assert(lstat(path, &st) < 0 && errno == ENOENT && exists("other", 1));
}
