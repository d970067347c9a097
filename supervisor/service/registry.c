/* SPDX-License-Identifier: MIT */
#include "supervisor/service/registry.h"

#include "supervisor/service/private.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct service *registry_known(const struct registry *registry, const char *name)
{
	struct service *service = registry->services;

	while (service && strcmp(service->name, name) != 0)
		service = service->next;
	return service;
}

static struct service *add(struct registry *registry, const char *name, struct why *why)
{
	struct service **link = &registry->services, *service = service_new(&registry->host, name);

	if (!service) {
		why_errno(why, -ENOMEM, "%s", name);
		return NULL;
	}
	/* In the order of names, which is how they are listed. */
	while (*link && strcmp((*link)->name, name) < 0)
		link = &(*link)->next;
	service->next = *link;
	*link = service;
	return service;
}

struct service *registry_find(struct registry *registry, const char *name, struct why *why)
{
	struct service *service;
	char path[4096];

	if (unit_name_check("service", name, why) < 0)
		return NULL;
	service = registry_known(registry, name);
	if (service)
		return service;
	snprintf(path, sizeof(path), "%s/%s" UNIT_SUFFIX, registry->host.config_dir, name);
	if (access(path, F_OK) < 0) {
		why_errno(why, -errno, "%s", path);
		return NULL;
	}
	return add(registry, name, why);
}

struct service *registry_keep(struct registry *registry, const char *name, struct why *why)
{
	struct service *service = registry_known(registry, name);

	if (service || unit_name_check("service", name, why) < 0)
		return service;
	return add(registry, name, why);
}

struct service *registry_next(const struct registry *registry, const struct service *service)
{
	return service ? service->next : registry->services;
}

static bool is_at_rest(const struct service *service)
{
	for (const struct member *member = service->members; member; member = member->next)
		if (!member_is_idle(member) || member->state == MEMBER_WAITING)
			return false;
	return !service->asker;
}

/* What has neither a process nor a file any more is no service. */
static void forget_removed(struct registry *registry)
{
	struct service **link = &registry->services;

	while (*link) {
		struct service *service = *link;
		char path[4096];

		snprintf(path, sizeof(path), "%s/%s" UNIT_SUFFIX, registry->host.config_dir, service->name);
		if (is_at_rest(service) && access(path, F_OK) < 0) {
			*link = service->next;
			service_free(service);
		} else {
			link = &service->next;
		}
	}
}

int registry_scan(struct registry *registry, struct why *why)
{
	DIR *dir = opendir(registry->host.config_dir);
	struct dirent *entry;

	if (!dir)
		return why_errno(why, -errno, "%s", registry->host.config_dir);
	while ((entry = readdir(dir))) {
		char name[UNIT_NAME_MAX + 1];
		size_t n = strlen(entry->d_name), suffix = strlen(UNIT_SUFFIX);

		if (n <= suffix || n - suffix > UNIT_NAME_MAX || strcmp(entry->d_name + n - suffix, UNIT_SUFFIX) != 0)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(n - suffix), entry->d_name);
		if (unit_name_check("service", name, NULL) == 0 && !registry_known(registry, name))
			add(registry, name, why);
	}
	closedir(dir);
	forget_removed(registry);
	if (registry->host.on_change)
		registry->host.on_change(registry->host.change_arg);
	return 0;
}

void registry_set_criu(struct registry *registry, bool ok, const struct why *detail)
{
	registry->criu_ok = ok;
	registry->criu_detail = *detail;
	registry->host.criu_detail = &registry->criu_detail;
	registry->host.site.criu_path = ok ? registry->criu_path : NULL;
	if (ok)
		log_info("images: %s", detail->text);
	else
		log_warning("images cannot be taken here; the way back is the parked process alone: %s", detail->text);
}

void registry_done(struct registry *registry)
{
	while (registry->services) {
		struct service *service = registry->services;

		registry->services = service->next;
		service_free(service);
	}
}
