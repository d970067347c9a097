/* SPDX-License-Identifier: MIT */
/* `upgradectl save`: the state of a service that serves, into a file, for no longer than a roll would stop it. */
#include "supervisor/service/private.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_AGAIN_US (10 * USEC_PER_MSEC)
#define ASKED_AT_MOST 1000u

/* A save under way. The service's asker waits for it. */
struct service_save {
	struct service *service;
	struct fd_ref *file;         /* the process writes to it */
	uint64_t began_us;           /* it was asked, the first time */
	uint64_t stops_us;           /* the attempt that counts began: from here on it stands still */
	uint32_t asked;
	struct why waited_for;       /* why it was not ready, as it said last; "": it did not say */
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

static void on_deadline(struct timer *timer)
{
	struct service_save *save = container_of(timer, struct service_save, deadline);

	const char *reason = save->waited_for.text;
	struct why why;

	if (save->quiesced)
		why_set(&why, 0, "the state was not written in time (TransferTimeout=)");
	else
		why_set(&why, 0, "it did not quiesce in time (QuiesceTimeout=)%s%s", *reason ? ": " : "", reason);
	service_save_fail(save->service, why.text);
}

static void ask(struct service_save *save)
{
	const struct unit *unit = save->service->unit;
	struct instance_prepare prepare = {
		.unit = unit,
		.begun_us = save->began_us,
		.settles_us = save->began_us + unit->quiesce_timeout_us + unit->transfer_timeout_us,
	};

	save->stops_us = clock_now_us();
	save->asked++;
	instance_prepare(service_member(save->service)->instance, &prepare, &save->file, 1);
}

static void on_ask_again(struct timer *timer);

/* However long it may take, it is asked no more often than some thousand times. */
static void ask_later(struct service_save *save)
{
	uint64_t us = save->service->unit->quiesce_timeout_us / ASKED_AT_MOST;

	timer_arm(save->service->host->site.loop, &save->again, clock_now_us() + (us > ASK_AGAIN_US ? us : ASK_AGAIN_US),
		  on_ask_again);
}

/* One that does not read is not asked again: it has a question already. */
static void on_ask_again(struct timer *timer)
{
	struct service_save *save = container_of(timer, struct service_save, again);

	if (instance_awaits(service_member(save->service)->instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE))
		ask_later(save);
	else
		ask(save);
}

static void begin(struct service_save *save)
{
	const struct unit *unit = save->service->unit;
	uint64_t limit = unit->quiesce_timeout_us + unit->transfer_timeout_us + USEC_PER_SEC;

	save->began_us = clock_now_us();
	timer_arm(save->service->host->site.loop, &save->deadline, save->began_us + limit, on_deadline);
	ask(save);
}

void service_save(struct service *service, int file_consume, struct asker *asker)
{
	struct fd_ref *file;

	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker)) {
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
	begin(service->save);
}

/* ---- what the process says ---- */

/* Once: when its attempt began is what it says; up to there it may have served with the question unread. */
static void hear_quiesced(struct service_save *save, uint64_t begun_us)
{
	if (!save->quiesced && begun_us > save->stops_us && begun_us <= clock_now_us())
		save->stops_us = begun_us;
	save->quiesced = true;
}

static void hear_resumed(struct service_save *save, uint64_t at_us)
{
	struct service *service = save->service;
	Upgraded__Wire__SaveReport report = UPGRADED__WIRE__SAVE_REPORT__INIT;
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	struct why waited_for = save->waited_for;

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
		snprintf(save->waited_for.text, sizeof(save->waited_for.text), "%.200s", message->not_yet->reason);
		text_tame(save->waited_for.text, strlen(save->waited_for.text));
		/* One answer to each question. */
		if (!save->again.loop)
			ask_later(save);
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
