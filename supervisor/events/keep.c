/* SPDX-License-Identifier: MIT */
#include "supervisor/events/keep.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/events/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES_MAX (32u << 20) /* of one file; a larger one is not ours */
#define NEW_NAME ".new"            /* no service is called so */

/* ---- folders ---- */

static int open_folder(const char *state_dir, const char *name, int *ret, struct why *why)
{
	char path[4096];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", state_dir, name) >= sizeof(path))
		return why_errno(why, -ENAMETOOLONG, "%s", state_dir);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return why_errno(why, -errno, "%s", path);
	*ret = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret < 0 ? why_errno(why, -errno, "%s", path) : 0;
}

int keep_open(const char *state_dir, struct keep *ret, struct why *why)
{
	int r;

	*ret = (struct keep){ -1, -1 };
	r = open_folder(state_dir, "events", &ret->events, why);
	if (r == 0)
		r = open_folder(state_dir, "history", &ret->history, why);
	if (r < 0)
		keep_close(ret);
	return r;
}

void keep_close(struct keep *keep)
{
	keep->events = fd_close(keep->events);
	keep->history = fd_close(keep->history);
}

/* ---- writing ---- */

static int open_end(int folder, const char *name, off_t *ret_size)
{
	/* Nobody waits at a FIFO that somebody has put there. */
	int fd = openat(folder, name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		fd_close(fd);
		return -EINVAL;
	}
	*ret_size = st.st_size;
	return fd;
}

/* What was written of a frame that did not fit is taken back: the next one may. */
static int append(int fd, off_t size, const uint8_t *frame, size_t size_bytes)
{
	int r = fd_write_all(fd, frame, size_bytes, 0);

	if (r < 0)
		(void)!ftruncate(fd, size);
	return r;
}

int keep_event(const struct keep *keep, const uint8_t *frame, size_t size_bytes)
{
	off_t size;
	int r, fd = open_end(keep->events, "events", &size);

	if (fd >= 0 && size + (off_t)size_bytes > (off_t)KEEP_EVENTS_BYTES) {
		fd_close(fd);
		if (renameat(keep->events, "events", keep->events, "events.1") < 0)
			return -errno;
		fd = open_end(keep->events, "events", &size);
	}
	if (fd < 0)
		return fd;
	r = append(fd, size, frame, size_bytes);
	fd_close(fd);
	return r;
}

/* ---- reading ---- */

