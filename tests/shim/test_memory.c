/* SPDX-License-Identifier: MIT */
/* The journal of the process that writes it: when it counts, what is told of its failure, and the blocks it gives out. */
#include "shim/core/channel.h"
#include "shim/fds/table.h"
#include "shim/journal/memory.h"
#include "shim/state/application.h"

#include "base/fd.h"
#include "tests/shim/note.pb-c.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(shim_memory, .timeout = 60);

#define JOURNAL_BYTES ((off_t)1 << 20)

static const struct upg_type type = { .name = "test.Note", .version = 1, .descriptor = &test__shim__note_v1__descriptor };
static const struct upg_config config = { .types = &type, .n_types = 1 };

static struct application application;
static struct channel channel;
static struct fd_table table;
static struct journal journal;
static int supervisor;

static bool no_answer(void *arg, const Upgraded__Wire__AppMessage *message)
{
	(void)arg, (void)message;
	return false;
}

static void setup(void)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	supervisor = pair[1];
	cr_assert_eq(channel_init(&channel, no_answer, NULL), 0);
	cr_assert_eq(channel_open(&channel, pair[0], NULL), 0);
	cr_assert_eq(application_init(&application, &config), 0);
	cr_assert_eq(fd_table_init(&table, &channel), 0);
	journal_init(&journal, &application, &channel, &table);
}

static void teardown(void)
{
	journal_done(&journal);
	fd_table_done(&table);
	application_done(&application);
	channel_done(&channel);
	supervisor = fd_close(supervisor);
}

static void attach(void)
{
	const struct sf_schema schema = { .name = "test.Note", .version = 1 };
	const struct sf_header header = { .schemas = &schema, .n_schemas = 1 };
	int fd = memfd_create("journal", MFD_CLOEXEC);

	cr_assert_eq(ftruncate(fd, JOURNAL_BYTES), 0);
	journal_attach(&journal, fd);
	fd_close(fd);
	journal_bind(&journal, &header);
}

static void setup_begun(void)
{
	setup();
	attach();
	journal_begin(&journal);
}

/* Return: how many JournalFull are there. Everything that is there is taken. */
static unsigned hear(void)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX];
	Upgraded__Wire__AppMessage *message;
	struct wire_fds fds;
	unsigned n = 0;

	while (wire_receive(supervisor, &upgraded__wire__app_message__descriptor, buffer, &fds, (ProtobufCMessage **)&message,
			    NULL) == WIRE_OK) {
		n += message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL;
		upgraded__wire__app_message__free_unpacked(message, NULL);
	}
	return n;
}

static void fill_channel(void)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PONG, .pong = &pong);

	while (channel_post(&channel, &message, NULL, 0) == WIRE_OK)
		;
}

static void assert_is_on(bool on)
{
	cr_assert_eq(atomic_load(&journal.on), on);
	cr_assert_eq(atomic_load(&table.announces), on);
}

/* ---- when it counts ---- */

Test(shim_memory, counts_between_the_commit_and_the_end_of_the_bake, .init = setup, .fini = teardown)
{
	attach();
	assert_is_on(false);
	journal_begin(&journal);
	assert_is_on(true);
	journal_end(&journal);
	assert_is_on(false);
	cr_assert_null(journal.map);
	cr_assert_eq(hear(), 0);
}

Test(shim_memory, never_counts_if_it_did_not_come, .init = setup, .fini = teardown)
{
	journal_attach(&journal, -1);
	cr_assert_eq(hear(), 1);
	journal_begin(&journal);
	assert_is_on(false);
}

Test(shim_memory, counts_no_more_once_it_has_failed_and_says_why, .init = setup_begun, .fini = teardown)
{
	uint64_t serial;
	struct journal_record *record = journal_record_take(&journal, &serial);

	cr_assert_not_null(record);
	journal_fail(&journal, "%s", "a test says so");
	assert_is_on(false);
	/* It stays mapped for those who have a place in it. */
	cr_assert_str_eq(journal.header->reason, "a test says so");
	cr_assert(atomic_load(&journal.header->is_void));
	cr_assert_null(journal_record_take(&journal, &serial));
	journal_record_give(&journal, record);
	cr_assert_null(journal.map);
}

