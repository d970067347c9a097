/* SPDX-License-Identifier: MIT */
/* What a logbook holds, and what becomes of one that is not as it was written. The disk does as it is told here;
 * test_logbook_faults.c has one that does not. */
#include "base/why.h"
#include "supervisor/logbook/bytes.h"
#include "supervisor/machine/folder.h"
#include "tests/supervisor/book.h"
#include "tests/supervisor/spoiled_disk.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN "format-1.logbook"
#define GOLDEN_FOLDER "tests/supervisor/golden"

static char root[64];
static struct why why;

static void set_up(void)
{
	strcpy(root, "/tmp/upg-logbook.XXXXXX");
	cr_assert(mkdtemp(root));
}

static void tear_down(void)
{
	cr_assert_eq(folder_remove(root, &why), 0, "%s", why.text);
}

TestSuite(logbook, .init = set_up, .fini = tear_down, .timeout = 120);

/* Without waiting for the real disk. */
static struct logbook *open_book(const char *folder, enum logbook_found ought)
{
	enum logbook_found found;
	struct logbook *book = NULL;

	cr_assert_eq(logbook_open_on(spoiled_disk_reset(folder), folder, &book, &found, &why), 0, "%s", why.text);
	cr_assert_eq(found, ought, "found %d, not %d: %s", found, ought, why.text);
	if (found == LOGBOOK_NEW || found == LOGBOOK_WHOLE)
		cr_assert_str_empty(why.text);
	else
		cr_assert(strstr(why.text, folder), "%s", why.text);
	return book;
}

static void put(struct logbook *book, const struct change *change)
{
	cr_assert_eq(book_put(book, change, &why), 0, "%s", why.text);
}

static void expect(const struct logbook *book, const struct model *model)
{
	char *is = book_state(book), *ought = model_state(model);

	cr_assert_str_eq(is, ought);
	free(is);
	free(ought);
}

static size_t size_of(const char *folder)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/" LOGBOOK_NAME, folder);
	cr_assert_eq(stat(path, &st), 0);
	return (size_t)st.st_size;
}

static bool exists(const char *folder, const char *name)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

static const struct change five[] = {
	{ PROCESS, 1, 100, 20 }, { SERVICE, 1, 1, 0 }, { PROCESS, 2, 200, 7 }, { SERVICE, 2, 2, 0 }, { PROCESS, 3, 300, 1 },
};
#define N_FIVE (sizeof(five) / sizeof(five[0]))

/* A book with these five, and where each of their frames begins; the last one is the end of the file. */
static struct bytes book_of_five(size_t ret_at[N_FIVE + 1])
{
	const char *folder = folder_new(root);
	struct logbook *book = open_book(folder, LOGBOOK_NEW);
	struct bytes bytes;

	for (size_t i = 0; i < N_FIVE; i++) {
		ret_at[i] = (size_t)size_of(folder);
		put(book, &five[i]);
	}
	ret_at[N_FIVE] = (size_t)size_of(folder);
	logbook_free(book);
	bytes = bytes_of(folder, LOGBOOK_NAME);
	cr_assert_eq(bytes.size, ret_at[N_FIVE]);
	return bytes;
}

/* All of the five whose bit is not in @without. */
static struct model five_without(unsigned without)
{
	struct model model = { .n = 0 };

	for (size_t i = 0; i < N_FIVE; i++)
		if (!(without & 1u << i))
			model_apply(&model, &five[i]);
	return model;
}

/* ---- what it holds ---- */

