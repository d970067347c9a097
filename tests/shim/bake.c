/* SPDX-License-Identifier: MIT */
#include "tests/shim/bake.h"

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

#define JOURNAL_LEAST_BYTES ((size_t)64 << 10)

struct bake bake = { .journal_fd = -1 };

/* ---- the supervisor ---- */

static int journal_open(size_t size_bytes)
{
	int fd = memfd_create("journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)size_bytes), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	return fd;
}

void bake_say_prepare(unsigned version)
{
	Upgraded__Wire__Prepare prepare = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE, .prepare = &prepare);
	Upgraded__Wire__Schema schemas[2], *targets[] = { &schemas[0], &schemas[1] };
	int fds[] = { bake.roll.word_fd, bake.roll.state_out };
	char account[] = "test.Account", link[] = "test.Link";

	upgraded__wire__schema__init(&schemas[0]);
	upgraded__wire__schema__init(&schemas[1]);
	schemas[0].name = account;
	schemas[0].version = version;
	schemas[1].name = link;
	schemas[1].version = 1;
	prepare.generation = bake.roll.generation;
	prepare.level = UPG_WORK_FREE;
	prepare.quiesce_deadline_us = prepare.commit_deadline_us = clock_now_us() + 20 * USEC_PER_SEC;
	prepare.n_targets = 2;
	prepare.targets = targets;
	fake_say(&bake.old, &message, fds, 2);
	bake.roll.state_out = fd_close(bake.roll.state_out);
}

static void say_receive(void)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	Upgraded__Wire__Schema schema, *schemas[] = { &schema };
	int fds[] = { bake.roll.word_fd, bake.roll.state_in, bake.journal_fd };

	receive.generation = bake.roll.generation;
	receive.deadline_us = clock_now_us() + 20 * USEC_PER_SEC;
	receive.journal = bake.journal_fd >= 0;
	receive.no_newcomers = !bake.old_ledger->app.config.on_conn;
	if (bake.unapplied) {
		upgraded__wire__schema__init(&schema);
		schema.name = wire_text(bake.unapplied);
		schema.no_change = true;
		receive.n_predecessor = 1;
		receive.predecessor = schemas;
	}
	fake_say(&bake.new, &message, fds, bake.journal_fd >= 0 ? 3 : 2);
	bake.roll.state_in = fd_close(bake.roll.state_in);
}

static void note_gaps(const Upgraded__Wire__JournalGaps *told)
{
	bake.gaps.no_room = told->no_room;
	bake.gaps.others = told->others;
	bake.gaps.size_would_do = told->size_would_do;
	snprintf(bake.gaps.reason, sizeof(bake.gaps.reason), "%s", told->reason);
}

/* Old lies parked, new serves and writes its journal. */
void bake_roll_over(size_t journal_bytes)
{
	bake.new_ledger = ledger_new(2);
	bake.new_ledger->room_bytes = bake.old_ledger->room_bytes;
	bake.new_ledger->buffers = bake.buffers;
	bake.journal_full = false;
	bake.journal_fd = journal_open(journal_bytes);
	fake_start_standby(&bake.new, &bake.new_ledger->app);
	fake_roll_open(&bake.roll, 2);
	bake_say_prepare(2);
	say_receive();
	FAKE_TAKE(&bake.old, QUIESCED);
	fake_take_fds(&bake.old, &bake.roll);
	fake_give_fds(&bake.new, &bake.roll, NULL);
	FAKE_TAKE(&bake.old, SAVED);
	if (journal_bytes < JOURNAL_LEAST_BYTES)
		FAKE_TAKE(&bake.new, JOURNAL_FULL);
	FAKE_TAKE(&bake.new, LOADED);
	fake_say_commit(&bake.new);
	if (bake.expects_gaps)
		note_gaps(FAKE_TAKE(&bake.new, JOURNAL_GAPS)->journal_gaps);
	FAKE_TAKE(&bake.new, COMMITTED);
	fake_say_park(&bake.old);
	FAKE_TAKE(&bake.old, PARKED);
}

static void drop_held(const Upgraded__Wire__FdInfo *info)
{
	for (size_t i = 0; i < bake.roll.n_held; i++) {
		if (bake.roll.held[i].tag != info->tag || strcmp(bake.roll.held[i].name, info->name) != 0)
			continue;
		free(bake.roll.held[i].name);
		fd_close(bake.roll.held[i].fd);
		bake.roll.held[i] = bake.roll.held[--bake.roll.n_held];
		return;
	}
}

/* What new says in the bake. Return: false: nothing more is there. */
bool bake_hear(void)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	Upgraded__Wire__AppMessage *message;
	ProtobufCMessage *base;
	struct wire_fds fds;

	if (wire_receive(bake.new.fd, &upgraded__wire__app_message__descriptor, buffer, &fds, &base, NULL) != WIRE_OK)
		return false;
	message = (Upgraded__Wire__AppMessage *)base;
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_FDS) {
		cr_assert_eq(message->fds->n_fds, fds.n);
		for (size_t i = 0; i < fds.n; i++)
			fake_hold(&bake.roll, message->fds->fds[i]->name, message->fds->fds[i]->tag, wire_fds_claim(&fds, i));
	} else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED) {
		for (size_t i = 0; i < message->closed->n_fds; i++)
			drop_held(message->closed->fds[i]);
	} else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL) {
		bake.journal_full = true;
		snprintf(bake.full_reason, sizeof(bake.full_reason), "%s", message->journal_full->reason);
	} else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_GAPS) {
		note_gaps(message->journal_gaps);
	}
	wire_fds_close(&fds);
	upgraded__wire__app_message__free_unpacked(message, NULL);
	return true;
}

