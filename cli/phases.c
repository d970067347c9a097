/* SPDX-License-Identifier: MIT */
#include "cli/phases.h"

#include "cli/format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SEC UINT64_C(1000000)

struct words {
	char *buf;
	size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *words, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (words->used >= words->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(words->buf + words->used, words->size - words->used, fmt, ap);
	va_end(ap);
	words->used += n > 0 ? (size_t)n : 0;
}

bool phase_is_way_back(const char *phase)
{
	static const char *const phases[] = { "abort", "undo", "resume", "restore", "cold" };

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		if (!strcmp(phase, phases[i]))
			return true;
	return false;
}

const char *phase_head(const Upgraded__Wire__Progress *message, char *buf, size_t size)
{
	char left[FORMAT_MAX], whole[FORMAT_MAX];
	uint64_t left_us = message->bake_ends_us > message->at_us ? message->bake_ends_us - message->at_us : 0;

	*buf = '\0';
	/* Begun seconds count, so that it ends with 1s and not with 0s. */
	if (!strcmp(message->phase, "bake") && message->bake_ends_us)
		snprintf(buf, size, "%s of %s left", format_age(left, sizeof(left), (left_us + SEC - 1) / SEC * SEC),
			 format_age(whole, sizeof(whole), message->bake_us));
	return buf;
}

static void add_records(struct words *words, uint64_t records, uint64_t bytes)
{
	char count[FORMAT_MAX], size[FORMAT_MAX];

	add(words, "%s record%s", format_count(count, sizeof(count), records), records == 1 ? "" : "s");
	if (bytes) /* a service may have no state */
		add(words, ", %s", format_bytes(size, sizeof(size), bytes));
}

/* While state moves: how far, how long yet, how fast. */
static void add_moving(struct words *words, const Upgraded__Wire__Progress *message)
{
	char count[FORMAT_MAX], all[FORMAT_MAX], size[FORMAT_MAX], time[FORMAT_MAX];
	double seconds = (double)message->phase_us / (double)SEC;
	double rate = seconds > 0 ? (double)message->records / seconds : 0;

	if (!message->records && !message->state_bytes)
		return;
	add(words, "%s", format_count(count, sizeof(count), message->records));
	if (message->records_expected > message->records)
		add(words, " of %s", format_count(all, sizeof(all), message->records_expected));
	add(words, " records, %s", format_bytes(size, sizeof(size), message->state_bytes));
	if (rate >= 1 && message->records_expected > message->records)
		add(words, ", %s left",
		    format_time(time, sizeof(time),
				(uint64_t)((double)(message->records_expected - message->records) / rate * (double)SEC)));
	if (rate >= 1)
		add(words, ", %s records/s, %s/s", format_count(count, sizeof(count), (uint64_t)rate),
		    format_bytes(size, sizeof(size), (uint64_t)((double)message->state_bytes / seconds)));
}

static void add_health(struct words *words, const Upgraded__Wire__Progress *message)
{
	for (size_t i = 0; i < message->n_health; i++) {
		const Upgraded__Wire__HealthCheck *check = message->health[i];
		size_t name = strcspn(check->check, "="); /* the key is enough here */

		add(words, "%s%.*s %s", i ? "   " : "", (int)(name < 40 ? name : 40), check->check, check->state);
		if (check->failures)
			add(words, " (%" PRIu32 " in a row)", check->failures);
	}
}

/* "parked+image" -> "parked + image" */
static void add_way_back(struct words *words, const char *way)
{
	add(words, "way back: ");
	for (; *way; way++)
		if (*way == '+')
			add(words, " + ");
		else
			add(words, "%c", *way);
}

static void add_over(struct words *words, const char *phase, const Upgraded__Wire__Progress *message)
{
	char buf[FORMAT_MAX];

	if (!strcmp(phase, "standby"))
		add(words, "pid %" PRId32 ", %s is ready", message->pid, message->to);
	else if (!strcmp(phase, "quiesce"))
		add(words, "all threads of %s stopped", message->from);
	else if (!strcmp(phase, "transfer"))
		add_records(words, message->records, message->state_bytes);
	else if (!strcmp(phase, "commit"))
		add(words, "pause; %s serves", message->to); /* the pause is the time that stands before it */
	else if (!strcmp(phase, "park"))
		add(words, "pid %" PRId32 ", %s is parked", message->from_pid, message->from);
	else if (!strcmp(phase, "image")) {
		add(words, "%s", message->image_bytes ? format_bytes(buf, sizeof(buf), message->image_bytes) : "none");
		if (*message->way_back)
			add(words, "; ");
	}
	if (!strcmp(phase, "image") && *message->way_back)
		add_way_back(words, message->way_back);
	if (!strcmp(phase, "bake"))
		add(words, "%s is accepted", message->to);
}

static void add_lasting(struct words *words, const char *phase, const Upgraded__Wire__Progress *message)
{
	if (!strcmp(phase, "standby"))
		add(words, "pid %" PRId32 ", %s starts%s%s", message->pid, message->to, *message->waited_for ? ": " : "",
		    message->waited_for);
	else if (!strcmp(phase, "quiesce") && *message->waited_for)
		add(words, "waits: %s", message->waited_for);
	else if (!strcmp(phase, "quiesce"))
		add(words, "%s stops its threads", message->from);
	else if (!strcmp(phase, "transfer"))
		add_moving(words, message);
	else if (!strcmp(phase, "commit"))
		add(words, "%s takes over", message->to);
	else if (!strcmp(phase, "park"))
		add(words, "%s gives its sockets up", message->from);
	else if (!strcmp(phase, "image"))
		add(words, "taking one of %s", message->from);
	else if (!strcmp(phase, "bake"))
		add_health(words, message);
	else if (!strcmp(phase, "abort"))
		add(words, "%s goes on", message->from);
}

const char *phase_figures(const char *phase, bool over, const Upgraded__Wire__Progress *message, char *buf, size_t size)
{
	struct words words = { .buf = buf, .size = size };

	*buf = '\0';
	if (over)
		add_over(&words, phase, message);
	else
		add_lasting(&words, phase, message);
	return buf;
}
