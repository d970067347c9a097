/* SPDX-License-Identifier: MIT */
/* memcached 1.6.18, whose version 2 has another layout of items: under load, killed in its bake, with connections in every state
 * that its protocols know. */
#include "tests/integration/stage.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SHOWN_US (20 * USEC_PER_SEC)
#define SUITE_US (60 * USEC_PER_SEC)
#define LARGE_BYTES 900000u   /* memcached keeps more than 512 KiB in chunks */
#define REFUSED_BYTES 5000000u /* more than an item may have */

STAGE(memcached, 180);

/* ---- the service ---- */

static void write_unit(const char *options, const char *lines)
{
	const char *folder = getenv("UPG_PORTS");
	char *text = NULL, *path = realpath(folder ? folder : "build/ports", NULL);

	cr_assert_not_null(path, "the ports are not built");
	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s/memcached-%%v -u root -l 127.0.0.1 -c 4000 %s\nVersion=v1\n"
			       "LimitNOFILE=8192\n%s",
			      path, options, lines), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	free(path);
}

/* With the TCP port; in effect from the next start or roll on. */
static void configure(const char *options, const char *lines)
{
	char all[256];

	snprintf(all, sizeof(all), "-p %u %s", stage.port, options);
	write_unit(all, lines);
}

static void serve(const char *options, const char *lines)
{
	configure(options, lines);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
}

static void roll(const char *version)
{
	cr_assert_str_eq(rig_text(ctl(0, "roll", "cached", version), "roll.outcome"), "done");
}

/* The new version is killed in its bake; the one before has to serve again. */
static void crash(const char *version, const char *before, const char *outcome)
{
	struct rig_answer answer = { 0 };
	struct rig_child *child;

	cr_assert_eq(rig_ctl_begin(stage.rig, &child, "roll", "cached", version, "--bake=1min", NULL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "baking", version, SHOWN_US), 0);
	stage_wait_bake(version);
	if (stage.load) /* the report is of what clients have seen of the version that goes */
		cr_assert_eq(rig_load_ask(stage.load, NULL, "report"), 0);
	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	cr_assert_eq(rig_run_wait(child, SHOWN_US, &answer), 0);
	cr_assert_eq(answer.status, 6);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), outcome);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", before, SHOWN_US), 0);
	if (stage.load)
		stage_settle(json_object_get(answer.json, "roll"));
	rig_answer_done(&answer);
}

/* ---- clients that say what a test wants ---- */

static void say_bytes(int fd, const void *bytes, size_t size)
{
	cr_assert_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size, "%s", strerror(errno));
}

static void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

/* Exactly these bytes come next. */
static void hear_bytes(int fd, const void *bytes, size_t size)
{
	char *got = malloc(size + 1);
	size_t n = 0;

	cr_assert_not_null(got);
	while (n < size) {
		ssize_t r = recv(fd, got + n, size - n, 0);

		cr_assert_gt(r, 0, "the connection gave no answer after %zu of %zu bytes: %s", n, size,
			     r ? strerror(errno) : "closed");
		n += (size_t)r;
	}
	got[size] = '\0';
	if (memcmp(got, bytes, size) != 0)
		cr_assert_fail("should: '%.200s'\nis:     '%.200s'", (const char *)bytes, got);
	free(got);
}

static void hear(int fd, const char *text)
{
	hear_bytes(fd, text, strlen(text));
}

static void ask(int fd, const char *text, const char *answer)
{
	say(fd, text);
	hear(fd, answer);
}

/* All until a line that says END. Release with free(). */
static char *ask_all(int fd, const char *text)
{
	size_t n = 0, room = 4096;
	char *got = malloc(room);

	say(fd, text);
	do {
		ssize_t r;

		cr_assert_not_null(got = realloc(got, room = n + 4096 > room ? 2 * room : room));
		r = recv(fd, got + n, room - n - 1, 0);
		cr_assert_gt(r, 0);
		n += (size_t)r;
		got[n] = '\0';
	} while (n < 5 || strcmp(got + n - 5, "END\r\n") != 0);
	return got;
}

static char *large(char fill)
{
	char *value = malloc(LARGE_BYTES + 3);

	cr_assert_not_null(value);
	memset(value, fill, LARGE_BYTES);
	strcpy(value + LARGE_BYTES, "\r\n");
	return value;
}

