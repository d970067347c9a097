/* SPDX-License-Identifier: MIT */
#include "tests/soak/soak.h"

#include "base/clock.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GONE_US (20 * USEC_PER_SEC)
#define LOOK_NS 20000000
#define PROCESSES 3u /* the daemon, what serves, the clients */

/* ---- one look ---- */

/* nftw() knows no argument. */
static struct count {
	unsigned files, images, half_images;
} counted;

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

/* state/images/SERVICE/IMAGE is one image, whatever lies in there. */
static int count_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	const char *images = strstr(path, "/state/images/");
	const char *image = images ? strchr(images + strlen("/state/images/"), '/') : NULL;

	(void)st;
	(void)at;
	if (!image) {
		counted.files++;
	} else if (type == FTW_D && !strchr(image + 1, '/')) {
		counted.half_images += ends_with(path, ".tmp");
		counted.images++;
	}
	return 0;
}

static void count_files(const struct soak *soak, struct look *look)
{
	counted = (struct count){ 0 };
	(void)nftw(rig_folder(soak->rig), count_one, 16, FTW_PHYS | FTW_MOUNT);
	look->files = counted.files;
	look->images = counted.images;
	look->half_images = counted.half_images;
}

static uint64_t read_heap(const struct soak *soak)
{
	FILE *file = fopen(soak->heap, "re");
	unsigned long long bytes = 0;

	if (!file || fscanf(file, "%llu", &bytes) != 1)
		bytes = 0;
	if (file)
		fclose(file);
	return bytes;
}

static void look_once(struct soak *soak, pid_t serving, struct look *look)
{
	pid_t daemon = rig_daemon_pid(soak->rig);

	rig_reap(soak->rig);
	look->processes = rig_processes();
	look->daemon_fds = rig_descriptors(daemon);
	look->service_fds = rig_descriptors(serving);
	look->heap_bytes = read_heap(soak);
	look->daemon_kib = rig_memory_kib(daemon);
	look->service_kib = rig_memory_kib(serving);
	count_files(soak, look);
	rig_traces(soak->rig, &look->traces);
}

static bool is_as_before(const struct soak *soak, const struct look *look)
{
	return look->processes == PROCESSES && !look->half_images && (!soak->rest_fds || look->daemon_fds <= soak->rest_fds) &&
	       memcmp(&look->traces, &soak->before, sizeof(look->traces)) == 0;
}

int soak_look(struct soak *soak, struct look *look)
{
	uint64_t due_us = clock_now_us() + GONE_US;
	json_t *entry = rig_status(soak->rig, "cached");
	pid_t serving = rig_pid_in(entry, "serving");

	json_decref(entry);
	if (serving <= 0)
		return rig_fail(soak->rig, -ESRCH, "nobody serves");
	/* What has ended may be on its way out yet: an image is removed by a child process. */
	for (;;) {
		look_once(soak, serving, look);
		if (is_as_before(soak, look)) {
			soak->rest_fds = look->daemon_fds;
			return 0;
		}
		if (clock_now_us() >= due_us)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
	soak_fail(soak, "%u processes, not %u; %u descriptors in upgraded, not %u; %u half images; %u mounts, not %u; "
		  "%u locks, not %u; %u rules, not %u",
		  look->processes, PROCESSES, look->daemon_fds, soak->rest_fds, look->half_images, look->traces.mounts,
		  soak->before.mounts, look->traces.locks, soak->before.locks, look->traces.rules, soak->before.rules);
	return 0;
}

int soak_keep(struct soak *soak, unsigned n, const struct look *look)
{
	struct series *series = &soak->series[n];

	if (!series->looks)
		series->looks = calloc(SOAK_LOOKS_MAX, sizeof(*series->looks));
	if (!series->looks || series->n == SOAK_LOOKS_MAX)
		return -ENOMEM;
	series->looks[series->n++] = *look;
	return 0;
}

/* ---- all of them ---- */

static int compare_numbers(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int64_t median(int64_t *numbers, unsigned n)
{
	qsort(numbers, n, sizeof(*numbers), compare_numbers);
	return n % 2 ? numbers[n / 2] : (numbers[n / 2 - 1] + numbers[n / 2]) / 2;
}

enum figure { HEAP_BYTES, DAEMON_KIB, SERVICE_KIB, FDS, IMAGES, FILES, PAUSE_US, ROLL_US, FIGURES };

static int64_t figure_of(const struct look *look, enum figure figure)
{
	switch (figure) {
	case HEAP_BYTES: return (int64_t)look->heap_bytes;
	case DAEMON_KIB: return (int64_t)look->daemon_kib;
	case SERVICE_KIB: return (int64_t)look->service_kib;
	case FDS: return (int64_t)look->daemon_fds + look->service_fds;
	case IMAGES: return look->images;
	case FILES: return look->files;
	case PAUSE_US: return (int64_t)look->pause_us;
	case ROLL_US: return (int64_t)look->roll_us;
	case FIGURES: break;
	}
	return 0;
}

static int64_t median_of(const struct series *series, unsigned from, unsigned to, enum figure figure)
{
	int64_t numbers[SOAK_LOOKS_MAX];

	for (unsigned i = from; i < to; i++)
		numbers[i - from] = figure_of(&series->looks[i], figure);
	return median(numbers, to - from);
}

/* The first of three and more is left out: the allocator has not got yet what it keeps then. */
static bool halves(const struct series *series, enum figure figure, int64_t *ret_first, int64_t *ret_last)
{
	unsigned begin = series->n > 2 ? 1 : 0, half = (series->n - begin) / 2;

	if (!half)
		return false;
	*ret_first = median_of(series, begin, begin + half, figure);
	*ret_last = median_of(series, series->n - half, series->n, figure);
	return true;
}

/* Return: the median over all kinds of rolls; *@ret_first and *@ret_last: the means. */
static int64_t growth_of(const struct soak *soak, enum figure figure, double *ret_first, double *ret_last)
{
	int64_t growths[SOAK_STEPS_MAX], first, last;
	unsigned n = 0;

	*ret_first = *ret_last = 0;
	for (unsigned i = 0; i < SOAK_STEPS_MAX; i++) {
		if (!halves(&soak->series[i], figure, &first, &last))
			continue;
		growths[n++] = last - first;
		*ret_first += (double)first;
		*ret_last += (double)last;
	}
	if (!n)
		return 0;
	*ret_first /= n;
	*ret_last /= n;
	return median(growths, n);
}

void soak_compare(const struct soak *soak, struct growth *ret_growth)
{
	int64_t growth[FIGURES];
	double first[FIGURES], last[FIGURES];

	for (int i = 0; i < FIGURES; i++)
		growth[i] = growth_of(soak, (enum figure)i, &first[i], &last[i]);
	*ret_growth = (struct growth){
		.heap_bytes = growth[HEAP_BYTES], .daemon_kib = growth[DAEMON_KIB], .service_kib = growth[SERVICE_KIB],
		.fds = growth[FDS], .images = growth[IMAGES], .files = growth[FILES],
		.pause_first_ms = first[PAUSE_US] / 1000, .pause_last_ms = last[PAUSE_US] / 1000,
		.roll_first_ms = first[ROLL_US] / 1000, .roll_last_ms = last[ROLL_US] / 1000,
	};
}
