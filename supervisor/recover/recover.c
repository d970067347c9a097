/* SPDX-License-Identifier: MIT */
#include "supervisor/recover/recover.h"

#include "supervisor/logbook/logbook.h"
#include "supervisor/process/carried.h"
#include "supervisor/process/graveyard.h"
#include "supervisor/process/regain.h"
#include "supervisor/recover/left.h"
#include "supervisor/recover/notes.h"
#include "supervisor/recover/suspects.h"
#include "supervisor/service/carried.h"
#include "supervisor/systemd/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_US USEC_PER_SEC

/* A process that lived when we looked. */
struct candidate {
	struct returning *of;
	struct candidate *next;
	struct instance *instance; /* NULL: it has ended since */
	struct unit *unit;         /* what it was started with; a reference, which outlives it */
	char version[UNIT_NAME_MAX + 1];
	enum instance_place place; /* when that was last written down */
	uint64_t start_ticks;
	bool serves;               /* it says so itself */
	int status;                /* once it has ended */
};

/* A service with processes that may come back. */
struct returning {
	struct returning *next;
	struct recover *recover;
	struct service *service;
	struct candidate *candidates;
	bool told, wanted; /* by the logbook, it is to run */
	struct bake *bake; /* that was on, and may go on; NULL: none */
	bool decided;
};

/* A bake of which all is there: the version that serves holds the channel to the parked one. */
struct bake {
	struct carry *carry;
	struct carried_finder finder;
	struct candidate *old, *new;
};

/* ---- a bake ---- */

static struct bake *bake_free(struct bake *bake)
{
	if (!bake)
		return NULL;
	carry_free(bake->carry);
	carried_finder_done(&bake->finder);
	free(bake);
	return NULL;
}

static const Upgraded__Carry__Process *process_of(struct carry *carry, uint64_t id)
{
	const Upgraded__Carry__Item *item = NULL;

	while ((item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_PROCESS, item)))
		if (id && item->process->id == id)
			return item->process;
	return NULL;
}

static struct candidate *candidate_of(const struct returning *returning, uint64_t serial)
{
	struct candidate *c = returning->candidates;

	while (c && !(c->instance && spawner_serial(c->instance) == serial))
		c = c->next;
	return serial ? c : NULL;
}

/* Return: 0; -errno with words: it is over. */
static int find_parked(const struct returning *returning, struct bake *bake, struct why *why)
{
	const Upgraded__Carry__Roll *roll = carry_next(bake->carry, UPGRADED__CARRY__ITEM__WHAT_ROLL, NULL)->roll;
	const Upgraded__Carry__Process *old = process_of(bake->carry, roll->old_id), *new = process_of(bake->carry, roll->new_id);

	bake->old = old ? candidate_of(returning, old->serial) : NULL;
	bake->new = new ? candidate_of(returning, new->serial) : NULL;
	if (!bake->old || !bake->new)
		return why_set(why, -ESRCH, "version %s does not run any more", bake->new ? roll->from : roll->to);
	bake->new->instance->place_us = new->place_us;
	carried_finder_init(&bake->finder, bake->new->instance);
	return carried_find(bake->old->instance, bake->new->instance, old, why);
}

/* Before the version that serves is spoken to: it lets go of what it holds for us when it is told to hold something else. */
static void find_bake(struct returning *returning)
{
	struct bake *bake = calloc(1, sizeof(*bake));
	struct why why = { 0 };
	int r = bake ? service_open_bake(returning->service, &bake->finder.finder, &bake->carry, &why) : -ENOMEM;

	if (r == 0)
		r = find_parked(returning, bake, &why);
	if (r == 0) {
		returning->bake = bake;
		return;
	}
	if (r != -ENOENT)
		log_warning("%s: the bake that was on is over, and there is no way back from it: %s",
			    service_name(returning->service), *why.text ? why.text : strerror(-r));
	bake_free(bake);
	service_forget_bake(returning->service);
}

