/* SPDX-License-Identifier: MIT */
/* Rolls of a service: they begin here, and what they say and come to is heard here. */
#include "supervisor/machine/procfs.h"
#include "supervisor/service/hook.h"
#include "supervisor/service/phases.h"
#include "supervisor/service/private.h"

#include <stdio.h>
#include <string.h>

/* ---- what a roll comes to ---- */

static void tell_news(struct asker *asker, struct roll *roll, const char *phase, pid_t pid, const char *text)
{
	if (roll_is_note(roll))
		asker_note(asker, phase, pid, text, roll_begun_us(roll));
	else
		asker_progress(asker, phase, pid, text, roll_begun_us(roll));
}

static void on_progress(struct roll *roll, const char *phase, pid_t pid, const char *text)
{
	struct member *member = roll_owner(roll);
	struct service *service = member->service;
	/* A roll that begins is not the member's yet: any roll beside the member's own is the one backward. */
	bool is_back = member->roll && member->roll != roll;
	struct asker *asker = is_back && service->bake_call.asker ? service->bake_call.asker : service->asker;

	service_changed(service);
	service_tell_progress(service, roll, phase, pid, text);
	tell_news(asker, roll, phase, pid, text);
	for (asker = service->followers; asker; asker = asker->next_follower)
		if (asker->follows == FOLLOWS_ROLL)
			tell_news(asker, roll, phase, pid, text);
}

static void on_beat(struct roll *roll, uint64_t since_us)
{
	const struct member *member = roll_owner(roll);
	const struct instance *instance = roll_new(roll);
	char text[256];

	if (!instance)
		return;
	service_tell_beat(member->service, instance, since_us, text, sizeof(text));
	asker_note(member->service->asker, "health", instance->pid, text, roll_begun_us(roll));
	for (struct asker *asker = member->service->followers; asker; asker = asker->next_follower)
		if (asker->follows == FOLLOWS_ROLL)
			asker_note(asker, "health", instance->pid, text, roll_begun_us(roll));
}

void service_on_roll_commit(struct roll *roll)
{
	struct member *member = roll_owner(roll);
	struct service *service = member->service;

	keeper_end(member); /* what was kept is of the version before */
	service_set_version(service, roll_report(roll)->to, roll_unit(roll));
	service_tell_commit(service, roll);
	service_answer_abort(service, roll_report(roll)); /* it came too late */
	if (service->stop_wanted)
		roll_cancel(roll); /* and so did that: the service stops when its bake would begin */
	if (service->asker && service->asker->wait_commit)
		service_answer_roll(service, service->asker, roll_report(roll));
	service_look_followers(service);
}

static void note_history(struct service *service, struct roll *roll)
{
	const struct roll_report *result = roll_report(roll);
	struct fd_names handed = roll_take_handed(roll);

	if (result->outcome == ROLL_IS_COLD)
		history_clear(&service->history);
	if (result->outcome == ROLL_IS_DONE) {
		history_move(&service->history, result->from, roll_unit_before(roll), result->to);
		history_note(&service->history, result->from, &handed);
	}
	fd_names_done(&handed);
	if (result->outcome != ROLL_IS_DONE)
		return;
	if (roll_record(roll)->purpose == PURPOSE_LEAVE_SICK)
		history_forget(&service->history, result->from);
}

/* Ends @roll. */
static void log_and_free(struct service *service, struct roll *roll)
{
	service_log_outcome(service, &service->last);
	hook_run(service->host, roll_unit(roll), &service->last);
	roll_free(roll);
}

/* The roll backward or onward has committed, and is the member's roll by now: it owns the process that serves. */
static void on_turned(struct service *service, struct roll *roll)
{
	note_history(service, roll);
	if (roll_record(roll)->state == ROLL_PASSED)
		service_images_settle(service, roll_take_image(roll), service->last.outcome);
	log_and_free(service, roll);
	service_answer_roll(service, service->asker, &service->last);
	service->asker = service->bake_call.asker;
	service->bake_call.asker = NULL;
}

void service_on_roll_end(struct roll *roll)
{
	struct member *member = roll_owner(roll);
	struct service *service = member->service;

	service->last = *roll_report(roll);
	service->has_last = true;
	if (roll_record(roll)->state == ROLL_TURNED || roll_record(roll)->state == ROLL_PASSED) {
		on_turned(service, roll);
		return;
	}
	member->roll = NULL;
	if (service->last.wire.commit_us)
		plan_pauses_note(&service->pauses, service->last.wire.pause_us,
				 &(struct plan_size){ service->last.wire.records, service->last.wire.state_bytes,
						      service->last.wire.fds });
	member_take_serving(member, roll);
	if (!member->instance)
		service_end_children(service);
	/* Where nothing serves, what is to be started by hand is the version that worked. */
	if (member->instance)
		service_set_version(service, member->instance->version, member->instance->unit);
	else
		service_set_version(service, service->last.from, roll_unit_before(roll));
	service_listen_settle(service);
	note_history(service, roll);
	service_write_down(service);
	service_images_settle(service, roll_take_image(roll), service->last.outcome);
	log_and_free(service, roll);
	if (service->last.wire.unanswered_us && instance_is_alive(member->instance))
		pulse_lose(member, service->last.wire.unanswered_us);
	service_answer_roll(service, service->asker, &service->last);
	service_end_bake_call(service, &service->last);
	service_answer_abort(service, &service->last);
	service_answer_followers(service, &service->last);
	member_check_exit(member);
	service_stop_if_wanted(service);
	service_look_followers(service);
}