Test(logbook, holds_what_was_written_when_it_is_opened_again)
{
	/* On the real disk. */
	struct model model = five_without(0);
	enum logbook_found found;
	struct logbook *book;
	struct stat st;
	char path[PATH_MAX];

	cr_assert_eq(logbook_open(root, &book, &found, &why), 0, "%s", why.text);
	cr_assert_eq(found, LOGBOOK_NEW);
	for (size_t i = 0; i < N_FIVE; i++)
		put(book, &five[i]);
	expect(book, &model);
	cr_assert_null(logbook_free(book));
	cr_assert_eq(logbook_open(root, &book, &found, &why), 0, "%s", why.text);
	cr_assert_eq(found, LOGBOOK_WHOLE);
	expect(book, &model);
	logbook_free(book);
	(void)snprintf(path, sizeof(path), "%s/" LOGBOOK_NAME, root);
	cr_assert(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
	cr_assert_null(logbook_free(NULL));
}

Test(logbook, an_entry_takes_the_place_of_the_one_with_its_key)
{
	static const struct change changes[] = {
		{ PROCESS, 1, 10, 0 },    { SERVICE, 1, 11, 0 },      { PROCESS, 2, 12, 0 },      { PROCESS, 1, 13, 50 },
		{ PROCESS_GONE, 2, 0, 0 }, { SERVICE, 2, 14, 0 },     { PROCESS, 2, 15, 0 },      { SERVICE, 1, 16, 0 },
		{ SERVICE_GONE, 2, 0, 0 }, { PROCESS_GONE, 99, 0, 0 }, { SERVICE_GONE, 98, 0, 0 },
	};
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	struct model model = { .n = 0 };

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		put(book, &changes[i]);
		model_apply(&model, &changes[i]);
		expect(book, &model);
	}
	cr_assert_eq(model.n, 3);
	logbook_free(book);
	book = open_book(root, LOGBOOK_WHOLE);
	expect(book, &model);
	logbook_free(book);
}

Test(logbook, holds_many_keys)
{
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	struct change change = { PROCESS, 0, 5, 0 };
	char *state;
	size_t lines = 0;

	for (change.key = 1; change.key <= 2000; change.key++)
		put(book, &change);
	change.kind = PROCESS_GONE;
	for (change.key = 2; change.key <= 2000; change.key += 2)
		put(book, &change);
	logbook_free(book);
	book = open_book(root, LOGBOOK_WHOLE);
	state = book_state(book);
	for (const char *at = state; *at; at++)
		lines += *at == '\n';
	cr_assert_eq(lines, 1000);
	cr_assert(strstr(state, "process 1999 = 5,"));
	free(state);
	logbook_free(book);
}

static int stop_at_second(void *arg, const Upgraded__Logbook__Entry *entry)
{
	int *n = arg;

	(void)entry;
	return ++*n == 2 ? 77 : 0;
}

Test(logbook, a_walk_ends_when_it_is_told_to)
{
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	int n = 0;

	for (size_t i = 0; i < N_FIVE; i++)
		put(book, &five[i]);
	cr_assert_eq(logbook_each(book, stop_at_second, &n), 77);
	cr_assert_eq(n, 2);
	logbook_free(book);
}

Test(logbook, refuses_what_has_no_key)
{
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;
	Upgraded__Logbook__Service service = UPGRADED__LOGBOOK__SERVICE__INIT;
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	size_t size = size_of(root);

	cr_assert_eq(logbook_write(book, &entry, &why), -EINVAL);
	cr_assert(strstr(why.text, "neither of a process nor of a service"), "%s", why.text);
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE;
	entry.service = &service;
	cr_assert_eq(logbook_write(book, &entry, &why), -EINVAL);
	cr_assert(strstr(why.text, "name"), "%s", why.text);
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE_GONE;
	entry.service_gone = (char *)(uintptr_t)"";
	cr_assert_eq(logbook_write(book, &entry, &why), -EINVAL);
	cr_assert_eq(book_put(book, &(struct change){ PROCESS, 0, 1, 0 }, &why), -EINVAL);
	cr_assert(strstr(why.text, "serial"), "%s", why.text);
	cr_assert_eq(book_put(book, &(struct change){ PROCESS_GONE, 0, 0, 0 }, &why), -EINVAL);
	cr_assert_eq(size_of(root), size);
	logbook_free(book);
}

