/* SPDX-License-Identifier: MIT */
/* What Journal=always costs: requests a second with it against without, in turns, of clients that ask as fast as they are
 * answered; how long a checkpoint stops the service; how long a crash does; and the fork that a checkpoint is, by a process of
 * 1 GiB. */
#include "base/clock.h"
#include "tests/bench/bench.h"
#include "tests/bench/served.h"
#include "tests/rig/rig.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 7u
#define WARM_MS 500u
#define ROUND_MS 1500u
#define CONNECTIONS 200u
#define RATE 100000u /* more than is answered */
#define CRASHES 10u
#define PAUSES_MAX 512u
#define WAIT_US (20 * USEC_PER_SEC)
#define GIB ((size_t)1 << 30)
#define FORKS 7u

static const char without_lines[] = "RestartDelay=100ms\n", with_lines[] = "RestartDelay=100ms\nJournal=always\nJournalSize=32M\n";

static void sleep_ms(unsigned ms)
{
	const struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L };

	nanosleep(&time, NULL);
}

/* Return: the CPU time that a process and its threads have taken, in microseconds. */
static double cpu_us(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[64], text[1024] = "";
	const char *at;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file || !fgets(text, sizeof(text), file) || !(at = strrchr(text, ')')) ||
	    sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
		fprintf(stderr, "bench_always: %s tells nothing\n", path);
		exit(EXIT_FAILURE);
	}
	fclose(file);
	return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

struct figures {
	double a_second, cpu_us; /* requests; of the service for each */
};

static struct figures round_of(struct rig *rig, uint16_t port, const char *lines)
{
	struct rig_load_options options = { .connections = CONNECTIONS, .keys = 4, .rate = RATE, .values = "16-600" };
	struct rig_load *load;
	struct figures figures;
	uint64_t begun_us;
	json_t *report = NULL;
	double answered, cpu;

	bench_must(rig_cached_write(rig, "cached", &(struct rig_cached){ .port = port, .lines = lines, .threads = 2 }));
	bench_ctl(rig, "start", NULL, NULL);
	bench_must(rig_load_start(rig, port, &options, &load));
	sleep_ms(WARM_MS);
	bench_must(rig_load_ask(load, NULL, "mark"));
	begun_us = clock_now_us();
	cpu = cpu_us(bench_pid_of(rig, "serving"));
	sleep_ms(ROUND_MS);
	bench_must(rig_load_ask(load, &report, "report"));
	answered = (double)rig_number(report, "since_mark.answered");
	figures.a_second = answered * 1e6 / (double)(clock_now_us() - begun_us);
	figures.cpu_us = (cpu_us(bench_pid_of(rig, "serving")) - cpu) / answered;
	json_decref(report);
	bench_must(rig_load_stop(load, NULL, NULL));
	bench_ctl(rig, "stop", NULL, NULL);
	return figures;
}

/* What the daemon has logged of each checkpoint. */
static size_t find_pauses(struct rig *rig, double pauses[PAUSES_MAX])
{
	char *log = rig_daemon_log(rig);
	size_t n = 0;

	for (char *at = log; at && n < PAUSES_MAX && (at = strstr(at, " bytes, pause ")); at++)
		pauses[n++] = strtod(at + strlen(" bytes, pause "), NULL) / 1e3;
	free(log);
	return n;
}

static bool is_safe(struct rig *rig)
{
	json_t *status = rig_status(rig, "cached");
	bool safe = strncmp(rig_text(status, "crash"), "nothing", 7) == 0;

	json_decref(status);
	return safe;
}

/* From SIGKILL to the first moment in which another one serves, under load. Return: ms. */
static double crash(struct rig *rig)
{
	pid_t pid = bench_pid_of(rig, "serving"), now;
	uint64_t killed_us = clock_now_us();

	kill(pid, SIGKILL);
	while ((now = bench_pid_of(rig, "serving")) == pid || now == 0)
		if (clock_now_us() - killed_us > WAIT_US)
			bench_must(rig_fail(rig, -ETIMEDOUT, "nobody serves"));
	return (double)(clock_now_us() - killed_us) / 1e3;
}

