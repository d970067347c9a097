/* SPDX-License-Identifier: MIT */
#include "supervisor/service/pulse.h"

#include "supervisor/service/private.h"

#include <inttypes.h>
#include <signal.h>

/* Its own file says how it is treated; the service's, if it was started with none. */
static const struct unit *unit_of(const struct member *member)
{
	return member->instance->unit ? member->instance->unit : member->service->unit;
}

static void on_tick(struct timer *timer);

static uint64_t interval_us(const struct member *member)
{
	const struct unit *unit = unit_of(member);

	return unit->heartbeat_us ? unit->heartbeat_us : unit->health_interval_us;
}

static void arm(struct member *member, uint64_t now_us)
{
	struct pulse *pulse = &member->pulse;
	uint64_t overdue_us = pulse->asked_us + unit_of(member)->health_timeout_us;

	pulse->due_us = pulse->next_us;
	if (pulse->asked_us && !pulse->silent_us && overdue_us > now_us && overdue_us < pulse->due_us)
		pulse->due_us = overdue_us;
	timer_arm(member->service->host->site.loop, &pulse->tick, pulse->due_us, on_tick);
}

/* One that does not read has a question already. */
static void ask(struct member *member, uint64_t now_us)
{
	Upgraded__Wire__Ping ping = UPGRADED__WIRE__PING__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PING, .ping = &ping);
	struct pulse *pulse = &member->pulse;

	pulse->next_us = now_us + interval_us(member);
	if (member->service->save)
		return; /* it cannot answer before that is done */
	if (!pulse->asked_us)
		pulse->asked_us = now_us;
	if (instance_awaits(member->instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PING))
		return;
	ping.nonce = ++pulse->nonce;
	instance_send(member->instance, &message, NULL, 0);
}

static void on_tick(struct timer *timer)
{
	struct member *member = container_of(timer, struct member, pulse.tick);
	struct pulse *pulse = &member->pulse;
	uint64_t now_us = clock_now_us(), timeout_us = unit_of(member)->health_timeout_us;

	/* What was asked before a save is answered after it; and we did not listen while we did not run. */
	if (member->service->save || now_us - pulse->due_us > timeout_us)
		pulse->asked_us = 0;
	if (pulse->asked_us && !pulse->silent_us && now_us - pulse->asked_us >= timeout_us) {
		if (!instance_is_heard_out(member->instance)) {
			timer_arm(member->service->host->site.loop, timer, now_us + INSTANCE_HEAR_US, on_tick);
			return;
		}
		pulse_lose(member, pulse->asked_us);
		return;
	}
	if (now_us >= pulse->next_us)
		ask(member, now_us);
	arm(member, now_us);
}

void pulse_begin(struct member *member)
{
	uint64_t now_us = clock_now_us();

	timer_disarm(&member->pulse.tick);
	member->pulse = (struct pulse){ .nonce = member->pulse.nonce };
	if (!unit_of(member)->heartbeat_us)
		return;
	member->pulse.next_us = now_us + interval_us(member);
	arm(member, now_us);
}

void pulse_end(struct member *member)
{
	timer_disarm(&member->pulse.tick);
	member->pulse.asked_us = member->pulse.silent_us = 0;
}

void pulse_lose(struct member *member, uint64_t since_us)
{
	const struct instance *instance = member->instance;
	uint64_t now_us = clock_now_us();

	member->pulse.silent_us = since_us;
	why_set(&member->failure, 0, "version %s (pid %d) did not answer for %" PRIu64 " ms", instance->version, instance->pid,
		(now_us - since_us) / 1000);
	if (unit_of(member)->ends_unanswered) {
		log_service(ERROR, member->service->name, "%s: ending it (Unanswered=restart)", member->failure.text);
		instance_kill(member->instance, SIGKILL);
		return;
	}
	log_service(ERROR, member->service->name, "%s; nobody knows whether it serves (Unanswered=keep)",
		    member->failure.text);
	ask(member, now_us);
	arm(member, now_us);
}

void pulse_hear(struct member *member)
{
	struct pulse *pulse = &member->pulse;

	pulse->asked_us = 0;
	if (!pulse->silent_us)
		return;
	log_service(INFO, member->service->name, "version %s (pid %d) answers again", member->instance->version,
		    member->instance->pid);
	pulse->silent_us = 0;
	*member->failure.text = 0;
	if (!unit_of(member)->heartbeat_us)
		pulse_end(member);
}
