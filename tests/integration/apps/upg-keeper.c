/* SPDX-License-Identifier: MIT */
/* upg-keeper: keeps notes, and has all that a server may have to do before it is rolled. What follows the first - in the name it
 * was started by is its version and says what that is:
 *
 *     uploads    it is not ready at first, and says why
 *     refuses    it never is
 *     dumps      it waits for a child process, which ends when it is sent SIGTERM
 *     threads    it has threads of its own, and a way of its own to stop them; threads-die: the same, and dies while it loads
 *     expects    it asks how much will come, and prints that
 *     skips      it does not take every hundredth note
 *     dies       it dies of a note in the middle
 */
#include "shim/examples/cached/cached_v1.pb-c.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOTES 1000u
#define UPLOADS 5u /* so often it is not ready */
#define COUNTERS 2u

static const char *character;
static struct upg *upg;

static bool is(const char *what)
{
	return strcmp(character, what) == 0;
}

/* ---- notes ---- */

static uint64_t notes;

static int save_notes(struct upg_saver *saver, void *userdata)
{
	Cached__V1__Connection note = CACHED__V1__CONNECTION__INIT;
	int rc = 0;

	(void)userdata;
	for (uint64_t i = 0; i < notes && rc == 0; i++) {
		note.id = i;
		rc = upg_save(saver, &note.base);
	}
	return rc;
}

static int load_note(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	uint64_t id = ((const Cached__V1__Connection *)message)->id;

	(void)userdata;
	if ((is("dies") || is("threads-die")) && id == NOTES / 2)
		raise(SIGKILL);
	if (is("skips") && id % 100 == 0)
		return upg_load_skip(loader, "note %" PRIu64 " has expired", id);
	notes++;
	return 0;
}

static uint64_t count_notes(void *userdata)
{
	(void)userdata;
	return notes;
}

/* ---- threads of its own ----
 *
 * Each counts twice, and both numbers are the same only where it stands. They wait for a condition, so that nothing of the
 * library's would reach them. */

static bool has_threads(void)
{
	return is("threads") || is("threads-die");
}

struct counter {
	uint64_t once, twice;
};

static struct counter counters[COUNTERS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t came = PTHREAD_COND_INITIALIZER, let_go = PTHREAD_COND_INITIALIZER;
static bool stop_wanted;
static unsigned standing;

static void stand_if_wanted(void)
{
	pthread_mutex_lock(&lock);
	if (stop_wanted) {
		standing++;
		pthread_cond_signal(&came);
		while (stop_wanted)
			pthread_cond_wait(&let_go, &lock);
		standing--;
	}
	pthread_mutex_unlock(&lock);
}

static void *count(void *arg)
{
	struct counter *counter = arg;

	for (;;) {
		counter->once++;
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
		counter->twice++;
		stand_if_wanted();
	}
	return NULL;
}

static void begin_threads(void)
{
	pthread_t thread;

	for (unsigned i = 0; has_threads() && i < COUNTERS; i++)
		if (pthread_create(&thread, NULL, count, &counters[i]) != 0)
			abort();
}

static int stop_threads(uint64_t deadline_us, void *userdata)
{
	struct timespec at = { .tv_sec = (time_t)(deadline_us / 1000000), .tv_nsec = (long)(deadline_us % 1000000) * 1000 };
	int rc = 0;

	(void)userdata;
	pthread_mutex_lock(&lock);
	stop_wanted = true;
	while (standing < COUNTERS && rc == 0)
		rc = pthread_cond_clockwait(&came, &lock, CLOCK_MONOTONIC, &at);
	if (rc != 0) {
		stop_wanted = false;
		pthread_cond_broadcast(&let_go);
	}
	pthread_mutex_unlock(&lock);
	return -rc;
}

static void start_threads(void *userdata)
{
	(void)userdata;
	pthread_mutex_lock(&lock);
	stop_wanted = false;
	pthread_cond_broadcast(&let_go);
	pthread_mutex_unlock(&lock);
	printf("threads go on from %" PRIu64 "\n", counters[0].once);
	fflush(stdout);
}

static int save_counters(struct upg_saver *saver, void *userdata)
{
	Cached__V1__Stats stats = CACHED__V1__STATS__INIT;
	int rc = 0;

	(void)userdata;
	for (unsigned i = 0; has_threads() && i < COUNTERS && rc == 0; i++) {
		stats.cas = counters[i].once;
		stats.get_hits = counters[i].twice;
		rc = upg_save(saver, &stats.base);
	}
	return rc;
}

static int load_counter(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Cached__V1__Stats *stats = (const Cached__V1__Stats *)message;
	static unsigned n;

	(void)userdata;
	if (stats->cas != stats->get_hits || n == COUNTERS)
		return upg_load_fail(loader, "counter %u ran while it was saved: %" PRIu64 " and %" PRIu64, n, stats->cas,
				     stats->get_hits);
	counters[n++] = (struct counter){ .once = stats->cas, .twice = stats->get_hits };
	return 0;
}

/* ---- coming to rest ---- */

static pid_t dumper; /* 0: there is none */

static void begin_dump(void)
{
	if (!is("dumps"))
		return;
	dumper = fork();
	if (dumper != 0)
		return;
	close(upg_fd(upg));
	prctl(PR_SET_NAME, "dumper");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, SIG_DFL);
	for (;;)
		pause();
}