static size_t crash_often(struct rig *rig, uint16_t port, double times[CRASHES])
{
	struct rig_load_options options = { .connections = CONNECTIONS, .keys = 4, .rate = 3000, .values = "16-600" };
	struct rig_load *load;
	int status = -1;

	bench_must(rig_cached_write(rig, "cached", &(struct rig_cached){ .port = port, .lines = with_lines, .threads = 2 }));
	bench_ctl(rig, "start", NULL, NULL);
	bench_must(rig_load_start(rig, port, &options, &load));
	while (!is_safe(rig))
		sleep_ms(5);
	for (size_t i = 0; i < CRASHES; i++) {
		sleep_ms(200);
		times[i] = crash(rig);
	}
	bench_must(rig_load_stop(load, NULL, &status));
	if (status != 0)
		bench_must(rig_fail(rig, -EPROTO, "the load client missed something"));
	bench_ctl(rig, "stop", NULL, NULL);
	return CRASHES;
}

/* Return: ms that a process with 1 GiB of its own stands in fork(); 0: there is no memory for that. */
static double fork_of_a_gib(void)
{
	char *memory = mmap(NULL, GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double times[FORKS];

	if (memory == MAP_FAILED)
		return 0;
	madvise(memory, GIB, MADV_NOHUGEPAGE); /* as a heap of many small pieces is */
	memset(memory, 1, GIB);
	for (unsigned i = 0; i < FORKS; i++) {
		uint64_t begun_us = clock_now_us();
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		times[i] = (double)(clock_now_us() - begun_us) / 1e3;
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	munmap(memory, GIB);
	return bench_median(times, FORKS);
}

int main(void)
{
	static double pauses[PAUSES_MAX];
	double without[ROUNDS], with[ROUNDS], ratios[ROUNDS], cpu[ROUNDS], cpu_ratios[ROUNDS], times[CRASHES];
	struct bench bench = { 0 };
	struct rig *rig;
	uint16_t port;
	size_t n;

	bench_must(rig_new("bench", &rig));
	port = rig_port(rig);
	bench_must(rig_cached_write(rig, "cached", &(struct rig_cached){ .port = port }));
	bench_must(rig_daemon_start(rig, RIG_NO_CRIU));
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct figures off = round_of(rig, port, without_lines), on = round_of(rig, port, with_lines);

		without[i] = off.a_second;
		with[i] = on.a_second;
		ratios[i] = on.a_second / off.a_second;
		cpu[i] = off.cpu_us;
		cpu_ratios[i] = on.cpu_us / off.cpu_us;
	}
	n = find_pauses(rig, pauses);
	bench_row(&bench, "always: requests a second, with / without", bench_median(ratios, ROUNDS), "", 0.75, true);
	bench_row(&bench, "always: CPU time of the service a request, with / without", bench_median(cpu_ratios, ROUNDS), "", 1.5,
		  false);
	bench_note("  without: CPU time a request, median", bench_median(cpu, ROUNDS), "us");
	bench_note("  without: requests a second, median", bench_median(without, ROUNDS), "");
	bench_note("  with: requests a second, median", bench_median(with, ROUNDS), "");
	bench_row(&bench, "always: pause of a checkpoint under that load, median", bench_median(pauses, n), "ms", 20, false);
	bench_note("  worst", bench_worst(pauses, n), "ms");
	n = crash_often(rig, port, times);
	bench_row(&bench, "always: from SIGKILL to another process, median", bench_median(times, n), "ms", 100, false);
	bench_note("  worst", bench_worst(times, n), "ms");
	bench_note("  fork of a process with 1 GiB in small pages, median", fork_of_a_gib(), "ms");
	bench_must(rig_daemon_stop(rig));
	rig_free(rig);
	return bench_end(&bench);
}