/* Return: true: it goes on, and both processes are the service's. */
static bool bake_on(struct returning *returning, const struct candidate *serving)
{
	struct bake *bake = returning->bake;
	struct why why = { 0 };
	bool on = bake && bake->new == serving && bake->old->instance && instance_is_alive(bake->old->instance);

	if (on && service_bake_on(returning->service, bake->carry, bake->old->instance, bake->new->instance, &why) < 0) {
		log_warning("%s: the bake that was on is over, and there is no way back from it: %s",
			    service_name(returning->service), why.text);
		on = false;
	}
	if (on)
		bake->old->instance = bake->new->instance = NULL;
	else
		service_forget_bake(returning->service);
	returning->bake = bake_free(bake);
	return on;
}

/* ---- deciding ---- */

static size_t alive(const struct returning *returning, struct candidate **ret_one)
{
	size_t n = 0;

	for (struct candidate *c = returning->candidates; c; c = c->next) {
		if (!c->instance)
			continue;
		*ret_one = c;
		n++;
	}
	return n;
}

/* The last one before @but (NULL: of all) that by the logbook was in @place: new ones stand behind old ones. */
static struct candidate *last_in(const struct returning *returning, enum instance_place place, const struct candidate *but)
{
	struct candidate *found = NULL;

	for (struct candidate *c = returning->candidates; c && c != but; c = c->next)
		if (c->place == place)
			found = c;
	return found;
}

static bool is_plain(const struct returning *returning)
{
	return returning->candidates && returning->candidates->unit && returning->candidates->unit->kind == UNIT_PLAIN;
}

/* Was a roll under way? One that only drains had ended. */
static bool has_roll(const struct returning *returning)
{
	bool plain = is_plain(returning);
	size_t n = 0;

	for (const struct candidate *c = returning->candidates; c; c = c->next) {
		bool drains = plain && c->place == INSTANCE_IS_REPLACED && (!c->instance || c->instance->drain_due_us);

		n += !drains;
	}
	return n > 1;
}

static struct candidate *last_alive_in(const struct returning *returning, enum instance_place place)
{
	struct candidate *found = NULL;

	for (struct candidate *c = returning->candidates; c; c = c->next)
		if (c->instance && c->place == place)
			found = c;
	return found;
}

/* Processes that know nothing of us cannot say it, but they all serve: which one counts, the logbook says. One that had replaced
 * another, and was not written down as the one that serves yet, does; and where it is gone, the one that it had replaced. */
static struct candidate *who_serves_plain(const struct returning *returning)
{
	struct candidate *serving = last_alive_in(returning, INSTANCE_SERVES);
	struct candidate *replaced = last_in(returning, INSTANCE_IS_REPLACED, NULL);

	for (const struct candidate *c = returning->candidates; c; c = c->next)
		if (c->instance && !c->instance->hello)
			return NULL; /* it will be spoken for in a moment */
	if (!serving && replaced)
		serving = last_alive_in(returning, INSTANCE_IS_NEW);
	return serving ? serving : last_alive_in(returning, INSTANCE_IS_REPLACED);
}

static struct candidate *who_serves(const struct returning *returning)
{
	struct candidate *c = returning->candidates;

	if (is_plain(returning))
		return who_serves_plain(returning);

	while (c && !(c->instance && c->serves))
		c = c->next;
	return c;
}

/* Whom @serving has replaced, if that was not the end of the roll yet. */
static struct candidate *whom_replaced(const struct returning *returning, const struct candidate *serving)
{
	struct candidate *before = last_in(returning, INSTANCE_IS_REPLACED, serving);

	return before ? before : last_in(returning, INSTANCE_SERVES, serving);
}

/* It says so itself, so the commit word does: whoever else lives cannot serve any more. */
static void take(struct returning *returning, struct candidate *serving)
{
	struct candidate *before = whom_replaced(returning, serving);
	struct instance *instance = serving->instance;
	bool cut;
	struct graveyard *graveyard = returning->recover->registry->host.site.graveyard;

	returning->decided = true;
	cut = has_roll(returning);
	if (bake_on(returning, serving))
		instance = NULL;
	serving->instance = NULL;
	for (struct candidate *c = returning->candidates; c; c = c->next)
		c->instance = graveyard_bury(graveyard, c->instance);
	if (!instance)
		return;
	service_come_back(returning->service, instance, before ? before->version : NULL, before ? before->unit : NULL);
	if (cut)
		service_roll_was_cut(returning->service);
	if (returning->told && !returning->wanted)
		service_stop(returning->service, NULL); /* it was being stopped */
}