Test(logbook, is_bounded)
{
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	struct change change = { PROCESS, 1, 1, LOGBOOK_ENTRY_BYTES };
	int r = 0;

	cr_assert_eq(book_put(book, &change, &why), -EMSGSIZE);
	cr_assert(strstr(why.text, "1048576 are possible"), "%s", why.text);
	change.bulk -= 100;
	for (change.key = 1; change.key < 30 && r == 0; change.key++)
		r = book_put(book, &change, &why);
	cr_assert_eq(r, -EMSGSIZE);
	cr_assert_eq(change.key, 18, "the 17th does not fit");
	cr_assert(strstr(why.text, "more than 16 MiB"), "%s", why.text);
	/* What replaces one, or ends one, always fits. */
	put(book, &(struct change){ PROCESS, 1, 2, LOGBOOK_ENTRY_BYTES - 100 });
	put(book, &(struct change){ PROCESS_GONE, 2, 0, 0 });
	put(book, &(struct change){ PROCESS, 17, 1, LOGBOOK_ENTRY_BYTES - 100 });
	logbook_free(book);
	logbook_free(open_book(root, LOGBOOK_WHOLE));
}

/* ---- compaction ---- */

Test(logbook, does_not_grow_without_end)
{
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	struct model model = five_without(0);
	size_t largest = 0, before = 0;
	unsigned shrunk = 0;

	for (size_t i = 0; i < N_FIVE; i++)
		put(book, &five[i]);
	for (unsigned i = 0; i < 2000; i++) {
		struct change change = { PROCESS, 2, i, 300 };
		size_t size;

		put(book, &change);
		model_apply(&model, &change);
		size = size_of(root);
		shrunk += size < before;
		largest = size > largest ? size : largest;
		before = size;
	}
	cr_assert(largest <= 65536 + 400, "%zu", largest);
	cr_assert_geq(shrunk, 5);
	cr_assert(!exists(root, LOGBOOK_NAME ".new"));
	expect(book, &model);
	logbook_free(book);
	book = open_book(root, LOGBOOK_WHOLE);
	expect(book, &model);
	logbook_free(book);
}

/* A book with much in force is larger before it is made anew. */
Test(logbook, is_not_made_anew_for_little)
{
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	size_t before = 0;
	unsigned writes = 0;

	put(book, &(struct change){ PROCESS, 1, 1, 100000 });
	for (; size_of(root) > before; writes++) {
		before = size_of(root);
		put(book, &(struct change){ PROCESS, 2, writes, 1000 });
	}
	cr_assert(before > 4 * 101000 - 2000, "%zu", before);
	cr_assert(size_of(root) < 103000);
	logbook_free(book);
}

/* ---- what later versions write ---- */

/* A frame with any payload behind @bytes. */
static void add_frame(struct bytes *bytes, uint32_t number, uint64_t sequence, const void *payload, size_t length)
{
	bytes->data = realloc(bytes->data, bytes->size + BOOK_HEAD_BYTES + length);
	cr_assert(bytes->data);
	memcpy(bytes->data + bytes->size + BOOK_HEAD_BYTES, payload, length);
	book_frame_seal(bytes->data + bytes->size, number, sequence, length);
	bytes->size += BOOK_HEAD_BYTES + length;
}

Test(logbook, is_made_anew_when_it_is_flushed_first)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at);
	struct model model = five_without(0);
	size_t length = at[5] - at[4] - BOOK_HEAD_BYTES;
	struct book_header header;
	struct logbook *book;
	uint8_t last[64];

	cr_assert(length <= sizeof(last) && book_header_get(bytes.data, bytes.size, &header));
	memcpy(last, bytes.data + at[4] + BOOK_HEAD_BYTES, length);
	for (uint64_t sequence = N_FIVE + 1; bytes.size < 70000; sequence++)
		add_frame(&bytes, header.book, sequence, last, length);
	bytes_leave(root, LOGBOOK_NAME, bytes.data, bytes.size);
	free(bytes.data);
	book = open_book(root, LOGBOOK_WHOLE);
	logbook_flush(book);
	cr_assert_eq(size_of(root), at[5]);
	expect(book, &model);
	logbook_free(book);
}