/* ---- how one begins ---- */

struct roll_options service_roll_options(const struct unit *unit, const struct roll_request *request)
{
	enum unit_rollback rollback = request->sets_rollback ? request->rollback : unit->rollback;

	/* There is no image of them. */
	if (unit->kind == UNIT_PLAIN && rollback == ROLLBACK_AUTO)
		rollback = ROLLBACK_PARKED;
	return (struct roll_options){
		.version = request->version,
		.asked_by = request->who,
		.rollback = rollback,
		.verify = request->sets_verify ? request->verify : unit->verify,
		.require_image = request->require_image || unit->require_image,
		.bake_us = request->bake_us ? request->bake_us : unit->bake_us,
	};
}

static void on_imaged(struct roll *roll)
{
	const struct member *member = roll_owner(roll);

	/* The image may put earlier ones beyond the limits. */
	service_images_gc(member->service);
}

static int start_empty(struct roll *roll, const char *version, struct instance **ret_instance, struct why *why)
{
	const struct member *member = roll_owner(roll);
	struct service *service = member->service;
	struct unit *before = roll_unit_before(roll), *unit = before ? before : service->unit;

	keeper_end(roll_owner(roll));
	/* It knows nothing of what versions before it have started. */
	service_end_children(service);
	return service_start_process(service, unit, version, NULL, NULL, NULL, ret_instance, why);
}

/* Until the commit a crash of the version that serves is made good as ever. */
static void on_early(struct roll *roll, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	keeper_hear(roll_owner(roll), message, fds);
}

static void on_early_garbage(struct roll *roll, const char *reason)
{
	keeper_hear_garbage(roll_owner(roll), reason);
}

static const struct roll_events alone = {
	.on_progress = on_progress,
	.on_span = service_on_span,
	.on_beat = on_beat,
	.on_phase = service_on_phase,
	.on_early = on_early,
	.on_early_garbage = on_early_garbage,
	.on_commit = service_on_roll_commit,
	.on_backward = service_on_backward,
	.on_imaged = on_imaged,
	.on_bake = service_on_bake,
	.on_packed = service_on_packed,
	.start_empty = start_empty,
	.on_end = service_on_roll_end,
};
/* Of a roll within the bake of another. */
static const struct roll_events backward = {
	.on_progress = on_progress,
	.on_span = service_on_span,
	.on_beat = on_beat,
	.on_phase = service_on_phase,
	.on_commit = service_on_back_commit,
	.on_backward = service_on_backward,
	.on_aside = service_on_aside,
	.on_imaged = on_imaged,
	.on_bake = service_on_bake,
	.on_packed = service_on_packed,
	.start_empty = start_empty,
	.on_end = service_on_back_end,
};

const struct roll_events *service_roll_events(enum roll_purpose purpose)
{
	return purpose == PURPOSE_FORWARD ? &alone : &backward;
}

/* The two ends of a roll meet here: @serving, and a fresh process of the version. */
static int begin(struct member *member, struct unit *unit, struct roll_options *options, struct instance *serving,
		 struct roll **ret_roll, struct why *why)
{
	const struct roll_events *events = service_roll_events(options->purpose);
	struct service_host *host = member->service->host;
	struct instance *new;
	int r = service_start_process(member->service, unit, options->version, serving, NULL, NULL, &new, why);

	if (r < 0)
		return r;
	r = roll_start(&host->site, unit, options, serving, new, events, member, ret_roll, why);
	if (r < 0)
		graveyard_bury(host->site.graveyard, new);
	return r;
}

/* Every roll of a service is started here; one that is not FORWARD within the bake of the roll that is under way. */
static int start(struct member *member, struct unit *unit, const struct roll_options *options, struct instance *serving,
		 struct why *why)
{
	struct service *service = member->service;
	struct roll_options whole = *options;
	int r = unit_checks_usable(unit, options->version, why);

