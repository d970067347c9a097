/* SPDX-License-Identifier: MIT */
/* Outside of any roll: a checkpoint is written beside the service, a journal goes on from it, and another process of the
 * same version takes the place of one that was killed as if it had done all of it itself. */
#include "shim/core/upg.h"
#include "shim/journal/memory.h"
#include "shim/journal/view.h"
#include "tests/shim/bake.h"
#include "tests/shim/ledger.pb-c.h"
#include "tests/shim/teller.h"

#include "base/clock.h"
#include "base/fd.h"
#include "wire/journal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(shim_checkpoint, .timeout = 240);

/* The supervisor of one service. */
static struct {
	struct fake app;
	struct ledger *ledger;
	enum buffers_kind buffers;
	uint32_t room_bytes;
	struct fake_roll held; /* its descriptors */
	int state, coming, report; /* of the checkpoint that is whole, and of the one under way */
	int journals[JOURNALS_MAX];
	unsigned n_journals;
	uint64_t question, number, whole;
	unsigned fills;
	char refused[200];
	uint64_t records;
	bool quiesced, resumed, all_came;
} site;

static int memory_open(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_geq(fd, 0);
	if (size) {
		cr_assert_eq(ftruncate(fd, (off_t)size), 0);
		cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	}
	return fd;
}

static void drop_fd(const Upgraded__Wire__FdInfo *info)
{
	for (size_t i = 0; i < site.held.n_held; i++) {
		if (site.held.held[i].tag != info->tag || strcmp(site.held.held[i].name, info->name) != 0)
			continue;
		free(site.held.held[i].name);
		fd_close(site.held.held[i].fd);
		site.held.held[i] = site.held.held[--site.held.n_held];
		return;
	}
}

static void drop_all_fds(void)
{
	while (site.held.n_held) {
		free(site.held.held[--site.held.n_held].name);
		fd_close(site.held.held[site.held.n_held].fd);
	}
}

static void hear_fds(const Upgraded__Wire__Fds *fds, struct wire_fds *came)
{
	cr_assert_eq(fds->n_fds, came->n);
	for (size_t i = 0; i < came->n; i++) {
		fake_hold(&site.held, fds->fds[i]->name, fds->fds[i]->tag, wire_fds_claim(came, i));
		site.held.held[site.held.n_held - 1].since = fds->fds[i]->since;
	}
	if (fds->next_tag)
		site.held.next_tag = fds->next_tag;
	site.all_came = fds->last;
}

/* Return: false: there is nothing more. */
static bool hear(void)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	const Upgraded__Wire__AppMessage *message;
	ProtobufCMessage *base;
	struct wire_fds fds;

	if (wire_receive(site.app.fd, &upgraded__wire__app_message__descriptor, buffer, &fds, &base, NULL) != WIRE_OK)
		return false;
	message = (const Upgraded__Wire__AppMessage *)base;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_FDS:
		hear_fds(message->fds, &fds);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED:
		for (size_t i = 0; i < message->closed->n_fds; i++)
			drop_fd(message->closed->fds[i]);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED:
		site.quiesced = message->quiesced->question == site.question;
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED:
		site.resumed = message->resumed->question == site.question;
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		snprintf(site.refused, sizeof(site.refused), "%s", message->refused->reason);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FILLS:
		site.fills++;
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL:
		cr_assert_fail("the journal failed: %s", message->journal_full->reason);
	default:
		break;
	}
	wire_fds_close(&fds);
	upgraded__wire__app_message__free_unpacked((Upgraded__Wire__AppMessage *)base, NULL);
	return true;
}

static void hear_until(const bool *what)
{
	while (!*what && !*site.refused) {
		cr_assert_eq(poll(&(struct pollfd){ .fd = site.app.fd, .events = POLLIN }, 1, FAKE_PATIENCE_MS), 1);
		while (!*what && hear())
			;
	}
}