static void hear_large(int fd, const char *key, unsigned flags, const char *value)
{
	char head[128];

	snprintf(head, sizeof(head), "VALUE %s %u %u\r\n", key, flags, LARGE_BYTES);
	hear(fd, head);
	hear(fd, value);
	hear(fd, "END\r\n");
}

/* ---- under load ---- */

SCENE(memcached, is_rolled_up_and_down_and_up_and_loses_nothing)
{
	serve("", "Bake=200ms\n");
	stage_load(300);
	roll("v2");
	cr_assert_str_eq(rig_text(ctl(0, "undo", "cached"), "roll.outcome"), "done");
	roll("v2");
	cr_assert_str_eq(rig_text(ctl(0, "roll", "cached", "v1", "--verify=roundtrip"), "roll.outcome"), "done");
	stage_load_spotless();
}

SCENE(memcached, grows_its_hash_table_while_it_is_rolled)
{
	int fd, alternate = 0;

	serve("-o hashpower=14", "Bake=100ms\nQuiesceTimeout=10s\n");
	stage_load(100);
	fd = client_open();
	for (unsigned i = 0; i < 100000; i++) {
		char text[64];

		snprintf(text, sizeof(text), "set grows-%u 0 0 5 noreply\r\n%05u\r\n", i, i % 100000);
		say(fd, text);
		if (i % 25000 == 24999)
			roll(alternate++ % 2 ? "v1" : "v2");
	}
	ask(fd, "get grows-0 grows-70000 grows-99999\r\n",
	    "VALUE grows-0 0 5\r\n00000\r\nVALUE grows-70000 0 5\r\n70000\r\nVALUE grows-99999 0 5\r\n99999\r\nEND\r\n");
	fd_close(fd);
	stage_load_spotless();
}

/* ---- killed in its bake ---- */

SCENE(memcached, that_was_killed_under_load_comes_back_and_the_rest_goes_on)
{
	serve("", "Rollback=parked\nBake=100ms\n");
	stage_load(100);
	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	crash("v2", "v1", "rolled-back-parked");
	roll("v2");
	stage_load_spotless();
}

static void silent_clients_are_kept(const char *lines, const char *outcome)
{
	int idle, half;

	serve("", lines);
	idle = client_open();
	half = client_open();
	client_store(idle, "mine", "before");
	say(half, "set half 0 0 4\r\nha");
	crash("v2", "v1", outcome);
	ask(half, "lf\r\n", "STORED\r\n");
	cr_assert(client_holds(idle, "mine", "before"));
	roll("v2");
	cr_assert(client_holds(idle, "mine", "before"));
	cr_assert(client_holds(half, "half", "half"));
	fd_close(idle);
	fd_close(half);
}

SCENE(memcached, that_was_killed_comes_back_from_memory)
{
	silent_clients_are_kept("Rollback=parked\nBake=100ms\n", "rolled-back-parked");
}

SCENE(memcached, that_was_killed_comes_back_from_its_image)
{
	silent_clients_are_kept("Rollback=image\nBake=100ms\n", "rolled-back-image");
}

/* ---- the protocol suite of others ---- */

static void passes(void)
{
	char port[8];
	struct rig_run run = { .argv = (const char *[]){ "memccapable", "-h", "127.0.0.1", "-p", port, "-a", NULL } };
	struct rig_answer answer = { 0 };
	struct rig_child *suite;

	snprintf(port, sizeof(port), "%u", stage.port);
	cr_assert_eq(rig_run_begin(stage.rig, &run, &suite), 0);
	cr_assert_eq(rig_run_wait(suite, SUITE_US, &answer), 0);
	cr_assert_eq(answer.status, 0, "%s%s", answer.out, answer.err);
	rig_answer_done(&answer);
}

SCENE(memcached, passes_memccapable_after_a_roll_and_after_each_way_back)
{
	serve("", "Rollback=parked\nBake=100ms\n");
	roll("v2");
	passes();
	ctl(0, "undo", "cached");
	passes();
	crash("v2", "v1", "rolled-back-parked");
	passes();
}

/* ---- items ---- */

/* Of each key: when it expires, when it was read last, its CAS, whether it was fetched. From the tail of the LRU to its head. The
 * class and the size, which follow, are of the version. */
