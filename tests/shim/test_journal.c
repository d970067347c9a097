/* SPDX-License-Identifier: MIT */
/* The new version dies, at any moment: the version before goes on as if it had done all of it itself. */
#include "shim/journal/layout.h"
#include "tests/shim/fake.h"
#include "tests/shim/ledger.h"
#include "tests/shim/teller.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(shim_journal, .timeout = 240);

#define JOURNAL_BYTES ((size_t)64 << 20)
#define JOURNAL_LEAST_BYTES ((size_t)64 << 10)

static struct ledger *old_ledger, *new_ledger;
static struct fake old, new;
static struct fake_roll roll;
static int journal_fd = -1;
static bool journal_full;
static char full_reason[200];
static bool expects_gaps; /* at the commit */
/* The last that was told of connections that the journal does not cover. */
static struct {
	uint32_t no_room, others;
	uint64_t size_would_do;
	char reason[200];
} gaps;

/* ---- the supervisor ---- */

static int journal_open(size_t size_bytes)
{
	int fd = memfd_create("journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)size_bytes), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	return fd;
}

static void say_prepare(unsigned version)
{
	Upgraded__Wire__Prepare prepare = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE, .prepare = &prepare);
	Upgraded__Wire__Schema schemas[2], *targets[] = { &schemas[0], &schemas[1] };
	int fds[] = { roll.word_fd, roll.state_out };
	char account[] = "test.Account", link[] = "test.Link";

	upgraded__wire__schema__init(&schemas[0]);
	upgraded__wire__schema__init(&schemas[1]);
	schemas[0].name = account;
	schemas[0].version = version;
	schemas[1].name = link;
	schemas[1].version = 1;
	prepare.generation = roll.generation;
	prepare.level = UPG_WORK_FREE;
	prepare.quiesce_deadline_us = prepare.commit_deadline_us = clock_now_us() + 20 * USEC_PER_SEC;
	prepare.n_targets = 2;
	prepare.targets = targets;
	fake_say(&old, &message, fds, 2);
	roll.state_out = fd_close(roll.state_out);
}

static const char *unapplied; /* a type of old's without a change() */

static void say_receive(void)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	Upgraded__Wire__Schema schema, *schemas[] = { &schema };
	int fds[] = { roll.word_fd, roll.state_in, journal_fd };

	receive.generation = roll.generation;
	receive.deadline_us = clock_now_us() + 20 * USEC_PER_SEC;
	receive.journal = journal_fd >= 0;
	receive.no_newcomers = !old_ledger->app.config.on_conn;
	if (unapplied) {
		upgraded__wire__schema__init(&schema);
		schema.name = wire_text(unapplied);
		schema.no_change = true;
		receive.n_predecessor = 1;
		receive.predecessor = schemas;
	}
	fake_say(&new, &message, fds, journal_fd >= 0 ? 3 : 2);
	roll.state_in = fd_close(roll.state_in);
}

static void note_gaps(const Upgraded__Wire__JournalGaps *told)
{
	gaps.no_room = told->no_room;
	gaps.others = told->others;
	gaps.size_would_do = told->size_would_do;
	snprintf(gaps.reason, sizeof(gaps.reason), "%s", told->reason);
}

/* Old lies parked, new serves and writes its journal. */
static void roll_over(size_t journal_bytes)
{
	new_ledger = ledger_new(2);
	new_ledger->room_bytes = old_ledger->room_bytes;
	journal_full = false;
	journal_fd = journal_open(journal_bytes);
	fake_start_standby(&new, &new_ledger->app);
	fake_roll_open(&roll, 2);
	say_prepare(2);
	say_receive();
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	fake_give_fds(&new, &roll, NULL);
	FAKE_TAKE(&old, SAVED);
	if (journal_bytes < JOURNAL_LEAST_BYTES)
		FAKE_TAKE(&new, JOURNAL_FULL);
	FAKE_TAKE(&new, LOADED);
	fake_say_commit(&new);
	if (expects_gaps)
		note_gaps(FAKE_TAKE(&new, JOURNAL_GAPS)->journal_gaps);
	FAKE_TAKE(&new, COMMITTED);
	fake_say_park(&old);
	FAKE_TAKE(&old, PARKED);
}