/* Half of the way: the child writes. */
static void begin_checkpoint(bool announce, size_t journal_bytes)
{
	Upgraded__Wire__Prepare prepare = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE, .prepare = &prepare);
	int report[2], fds[3];

	cr_assert_eq(pipe2(report, O_CLOEXEC), 0);
	fds[0] = memory_open("state", 0);
	fds[1] = report[1];
	fds[2] = memory_open("journal", journal_bytes);
	prepare.save_only = prepare.checkpoint = true;
	prepare.announce = announce;
	prepare.level = UPG_WORK_FREE;
	prepare.question = ++site.question;
	prepare.generation = ++site.number;
	prepare.quiesce_deadline_us = prepare.commit_deadline_us = clock_now_us() + 20 * USEC_PER_SEC;
	site.quiesced = site.resumed = false;
	fake_say(&site.app, &message, fds, 3);
	fd_close(report[1]);
	hear_until(&site.quiesced);
	if (announce)
		drop_all_fds();
	hear_until(&site.resumed);
	cr_assert_str_eq(site.refused, "", "%s", site.refused);
	site.report = report[0];
	/* Until it is whole, the one before counts. */
	cr_assert_lt(site.n_journals, JOURNALS_MAX);
	site.journals[site.n_journals++] = fds[2];
	site.coming = fds[0];
}

static void end_checkpoint(void)
{
	uint8_t bytes[4096];
	size_t size = 0;
	ssize_t n;
	Upgraded__Wire__AppMessage *message;

	while ((n = read(site.report, bytes + size, sizeof(bytes) - size)) > 0)
		size += (size_t)n;
	cr_assert_eq(n, 0);
	site.report = fd_close(site.report);
	fd_close(site.state);
	site.state = site.coming;
	site.coming = -1;
	site.whole = site.number;
	message = upgraded__wire__app_message__unpack(NULL, size, bytes);
	cr_assert_not_null(message);
	cr_assert_eq(message->body_case, UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED);
	site.records = message->saved->totals->records;
	upgraded__wire__app_message__free_unpacked(message, NULL);
	while (site.n_journals > 1) {
		fd_close(site.journals[0]);
		memmove(site.journals, site.journals + 1, --site.n_journals * sizeof(*site.journals));
	}
}

static void start(void)
{
	site.ledger = ledger_new(1);
	site.ledger->is_private = true;
	site.ledger->buffers = site.buffers;
	site.ledger->room_bytes = site.room_bytes;
}

static void site_start(enum buffers_kind buffers, uint32_t room_bytes)
{
	site.buffers = buffers;
	site.room_bytes = room_bytes;
	site.state = site.coming = site.report = -1;
	start();
	fake_start_serving(&site.app, &site.ledger->app);
	fake_await_set(&site.ledger->ready);
	bake.old_ledger = site.ledger; /* whom bake_call() calls */
}

static void site_finish(void)
{
	fake_done(&site.app);
	drop_all_fds();
	fd_close(site.state);
	fd_close(site.coming);
	fd_close(site.report);
	for (unsigned i = 0; i < site.n_journals; i++)
		fd_close(site.journals[i]);
}

static void kill_it(void)
{
	kill(site.app.pid, SIGKILL);
	cr_assert_eq(waitpid(site.app.pid, NULL, 0), site.app.pid);
	site.app.pid = 0;
	while (hear())
		;
	fake_vanish(&site.app);
}

static void give_fds(void)
{
	for (size_t i = 0; i <= site.held.n_held; i++) {
		Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
		Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
		Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *infos = &info;

		fds.fds = &infos;
		fds.last = i == site.held.n_held;
		fds.next_tag = fds.last ? site.held.next_tag : 0;
		if (!fds.last) {
			fds.n_fds = 1;
			info.name = site.held.held[i].name;
			info.tag = site.held.held[i].tag;
			info.since = site.held.held[i].since >= site.whole ? site.held.held[i].since : 0;
		}
		while (wire_send(site.app.fd, &message.base, fds.last ? NULL : &site.held.held[i].fd, fds.n_fds, NULL) != WIRE_OK)
			poll(&(struct pollfd){ .fd = site.app.fd, .events = POLLOUT }, 1, 1000);
	}
}

