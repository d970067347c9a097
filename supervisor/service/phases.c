/* SPDX-License-Identifier: MIT */
/* Whoever wants to see a roll as it happens is told each phase when it begins, and its figures while it lasts. */
#include "supervisor/service/phases.h"

#include "supervisor/service/private.h"
#include "supervisor/service/report.h"

#include <string.h>

/* State moves fast; a bake counts seconds. */
#define MOVING_US (250 * USEC_PER_MSEC)
#define LASTING_US USEC_PER_SEC

static void fill_roll(struct roll *roll, const struct roll_phase *phase, Upgraded__Wire__Progress *progress)
{
	const struct roll_report *report = roll_report(roll);
	const struct instance *old = roll_old(roll), *new = roll_new(roll);

	progress->phase = wire_text(phase->name);
	progress->service = wire_text(roll_unit(roll)->name);
	progress->from = wire_text(report->from);
	progress->to = wire_text(report->to);
	progress->roll_id = roll_record(roll)->generation;
	progress->pid = new ? new->pid : 0;
	progress->from_pid = old ? old->pid : 0;
	progress->elapsed_us = progress->at_us - roll_begun_us(roll);
	progress->phase_us = progress->at_us - phase->since_us;
	progress->records = phase->records;
	progress->records_expected = phase->records_expected;
	progress->state_bytes = phase->bytes;
	progress->bytes_expected = phase->bytes_expected;
	progress->pause_us = phase->pause_us;
	progress->image_bytes = report->wire.image_bytes;
	if (roll_is_committed(roll))
		progress->way_back = wire_text(rungs_text(report->rungs));
	progress->bake_us = phase->bake_us;
	progress->bake_ends_us = phase->bake_ends_us;
	progress->cause = wire_text(phase->failed_of);
	progress->waited_for = wire_text(phase->waited_for);
	progress->quiesce_us = phase->quiesce_us;
}

static void send_phase(struct roll *roll, struct asker *asker, bool begins)
{
	Upgraded__Wire__Progress progress = UPGRADED__WIRE__PROGRESS__INIT;
	struct roll_phase phase;
	struct status status;

	roll_phase_look(roll, &phase);
	if (!*phase.name)
		return;
	memset(&status, 0, sizeof(status));
	upgraded__wire__service_status__init(&status.message);
	progress.kind = begins ? UPGRADED__WIRE__PROGRESS_KIND__PROGRESS_BEGINS : UPGRADED__WIRE__PROGRESS_KIND__PROGRESS_GOES_ON;
	progress.at_us = clock_now_us();
	progress.realtime_us = clock_realtime_us();
	fill_roll(roll, &phase, &progress);
	if (phase.bake_ends_us && roll_health(roll)) {
		status_health(&status, roll_health(roll));
		progress.health = status.message.health;
		progress.n_health = status.message.n_health;
	}
	asker->on_progress(asker, &progress);
}

/* ---- who is told ---- */

/* A roll backward or onward is that of who asked for it. */
static struct asker *asker_of(const struct service *service, bool is_beside)
{
	return is_beside && service->bake_call.asker ? service->bake_call.asker : service->asker;
}

static bool wants(const struct asker *asker)
{
	return asker && asker->phases;
}

/* To whoever asked for the roll, and to those who follow it. Return: is there any of them? */
static bool send_all(struct service *service, struct roll *roll, struct asker *asker, bool begins)
{
	bool any = wants(asker);

	if (any)
		send_phase(roll, asker, begins);
	for (struct asker *follower = service->followers; follower; follower = follower->next_follower) {
		if (follower->follows != FOLLOWS_ROLL || !wants(follower))
			continue;
		send_phase(roll, follower, begins);
		any = true;
	}
	return any;
}

static void tick_later(struct service *service);

static void on_tick(struct timer *timer)
{
	struct service *service = container_of(timer, struct service, phases);
	struct member *member = service_member(service);
	struct roll *roll = member->back ? member->back : member->roll;

	if (roll && send_all(service, roll, asker_of(service, member->back), false))
		tick_later(service);
}

static void tick_later(struct service *service)
{
	const struct member *member = service_member(service);
	const struct roll *roll = member->back ? member->back : member->roll;
	bool lasts = roll && roll_is_baking(roll);

	timer_arm(service->host->site.loop, &service->phases, clock_now_us() + (lasts ? LASTING_US : MOVING_US), on_tick);
}

void service_on_phase(struct roll *roll)
{
	struct member *member = roll_owner(roll);
	struct service *service = member->service;
	bool is_beside = member->roll && member->roll != roll;

	if (send_all(service, roll, asker_of(service, is_beside), true))
		tick_later(service);
}

void service_tell_phase(struct service *service, struct asker *asker)
{
	const struct member *member = service_member(service);
	struct roll *roll = member->back ? member->back : member->roll;

	if (!roll || !wants(asker))
		return;
	send_phase(roll, asker, true);
	tick_later(service);
}
