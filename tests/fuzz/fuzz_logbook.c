/* SPDX-License-Identifier: MIT */
/* Any bytes as a logbook. Whatever they are, the book opens, nothing of the old file is lost unless it was its torn end, what is in
 * force survives being written and read again, and the book goes on. */
#include "base/why.h"
#include "supervisor/logbook/bytes.h"
#include "supervisor/logbook/disk.h"
#include "supervisor/machine/folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char folder[64];
static struct logbook_disk disk;

static int sync_nothing(int fd)
{
	(void)fd;
	return 0;
}

static void clean_up(void)
{
	folder_remove(folder, NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/upg-fuzz.XXXXXX" : "/tmp/upg-fuzz.XXXXXX");
	if (!mkdtemp(folder) || atexit(clean_up) != 0)
		abort();
	disk = logbook_disk_real;
	disk.fdatasync = disk.fsync = sync_nothing;
	return 0;
}

static const char *path_of(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* The checksums are made right, so that what lies behind them is reached; sequence numbers stay as they are. */
static void repair(uint8_t *bytes, size_t size)
{
	size_t at = BOOK_HEADER_BYTES;
	struct book_header header = { .writer = "fuzzed" };

	if (size < at)
		return;
	header.format = bytes[8] & 0xf0 ? BOOK_FORMAT : bytes[8];
	header.book = get_u32(bytes + 12);
	book_header_put(bytes, &header);
	while (size - at > BOOK_HEAD_BYTES) {
		size_t length = get_u32(bytes + at + 4) % 512;
		uint64_t sequence = (uint64_t)get_u32(bytes + at + 8) | (uint64_t)get_u32(bytes + at + 12) << 32;

		if (length > size - at - BOOK_HEAD_BYTES)
			return;
		book_frame_seal(bytes + at, header.book, sequence, length);
		at += BOOK_HEAD_BYTES + length;
	}
}

static void write_file(const uint8_t *bytes, size_t size)
{
	int fd = open(path_of(LOGBOOK_NAME), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || close(fd) < 0)
		abort();
}

static void expect_file(const char *name, const uint8_t *bytes, size_t size)
{
	uint8_t *is = malloc(size + 1);
	int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);

	if (!is || fd < 0 || read(fd, is, size + 1) != (ssize_t)size || memcmp(is, bytes, size) != 0)
		abort();
	close(fd);
	free(is);
	if (unlink(path_of(name)) < 0)
		abort();
}

static int tell(void *arg, const Upgraded__Logbook__Entry *entry)
{
	size_t size = upgraded__logbook__entry__get_packed_size(entry);
	uint8_t *packed = malloc(size + 1);

	if (!packed)
		abort();
	(void)upgraded__logbook__entry__pack(entry, packed);
	(void)fwrite(&size, sizeof(size), 1, arg);
	(void)fwrite(packed, 1, size, arg);
	free(packed);
	return 0;
}

/* All that is in force, as one text; the book is closed. */
static char *tell_and_close(struct logbook *book, size_t *ret_size)
{
	char *text;
	FILE *out = open_memstream(&text, ret_size);

	if (!out || logbook_each(book, tell, out) != 0 || fclose(out) != 0)
		abort();
	logbook_free(book);
	return text;
}

static struct logbook *open_book(enum logbook_found *ret_found, struct why *why)
{
	struct logbook *book;

	if (logbook_open_on(&disk, folder, &book, ret_found, why) < 0)
		abort();
	if (!*why->text != (*ret_found == LOGBOOK_WHOLE || *ret_found == LOGBOOK_NEW))
		abort();
	return book;
}

/* It is opened again: the same is in force. */
static void expect_same(const char *ought, size_t ought_size)
{
	enum logbook_found found;
	struct why why;
	size_t size;
	char *is = tell_and_close(open_book(&found, &why), &size);

	if (found != LOGBOOK_WHOLE || size != ought_size || memcmp(is, ought, size) != 0)
		abort();
	free(is);
}

static struct logbook *write_one(struct logbook *book)
{
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;
	Upgraded__Logbook__Process process = UPGRADED__LOGBOOK__PROCESS__INIT;

	process.serial = 1;
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS;
	entry.process = &process;
	if (logbook_write(book, &entry, NULL) != 0)
		abort();
	return book;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum logbook_found found;
	struct why why;
	size_t state_bytes;
	uint8_t *bytes;
	char *state;

	/* The first byte says how far to go: odd ones leave the checksums as they are. */
	if (size < 1 || size > (size_t)1 << 20)
		return 0;
	bytes = memcpy(malloc(size), data + 1, size - 1);
	if (!(data[0] & 1))
		repair(bytes, size - 1);
	write_file(bytes, size - 1);
	state = tell_and_close(open_book(&found, &why), &state_bytes);
	if (found == LOGBOOK_DAMAGED)
		expect_file(LOGBOOK_NAME ".damaged-1", bytes, size - 1);
	else if (found == LOGBOOK_OTHER_VERSION)
		expect_file(LOGBOOK_NAME ".other-1", bytes, size - 1);
	else if (found == LOGBOOK_NEW)
		abort();
	expect_same(state, state_bytes);
	free(state);
	state = tell_and_close(write_one(open_book(&found, &why)), &state_bytes);
	expect_same(state, state_bytes);
	free(state);
	free(bytes);
	return 0;
}
