/* SPDX-License-Identifier: MIT */
#include "wire/in_hand.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES sizeof(uint64_t)

int in_hand_map(struct in_hand *in_hand, int fd, struct why *why)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return why_errno(why, -errno, "the record in hand");
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)BYTES)
		return why_set(why, -EPROTO, "the record in hand: descriptor %d holds no such memory", fd);
	map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return why_errno(why, -errno, "the record in hand: mmap");
	in_hand->at = map;
	return 0;
}

int in_hand_create(struct in_hand *in_hand, int *ret_fd, struct why *why)
{
	FD_CLEANUP int fd = memfd_create("upgraded-in-hand", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return why_errno(why, -errno, "the record in hand: memfd_create");
	if (ftruncate(fd, BYTES) < 0)
		return why_errno(why, -errno, "the record in hand: ftruncate");
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return why_errno(why, -errno, "the record in hand: seal");
	r = in_hand_map(in_hand, fd, why);
	if (r < 0)
		return r;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

void in_hand_unmap(struct in_hand *in_hand)
{
	if (in_hand->at)
		munmap((void *)(uintptr_t)in_hand->at, BYTES);
	*in_hand = (struct in_hand){ 0 };
}

bool in_hand_get(const struct in_hand *in_hand, size_t *ret_type, uint64_t *ret_number)
{
	uint64_t value = in_hand->at ? atomic_load_explicit(in_hand->at, memory_order_relaxed) : 0;

	if (!(value >> IN_HAND_TYPE_BITS))
		return false;
	*ret_type = (size_t)(value >> IN_HAND_TYPE_BITS) - 1;
	*ret_number = value & ((UINT64_C(1) << IN_HAND_TYPE_BITS) - 1);
	return true;
}
