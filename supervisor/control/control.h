/* SPDX-License-Identifier: MIT */
/* The control socket: upgradectl's requests, and the answers. */
#pragma once

#include "supervisor/criu/probe.h"
#include "supervisor/service/service.h"

struct control;

/* The services, and what `check` finds out; owned by the daemon. */
struct registry {
	struct service_host host;
	struct service *services;
	const char *criu_path;  /* to be tried; may be unusable */
	const char *work_dir;   /* for probes */
	bool criu_ok;
	struct why criu_detail; /* version and times, or why not */
};

/** control_open() - Listen at @path. Return: 0; -EADDRINUSE: another upgraded answers there; -errno. */
int control_open(struct registry *registry, const char *path, struct control **ret_control, struct why *why);

/** control_close() - Stop listening, drop the clients. Return: NULL. */
struct control *control_close(struct control *control);

/** registry_find() - The service of that name; made when there is a file for it. NULL with the reason in @why. */
struct service *registry_find(struct registry *registry, const char *name, struct why *why);

/** registry_scan() - Know every service that has a file. Return: 0 or -errno. */
int registry_scan(struct registry *registry, struct why *why);

/** registry_set_criu() - What a probe found: images are taken from now on, or not. */
void registry_set_criu(struct registry *registry, bool ok, const struct why *detail);
