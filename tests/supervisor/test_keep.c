/* SPDX-License-Identifier: MIT */
/* What is kept of events and rolls: files that may be torn, full, or too long. */
#include "supervisor/events/frame.h"
#include "supervisor/events/keep.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct keep keep;

static void set_up(void)
{
	snprintf(folder, sizeof(folder), "/tmp/upg-keep.XXXXXX");
	cr_assert(mkdtemp(folder));
	cr_assert_eq(keep_open(folder, &keep, NULL), 0);
}

static void tear_down(void)
{
	char command[96];

	keep_close(&keep);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_assert_eq(system(command), 0);
}

TestSuite(keep, .timeout = 30, .init = set_up, .fini = tear_down);

static uint8_t frame[8192];

static size_t sealed(const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_pack(message, frame + FRAME_HEAD_BYTES);

	frame_seal(frame, length);
	return FRAME_HEAD_BYTES + length;
}

static void put_event(const char *service, int64_t wall_us, const char *text)
{
	Upgraded__Wire__Event event = UPGRADED__WIRE__EVENT__INIT;

	event.service = wire_text(service);
	event.text = wire_text(text);
	event.wall_us = wall_us;
	cr_assert_eq(keep_event(&keep, frame, sealed(&event.base)), 0);
}

static void put_roll(uint64_t id, const char *outcome, bool asked)
{
	Upgraded__Wire__RollReport report = UPGRADED__WIRE__ROLL_REPORT__INIT;
	Upgraded__Wire__Who who = UPGRADED__WIRE__WHO__INIT;

	report.id = id;
	report.number = asked ? id : 0;
	report.outcome = wire_text(outcome);
	report.asked_by = asked ? &who : NULL;
	cr_assert_eq(keep_roll(&keep, "web", frame, sealed(&report.base)), 0);
}

static size_t events(const char *service, int64_t since_us, size_t most, char *first, size_t size)
{
	struct keep_filter filter = { service, since_us, most };
	struct keep_list list;
	size_t n;

	cr_assert_eq(keep_read_events(&keep, &filter, &list), 0);
	n = list.n;
	snprintf(first, size, "%s", n ? ((Upgraded__Wire__Event *)list.entries[0])->text : "");
	keep_events_done(&list);
	return n;
}

static void damage(const char *name, off_t at)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, "torn", 4, at), 4);
	close(fd);
}

Test(keep, gives_back_what_is_asked_for)
{
	char first[64];

	cr_assert_eq(events("", 0, 10, first, sizeof(first)), 0);
	put_event("web", 10, "a");
	put_event("db", 20, "b");
	put_event("web", 30, "c");
	cr_assert_eq(events("", 0, 10, first, sizeof(first)), 3);
	cr_assert_eq(events("web", 0, 10, first, sizeof(first)), 2);
	cr_assert_eq(events("", 20, 10, first, sizeof(first)), 2);
	cr_assert_str_eq(first, "b");
	cr_assert_eq(events("", 0, 1, first, sizeof(first)), 1);
	cr_assert_str_eq(first, "c");
}

Test(keep, passes_over_what_is_torn)
{
	char first[64];

	put_event("web", 10, "a");
	put_event("web", 20, "b");
	damage("events/events", 20);
	put_event("web", 30, "c");
	cr_assert_eq(events("", 0, 10, first, sizeof(first)), 2);
	cr_assert_str_eq(first, "b");
}

Test(keep, is_bounded)
{
	static char long_text[6000];
	char first[64], path[128];
	struct stat st;

	memset(long_text, 'x', sizeof(long_text) - 1);
	put_event("web", 1, "the first");
	for (unsigned i = 0; i < 2 * KEEP_EVENTS_BYTES / sizeof(long_text); i++)
		put_event("web", 2, long_text);
	snprintf(path, sizeof(path), "%s/events/events", folder);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_leq(st.st_size, (off_t)KEEP_EVENTS_BYTES);
	cr_assert_gt(events("", 0, 100000, first, sizeof(first)), 600);
}

Test(keep, has_each_roll_once_as_it_was_at_last_and_who_asked)
{
	struct keep_list list;
	const Upgraded__Wire__RollReport *report;

	put_roll(1, "under way", true);
	put_roll(2, "under way", true);
	put_roll(1, "done", false); /* a supervisor after this one has led it to its end */
	cr_assert_eq(keep_read_rolls(&keep, "web", &list), 0);
	cr_assert_eq(list.n, 2);
	report = list.entries[0];
	cr_assert_str_eq(report->outcome, "done");
	cr_assert_eq(report->number, 1);
	cr_assert(report->asked_by);
	keep_rolls_done(&list);
}

Test(keep, has_the_last_rolls)
{
	struct keep_list list;

	for (uint64_t i = 1; i <= KEEP_ROLLS + KEEP_ROLLS_SLACK + 1; i++)
		put_roll(i, "done", true);
	cr_assert_eq(keep_read_rolls(&keep, "web", &list), 0);
	cr_assert_eq(list.n, KEEP_ROLLS);
	cr_assert_eq(((Upgraded__Wire__RollReport *)list.entries[KEEP_ROLLS - 1])->id, KEEP_ROLLS + KEEP_ROLLS_SLACK + 1);
	keep_rolls_done(&list);
}

Test(keep, follows_no_link)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/history/web", folder);
	cr_assert_eq(symlink("/etc/passwd", path), 0);
	cr_assert_lt(keep_roll(&keep, "web", frame, 1), 0);
}