	whole.generation = ++service->host->generation;
	whole.number = service->rolls + 1;
	if (r == 0)
		r = roll_word_new(whole.generation, &whole.word, why);
	if (r < 0)
		return r;
	r = begin(member, unit, &whole, serving, whole.purpose == PURPOSE_FORWARD ? &member->roll : &member->back, why);
	roll_word_drop(whole.word); /* the roll uses it from here on */
	if (r < 0) {
		service_listen_trim(service);
	} else {
		service->rolls++;
		service_write_down(service); /* the number is not given again */
	}
	return r;
}

int service_roll_back(struct member *member, struct unit *unit, const struct roll_options *options, struct instance *serving,
		      struct why *why)
{
	return start(member, unit, options, serving, why);
}

void service_roll_now(struct service *service, struct unit *unit, const struct roll_request *request, struct asker *asker)
{
	struct member *member = service_member(service);
	struct roll_options options = service_roll_options(unit, request);
	struct why why = { 0 };

	options.known = service_had(service, request);
	service_wait(service, asker);
	keeper_give_way(member);
	if (start(member, unit, &options, member->instance, &why) < 0) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED, .cause = why.text, .next = "nothing was touched" },
			       "%s: the roll to %s was refused", service->name, request->version);
		return;
	}
	pulse_end(member); /* the roll watches it */
	member->instance = NULL;
	service_answer_detached(service, service->asker, roll_report(member->roll));
}

void service_begin_roll(struct service *service, struct unit *unit, const struct roll_request *request, struct asker *asker)
{
	if (request->require_image || unit->require_image)
		service_plan_gate(service, unit, request, asker);
	else
		service_roll_now(service, unit, request, asker);
}

bool service_refuse_same(struct service *service, const struct roll_request *request, struct asker *asker)
{
	const struct instance *serving = member_serving(service_member(service));

	if (strcmp(request->version, service->version) != 0)
		return false;
	if (!request->again) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_DONE,
						 .unchanged = true,
						 .next = "a new build needs a new version name; to start this version anew, with "
							 "the service file as it is now, use --again" },
			       "%s runs version %s already", service->name, service->version);
		return true;
	}
	/* What would be started is another program than the one that serves: nothing could bring that back after the bake. */
	if (!serving || !procfs_program_is_gone(serving->pid))
		return false;
	service_answer(service, asker,
		       &(struct answer){ .code = WIRE_EXIT_REFUSED,
					 .next = "nothing was touched; versions live at paths of their own, so give the new "
						 "build a new name, and roll to that" },
		       "%s: the program of version %s (pid %d) was replaced or removed while it ran", service->name,
		       service->version, serving->pid);
	return true;
}

const struct fd_names *service_had(const struct service *service, const struct roll_request *request)
{
	/* With its service file as it is now, the version that serves is no way back. */
	if (request->again && strcmp(request->version, service->version) == 0)
		return NULL;
	return history_had(&service->history, request->version);
}

/* None was named: that of Version=, as the file is now. Return: false: @asker was told: it names none, or that one serves. */
static bool choose_version(struct service *service, struct roll_request *request, struct asker *asker)
{
	const struct instance *serving = member_serving(service_member(service));
	bool named, serves;
	struct unit *unit;

	if (service_load_unit(service, &unit, asker) < 0)
		return false;
	snprintf(request->version, sizeof(request->version), "%s", unit->version);
	named = *request->version;
	serves = serving && !request->again && strcmp(request->version, service->version) == 0;
	if (!named)
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_USAGE, .next = "name one: upgradectl roll SERVICE VERSION" },
			       "%s: no version was named and %s sets no Version=", service->name, unit->path);
	else if (serves)
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE, .unchanged = true },
			       "%s serves version %s already, which Version= names", service->name, service->version);
	unit_free(unit);
	return named && !serves;
}

static void roll_to(struct service *service, const struct roll_request *request, struct asker *asker)
{
	struct unit *unit;

	if (service_roll_onward(service, request, asker))
		return;
	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker) ||
	    service_refuse_same(service, request, asker) || service_load_unit(service, &unit, asker) < 0)
		return;
	if (!service_refuse_kind(service, unit, request, asker))
		service_begin_roll(service, unit, request, asker);
	unit_free(unit);
}

void service_roll(struct service *service, const struct roll_request *request, struct asker *asker)
{
	struct roll_request chosen = *request;

	if (*chosen.version || choose_version(service, &chosen, asker))
		roll_to(service, &chosen, asker);
}

void service_retry(struct service *service, const struct roll_request *request, struct asker *asker)
{
	struct roll_request again = *request;

	if (service_refuse_busy(service, asker))
		return;
	if (!service->has_last || service->last.outcome == ROLL_IS_DONE) {
		service_answer(service, asker,
			       &(struct answer){ .code = WIRE_EXIT_REFUSED, .next = "upgradectl roll goes to another version" },
			       service->has_last ? "%s: the last roll did not fail" : "%s: there was no roll yet", service->name);
		return;
	}
	snprintf(again.version, sizeof(again.version), "%s", service->last.to);
	service_roll(service, &again, asker);
}
