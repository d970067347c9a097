/* SPDX-License-Identifier: MIT */
/* What a fake says. */
#include "tests/supervisor/fake.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void fake_say_fds(struct fake *fake, const Upgraded__Wire__AppMessage *message, const int *fds_consume, size_t n)
{
	size_t size = upgraded__wire__app_message__get_packed_size(message);
	uint8_t *packed = malloc(size + 1);
	struct wire_fds fds = { .n = n };

	cr_assert_not_null(packed);
	cr_assert_leq(n, WIRE_FDS_MAX);
	memcpy(fds.fd, fds_consume, n * sizeof(int));
	upgraded__wire__app_message__pack(message, packed);
	instance_hear(&fake->instance, upgraded__wire__app_message__unpack(NULL, size, packed), &fds);
	free(packed);
}

void fake_say(struct fake *fake, const Upgraded__Wire__AppMessage *message)
{
	const int none = -1;

	fake_say_fds(fake, message, &none, 0);
}

#define SAY(fake, kind, field, body)                                                                            \
	do {                                                                                                        \
		Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_##kind, .field = &(body)); \
		fake_say(fake, &message);                                                                               \
	} while (0)

void fake_hello(struct fake *fake, unsigned version, bool migrates)
{
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;
	Upgraded__Wire__Schema schema = UPGRADED__WIRE__SCHEMA__INIT, *schemas[] = { &schema };
	Upgraded__Wire__MigrationEdge edges[16], *list[16];

	schema.name = wire_text("thing");
	schema.version = version;
	schema.fingerprint = version;
	hello.protocol = WIRE_PROTOCOL;
	hello.leaves = hello.listens = !fake->is_old_library;
	hello.n_schemas = 1;
	hello.schemas = schemas;
	hello.migrations = list;
	hello.journals = !fake->knows_no_journal;
	hello.checkpoints = !fake->knows_no_checkpoint && !fake->is_old_library;
	for (unsigned v = 1; migrates && v < version && v < 8; v++) {
		for (unsigned down = 0; down < 2; down++) {
			Upgraded__Wire__MigrationEdge *edge = &edges[hello.n_migrations];

			upgraded__wire__migration_edge__init(edge);
			edge->type = wire_text("thing");
			edge->from = down ? v + 1 : v;
			edge->to = down ? v : v + 1;
			list[hello.n_migrations++] = edge;
		}
	}
	SAY(fake, HELLO, hello, hello);
}

#define SAYS(name, kind, field, type, init)        \
	void fake_##name(struct fake *fake)            \
	{                                              \
		Upgraded__Wire__##type body = init;        \
		SAY(fake, kind, field, body);              \
	}

SAYS(standby, STANDBY, standby, Standby, UPGRADED__WIRE__STANDBY__INIT)
SAYS(ready, READY, ready, Ready, UPGRADED__WIRE__READY__INIT)
SAYS(parked, PARKED, parked, Parked, UPGRADED__WIRE__PARKED__INIT)

void fake_not_yet(struct fake *fake)
{
	fake_not_yet_as(fake, "");
}

void fake_not_yet_as(struct fake *fake, const char *reason)
{
	Upgraded__Wire__NotYet not_yet = UPGRADED__WIRE__NOT_YET__INIT;

	not_yet.reason = (char *)(uintptr_t)reason;

	not_yet.question = fake->question;
	SAY(fake, NOT_YET, not_yet, not_yet);
}

void fake_awaits_child(struct fake *fake, pid_t child, const char *reason)
{
	Upgraded__Wire__NotYet not_yet = UPGRADED__WIRE__NOT_YET__INIT;

	not_yet.reason = (char *)(uintptr_t)reason;
	not_yet.question = fake->question;
	not_yet.awaits_child = true;
	not_yet.child = child;
	SAY(fake, NOT_YET, not_yet, not_yet);
}

void fake_pong(struct fake *fake)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;

	pong.nonce = fake->nonce;
	SAY(fake, PONG, pong, pong);
}

void fake_parked_still(struct fake *fake)
{
	Upgraded__Wire__Parked parked = UPGRADED__WIRE__PARKED__INIT;

	parked.still = true;
	SAY(fake, PARKED, parked, parked);
}

void fake_quiesced(struct fake *fake)
{
	fake_quiesced_since(fake, 0);
}

void fake_quiesced_since(struct fake *fake, uint64_t begun_us)
{
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;

	fake->stands = true;
	quiesced.nanoseconds = 40000;
	quiesced.begun_us = begun_us;
	quiesced.question = fake->question;
	SAY(fake, QUIESCED, quiesced, quiesced);
}

void fake_refused(struct fake *fake, const char *reason)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;

	refused.reason = wire_text(reason);
	refused.question = fake->question;
	SAY(fake, REFUSED, refused, refused);
}

void fake_reader_gone(struct fake *fake)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;

	refused.reason = wire_text("state could not be written: Broken pipe");
	refused.reader_gone = true;
	refused.question = fake->question;
	SAY(fake, REFUSED, refused, refused);
}

void fake_progress(struct fake *fake, const char *text)
{
	Upgraded__Wire__StartProgress progress = UPGRADED__WIRE__START_PROGRESS__INIT;

	progress.text = wire_text(text);
	SAY(fake, START_PROGRESS, start_progress, progress);
}

