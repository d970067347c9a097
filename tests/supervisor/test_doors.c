/* SPDX-License-Identifier: MIT */
/* What is given up within a bake is part of the way back: a version that comes back has its doors, or its report says which one is
 * missing; and what only the newer version has keeps nobody from going back. */
#include "tests/supervisor/scene.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void set_up(void)
{
	scene_set("Rollback=parked\n");
}

TestSuite(doors, .timeout = 20, .init = set_up, .fini = scene_clear);

static int door(int type)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (type == SOCK_STREAM)
		cr_assert_eq(listen(fd, 5), 0);
	return fd;
}

static void quiesce(const struct roll_options *options)
{
	scene_begin(options);
	fake_hello(scene.new, 2, true);
	fake_standby(scene.new);
	fake_quiesced(scene.old);
}

/* Old has handed over what there is, of which new was given @given. */
static void bake(uint32_t handed, uint32_t given)
{
	fake_saved(scene.old, 10, handed);
	fake_loaded(scene.new, 10, given);
	cr_assert(fake_commit(scene.new));
	fake_parked(scene.old);
	assert_state(ROLL_BAKE);
}

static void bake_with_doors(int ret_dups[2])
{
	struct roll_options options = scene_options();
	int listener = door(SOCK_STREAM), datagrams = door(SOCK_DGRAM);

	ret_dups[0] = dup(listener);
	ret_dups[1] = dup(datagrams);
	quiesce(&options);
	fake_hand(scene.old, "listener", 0, listener, false);
	fake_hand(scene.old, "udp", 0, datagrams, true);
	bake(2, 2);
}

static void close_dups(const int dups[2])
{
	close(dups[0]);
	close(dups[1]);
}

/* As after a clean shutdown of new: it closes everything, and ends. */
Test(doors, come_back_although_the_newer_version_closed_them)
{
	int dups[2];

	bake_with_doors(dups);
	fake_closed_as(scene.new, "listener", 0);
	fake_closed_as(scene.new, "udp", 0);
	fake_exit(scene.new, 0);
	assert_state(ROLL_RESUME);
	cr_assert_str_eq(scene.old->given, "listener 0, udp 0");
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
	cr_assert_eq(scene.report.missed.n, 0);
	close_dups(dups);
}

Test(doors, that_were_shut_down_listen_again)
{
	int dups[2], listening = 0;
	socklen_t size = sizeof(listening);

	bake_with_doors(dups);
	shutdown(dups[0], SHUT_RDWR);
	fake_exit(scene.new, 0);
	cr_assert_eq(getsockopt(dups[0], SOL_SOCKET, SO_ACCEPTCONN, &listening, &size), 0);
	cr_assert(listening);
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PARKED);
	close_dups(dups);
}

Test(doors, that_cannot_be_opened_any_more_are_named_and_the_way_back_is_no_success)
{
	int dups[2];

	bake_with_doors(dups);
	shutdown(dups[1], SHUT_RDWR);
	fake_exit(scene.new, 0);
	fake_resumed(scene.old);
	assert_outcome(ROLL_IS_BACK_PART);
	cr_assert_eq(scene.report.missed.n, 1);
	cr_assert(strncmp(scene.report.missed.text[0], "udp 0 (127.0.0.1:", 17) == 0, "%s", scene.report.missed.text[0]);
	cr_assert(scene_said("version v1 is back without udp 0"));
	close_dups(dups);
}

Test(doors, that_the_old_version_itself_misses_are_named_too)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED, .resumed = &resumed);
	int dups[2];

	bake_with_doors(dups);
	fake_exit(scene.new, 0);
	info.name = wire_text("unix");
	resumed.missed = list;
	resumed.n_missed = 1;
	fake_say(scene.old, &message);
	assert_outcome(ROLL_IS_BACK_PART);
	cr_assert_str_eq(scene.report.missed.text[0], "unix 0");
	close_dups(dups);
}

Test(doors, are_kept_until_the_bake_is_over_and_no_longer)
{
	int dups[2], again;
	struct sockaddr_in address;
	socklen_t size = sizeof(address);

	bake_with_doors(dups);
	cr_assert_eq(getsockname(dups[0], (struct sockaddr *)&address, &size), 0);
	fake_closed_as(scene.new, "listener", 0);
	close_dups(dups);
	again = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_lt(bind(again, (struct sockaddr *)&address, sizeof(address)), 0, "it is open still");
	scene_pass(scene.unit->bake_us + USEC_PER_SEC);
	assert_outcome(ROLL_IS_DONE);
	cr_assert_eq(bind(again, (struct sockaddr *)&address, sizeof(address)), 0);
	close(again);
}

/* ---- what only the newer version has ---- */

/* What "v2" handed over when it was left: a listener, and some clients. */
static struct fd_names had(void)
{
	struct custody custody = { .entries = NULL };
	struct fd_names names = { .names = NULL };
	struct custody_entry entries[] = {
		{ .name = "listener", .tag = 0, .door = DOOR_LISTENER }, { .name = "client", .tag = 7 },
		{ .name = "client", .tag = 8 }
	};

	custody.entries = entries;
	custody.n = 3;
	fd_names_note(&names, &custody);
	cr_assert_eq(names.n, 2, "of connections the name counts");
	return names;
}

static void go_back(struct fd_names *known, bool to_an_old_library)
{
	struct roll_options options = scene_options();
	int pair[2];

	options.known = known;
	scene_begin(&options);
	scene.new->is_old_library = to_an_old_library;
	fake_hello(scene.new, 2, true);
	fake_standby(scene.new);
	fake_quiesced(scene.old);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fake_hand(scene.old, "listener", 0, door(SOCK_STREAM), false);
	fake_hand(scene.old, "listener", 1, door(SOCK_STREAM), false);
	fake_hand(scene.old, "client", 9, pair[0], false);
	fake_hand(scene.old, "admin", 3, pair[1], true);
}