/* Another process of the version, in the place of the one that was killed. */
static const Upgraded__Wire__Replayed *take_place(size_t journal_bytes)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	int fds[JOURNALS_MAX + 2] = { site.state };
	const Upgraded__Wire__Ready *ready;

	start();
	fake_start_standby(&site.app, &site.ledger->app);
	receive.from_file = receive.held = receive.journal = true;
	receive.journals = site.n_journals;
	receive.generation = site.whole;
	receive.deadline_us = clock_now_us() + 20 * USEC_PER_SEC;
	memcpy(fds + 1, site.journals, site.n_journals * sizeof(*fds));
	cr_assert_lt(site.n_journals, JOURNALS_MAX);
	site.journals[site.n_journals] = fds[1 + site.n_journals] = memory_open("journal", journal_bytes);
	cr_assert_eq(lseek(site.state, 0, SEEK_SET), 0);
	fake_say(&site.app, &message, fds, 2 + site.n_journals);
	site.n_journals++;
	give_fds();
	ready = FAKE_TAKE(&site.app, READY)->ready;
	cr_assert_not_null(ready->replayed);
	bake.old_ledger = site.ledger;
	return ready->replayed;
}

/* ---- chosen moments ---- */

Test(shim_checkpoint, and_journal_bring_all_back)
{
	int early, middle, late, idle;

	site_start(BUFFERS_LIBRARY, 0);
	early = bake_call();
	idle = bake_call();
	bake_ask(early, LEDGER_ADD, 1, 5, 0);
	bake_answered(early, 1, 1);
	bake_ask(idle, LEDGER_GET, 1, 5, 0);
	bake_answered(idle, 1, 1);
	/* In the middle of a request. */
	bake_ask(early, LEDGER_DEPOSIT, 2, 5, 1000);
	bake_send_bytes(early, 0, 400);
	begin_checkpoint(true, JOURNAL_BYTES);
	end_checkpoint();
	cr_assert_geq(site.records, 3);
	middle = bake_call();
	bake_ask(middle, LEDGER_ADD, 1, 6, 0);
	bake_answered(middle, 1, 1);
	bake_send_bytes(early, 400, 300);
	late = bake_call();
	bake_ask(late, LEDGER_ADD, 1, 6, 0);
	bake_answered(late, 1, 2);
	kill_it();
	bake_send_bytes(early, 700, 300);
	{
		const Upgraded__Wire__Replayed *replayed = take_place(JOURNAL_BYTES);

		cr_assert_str_eq(replayed->unused, "", "%s", replayed->unused);
		cr_assert_geq(replayed->changes, 2);
		cr_assert_eq(replayed->adopted, 2);
		cr_assert_eq(replayed->kept, 2);
		cr_assert_eq(replayed->reset, 0);
	}
	bake_answered(early, 2, 1 + bake_sum_of(1000));
	bake_ask(middle, LEDGER_GET, 2, 6, 0);
	bake_answered(middle, 2, 2);
	bake_ask(late, LEDGER_QUIT, 2, 6, 0);
	bake_answered(late, 2, 2);
	/* Its end is told, so that the duplicate is let go. */
	bake_ends(late);
	bake_ask(idle, LEDGER_GET, 2, 6, 0);
	bake_answered(idle, 2, 2);
	site_finish();
}

/* What it has done since it took the place is in its own journal: there is no moment without one. */
Test(shim_checkpoint, is_gone_on_from_twice_without_a_new_one)
{
	int fd, closed;

	site_start(BUFFERS_LIBRARY, 0);
	fd = bake_call();
	closed = bake_call();
	bake_ask(fd, LEDGER_ADD, 1, 5, 0);
	bake_answered(fd, 1, 1);
	begin_checkpoint(true, JOURNAL_BYTES);
	end_checkpoint();
	bake_ask(fd, LEDGER_ADD, 2, 5, 0);
	bake_answered(fd, 2, 2);
	bake_ask(closed, LEDGER_QUIT, 1, 5, 0);
	bake_answered(closed, 1, 2);
	bake_ends(closed);
	kill_it();
	cr_assert_eq(take_place(JOURNAL_BYTES)->reset, 0);
	bake_ask(fd, LEDGER_ADD, 3, 5, 0);
	bake_answered(fd, 3, 3);
	kill_it();
	{
		const Upgraded__Wire__Replayed *replayed = take_place(JOURNAL_BYTES);

		cr_assert_str_eq(replayed->unused, "", "%s", replayed->unused);
		cr_assert_eq(replayed->reset, 0);
		cr_assert_geq(replayed->kept, 1); /* that which is at its end may be closed only now */
	}
	bake_ask(fd, LEDGER_ADD, 4, 5, 0);
	bake_answered(fd, 4, 4);
	site_finish();
}