void fake_saved(struct fake *fake, uint64_t records, uint32_t fds)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;

	totals.records = totals.digest_lo = records;
	totals.payload_bytes = 100 * records;
	saved.totals = &totals;
	saved.fds = fds;
	saved.question = fake->question;
	SAY(fake, SAVED, saved, saved);
}

void fake_loaded(struct fake *fake, uint64_t records, uint32_t fds)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;

	totals.records = totals.digest_lo = records;
	totals.payload_bytes = 100 * records;
	loaded.totals = &totals;
	loaded.fds = fds;
	SAY(fake, LOADED, loaded, loaded);
}

void fake_committed_at(struct fake *fake, uint64_t at_us)
{
	Upgraded__Wire__Committed committed = UPGRADED__WIRE__COMMITTED__INIT;

	committed.at_us = at_us;
	SAY(fake, COMMITTED, committed, committed);
}

void fake_committed(struct fake *fake)
{
	fake_committed_at(fake, clock_now_us());
}

bool fake_commit(struct fake *fake)
{
	if (!commit_take(&fake->word, COMMIT_NEW))
		return false;
	fake_committed(fake);
	return true;
}

void fake_resumed(struct fake *fake)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	resumed.at_us = clock_now_us();
	resumed.question = fake->question;
	SAY(fake, RESUMED, resumed, resumed);
}

void fake_resumed_with(struct fake *fake, const Upgraded__Wire__Resumed *resumed)
{
	Upgraded__Wire__Resumed whole = *resumed;

	whole.question = fake->question;
	SAY(fake, RESUMED, resumed, whole);
}

void fake_journal_full(struct fake *fake, uint64_t bytes)
{
	Upgraded__Wire__JournalFull full = UPGRADED__WIRE__JOURNAL_FULL__INIT;

	full.bytes = bytes;
	SAY(fake, JOURNAL_FULL, journal_full, full);
}

void fake_journal_void(struct fake *fake, const char *reason)
{
	Upgraded__Wire__JournalFull full = UPGRADED__WIRE__JOURNAL_FULL__INIT;

	full.bytes = 4096;
	full.reason = wire_text(reason);
	SAY(fake, JOURNAL_FULL, journal_full, full);
}

void fake_gaps(struct fake *fake, uint32_t no_room, uint64_t size_would_do, uint32_t others, const char *reason)
{
	Upgraded__Wire__JournalGaps gaps = UPGRADED__WIRE__JOURNAL_GAPS__INIT;

	gaps.no_room = no_room;
	gaps.size_would_do = size_would_do;
	gaps.others = others;
	gaps.reason = wire_text(reason);
	SAY(fake, JOURNAL_GAPS, journal_gaps, gaps);
}

uint64_t fake_hand_over(struct fake *fake, size_t n, bool last)
{
	Upgraded__Wire__FdInfo infos[8], *list[8];
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
	static uint64_t tag;
	int numbers[8];

	cr_assert_leq(n, 8);
	for (size_t i = 0; i < n; i++) {
		upgraded__wire__fd_info__init(&infos[i]);
		infos[i].name = wire_text("socket");
		infos[i].tag = ++tag;
		list[i] = &infos[i];
		numbers[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		cr_assert_geq(numbers[i], 0);
	}
	fds.n_fds = n;
	fds.fds = list;
	fds.last = last;
	fake_say_fds(fake, &message, numbers, n);
	return tag;
}

void fake_hand(struct fake *fake, const char *name, uint64_t tag, int fd_consume, bool last)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);

	info.name = wire_text(name);
	info.tag = tag;
	fds.n_fds = 1;
	fds.fds = list;
	fds.last = last;
	fds.next_tag = 7;
	fake_say_fds(fake, &message, &fd_consume, 1);
}

void fake_closed_as(struct fake *fake, const char *name, uint64_t tag)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Closed closed = UPGRADED__WIRE__CLOSED__INIT;

	info.name = wire_text(name);
	info.tag = tag;
	closed.n_fds = 1;
	closed.fds = list;
	SAY(fake, CLOSED, closed, closed);
}

void fake_closed(struct fake *fake, uint64_t tag)
{
	fake_closed_as(fake, "socket", tag);
}

void fake_traffic(struct fake *fake, uint64_t unanswered, bool answered)
{
	Upgraded__Wire__Traffic traffic = UPGRADED__WIRE__TRAFFIC__INIT;

	traffic.unanswered = unanswered;
	traffic.answered = answered;
	SAY(fake, TRAFFIC, traffic, traffic);
}

void fake_garbage(struct fake *fake, const char *reason)
{
	fake->instance.events->on_garbage(&fake->instance, reason);
}

void fake_checkpointed(struct fake *fake, uint64_t records)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);
	uint8_t bytes[256];
	size_t n;

	totals.records = records;
	totals.payload_bytes = 100 * records;
	saved.totals = &totals;
	n = protobuf_c_message_pack(&message.base, bytes);
	cr_assert_eq(write(fake->report, bytes, n), (ssize_t)n);
	fake_close_report(fake);
}