/* @ret_data: the caller's. Return: 0; -ENOENT; -errno. */
static int read_file(int folder, const char *name, uint8_t **ret_data, size_t *ret_size)
{
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), r = 0;
	uint8_t *data = NULL;
	size_t used = 0;
	off_t from = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		r = -EINVAL;
	/* Of too much the end counts; where a frame begins is found. */
	else if (st.st_size > (off_t)READ_BYTES_MAX)
		from = st.st_size - (off_t)READ_BYTES_MAX;
	if (r == 0 && !(data = malloc((size_t)(st.st_size - from) + 1)))
		r = -ENOMEM;
	while (r == 0 && from + (off_t)used < st.st_size) {
		ssize_t n = pread(fd, data + used, (size_t)(st.st_size - from) - used, from + (off_t)used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = -errno;
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	fd_close(fd);
	if (r < 0) {
		free(data);
		return r;
	}
	*ret_data = data;
	*ret_size = used;
	return 0;
}

static int list_add(struct keep_list *list, void *entry)
{
	void **entries = reallocarray(list->entries, list->n + 1, sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	list->entries = entries;
	list->entries[list->n++] = entry;
	return 0;
}

static void event_free(void *event)
{
	upgraded__wire__event__free_unpacked(event, NULL);
}

static void report_free(void *report)
{
	upgraded__wire__roll_report__free_unpacked(report, NULL);
}

static void list_done(struct keep_list *list, void (*entry_free)(void *entry))
{
	for (size_t i = 0; i < list->n; i++)
		entry_free(list->entries[i]);
	free(list->entries);
	*list = (struct keep_list){ .n = 0 };
}

void keep_events_done(struct keep_list *list)
{
	list_done(list, event_free);
}

void keep_rolls_done(struct keep_list *list)
{
	list_done(list, report_free);
}

static bool is_wanted(const struct keep_filter *filter, const Upgraded__Wire__Event *event)
{
	return (!*filter->service || strcmp(event->service, filter->service) == 0) && event->wall_us >= filter->since_us;
}

static int take_event(const struct frame *frame, const struct keep_filter *filter, struct keep_list *list)
{
	Upgraded__Wire__Event *event = upgraded__wire__event__unpack(NULL, frame->length, frame->payload);

	if (!event)
		return 0;
	if (!is_wanted(filter, event) || list_add(list, event) < 0) {
		event_free(event);
		return 0;
	}
	/* Now and then the oldest ones beyond the limit go. */
	if (list->n >= 2 * filter->most) {
		for (size_t i = 0; i < list->n - filter->most; i++)
			event_free(list->entries[i]);
		memmove(list->entries, list->entries + list->n - filter->most, filter->most * sizeof(*list->entries));
		list->n = filter->most;
	}
	return 0;
}

static int read_events_of(const struct keep *keep, const char *name, const struct keep_filter *filter, struct keep_list *list)
{
	uint8_t *data;
	size_t size, at = 0;
	struct frame frame;
	int r = read_file(keep->events, name, &data, &size);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	while (r == 0 && frame_next(data, size, &at, &frame))
		r = take_event(&frame, filter, list);
	free(data);
	return r;
}

int keep_read_events(const struct keep *keep, const struct keep_filter *filter, struct keep_list *ret)
{
	int r;

	*ret = (struct keep_list){ .n = 0 };
	r = read_events_of(keep, "events.1", filter, ret);
	if (r != -ENOMEM) /* the older ones alone are lost */
		r = read_events_of(keep, "events", filter, ret);
	if (r == 0 && ret->n > filter->most) {
		size_t beyond = ret->n - filter->most;

		for (size_t i = 0; i < beyond; i++)
			event_free(ret->entries[i]);
		memmove(ret->entries, ret->entries + beyond, filter->most * sizeof(*ret->entries));
		ret->n = filter->most;
	}
	if (r < 0)
		keep_events_done(ret);
	return r;
}

/* ---- rolls ---- */

/* A roll that a supervisor after this one has led to its end does not know who had asked. */
static void inherit(Upgraded__Wire__RollReport *report, Upgraded__Wire__RollReport *before)
{
	if (!report->asked_by) {
		report->asked_by = before->asked_by;
		before->asked_by = NULL;
	}
	if (!report->number)
		report->number = before->number;
}

/* The same roll again takes the place of what was noted at its beginning. */
static int take_roll(struct keep_list *list, Upgraded__Wire__RollReport *report)
{
	for (size_t i = list->n; i-- > 0;) {
		Upgraded__Wire__RollReport *before = list->entries[i];

		if (before->id != report->id)
			continue;
		inherit(report, before);
		report_free(before);
		list->entries[i] = report;
		return 0;
	}
	return list_add(list, report);
}

int keep_read_rolls(const struct keep *keep, const char *service, struct keep_list *ret)
{
	struct frame frame;
	uint8_t *data;
	size_t size, at = 0;
	int r = read_file(keep->history, service, &data, &size);

	*ret = (struct keep_list){ .n = 0 };
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	while (r == 0 && frame_next(data, size, &at, &frame)) {
		Upgraded__Wire__RollReport *report = upgraded__wire__roll_report__unpack(NULL, frame.length, frame.payload);

		if (report && (r = take_roll(ret, report)) < 0)
			report_free(report);
	}
	free(data);
	if (r < 0)
		keep_rolls_done(ret);
	return r;
}

static int write_report(int fd, const Upgraded__Wire__RollReport *report)
{
	size_t length = upgraded__wire__roll_report__get_packed_size(report);
	uint8_t *frame = malloc(FRAME_HEAD_BYTES + length);
	int r;

	if (!frame)
		return -ENOMEM;
	upgraded__wire__roll_report__pack(report, frame + FRAME_HEAD_BYTES);
	frame_seal(frame, length);
	r = fd_write_all(fd, frame, FRAME_HEAD_BYTES + length, 0);
	free(frame);
	return r;
}

/* A new file in the place of the one that holds too many. */
static int shorten(const struct keep *keep, const char *service, const struct keep_list *rolls)
{
	int fd = openat(keep->history, NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600), r = 0;

	if (fd < 0)
		return -errno;
	for (size_t i = rolls->n - KEEP_ROLLS; r == 0 && i < rolls->n; i++)
		r = write_report(fd, rolls->entries[i]);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	fd_close(fd);
	if (r == 0 && renameat(keep->history, NEW_NAME, keep->history, service) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(keep->history, NEW_NAME, 0);
	return r;
}

int keep_roll(const struct keep *keep, const char *service, const uint8_t *frame, size_t size_bytes)
{
	struct keep_list rolls;
	off_t size;
	int fd = open_end(keep->history, service, &size), r;

	if (fd < 0)
		return fd;
	r = append(fd, size, frame, size_bytes);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	fd_close(fd);
	if (r < 0 || keep_read_rolls(keep, service, &rolls) < 0)
		return r;
	if (rolls.n > KEEP_ROLLS + KEEP_ROLLS_SLACK)
		r = shorten(keep, service, &rolls);
	keep_rolls_done(&rolls);
	return r;
}