static char *dump(int fd)
{
	char *text = ask_all(fd, "lru_crawler metadump all\r\n"), *to = text;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char *end = strstr(line, " cls=");
		size_t n = end ? (size_t)(end - line) : strlen(line);

		memmove(to, line, n);
		to += n;
		*to++ = '\n';
	}
	*to = '\0';
	return text;
}

SCENE(memcached, keeps_cas_flags_time_to_live_and_the_order_of_the_lru)
{
	char *before, *after;
	int fd;

	/* Without its maintainer nothing moves between two looks. */
	serve("-o no_lru_maintainer", "Bake=100ms\n");
	fd = client_open();
	for (unsigned i = 0; i < 500; i++) {
		char text[96];

		snprintf(text, sizeof(text), "set key-%03u %u %u 6\r\nvalue!\r\n", i, i * 7, i % 3 ? 0 : 1000 + i);
		ask(fd, text, "STORED\r\n");
	}
	for (unsigned i = 0; i < 500; i += 5) {
		char text[96];

		snprintf(text, sizeof(text), "gat 5000 key-%03u\r\n", i);
		free(ask_all(fd, text));
	}
	before = dump(fd);
	for (unsigned i = 0; i < 4; i++) {
		roll(i % 2 ? "v1" : "v2");
		after = dump(fd);
		cr_assert_str_eq(after, before);
		free(after);
	}
	ask(fd, "gets key-001\r\n", "VALUE key-001 7 6 2\r\nvalue!\r\nEND\r\n");
	ask(fd, "cas key-001 0 0 3 2\r\nnew\r\n", "STORED\r\n");
	ask(fd, "gets key-001\r\n", "VALUE key-001 0 3 501\r\nnew\r\nEND\r\n");
	ask(fd, "cas key-001 0 0 3 2\r\nold\r\n", "EXISTS\r\n");
	free(before);
	fd_close(fd);
}

SCENE(memcached, keeps_what_is_large_and_what_was_flushed_stays_away)
{
	char *value = large('a'), head[64];
	int fd;

	serve("", "Bake=100ms\nVerify=roundtrip\n");
	fd = client_open();
	ask(fd, "set gone 0 0 1\r\nx\r\n", "STORED\r\n");
	ask(fd, "set short 0 1 1\r\nx\r\n", "STORED\r\n");
	stage_sleep_ms(2100); /* what flush_all ends is what was stored in an earlier second; and "short" has to expire */
	ask(fd, "flush_all\r\n", "OK\r\n");
	stage_sleep_ms(2100);
	snprintf(head, sizeof(head), "set large 9 0 %u\r\n", LARGE_BYTES);
	say(fd, head);
	ask(fd, value, "STORED\r\n");
	ask(fd, "set short 0 2 1\r\nx\r\n", "STORED\r\n");
	for (unsigned i = 0; i < 2; i++) {
		roll(i % 2 ? "v1" : "v2");
		say(fd, "get large\r\n");
		hear_large(fd, "large", 9, value);
		ask(fd, "get gone\r\n", "END\r\n");
	}
	stage_sleep_ms(2100);
	ask(fd, "get short\r\n", "END\r\n");
	roll("v2");
	ask(fd, "get short\r\n", "END\r\n");
	free(value);
	fd_close(fd);
}

SCENE(memcached, leaves_out_what_finds_no_room_and_says_so)
{
	const json_t *answer;
	int fd;

	serve("-m 64 -o no_lru_maintainer", "Bake=100ms\n");
	fd = client_open();
	for (unsigned i = 0; i < 20000; i++) {
		char set[96], pad[2001];

		memset(pad, 'p', sizeof(pad) - 1);
		pad[sizeof(pad) - 1] = '\0';
		snprintf(set, sizeof(set), "set key-%05u 0 0 2000 noreply\r\n", i);
		say(fd, set);
		say(fd, pad);
		say(fd, "\r\n");
	}
	ask(fd, "get none\r\n", "END\r\n");
	configure("-m 16 -o no_lru_maintainer", "Bake=100ms\n");
	answer = ctl(0, "roll", "cached", "v2");
	cr_assert_gt(rig_number(answer, "roll.skipped_records"), 1000, "%s", json_dumps(answer, 0));
	cr_assert(strstr(json_dumps(answer, 0), "there is no room for it"));
	ask(fd, "mg key-19999 s\r\n", "HD s2000\r\n"); /* the hottest of all */
	ask(fd, "mg key-00000 s\r\n", "EN\r\n");
	fd_close(fd);
}

