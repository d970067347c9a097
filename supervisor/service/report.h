/* SPDX-License-Identifier: MIT */
/* What people and programs are told of a service and of its last roll. */
#pragma once

#include "supervisor/health/health.h"
#include "supervisor/process/instance.h"
#include "supervisor/roll/roll.h"
#include "supervisor/service/history.h"
#include "wire/wire.h"

#include <stddef.h>

struct service;

/* A service as it is told; the texts of its message lie in the service and in here: it must not be moved. */
struct status {
	Upgraded__Wire__ServiceStatus message;
	char *history[HISTORY_MAX];
	char *changed[UNIT_KEYS_MAX];
	struct why file_error;
	Upgraded__Wire__RollReport report;
	Upgraded__Wire__Serving serving;
	struct roll_report_texts texts;
	Upgraded__Wire__HealthCheck health[UNIT_CHECKS_MAX + 1], *health_list[UNIT_CHECKS_MAX + 1];
	Upgraded__Wire__Listener *listeners; /* owned, as the list of them in the message is */
	char crash[512]; /* what one would cost */
	char checks[UNIT_CHECKS_MAX][HEALTH_DETAIL_BYTES], heartbeat[HEALTH_DETAIL_BYTES];
};

/** service_status() - How @service does. @ret: borrows from @service; release with status_done(). What there is no memory for is
 * left out. */
void service_status(const struct service *service, struct status *ret);
/** service_status_file() - How its service file, as it is now, differs from what it was started with; into @ret of
 * service_status(). Reads the file. */
void service_status_file(const struct service *service, struct status *ret);
/** service_askable() - The process that can be asked now how many descriptors it has registered, for service_status().
 * Return: NULL: there is none. */
struct instance *service_askable(const struct service *service);

/** status_health() - What is known of a version's health, into @status, which was zeroed or filled by service_status(). */
void status_health(struct status *status, const struct health *health);

void status_done(struct status *status);