static enum upg_rest on_prepare(enum upg_level level, uint64_t deadline_us, void *userdata)
{
	static unsigned asked;

	(void)level;
	(void)deadline_us;
	(void)userdata;
	if (is("refuses")) {
		upg_refuse(upg, "the books are open");
		return UPG_REFUSE;
	}
	if (is("uploads") && asked++ < UPLOADS) {
		upg_refuse(upg, "client 17 uploads");
		return UPG_NOT_YET;
	}
	if (dumper > 0 && waitpid(dumper, NULL, WNOHANG) == 0)
		return upg_await_child(upg, dumper, "writes notes.dump");
	dumper = 0;
	return UPG_AT_REST;
}

/* ---- the application ---- */

static const struct upg_type types[] = {
	{ .name = "app.Note", .version = 1, .descriptor = &cached__v1__connection__descriptor, .save = save_notes,
	  .load = load_note, .count = count_notes },
	{ .name = "app.Counter", .version = 1, .descriptor = &cached__v1__stats__descriptor, .save = save_counters,
	  .load = load_counter },
};

static void print_expected(void)
{
	uint64_t some, all, bytes;
	int rc = upg_expected(upg, "app.Note", &some, NULL);

	if (rc == 0)
		rc = upg_expected(upg, NULL, &all, &bytes);
	if (rc < 0)
		printf("expects nothing: %s\n", strerror(-rc));
	else
		printf("expects %" PRIu64 " notes of %" PRIu64 " records\n", some, all);
	fflush(stdout);
}

static int begin(enum upg_received how, void *userdata)
{
	(void)userdata;
	if (how == UPG_FRESH)
		notes = NOTES;
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL, *dash = strchr(name ? name : "", '-');
	struct upg_config config = { .service = "keeper", .types = types, .n_types = 2, .on_prepare = on_prepare };
	struct pollfd fd = { .events = POLLIN };

	config.version = character = dash ? dash + 1 : "";
	if (has_threads()) {
		config.stop_threads = stop_threads;
		config.start_threads = start_threads;
	}
	if (upg_open(&config, &upg) < 0)
		return 1;
	if (is("expects"))
		print_expected();
	if (upg_become(upg, begin, NULL) != UPG_SERVE)
		return 0;
	begin_dump();
	begin_threads();
	fd.fd = upg_fd(upg);
	do
		poll(&fd, 1, -1);
	while (upg_dispatch(upg) != UPG_LEAVE);
	return 0;
}
