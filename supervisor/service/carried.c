/* SPDX-License-Identifier: MIT */
#include "supervisor/service/carried.h"

#include "supervisor/custody/carried.h"
#include "supervisor/process/carried.h"
#include "supervisor/roll/carried.h"
#include "supervisor/service/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- left ---- */

static bool process_may_be_left(const struct instance *instance)
{
	return !instance || instance->unreachable || (instance->life == INSTANCE_RUNS && instance->hello && !instance->returns);
}

static const char *under_way(struct service *service)
{
	const struct member *member = service_member(service);

	if (member->back)
		return "a roll backward or onward";
	if (member->roll && !roll_may_be_left(member->roll))
		return roll_phase(member->roll);
	if (!member->roll && member_doing(member))
		return member_doing(member);
	if (keeper_starts(&member->keeper) || member->keeper.awaits_child)
		return "starting"; /* what was kept would not be there any more */
	if (service->stop_wanted || service->abort_asker || service->stop_asker || service->bake_call.asker)
		return "calling off";
	if (service->save)
		return "saving";
	if (service->plan)
		return "a look ahead";
	return process_may_be_left(member->instance) ? NULL : "its process comes back, or ends";
}

bool service_may_be_left(struct service *service, struct why *ret_what)
{
	const char *what = under_way(service);

	if (what)
		(void)why_set(ret_what, 0, "%s: %s", service->name, what);
	return !what;
}

/* As they are packed. */
struct service_packed {
	Upgraded__Carry__Past past[HISTORY_MAX], *past_list[HISTORY_MAX];
	struct fd_names_packed had[HISTORY_MAX];
	Upgraded__Carry__Pause pause[PLAN_PAUSES], *pause_list[PLAN_PAUSES];
	struct roll_report_packed last;
};

static void put_history(const struct history *history, struct service_packed *packed, Upgraded__Carry__Service *left)
{
	for (size_t i = 0; i < history->n; i++) {
		upgraded__carry__past__init(&packed->past[i]);
		fd_names_put(&history->had[i], &packed->had[i]);
		packed->past[i].version = wire_text(history->versions[i]);
		packed->past[i].had = &packed->had[i].names;
		packed->past_list[i] = &packed->past[i];
	}
	left->n_past = history->n;
	left->past = packed->past_list;
}

static void put_pauses(const struct plan_pauses *pauses, struct service_packed *packed, Upgraded__Carry__Service *left)
{
	/* The oldest first, so that they can be noted again one after the other. */
	unsigned first = pauses->n < PLAN_PAUSES ? 0 : pauses->next;

	for (unsigned i = 0; i < pauses->n; i++) {
		unsigned at = (first + i) % PLAN_PAUSES;

		upgraded__carry__pause__init(&packed->pause[i]);
		packed->pause[i].pause_us = pauses->last[at].pause_us;
		packed->pause[i].records = pauses->last[at].size.records;
		packed->pause[i].bytes = pauses->last[at].size.bytes;
		packed->pause[i].fds = pauses->last[at].size.fds;
		packed->pause_list[i] = &packed->pause[i];
	}
	left->n_pauses = pauses->n;
	left->pauses = packed->pause_list;
}

static void put_member(struct member *member, struct carry *carry, Upgraded__Carry__Service *left)
{
	left->serving = carried_put(member->instance, carry);
	left->state = member->state;
	left->failure = wire_text(member->failure.text);
	left->restarts = member->restarts;
	left->failures = member->failures;
	left->restart_due_us = member->restart.loop ? member->restart.due_us : 0;
	left->silent_us = member->pulse.silent_us;
	left->pulse_nonce = member->pulse.nonce;
}

