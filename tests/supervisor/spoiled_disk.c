/* SPDX-License-Identifier: MIT */
#include "tests/supervisor/spoiled_disk.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 512u
#define NAMES_MAX 32u
#define FAULTS_MAX 8u
#define BLOCK_BYTES ((size_t)512)

/* A file, by the number that the file system gave to it. */
struct file {
	ino_t inode;
	int fd; /* so that the number is not used for another file */
	uint8_t *durable;
	size_t durable_bytes;
	size_t lost_from, lost_to; /* a sync that failed did not write this, and no later one will */
};

struct name {
	char text[64];
	ino_t inode;
};

static struct {
	char folder[128];
	struct file files[FILES_MAX];
	size_t n_files;
	struct name names[NAMES_MAX]; /* durable ones */
	size_t n_names;
	struct {
		unsigned call;
		enum spoil spoil;
	} faults[FAULTS_MAX];
	size_t n_faults;
	unsigned calls;
	bool dead, breaks_blocks;
	uint32_t chance;
} disk;

/* ---- what is on it ---- */

static struct file *file_of(int fd)
{
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	for (size_t i = 0; i < disk.n_files; i++)
		if (disk.files[i].inode == st.st_ino)
			return &disk.files[i];
	cr_assert(disk.n_files < FILES_MAX);
	disk.files[disk.n_files] = (struct file){ .inode = st.st_ino, .fd = dup(fd) };
	return &disk.files[disk.n_files++];
}

/* Release with free(). */
static uint8_t *content_of(int fd, size_t *ret_size)
{
	struct stat st;
	uint8_t *bytes;

	cr_assert_eq(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size + 1);
	cr_assert(bytes && pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size);
	*ret_size = (size_t)st.st_size;
	return bytes;
}

static void sync_file(struct file *file)
{
	free(file->durable);
	file->durable = content_of(file->fd, &file->durable_bytes);
	for (size_t i = file->lost_from; i < file->lost_to && i < file->durable_bytes; i++)
		file->durable[i] = 0;
}

static void lose_file(struct file *file)
{
	struct stat st;

	cr_assert_eq(fstat(file->fd, &st), 0);
	if (file->lost_from == file->lost_to)
		file->lost_from = file->durable_bytes < (size_t)st.st_size ? file->durable_bytes : (size_t)st.st_size;
	file->lost_to = (size_t)st.st_size;
	for (size_t i = file->lost_from / BLOCK_BYTES * BLOCK_BYTES; disk.breaks_blocks && i < file->durable_bytes; i++)
		file->durable[i] = 0;
}

static size_t names_of(const char *folder, struct name *names)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	size_t n = 0;

	cr_assert(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		cr_assert(n < NAMES_MAX);
		(void)snprintf(names[n].text, sizeof(names[n].text), "%.63s", entry->d_name);
		names[n++].inode = entry->d_ino;
	}
	closedir(dir);
	return n;
}

/* ---- faults ---- */

/* Return: does this call succeed? *@ret_half: a write does half of it first. */
static bool call(bool *ret_half)
{
	*ret_half = false;
	if (disk.dead) {
		errno = EIO;
		return false;
	}
	disk.calls++;
	for (size_t i = 0; i < disk.n_faults; i++) {
		if (disk.faults[i].call != disk.calls)
			continue;
		disk.dead = disk.faults[i].spoil == SPOIL_DEAD;
		*ret_half = disk.dead || disk.faults[i].spoil == SPOIL_SHORT;
		errno = disk.dead || disk.faults[i].spoil == SPOIL_EIO ? EIO : ENOSPC;
		return false;
	}
	return true;
}

static bool succeeds(void)
{
	bool half;

	return call(&half);
}

static int spoiled_openat(int folder, const char *name, int flags, mode_t mode)
{
	int fd = succeeds() ? openat(folder, name, flags, mode) : -1;

	if (fd >= 0 && (flags & O_CREAT))
		(void)file_of(fd);
	return fd;
}

static ssize_t spoiled_pread(int fd, void *buffer, size_t size_bytes, off_t at)
{
	return succeeds() ? pread(fd, buffer, size_bytes, at) : -1;
}

static ssize_t spoiled_pwrite(int fd, const void *data, size_t size_bytes, off_t at)
{
	struct file *file = file_of(fd);
	int failed;
	bool half;

	if (call(&half)) {
		/* What is written anew is written by the next sync. */
		if ((size_t)at <= file->lost_from && (size_t)at + size_bytes > file->lost_from)
			file->lost_from = (size_t)at + size_bytes < file->lost_to ? (size_t)at + size_bytes : file->lost_to;
		return pwrite(fd, data, size_bytes, at);
	}
	failed = errno;
	if (half)
		cr_assert_eq(pwrite(fd, data, size_bytes / 2, at), (ssize_t)(size_bytes / 2));
	errno = failed;
	return -1;
}

static int spoiled_ftruncate(int fd, off_t size_bytes)
{
	struct file *file = file_of(fd);

	if (!succeeds())
		return -1;
	if (file->lost_to > (size_t)size_bytes)
		file->lost_to = (size_t)size_bytes > file->lost_from ? (size_t)size_bytes : file->lost_from;
	return ftruncate(fd, size_bytes);
}

