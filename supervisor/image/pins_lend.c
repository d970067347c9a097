/* SPDX-License-Identifier: MIT */
/*
 * CRIU asks for each file that it is to restore whether it has inherited one by that name, and then takes it as it is: with the
 * access, the flags and the position that we gave it.
 */
#include "supervisor/image/pins_private.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of those with which a file is opened, the ones that stay with the open file. */
#define STAYING (O_ACCMODE | O_APPEND | O_DIRECT | O_DSYNC | O_SYNC | O_NOATIME | O_DIRECTORY | O_PATH)

static unsigned flags_of(const struct image_pin *pin)
{
	if (pin->n_opens)
		return pin->flags & STAYING;
	if (S_ISDIR(pin->mode))
		return O_RDONLY | O_DIRECTORY;
	return pin->map_writes ? O_RDWR : O_RDONLY;
}

static int held_open(const struct image_pin *pin, int *ret_fd, struct why *why)
{
	char path[40];
	FD_CLEANUP int fd = -1;

	if (pin->fd < 0)
		return why_set(why, -ESTALE, "%s is not held any more", pin->path);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", pin->fd);
	/* O_NONBLOCK: the file's owner may have a lease on it, and open(2) would wait until he gives it up. */
	fd = open(path, (int)flags_of(pin) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return why_errno(why, -errno, "its %s %s cannot be opened again", pin_kind_spoken(pin->kind), pin->path);
	if (!(flags_of(pin) & O_PATH)) {
		if (fcntl(fd, F_SETFL, (int)(pin->n_opens ? pin->flags & (unsigned)~O_ACCMODE : 0)) < 0)
			return why_errno(why, -errno, "its %s %s", pin_kind_spoken(pin->kind), pin->path);
		if (pin->position > 0 && lseek(fd, (off_t)pin->position, SEEK_SET) < 0)
			return why_errno(why, -errno, "its %s %s", pin_kind_spoken(pin->kind), pin->path);
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

/* Is @fd an open file that the image has exactly once, so that there is no doubt for which it stands? */
static bool is_of(const struct image_pin *pin, int fd, const struct stat *st)
{
	bool is_file = pin->kind == PIN_PIPE || S_ISREG(pin->mode);
	unsigned long long inode;
	int flags;

	if (pin->n_opens != 1 || !is_file)
		return false;
	if (pin->kind == PIN_PIPE) {
		if (!S_ISFIFO(st->st_mode) || sscanf(pin->path, "pipe:[%llu]", &inode) != 1 || inode != st->st_ino)
			return false;
	} else if (!S_ISREG(st->st_mode) || st->st_dev != pin->device || st->st_ino != pin->inode || pin->kind == PIN_REMOVED) {
		return false;
	}
	flags = fcntl(fd, F_GETFL);
	return flags >= 0 && ((unsigned)flags & O_ACCMODE) == (pin->flags & O_ACCMODE);
}

/* A mapping is opened by the same path, and has to do with what it gets. */
static bool suits_mapping(const struct image_pin *pin)
{
	unsigned mode = pin->flags & O_ACCMODE;

	return !pin->is_mapped || mode == O_RDWR || (mode == O_RDONLY && !pin->map_writes);
}

static int file_of(const struct image_pin *pin, const int *files, const struct stat *stats, size_t n)
{
	for (size_t i = 0; pin->n_opens == 1 && suits_mapping(pin) && i < n; i++)
		if (files[i] >= 0 && is_of(pin, files[i], &stats[i]))
			return files[i];
	return -1;
}

static int lend(const struct image_pins *pins, const int *files, const struct stat *stats, size_t n, struct pin_loans *ret,
		struct why *why)
{
	for (size_t i = 0; i < pins->n; i++) {
		const struct image_pin *pin = &pins->pins[i];
		struct pin_loan *loan = &ret->loans[ret->n];
		int r = 0;

		loan->fd = file_of(pin, files, stats, n);
		loan->is_owned = false;
		if (loan->fd < 0 && pin->is_held) {
			r = held_open(pin, &loan->fd, why);
			loan->is_owned = r == 0;
		}
		if (r < 0)
			return r;
		if (loan->fd < 0)
			continue;
		/* CRIU's names of files have no first slash. */
		loan->key = pin->kind == PIN_PIPE ? pin->path : pin->path[1] ? pin->path + 1 : ".";
		ret->n++;
	}
	return 0;
}

int pins_lend(const struct image_pins *pins, const int *files, size_t n_files, struct pin_loans *ret, struct why *why)
{
	struct stat *stats = calloc(n_files + 1, sizeof(*stats));
	int r;

	ret->loans = calloc(pins->n + 1, sizeof(*ret->loans));
	if (!stats || !ret->loans) {
		free(stats);
		return why_errno(why, -ENOMEM, "files of an image");
	}
	for (size_t i = 0; i < n_files; i++)
		(void)fstat(files[i], &stats[i]);
	r = lend(pins, files, stats, n_files, ret, why);
	free(stats);
	return r;
}

void pins_loans_done(struct pin_loans *loans)
{
	for (size_t i = 0; i < loans->n; i++)
		if (loans->loans[i].is_owned)
			fd_close(loans->loans[i].fd);
	free(loans->loans);
	*loans = (struct pin_loans){ 0 };
}

bool pins_want(const struct image_pins *pins, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < pins->n; i++)
		if (suits_mapping(&pins->pins[i]) && is_of(&pins->pins[i], fd, &st))
			return true;
	return false;
}
