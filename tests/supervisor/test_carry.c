/* SPDX-License-Identifier: MIT */
/* What is left to the next program: items and descriptors, or a clear word that they are not there. */
#include "supervisor/carry/carry.h"

#include "base/base.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(carry, .timeout = 30);

static struct why why;

static void put_header(struct carry *carry, uint32_t format, pid_t pid)
{
	Upgraded__Carry__Header header = UPGRADED__CARRY__HEADER__INIT;
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;

	header.format = format;
	header.version = wire_text("9.9");
	header.pid = pid;
	item.what_case = UPGRADED__CARRY__ITEM__WHAT_HEADER;
	item.header = &header;
	carry_put(carry, &item);
}

static void put_descriptor(struct carry *carry, const char *name, int fd)
{
	Upgraded__Carry__Descriptor descriptor = UPGRADED__CARRY__DESCRIPTOR__INIT;
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;

	descriptor.name = wire_text(name);
	descriptor.descriptor = carry_hold(carry, fd);
	item.what_case = UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR;
	item.descriptor = &descriptor;
	carry_put(carry, &item);
}

static struct carry *fresh(void)
{
	struct carry *carry;

	cr_assert_eq(carry_new(&carry, &why), 0, "%s", why.text);
	put_header(carry, CARRY_FORMAT, getpid());
	return carry;
}

