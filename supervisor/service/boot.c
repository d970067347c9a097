/* SPDX-License-Identifier: MIT */
/* Start=boot: a service that is started with upgraded, and by nobody's order. */
#include "supervisor/service/private.h"

#include <errno.h>
#include <string.h>

/* Return: what is to be started: what served last, or what the file names; NULL: neither says anything. */
static const char *version_of(const struct service *service, const struct unit *unit)
{
	if (*service->version)
		return service->version;
	return *unit->version ? unit->version : NULL;
}

static void start(struct service *service, struct unit *unit, const char *version)
{
	struct member *member = service_member(service);
	bool has_other = *unit->version && strcmp(version, unit->version) != 0;

	history_clear(&service->history); /* the state is gone, as after a stop */
	service_set_version(service, version, unit);
	log_info("%s: version %s starts with upgraded (Start=boot)", service->name, service->version);
	/* A package may have replaced the program while the machine was down. */
	if (member_start_unasked(member, !has_other) != -ENOENT || !has_other)
		return;
	log_warning("%s: %s; it served last, and cannot be started: Version=%s is started in its place", service->name,
		    member->failure.text, unit->version);
	service_set_version(service, unit->version, unit);
	(void)member_start_unasked(member, true);
}

void service_start_at_boot(struct service *service)
{
	bool wanted = service->starts_with_us && service_is_idle(service) && service_member(service)->state == MEMBER_STOPPED;
	struct why why = { 0 };
	const char *version;
	struct unit *unit;
	int r;

	service->starts_with_us = false;
	if (!wanted)
		return;
	r = unit_load(service->host->config_dir, service->name, &unit, &why);
	if (r < 0) {
		/* What is known by what is left of it alone has no file. */
		if (r != -ENOENT)
			log_error("%s: its service file cannot be used, so it is not started: %s", service->name, why.text);
		return;
	}
	version = version_of(service, unit);
	if (unit->starts_at_boot && version)
		start(service, unit, version);
	else if (unit->starts_at_boot)
		log_error("%s: it is not started: it has not served yet, and %s sets no Version=", service->name, unit->path);
	unit_free(unit);
}