/* Field 9, a message that nobody knows, with the key @key of one letter; and an unknown field of the entry itself. */
static size_t later_entry(uint8_t *at, char key, uint8_t content, bool gone)
{
	uint8_t *end = at;

	*end++ = 9 << 3 | 2, *end++ = 1, *end++ = content;
	if (key)
		*end++ = 14 << 3 | 2, *end++ = 1, *end++ = (uint8_t)key;
	if (gone)
		*end++ = 15 << 3, *end++ = 1;
	return (size_t)(end - at);
}

static int count_later(void *arg, const Upgraded__Logbook__Entry *entry)
{
	uint8_t packed[64];
	char *out = arg;

	if (entry->what_case != UPGRADED__LOGBOOK__ENTRY__WHAT__NOT_SET)
		return 0;
	/* As it was written, with what nobody here knows. */
	cr_assert(upgraded__logbook__entry__get_packed_size(entry) <= sizeof(packed));
	(void)upgraded__logbook__entry__pack(entry, packed);
	out += strlen(out);
	(void)sprintf(out, "%s=%c ", *entry->later_key ? entry->later_key : "?",
		      entry->base.n_unknown_fields == 1 ? entry->base.unknown_fields[0].data[1] : '!');
	return 0;
}

Test(logbook, keeps_what_only_a_later_version_understands)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at);
	struct book_header header;
	uint8_t entry[16];
	uint64_t sequence = N_FIVE + 1;
	struct logbook *book;
	char later[64] = "";

	cr_assert(book_header_get(bytes.data, bytes.size, &header));
	add_frame(&bytes, header.book, sequence++, entry, later_entry(entry, 'a', '1', false));
	add_frame(&bytes, header.book, sequence++, entry, later_entry(entry, 0, '2', false));
	add_frame(&bytes, header.book, sequence++, entry, later_entry(entry, 'b', '3', false));
	add_frame(&bytes, header.book, sequence++, entry, later_entry(entry, 0, '4', false));
	add_frame(&bytes, header.book, sequence++, entry, later_entry(entry, 'a', '5', false));
	add_frame(&bytes, header.book, sequence++, entry, later_entry(entry, 'b', '6', true));
	/* A process with a field that is not known here, in a field 100. */
	add_frame(&bytes, header.book, sequence++, "\x0a\x07\x08\x63\xa0\x06\x01\x20\x05", 9);
	bytes_leave(root, LOGBOOK_NAME, bytes.data, bytes.size);
	free(bytes.data);

	book = open_book(root, LOGBOOK_WHOLE);
	cr_assert_eq(logbook_each(book, count_later, later), 0);
	cr_assert_str_eq(later, "a=5 ?=2 ?=4 ");
	/* Until it is made anew. */
	for (size_t before = 0; size_of(root) > before;) {
		before = size_of(root);
		put(book, &five[0]);
	}
	logbook_free(book);
	bytes = bytes_of(root, LOGBOOK_NAME);
	cr_assert(memmem(bytes.data, bytes.size, "\x0a\x07\x08\x63\xa0\x06\x01\x20\x05", 9));
	free(bytes.data);
	book = open_book(root, LOGBOOK_WHOLE);
	later[0] = '\0';
	cr_assert_eq(logbook_each(book, count_later, later), 0);
	cr_assert_str_eq(later, "a=5 ?=2 ?=4 ");
	logbook_free(book);
}

Test(logbook, of_another_format_is_left_alone_and_kept)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at), kept;
	struct book_header header;
	struct logbook *book;

	cr_assert(book_header_get(bytes.data, bytes.size, &header));
	header.format = 2;
	strcpy(header.writer, "7.8.9\033[2J");
	book_header_put(bytes.data, &header);
	for (unsigned i = 1; i <= 2; i++) {
		char name[PATH_MAX];

		bytes_leave(root, LOGBOOK_NAME, bytes.data, bytes.size);
		book = open_book(root, LOGBOOK_OTHER_VERSION);
		cr_assert(strstr(why.text, "written by upgraded 7.8.9?[2J in format 2; this one reads format 1"), "%s", why.text);
		(void)snprintf(name, sizeof(name), LOGBOOK_NAME ".other-%u", i);
		cr_assert(strstr(why.text, name), "%s", why.text);
		expect(book, &(struct model){ .n = 0 });
		put(book, &five[0]);
		logbook_free(book);
		kept = bytes_of(root, name);
		cr_assert(kept.size == bytes.size && memcmp(kept.data, bytes.data, kept.size) == 0);
		free(kept.data);
		logbook_free(open_book(root, LOGBOOK_WHOLE));
		/* A new file, and not that which was kept. */
		(void)snprintf(name, sizeof(name), "%s/" LOGBOOK_NAME, root);
		cr_assert_eq(unlink(name), 0);
	}
	free(bytes.data);
}