/* ---- counters ---- */

static uint64_t stat_of(const char *stats, const char *name)
{
	char line[64];
	const char *at;

	snprintf(line, sizeof(line), "STAT %s ", name);
	at = strstr(stats, line);
	cr_assert_not_null(at, "there is no '%s'", line);
	return strtoull(at + strlen(line), NULL, 10);
}

SCENE(memcached, goes_on_counting)
{
	static const char *const names[] = { "cmd_get", "cmd_set", "get_hits", "get_misses", "cas_badval", "incr_hits",
					     "total_items",
					     "curr_items", "delete_misses", "evictions", "total_connections", "curr_connections" };
	char *before, *after;
	int fd;

	serve("-m 3", "Bake=100ms\n");
	fd = client_open();
	ask(fd, "set n 0 0 1\r\n1\r\n", "STORED\r\n");
	ask(fd, "incr n 4\r\n", "5\r\n");
	ask(fd, "get n none\r\n", "VALUE n 0 1\r\n5\r\nEND\r\n");
	ask(fd, "delete none\r\n", "NOT_FOUND\r\n");
	ask(fd, "cas n 0 0 1 999\r\n1\r\n", "EXISTS\r\n");
	for (unsigned i = 0; i < 3000; i++) { /* more than fits */
		char text[1100];
		int n = snprintf(text, sizeof(text), "set e-%u 0 0 1000\r\n", i);

		/* In one piece: each second one would wait for the other side's delayed acknowledgement. */
		memset(text + n, 'v', 1000);
		strcpy(text + n + 1000, "\r\n");
		ask(fd, text, "STORED\r\n");
	}
	before = ask_all(fd, "stats\r\n");
	cr_assert_gt(stat_of(before, "evictions"), 0);
	for (unsigned i = 0; i < 2; i++) {
		roll(i ? "v1" : "v2");
		after = ask_all(fd, "stats\r\n");
		for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++)
			cr_assert_eq(stat_of(after, names[k]), stat_of(before, names[k]), "%s: %llu before, %llu after", names[k],
				     (unsigned long long)stat_of(before, names[k]), (unsigned long long)stat_of(after, names[k]));
		cr_assert_geq(stat_of(after, "uptime"), stat_of(before, "uptime"));
		free(after);
	}
	free(before);
	fd_close(fd);
}

/* ---- connections in every state ---- */

enum { IDLE, HALF_LINE, HALF_VALUE, HALF_META, HALF_LF, HALF_BINARY, HALF_LARGE, REFUSED, UNREAD, PIPELINED, SPLIT_END, ODD };
static int odd[ODD];
static char *a_large, *b_large;

/* A binary set: header, extras (flags 0xdeadbeef, no expiry), key, value of 10 bytes. */
static const char binary_set[] = "\x80\x01\x00\x06\x08\x00\x00\x00\x00\x00\x00\x18\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00"
				 "\xde\xad\xbe\xef\x00\x00\x00\x00" "binary" "0123456789";
static const char binary_stored[] = "\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04";
#define BINARY_HALF (24 + 8 + 6 + 4)

static void begin_odd(void)
{
	char text[128];

	for (unsigned i = 0; i < ODD; i++)
		odd[i] = client_open();
	client_store(odd[IDLE], "seen", "value");
	say(odd[HALF_LINE], "get se");
	say(odd[HALF_VALUE], "set half 5 0 10\r\n012");
	say(odd[HALF_META], "ms bWV0YQ== 4 b c k Oabc F77\r\nme"); /* the key "meta" in base64 */
	say(odd[HALF_LF], "set lf 6 0 4\nlf");
	say_bytes(odd[HALF_BINARY], binary_set, BINARY_HALF);
	snprintf(text, sizeof(text), "set huge 8 0 %u\r\n", LARGE_BYTES);
	say(odd[HALF_LARGE], text);
	say_bytes(odd[HALF_LARGE], b_large, 700001);
	snprintf(text, sizeof(text), "set refused 0 0 %u\r\n", REFUSED_BYTES);
	say(odd[REFUSED], text);
	for (unsigned i = 0; i < 3; i++)
		say_bytes(odd[REFUSED], b_large, LARGE_BYTES);
	for (unsigned i = 0; i < 20; i++)
		say(odd[UNREAD], "get large large\r\n");
	say(odd[PIPELINED], "get seen\r\nset piped 0 0 4\r\npi");
	say(odd[SPLIT_END], "set end 0 0 3\r\nend\r");
	/* Each of them was read as far as it goes when another connection of the same worker, opened later, is answered: memcached
	 * has four workers, and gives connections to them in turn. */
	for (unsigned i = 0; i < 8; i++) {
		int fd = client_open();

		cr_assert(client_holds(fd, "seen", "value"));
		fd_close(fd);
	}
}