static void drop_held(const Upgraded__Wire__FdInfo *info)
{
	for (size_t i = 0; i < roll.n_held; i++) {
		if (roll.held[i].tag != info->tag || strcmp(roll.held[i].name, info->name) != 0)
			continue;
		free(roll.held[i].name);
		fd_close(roll.held[i].fd);
		roll.held[i] = roll.held[--roll.n_held];
		return;
	}
}

/* What new says in the bake. Return: false: nothing more is there. */
static bool hear(void)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	Upgraded__Wire__AppMessage *message;
	ProtobufCMessage *base;
	struct wire_fds fds;

	if (wire_receive(new.fd, &upgraded__wire__app_message__descriptor, buffer, &fds, &base, NULL) != WIRE_OK)
		return false;
	message = (Upgraded__Wire__AppMessage *)base;
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_FDS) {
		cr_assert_eq(message->fds->n_fds, fds.n);
		for (size_t i = 0; i < fds.n; i++)
			fake_hold(&roll, message->fds->fds[i]->name, message->fds->fds[i]->tag, wire_fds_claim(&fds, i));
	} else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED) {
		for (size_t i = 0; i < message->closed->n_fds; i++)
			drop_held(message->closed->fds[i]);
	} else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL) {
		journal_full = true;
		snprintf(full_reason, sizeof(full_reason), "%s", message->journal_full->reason);
	} else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_GAPS) {
		note_gaps(message->journal_gaps);
	}
	wire_fds_close(&fds);
	upgraded__wire__app_message__free_unpacked(message, NULL);
	return true;
}

static void kill_new(void)
{
	kill(new.pid, SIGKILL);
	cr_assert_eq(waitpid(new.pid, NULL, 0), new.pid);
	new.pid = 0;
	while (hear())
		;
}

static void give_back(bool moved)
{
	for (size_t i = 0; i <= roll.n_held; i++) {
		Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
		Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
		Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *infos = &info;

		fds.fds = &infos;
		fds.last = i == roll.n_held;
		if (!fds.last) {
			fds.n_fds = 1;
			info.name = roll.held[i].name;
			info.tag = roll.held[i].tag;
			info.moved = moved && strcmp(info.name, "link") == 0;
		}
		for (;;) {
			int r = wire_send(old.fd, &message.base, &roll.held[i].fd, fds.n_fds, NULL);

			if (r == WIRE_OK)
				break;
			cr_assert_eq(r, WIRE_AGAIN);
			poll(&(struct pollfd){ .fd = old.fd, .events = POLLOUT }, 1, 1000);
		}
	}
}

static void say_resume(bool moved)
{
	Upgraded__Wire__Resume resume = UPGRADED__WIRE__RESUME__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME, .resume = &resume);

	resume.journal = true;
	fake_say(&old, &message, &journal_fd, 1);
	give_back(moved);
}

static const Upgraded__Wire__Resumed *resume_old(void)
{
	say_resume(true);
	return FAKE_TAKE(&old, RESUMED)->resumed;
}

/* The roll is over; the supervisor keeps nothing. */
static void forget_roll(void)
{
	fake_roll_done(&roll);
	fake_done(&new);
	journal_fd = fd_close(journal_fd);
}

static void start_serving(bool takes_newcomers)
{
	old_ledger = ledger_new(1);
	if (!takes_newcomers)
		old_ledger->app.config.on_conn = NULL;
	fake_start_serving(&old, &old_ledger->app);
	fake_await_set(&old_ledger->ready);
}

static void start(void)
{
	start_serving(true);
}

static void start_without_on_conn(void)
{
	start_serving(false);
}

static void finish(void)
{
	forget_roll();
	fake_done(&old);
}

/* ---- a client of one thing at a time ---- */