/* The files of this version are read by all later ones. Never make it anew: a change that it notices needs a new format. */
Test(logbook, format_1_is_read_and_written_as_it_was)
{
	struct bytes golden = bytes_of(GOLDEN_FOLDER, GOLDEN), written;
	struct model model = five_without(0);
	const struct logbook_disk *disk;
	struct book_header header;
	enum logbook_found found;
	struct logbook *book;
	const char *folder;

	cr_assert(golden.data, "there is no %s/%s; tests run in the root of the checkout", GOLDEN_FOLDER, GOLDEN);
	cr_assert(book_header_get(golden.data, golden.size, &header));
	cr_assert_eq(header.format, 1);
	cr_assert_str_eq(header.writer, "0.1.0");
	bytes_leave(root, LOGBOOK_NAME, golden.data, golden.size);
	model_apply(&model, &(struct change){ PROCESS_GONE, 2, 0, 0 });
	book = open_book(root, LOGBOOK_WHOLE);
	expect(book, &model);
	logbook_free(book);

	folder = folder_new(root);
	disk = spoiled_disk_reset(folder);
	spoiled_disk_next_chance(header.book);
	cr_assert_eq(logbook_open_on(disk, folder, &book, &found, &why), 0, "%s", why.text);
	for (size_t i = 0; i < N_FIVE; i++)
		put(book, &five[i]);
	put(book, &(struct change){ PROCESS_GONE, 2, 0, 0 });
	logbook_free(book);
	written = bytes_of(folder, LOGBOOK_NAME);
	cr_assert_eq(written.size, golden.size);
	/* All but the version in the header, and the checksum over it. */
	cr_assert(memcmp(written.data, golden.data, 16) == 0);
	cr_assert(memcmp(written.data + BOOK_HEADER_BYTES, golden.data + BOOK_HEADER_BYTES, golden.size - BOOK_HEADER_BYTES) == 0);
	free(golden.data);
	free(written.data);
}

/* ---- damage ---- */

Test(logbook, every_truncation_costs_the_entries_behind_it_only)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at), kept;

	for (size_t size = 0; size <= bytes.size; size++) {
		const char *folder = folder_new(root);
		size_t whole = 0;
		struct model model;
		struct logbook *book;

		while (whole < N_FIVE && at[whole + 1] <= size)
			whole++;
		model = five_without(~0u << whole);
		bytes_leave(folder, LOGBOOK_NAME, bytes.data, size);
		/* No crash leaves half a header: a file gets its name when it is whole. */
		book = open_book(folder, size < BOOK_HEADER_BYTES ? LOGBOOK_DAMAGED
				 : size == at[whole]              ? LOGBOOK_WHOLE
								  : LOGBOOK_TORN);
		expect(book, &model);
		if (size < BOOK_HEADER_BYTES) {
			kept = bytes_of(folder, LOGBOOK_NAME ".damaged-1");
			cr_assert(kept.data && kept.size == size && memcmp(kept.data, bytes.data, size) == 0);
			free(kept.data);
		} else if (size != at[whole]) {
			char words[64];

			(void)snprintf(words, sizeof(words), "byte %zu ", at[whole]);
			cr_assert(strstr(why.text, words), "%s", why.text);
			(void)snprintf(words, sizeof(words), "these %zu bytes", size - at[whole]);
			cr_assert(strstr(why.text, words), "%s", why.text);
			cr_assert_eq(size_of(folder), at[whole]);
			cr_assert(!exists(folder, LOGBOOK_NAME ".damaged-1"));
		}
		put(book, &five[4]);
		model_apply(&model, &five[4]);
		logbook_free(book);
		book = open_book(folder, LOGBOOK_WHOLE);
		expect(book, &model);
		logbook_free(book);
		cr_assert_eq(folder_remove(folder, &why), 0);
	}
	free(bytes.data);
}

