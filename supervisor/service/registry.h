/* SPDX-License-Identifier: MIT */
/* The services there are: those with a file in the configuration directory, and those that still run without one. */
#pragma once

#include "supervisor/service/service.h"

/* Owned by the daemon. */
struct registry {
	struct service_host host;
	struct service *services; /* see registry_next() */
	const char *criu_path;  /* to be tried; may be unusable */
	const char *work_dir;   /* for probes */
	bool criu_ok;
	struct why criu_detail; /* version and times, or why not */
	const char *version;    /* of upgraded */
	/* Another program is to take our place; @program: "": the file that we were started from. NULL: this cannot be. */
	void (*roll_self)(void *daemon, const char *program, struct asker *asker);
	void (*forget_self)(void *daemon, const struct asker *asker);
	/* At the next SIGTERM the services are left running, or not. Return: within how many seconds that is to come; 0: it cannot
	 * be any more. */
	unsigned (*leave)(void *daemon, bool leaves);
	void *daemon;
	bool leaving; /* it has come: nothing new is begun */
};

/** registry_find() - The service of that name; made when there is a file for it. NULL with the reason in @why. */
struct service *registry_find(struct registry *registry, const char *name, struct why *why);

/** registry_known() - As registry_find(), but only one that is known already. Return: NULL: it is not. */
struct service *registry_known(const struct registry *registry, const char *name);

/** registry_keep() - As registry_find(), also where there is no file: something of it is left from before. */
struct service *registry_keep(struct registry *registry, const char *name, struct why *why);

/** registry_next() - The one after @service (NULL: the first), in the order of names. Return: NULL: there is no other. */
struct service *registry_next(const struct registry *registry, const struct service *service);

/** registry_scan() - Know every service that has a file. Return: 0 or -errno. */
int registry_scan(struct registry *registry, struct why *why);

/** registry_set_criu() - What a probe found: images are taken from now on, or not. */
void registry_set_criu(struct registry *registry, bool ok, const struct why *detail);

/** registry_done() - Forget every service; what runs is ended, and not waited for. */
void registry_done(struct registry *registry);