/* ---- what is told ---- */

Test(shim_memory, a_failure_is_told_once, .init = setup_begun, .fini = teardown)
{
	journal_fail(&journal, "once");
	journal_fail(&journal, "twice");
	journal_tell(&journal);
	cr_assert_eq(hear(), 1);
}

Test(shim_memory, a_failure_that_finds_no_room_is_told_later, .init = setup_begun, .fini = teardown)
{
	fill_channel();
	journal_fail(&journal, "while nobody listens");
	journal_tell(&journal);
	cr_assert_eq(hear(), 0);
	journal_tell(&journal);
	cr_assert_eq(hear(), 1);
	journal_tell(&journal);
	cr_assert_eq(hear(), 0);
}

Test(shim_memory, a_failure_is_told_to_nobody_if_nobody_is_there, .init = setup_begun, .fini = teardown)
{
	channel_close(&channel);
	journal_fail(&journal, "alone");
	cr_assert_not(atomic_load(&journal.full_untold));
}

static void *fail(void *arg)
{
	(void)arg;
	journal_fail(&journal, "in a thread");
	return NULL;
}

/* As upg_dispatch() does while another thread finds the journal full. */
Test(shim_memory, a_failure_in_one_thread_is_told_by_another, .init = setup_begun, .fini = teardown)
{
	unsigned n_told = 0;
	pthread_t thread;

	fill_channel();
	cr_assert_eq(pthread_create(&thread, NULL, fail, NULL), 0);
	while (!n_told) {
		journal_tell(&journal);
		n_told += hear();
	}
	pthread_join(thread, NULL);
	journal_tell(&journal);
	cr_assert_eq(n_told + hear(), 1);
}

/* ---- blocks ---- */

Test(shim_memory, blocks_are_apart_and_within_the_arena, .init = setup_begun, .fini = teardown)
{
	uint64_t from = journal.header->arena_at, to = from + journal.header->arena_bytes, end = from;

	for (unsigned i = 0; i < 100; i++) {
		uint64_t at = journal_block(&journal, 1024);

		cr_assert_geq(at, end);
		end = at + 1024;
		cr_assert_leq(end, to);
		memset(journal.map + at, 'x', 1024);
	}
	cr_assert_eq(atomic_load(&journal.arena_left), journal.header->arena_bytes - 100 * 1024);
}

Test(shim_memory, blocks_are_used_again_whole_or_in_parts, .init = setup_begun, .fini = teardown)
{
	uint64_t at = journal_block(&journal, 4096), parts[4];

	cr_assert_neq(at, 0);
	/* Nothing else is left of the arena. */
	for (size_t size = (size_t)1 << 20; size >= 1024; size /= 2)
		while (journal_block(&journal, size))
			;
	cr_assert(journal_is_tight(&journal));
	journal_unblock(&journal, at, 4096);
	cr_assert_eq(journal_block(&journal, 4096), at);
	journal_unblock(&journal, at, 4096);
	for (unsigned i = 0; i < 4; i++) {
		parts[i] = journal_block(&journal, 1024);
		cr_assert(parts[i] >= at && parts[i] + 1024 <= at + 4096);
		for (unsigned j = 0; j < i; j++)
			cr_assert_neq(parts[i], parts[j]);
	}
	cr_assert_eq(journal_block(&journal, 1024), 0);
}

Test(shim_memory, records_are_used_again_under_another_serial, .init = setup_begun, .fini = teardown)
{
	uint64_t first, second, third;
	struct journal_record *one = journal_record_take(&journal, &first), *two = journal_record_take(&journal, &second);

	cr_assert_neq(one, two);
	cr_assert_lt(first, second);
	journal_record_give(&journal, one);
	cr_assert_eq(journal_record_take(&journal, &third), one);
	cr_assert_gt(third, second);
	journal_record_give(&journal, one);
	journal_record_give(&journal, two);
}