static void expect_damage(const char *folder, const struct bytes *bytes, size_t at, unsigned lost)
{
	struct bytes kept = bytes_of(folder, LOGBOOK_NAME ".damaged-1");
	char words[64];

	cr_assert(kept.data && kept.size == bytes->size && memcmp(kept.data, bytes->data, kept.size) == 0);
	free(kept.data);
	(void)snprintf(words, sizeof(words), "damaged at byte %zu", at);
	cr_assert(strstr(why.text, words), "%s, not %s", why.text, words);
	(void)snprintf(words, sizeof(words), "lost: %u;", lost);
	cr_assert(strstr(why.text, words), "%s, not %s", why.text, words);
	cr_assert(strstr(why.text, "kept as " LOGBOOK_NAME ".damaged-1"), "%s", why.text);
}

Test(logbook, every_flipped_byte_costs_its_entry_only)
{
	static const uint8_t flips[] = { 0x01, 0x80, 0xff, 0x20 };
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at);

	for (size_t i = 0; i < bytes.size * sizeof(flips); i++) {
		const char *folder = folder_new(root);
		size_t byte = i / sizeof(flips), hit = 0;
		bool header = byte < BOOK_HEADER_BYTES;
		struct model model;
		struct logbook *book;

		while (!header && at[hit + 1] <= byte)
			hit++;
		model = five_without(header ? 0 : 1u << hit);
		bytes.data[byte] ^= flips[i % sizeof(flips)];
		bytes_leave(folder, LOGBOOK_NAME, bytes.data, bytes.size);
		/* The last one may as well have been on its way when the power was cut. */
		book = open_book(folder, !header && hit == N_FIVE - 1 ? LOGBOOK_TORN : LOGBOOK_DAMAGED);
		expect(book, &model);
		if (header)
			expect_damage(folder, &bytes, 0, 0);
		else if (hit < N_FIVE - 1)
			expect_damage(folder, &bytes, at[hit], 1);
		put(book, &five[1]);
		model_apply(&model, &five[1]);
		logbook_free(book);
		book = open_book(folder, LOGBOOK_WHOLE);
		expect(book, &model);
		logbook_free(book);
		bytes.data[byte] ^= flips[i % sizeof(flips)];
		cr_assert_eq(folder_remove(folder, &why), 0);
	}
	free(bytes.data);
}

Test(logbook, whole_entries_are_found_behind_a_damaged_header_and_first_entry)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at);
	struct model model = five_without(1u | 1u << 2);
	struct logbook *book;

	memset(bytes.data, 0, at[1]);
	memset(bytes.data + at[2], 0xff, 3);
	bytes_leave(root, LOGBOOK_NAME, bytes.data, bytes.size);
	book = open_book(root, LOGBOOK_DAMAGED);
	expect(book, &model);
	expect_damage(root, &bytes, 0, 2);
	logbook_free(book);
	free(bytes.data);
}

Test(logbook, entries_that_were_cut_out_or_doubled_are_noticed)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at), odd = { .data = malloc(2 * bytes.size), .size = 0 };
	struct model model = five_without(1u << 1 | 1u << 2);
	struct logbook *book;

	memcpy(odd.data, bytes.data, at[1]);
	memcpy(odd.data + at[1], bytes.data + at[3], bytes.size - at[3]);
	odd.size = at[1] + bytes.size - at[3];
	bytes_leave(root, LOGBOOK_NAME, odd.data, odd.size);
	book = open_book(root, LOGBOOK_DAMAGED);
	expect(book, &model);
	expect_damage(root, &odd, at[1], 2);
	logbook_free(book);

	/* The second time comes too late: what is in force stays so. */
	memcpy(odd.data, bytes.data, at[2]);
	memcpy(odd.data + at[2], bytes.data + at[0], bytes.size - at[0]);
	odd.size = at[2] + bytes.size - at[0];
	bytes_leave(root, LOGBOOK_NAME, odd.data, odd.size);
	model = five_without(0);
	book = open_book(root, LOGBOOK_DAMAGED);
	expect(book, &model);
	cr_assert(strstr(why.text, "damaged-2"), "%s", why.text);
	logbook_free(book);
	free(odd.data);
	free(bytes.data);
}

