/* SPDX-License-Identifier: MIT */
/* `upgradectl save`: the state of a service that serves, into a file, for no longer than a roll would stop it. */
#include "supervisor/service/private.h"

#include "supervisor/process/rest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A save under way. The service's asker waits for it. */
struct service_save {
	struct service *service;
	struct fd_ref *file;         /* the process writes to it */
	uint64_t began_us;           /* it was asked, the first time */
	uint64_t stops_us;           /* the attempt that counts began: from here on it stands still */
	uint32_t asked;
	struct rest rest;            /* how long it is asked; and why it was not ready, as it said last */
	uint64_t records, bytes;     /* as the process tells them, once @written */
	bool quiesced, written;
	struct timer again, deadline;
};

void service_save_free(struct service *service)
{
	struct service_save *save = service->save;
	struct instance *instance;

	if (!save)
		return;
	instance = service_member(service)->instance;
	service->save = NULL;
	/* What it never heard of is not to be done later, when nobody waits for the file. What it says yet, it says to a question
	 * that has another number. */
	if (instance)
		(void)instance_retract(instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE);
	rest_end(&save->rest);
	timer_disarm(&save->again);
	timer_disarm(&save->deadline);
	fd_ref_drop(save->file);
	free(save);
}

void service_save_fail(struct service *service, const char *reason)
{
	if (!service->save)
		return;
	service_save_free(service);
	service_answer(service, service->asker,
		       &(struct answer){ .code = WIRE_EXIT_ERROR, .cause = reason, .next = "the file holds nothing of use" },
		       instance_is_alive(service_member(service)->instance) ? "%s was not saved; it serves on" : "%s was not saved",
		       service->name);
}

static void fail_late(struct service_save *save, enum rest_overdue overdue)
{
	const char *reason = save->rest.reason.text;
	char most[28];
	struct why why;

	if (overdue == REST_CHILD_OVER)
		why_set(&why, 0, "it still waits after %s (ChildTimeout=) for %s",
			rest_child_timeout(&save->rest, most, sizeof(most)), reason);
	else
		why_set(&why, 0, "it did not quiesce in time (QuiesceTimeout=)%s%s", *reason ? ": " : "", reason);
	service_save_fail(save->service, why.text);
}

static void on_deadline(struct timer *timer)
{
	struct service_save *save = container_of(timer, struct service_save, deadline);

	if (!instance_is_heard_out(service_member(save->service)->instance))
		timer_arm(save->service->host->site.loop, timer, clock_now_us() + INSTANCE_HEAR_US, on_deadline);
	else if (save->quiesced)
		service_save_fail(save->service, "the state was not written in time (TransferTimeout=)");
	else
		fail_late(save, REST_QUIESCE_OVER);
}

static void expect(struct service_save *save)
{
	uint64_t limit_us = save->rest.unit->transfer_timeout_us + USEC_PER_SEC;

	timer_arm(save->service->host->site.loop, &save->deadline, save->rest.due_us + limit_us, on_deadline);
}

static void ask(struct service_save *save)
{
	const struct unit *unit = save->rest.unit;
	struct instance_prepare prepare;

	rest_ask(&save->rest);
	prepare = (struct instance_prepare){
		.unit = unit, .rest_us = save->rest.due_us, .settles_us = save->rest.due_us + unit->transfer_timeout_us,
	};
	expect(save);

	save->stops_us = clock_now_us();
	save->asked++;
	instance_prepare(service_member(save->service)->instance, &prepare, &save->file, 1);
}

static void on_ask_again(struct timer *timer);

static void ask_later(struct service_save *save, uint64_t us)
{
	timer_arm(save->service->host->site.loop, &save->again, clock_now_us() + us, on_ask_again);
}

/* If it has a question already, its answer is waited for. */
static void on_child_gone(struct rest *rest)
{
	struct service_save *save = container_of(rest, struct service_save, rest);

	expect(save);
	if (save->again.loop)
		ask_later(save, REST_CHILD_REAPED_US);
}