static void lose(struct returning *returning)
{
	const struct candidate *last = last_in(returning, INSTANCE_SERVES, NULL);
	char how[128] = ", nobody knows how";

	returning->decided = true;
	if (!last) /* it never served: its start, or a roll, was under way */
		last = returning->candidates;
	if (!last)
		return;
	if (last->status != CHILD_STATUS_UNKNOWN) {
		char text[96];

		snprintf(how, sizeof(how), ": it %s", child_describe_status(last->status, text, sizeof(text)));
	}
	if (has_roll(returning))
		service_roll_was_cut(returning->service);
	service_end_away(returning->service, last->version, last->unit, returning->wanted, how);
}

/* What a logbook says that has lost entries may have been overtaken by one of those. */
static bool is_certain(const struct returning *returning)
{
	return logbook_is_complete(returning->recover->spawner->logbook);
}

/* Who lives was being started, has not served by the logbook, and does not hold our end of its channel: it has not come so far
 * as to read from it, so it cannot be told anything any more, and nobody was told that it serves. */
static bool never_served(const struct returning *returning)
{
	if (!is_certain(returning))
		return false;
	for (const struct candidate *c = returning->candidates; c; c = c->next)
		if (c->place != INSTANCE_IS_NEW || (c->instance && !c->instance->unreachable && !is_plain(returning)))
			return false;
	return true;
}

static void end_start(struct returning *returning)
{
	struct graveyard *graveyard = returning->recover->registry->host.site.graveyard;

	for (struct candidate *c = returning->candidates; c; c = c->next) {
		if (c->instance)
			log_info("%s: version %s (pid %d) was being started, and can be told nothing any more: ending it",
				 service_name(returning->service), c->version, (int)c->instance->pid);
		c->instance = graveyard_bury(graveyard, c->instance);
	}
	returning->decided = true;
	service_end_away(returning->service, returning->candidates->version, returning->candidates->unit, returning->wanted,
			 ": its start had not come to its end");
}

/* Who lives lies parked, and whoever would wake it is gone: its version, and the supervisor before. It could serve only by what
 * that version had. */
static bool only_parked(const struct returning *returning)
{
	const struct candidate *held = returning->bake ? returning->bake->old : NULL;
	bool any = false;

	if (!is_certain(returning))
		return false;
	for (const struct candidate *c = returning->candidates; c; c = c->next) {
		if (!c->instance)
			continue;
		if (c->place != INSTANCE_IS_REPLACED || (!c->instance->unreachable && c != held))
			return false;
		any = true;
	}
	return any;
}

static void end_parked(struct returning *returning)
{
	struct graveyard *graveyard = returning->recover->registry->host.site.graveyard;

	for (struct candidate *c = returning->candidates; c; c = c->next) {
		if (c->instance)
			log_warning("%s: version %s (pid %d) lies parked, and the version that served has ended: ending it, as "
				    "nothing is left that it could serve with",
				    service_name(returning->service), c->version, (int)c->instance->pid);
		c->instance = graveyard_bury(graveyard, c->instance);
	}
	returning->bake = bake_free(returning->bake);
	service_forget_bake(returning->service);
	lose(returning);
}

/* Nobody can say which one serves, and nobody ever will: neither can be asked. */
static bool none_can_tell(const struct returning *returning)
{
	for (const struct candidate *c = returning->candidates; c; c = c->next)
		if (c->instance && !(c->instance->unreachable && (c->place == INSTANCE_SERVES || !is_certain(returning))))
			return false;
	return true;
}

/* The eldest stands for all of them. */
static void take_all(struct returning *returning)
{
	struct candidate *eldest = NULL;

	for (struct candidate *c = returning->candidates; c; c = c->next)
		if (c->instance && (!eldest || c->start_ticks < eldest->start_ticks))
			eldest = c;
	for (struct candidate *c = returning->candidates; c; c = c->next) {
		if (!c->instance || c == eldest)
			continue;
		log_warning("%s: pid %d may serve as well as pid %d; both are left alone, and a stop ends both",
			    service_name(returning->service), (int)c->instance->pid, (int)eldest->instance->pid);
		spawner_join(eldest->instance, c->instance);
		c->instance = NULL;
	}
	take(returning, eldest);
}