static void end_odd(void)
{
	static char rest[REFUSED_BYTES - 3 * LARGE_BYTES + 2];
	int fd = odd[IDLE];

	cr_assert(client_holds(fd, "seen", "value"));
	ask(odd[HALF_LINE], "en\r\n", "VALUE seen 0 5\r\nvalue\r\nEND\r\n");
	ask(odd[HALF_VALUE], "3456789\r\n", "STORED\r\n");
	ask(fd, "get half\r\n", "VALUE half 5 10\r\n0123456789\r\nEND\r\n");
	say(odd[HALF_META], "ta\r\n");
	hear(odd[HALF_META], "HD c");
	ask(fd, "get meta\r\n", "VALUE meta 77 4\r\nmeta\r\nEND\r\n");
	ask(odd[HALF_LF], "lf\r\n", "STORED\r\n");
	ask(fd, "get lf\r\n", "VALUE lf 6 4\r\nlflf\r\nEND\r\n");
	say_bytes(odd[HALF_BINARY], binary_set + BINARY_HALF, sizeof(binary_set) - 1 - BINARY_HALF);
	hear_bytes(odd[HALF_BINARY], binary_stored, sizeof(binary_stored) - 1);
	ask(fd, "get binary\r\n", "VALUE binary 3735928559 10\r\n0123456789\r\nEND\r\n");
	ask(odd[HALF_LARGE], b_large + 700001, "STORED\r\n");
	say(fd, "get huge\r\n");
	hear_large(fd, "huge", 8, b_large);
	memcpy(rest + sizeof(rest) - 2, "\r\n", 2);
	say_bytes(odd[REFUSED], rest, sizeof(rest));
	hear(odd[REFUSED], "SERVER_ERROR object too large for cache\r\n");
	cr_assert(client_holds(odd[REFUSED], "seen", "value"));
	for (unsigned i = 0; i < 20; i++) {
		char head[64];

		snprintf(head, sizeof(head), "VALUE large 3 %u\r\n", LARGE_BYTES);
		hear(odd[UNREAD], head);
		hear(odd[UNREAD], a_large);
		hear_large(odd[UNREAD], "large", 3, a_large);
	}
	cr_assert(client_holds(odd[UNREAD], "seen", "value"));
	ask(odd[PIPELINED], "pe\r\n", "VALUE seen 0 5\r\nvalue\r\nEND\r\nSTORED\r\n");
	ask(odd[SPLIT_END], "\n", "STORED\r\n");
	for (unsigned i = 0; i < ODD; i++)
		fd_close(odd[i]);
}

SCENE(memcached, goes_on_at_the_byte_with_connections_in_every_state)
{
	char text[128];
	int fd;

	a_large = large('a');
	b_large = large('b');
	serve("", "Bake=100ms\n");
	fd = client_open();
	snprintf(text, sizeof(text), "set large 3 0 %u\r\n", LARGE_BYTES);
	say(fd, text);
	ask(fd, a_large, "STORED\r\n");
	fd_close(fd);
	for (unsigned i = 0; i < 2; i++) {
		begin_odd();
		roll(i ? "v1" : "v2");
		end_odd();
	}
	begin_odd();
	roll("v2");
	roll("v1"); /* without a byte in between */
	end_odd();
	begin_odd();
	ctl(5, "roll", "cached", "v3"); /* there is none */
	end_odd();
	free(a_large);
	free(b_large);
}

/* ---- other sockets ---- */

