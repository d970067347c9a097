/* SPDX-License-Identifier: MIT */
/* Rolls back to back under load: each in one of all the ways in which a roll can go, and after each a look at what there is. */
#pragma once

#include "tests/rig/rig.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOAK_STEPS_MAX 16u
#define SOAK_LOOKS_MAX 1000u /* of one step */

/* What there is at rest, and how long the roll took that led there. */
struct look {
	uint64_t pause_us, roll_us;
	uint64_t heap_bytes;              /* that upgraded has allocated */
	uint64_t daemon_kib, service_kib; /* memory of their own */
	unsigned daemon_fds, service_fds;
	unsigned images, half_images;
	unsigned files; /* of the daemon, but for images */
	struct rig_traces traces;
	unsigned processes;
};

/* All looks after one kind of roll. */
struct series {
	struct look *looks;
	unsigned n;
};

struct soak {
	struct rig *rig;
	struct rig_load *load;
	uint16_t port;
	unsigned connections;
	bool has_images; /* the first step had one: CRIU works here */
	unsigned rolls, by_image, failed;
	char heap[256];           /* a FIFO: see apps/upg-heap.c */
	struct rig_traces before; /* any roll */
	unsigned rest_fds;        /* the fewest that were open in upgraded at rest; 0: not known yet */
	struct series series[SOAK_STEPS_MAX];
};

/** soak_fail() - Count a failure and tell it. */
void soak_fail(struct soak *soak, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- steps.c ---- */

/** soak_step_name() - NULL: there is no step @n. */
const char *soak_step_name(unsigned n);
/** soak_step_is_possible() - Some need images. */
bool soak_step_is_possible(const struct soak *soak, unsigned n);
/** soak_step() - Do it, from the version that the one before it left serving. Return: 0 or -errno: nothing can go on. */
int soak_step(struct soak *soak, unsigned n, struct look *ret_look);

/** soak_serve() - Daemon, service and clients. @rate: requests a second. Return: 0 or -errno. */
int soak_serve(struct soak *soak, unsigned rate);

/* ---- looks.c ---- */

/** soak_look() - All of a look but the two times. Whatever may not be there at all is a failure. */
int soak_look(struct soak *soak, struct look *look);
/** soak_keep() - Put it into the series of step @n. Return: 0 or -ENOMEM. */
int soak_keep(struct soak *soak, unsigned n, const struct look *look);

/* From the first half of all rolls to the second, each kind of roll compared with itself: medians. */
struct growth {
	int64_t heap_bytes, daemon_kib, service_kib;
	int64_t fds;
	int64_t images, files;
	double pause_first_ms, pause_last_ms; /* of one roll, the mean over all kinds */
	double roll_first_ms, roll_last_ms;
};

void soak_compare(const struct soak *soak, struct growth *ret_growth);
