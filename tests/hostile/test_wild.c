/* SPDX-License-Identifier: MIT */
/* Services and clients that say anything in any order, with real rolls. UPG_FUZZ_SECONDS says how long (25). UPG_FUZZ_SEED repeats
 * a run as far as the machine's timing lets it: what each process decides follows from the seed. After a
 * failure the whole log of upgraded is in build/fuzz/wild-upgraded.log. */
#include "tests/hostile/neighbour.h"
#include "tests/hostile/watch.h"
#include "tests/wild/dice.h"
#include "wire/wire.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define USUAL_SECONDS 25u
#define LONGEST_SECONDS 36000
#define AT_THE_END_SECONDS 2u           /* in which everything goes on when the daemon is told to end */
#define CONNECTIONS 40
#define PESTS 5u
#define ANSWER_US USEC_PER_SEC
#define LOOK_AGAIN_MS 100u
#define BACK_US (30 * USEC_PER_SEC)     /* for what was given up to be gone: a close may linger, a process may sleep */
#define STOP_US (20 * USEC_PER_SEC)
#define ROOMY_KIB (32u << 10)           /* sanitizers keep some of what was freed */

/* The last one runs as root: where CRIU cannot restore other users' processes, images are taken of that one alone. */
static const char *const names[] = { "ada", "bela", "cleo", "dora" };
#define N_NAMES (sizeof(names) / sizeof(*names))

static struct dice dice;
static uint64_t seed;
static uint64_t slowest_us;
static unsigned lists, rolls;
static struct rig_child *pests[PESTS];

static void wild_open(void);
TestSuite(wild, .init = wild_open, .fini = stage_abandon, .timeout = LONGEST_SECONDS);

/* ---- before it begins ---- */