Test(shim_checkpoint, tells_when_half_of_its_journal_is_used_up)
{
	uint32_t seq = 0;
	int fd;

	site_start(BUFFERS_LIBRARY, 0);
	fd = bake_call();
	begin_checkpoint(true, JOURNAL_BYTES_MIN);
	end_checkpoint();
	while (!site.fills) {
		bake_ask(fd, LEDGER_ADD, ++seq, 1, 0);
		bake_answered(fd, seq, seq);
		while (hear())
			;
		cr_assert_lt(seq, 10000u);
	}
	/* The next one takes its place in time, and the one before is as it was. */
	begin_checkpoint(false, JOURNAL_BYTES_MIN);
	bake_ask(fd, LEDGER_ADD, ++seq, 1, 0);
	bake_answered(fd, seq, seq);
	end_checkpoint();
	kill_it();
	cr_assert_eq(take_place(JOURNAL_BYTES_MIN)->changes, 1);
	bake_ask(fd, LEDGER_GET, ++seq, 1, 0);
	bake_answered(fd, seq, seq - 1);
	site_finish();
}

static int save_nothing(struct upg_saver *saver, void *userdata)
{
	(void)saver, (void)userdata;
	return 0;
}

static int change_nothing(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	(void)loader, (void)change, (void)message, (void)userdata;
	return 0;
}