static void look_at(struct returning *returning)
{
	struct candidate *serves = who_serves(returning), *one = NULL;
	size_t n = alive(returning, &one);

	if (returning->decided)
		return;
	if (serves)
		take(returning, serves);
	else if (n == 0)
		lose(returning);
	else if (n == 1 && one->instance->unreachable && (one->place == INSTANCE_SERVES || !is_certain(returning)))
		take(returning, one); /* nobody else is there who could */
	else if (n > 1 && none_can_tell(returning))
		take_all(returning);
	else if (never_served(returning))
		end_start(returning);
	else if (only_parked(returning))
		end_parked(returning);
}

static void tell_done(struct recover *recover)
{
	void (*on_done)(struct recover *recover) = recover->on_done;

	recover->on_done = NULL;
	timer_disarm(&recover->deadline);
	if (on_done)
		on_done(recover);
}

static void look(struct recover *recover)
{
	bool decided = true;

	for (struct returning *r = recover->first; r; r = r->next) {
		look_at(r);
		decided &= r->decided;
	}
	if (decided) {
		store_settle(recover->spawner->store);
		timer_disarm(&recover->again);
		tell_done(recover);
	}
}

/* Who had no memory for a hello may have some by now. */
static void on_again(struct timer *timer)
{
	struct recover *recover = container_of(timer, struct recover, again);

	for (struct returning *r = recover->first; r; r = r->next)
		for (struct candidate *c = r->decided ? NULL : r->candidates; c; c = c->next)
			if (c->instance)
				spawner_greet(c->instance);
	timer_arm(recover->registry->host.site.loop, timer, clock_now_us() + PATIENCE_US, on_again);
}

static void on_deadline(struct timer *timer)
{
	struct recover *recover = container_of(timer, struct recover, deadline);

	for (struct returning *r = recover->first; r; r = r->next) {
		struct candidate *one;

		if (!r->decided && alive(r, &one))
			log_warning("%s: version %s (pid %d) runs, and has not answered yet; it is waited for",
				    service_name(r->service), one->version, (int)one->instance->pid);
	}
	tell_done(recover);
}

/* ---- what the processes say ---- */

static void on_hello(struct instance *instance)
{
	struct candidate *candidate = instance->owner;

	candidate->serves = instance->hello->hello->serves;
	look(candidate->of->recover);
}

/* Until it is a service's, nothing that it says is about anything. */
static void on_message(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	(void)instance;
	(void)message;
	(void)fds;
}

static void on_garbage(struct instance *instance, const char *reason)
{
	log_instance(WARNING, instance, "on its channel: %s; ignored", reason);
}

static void on_exit_of(struct instance *instance)
{
	struct candidate *candidate = instance->owner;
	struct recover *recover = candidate->of->recover;

	candidate->status = instance->status;
	candidate->instance = instance_free(instance);
	look(recover);
}

static const struct instance_events candidate_events = {
	.on_hello = on_hello, .on_message = on_message, .on_garbage = on_garbage, .on_exit = on_exit_of
};

/* ---- reading the logbook ---- */

static struct returning *returning_known(const struct recover *recover, const struct service *service)
{
	struct returning *returning = recover->first;

	while (returning && returning->service != service)
		returning = returning->next;
	return returning;
}

static struct returning *returning_of(struct recover *recover, const char *name, struct why *why)
{
	struct service *service = registry_keep(recover->registry, name, why);
	struct returning *returning;

	if (!service)
		return NULL;
	returning = returning_known(recover, service);
	if (returning)
		return returning;
	returning = calloc(1, sizeof(*returning));
	if (!returning)
		return NULL;
	*returning = (struct returning){ .next = recover->first, .recover = recover, .service = service };
	recover->first = returning;
	return returning;
}

static struct candidate *candidate_new(struct returning *returning, const Upgraded__Logbook__Process *process)
{
	struct candidate *candidate = calloc(1, sizeof(*candidate)), **end = &returning->candidates;