Test(doors, what_the_version_that_is_gone_back_to_never_had_it_need_not_claim)
{
	struct fd_names names = had();

	go_back(&names, false);
	cr_assert_str_eq(scene.new->given, "listener 0, listener 1?, client 9, admin 3?");
	bake(4, 4);
	fd_names_done(&names); /* it is borrowed until the commit */
}

Test(doors, what_was_left_is_told)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED, .loaded = &loaded);
	struct fd_names names = had();

	go_back(&names, false);
	info.name = wire_text("listener");
	info.tag = 1;
	totals.records = totals.digest_lo = 10;
	totals.payload_bytes = 1000;
	loaded.totals = &totals;
	loaded.fds = 4;
	loaded.left = list;
	loaded.n_left = 1;
	fake_saved(scene.old, 10, 4);
	fake_say(scene.new, &message);
	assert_state(ROLL_COMMIT);
	cr_assert_eq(roll_report(scene.roll)->left.n, 1);
	cr_assert(strncmp(roll_report(scene.roll)->left.text[0], "listener 1 (127.0.0.1:", 22) == 0);
	cr_assert(scene_said("version v2 does not know listener 1"));
	fd_names_done(&names);
}

/* An address that the newer version does not listen at any more, say. */
Test(doors, that_the_newer_version_closed_are_given_to_the_version_that_is_gone_back_to)
{
	struct roll_options options = scene_options();
	struct custody kept = { .n = 0 };
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Fds message = UPGRADED__WIRE__FDS__INIT;
	struct fd_names names = had();

	for (uint64_t tag = 0; tag < 3; tag++) {
		struct wire_fds fds = { .fd = { door(SOCK_STREAM) }, .n = 1 };

		info.name = wire_text("listener");
		info.tag = tag;
		message.fds = list;
		message.n_fds = 1;
		cr_assert_eq(custody_take(&kept, &message, &fds, NULL), 0);
	}
	for (info.tag = 1; info.tag < 3; info.tag++)
		custody_closed(&kept, list, 1);
	options.known = &names;
	options.kept = &kept;
	quiesce(&options);
	fake_hand(scene.old, "listener", 0, door(SOCK_STREAM), false);
	fake_hand(scene.old, "listener", 2, door(SOCK_STREAM), true); /* another one, which took that name */
	cr_assert_str_eq(scene.new->given, "listener 0, listener 2?, listener 1?, listener 3?");
	cr_assert_eq(scene.new->next_tag, 7);
	bake(2, 4);
	cr_assert_eq(roll_report(scene.roll)->wire.fds, 2);
	fake_exit(scene.new, 0);
	assert_state(ROLL_RESUME);
	cr_assert_str_eq(scene.old->given, "listener 0, listener 2", "it has no need of what it had closed");
	fake_resumed(scene.old);
	custody_clear(&kept);
	fd_names_done(&names);
}

Test(doors, that_a_version_has_no_use_for_are_told_with_their_address)
{
	Upgraded__Wire__FdInfo info = UPGRADED__WIRE__FD_INFO__INIT, *list[] = { &info };
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED, .loaded = &loaded);
	struct roll_options options = scene_options();

	quiesce(&options);
	fake_hand(scene.old, "listener", 5, door(SOCK_STREAM), true);
	info.name = wire_text("listener");
	info.tag = 5;
	totals.records = totals.digest_lo = 10;
	totals.payload_bytes = 1000;
	loaded.totals = &totals;
	loaded.fds = 1;
	loaded.left = list;
	loaded.n_left = 1;
	fake_saved(scene.old, 10, 1);
	fake_say(scene.new, &message);
	assert_state(ROLL_COMMIT);
	cr_assert(strncmp(roll_report(scene.roll)->left.text[0], "listener 5 (127.0.0.1:", 22) == 0);
	cr_assert(scene_said("version v2 has no use for listener 5"));
}

#define LISTED 300u

/* For each that one message names the custody is searched, in the loop: no more are heard of than the library tells. */
Test(doors, of_a_message_that_lists_too_many_the_rest_is_not_looked_for)
{
	Upgraded__Wire__FdInfo infos[LISTED], *list[LISTED];
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LOADED, .loaded = &loaded);
	struct fd_names names = had();

	go_back(&names, false);
	for (size_t i = 0; i < LISTED; i++) {
		upgraded__wire__fd_info__init(&infos[i]);
		infos[i].name = wire_text(i < 256 ? "listener" : "admin");
		list[i] = &infos[i];
	}
	loaded.totals = &totals;
	loaded.left = list;
	loaded.n_left = LISTED;
	fake_say(scene.new, &message);
	cr_assert_eq(roll_report(scene.roll)->left.n, 1);
	fd_names_done(&names);
}

Test(doors, an_older_library_is_not_given_what_it_would_refuse_the_roll_for)
{
	struct fd_names names = had();

	go_back(&names, true);
	cr_assert_str_eq(scene.new->given, "listener 0, client 9, admin 3?", "who knows whether it knows the connection");
	bake(4, 3);
	cr_assert_eq(roll_report(scene.roll)->left.n, 1);
	fd_names_done(&names);
}

Test(doors, on_the_way_forward_everything_is_to_be_claimed)
{
	struct roll_options options = scene_options();

	quiesce(&options);
	fake_hand(scene.old, "listener", 1, door(SOCK_STREAM), true);
	cr_assert_str_eq(scene.new->given, "listener 1");
	cr_assert_eq(scene.new->next_tag, 7, "and new goes on with tags where old was");
}