/* A service file may hold what looks like a frame, even one of another logbook: it is not taken for one. */
Test(logbook, bytes_inside_of_a_damaged_entry_are_not_taken_for_an_entry)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at);
	uint8_t payload[128] = "\x0a\x7e\x08\x09\x42\x7a";
	struct book_header header;
	struct model model = five_without(0);
	struct logbook *book;

	cr_assert(book_header_get(bytes.data, bytes.size, &header));
	memcpy(payload + 30 + BOOK_HEAD_BYTES, "\x0a\x02\x08\x63", 4);
	book_frame_seal(payload + 30, header.book + 1, 7, 4);
	add_frame(&bytes, header.book, 6, payload, 128);
	bytes.data[at[5] + BOOK_HEAD_BYTES + 10] ^= 1;
	add_frame(&bytes, header.book, 7, "\x0a\x02\x08\x03", 4);
	bytes_leave(root, LOGBOOK_NAME, bytes.data, bytes.size);
	model_apply(&model, &(struct change){ PROCESS, 3, 0, 0 });
	book = open_book(root, LOGBOOK_DAMAGED);
	expect(book, &model);
	expect_damage(root, &bytes, at[5], 1);
	logbook_free(book);
	free(bytes.data);
}

Test(logbook, a_whole_frame_without_an_entry_in_it_is_damage)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at);
	struct model model = five_without(0);
	struct book_header header;
	struct logbook *book;

	cr_assert(book_header_get(bytes.data, bytes.size, &header));
	add_frame(&bytes, header.book, 6, "\xff\xff", 2);
	bytes_leave(root, LOGBOOK_NAME, bytes.data, bytes.size);
	book = open_book(root, LOGBOOK_DAMAGED);
	expect(book, &model);
	expect_damage(root, &bytes, at[5], 1);
	logbook_free(book);
	free(bytes.data);
}

Test(logbook, zeros_at_the_end_are_a_torn_tail)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at);
	struct model model = five_without(0);
	struct logbook *book;

	bytes.data = realloc(bytes.data, bytes.size + 4096);
	memset(bytes.data + bytes.size, 0, 4096);
	bytes_leave(root, LOGBOOK_NAME, bytes.data, bytes.size + 4096);
	book = open_book(root, LOGBOOK_TORN);
	expect(book, &model);
	cr_assert_eq(size_of(root), bytes.size);
	logbook_free(book);
	free(bytes.data);
}

Test(logbook, a_file_that_is_far_too_large_is_kept_and_its_beginning_used)
{
	size_t at[N_FIVE + 1];
	struct bytes bytes = book_of_five(at);
	struct model model = five_without(0);
	enum logbook_found found;
	char path[PATH_MAX];
	struct logbook *book;
	struct stat st;

	bytes_leave(root, LOGBOOK_NAME, bytes.data, bytes.size);
	(void)snprintf(path, sizeof(path), "%s/" LOGBOOK_NAME, root);
	cr_assert_eq(truncate(path, (off_t)1 << 40), 0);
	/* Not on the spoiled disk, which copies files. */
	cr_assert_eq(logbook_open(root, &book, &found, &why), 0, "%s", why.text);
	cr_assert_eq(found, LOGBOOK_DAMAGED);
	expect(book, &model);
	cr_assert(strstr(why.text, "larger than a logbook can be"), "%s", why.text);
	logbook_free(book);
	strcat(path, ".damaged-1");
	cr_assert(stat(path, &st) == 0 && st.st_size == (off_t)1 << 40);
	free(bytes.data);
}

/* ---- others ---- */