static bool ends_with_exec(int fd)
{
	return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

Test(carry, is_read_as_it_was_left)
{
	struct carry *carry = fresh(), *left;
	const Upgraded__Carry__Item *item;
	int pair[2], memory, again;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	put_descriptor(carry, "one", pair[0]);
	cr_assert_eq(carry_hold(carry, pair[0]), 1, "one key");
	put_descriptor(carry, "none", -1);
	put_descriptor(carry, "two", pair[1]);
	cr_assert(ends_with_exec(pair[0]));
	cr_assert_eq(carry_seal(carry, &memory, &why), 0, "%s", why.text);
	cr_assert_not(ends_with_exec(pair[0]) || ends_with_exec(pair[1]) || ends_with_exec(memory));

	/* As the next program has it: a number of its own process, which carry_done() closes. */
	cr_assert_eq(carry_open(dup(memory), NULL, &left, &why), 0, "%s", why.text);
	cr_assert_str_eq(carry_header(left)->version, "9.9");
	item = carry_next(left, UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR, NULL);
	cr_assert_str_eq(item->descriptor->name, "one");
	cr_assert_eq(carry_take(left, item->descriptor->descriptor), pair[0]);
	again = carry_take(left, item->descriptor->descriptor);
	cr_assert(again >= 0 && again != pair[0] && ends_with_exec(again), "each owner has one of its own");
	fd_close(again);
	item = carry_next(left, UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR, item);
	cr_assert_str_eq(item->descriptor->name, "none");
	cr_assert_eq(carry_take(left, item->descriptor->descriptor), -1);
	item = carry_behind(left, item);
	cr_assert_str_eq(item->descriptor->name, "two");
	cr_assert_null(carry_next(left, UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR, item));
	/* Until it is done, the program before finds everything. */
	cr_assert_not(ends_with_exec(pair[0]));
	carry_done(left);
	cr_assert(ends_with_exec(pair[0]));
	cr_assert_lt(fcntl(pair[1], F_GETFD), 0, "nobody took it");
	carry_free(left);
	carry_free(carry);
}

Test(carry, is_taken_back_when_nobody_comes)
{
	struct carry *carry = fresh();
	int fd = eventfd(0, EFD_CLOEXEC), memory;

	put_descriptor(carry, "one", fd);
	cr_assert_eq(carry_seal(carry, &memory, &why), 0);
	carry_unseal(carry);
	cr_assert(ends_with_exec(fd) && ends_with_exec(memory));
	carry_free(carry);
}

Test(carry, does_not_take_another_descriptor_for_one_that_is_gone)
{
	struct carry *carry = fresh(), *left;
	int fd = memfd_create("one", MFD_CLOEXEC), other = memfd_create("other", MFD_CLOEXEC), memory;

	put_descriptor(carry, "one", fd);
	cr_assert_eq(carry_seal(carry, &memory, &why), 0);
	cr_assert_eq(dup3(other, fd, O_CLOEXEC), fd);
	cr_assert_eq(carry_open(memory, NULL, &left, &why), 0, "%s", why.text);
	cr_assert_eq(carry_take(left, carry_next(left, UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR, NULL)->descriptor->descriptor), -1);
	carry_free(left);
	carry_free(carry);
}

static void refused(uint32_t format, pid_t pid, int rc, const char *text)
{
	struct carry *carry, *left;
	int memory;

	cr_assert_eq(carry_new(&carry, &why), 0);
	put_header(carry, format, pid);
	cr_assert_eq(carry_seal(carry, &memory, &why), 0);
	cr_assert_eq(carry_open(memory, NULL, &left, &why), rc);
	cr_assert(strstr(why.text, text), "%s", why.text);
	carry_free(carry);
}

Test(carry, of_another_format_or_process_is_refused_in_words)
{
	refused(CARRY_FORMAT + 1, getpid(), -EPROTO, "upgraded 9.9 left it in format 2; this one reads 1 to 1");
	refused(CARRY_FORMAT, getpid() + 1, -EBADMSG, "and not by us");
}

Test(carry, that_is_not_whole_is_refused)
{
	struct carry *left;
	int fd = memfd_create("torn", MFD_CLOEXEC);

	cr_assert_lt(carry_open(fd, NULL, &left, &why), 0, "empty");
	cr_assert_eq(write(fd, "\x10\0\0\0abc", 7), 7);
	cr_assert_eq(carry_open(fd, NULL, &left, &why), -EBADMSG);
	cr_assert(strstr(why.text, "at byte"), "%s", why.text);
	cr_assert_lt(carry_open(-1, NULL, &left, &why), 0);
}

/* ---- as a file, for a supervisor that is started anew ---- */

static uint64_t asked_for;

static int find(struct carry_finder *finder, uint64_t device, uint64_t inode)
{
	(void)finder, (void)device;
	asked_for = inode;
	return -1;
}

Test(carry, as_a_file_asks_where_descriptors_are)
{
	struct carry_finder finder = { .find = find };
	char path[] = "/tmp/upg-carry.XXXXXX";
	struct carry *carry = fresh(), *left;
	int fd = mkstemp(path);
	struct stat st;

	put_descriptor(carry, "one", fd);
	cr_assert_eq(carry_write(carry, path, &why), 0, "%s", why.text);
	carry_free(carry);
	cr_assert_eq(carry_open_file(path, &finder, &left, &why), 0, "%s", why.text);
	cr_assert(carry_is_found(left));
	cr_assert_eq(carry_take(left, carry_next(left, UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR, NULL)->descriptor->descriptor), -1);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(asked_for, st.st_ino);
	carry_free(left);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(carry_open_file(path, &finder, &left, &why), -ENOENT);
	fd_close(fd);
}

Test(carry, that_cannot_be_written_leaves_no_file)
{
	struct carry *carry = fresh();

	cr_assert_eq(carry_write(carry, "/nonexistent/bake", &why), -ENOENT);
	carry_free(carry);
	carry = fresh();
	carry_fail(carry, -ENOMEM);
	cr_assert_eq(carry_write(carry, "/tmp/upg-carry-never", &why), -ENOMEM);
	cr_assert_lt(access("/tmp/upg-carry-never", F_OK), 0);
	carry_free(carry);
}

/* ---- as the first version wrote it ---- */

/* It must be read for ever, or refused in words: a newer supervisor takes over from one of this version. */
Test(carry, of_format_1_is_read)
{
	struct carry_finder finder = { .find = find };
	const Upgraded__Carry__Item *item;
	struct carry *left;

	cr_assert_eq(carry_open_file("tests/supervisor/golden/bake-1", &finder, &left, &why), 0, "%s", why.text);
	cr_assert_eq(carry_header(left)->format, 1);
	item = carry_next(left, UPGRADED__CARRY__ITEM__WHAT_ROLL, NULL);
	cr_assert_str_eq(item->roll->service, "cached");
	cr_assert_str_eq(item->roll->from, "v1");
	cr_assert_str_eq(item->roll->to, "v2");
	cr_assert_gt(item->roll->commit_us, 0);
	item = carry_behind(left, item);
	cr_assert_eq((int)item->what_case, UPGRADED__CARRY__ITEM__WHAT_DESCRIPTOR);
	cr_assert_str_eq(item->descriptor->name, "listener");
	cr_assert_eq(carry_take(left, item->descriptor->descriptor), -1);
	cr_assert_gt(asked_for, 0);
	item = carry_next(left, UPGRADED__CARRY__ITEM__WHAT_PROCESS, NULL);
	cr_assert_str_eq(item->process->service, "cached");
	cr_assert_gt(item->process->hello.len, 0);
	carry_free(left);
}