/* One that does not read is not asked again: it has a question already. */
static void on_ask_again(struct timer *timer)
{
	struct service_save *save = container_of(timer, struct service_save, again);

	if (instance_awaits(service_member(save->service)->instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE))
		ask_later(save, rest_pause_us(&save->rest));
	else
		ask(save);
}

static void begin(struct service_save *save)
{
	save->began_us = clock_now_us();
	rest_begin(&save->rest, save->service->host->site.loop, save->service->unit, on_child_gone);
	ask(save);
}

void service_save(struct service *service, int file_consume, struct asker *asker)
{
	struct fd_ref *file;

	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker) ||
	    service_refuse_plain(service, "nothing can be saved", asker)) {
		fd_give_up(file_consume);
		return;
	}
	file = fd_ref_new_foreign(file_consume);
	service->save = calloc(1, sizeof(*service->save));
	if (!service->save || !file) {
		fd_ref_drop(file);
		free(service->save);
		service->save = NULL;
		service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_ERROR }, "%s: out of memory", service->name);
		return;
	}
	service->save->service = service;
	service->save->file = file;
	service_wait(service, asker);
	keeper_give_way(service_member(service));
	begin(service->save);
}

/* ---- what the process says ---- */

/* Once: when its attempt began is what it says; up to there it may have served with the question unread. */
static void hear_quiesced(struct service_save *save, uint64_t begun_us)
{
	if (!save->quiesced && begun_us > save->stops_us && begun_us <= clock_now_us())
		save->stops_us = begun_us;
	save->quiesced = true;
	rest_end(&save->rest);
}

/* Whoever asked may have minutes to wait. */
static void tell_wait(struct service_save *save, const struct instance *instance, const struct why *before)
{
	char text[sizeof(before->text) + 128];

	if (!save->rest.child_us || strcmp(save->rest.reason.text, before->text) == 0)
		return;
	snprintf(text, sizeof(text), "version %s waits for %s", instance->version, save->rest.reason.text);
	asker_progress(save->service->asker, "quiesce", instance->pid, text, save->began_us);
}

static void hear_not_yet(struct service_save *save, const Upgraded__Wire__NotYet *not_yet)
{
	const struct instance *instance = service_member(save->service)->instance;
	struct why before = save->rest.reason;
	enum rest_overdue overdue;

	/* One answer to each question. */
	if (save->again.loop || save->quiesced)
		return;
	rest_hear(&save->rest, instance, not_yet);
	tell_wait(save, instance, &before);
	overdue = rest_overdue(&save->rest);
	if (overdue != REST_IN_TIME) {
		fail_late(save, overdue);
		return;
	}
	expect(save);
	ask_later(save, rest_pause_us(&save->rest));
}

static void hear_resumed(struct service_save *save, uint64_t at_us)
{
	struct service *service = save->service;
	Upgraded__Wire__SaveReport report = UPGRADED__WIRE__SAVE_REPORT__INIT;
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	struct why waited_for = save->rest.reason;

	if (!save->written)
		return;
	report.records = save->records;
	report.state_bytes = save->bytes;
	report.pause_us = at_us > save->stops_us ? at_us - save->stops_us : 0;
	report.waited_us = save->asked > 1 ? save->stops_us - save->began_us : 0;
	report.asked = save->asked;
	report.waited_for = waited_for.text;
	with.save = &report;
	service_save_free(service);
	service_answer(service, service->asker, &(struct answer){ .code = WIRE_EXIT_DONE, .with = &with }, "%s is saved",
		       service->name);
}

bool service_save_hear(struct service *service, const Upgraded__Wire__AppMessage *message)
{
	struct service_save *save = service->save;

	if (!save)
		return false;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED:
		hear_quiesced(save, message->quiesced->begun_us);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET:
		hear_not_yet(save, message->not_yet);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		service_save_fail(service, message->refused->reason);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED:
		if (message->saved->totals) {
			save->records = message->saved->totals->records;
			save->bytes = message->saved->totals->payload_bytes;
			save->written = true;
		}
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED:
		hear_resumed(save, message->resumed->at_us);
		return true;
	default:
		return false;
	}
}
