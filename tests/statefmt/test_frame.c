/* SPDX-License-Identifier: MIT */
#include "statefmt/frame.h"
#include "statefmt/arena.h"
#include "tests/statefmt/stream.h"

#include <stdalign.h>

TestSuite(statefmt_frame, .timeout = 30);

Test(statefmt_frame, checksum_is_the_standard_crc32c)
{
	const uint8_t *digits = (const uint8_t *)"123456789";

	cr_assert_eq(sf_crc32c(digits, 9, NULL, 0), 0xe3069283u);
	cr_assert_eq(sf_crc32c(digits, 4, digits + 4, 5), 0xe3069283u);
	cr_assert_eq(sf_crc32c(NULL, 0, NULL, 0), 0);
}

static void digest_of(uint64_t digest[2], const char *name, uint32_t version, const char *bytes)
{
	const struct sf_schema schema = { .name = name, .version = version };

	sf_digest_add(digest, sf_digest_seed(&schema), (const uint8_t *)bytes, strlen(bytes));
}

Test(statefmt_frame, digest_does_not_depend_on_order)
{
	uint64_t one[2] = { 0, 0 }, other[2] = { 0, 0 };

	digest_of(one, "a", 1, "x");
	digest_of(one, "a", 1, "y");
	digest_of(one, "b", 1, "x");
	digest_of(other, "b", 1, "x");
	digest_of(other, "a", 1, "y");
	digest_of(other, "a", 1, "x");
	cr_assert_arr_eq(one, other, sizeof(one));
}

Test(statefmt_frame, digest_tells_type_version_bytes_and_repetition_apart)
{
	static const struct {
		const char *name;
		uint32_t version;
		const char *bytes;
	} records[] = { { "a", 1, "x" }, { "b", 1, "x" }, { "a", 2, "x" }, { "a", 256, "x" }, { "a", 1, "y" },
			{ "a", 1, "" }, { "a", 1, "xx" }, { "ab", 1, "x" } };
	uint64_t digests[9][2] = { { 0, 0 } };

	for (size_t i = 0; i < 8; i++)
		digest_of(digests[i], records[i].name, records[i].version, records[i].bytes);
	digest_of(digests[8], "a", 1, "x");
	digest_of(digests[8], "a", 1, "x");
	for (size_t i = 0; i < 9; i++)
		for (size_t j = 0; j < i; j++)
			cr_assert(digests[i][0] != digests[j][0] && digests[i][1] != digests[j][1], "%zu and %zu", i, j);
}

/* In files of format version 1 for ever. */
Test(statefmt_frame, digest_is_frozen)
{
	uint64_t digest[2] = { 0, 0 };

	digest_of(digest, "cached.Item", 1, "some bytes of a record");
	cr_assert_eq(digest[0], 0x329349dc40093f4b, "0x%llx", (unsigned long long)digest[0]);
	cr_assert_eq(digest[1], 0x728ca94e90e71037, "0x%llx", (unsigned long long)digest[1]);
}

TestSuite(statefmt_arena, .timeout = 30);

Test(statefmt_arena, pieces_are_aligned_and_apart)
{
	struct sf_arena arena;
	uint8_t *last = NULL;

	sf_arena_init(&arena);
	for (size_t i = 0; i < 20000; i++) {
		uint8_t *piece = sf_arena_alloc(&arena, i % 70, alignof(max_align_t));

		cr_assert_not_null(piece);
		cr_assert_eq((uintptr_t)piece % alignof(max_align_t), 0);
		memset(piece, 1, i % 70);
		cr_assert(piece != last || i % 70 <= 1);
		last = piece;
	}
	sf_arena_done(&arena);
}

Test(statefmt_arena, refuses_to_pass_its_limit)
{
	struct sf_arena arena;
	size_t taken = 0;

	sf_arena_init(&arena);
	sf_arena_reset(&arena, 1 << 20);
	cr_assert_null(sf_arena_alloc(&arena, (1 << 20) + 1, 1));
	cr_assert(arena.over_limit);
	while (sf_arena_alloc(&arena, 1000, 8))
		taken += 1000;
	cr_assert_leq(taken, 1 << 20);
	cr_assert_geq(taken, (1 << 20) - (1 << 18));
	cr_assert_null(sf_arena_alloc(&arena, SIZE_MAX - 8, 8));
	sf_arena_done(&arena);
}

Test(statefmt_arena, settles_on_one_chunk_and_drops_a_huge_one)
{
	struct sf_arena arena;

	sf_arena_init(&arena);
	for (int round = 0; round < 3; round++) {
		sf_arena_reset(&arena, SIZE_MAX);
		for (int i = 0; i < 400; i++)
			cr_assert_not_null(sf_arena_alloc(&arena, 1000, 8));
	}
	cr_assert_leq(arena.total, 1 << 20);
	sf_arena_reset(&arena, SIZE_MAX);
	cr_assert_gt(arena.total, 0, "a chunk is kept for the next record");
	cr_assert_not_null(sf_arena_alloc(&arena, 64 << 20, 8));
	sf_arena_reset(&arena, SIZE_MAX);
	cr_assert_leq(arena.total, 1 << 20);
	sf_arena_done(&arena);
}
