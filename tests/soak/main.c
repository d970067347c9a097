/* SPDX-License-Identifier: MIT */
/* upg-soak [--rolls N] [--connections N] [--rate N]: rolls back to back, forward, onward, undone, and back after crashes, under
 * clients that check every byte.
 *
 * After each roll everything is at rest for a moment and is looked at: memory, descriptors, images, files, processes, mounts, locks
 * and rules of the firewall. Each kind of roll is compared with itself, the first half of the run with the second. The last line is
 *
 *     soak: rolls=R connections=C wrong=0 lost=0 memory_growth_kib=M fds_growth=0 images=I ... pause_first_ms=P pause_last_ms=P
 *     failed=0
 *
 * in one line. memory_growth_kib is what upgraded has allocated more; resident_growth_kib what it takes of the machine, which an
 * allocator has moods about, and service_growth_kib the same of what serves.
 *
 * Exit status: 0 if nothing was wrong, lost or grew; 1 otherwise; 2 usage.
 */
#include "tests/soak/soak.h"

#include "base/clock.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The texts of the last roll are not always equally long: a leak of 300 bytes in each roll is more in the end. */
#define GROWTH_KIB 12
#define RESIDENT_KIB 8192
/* What serves holds values whose sizes are random. */
#define SERVICE_PARTS 5u
#define SERVICE_KIB 4096u
/* A machine is not always equally fast; a time that grows by each roll is soon more than that. Of a few rolls only the coarsest is
 * said. */
#define SLOWER 1.6
#define SLOWER_FEW 5.0
#define FEW 6u /* of one kind */
#define SLOWER_MS 25.0

struct ends {
	int64_t wrong, lost, failed, requests;
};

void soak_fail(struct soak *soak, const char *fmt, ...)
{
	va_list args;

	printf("soak: FAILED: ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	soak->failed++;
}

static void tell(unsigned rolls, unsigned n, const struct look *look)
{
	printf("%4u  %-30s pause %6.1f ms  roll %6.0f ms  upgraded %6.1f KiB of %6" PRIu64 ", %3u fds  service %7" PRIu64
	       " KiB %5u fds  %u images  %u files\n",
	       rolls, soak_step_name(n), (double)look->pause_us / 1000, (double)look->roll_us / 1000,
	       (double)look->heap_bytes / 1024, look->daemon_kib,
	       look->daemon_fds, look->service_kib, look->service_fds, look->images, look->files);
	fflush(stdout);
}

static int do_step(struct soak *soak, unsigned n)
{
	struct look look;
	int rc = soak_step(soak, n, &look);

	if (rc == 0)
		rc = soak_look(soak, &look);
	if (rc == 0)
		rc = soak_keep(soak, n, &look);
	if (rc == 0)
		tell(soak->rolls, n, &look);
	return rc;
}

/* Whole rounds, so that each kind of roll is done as often as the others. */
static int run(struct soak *soak, unsigned rolls)
{
	int rc = 0;

	while (rc == 0 && soak->rolls < rolls)
		for (unsigned n = 0; rc == 0 && soak_step_name(n); n++)
			if (soak_step_is_possible(soak, n))
				rc = do_step(soak, n);
	return rc;
}

/* Every key is read once more. */
static int take_ends(struct soak *soak, struct ends *ret_ends)
{
	json_t *report = NULL;
	int rc = rig_load_stop(soak->load, &report, NULL);

	soak->load = NULL;
	if (rc < 0)
		return rc;
	*ret_ends = (struct ends){
		.wrong = rig_number(report, "wrong"),
		.failed = rig_number(report, "failed"),
		.lost = rig_number(report, "lost_connections") + soak->connections - rig_number(report, "connections"),
		.requests = rig_number(report, "requests"),
	};
	json_decref(report);
	if (ret_ends->wrong || ret_ends->failed || ret_ends->lost)
		soak_fail(soak, "%" PRId64 " wrong answers, %" PRId64 " requests failed, %" PRId64 " connections lost",
			  ret_ends->wrong, ret_ends->failed, ret_ends->lost);
	return 0;
}

static uint64_t service_kib(const struct soak *soak)
{
	return soak->series[0].n ? soak->series[0].looks[0].service_kib : 0;
}

static unsigned images_at_end(const struct soak *soak)
{
	unsigned last = 0;

	for (unsigned i = 0; i < SOAK_STEPS_MAX; i++)
		if (soak->series[i].n)
			last = soak->series[i].looks[soak->series[i].n - 1].images;
	return last;
}

static void judge_times(struct soak *soak, const struct growth *growth)
{
	double times = soak->series[0].n < FEW ? SLOWER_FEW : SLOWER;

	if (growth->pause_last_ms > growth->pause_first_ms * times + SLOWER_MS)
		soak_fail(soak, "pauses grow: %.1f ms, then %.1f ms", growth->pause_first_ms, growth->pause_last_ms);
	if (growth->roll_last_ms > growth->roll_first_ms * times + SLOWER_MS * 4)
		soak_fail(soak, "rolls take longer: %.0f ms, then %.0f ms", growth->roll_first_ms, growth->roll_last_ms);
}

static void judge(struct soak *soak, const struct growth *growth)
{
	if (growth->heap_bytes / 1024 > GROWTH_KIB)
		soak_fail(soak, "upgraded has %" PRId64 " KiB more", growth->heap_bytes / 1024);
	if (growth->daemon_kib > RESIDENT_KIB)
		soak_fail(soak, "upgraded takes %" PRId64 " KiB more", growth->daemon_kib);
	if (!soak->series[0].n || !soak->series[0].looks[0].heap_bytes)
		soak_fail(soak, "upgraded does not tell how much it has allocated");
	if (growth->service_kib > (int64_t)(service_kib(soak) / SERVICE_PARTS + SERVICE_KIB))
		soak_fail(soak, "what serves has grown by %" PRId64 " KiB", growth->service_kib);
	if (growth->fds || growth->images || growth->files)
		soak_fail(soak, "%" PRId64 " more descriptors, %" PRId64 " more images, %" PRId64 " more files", growth->fds,
			  growth->images, growth->files);
	judge_times(soak, growth);
	if (getenv("UPG_CRIU") && !soak->by_image)
		soak_fail(soak, "no image was gone back to, although there is a CRIU");
}

static void tell_result(const struct soak *soak, const struct ends *ends, const struct growth *growth, uint64_t seconds)
{
	printf("soak: rolls=%u connections=%u requests=%" PRId64 " seconds=%" PRIu64, soak->rolls, soak->connections,
	       ends->requests, seconds);
	printf(" wrong=%" PRId64 " lost=%" PRId64, ends->wrong, ends->lost + ends->failed);
	printf(" memory_growth_kib=%.1f resident_growth_kib=%" PRId64 " service_growth_kib=%" PRId64 " fds_growth=%" PRId64,
	       (double)growth->heap_bytes / 1024, growth->daemon_kib, growth->service_kib, growth->fds);
	printf(" images=%u images_growth=%" PRId64 " restored=%u files_growth=%" PRId64, images_at_end(soak), growth->images,
	       soak->by_image, growth->files);
	printf(" pause_first_ms=%.1f pause_last_ms=%.1f roll_first_ms=%.0f roll_last_ms=%.0f failed=%u\n", growth->pause_first_ms,
	       growth->pause_last_ms, growth->roll_first_ms, growth->roll_last_ms, soak->failed);
}

static unsigned number(const char *text, unsigned max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || n < 1 || n > max) {
		fprintf(stderr, "upg-soak: \"%s\" is no number from 1 to %u\n", text, max);
		exit(2);
	}
	return (unsigned)n;
}

