/* SPDX-License-Identifier: MIT */
#include "supervisor/logbook/note.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/logbook/private.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* ---- made ---- */

static bool is_of(const void *service, const Upgraded__Logbook__Entry *entry)
{
	if (entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS)
		return strcmp(entry->process->service, service) == 0;
	return entry->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE && strcmp(entry->service->name, service) == 0;
}

static int write_sealed(const Upgraded__Logbook__Note *note)
{
	size_t size = upgraded__logbook__note__get_packed_size(note);
	FD_CLEANUP int fd = memfd_create("upgraded-note", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t *packed = malloc(size + 1);
	int made, r = 0;

	if (fd < 0 || !packed) {
		r = fd < 0 ? -errno : -ENOMEM;
		free(packed);
		return r;
	}
	upgraded__logbook__note__pack(note, packed);
	r = disk_write(&logbook_disk_real, fd, packed, size, 0);
	free(packed);
	if (r == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		r = -errno;
	if (r < 0)
		return r;
	made = fd;
	fd = -1;
	return made;
}

int note_make(const struct logbook *book, const char *service, const Upgraded__Logbook__Note *head, struct why *why)
{
	struct logbook_list list;
	Upgraded__Logbook__Note note = *head;
	int r = logbook_list(book, is_of, service, &list);

	note.n_entries = list.n;
	note.entries = list.entries;
	note.place = book->place;
	if (r == 0)
		r = write_sealed(&note);
	logbook_list_done(&list);
	return r < 0 ? why_errno(why, r, "a note for the next supervisor") : r;
}

/* ---- read ---- */

/* Seals come first: whatever is no such memory has none, and is not asked for anything that it could be slow to answer. */
static int prove(int fd, size_t *ret_size_bytes, struct why *why)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || (seals & SEALS) != SEALS)
		return why_set(why, -EPERM, "it could still be changed");
	if (fstat(fd, &st) < 0)
		return why_errno(why, -errno, "a note");
	if (st.st_uid != geteuid())
		return why_set(why, -EPERM, "it was made by user %u", (unsigned)st.st_uid);
	if (st.st_size <= 0 || st.st_size > (off_t)LOGBOOK_IN_FORCE_BYTES * 2)
		return why_set(why, -EPERM, "it has %lld bytes", (long long)st.st_size);
	*ret_size_bytes = (size_t)st.st_size;
	return 0;
}

int note_read(int fd, Upgraded__Logbook__Note **ret_note, struct why *why)
{
	ProtobufCMessage *note;
	size_t size = 0, n = 0, unreadable = 0;
	uint8_t *data;
	int r = prove(fd, &size, why);

	if (r < 0)
		return r;
	data = malloc(size);
	r = data ? disk_read(&logbook_disk_real, fd, data, size, &n, &unreadable) : -ENOMEM;
	if (r == 0)
		r = wire_unpack(&upgraded__logbook__note__descriptor, n, data, &note);
	free(data);
	if (r < 0)
		return why_errno(why, r == -ENOMEM ? r : -EPERM, "it cannot be read");
	*ret_note = (Upgraded__Logbook__Note *)note;
	return 0;
}
