/* SPDX-License-Identifier: MIT */
/* What a crash outside of a roll costs a client that comes all the time: how often it is refused, and how long until it is
 * answered, with Listen= and without. The time is RestartDelay= and the start in either case; the difference is who waits for it,
 * the kernel's queue or the client. */
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

#define CRASHES 10u
#define COMES_EVERY_NS 1000000L
#define WAIT_US (20 * USEC_PER_SEC)

struct figures {
	double refused[CRASHES], answer_ms[CRASHES];
	size_t n;
};

static pid_t serving(struct rig *rig)
{
	json_t *status = rig_status(rig, "cached");
	json_t *first = json_array_get(json_object_get(status, "instances"), 0);
	pid_t pid = first ? (pid_t)rig_number(first, "pid") : 0;

	json_decref(status);
	return pid;
}

/* Every millisecond, until somebody answers. Return: how often it was refused. */
static unsigned come_until_answered(uint16_t port)
{
	const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct timespec pause = { .tv_nsec = COMES_EVERY_NS };
	uint64_t until_us = clock_now_us() + WAIT_US;
	unsigned refused = 0;

	while (clock_now_us() < until_us) {
		FD_CLEANUP int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		char text[128];

		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
			refused++;
			nanosleep(&pause, NULL);
			continue;
		}
		if (send(fd, "version\r\n", 9, MSG_NOSIGNAL) == 9 && recv(fd, text, sizeof(text), 0) > 0)
			return refused;
	}
	fprintf(stderr, "bench_listen: nobody answers\n");
	exit(EXIT_FAILURE);
}

static struct figures crash_often(struct rig *rig, uint16_t port, const char *lines)
{
	struct figures figures = { .n = 0 };

	bench_must(rig_cached_write(rig, "cached", &(struct rig_cached){ .port = port, .lines = lines }));
	while (figures.n < CRASHES) {
		uint64_t killed_us;

		/* Anew each time, as the delay grows with each failure in a row. */
		bench_ctl(rig, "start", NULL, NULL);
		kill(serving(rig), SIGKILL);
		killed_us = clock_now_us();
		figures.refused[figures.n] = come_until_answered(port);
		figures.answer_ms[figures.n++] = (double)(clock_now_us() - killed_us) / 1e3;
		bench_must(rig_wait_status(rig, "cached", "running", NULL, WAIT_US));
		bench_ctl(rig, "stop", NULL, NULL);
	}
	return figures;
}

int main(void)
{
	struct bench bench = { 0 };
	struct figures without, with;
	struct rig *rig;
	char lines[96];
	uint16_t port;

	bench_must(rig_new("bench", &rig));
	port = rig_port(rig);
	bench_must(rig_cached_write(rig, "cached", &(struct rig_cached){ .port = port }));
	bench_must(rig_daemon_start(rig, RIG_NO_CRIU));
	without = crash_often(rig, port, "RestartDelay=100ms\n");
	snprintf(lines, sizeof(lines), "RestartDelay=100ms\nListen=127.0.0.1:%u\n", port);
	with = crash_often(rig, port, lines);
	bench_row(&bench, "crash with Listen=: connects refused, worst of 10", bench_worst(with.refused, with.n), "", 0, false);
	bench_note("  from SIGKILL to an answer: median", bench_median(with.answer_ms, with.n), "ms");
	bench_note("  from SIGKILL to an answer: worst", bench_worst(with.answer_ms, with.n), "ms");
	bench_note("  without it: connects refused, of one a ms: median", bench_median(without.refused, without.n), "");
	bench_note("  without it: from SIGKILL to an answer: median", bench_median(without.answer_ms, without.n), "ms");
	bench_note("  without it: from SIGKILL to an answer: worst", bench_worst(without.answer_ms, without.n), "ms");
	bench_must(rig_daemon_stop(rig));
	rig_free(rig);
	return bench_end(&bench);
}
