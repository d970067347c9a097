/* SPDX-License-Identifier: MIT */
#include "supervisor/logbook/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define READ_STEP_BYTES 65536u
#define BLOCK_BYTES 4096u /* what is given up at once where the disk cannot be read */

static int real_openat(int folder, const char *name, int flags, mode_t mode)
{
	return openat(folder, name, flags, mode);
}

/* Without the kernel's chance, which comes a moment late after boot, the clock will do: it is enough that two books differ. */
static uint32_t real_chance(void)
{
	uint32_t number;
	struct timespec now;

	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) == (ssize_t)sizeof(number))
		return number;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint32_t)now.tv_nsec * 2654435761u ^ (uint32_t)now.tv_sec ^ (uint32_t)getpid() << 16;
}

const struct logbook_disk logbook_disk_real = {
	.openat = real_openat,
	.pread = pread,
	.pwrite = pwrite,
	.ftruncate = ftruncate,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.linkat = linkat,
	.renameat = renameat,
	.unlinkat = unlinkat,
	.chance = real_chance,
};

int disk_write(const struct logbook_disk *disk, int fd, const void *data, size_t size_bytes, off_t at)
{
	const uint8_t *bytes = data;

	while (size_bytes > 0) {
		ssize_t n = disk->pwrite(fd, bytes, size_bytes, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		size_bytes -= (size_t)n;
		at += n;
	}
	return 0;
}

int disk_read(const struct logbook_disk *disk, int fd, uint8_t *data, size_t size_bytes, size_t *ret_size_bytes,
	      size_t *ret_unreadable)
{
	size_t size = 0, unreadable = 0, careful_until = 0;

	while (size < size_bytes) {
		size_t step = size < careful_until ? BLOCK_BYTES - size % BLOCK_BYTES : READ_STEP_BYTES;
		ssize_t n;

		if (step > size_bytes - size)
			step = size_bytes - size;
		n = disk->pread(fd, data + size, step, (off_t)size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EIO)
			return -errno;
		if (n == 0)
			break;
		if (n < 0 && size >= careful_until) {
			careful_until = size + step; /* once more, block by block: one of them is bad */
			continue;
		}
		if (n < 0) {
			memset(data + size, 0, step);
			unreadable += step;
			n = (ssize_t)step;
		}
		size += (size_t)n;
	}
	*ret_size_bytes = size;
	*ret_unreadable = unreadable;
	return 0;
}