static void ask_datagram(int fd, const char *text, const char *answer)
{
	char frame[128] = "\x12\x34\x00\x00\x00\x01\x00\x00", got[256];
	ssize_t n;

	strcpy(frame + 8, text);
	say_bytes(fd, frame, 8 + strlen(text));
	n = recv(fd, got, sizeof(got) - 1, 0);
	cr_assert_gt(n, 8, "%s", strerror(errno));
	got[n] = '\0';
	cr_assert_eq(memcmp(got, frame, 2), 0, "it is the answer to another request");
	cr_assert_str_eq(got + 8, answer);
}

SCENE(memcached, answers_datagrams_after_a_roll_and_after_a_crash)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(rig_port(stage.rig)),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = 10 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), tcp;
	char option[16];

	snprintf(option, sizeof(option), "-U %u", ntohs(address.sin_port));
	serve(option, "Rollback=parked\nBake=100ms\n");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	tcp = client_open();
	client_store(tcp, "key", "value");
	ask_datagram(fd, "get key\r\n", "VALUE key 0 5\r\nvalue\r\nEND\r\n");
	roll("v2");
	for (unsigned i = 0; i < 8; i++)
		ask_datagram(fd, "get key\r\n", "VALUE key 0 5\r\nvalue\r\nEND\r\n");
	crash("v1", "v2", "rolled-back-parked");
	for (unsigned i = 0; i < 8; i++)
		ask_datagram(fd, "get key\r\n", "VALUE key 0 5\r\nvalue\r\nEND\r\n");
	roll("v1");
	ask_datagram(fd, "get key\r\n", "VALUE key 0 5\r\nvalue\r\nEND\r\n");
	fd_close(fd);
	fd_close(tcp);
}

static int unix_open(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 10 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0, "%s: %s", path, strerror(errno));
	return fd;
}

SCENE(memcached, keeps_a_unix_socket_and_its_clients)
{
	char option[64], path[48];
	int old, late;

	snprintf(path, sizeof(path), "/tmp/upg-memcached-%d", getpid());
	snprintf(option, sizeof(option), "-s %s -a 0700", path);
	write_unit(option, "Rollback=parked\nBake=100ms\n");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	old = unix_open(path);
	client_store(old, "key", "value");
	say(old, "get k");
	roll("v2");
	late = unix_open(path);
	cr_assert(client_holds(late, "key", "value"));
	ask(old, "ey\r\n", "VALUE key 0 5\r\nvalue\r\nEND\r\n");
	ctl(0, "undo", "cached");
	cr_assert(client_holds(late, "key", "value"));
	fd_close(late);
	crash("v2", "v1", "rolled-back-parked");
	cr_assert(client_holds(old, "key", "value"));
	late = unix_open(path);
	cr_assert(client_holds(late, "key", "value"));
	fd_close(late);
	fd_close(old);
	unlink(path);
}

/* ---- what cannot travel ---- */

SCENE(memcached, waits_for_who_watches_its_log_and_says_so)
{
	const json_t *answer;
	int fd, watcher;

	serve("", "Bake=100ms\nQuiesceTimeout=300ms\n");
	fd = client_open();
	watcher = client_open();
	client_store(fd, "key", "value");
	ask(watcher, "watch mutations\r\n", "OK\r\n");
	answer = ctl(6, "roll", "cached", "v2");
	cr_assert(strstr(rig_text(answer, "cause"), "a client watches the log"), "the cause is: %s", rig_text(answer, "cause"));
	cr_assert(client_holds(fd, "key", "value"));
	fd_close(watcher);
	client_store(fd, "key", "other"); /* the watcher is found gone when there is something to tell it */
	configure("", "Bake=100ms\nQuiesceTimeout=10s\n");
	roll("v2");
	cr_assert(client_holds(fd, "key", "other"));
	fd_close(fd);
}

SCENE(memcached, within_a_request_waits_where_the_roll_wants_none)
{
	const json_t *answer;
	int fd;

	serve("", "Bake=100ms\nQuiesceTimeout=300ms\nQuiesceLevel=request\n");
	fd = client_open();
	say(fd, "set key 0 0 3\r\nk");
	answer = ctl(6, "roll", "cached", "v2");
	cr_assert(strstr(rig_text(answer, "cause"), "within a request"), "the cause is: %s", rig_text(answer, "cause"));
	ask(fd, "ey\r\n", "STORED\r\n");
	roll("v2");
	cr_assert(client_holds(fd, "key", "key"));
	fd_close(fd);
}
