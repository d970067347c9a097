/* SPDX-License-Identifier: MIT */
/* Signs of life, progress, and the judgement of failed checks.
 *
 * A single failure says little: a check that met a busy moment must not undo a roll. So a version is sick when a check has failed
 * HealthFailures= times in a row. And a version that warms up is not sick as long as it says that it gets on: progress heard within
 * the last HealthInterval= excuses the failure of a check that has never succeeded. When Bake= is over (@concluding) nothing
 * excuses a failure any more, and the bake ends as soon as each check has succeeded once.
 *
 * A failing check does not decide while an answer to a ping is overdue: the version may hang, which is another verdict.
 *
 * A verdict is told from a timer of its own, never from within a check's callback: the listener may free the watch.
 */
#include "supervisor/health/private.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the verdict ---- */

static void on_tell(struct timer *timer)
{
	struct health *health = container_of(timer, struct health, tell);

	health->on_verdict(health, health->verdict); /* may free it */
}

/* The first verdict stands; only HEALTH_LOST takes the place of another one, see on_ping(). */
static void decide(struct health *health, enum health_verdict verdict)
{
	if (health->verdict)
		return;
	health->verdict = verdict;
	timer_arm(health->loop, &health->tell, clock_now_us(), on_tell);
}

static void note(struct health *health, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct health *health, const char *fmt, ...)
{
	char text[sizeof(health->why.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	health->on_note(health, text);
}

/* ---- signs of life ---- */

static void on_ping(struct timer *timer);

/* Return: the next ping is in so long a time; earlier where an answer is overdue before that. */
static uint64_t until_next(const struct health *health, uint64_t now)
{
	uint64_t interval = health->unit->health_interval_us, timeout = health->unit->health_timeout_us;
	uint64_t waits = health->proof_us ? now - health->proof_us : 0;

	if (!health->proof_us || waits > timeout)
		return interval;
	return timeout - waits + 1 < interval ? timeout - waits + 1 : interval;
}

static void ping(struct health *health)
{
	Upgraded__Wire__Ping ping = UPGRADED__WIRE__PING__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PING, .ping = &ping);
	uint64_t now = clock_now_us();

	ping.nonce = ++health->nonce;
	instance_send(health->instance, &message, NULL, 0);
	if (!health->unanswered_us)
		health->unanswered_us = now;
	timer_arm(health->loop, &health->ping, now + until_next(health, now), on_ping);
}

/* Is an answer overdue, to an earlier ping or to the one that is to end the bake? */
static bool is_silent(const struct health *health, uint64_t now)
{
	uint64_t timeout = health->unit->health_timeout_us;

	return (health->unanswered_us && now - health->unanswered_us > timeout) ||
	       (health->proof_us && now - health->proof_us > timeout);
}

static void on_ping(struct timer *timer)
{
	struct health *health = container_of(timer, struct health, ping);
	uint64_t now = clock_now_us();

	/* The time in which this process itself did not run does not count as silence: the answer may lie unread. */
	if (health->unanswered_us)
		health->unanswered_us += now - timer->due_us;
	if (health->proof_us)
		health->proof_us += now - timer->due_us;
	if (is_silent(health, now) && !instance_is_heard_out(health->instance)) {
		timer_arm(health->loop, timer, now + INSTANCE_HEAR_US, on_ping);
		return;
	}
	if (is_silent(health, now)) {
		if (!health->unanswered_us)
			health->unanswered_us = health->proof_us;
		why_set(&health->why, 0,
			"version %s (pid %d) has not answered for %" PRIu64 " ms: not every thread passes its update point",
			health->instance->version, health->instance->pid, (now - health->unanswered_us) / 1000);
		health->verdict = HEALTH_NONE; /* a version that hangs is lost, whatever the checks said */
		decide(health, HEALTH_LOST);
		return;
	}
	ping(health);
}

/* The bake is to end: a sign of life from here on counts. */
static void ask_for_proof(struct health *health)
{
	if (health->proof_us)
		return;
	health->proof_us = clock_now_us();
	health->proof_nonce = health->nonce + 1;
	ping(health);
}

void health_pong(struct health *health, uint64_t nonce)
{
	/* Only what was asked is an answer, and only once. */
	if (!health->loop || nonce <= health->answered_nonce || nonce > health->nonce)
		return;
	health->answered_nonce = nonce;
	health->unanswered_us = 0;
	health->answered_us = clock_now_us();
	if (!health->proof_us)
		return;
	/* The library finishes one ping before it looks at others: those that came meanwhile are not answered. */
	if (nonce < health->proof_nonce) {
		ping(health);
		return;
	}
	health->proof_us = 0;
	decide(health, HEALTH_SETTLED);
}

/* Is no answer overdue? An answer is when the ping has waited for it longer than an interval. */
static bool heart_beats(const struct health *health)
{
	return !health->unanswered_us || clock_now_us() - health->unanswered_us <= health->unit->health_interval_us;
}

void health_progress(struct health *health, const char *text)
{
	if (!health->loop)
		return;
	health->progress_us = clock_now_us();
	snprintf(health->progress, sizeof(health->progress), "%s", text);
	/* Before its first answer, a version that warms up and does not read its channel yet may tell its progress instead. */
	if (!health->answered_us && health->unanswered_us)
		health->unanswered_us = health->progress_us;
}

/* ---- checks ---- */

static void on_due(struct timer *timer);

static void hear_success(struct health_check *check)
{
	if (check->failures)
		note(check->health, "%s=%s succeeds again", unit_check_key(check->unit->kind), check->value);
	check->failures = 0;
	check->succeeded = true;
}

/* What a failed run of a check amounts to. */
enum failure {
	FAILURE_EXCUSED, /* the version warms up, and says that it gets on */
	FAILURE_COUNTS,  /* but is not the one that decides */
	FAILURE_DECIDES, /* the version is sick */
};

static bool is_excused(const struct health_check *check)
{
	const struct health *health = check->health;

	return !check->succeeded && !health->concluding && health->progress_us &&
	       clock_now_us() - health->progress_us <= health->unit->health_interval_us;
}

/* @check->failures does not count this one yet. */
static enum failure judge_failure(const struct health_check *check)
{
	const struct health *health = check->health;

	if (is_excused(check))
		return FAILURE_EXCUSED;
	if (check->failures + 1 < health->unit->health_failures || !heart_beats(health) || health->verdict)
		return FAILURE_COUNTS;
	return FAILURE_DECIDES;
}

static void excuse(struct health_check *check)
{
	struct health *health = check->health;

	check->failures = 0;
	if (!health->excuse_noted)
		note(health, "%s=%s does not succeed yet: %s; excused, as it makes progress: %s", unit_check_key(check->unit->kind),
		     check->value, check->detail, health->progress);
	health->excuse_noted = true;
}

static void count(struct health_check *check)
{
	struct health *health = check->health;

	health->excuse_noted = false;
	check->failures++;
	if (check->failures <= health->unit->health_failures)
		note(health, "%s=%s failed, %u of %u in a row: %s", unit_check_key(check->unit->kind), check->value,
		     check->failures, health->unit->health_failures, check->detail);
}

static void decide_sick(struct health_check *check)
{
	struct health *health = check->health;
	const struct instance *instance = health->instance;
	char times[40] = "";

	if (check->failures > 1)
		snprintf(times, sizeof(times), " %u times in a row", check->failures);
	why_set(&health->why, 0, "version %s (pid %d): %s=%s failed%s: %s", instance->version, instance->pid,
		unit_check_key(check->unit->kind), check->value, times, check->detail);
	decide(health, HEALTH_SICK);
}

static void hear_failure(struct health_check *check)
{
	enum failure failure = judge_failure(check);

	if (failure == FAILURE_EXCUSED)
		excuse(check);
	else
		count(check);
	if (failure == FAILURE_DECIDES)
		decide_sick(check);
}

static bool all_succeeded(const struct health *health)
{
	for (size_t i = 0; i < health->n_checks; i++)
		if (!health->checks[i].succeeded)
			return false;
	return true;
}

/* The next run is an interval after this one began, or now if this one took longer. */
static void run_again(struct health_check *check)
{
	struct health *health = check->health;
	uint64_t now = clock_now_us(), due = check->begun_us + health->unit->health_interval_us;

	timer_arm(health->loop, &check->timer, due > now ? due : now, on_due);
}

void health_check_done(struct health_check *check, bool healthy, const char *fmt, ...)
{
	struct health *health = check->health;
	va_list args;

	va_start(args, fmt);
	vsnprintf(check->detail, sizeof(check->detail), fmt, args);
	va_end(args);
	check->running = false;
	check->runs++;
	if (healthy)
		hear_success(check);
	else
		hear_failure(check);
	if (health->concluding && all_succeeded(health) && !health->verdict)
		ask_for_proof(health);
	run_again(check);
}

static void cancel(struct health_check *check)
{
	if (check->unit->kind == CHECK_COMMAND)
		health_command_cancel(check);
	else
		health_net_cancel(check);
	check->running = false;
}

static void on_timeout(struct timer *timer)
{
	struct health_check *check = container_of(timer, struct health_check, timer);
	const char *line;

	cancel(check);
	/* Prefer the last complete line to a partial one. */
	line = *check->output.line.text ? check->output.line.text : last_line_get(&check->output.line);
	health_check_done(check, false, "no result within %" PRIu64 " ms (HealthCheckTimeout=)%s%s",
			  check->health->unit->health_check_timeout_us / 1000, *line ? "; it said: " : "", line);
}

static void on_due(struct timer *timer)
{
	struct health_check *check = container_of(timer, struct health_check, timer);
	struct health *health = check->health;
	struct why why = { 0 };
	int r;

	check->begun_us = clock_now_us();
	memset(&check->output.line, 0, sizeof(check->output.line));
	r = check->unit->kind == CHECK_COMMAND ? health_command_start(check, &why) : health_net_start(check, &why);
	if (r < 0) {
		health_check_done(check, false, "%s", why.text);
		return;
	}
	check->running = true;
	timer_arm(health->loop, timer, check->begun_us + health->unit->health_check_timeout_us, on_timeout);
}

/* ---- begin and end ---- */

static int prepare_check(struct health_check *check, struct health *health, const struct unit_check *unit, struct why *why)
{
	struct unit_line line = { .key = unit_check_key(unit->kind), .value = unit->value, .number = unit->line };
	int r;

	check->health = health;
	check->unit = unit;
	check->output.fd = -1;
	child_init(&check->child);
	r = unit_expand(health->unit, &line, health->instance->version, &check->value, why);
	if (r == 0 && unit->kind != CHECK_COMMAND)
		r = unit_check_url(health->unit, unit, health->instance->version, &check->url, why);
	return r;
}

void health_start(struct health *health, const struct health_spec *spec)
{
	const struct unit *unit = spec->unit;
	struct why why = { 0 };

	health_stop(health);
	*health = (struct health){ .loop = spec->loop, .graveyard = spec->graveyard, .unit = unit, .instance = spec->instance,
				   .on_verdict = spec->on_verdict, .on_note = spec->on_note,
				   .nonce = health->nonce, .answered_nonce = health->answered_nonce };
	if (!spec->checks_only)
		timer_arm(health->loop, &health->ping, clock_now_us(), on_ping);
	health->checks = unit->n_checks ? calloc(unit->n_checks, sizeof(*health->checks)) : NULL;
	for (size_t i = 0; health->checks && i < unit->n_checks; i++) {
		struct health_check *check = &health->checks[health->n_checks++];

		if (prepare_check(check, health, &unit->checks[i], &why) < 0) {
			/* The roll has tried the checks of this version before it began, so memory is out. A check that is left out
			 * makes nobody sick. */
			log_service(WARNING, unit->name, "%s; this check is left out", why.text);
			free(check->value);
			free(check->url);
			memset(check, 0, sizeof(*check));
			health->n_checks--;
			continue;
		}
		timer_arm(health->loop, &check->timer, clock_now_us(), on_due);
	}
}

void health_stop(struct health *health)
{
	if (!health->loop)
		return;
	timer_disarm(&health->ping);
	timer_disarm(&health->tell);
	for (size_t i = 0; i < health->n_checks; i++) {
		struct health_check *check = &health->checks[i];

		timer_disarm(&check->timer);
		cancel(check);
		free(check->value);
		free(check->url);
	}
	health_net_done(health);
	free(health->checks);
	*health = (struct health){ .nonce = health->nonce, .answered_nonce = health->answered_nonce };
}

void health_conclude(struct health *health, bool lenient)
{
	health->lenient |= lenient;
	if (health->verdict == HEALTH_SETTLED) {
		/* It was not heard in the state that the roll was in. */
		health->verdict = HEALTH_NONE;
		health->proof_us = 0;
	}
	health->concluding = true;
	if (health->verdict)
		return;
	if (health->lenient || all_succeeded(health)) {
		ask_for_proof(health);
		return;
	}
	for (size_t i = 0; i < health->n_checks; i++)
		if (!health->checks[i].succeeded)
			note(health, "the time to bake is over, but %s=%s has not succeeded yet: waiting for it",
			     unit_check_key(health->checks[i].unit->kind), health->checks[i].value);
}

/* ---- for people ---- */

const char *health_state(const struct health_check *check)
{
	if (check->failures)
		return "failing";
	if (check->succeeded)
		return "ok";
	return check->runs ? "warming up" : "running";
}

const char *health_heartbeat(const struct health *health, char *buf, size_t size)
{
	uint64_t now = clock_now_us();

	if (!heart_beats(health)) {
		snprintf(buf, size, "no answer for %" PRIu64 " ms", (now - health->unanswered_us) / 1000);
		return "silent";
	}
	snprintf(buf, size, "every thread passes its update point");
	if (health->answered_us)
		return "ok";
	*buf = 0;
	return "waiting";
}
