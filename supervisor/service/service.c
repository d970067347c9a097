/* SPDX-License-Identifier: MIT */
#include "supervisor/service/private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void service_set_version(struct service *service, const char *version)
{
	snprintf(service->version, sizeof(service->version), "%s", version);
}

/* The service file anew, as the operator may have changed it. On failure the old one stays in force. */
int service_reload_unit(struct service *service, struct asker *asker)
{
	struct unit *unit;
	struct why why = { 0 };
	int r = unit_load(service->host->config_dir, service->name, &unit, &why);

	if (r < 0) {
		/* One that runs is a service, whatever became of its file. */
		bool none = r == -ENOENT && !service->instance;

		service_answer(service, asker,
			       none ? WIRE_EXIT_NO_SUCH_SERVICE :
				      (service->instance ? WIRE_EXIT_REFUSED :
							   WIRE_EXIT_ERROR),
			       NULL, NULL, why.text,
			       none ? "upgradectl list shows the services" :
			       service->instance ? "nothing was touched; mend the service file" : "mend the service file",
			       none ? "there is no service %s" : "the service file of %s cannot be used", service->name);
		return r;
	}
	unit_free(service->unit);
	service->unit = unit;
	return 0;
}

bool service_refuse_busy(struct service *service, struct asker *asker)
{
	const char *doing = service->roll			 ? roll_phase(service->roll) :
			    service->saving			 ? "saving" :
			    service_plan_is_gate(service)	 ? "preflight" :
			    service->state == SERVICE_STARTING ? "starting" :
								   "stopping";

	service_plan_give_way(service);
	if (!service->roll && !service->saving && !service->plan && service->state != SERVICE_STARTING &&
	    service->state != SERVICE_STOPPING)
		return false;
	service_answer(service, asker, WIRE_EXIT_BUSY, NULL, NULL, NULL,
		       service->roll && roll_is_baking(service->roll) ?
			       "wait for the end of the bake, or go back with upgradectl undo" :
			       "wait for it, or watch it with upgradectl status",
		       "%s: another %s is under way (%s)", service->name,
		       service->roll ? "roll" : "change", doing);
	return true;
}

bool service_refuse_not_running(struct service *service, struct asker *asker)
{
	if (service->state == SERVICE_RUNNING)
		return false;
	service_answer(service, asker, WIRE_EXIT_NOT_RUNNING, NULL, NULL, service->failure.text,
		       "start it: upgradectl start SERVICE VERSION", "%s is not running", service->name);
	return true;
}

/* Return: true if it may be started, with its service file read and its version chosen; else @asker was told why not. */
static bool may_start(struct service *service, const char *version, struct asker *asker)
{
	if (service_refuse_busy(service, asker))
		return false;
	if (service->state == SERVICE_RUNNING) {
		service_answer(service, asker, WIRE_EXIT_ERROR, NULL, NULL, NULL, "to change its version use upgradectl roll",
			       "%s runs already: version %s (pid %d)", service->name, service->version,
			       service->instance->child.pid);
		return false;
	}
	if (service_reload_unit(service, asker) < 0)
		return false;
	if (!*version)
		version = *service->version ? service->version : service->unit->version;
	if (!*version) {
		service_answer(service, asker, WIRE_EXIT_USAGE, NULL, NULL, NULL, "name one: upgradectl start SERVICE VERSION",
			       "%s: no version was named and %s sets no Version=", service->name, service->unit->path);
		return false;
	}
	if (version != service->version)
		service_set_version(service, version);
	return true;
}

void service_start(struct service *service, const char *version, int state_file_consume, struct asker *asker)
{
	if (!may_start(service, version, asker)) {
		fd_close(state_file_consume);
		return;
	}
	member_set_state_file(service, state_file_consume);
	timer_disarm(&service->restart);
	service->restarts = service->failures = 0;
	history_clear(&service->history);
	service->asker = asker;
	asker->service = service;
	if (member_spawn(service) < 0) {
		service->state = SERVICE_FAILED;
		member_answer_failed_start(service);
	}
}

void service_stop(struct service *service, struct asker *asker)
{
	/* Stopping accepts a version that is still baking: the roll ends here. */
	if (service->roll && roll_is_baking(service->roll))
		roll_cancel(service->roll);
	if (service_refuse_busy(service, asker))
		return;
	if (service->state != SERVICE_RUNNING) {
		bool waited = service->state == SERVICE_WAITING;

		timer_disarm(&service->restart);
		service->state = SERVICE_STOPPED;
		service_answer(service, asker, waited ? WIRE_EXIT_DONE : WIRE_EXIT_NOT_RUNNING, NULL, NULL, NULL, NULL,
			       waited ? "%s will not be started again" : "%s is not running", service->name);
		return;
	}
	service->asker = asker;
	asker->service = service;
	member_stop(service);
}

/* ---- life ---- */

struct service *service_new(struct service_host *host, const char *name)
{
	struct service *service = calloc(1, sizeof(*service));

	if (!service)
		return NULL;
	service->host = host;
	service->state_file = service->save_file = -1;
	snprintf(service->name, sizeof(service->name), "%s", name);
	return service;
}

struct service *service_free(struct service *service)
{
	if (!service)
		return NULL;
	timer_disarm(&service->deadline);
	timer_disarm(&service->restart);
	timer_disarm(&service->save_timer);
	timer_disarm(&service->save_deadline);
	fd_close(service->state_file);
	fd_close(service->save_file);
	service_plan_end(service, "upgraded ends");
	if (service->asker)
		service_forget(service->asker);
	if (service->visitor)
		service_forget(service->visitor);
	roll_free(service->back);
	roll_free(service->roll);
	graveyard_bury(service->host->site.graveyard, service->instance);
	unit_free(service->unit);
	free(service);
	return NULL;
}

bool service_is_idle(const struct service *service)
{
	return !service->instance && !service->roll;
}