static void expect_refusal(int ought, const char *words)
{
	enum logbook_found found = LOGBOOK_WHOLE;
	struct logbook *book = NULL;
	int r = logbook_open(root, &book, &found, &why);

	cr_assert_eq(r, ought, "%d: %s", r, why.text);
	cr_assert(strstr(why.text, words), "%s", why.text);
	cr_assert(!book && found == LOGBOOK_WHOLE);
}

Test(logbook, that_others_could_have_written_is_refused)
{
	char path[PATH_MAX];

	logbook_free(open_book(root, LOGBOOK_NEW));
	(void)snprintf(path, sizeof(path), "%s/" LOGBOOK_NAME, root);
	cr_assert_eq(chmod(path, 0666), 0);
	expect_refusal(-EPERM, "chmod go-w");
	cr_assert_eq(chmod(path, 0600), 0);
	cr_assert_eq(chmod(root, 0777), 0);
	expect_refusal(-EPERM, "chmod go-w");
	cr_assert_eq(chmod(root, 0700), 0);
	logbook_free(open_book(root, LOGBOOK_WHOLE));
	if (geteuid() != 0)
		cr_skip("only root can give a file away");
	cr_assert_eq(chown(path, 12345, (gid_t)-1), 0);
	expect_refusal(-EPERM, "belongs to uid 12345");
}

Test(logbook, that_is_no_file_is_refused_at_once)
{
	char path[PATH_MAX], other[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/" LOGBOOK_NAME, root);
	(void)snprintf(other, sizeof(other), "%s/other", root);
	cr_assert_eq(mkfifo(path, 0600), 0);
	expect_refusal(-EINVAL, "not a regular file");
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(symlink(other, path), 0);
	expect_refusal(-ELOOP, "symbolic link");
	cr_assert(!exists(root, "other"));
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(mkdir(path, 0700), 0);
	expect_refusal(-EISDIR, "directory");
}

Test(logbook, needs_its_folder)
{
	struct logbook *book;
	enum logbook_found found;

	(void)strcat(root, "/not-there");
	cr_assert_eq(logbook_open(root, &book, &found, &why), -ENOENT);
	cr_assert(strstr(why.text, "/not-there/logbook"), "%s", why.text);
	*strrchr(root, '/') = '\0';
}

Test(logbook, that_somebody_removes_is_made_anew_with_all_that_was_in_it)
{
	struct model model = five_without(0);
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	char path[PATH_MAX];

	for (size_t i = 0; i < N_FIVE; i++)
		put(book, &five[i]);
	(void)snprintf(path, sizeof(path), "%s/" LOGBOOK_NAME, root);
	cr_assert_eq(unlink(path), 0);
	put(book, &five[0]);
	logbook_free(book);
	book = open_book(root, LOGBOOK_WHOLE);
	expect(book, &model);

	/* The folder as well. */
	cr_assert_eq(folder_remove(root, &why), 0);
	cr_assert_eq(book_put(book, &five[0], &why), -ENOENT);
	cr_assert(strstr(why.text, "make it anew"), "%s", why.text);
	cr_assert_eq(mkdir(root, 0700), 0);
	put(book, &five[0]);
	logbook_free(book);
	book = open_book(root, LOGBOOK_WHOLE);
	expect(book, &model);
	logbook_free(book);
}

Test(logbook, in_whose_place_somebody_puts_another_file_keeps_both)
{
	struct model model = five_without(0);
	struct logbook *book = open_book(root, LOGBOOK_NEW);
	struct bytes kept;
	char path[PATH_MAX];

	for (size_t i = 0; i < N_FIVE; i++)
		put(book, &five[i]);
	(void)snprintf(path, sizeof(path), "%s/" LOGBOOK_NAME, root);
	cr_assert_eq(unlink(path), 0);
	bytes_leave(root, LOGBOOK_NAME, "what is this?", 13);
	put(book, &five[0]);
	logbook_free(book);
	kept = bytes_of(root, LOGBOOK_NAME ".other-1");
	cr_assert(kept.size == 13 && memcmp(kept.data, "what is this?", 13) == 0);
	free(kept.data);
	book = open_book(root, LOGBOOK_WHOLE);
	expect(book, &model);
	logbook_free(book);
}
