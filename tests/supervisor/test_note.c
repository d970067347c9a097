/* SPDX-License-Identifier: MIT */
/* A note that a process of a service holds for a supervisor without a logbook: it says what the book said, and nobody else can have
 * made it. */
#include "supervisor/logbook/note.h"

#include "base/fd.h"
#include "base/why.h"
#include "supervisor/machine/folder.h"
#include "tests/supervisor/book.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char root[64];
static struct why why;
static struct logbook *book;

static void put(uint64_t serial, const char *service)
{
	Upgraded__Logbook__Process process = UPGRADED__LOGBOOK__PROCESS__INIT;
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;

	process.serial = serial;
	process.service = (char *)(uintptr_t)service;
	process.pid = (int32_t)serial + 1000;
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS;
	entry.process = &process;
	cr_assert_eq(logbook_write(book, &entry, &why), 0, "%s", why.text);
}

static void put_service(const char *service)
{
	Upgraded__Logbook__Service what = UPGRADED__LOGBOOK__SERVICE__INIT;
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;

	what.name = (char *)(uintptr_t)service;
	what.wanted = true;
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE;
	entry.service = &what;
	cr_assert_eq(logbook_write(book, &entry, &why), 0, "%s", why.text);
}

static void set_up(void)
{
	enum logbook_found found;

	strcpy(root, "/tmp/upg-note.XXXXXX");
	cr_assert(mkdtemp(root));
	cr_assert_eq(logbook_open(root, &book, &found, &why), 0, "%s", why.text);
	cr_assert(!logbook_is_complete(book));
	put(1, "web");
	put(2, "mail");
	put_service("web");
	put_service("mail");
	put(3, "web");
}

static void tear_down(void)
{
	logbook_free(book);
	cr_assert_eq(folder_remove(root, &why), 0, "%s", why.text);
}

/* Whoever makes a file in the place of a lost one may be killed before it has looked for what was in there. */
static void begin_again(bool complete)
{
	enum logbook_found found;

	logbook_free(book);
	cr_assert_eq(logbook_open(root, &book, &found, &why), 0, "%s", why.text);
	cr_assert_eq(logbook_is_complete(book), complete);
}

TestSuite(note, .init = set_up, .fini = tear_down, .timeout = 30);

Test(note, is_looked_for_until_the_logbook_is_rebuilt)
{
	begin_again(false);
	begin_again(false);
	cr_assert_eq(logbook_rebuilt(book, &why), 0, "%s", why.text);
	cr_assert(!logbook_is_complete(book));
	begin_again(true);
	begin_again(true);
	cr_assert_eq(logbook_rebuilt(book, &why), 0, "%s", why.text);
	begin_again(true);
}

static int make(void)
{
	Upgraded__Logbook__Note head = UPGRADED__LOGBOOK__NOTE__INIT;
	int fd;

	head.pid = 77;
	head.written_us = 5;
	fd = note_make(book, "web", &head, &why);
	cr_assert_geq(fd, 0, "%s", why.text);
	return fd;
}

static void is_none(int fd)
{
	Upgraded__Logbook__Note *note;

	*why.text = 0;
	cr_assert_eq(note_read(fd, &note, &why), -EPERM);
	cr_assert_neq(*why.text, 0);
}

Test(note, says_what_the_book_has_of_its_service)
{
	FD_CLEANUP int fd = make();
	Upgraded__Logbook__Note *note;

	cr_assert_eq(note_read(fd, &note, &why), 0, "%s", why.text);
	cr_assert_eq(note->pid, 77);
	cr_assert_eq(note->written_us, 5);
	cr_assert_str_eq(note->place, root);
	cr_assert_eq(note->n_entries, 3);
	cr_assert_eq(note->entries[0]->process->serial, 1);
	cr_assert_str_eq(note->entries[1]->service->name, "web");
	cr_assert_eq(note->entries[2]->process->pid, 1003);
	upgraded__logbook__note__free_unpacked(note, NULL);
}

Test(note, is_found_by_its_name)
{
	FD_CLEANUP int fd = make();
	char path[64], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	cr_assert_gt(n, 0);
	link[n] = 0;
	cr_assert_str_eq(link, NOTE_LINK);
}

Test(note, cannot_be_changed_by_who_holds_it)
{
	FD_CLEANUP int fd = make();

	cr_assert_lt(pwrite(fd, "x", 1, 0), 0);
	cr_assert_lt(ftruncate(fd, 1), 0);
	cr_assert_lt(ftruncate(fd, 1 << 20), 0);
	cr_assert_eq(mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
}

/* The bytes of a note, in memory that @uid makes. */
static int copy(uid_t uid, int seals)
{
	static char data[1 << 16];
	FD_CLEANUP int fd = make();
	ssize_t n = pread(fd, data, sizeof(data), 0);
	int copied;

	cr_assert_gt(n, 0);
	cr_assert_eq(syscall(SYS_setresuid, (uid_t)-1, uid, (uid_t)-1), 0);
	copied = memfd_create("upgraded-note", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert_eq(write(copied, data, (size_t)n), n);
	cr_assert_eq(fcntl(copied, F_ADD_SEALS, seals), 0);
	cr_assert_eq(syscall(SYS_setresuid, (uid_t)-1, (uid_t)0, (uid_t)-1), 0);
	return copied;
}

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

Test(note, of_another_user_is_none)
{
	FD_CLEANUP int ours = copy(0, ALL_SEALS);
	FD_CLEANUP int fd = copy(65534, ALL_SEALS);
	Upgraded__Logbook__Note *note;

	cr_assert_eq(note_read(ours, &note, &why), 0, "%s", why.text);
	upgraded__logbook__note__free_unpacked(note, NULL);
	is_none(fd);
	cr_assert(strstr(why.text, "65534"), "%s", why.text);
}

Test(note, that_can_still_be_changed_is_none)
{
	FD_CLEANUP int fd = copy(0, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);

	is_none(fd);
}

/* And nobody waits at it. */
Test(note, is_none_where_it_is_something_else)
{
	FD_CLEANUP int file = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FD_CLEANUP int memory = memfd_create("upgraded-note", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	is_none(file);
	is_none(ends[0]);
	cr_assert_eq(write(memory, "\xff\xff\xff\xff", 4), 4);
	cr_assert_eq(fcntl(memory, F_ADD_SEALS, ALL_SEALS), 0);
	is_none(memory);
	close(ends[0]);
	close(ends[1]);
	memory = fd_close(memory);
	memory = memfd_create("upgraded-note", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert_eq(fcntl(memory, F_ADD_SEALS, ALL_SEALS), 0);
	is_none(memory); /* empty */
}
