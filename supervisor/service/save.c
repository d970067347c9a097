/* SPDX-License-Identifier: MIT */
/* `upgradectl save`: the state of a service that serves, into a file, for no longer than a roll would stop it. */
#include "supervisor/service/private.h"

#include <errno.h>
#include <stdio.h>

#define ASK_AGAIN_US (10 * USEC_PER_MSEC)

static void end_save(struct service *service)
{
	service->saving = false;
	service->save_file = fd_close(service->save_file);
	timer_disarm(&service->save_timer);
	timer_disarm(&service->save_deadline);
}

void service_save_fail(struct service *service, const char *reason)
{
	if (!service->saving)
		return;
	end_save(service);
	service_answer(service, service->asker, WIRE_EXIT_ERROR, NULL, NULL, reason, "the file holds nothing of use",
		       "%s was not saved; it serves on", service->name);
}

static void on_save_deadline(struct timer *timer)
{
	struct service *service = container_of(timer, struct service, save_deadline);

	service_save_fail(service, service->save_quiesced ? "the state was not written in time (TransferTimeout=)" :
							    "it did not quiesce in time (QuiesceTimeout=)");
}

static void ask(struct service *service)
{
	Upgraded__Wire__Limits limits = instance_limits(service->unit);
	Upgraded__Wire__Prepare prepare = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE, .prepare = &prepare);

	prepare.save_only = true;
	prepare.limits = &limits;
	prepare.level = service->unit->level;
	prepare.quiesce_deadline_us = service->save_began_us + service->unit->quiesce_timeout_us;
	prepare.commit_deadline_us = prepare.quiesce_deadline_us + service->unit->transfer_timeout_us;
	instance_send(service->instance, &message, &service->save_file, 1);
}

static void on_ask_again(struct timer *timer)
{
	ask(container_of(timer, struct service, save_timer));
}

void service_save(struct service *service, int file_consume, struct asker *asker)
{
	uint64_t limit;

	if (service_refuse_busy(service, asker) || service_refuse_not_running(service, asker)) {
		fd_close(file_consume);
		return;
	}
	if (file_consume < 0) {
		service_answer(service, asker, WIRE_EXIT_USAGE, NULL, NULL, NULL, NULL, "save came without a file to write to");
		return;
	}
	service->saving = true;
	service->save_quiesced = service->save_written = false;
	service->save_file = file_consume;
	service->save_began_us = clock_now_us();
	service->asker = asker;
	asker->service = service;
	limit = service->unit->quiesce_timeout_us + service->unit->transfer_timeout_us + USEC_PER_SEC;
	timer_arm(service->host->site.loop, &service->save_deadline, service->save_began_us + limit, on_save_deadline);
	ask(service);
}

static void hear_resumed(struct service *service, uint64_t at_us)
{
	Upgraded__Wire__SaveReport report = UPGRADED__WIRE__SAVE_REPORT__INIT;
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	struct asker *asker = service->asker;
	char text[128];

	if (!service->save_written)
		return;
	end_save(service);
	if (!asker)
		return;
	report.records = service->save_records;
	report.state_bytes = service->save_bytes;
	report.pause_us = at_us > service->save_began_us ? at_us - service->save_began_us : 0;
	snprintf(text, sizeof(text), "%s is saved", service->name);
	result.text = text;
	result.save = &report;
	service_forget(asker);
	service_result(service, asker, &result);
}

bool service_save_hear(struct service *service, const Upgraded__Wire__AppMessage *message)
{
	if (!service->saving)
		return false;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED:
		service->save_quiesced = true;
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET:
		timer_arm(service->host->site.loop, &service->save_timer, clock_now_us() + ASK_AGAIN_US, on_ask_again);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		service_save_fail(service, message->refused->reason);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED:
		if (message->saved->totals) {
			service->save_records = message->saved->totals->records;
			service->save_bytes = message->saved->totals->payload_bytes;
			service->save_written = true;
		}
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED:
		hear_resumed(service, message->resumed->at_us);
		return true;
	default:
		return false;
	}
}
