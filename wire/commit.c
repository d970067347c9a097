/* SPDX-License-Identifier: MIT */
#include "wire/commit.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD_BYTES sizeof(uint64_t)

static uint64_t encode(uint64_t generation, enum commit_owner owner)
{
	return generation << 8 | (uint64_t)owner;
}

int commit_map(struct commit_word *word, int fd, uint64_t generation, struct why *why)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return why_errno(why, -errno, "commit word");
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)WORD_BYTES)
		return why_set(why, -EPROTO, "commit word: descriptor %d holds no such memory", fd);
	map = mmap(NULL, WORD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return why_errno(why, -errno, "commit word: mmap");
	*word = (struct commit_word){ .word = map, .generation = generation };
	if (atomic_load(word->word) >> 8 != generation) {
		commit_unmap(word);
		return why_set(why, -EPROTO, "commit word: belongs to another roll");
	}
	return 0;
}

int commit_create(struct commit_word *word, uint64_t generation, int *ret_fd, struct why *why)
{
	FD_CLEANUP int fd = memfd_create("upgraded-commit", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint64_t first = encode(generation, COMMIT_OLD);
	int r;

	if (fd < 0)
		return why_errno(why, -errno, "commit word: memfd_create");
	r = fd_write_all(fd, &first, WORD_BYTES, 0);
	if (r < 0)
		return why_errno(why, r, "commit word: write");
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return why_errno(why, -errno, "commit word: seal");
	r = commit_map(word, fd, generation, why);
	if (r < 0)
		return r;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

void commit_unmap(struct commit_word *word)
{
	if (word->word)
		munmap((void *)(uintptr_t)word->word, WORD_BYTES);
	*word = (struct commit_word){ 0 };
}

bool commit_take(struct commit_word *word, enum commit_owner owner)
{
	uint64_t expected = encode(word->generation, COMMIT_OLD);
	uint64_t wanted = encode(word->generation, owner);

	if (!word->word)
		return false;
	if (atomic_compare_exchange_strong(word->word, &expected, wanted))
		return true;
	return expected == wanted;
}

enum commit_owner commit_owner(const struct commit_word *word)
{
	uint64_t value = word->word ? atomic_load(word->word) : 0;

	if (value == encode(word->generation, COMMIT_OLD))
		return COMMIT_OLD;
	if (value == encode(word->generation, COMMIT_NEW))
		return COMMIT_NEW;
	return COMMIT_ABORTED;
}