void service_put(struct service *service, struct carry *carry)
{
	Upgraded__Carry__Service left = UPGRADED__CARRY__SERVICE__INIT;
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;
	struct service_packed *packed = calloc(1, sizeof(*packed));
	struct member *member = service_member(service);
	char *text = NULL;

	if (!packed || (service->unit && unit_text(service->unit, &text) < 0)) {
		free(packed);
		carry_fail(carry, -ENOMEM);
		return;
	}
	put_member(member, carry, &left);
	left.name = wire_text(service->name);
	left.version = wire_text(service->version);
	if (text) {
		left.unit_path = service->unit->path;
		left.unit_text = (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
	}
	put_history(&service->history, packed, &left);
	put_pauses(&service->pauses, packed, &left);
	if (service->has_last && roll_report_put(&service->last, &packed->last) < 0)
		carry_fail(carry, -ENOMEM);
	left.last = service->has_last ? &packed->last.report : NULL;
	listeners_put(&service->listeners, carry, &left);
	item.what_case = UPGRADED__CARRY__ITEM__WHAT_SERVICE;
	item.service = &left;
	carry_put(carry, &item);
	listeners_packed_done(&left);
	if (member->roll)
		roll_put(member->roll, carry);
	for (size_t i = 0; i < service->history.n; i++)
		fd_names_packed_done(&packed->had[i]);
	roll_report_packed_done(&packed->last);
	free(packed);
	free(text);
}

void service_hold_still(struct service *service)
{
	struct member *member = service_member(service);

	if (member->roll)
		roll_hold_still(member->roll);
}

void service_go_on(struct service *service)
{
	struct member *member = service_member(service);

	if (member->roll)
		roll_go_on(member->roll);
}

/* ---- taken ---- */

static int take_history(struct service *service, const Upgraded__Carry__Service *left)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < left->n_past; i++) {
		struct fd_names had;

		if (!left->past[i]->had)
			continue;
		r = fd_names_take(left->past[i]->had, &had);
		if (r == 0)
			history_note(&service->history, left->past[i]->version, &had);
	}
	return r;
}

static int take_unit(struct service *service, const Upgraded__Carry__Service *left, struct why *why)
{
	struct unit *unit = NULL;
	int r = 0;

	if (left->unit_text.len)
		r = unit_parse_bytes(service->name, left->unit_path, left->unit_text.data, left->unit_text.len, &unit, why);
	if (r == 0)
		service_set_version(service, left->version, unit);
	unit_free(unit);
	return r;
}

static int take_roll(struct member *member, struct carry *carry, const Upgraded__Carry__Item *item,
		     struct left_processes *processes, struct why *why)
{
	const Upgraded__Carry__Roll *left = item->roll;
	struct instance *old = processes->take(processes, left->old_id), *new = processes->take(processes, left->new_id);

	return roll_take_left(&member->service->host->site, carry, item, old, new,
			      service_roll_events((enum roll_purpose)left->purpose), member, &member->roll, why);
}

static const Upgraded__Carry__Item *roll_of(const struct service *service, struct carry *carry)
{
	const Upgraded__Carry__Item *item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_ROLL, NULL);

	while (item && strcmp(item->roll->service, service->name) != 0)
		item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_ROLL, item);
	return item;
}

int service_take_left(struct service *service, struct carry *carry, const Upgraded__Carry__Item *item,
		      struct left_processes *processes, struct why *why)
{
	const Upgraded__Carry__Item *roll = roll_of(service, carry);
	const Upgraded__Carry__Service *left = item->service;
	struct member *member = service_member(service);
	int r = take_unit(service, left, why);

	if (r == 0) {
		r = take_history(service, left);
		if (r == 0 && left->last)
			r = roll_report_take(left->last, &service->last);
		if (r < 0)
			why_errno(why, r, "%s: what it was", service->name);
	}
	if (r < 0)
		return r;
	service->has_last = left->last;
	for (size_t i = 0; i < left->n_pauses; i++)
		plan_pauses_note(&service->pauses, left->pauses[i]->pause_us,
				 &(struct plan_size){ left->pauses[i]->records, left->pauses[i]->bytes, left->pauses[i]->fds });
	why_set(&member->failure, 0, "%s", left->failure);
	member->restarts = left->restarts;
	member->failures = left->failures;
	member->pulse.nonce = left->pulse_nonce;
	member_go_on(member, (enum member_state)left->state, processes->take(processes, left->serving), left->restart_due_us);
	if (left->silent_us && member->instance)
		pulse_lose(member, left->silent_us);
	if (roll)
		r = take_roll(member, carry, roll, processes, why);
	if (r < 0)
		return r;
	listeners_take_left(&service->listeners, carry, left);
	service_listen_go_on(service);
	return 0;
}

/* ---- who waits ---- */

bool service_waits_for(const struct service *service, const struct asker *asker)
{
	/* Who only follows asks the next program again. */
	return asker->follows != FOLLOWS_NOTHING || (service->asker == asker && service_member(service)->roll);
}