static void take_options(int argc, char **argv, unsigned *rolls, unsigned *connections, unsigned *rate)
{
	static const struct option options[] = { { "rolls", required_argument, NULL, 'r' },
						 { "connections", required_argument, NULL, 'c' },
						 { "rate", required_argument, NULL, 'a' },
						 { NULL, 0, NULL, 0 } };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'r')
			*rolls = number(optarg, SOAK_LOOKS_MAX);
		else if (option == 'c')
			*connections = number(optarg, 100000);
		else if (option == 'a')
			*rate = number(optarg, 1000000);
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	struct soak soak = { 0 };
	struct growth growth = { 0 };
	struct ends ends = { 0 };
	unsigned rolls = 100, rate = 4000;
	uint64_t began_us = clock_now_us();
	int rc;

	soak.connections = 5000;
	take_options(argc, argv, &rolls, &soak.connections, &rate);
	rc = rig_new("soak", &soak.rig);
	if (rc == 0) {
		soak.port = rig_port(soak.rig);
		rc = soak_serve(&soak, rate);
	}
	if (rc == 0)
		rc = run(&soak, rolls);
	if (rc == 0)
		rc = take_ends(&soak, &ends);
	if (rc < 0)
		soak_fail(&soak, "it could not go on: %s", soak.rig ? rig_why(soak.rig) : strerror(-rc));
	if (soak.rig && rig_daemon_pid(soak.rig) && rig_daemon_stop(soak.rig) < 0)
		soak_fail(&soak, "at its end: %s", rig_why(soak.rig));
	soak.rig = rig_free(soak.rig);
	soak_compare(&soak, &growth);
	judge(&soak, &growth);
	tell_result(&soak, &ends, &growth, (clock_now_us() - began_us) / USEC_PER_SEC);
	for (unsigned i = 0; i < SOAK_STEPS_MAX; i++)
		free(soak.series[i].looks);
	return soak.failed || !soak.rolls;
}
