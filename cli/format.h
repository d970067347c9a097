/* SPDX-License-Identifier: MIT */
/* Durations, byte sizes and counts: what people type, and what they like to read. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct why;

#define FORMAT_MAX 32u /* enough for every format_x() below */

/**
 * duration_parse() - "300ms", "5s", "2min", "1h"; a bare number counts seconds.
 * @what:   what the text is, for the message: "--timeout".
 *
 * Return: 0; -EINVAL: not a duration; -ERANGE: too long to count in microseconds.
 */
int duration_parse(const char *what, const char *text, uint64_t *ret_us, struct why *why);

/**
 * since_parse() - "10min": so long before @now; "2026-11-30", "2026-11-30 04:00", "2026-11-30 04:00:10": then, by the local clock.
 * @ret_us: CLOCK_REALTIME.
 *
 * Return: 0; -EINVAL.
 */
int since_parse(const char *what, const char *text, time_t now, int64_t *ret_us, struct why *why);

/** format_time() - How long something took, in three digits: "90 us", "1.25 ms", "34.1 ms", "870 ms", "7.01 s", "2min 3s".
 * Return: @buf. */
const char *format_time(char *buf, size_t size, uint64_t us);

/** format_elapsed() - Seconds since a start, fit for a column: "0.012s". Return: @buf. */
const char *format_elapsed(char *buf, size_t size, uint64_t us);

/** format_age() - A time of any length in at most two units: "300ms", "4.5s", "2min 3s", "1h", "3d 4h". Return: @buf. */
const char *format_age(char *buf, size_t size, uint64_t us);

/** format_bytes() - "235 B", "1.5 KiB", "235 MiB". Return: @buf. */
const char *format_bytes(char *buf, size_t size, uint64_t bytes);

/** format_count() - With thousands separated: "1,000,000". Return: @buf. */
const char *format_count(char *buf, size_t size, uint64_t count);