static uint64_t number_in(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

/* What was freed is to be given back to the machine soon, so that it can be counted. */
static void sanitizers_return_memory(void)
{
	const char *options = getenv("ASAN_OPTIONS");
	char text[512];

	snprintf(text, sizeof(text), "%s%squarantine_size_mb=4:thread_local_quarantine_size_kb=64:"
		 "allocator_release_to_os_interval_ms=100", options ? options : "", options ? ":" : "");
	setenv("ASAN_OPTIONS", text, 1);
}

static void wild_open(void)
{
	uint64_t any = 1;

	if (getrandom(&any, sizeof(any), 0) < 0)
		any = clock_now_us();
	seed = number_in("UPG_FUZZ_SEED", any >> 32);
	dice_init(&dice, seed, dice_name("scene"));
	sanitizers_return_memory();
	stage_open();
}

/* A second name for the log, which is still there when the rig and its folder are gone. */
static const char *log_kept(void)
{
	return stage_path("../../fuzz/wild-upgraded.log");
}

static void log_keep(void)
{
	mkdir(stage_path("../../fuzz"), 0755);
	unlink(log_kept());
	cr_assert_eq(link(stage_path("upgraded.log"), log_kept()), 0);
}

/* ---- what must hold all along ---- */

static void must_answer(void)
{
	uint64_t took_us = watch_answer_us(rig_control_path(stage.rig), rig_daemon_pid(stage.rig));

	lists++;
	slowest_us = took_us > slowest_us ? took_us : slowest_us;
	if (took_us > ANSWER_US)
		rig_fail(stage.rig, -ETIMEDOUT, "seed %llu: upgraded did not answer within a second (%lld ms)",
			 (unsigned long long)seed, took_us == UINT64_MAX ? -1 : (long long)(took_us / USEC_PER_MSEC));
	cr_assert_leq(took_us, ANSWER_US);
}

/* ---- the services ---- */

static const char *one_of(const char *const *words, size_t n)
{
	return words[dice_below(&dice, n)];
}

#define ONE_OF(...) \
	one_of((const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

static void unit_write(const char *name)
{
	const char *user = strcmp(name, names[N_NAMES - 1]) == 0 ? "root" : "nobody";
	const char *bake = ONE_OF("0", "300ms", "1s", "3s"), *rollback = ONE_OF("auto", "auto", "parked", "image", "none");
	const char *journal = ONE_OF("yes", "no", "always", "always"), *verify = ONE_OF("none", "none", "roundtrip");
	const char *restart = ONE_OF("on-failure", "on-failure", "no"), *dirty = ONE_OF("reset", "keep");
	const char *more = ONE_OF("", "", "HealthTCP=127.0.0.1:1\nHealthFailures=3\n", "JournalSize=64K\n", "LimitNOFILE=64\n");
	char *text = NULL;

	cr_assert_gt(asprintf(&text,
			      "[Service]\nExec=%s/wild-%%v\nUser=%s\nVersion=v1\n"
			      "Environment=UPG_FUZZ_SEED=%llu\nEnvironment=UPG_FUZZ_TURNS=%s\n"
			      "StartTimeout=2s\nQuiesceTimeout=500ms\nTransferTimeout=1s\nStopTimeout=500ms\nRestartDelay=100ms\n"
			      "ImageTimeout=5s\nHealthInterval=100ms\nHealthTimeout=1s\n"
			      "Bake=%s\nRollback=%s\nJournal=%s\nVerify=%s\nRestart=%s\nOnDirtyConnection=%s\n%s",
			      rig_folder(stage.rig), user, (unsigned long long)seed, stage_path("turns-%s", name), bake, rollback,
			      journal, verify, restart, dirty, more), 0);
	cr_assert_eq(rig_unit_write(stage.rig, name, text), 0);
	free(text);
}

static void services_write(void)
{
	stage_link("wild-v1", "upg-wild");
	stage_link("wild-v2", "upg-wild");
	stage_link("wild-v3", "upg-wild");
	for (size_t i = 0; i < N_NAMES; i++) {
		const char *turns = stage_path("turns-%s", names[i]);
		int fd = open(turns, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

		cr_assert_geq(fd, 0);
		cr_assert_eq(fchmod(fd, 0666), 0); /* for nobody, who writes */
		close(fd);
		unit_write(names[i]);
	}
}

static unsigned long long processes_started(void)
{
	unsigned long long n = 0;
	struct stat st;

	for (size_t i = 0; i < N_NAMES; i++)
		n += stat(stage_path("turns-%s", names[i]), &st) == 0 ? (unsigned long long)st.st_size : 0;
	return n;
}

/* A roll of theirs may be under way, which ends by its deadlines. */
static void stop(const char *name)
{
	uint64_t due_us = clock_now_us() + STOP_US;
	struct rig_answer answer = { 0 };

	do {
		rig_answer_done(&answer);
		cr_assert_eq(rig_ctl(stage.rig, &answer, "stop", name, NULL), 0);
		must_answer();
	} while (answer.status == WIRE_EXIT_BUSY && clock_now_us() < due_us);
	if (answer.status != WIRE_EXIT_DONE && answer.status != WIRE_EXIT_NOT_RUNNING)
		rig_fail(stage.rig, -EBUSY, "seed %llu: stop %s ended with status %d: %s%s", (unsigned long long)seed, name,
			 answer.status, answer.out, answer.err);
	cr_assert(answer.status == WIRE_EXIT_DONE || answer.status == WIRE_EXIT_NOT_RUNNING);
	rig_answer_done(&answer);
}

/* ---- the clients ---- */

static void pests_begin(const char *when)
{
	const char *folder = stage_path("saved");
	char number[32];

	mkdir(folder, 0700);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)seed);
	for (size_t i = 0; i < PESTS; i++) {
		char who[64], program[4096];
		const char *argv[] = { program, rig_control_path(stage.rig), number, who, folder, names[0], names[1], names[2],
				       names[3], NULL };

		snprintf(who, sizeof(who), "pest %zu %s", i, when);
		snprintf(program, sizeof(program), "%s", rig_program(stage.rig, "upg-pest"));
		cr_assert_eq(rig_run_begin(stage.rig, &(struct rig_run){ .argv = argv }, &pests[i]), 0);
	}
}

static void pests_end(void)
{
	for (size_t i = 0; i < PESTS; i++) {
		struct rig_answer answer;

		cr_assert_not(rig_run_ended(pests[i]), "a client has ended by itself");
		rig_run_kill(pests[i], SIGKILL);
		cr_assert_eq(rig_run_wait(pests[i], 10 * USEC_PER_SEC, &answer), 0);
		rig_answer_done(&answer);
	}
}

/* ---- the healthy service ---- */

/* The healthy service is rolled, as if it was alone. */
static void must_roll(void)
{
	static const char *const versions[] = { "v2", "v3", "v2", "v1" };
	struct rig_child *roll;
	struct rig_answer answer;

	cr_assert_eq(rig_ctl_begin(stage.rig, &roll, "roll", "cached", versions[rolls++ % 4], NULL), 0);
	while (!rig_run_ended(roll)) {
		must_answer();
		stage_sleep_ms(LOOK_AGAIN_MS);
	}
	cr_assert_eq(rig_run_wait(roll, 60 * USEC_PER_SEC, &answer), 0);
	if (answer.status || strcmp(rig_text(answer.json, "roll.outcome"), "done") != 0)
		rig_fail(stage.rig, -EPROTO, "seed %llu: the healthy service was not rolled: %s%s", (unsigned long long)seed,
			 answer.out, answer.err);
	cr_assert_eq(answer.status, 0);
	cr_assert_str_eq(rig_text(answer.json, "roll.outcome"), "done");
	rig_answer_done(&answer);
}

static void be_wild_for(uint64_t seconds, const char *when)
{
	uint64_t due_us = clock_now_us() + seconds * USEC_PER_SEC;

	pests_begin(when);
	while (clock_now_us() < due_us) {
		must_roll();
		if (dice_percent(&dice, 30))
			unit_write(names[dice_below(&dice, N_NAMES)]);
		stage_sleep_ms((unsigned)dice_below(&dice, 300));
	}
}

/* ---- what must be as before ---- */

struct held {
	unsigned descriptors, processes;
	unsigned long memory_kib;
};

static struct held held_now(void)
{
	rig_reap(stage.rig);
	return (struct held){
		.descriptors = rig_descriptors(rig_daemon_pid(stage.rig)),
		.processes = rig_processes(),
		.memory_kib = neighbour_memory_kib(),
	};
}

static bool is_back(const struct held *now, const struct held *before)
{
	return now->descriptors <= before->descriptors && now->processes <= before->processes &&
	       now->memory_kib <= before->memory_kib + ROOMY_KIB;
}

static void must_come_back(const struct held *before)
{
	uint64_t due_us = clock_now_us() + BACK_US;
	struct held now = held_now();

	while (!is_back(&now, before) && clock_now_us() < due_us) {
		must_answer();
		stage_sleep_ms(LOOK_AGAIN_MS);
		now = held_now();
	}
	fprintf(stderr, "wild: descriptors %u, before %u; processes %u, before %u; memory %lu KiB, before %lu\n", now.descriptors,
		before->descriptors, now.processes, before->processes, now.memory_kib, before->memory_kib);
	if (!is_back(&now, before))
		rig_fail(stage.rig, -EBUSY, "seed %llu: upgraded holds more than before", (unsigned long long)seed);
	cr_assert(is_back(&now, before));
}

/* Nothing of an image that was not finished. */
static unsigned halves_of_images(void)
{
	glob_t found;
	unsigned n = glob(stage_path("state/images/*/*.tmp"), 0, NULL, &found) == 0 ? (unsigned)found.gl_pathc : 0;

	globfree(&found);
	return n;
}

static void tell(uint64_t seconds)
{
	struct watch_log log;

	watch_log_read(stage_path("upgraded.log"), &log);
	fprintf(stderr, "wild: %llu s, seed %llu: %llu wild processes, %u lists (the slowest %llu ms), %u healthy rolls; all:",
		(unsigned long long)seconds, (unsigned long long)seed, processes_started(), lists,
		(unsigned long long)(slowest_us / USEC_PER_MSEC), rolls);
	watch_log_print(&log, stderr);
	fputc('\n', stderr);
	cr_assert_eq(log.reports, 0, "sanitizers have reported");
	if (seconds >= USUAL_SECONDS)
		cr_assert_gt(log.committed, rolls, "no roll of a wild service got as far as its commit");
}

/* ---- the end ---- */

/* In the middle of it all. Children in sessions of their own are not upgraded's to end; these live for some seconds. */
static void must_end_well(void)
{
	uint64_t due_us = clock_now_us() + BACK_US;

	cr_assert_eq(rig_daemon_kill(stage.rig, SIGTERM), 0);
	while (!rig_run_ended(pests[0]) && (rig_daemon_pid(stage.rig) || rig_processes() > PESTS) && clock_now_us() < due_us) {
		if (!rig_daemon_pid(stage.rig))
			rig_reap(stage.rig);
		stage_sleep_ms(LOOK_AGAIN_MS);
	}
	cr_assert_eq(rig_daemon_stop(stage.rig), 0); /* it has ended: with status 0, and nothing is left */
}

/* ---- the scene ---- */

SCENE(wild, services_and_clients_matter_to_nobody_else)
{
	uint64_t seconds = number_in("UPG_FUZZ_SECONDS", USUAL_SECONDS);
	struct rig_load_options load = { .connections = CONNECTIONS, .keys = 4, .rate = 500, .values = "16-600" };
	struct held before;

	fprintf(stderr, "wild: UPG_FUZZ_SEED=%llu UPG_FUZZ_SECONDS=%llu\n", (unsigned long long)seed, (unsigned long long)seconds);
	stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\n" }, NULL);
	log_keep();
	stage.connections = CONNECTIONS;
	cr_assert_eq(rig_load_start(stage.rig, stage.port, &load, &stage.load), 0);
	services_write();
	must_roll();
	must_answer();
	before = held_now();

	be_wild_for(seconds, "first");
	pests_end();
	for (size_t i = 0; i < N_NAMES; i++)
		stop(names[i]);
	must_come_back(&before);
	cr_assert_eq(halves_of_images(), 0u);
	tell(seconds);

	be_wild_for(AT_THE_END_SECONDS, "last");
	stage_load_spotless();
	must_end_well();
	unlink(log_kept());
}
