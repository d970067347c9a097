/* SPDX-License-Identifier: MIT */
#include "supervisor/custody/journal_memory.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

int journal_memory_create(uint64_t size_bytes, int *ret_fd, struct why *why)
{
	FD_CLEANUP int fd = memfd_create("upgraded-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return why_errno(why, -errno, "journal: memfd_create");
	if (ftruncate(fd, (off_t)size_bytes) < 0)
		return why_errno(why, -errno, "journal of %" PRIu64 " bytes", size_bytes);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return why_errno(why, -errno, "journal: seal");
	*ret_fd = fd;
	fd = -1;
	return 0;
}
