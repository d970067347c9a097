/* SPDX-License-Identifier: MIT */
#include "supervisor/image/store.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "supervisor/image/dir.h"
#include "supervisor/machine/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* No clock is above it for a thousand years, and the commit word has no more room than 2^56. */
#define GENERATION_LIMIT (1ull << 55)
#define KEPT_NAME "kept" /* in an image's folder: the reason */

const char *image_verdict_name(enum image_verdict verdict)
{
	static const char *const names[] = {
		[IMAGE_STAYS] = "stays", [IMAGE_IN_USE] = "in use", [IMAGE_KEPT] = "kept",
		[IMAGE_TOO_MANY] = "more than ImagesKeep=", [IMAGE_TOO_OLD] = "older than ImagesMaxAge=",
		[IMAGE_TOO_LARGE] = "with the newer ones larger than ImagesMaxSize=",
	};

	return names[verdict];
}

/* ---- listing ---- */

static void entry_done(struct image_entry *entry)
{
	image_free(entry->image);
	free(entry->service);
	free(entry->path);
}

void image_list_done(struct image_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		entry_done(&list->entries[i]);
	free(list->entries);
	*list = (struct image_list){ 0 };
}

void image_list_only(struct image_list *list, size_t i)
{
	struct image_entry only = list->entries[i];

	for (size_t other = 0; other < list->n; other++)
		if (other != i)
			entry_done(&list->entries[other]);
	list->entries[0] = only;
	list->n = 1;
}

static void kept_read(struct image_entry *entry)
{
	char path[PATH_MAX];
	FD_CLEANUP int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/" KEPT_NAME, entry->path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return;
	n = read(fd, entry->kept.text, sizeof(entry->kept.text) - 1);
	entry->kept.text[n > 0 ? n : 0] = '\0';
	entry->kept.text[strcspn(entry->kept.text, "\n")] = '\0';
	if (!*entry->kept.text)
		why_set(&entry->kept, 0, "nobody wrote why");
}

/* An image that cannot be used is listed, too: it takes space, and somebody has to be told of it. */
static int entry_load(const char *root, struct image_entry *entry, struct why *why)
{
	struct stat st;

	if (asprintf(&entry->path, "%s/%s/%" PRIu64, root, entry->service, entry->generation) < 0) {
		entry->path = NULL;
		return why_errno(why, -ENOMEM, "images of %s", entry->service);
	}
	kept_read(entry);
	if (image_load(root, entry->service, entry->generation, &entry->image, &entry->why) == 0) {
		entry->taken_at_s = entry->image->taken_at_s;
		entry->size_bytes = entry->image->size_bytes;
		return 0;
	}
	entry->image = NULL;
	(void)folder_size(entry->path, &entry->size_bytes, NULL);
	entry->taken_at_s = stat(entry->path, &st) == 0 ? (int64_t)st.st_mtim.tv_sec : 0;
	return 0;
}

static int entry_add(const char *root, struct image_list *list, const char *service, uint64_t generation, struct why *why)
{
	struct image_entry *more = reallocarray(list->entries, list->n + 1, sizeof(*more));

	if (!more)
		return why_errno(why, -ENOMEM, "images of %s", service);
	list->entries = more;
	more[list->n] = (struct image_entry){ .service = strdup(service), .generation = generation };
	if (!more[list->n].service)
		return why_errno(why, -ENOMEM, "images of %s", service);
	return entry_load(root, &more[list->n++], why);
}