static int call(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(old_ledger->port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = 20 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void ask(int fd, enum ledger_kind kind, uint32_t seq, uint32_t key, uint32_t size)
{
	struct ledger_request request = { .kind = kind, .seq = seq, .key = key, .size_bytes = size };

	cr_assert_eq(send(fd, &request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
}

static void send_bytes(int fd, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++) {
		uint8_t byte = ledger_byte(1, i);

		cr_assert_eq(send(fd, &byte, 1, MSG_NOSIGNAL), 1);
	}
}

static uint64_t sum_of(uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += ledger_byte(1, i);
	return sum;
}

static void answered(int fd, uint32_t seq, uint64_t value)
{
	struct ledger_answer got = { 0 };
	ssize_t n = recv(fd, &got, sizeof(got), MSG_WAITALL);

	cr_assert_eq(n, sizeof(got), "%zd: %s", n, strerror(errno));
	cr_assert_eq(got.seq, seq);
	cr_assert_eq(got.value, value, "%llu instead of %llu", (unsigned long long)got.value, (unsigned long long)value);
	for (uint32_t i = 0; i < got.size_bytes; i++) {
		uint8_t byte;

		cr_assert_eq(recv(fd, &byte, 1, 0), 1);
		cr_assert_eq(byte, ledger_byte(seq, i));
	}
}

static void ends(int fd)
{
	char byte;

	cr_assert_eq(recv(fd, &byte, 1, 0), 0);
}

static void was_reset(int fd)
{
	char byte;

	cr_assert_eq(recv(fd, &byte, 1, 0), -1);
	cr_assert_eq(errno, ECONNRESET, "%s", strerror(errno));
}

/* New has taken in what was sent to it, or waits for more. */
static void handled(unsigned long floor)
{
	fake_await(&new_ledger->n_handled, floor - 1);
	while (hear())
		;
}

/* ---- any moment ---- */

static void crash_again_and_again(unsigned crashes, unsigned connections, unsigned room_bytes, unsigned seed)
{
	struct teller teller;

	old_ledger->room_bytes = room_bytes;
	teller_start(&teller, old_ledger->port, connections, seed);
	for (unsigned i = 0; i < crashes; i++) {
		const Upgraded__Wire__Resumed *resumed;
		unsigned long before;

		roll_over(JOURNAL_BYTES);
		before = atomic_load(&teller.shared->n_answers) + (unsigned long)rand_r(&seed) % 300;
		while (atomic_load(&teller.shared->n_answers) < before) {
			poll(&(struct pollfd){ .fd = new.fd, .events = POLLIN }, 1, 1);
			while (hear())
				;
			cr_assert_eq(kill(teller.pid, 0), 0);
			cr_assert_eq(waitpid(teller.pid, NULL, WNOHANG), 0, "the client is not content");
		}
		kill_new();
		cr_assert_not(journal_full);
		resumed = resume_old();
		cr_assert_str_eq(resumed->journal_unused, "", "%s", resumed->journal_unused);
		cr_assert_eq(resumed->reset, 0, "%llu connections were reset", (unsigned long long)resumed->reset);
		forget_roll();
	}
	cr_assert_eq(teller_finish(&teller), 0);
	cr_assert_leq(atomic_load(&teller.shared->n_unheard), crashes, "in the moment of a crash, and no more");
	cr_log_info("%lu answers, %lu connections ended, %lu unheard", atomic_load(&teller.shared->n_answers),
		    atomic_load(&teller.shared->n_ended), atomic_load(&teller.shared->n_unheard));
}

Test(shim_journal, survives_crashes_at_any_moment, .init = start, .fini = finish)
{
	crash_again_and_again(20, 24, 0, 1);
}

Test(shim_journal, survives_crashes_while_buffers_grow, .init = start, .fini = finish)
{
	crash_again_and_again(12, 12, 100, 2);
}

Test(shim_journal, survives_crashes_with_large_pieces, .init = start, .fini = finish)
{
	crash_again_and_again(12, 40, 150000, 3);
}

/* ---- chosen moments ---- */

Test(shim_journal, goes_on_in_the_middle_of_a_request, .init = start, .fini = finish)
{
	int early = call(), late;

	ask(early, LEDGER_ADD, 1, 5, 0);
	answered(early, 1, 1);
	roll_over(JOURNAL_BYTES);
	ask(early, LEDGER_ADD, 2, 5, 0);
	answered(early, 2, 2);
	ask(early, LEDGER_DEPOSIT, 3, 5, 1000);
	send_bytes(early, 0, 400);
	late = call();
	ask(late, LEDGER_ADD, 1, 6, 0);
	answered(late, 1, 1);
	ask(late, LEDGER_DEPOSIT, 2, 6, 1000);
	send_bytes(late, 0, 400);
	handled(2);
	kill_new();
	send_bytes(late, 400, 300);
	cr_assert_eq(resume_old()->adopted, 1);
	cr_assert_geq(old.message->resumed->replayed, 2);
	send_bytes(early, 400, 600);
	send_bytes(late, 700, 300);
	answered(early, 3, 2 + sum_of(1000));
	answered(late, 2, 1 + sum_of(1000));
	ask(early, LEDGER_QUIT, 4, 6, 0);
	answered(early, 4, 1 + sum_of(1000));
	forget_roll();
	ends(early);
}

/* The end of the client's stream has come, before or after new has read it, with or without requests in front of it. */
Test(shim_journal, takes_an_end_of_stream_for_no_byte, .init = start, .fini = finish)
{
	int idle, asking, part;

	idle = call();
	asking = call();
	part = call();
	ask(idle, LEDGER_ADD, 1, 1, 0);
	answered(idle, 1, 1);
	ask(asking, LEDGER_ADD, 1, 2, 0);
	answered(asking, 1, 1);
	ask(part, LEDGER_ADD, 1, 3, 0);
	answered(part, 1, 1);
	roll_over(JOURNAL_BYTES);
	/* New stands still, so that the end lies unread. */
	kill(new.pid, SIGSTOP);
	ask(asking, LEDGER_ADD, 2, 2, 0);
	shutdown(asking, SHUT_WR);
	cr_assert_eq(send(part, "abc", 3, 0), 3);
	shutdown(part, SHUT_WR);
	shutdown(idle, SHUT_WR);
	kill_new();
	cr_assert_eq(resume_old()->reset, 0);
	answered(asking, 2, 2);
	forget_roll();
	ends(asking);
	ends(part);
	ends(idle);
}

Test(shim_journal, resets_what_came_by_a_crash_where_the_log_is_full, .init = start, .fini = finish)
{
	int fd = call();
	uint32_t seq = 0;

	ask(fd, LEDGER_ADD, ++seq, 1, 0);
	answered(fd, seq, 1);
	roll_over((size_t)64 << 10);
	strcpy(full_reason, "none yet");
	while (!journal_full) {
		ask(fd, LEDGER_ADD, ++seq, 1, 0);
		answered(fd, seq, seq);
		hear();
		cr_assert_lt(seq, 10000u);
	}
	cr_assert_str_eq(full_reason, "", "that it is full");
	/* The application goes on undisturbed. */
	ask(fd, LEDGER_BIG, ++seq, 1, 100000);
	answered(fd, seq, seq - 1);
	kill_new();
	cr_assert_neq(strstr(resume_old()->journal_unused, "full"), NULL, "%s", old.message->resumed->journal_unused);
	cr_assert_eq(old.message->resumed->replayed, 0);
	cr_assert_eq(old.message->resumed->reset, 1);
	was_reset(fd);
	cr_assert_eq(old_ledger->values[1], 1);
	fd = call();
	ask(fd, LEDGER_GET, 1, 1, 0);
	answered(fd, 1, 1);
}

Test(shim_journal, is_done_without_where_it_is_too_small, .init = start, .fini = finish)
{
	int fd = call();

	ask(fd, LEDGER_ADD, 1, 1, 0);
	answered(fd, 1, 1);
	roll_over(16384);
	ask(fd, LEDGER_ADD, 2, 1, 0);
	answered(fd, 2, 2);
	kill_new();
	cr_assert_neq(strstr(resume_old()->journal_unused, "not begun"), NULL, "%s", old.message->resumed->journal_unused);
	was_reset(fd);
	cr_assert_eq(old_ledger->values[1], 1);
}

/* Output of one connection that nobody takes: it finds no room any more, the others do. */
Test(shim_journal, loses_only_the_connection_whose_buffers_find_no_room, .init = start, .fini = finish)
{
	int greedy = call(), modest = call();

	ask(greedy, LEDGER_GET, 1, 1, 0);
	answered(greedy, 1, 0);
	ask(modest, LEDGER_ADD, 1, 2, 0);
	answered(modest, 1, 1);
	roll_over((size_t)4 << 20);
	ask(greedy, LEDGER_BIG, 2, 1, 20u << 20);
	handled(1);
	ask(modest, LEDGER_ADD, 2, 2, 0);
	answered(modest, 2, 2);
	handled(2);
	cr_assert(gaps.no_room == 1 && gaps.others == 0, "%u and %u", gaps.no_room, gaps.others);
	cr_assert_eq(gaps.size_would_do, (uint64_t)256 << 20, "JournalSize=%llu", (unsigned long long)gaps.size_would_do);
	kill_new();
	cr_assert_eq(resume_old()->reset, 1);
	cr_assert_str_eq(old.message->resumed->journal_unused, "");
	ask(modest, LEDGER_ADD, 3, 2, 0);
	answered(modest, 3, 3);
}

/* More connections than it has records for. */
Test(shim_journal, loses_exactly_the_connections_that_it_told_of, .init = start, .fini = finish)
{
	static int fds[200];
	uint32_t n_lost = 0;

	for (uint32_t i = 0; i < 200; i++) {
		fds[i] = call();
		ask(fds[i], LEDGER_GET, 1, i, 0);
		answered(fds[i], 1, 0);
	}
	expects_gaps = true;
	roll_over((size_t)64 << 10);
	cr_assert(gaps.no_room > 80 && gaps.no_room < 120, "%u", gaps.no_room);
	cr_assert_eq(gaps.others, 0);
	cr_assert_eq(gaps.size_would_do, 1 << 20, "JournalSize=%llu", (unsigned long long)gaps.size_would_do);
	for (uint32_t i = 0; i < 200; i++) {
		ask(fds[i], LEDGER_GET, 2, i, 0);
		answered(fds[i], 2, 0);
	}
	/* One that is not covered closes, and it is no loss any more. */
	ask(fds[199], LEDGER_QUIT, 3, 1, 0);
	answered(fds[199], 3, 0);
	ends(fds[199]);
	handled(201);
	kill_new();
	resume_old();
	cr_assert_str_eq(old.message->resumed->journal_unused, "");
	cr_assert_eq(old.message->resumed->reset, gaps.no_room, "%llu instead of %u",
		     (unsigned long long)old.message->resumed->reset, gaps.no_room);
	for (uint32_t i = 0; i < 199; i++) {
		struct ledger_request request = { .kind = LEDGER_GET, .seq = 4, .key = i };
		struct ledger_answer got;

		if (send(fds[i], &request, sizeof(request), MSG_NOSIGNAL) < 0 || recv(fds[i], &got, sizeof(got), MSG_WAITALL) < 0)
			n_lost++;
		fd_close(fds[i]);
	}
	cr_assert_eq(n_lost, gaps.no_room);
}

/* It is found when such a change is made, and not on the way back. */
Test(shim_journal, is_void_once_a_change_is_made_that_the_version_before_cannot_apply, .init = start, .fini = finish)
{
	int fd = call();

	unapplied = "test.Account";
	roll_over(JOURNAL_BYTES);
	ask(fd, LEDGER_GET, 1, 1, 0);
	answered(fd, 1, 0);
	handled(1);
	cr_assert_not(journal_full, "nothing was changed");
	ask(fd, LEDGER_ADD, 2, 1, 0);
	answered(fd, 2, 1);
	handled(2);
	cr_assert(journal_full);
	cr_assert_str_eq(full_reason, "the version before has no change() for test.Account");
	kill_new();
}

Test(shim_journal, does_without_a_damaged_journal, .init = start, .fini = finish)
{
	int fd = call();
	uint8_t *map;
	struct journal_header *header;

	ask(fd, LEDGER_ADD, 1, 1, 0);
	answered(fd, 1, 1);
	roll_over(JOURNAL_BYTES);
	ask(fd, LEDGER_ADD, 2, 1, 0);
	answered(fd, 2, 2);
	kill_new();
	map = mmap(NULL, JOURNAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, journal_fd, 0);
	header = (struct journal_header *)map;
	cr_assert_gt(atomic_load(&header->log_head), 0);
	map[header->log_at + atomic_load(&header->log_head) - 1] ^= 1;
	munmap(map, JOURNAL_BYTES);
	cr_assert_neq(strstr(resume_old()->journal_unused, "damaged"), NULL);
	cr_assert_eq(old.message->resumed->reset, 1);
	was_reset(fd);
	cr_assert_eq(old_ledger->values[1], 1);
}

Test(shim_journal, is_void_once_a_change_cannot_be_migrated_down, .init = start, .fini = finish)
{
	int fd = call();

	roll_over(JOURNAL_BYTES);
	ask(fd, LEDGER_ADD, 1, LEDGER_ACCOUNTS - 1, 0);
	answered(fd, 1, 1);
	handled(1);
	cr_assert(journal_full, "the supervisor knows at once");
	cr_assert(strstr(full_reason, "does not fit"), "%s", full_reason);
	kill_new();
	cr_assert_neq(strstr(resume_old()->journal_unused, "does not fit"), NULL, "%s", old.message->resumed->journal_unused);
}

Test(shim_journal, gives_up_where_a_change_cannot_be_applied, .init = start, .fini = finish)
{
	int fd = call();

	roll_over(JOURNAL_BYTES);
	ask(fd, LEDGER_ADD, 1, 1, 0);
	answered(fd, 1, 1);
	kill_new();
	old_ledger->fails_change = true;
	say_resume(true);
	cr_assert_neq(strstr(FAKE_TAKE(&old, REFUSED)->refused->reason, "a test says so"), NULL);
	cr_assert_eq(fake_wait(&old), APP_LEFT);
	fd_close(fd);
}

Test(shim_journal, resets_new_connections_that_nobody_would_take, .init = start_without_on_conn, .fini = finish)
{
	int fd;

	roll_over(JOURNAL_BYTES);
	fd = call();
	ask(fd, LEDGER_ADD, 1, 1, 0);
	answered(fd, 1, 1);
	handled(1);
	cr_assert_eq(gaps.others, 1);
	cr_assert(strstr(gaps.reason, "has no on_conn()"), "%s", gaps.reason);
	kill_new();
	cr_assert_eq(resume_old()->reset, 1);
	was_reset(fd);
	cr_assert_eq(old_ledger->values[1], 1, "its changes hold");
}

static bool maps_journal(pid_t pid)
{
	char path[64], line[512];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "re");
	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		found = found || strstr(line, "memfd:journal");
	fclose(file);
	return found;
}

Test(shim_journal, ends_with_the_bake, .init = start, .fini = finish)
{
	int fd = call(), other = call();

	ask(fd, LEDGER_ADD, 1, 1, 0);
	answered(fd, 1, 1);
	ask(other, LEDGER_ADD, 1, 2, 0);
	answered(other, 1, 1);
	roll_over(JOURNAL_BYTES);
	cr_assert(maps_journal(new.pid));
	ask(fd, LEDGER_DEPOSIT, 2, 1, 10);
	send_bytes(fd, 0, 5);
	fake_say_baked(&new);
	fake_roll_done(&roll);
	fake_await(&new_ledger->app.n_steps, 0);
	send_bytes(fd, 5, 5);
	answered(fd, 2, 1 + sum_of(10));
	ask(other, LEDGER_ADD, 2, 2, 0);
	answered(other, 2, 2);
	ask(fd, LEDGER_QUIT, 3, 1, 0);
	answered(fd, 3, 1 + sum_of(10));
	ends(fd);
	cr_assert_not(maps_journal(new.pid), "no connection is there any more that would need it");
}

Test(shim_journal, is_given_back_by_a_version_that_is_parked, .init = start, .fini = finish)
{
	int fd = call();
	struct fake_roll first;

	ask(fd, LEDGER_ADD, 1, 1, 0);
	answered(fd, 1, 1);
	roll_over(JOURNAL_BYTES);
	first = roll;
	fake_roll_open(&roll, 1);
	/* Backwards while both live: new becomes what is parked. */
	fake_done(&old);
	old = new;
	new = (struct fake){ .fd = -1 };
	say_prepare(2);
	FAKE_TAKE(&old, QUIESCED);
	fake_take_fds(&old, &roll);
	fake_drain(roll.state_in);
	FAKE_TAKE(&old, SAVED);
	cr_assert(commit_take(&roll.word, COMMIT_NEW));
	fake_say_park(&old);
	FAKE_TAKE(&old, PARKED);
	cr_assert_not(maps_journal(old.pid));
	fake_roll_done(&first);
	fd_close(fd);
}