	if (!candidate)
		return NULL;
	candidate->of = returning;
	candidate->place = (enum instance_place)process->place;
	candidate->start_ticks = process->start_ticks;
	candidate->status = CHILD_STATUS_UNKNOWN;
	snprintf(candidate->version, sizeof(candidate->version), "%s", process->version);
	while (*end)
		end = &(*end)->next;
	*end = candidate;
	return candidate;
}

/* A process that lives and is left out would be taken for one that has ended. */
static void fail(struct recover *recover, const char *of, int r, const struct why *why)
{
	if (recover->failed == 0)
		recover->failed = why_set(recover->why, r, "%s cannot be had back now: %s; it serves on without upgraded", of,
					  *why->text ? why->text : strerror(-r));
}

static void candidate_free(struct candidate *candidate);

static void drop(struct returning *returning, struct candidate *candidate)
{
	struct candidate **at = &returning->candidates;

	while (*at != candidate)
		at = &(*at)->next;
	*at = candidate->next;
	candidate_free(candidate);
}

static void read_process(struct recover *recover, const Upgraded__Logbook__Process *process)
{
	struct candidate *candidate;
	struct returning *returning;
	struct why why = { 0 };
	int r;

	if (process->serial > recover->spawner->last_serial)
		recover->spawner->last_serial = process->serial;
	if (left_has(recover->carry, process->serial))
		return;
	/* Of another start of the machine: it ended with that. */
	if (strcmp(process->boot_id, regain_boot()) != 0) {
		spawner_forget(recover->spawner, process->serial);
		return;
	}
	if (unit_name_check("service", process->service, &why) < 0) {
		log_error("the logbook's entry of pid %d is passed over: %s", process->pid, why.text);
		return;
	}
	returning = returning_of(recover, process->service, &why);
	candidate = returning ? candidate_new(returning, process) : NULL;
	if (!candidate) {
		fail(recover, process->service, -ENOMEM, &why);
		return;
	}
	r = unit_parse_bytes(process->service, process->unit_path, process->unit_text.data, process->unit_text.len,
			     &candidate->unit, &why);
	if (r < 0 && r != -ENOMEM) {
		log_service(ERROR, process->service, "version %s (pid %d) cannot be had back: %s", process->version,
			    process->pid, why.text);
		return;
	}
	if (r == 0)
		r = spawner_regain(recover->spawner, process, candidate->unit, &candidate->instance, &candidate->status, &why);
	if (r == 0 && candidate->instance->drain_due_us) {
		/* It was told to end, and goes on with that. */
		candidate->instance = graveyard_bury(recover->registry->host.site.graveyard, candidate->instance);
		drop(returning, candidate);
	} else if (r == 0) {
		instance_own(candidate->instance, &candidate_events, candidate);
		/* Its library is older: it has said who it is to the supervisor before, and rested. */
		candidate->serves = candidate->instance->hello && candidate->place == INSTANCE_SERVES;
	} else if (r != -ESRCH) {
		fail(recover, process->service, r, &why);
	}
}

static void read_service(struct recover *recover, const Upgraded__Logbook__Service *what)
{
	struct returning *returning;
	struct service *service;
	struct why why = { 0 };
	int r;

	if (unit_name_check("service", what->name, &why) < 0) {
		log_error("the logbook's entry of a service is passed over: %s", why.text);
		return;
	}
	service = registry_keep(recover->registry, what->name, &why);
	r = service ? service_remember(service, what, &why) : -ENOMEM;
	if (r < 0) {
		fail(recover, what->name, r, &why);
		return;
	}
	returning = returning_known(recover, service);
	if (!returning)
		return;
	returning->told = true;
	returning->wanted = what->wanted;
}

static void read_all(struct recover *recover)
{
	struct logbook_list list;
	int r = logbook_list(recover->spawner->logbook, NULL, NULL, &list);

	if (r < 0)
		recover->failed = why_errno(recover->why, r, "the logbook could not be read to its end");
	for (size_t i = 0; recover->failed == 0 && i < list.n; i++)
		if (list.entries[i]->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS)
			read_process(recover, list.entries[i]->process);
	for (size_t i = 0; recover->failed == 0 && i < list.n; i++)
		if (list.entries[i]->what_case == UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE)
			read_service(recover, list.entries[i]->service);
	logbook_list_done(&list);
}