static uint64_t changes_in(int fd)
{
	void *map = mmap(NULL, JOURNAL_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	struct journal_view view;
	struct why why = { 0 };
	uint64_t n;

	cr_assert_neq(map, MAP_FAILED);
	cr_assert_eq(journal_view_open(&view, map, JOURNAL_BYTES, &why), JOURNAL_VIEW_OK, "%s", why.text);
	n = view.n_changes;
	journal_view_done(&view);
	munmap(map, JOURNAL_BYTES);
	return n;
}

/* A request is in hand, and has changed something, when the journal is another one: the checkpoint of that moment may not become
 * whole, and then this is where the change is. */
Test(shim_checkpoint, leaves_the_changes_of_a_request_in_hand_to_the_journal_after_it)
{
	const struct upg_type type = { .name = "test.Link", .version = 1, .descriptor = &test__ledger__link__descriptor,
				       .save = save_nothing, .change = change_nothing };
	const struct upg_config config = { .service = "ledger", .version = "v1", .types = &type, .n_types = 1 };
	int first = memory_open("journal", JOURNAL_BYTES), second = memory_open("journal", JOURNAL_BYTES), pair[2];
	Test__Ledger__Link link = TEST__LEDGER__LINK__INIT;
	struct upg_conn *conn;
	struct upg *upg;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	cr_assert_eq(upg_open(&config, &upg), 0);
	journal_turn(upg->journal, first);
	cr_assert(upg_journal_on(upg));
	cr_assert_eq(upg_conn_open(upg, pair[0], "link", 1, &conn), 0);
	cr_assert_eq(write(pair[1], "request", 7), 7);
	cr_assert_eq(upg_conn_receive(conn, 100), 7);
	cr_assert_eq(upg_changed(upg, conn, "test.Link", UPG_PUT, &link.base), 0);
	journal_turn(upg->journal, second);
	cr_assert_eq(upg_conn_done(conn, 7), 0);
	cr_assert_eq(changes_in(first), 0);
	cr_assert_eq(changes_in(second), 1);
	upg_conn_close(conn, -1);
	upg_free(upg);
	fd_close(pair[1]);
	fd_close(first);
	fd_close(second);
}

/* It was begun, and nobody knows what its child came to: the one before counts, with both journals, and what was opened and closed
 * around the second one is told apart by its number. */
Test(shim_checkpoint, that_is_not_whole_leaves_the_one_before)
{
	const Upgraded__Wire__Replayed *replayed;
	int early, between, late, closed;

	site_start(BUFFERS_LIBRARY, 0);
	early = bake_call();
	closed = bake_call();
	bake_ask(early, LEDGER_ADD, 1, 5, 0);
	bake_answered(early, 1, 1);
	bake_ask(closed, LEDGER_ADD, 1, 6, 0);
	bake_answered(closed, 1, 1);
	begin_checkpoint(true, JOURNAL_BYTES);
	end_checkpoint();
	between = bake_call();
	bake_ask(between, LEDGER_ADD, 1, 5, 0);
	bake_answered(between, 1, 2);
	bake_ask(closed, LEDGER_QUIT, 2, 6, 0);
	bake_answered(closed, 2, 1);
	bake_ends(closed);
	begin_checkpoint(true, JOURNAL_BYTES);
	late = bake_call();
	bake_ask(late, LEDGER_ADD, 1, 5, 0);
	bake_answered(late, 1, 3);
	bake_ask(between, LEDGER_ADD, 2, 6, 0);
	bake_answered(between, 2, 2);
	kill_it();
	cr_assert_eq(site.n_journals, 2);
	replayed = take_place(JOURNAL_BYTES);
	cr_assert_str_eq(replayed->unused, "", "%s", replayed->unused);
	cr_assert_eq(replayed->adopted, 2);
	cr_assert_eq(replayed->reset, 0);
	bake_ask(early, LEDGER_GET, 2, 5, 0);
	bake_answered(early, 2, 3);
	bake_ask(between, LEDGER_ADD, 3, 6, 0);
	bake_answered(between, 3, 3);
	bake_ask(late, LEDGER_GET, 2, 6, 0);
	bake_answered(late, 2, 3);
	site_finish();
}

/* ---- any moment ---- */

static void crash_again_and_again(enum buffers_kind buffers, unsigned crashes, unsigned connections, uint32_t room_bytes,
				  unsigned seed)
{
	struct teller teller;

	site_start(buffers, room_bytes);
	teller_start(&teller, site.ledger->port, connections, seed);
	for (unsigned i = 0; i < crashes; i++) {
		const Upgraded__Wire__Replayed *replayed;
		unsigned long before = atomic_load(&teller.shared->n_answers) + (unsigned long)rand_r(&seed) % 300;
		bool whole = rand_r(&seed) % 3 != 0 || site.n_journals > 3, half;
		uint16_t port = site.ledger->port;

		if (whole || i == 0) {
			begin_checkpoint(true, JOURNAL_BYTES);
			end_checkpoint();
		}
		/* Another one is under way when the crash comes. */
		half = rand_r(&seed) % 2;
		if (half)
			begin_checkpoint(rand_r(&seed) % 2, JOURNAL_BYTES);
		while (atomic_load(&teller.shared->n_answers) < before) {
			poll(&(struct pollfd){ .fd = site.app.fd, .events = POLLIN }, 1, 1);
			while (hear())
				;
			cr_assert_eq(waitpid(teller.pid, NULL, WNOHANG), 0, "the client is not content");
		}
		kill_it();
		site.coming = fd_close(site.coming);
		site.report = fd_close(site.report);
		replayed = take_place(JOURNAL_BYTES);
		site.ledger->port = port;
		cr_assert_str_eq(replayed->unused, "", "%s", replayed->unused);
		cr_assert_eq(replayed->reset, 0, "%llu connections were reset", (unsigned long long)replayed->reset);
	}
	cr_assert_eq(teller_finish(&teller), 0);
	cr_assert_leq(atomic_load(&teller.shared->n_unheard), crashes, "in the moment of a crash, and no more");
	site_finish();
}

Test(shim_checkpoint, survives_crashes_at_any_moment)
{
	crash_again_and_again(BUFFERS_LIBRARY, 20, 24, 0, 1);
}

Test(shim_checkpoint, survives_crashes_while_buffers_grow)
{
	crash_again_and_again(BUFFERS_LIBRARY, 12, 12, 100, 2);
}

Test(shim_checkpoint, survives_crashes_of_a_program_with_buffers_of_its_own)
{
	crash_again_and_again(BUFFERS_READ, 12, 16, 0, 3);
}