void bake_kill_new(void)
{
	kill(bake.new.pid, SIGKILL);
	cr_assert_eq(waitpid(bake.new.pid, NULL, 0), bake.new.pid);
	bake.new.pid = 0;
	while (bake_hear())
		;
}

static void give_back(bool moved)
{
	for (size_t i = 0; i <= bake.roll.n_held; i++) {
		Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
		Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
		Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *infos = &info;

		fds.fds = &infos;
		fds.last = i == bake.roll.n_held;
		if (!fds.last) {
			fds.n_fds = 1;
			info.name = bake.roll.held[i].name;
			info.tag = bake.roll.held[i].tag;
			info.moved = moved && strcmp(info.name, "link") == 0;
		}
		for (;;) {
			int r = wire_send(bake.old.fd, &message.base, &bake.roll.held[i].fd, fds.n_fds, NULL);

			if (r == WIRE_OK)
				break;
			cr_assert_eq(r, WIRE_AGAIN);
			poll(&(struct pollfd){ .fd = bake.old.fd, .events = POLLOUT }, 1, 1000);
		}
	}
}

void bake_say_resume(bool moved)
{
	Upgraded__Wire__Resume resume = UPGRADED__WIRE__RESUME__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME, .resume = &resume);

	resume.journal = true;
	fake_say(&bake.old, &message, &bake.journal_fd, 1);
	give_back(moved);
}

const Upgraded__Wire__Resumed *bake_resume_old(void)
{
	bake_say_resume(true);
	return FAKE_TAKE(&bake.old, RESUMED)->resumed;
}

/* The roll is over; the supervisor keeps nothing. */
void bake_forget_roll(void)
{
	fake_roll_done(&bake.roll);
	fake_done(&bake.new);
	bake.journal_fd = fd_close(bake.journal_fd);
}

static void start_with(enum buffers_kind buffers, bool takes_newcomers)
{
	bake.old_ledger = ledger_new(1);
	if (!takes_newcomers)
		bake.old_ledger->app.config.on_conn = NULL;
	bake.old_ledger->buffers = buffers;
	fake_start_serving(&bake.old, &bake.old_ledger->app);
	fake_await_set(&bake.old_ledger->ready);
}

void bake_start_with(enum buffers_kind buffers)
{
	start_with(buffers, true);
}

void bake_start_without_on_conn(void)
{
	start_with(BUFFERS_LIBRARY, false);
}

void bake_start(void)
{
	bake_start_with(BUFFERS_LIBRARY);
}

void bake_finish(void)
{
	bake_forget_roll();
	fake_done(&bake.old);
}

/* ---- a client of one thing at a time ---- */

int bake_call(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(bake.old_ledger->port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = 20 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

void bake_ask(int fd, enum ledger_kind kind, uint32_t seq, uint32_t key, uint32_t size)
{
	struct ledger_request request = { .kind = kind, .seq = seq, .key = key, .size_bytes = size };

	cr_assert_eq(send(fd, &request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
}

void bake_send_bytes(int fd, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++) {
		uint8_t byte = ledger_byte(1, i);

		cr_assert_eq(send(fd, &byte, 1, MSG_NOSIGNAL), 1);
	}
}

uint64_t bake_sum_of(uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += ledger_byte(1, i);
	return sum;
}

void bake_answered(int fd, uint32_t seq, uint64_t value)
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

void bake_ends(int fd)
{
	char byte;

	cr_assert_eq(recv(fd, &byte, 1, 0), 0);
}

void bake_was_reset(int fd)
{
	char byte;

	cr_assert_eq(recv(fd, &byte, 1, 0), -1);
	cr_assert_eq(errno, ECONNRESET, "%s", strerror(errno));
}

/* New has taken in what was sent to it, or waits for more. */
void bake_handled(unsigned long floor)
{
	fake_await(&bake.new_ledger->n_handled, floor - 1);
	while (bake_hear())
		;
}

/* ---- crashes at any moment ---- */

void bake_crash_again_and_again(unsigned crashes, unsigned connections, unsigned room_bytes, unsigned seed)
{
	struct teller teller;

	bake.old_ledger->room_bytes = room_bytes;
	teller_start(&teller, bake.old_ledger->port, connections, seed);
	for (unsigned i = 0; i < crashes; i++) {
		const Upgraded__Wire__Resumed *resumed;
		unsigned long before;

		bake_roll_over(JOURNAL_BYTES);
		before = atomic_load(&teller.shared->n_answers) + (unsigned long)rand_r(&seed) % 300;
		while (atomic_load(&teller.shared->n_answers) < before) {
			poll(&(struct pollfd){ .fd = bake.new.fd, .events = POLLIN }, 1, 1);
			while (bake_hear())
				;
			cr_assert_eq(kill(teller.pid, 0), 0);
			cr_assert_eq(waitpid(teller.pid, NULL, WNOHANG), 0, "the client is not content");
		}
		bake_kill_new();
		cr_assert_not(bake.journal_full);
		resumed = bake_resume_old();
		cr_assert_str_eq(resumed->journal_unused, "", "%s", resumed->journal_unused);
		cr_assert_eq(resumed->reset, 0, "%llu connections were reset", (unsigned long long)resumed->reset);
		bake_forget_roll();
	}
	cr_assert_eq(teller_finish(&teller), 0);
	cr_assert_leq(atomic_load(&teller.shared->n_unheard), crashes, "in the moment of a crash, and no more");
	cr_log_info("%lu answers, %lu connections ended, %lu unheard", atomic_load(&teller.shared->n_answers),
		    atomic_load(&teller.shared->n_ended), atomic_load(&teller.shared->n_unheard));
}
