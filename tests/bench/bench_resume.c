/* SPDX-License-Identifier: MIT */
/* How fast a parked version comes back: cached with 1,000 connections and 4 threads under load, its successor killed while it
 * serves. The daemon's figure is from hearing of the end to the moment the first thread runs again; the client's is from
 * the kill to the first answer, with all that lies between: the kernel ends the killed process, the loads are told of their
 * resets, and a new connection waits for its turn in the listener's queue. */
#include "base/clock.h"
#include "base/fd.h"
#include "tests/bench/bench.h"
#include "tests/bench/served.h"
#include "tests/rig/rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CRASHES 20u
#define CONNECTIONS 1000u
#define SERVES_MS 1500 /* how long the new version serves before it is killed */
#define AT_ONCE_MS 100 /* ... and before the daemon could look at its connections in passing */
#define TARGET_MS 5.0
#define WAIT_US (20 * USEC_PER_SEC)

struct figures {
	double resume_ms[CRASHES], answer_ms[CRASHES], pause_ms[CRASHES], kept[CRASHES];
	size_t n;
};

/* A connection that the dying version had accepted yet is reset: on to the next. Return: when somebody answered. */
static uint64_t answered_us(uint16_t port)
{
	const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint64_t until_us = clock_now_us() + WAIT_US;

	while (clock_now_us() < until_us) {
		FD_CLEANUP int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		char text[128];

		if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
			continue;
		if (send(fd, "version\r\n", 9, MSG_NOSIGNAL) == 9 && recv(fd, text, sizeof(text), 0) > 0)
			return clock_now_us();
	}
	fprintf(stderr, "bench_resume: nobody answers\n");
	exit(EXIT_FAILURE);
}

static void crash(struct rig *rig, uint16_t port, struct rig_load *load, long serves_ms, struct figures *figures)
{
	struct timespec serves = { .tv_sec = serves_ms / 1000, .tv_nsec = serves_ms % 1000 * 1000000L };
	uint64_t killed_us;
	json_t *status, *settled = NULL;
	const char *outcome;
	pid_t pid;

	bench_must(rig_load_ask(load, NULL, "crash"));
	bench_ctl(rig, "roll", "v3", "--wait=commit");
	bench_must(rig_wait_status(rig, "cached", "baking", "v3", WAIT_US));
	pid = bench_pid_of(rig, "serving");
	nanosleep(&serves, NULL);
	killed_us = clock_now_us();
	kill(pid, SIGKILL);
	figures->answer_ms[figures->n] = (double)(answered_us(port) - killed_us) / 1e3;
	bench_must(rig_wait_status(rig, "cached", "running", "v2", WAIT_US));
	status = rig_status(rig, "cached");
	outcome = rig_text(status, "last_roll.outcome");
	if (strcmp(outcome, "rolled-back-parked") != 0)
		bench_must(rig_fail(rig, -EXIT_FAILURE, "the roll ended as %s", outcome));
	figures->resume_ms[figures->n] =
		(double)(rig_number(status, "last_roll.resume_us") - rig_number(status, "last_roll.died_us")) / 1e3;
	figures->pause_ms[figures->n] = (double)rig_number(status, "last_roll.pause_us") / 1e3;
	figures->kept[figures->n++] = (double)rig_number(status, "last_roll.kept");
	bench_must(rig_load_ask(load, &settled, "settle %lld %lld", (long long)rig_number(status, "last_roll.commit_us"),
			  (long long)rig_number(status, "last_roll.resume_us")));
	if (rig_number(settled, "wrong") != 0 || rig_number(settled, "served_by_lost") != 0)
		bench_must(rig_fail(rig, -EXIT_FAILURE, "the load found wrong answers"));
	json_decref(settled);
	json_decref(status);
}

static void bench_after(struct bench *bench, struct rig *rig, uint16_t port, struct rig_load *load, long serves_ms,
			const char *name)
{
	struct figures figures = { .n = 0 };
	unsigned within = 0;
	char text[96];

	while (figures.n < CRASHES)
		crash(rig, port, load, serves_ms, &figures);
	snprintf(text, sizeof(text), "resume from parked after %s: median of 20", name);
	bench_row(bench, text, bench_median(figures.resume_ms, figures.n), "ms", TARGET_MS, false);
	for (size_t i = 0; i < figures.n; i++)
		within += figures.resume_ms[i] <= TARGET_MS;
	bench_note("  worst", bench_worst(figures.resume_ms, figures.n), "ms");
	bench_note("  within the target, of 20", within, "");
	bench_note("  connections of 1,000 that went on: median", bench_median(figures.kept, figures.n), "");
	bench_note("  from SIGKILL to a client's first answer: median", bench_median(figures.answer_ms, figures.n), "ms");
	bench_note("  from SIGKILL to a client's first answer: worst", bench_worst(figures.answer_ms, figures.n), "ms");
	bench_note("  pause of the rolls forward: median", bench_median(figures.pause_ms, figures.n), "ms");
}

int main(void)
{
	struct bench bench = { 0 };
	struct rig_load *load;
	struct rig *rig;
	uint16_t port;

	bench_must(rig_new("bench", &rig));
	port = rig_port(rig);
	bench_must(rig_cached_write(rig, "cached", &(struct rig_cached){ .port = port, .version = "v2", .options = "-c 4000",
								   .lines = "Bake=5min\nRollback=parked\n" }));
	bench_must(rig_daemon_start(rig, RIG_NO_CRIU));
	bench_ctl(rig, "start", NULL, NULL);
	bench_must(rig_load_start(rig, port, &(struct rig_load_options){ .connections = CONNECTIONS }, &load));
	bench_after(&bench, rig, port, load, SERVES_MS, "1.5 s");
	bench_after(&bench, rig, port, load, AT_ONCE_MS, "100 ms");
	bench_must(rig_load_stop(load, NULL, NULL));
	bench_must(rig_daemon_stop(rig));
	rig_free(rig);
	return bench_end(&bench);
}
