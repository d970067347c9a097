/* SPDX-License-Identifier: MIT */
/* What happens to a service becomes events, and its rolls become history. */
#include "supervisor/machine/threads.h"
#include "supervisor/service/private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARNING:
		return "warning";
	case LOG_LEVEL_INFO:
	case LOG_LEVEL_DEBUG:
		break;
	}
	return "info";
}

void told_begin(Upgraded__Wire__Event *event, const char *kind, enum log_level level, const char *service)
{
	upgraded__wire__event__init(event);
	event->kind = wire_text(kind);
	event->level = wire_text(level_name(level));
	event->service = wire_text(service);
}

void service_tell(const struct service *service, const char *kind, enum log_level level, const struct instance *about,
		  const char *fmt, ...)
{
	Upgraded__Wire__Event event;
	char text[640];
	va_list args;

	if (!service->host->events)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	told_begin(&event, kind, level, service->name);
	event.text = text;
	event.version = wire_text(about ? about->version : service->version);
	event.pid = about ? about->pid : 0;
	events_tell(service->host->events, &event);
}

/* ---- signs of life ---- */

void service_tell_beat(const struct service *service, const struct instance *instance, uint64_t since_us, char *ret_text,
		       size_t size)
{
	static struct threads threads; /* one loop thread */
	char *details[THREADS_MAX];
	Upgraded__Wire__Event event;
	enum log_level level = since_us ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;

	threads.n = threads.more = 0;
	if (since_us)
		threads_look(instance->pid, &threads);
	if (since_us)
		snprintf(ret_text, size,
			 "version %s (pid %d) has not answered for %" PRIu64 " ms: not every thread passes its update point",
			 instance->version, (int)instance->pid, (clock_now_us() - since_us) / 1000);
	else
		snprintf(ret_text, size, "version %s (pid %d) answers again", instance->version, (int)instance->pid);
	log_about(level, &(const struct log_about){ .service = service->name }, "%s", ret_text);
	for (unsigned i = 0; i < threads.n; i++) {
		log_about(level, &(const struct log_about){ .service = service->name }, "  thread %s", threads.text[i]);
		details[i] = threads.text[i];
	}
	told_begin(&event, since_us ? "beat-missed" : "beat-again", level, service->name);
	event.version = wire_text(instance->version);
	event.pid = instance->pid;
	event.text = ret_text;
	event.details = details;
	event.n_details = threads.n;
	events_tell(service->host->events, &event);
}

/* ---- rolls ---- */

static void about_roll(Upgraded__Wire__Event *event, const struct roll_report *report)
{
	event->version = wire_text(report->to);
	event->roll = report->id;
	event->number = report->number;
}

/* The names of versions, for the text of an event. */
#define FROM_TO_BYTES (2 * (UNIT_NAME_MAX + 1) + 8)

static char *from_to(const struct roll_report *report, char *buf)
{
	snprintf(buf, FROM_TO_BYTES, "%s -> %s", report->from, report->to);
	return buf;
}

static void note_roll(const struct service *service, const struct roll_report *report)
{
	struct roll_report_texts texts;
	Upgraded__Wire__RollReport told;

	roll_report_tell(report, &texts, &told);
	events_keep_roll(service->host->events, service->name, &told);
}

static void tell_began(const struct service *service, const struct roll_report *report)
{
	char text[FROM_TO_BYTES];
	Upgraded__Wire__Event event;
	Upgraded__Wire__Who who;

	told_begin(&event, "roll-began", LOG_LEVEL_INFO, service->name);
	about_roll(&event, report);
	event.text = from_to(report, text);
	if (report->asked_by.asked) {
		who_tell(&report->asked_by, &who);
		event.asked_by = &who;
	}
	events_tell(service->host->events, &event);
	note_roll(service, report);
}

static void tell_phase(const struct service *service, const struct roll_report *report, const struct roll_span *phase)
{
	Upgraded__Wire__Event event;

	told_begin(&event, phase->ended_us ? "phase-ended" : "phase-began", LOG_LEVEL_INFO, service->name);
	about_roll(&event, report);
	event.phase = wire_text(phase->name);
	event.text = wire_text(phase->text);
	event.took_us = phase->ended_us ? phase->ended_us - phase->begun_us : 0;
	events_tell(service->host->events, &event);
}

void service_on_span(struct roll *roll, const struct roll_span *ended, const struct roll_span *begun)
{
	const struct member *member = roll_owner(roll);
	const struct roll_report *report = roll_report(roll);

	if (!member->service->host->events)
		return;
	if (!ended && report->n_spans == 1 && roll_record(roll)->state == ROLL_STANDBY)
		tell_began(member->service, report);
	if (ended)
		tell_phase(member->service, report, ended);
	if (begun)
		tell_phase(member->service, report, begun);
}

void service_tell_progress(const struct service *service, const struct roll *roll, const char *phase, pid_t pid, const char *text)
{
	Upgraded__Wire__Event event;

	told_begin(&event, "progress", LOG_LEVEL_INFO, service->name);
	about_roll(&event, roll_report(roll));
	event.phase = wire_text(phase);
	event.text = wire_text(text);
	event.pid = pid;
	events_tell(service->host->events, &event);
}

void service_tell_commit(const struct service *service, const struct roll *roll)
{
	const struct roll_report *report = roll_report(roll);
	const struct instance *serving = roll_serving(roll);
	char text[FROM_TO_BYTES];
	Upgraded__Wire__Event event;

	told_begin(&event, "committed", LOG_LEVEL_INFO, service->name);
	about_roll(&event, report);
	event.text = from_to(report, text);
	event.pid = serving ? serving->pid : 0;
	event.took_us = report->wire.pause_us;
	events_tell(service->host->events, &event);
}

void service_log_outcome(const struct service *service, struct roll_report *report)
{
	enum log_level level = roll_outcome_level(report->outcome);
	char text[ROLL_OUTCOME_BYTES];
	struct roll_report_texts texts;
	Upgraded__Wire__RollReport told;
	Upgraded__Wire__Event event;

	service_serving_text(service, report->serves);
	roll_outcome_text(report, report->serves, text);
	log_about(level, &(const struct log_about){ .service = service->name, .roll = report->id, .phase = "end" }, "%s", text);
	roll_report_tell(report, &texts, &told);
	told_begin(&event, "roll-ended", level, service->name);
	about_roll(&event, report);
	event.text = text;
	event.took_us = report->wire.pause_us;
	event.report = &told;
	events_tell(service->host->events, &event);
	events_keep_roll(service->host->events, service->name, &told);
}