static int service_list(const char *root, const char *service, struct image_list *list, struct why *why)
{
	char path[PATH_MAX];
	struct dirent *entry;
	uint64_t generation;
	struct stat st;
	DIR *stream;
	int r = 0;

	snprintf(path, sizeof(path), "%s/%s", root, service);
	/* A symbolic link is not followed: what it points to is not ours. */
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	stream = opendir(path);
	if (!stream)
		return errno == ENOENT ? 0 : why_errno(why, -errno, "images of %s in %s", service, path);
	while (r == 0 && (entry = readdir(stream)))
		if (image_dir_is_generation(entry->d_name, &generation) &&
		    fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
			r = entry_add(root, list, service, generation, why);
	closedir(stream);
	return r;
}

static int entry_compare(const void *a, const void *b)
{
	const struct image_entry *one = a, *two = b;
	int order = strcmp(one->service, two->service);

	return order ? order : (one->generation < two->generation) - (one->generation > two->generation);
}

int image_store_list(const char *root, const char *service, struct image_list *ret, struct why *why)
{
	struct dirent *entry;
	DIR *stream;
	int r = 0;

	*ret = (struct image_list){ 0 };
	if (service) {
		r = service_list(root, service, ret, why);
	} else {
		stream = opendir(root);
		if (!stream)
			return errno == ENOENT ? 0 : why_errno(why, -errno, "folder of images %s", root);
		while (r == 0 && (entry = readdir(stream)))
			if (entry->d_name[0] != '.')
				r = service_list(root, entry->d_name, ret, why);
		closedir(stream);
	}
	if (ret->n)
		qsort(ret->entries, ret->n, sizeof(*ret->entries), entry_compare);
	return r;
}

static uint64_t newest_in(const char *folder)
{
	DIR *stream = opendir(folder);
	uint64_t newest = 0;
	struct dirent *entry;

	while (stream && (entry = readdir(stream))) {
		/* The number that begins the name, whatever comes after it. */
		uint64_t generation = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? strtoull(entry->d_name, NULL, 10) : 0;

		if (generation > newest && generation < GENERATION_LIMIT)
			newest = generation;
	}
	if (stream)
		closedir(stream);
	return newest;
}

uint64_t image_store_newest(const char *root)
{
	DIR *stream = opendir(root);
	uint64_t newest = 0, one;
	struct dirent *entry;
	char path[PATH_MAX];

	while (stream && (entry = readdir(stream))) {
		int n = snprintf(path, sizeof(path), "%s/%s", root, entry->d_name);

		if (entry->d_name[0] == '.' || n < 0 || (size_t)n >= sizeof(path))
			continue;
		one = newest_in(path);
		newest = one > newest ? one : newest;
	}
	if (stream)
		closedir(stream);
	return newest;
}

/* ---- the limits ---- */

void image_set_add(struct image_set *set, uint64_t generation)
{
	if (!generation || image_set_has(set, generation))
		return;
	/* Better an image too many than the one that a roll needs. */
	set->all = set->n == IMAGE_SET_MAX;
	if (!set->all)
		set->generation[set->n++] = generation;
}

bool image_set_has(const struct image_set *set, uint64_t generation)
{
	bool found = set->all;

	for (size_t i = 0; i < set->n && !found; i++)
		found = set->generation[i] == generation;
	return found;
}

void image_store_judge(struct image_list *list, const struct image_limits *limits, const struct image_set *busy, int64_t now_s)
{
	uint64_t size_bytes = 0;
	unsigned n = 0;

	for (size_t i = 0; i < list->n; i++) {
		struct image_entry *entry = &list->entries[i];
		/* An image from the future, as the clock was set back, is not old. */
		uint64_t age_s = now_s > entry->taken_at_s ? (uint64_t)now_s - (uint64_t)entry->taken_at_s : 0;

		size_bytes += entry->size_bytes;
		if (image_set_has(busy, entry->generation))
			entry->verdict = IMAGE_IN_USE;
		else if (*entry->kept.text)
			entry->verdict = IMAGE_KEPT;
		else if (limits->max_age_us && age_s > limits->max_age_us / USEC_PER_SEC)
			entry->verdict = IMAGE_TOO_OLD;
		else if (entry->image && n >= limits->keep)
			entry->verdict = IMAGE_TOO_MANY;
		else if (limits->max_size_bytes && size_bytes > limits->max_size_bytes)
			entry->verdict = IMAGE_TOO_LARGE;
		else
			entry->verdict = IMAGE_STAYS;
		/* An image that cannot be used does not count as one that stays. One that goes takes no space. */
		n += entry->verdict == IMAGE_STAYS && entry->image;
		if (entry->verdict >= IMAGE_TOO_MANY)
			size_bytes -= entry->size_bytes;
	}
}

int image_entry_remove(struct image_entry *entry, struct why *why)
{
	int r = image_dir_drop(entry->path, why);

	entry->removed = r == 0;
	return r;
}

int image_store_gc(const char *root, const char *service, const struct image_limits *limits, const struct image_set *busy,
		   struct image_list *ret, struct why *why)
{
	struct image_list list;
	int r = image_store_list(root, service, &list, why), n = 0;

	image_store_judge(&list, limits, busy, (int64_t)time(NULL));
	for (size_t i = list.n; r == 0 && i > 0; i--) {
		struct image_entry *entry = &list.entries[i - 1];

		if (entry->verdict < IMAGE_TOO_MANY)
			continue;
		r = image_entry_remove(entry, why);
		if (r < 0)
			break;
		n++;
		log_service(INFO, service, "image %" PRIu64 " (version %s, %" PRIu64 " KiB) was removed: %s",
			    entry->generation, entry->image ? entry->image->version : "?", entry->size_bytes >> 10,
			    image_verdict_name(entry->verdict));
	}
	if (ret)
		*ret = list;
	else
		image_list_done(&list);
	return r < 0 ? r : n;
}

int image_keep(const struct image *image, const char *reason, struct why *why)
{
	char path[PATH_MAX];
	FD_CLEANUP int fd = -1;
	int n = snprintf(path, sizeof(path), "%s/" KEPT_NAME, image->path), r;

	if (n < 0 || (size_t)n >= sizeof(path))
		return why_errno(why, -ENAMETOOLONG, "%s", image->path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	r = fd < 0 ? -errno : fd_write_all(fd, reason, strlen(reason), 0);
	return r < 0 ? why_errno(why, r, "%s", path) : 0;
}