static int spoiled_fdatasync(int fd)
{
	struct file *file = file_of(fd);
	int failed;

	if (succeeds()) {
		sync_file(file);
		return 0;
	}
	failed = errno;
	if (!disk.dead)
		lose_file(file);
	errno = failed;
	return -1;
}

static int spoiled_fsync(int fd)
{
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	if (!S_ISDIR(st.st_mode))
		return spoiled_fdatasync(fd);
	if (!succeeds())
		return -1;
	disk.n_names = names_of(disk.folder, disk.names);
	return 0;
}

static int spoiled_linkat(int folder, const char *name, int to_folder, const char *to_name, int flags)
{
	return succeeds() ? linkat(folder, name, to_folder, to_name, flags) : -1;
}

static int spoiled_renameat(int folder, const char *name, int to_folder, const char *to_name)
{
	return succeeds() ? renameat(folder, name, to_folder, to_name) : -1;
}

static int spoiled_unlinkat(int folder, const char *name, int flags)
{
	return succeeds() ? unlinkat(folder, name, flags) : -1;
}

static uint32_t spoiled_chance(void)
{
	return disk.chance++;
}

static const struct logbook_disk spoiled = {
	.openat = spoiled_openat,
	.pread = spoiled_pread,
	.pwrite = spoiled_pwrite,
	.ftruncate = spoiled_ftruncate,
	.fdatasync = spoiled_fdatasync,
	.fsync = spoiled_fsync,
	.linkat = spoiled_linkat,
	.renameat = spoiled_renameat,
	.unlinkat = spoiled_unlinkat,
	.chance = spoiled_chance,
};

const struct logbook_disk *spoiled_disk_reset(const char *folder)
{
	for (size_t i = 0; i < disk.n_files; i++) {
		fd_close(disk.files[i].fd);
		free(disk.files[i].durable);
	}
	disk.n_files = disk.n_faults = 0;
	disk.calls = 0;
	disk.dead = disk.breaks_blocks = false;
	disk.chance = 1;
	(void)snprintf(disk.folder, sizeof(disk.folder), "%s", folder);
	/* What is there was there before. */
	disk.n_names = names_of(folder, disk.names);
	for (size_t i = 0; i < disk.n_names; i++) {
		char path[PATH_MAX];
		int fd;

		(void)snprintf(path, sizeof(path), "%s/%s", folder, disk.names[i].text);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			sync_file(file_of(fd));
		fd_close(fd);
	}
	return &spoiled;
}

void spoiled_disk_spoil(unsigned n, enum spoil spoil)
{
	cr_assert(disk.n_faults < FAULTS_MAX);
	disk.faults[disk.n_faults].call = disk.calls + n;
	disk.faults[disk.n_faults++].spoil = spoil;
}

void spoiled_disk_mend(void)
{
	disk.n_faults = 0;
	disk.dead = false;
}

void spoiled_disk_break_blocks(void)
{
	disk.breaks_blocks = true;
}

bool spoiled_disk_is_dead(void)
{
	return disk.dead;
}

unsigned spoiled_disk_calls(void)
{
	return disk.calls;
}

void spoiled_disk_next_chance(uint32_t number)
{
	disk.chance = number;
}

/* ---- the power is cut ---- */

/* What was written and not synced lies between the longest common beginning and the end. */
static uint8_t *left_of(const struct file *file, unsigned kind, size_t *ret_size)
{
	size_t now_bytes, same = 0, size;
	uint8_t *now = content_of(file->fd, &now_bytes), *left;

	while (same < now_bytes && same < file->durable_bytes && now[same] == file->durable[same])
		same++;
	if ((kind & ~(unsigned)CUT_NAMES) == 0 || now_bytes < file->durable_bytes) {
		size = kind & ~(unsigned)CUT_NAMES ? now_bytes : file->durable_bytes;
		left = kind & ~(unsigned)CUT_NAMES ? now : file->durable;
	} else {
		size = (kind & CUT_ZEROS) == CUT_HALF ? same + (now_bytes - same) / 2 : now_bytes;
		left = now;
		if ((kind & CUT_ZEROS) == CUT_ZEROS)
			memset(now + same, 0, now_bytes - same);
		if (kind & CUT_HOLE)
			memset(now + same, 0, (now_bytes - same) / 2);
	}
	for (size_t i = file->lost_from; left == now && i < file->lost_to && i < size; i++)
		now[i] = 0;
	left = memcpy(malloc(size + 1), size ? left : (const uint8_t *)"", size);
	free(now);
	*ret_size = size;
	return left;
}

static void leave_file(const char *folder, const char *name, const uint8_t *bytes, size_t size)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	fd_close(fd);
}

void spoiled_disk_cut(const char *to, unsigned kind)
{
	struct name current[NAMES_MAX];
	const struct name *names = kind & CUT_NAMES ? current : disk.names;
	size_t n = names_of(disk.folder, current);

	if (!(kind & CUT_NAMES))
		n = disk.n_names;
	for (size_t i = 0; i < n; i++) {
		for (size_t f = 0; f < disk.n_files; f++) {
			size_t size;
			uint8_t *bytes;

			if (disk.files[f].inode != names[i].inode)
				continue;
			bytes = left_of(&disk.files[f], kind, &size);
			leave_file(to, names[i].text, bytes, size);
			free(bytes);
		}
	}
}