/* What the logbook has besides was sent SIGKILL, and only its end is to be heard. */
static void bury_rest(struct recover *recover)
{
	for (struct returning *r = recover->first; r; r = r->next) {
		for (struct candidate *c = r->candidates; c; c = c->next)
			c->instance = graveyard_bury(recover->registry->host.site.graveyard, c->instance);
		r->decided = true;
	}
}

/* ---- life ---- */

static void candidate_free(struct candidate *candidate)
{
	instance_free(candidate->instance);
	unit_free(candidate->unit);
	free(candidate);
}

static void returning_free(struct returning *returning)
{
	while (returning->candidates) {
		struct candidate *candidate = returning->candidates;

		returning->candidates = candidate->next;
		candidate_free(candidate);
	}
	bake_free(returning->bake);
	free(returning);
}

/* A process whose file makes no sense any more is nobody's candidate: whoever had no unit is left out. */
static void drop_empty(struct recover *recover)
{
	struct returning **link = &recover->first;

	while (*link) {
		struct returning *returning = *link;
		struct candidate **at = &returning->candidates;

		while (*at) {
			struct candidate *candidate = *at;

			if (candidate->unit) {
				at = &candidate->next;
				continue;
			}
			*at = candidate->next;
			candidate_free(candidate);
		}
		if (returning->candidates) {
			link = &returning->next;
			continue;
		}
		*link = returning->next;
		returning_free(returning);
	}
}

/* Whoever ends in the middle of this leaves it to the next one. */
static int rebuild(struct registry *registry, struct spawner *spawner, struct why *why)
{
	int r = notes_gather(registry, spawner, why);
	struct why detail = { 0 };

	if (r == 0)
		r = suspects_gather(registry, spawner, why);
	if (r == 0 && logbook_rebuilt(spawner->logbook, &detail) < 0)
		log_warning("%s; the next upgraded looks once more for what lived before this one", detail.text);
	return r;
}

int recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
		  void (*on_done)(struct recover *recover), void *owner, struct why *why)
{
	int r;

	*recover = (struct recover){ .registry = registry, .spawner = spawner, .on_done = on_done, .owner = owner, .carry = carry,
				     .why = why };
	spawner_number(spawner);
	if (!carry && !logbook_is_complete(spawner->logbook)) {
		r = rebuild(registry, spawner, why);
		if (r < 0)
			return r;
	}
	read_all(recover);
	if (recover->failed < 0)
		return recover->failed;
	drop_empty(recover);
	for (struct returning *each = recover->first; each && !carry; each = each->next)
		find_bake(each);
	if (carry) {
		r = left_read(carry, registry, spawner, why);
		if (r < 0)
			return r;
		bury_rest(recover);
		recover->carry = NULL;
	}
	for (struct returning *each = recover->first; each; each = each->next) {
		struct candidate *one;

		if (!each->decided && alive(each, &one))
			service_await_return(each->service, one->instance->pid);
	}
	timer_arm(registry->host.site.loop, &recover->deadline, clock_now_us() + PATIENCE_US, on_deadline);
	timer_arm(registry->host.site.loop, &recover->again, clock_now_us() + PATIENCE_US, on_again);
	look(recover);
	return 0;
}

bool recover_is_over(const struct recover *recover, struct why *ret_what)
{
	for (const struct returning *r = recover->first; r; r = r->next) {
		if (r->decided)
			continue;
		(void)why_set(ret_what, 0, "%s: a process of it may serve, and has not answered", service_name(r->service));
		return false;
	}
	return true;
}

void recover_give_up(struct recover *recover)
{
	for (struct returning *r = recover->first; r; r = r->next) {
		struct candidate *one;

		if (!r->decided && alive(r, &one))
			take(r, one);
	}
	if (recover->spawner)
		store_settle(recover->spawner->store);
}

void recover_done(struct recover *recover)
{
	if (recover->registry) {
		timer_disarm(&recover->deadline);
		timer_disarm(&recover->again);
	}
	while (recover->first) {
		struct returning *returning = recover->first;

		recover->first = returning->next;
		returning_free(returning);
	}
}
