/* SPDX-License-Identifier: MIT */
#include "supervisor/control/check.h"

#include "supervisor/criu/criu.h"
#include "supervisor/criu/obstacles.h"
#include "supervisor/criu/probe.h"
#include "supervisor/service/registry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define USERS_US (100 * USEC_PER_MSEC) /* the loop waits so long at most, for all services together */

/* One `check`, while CRIU is being tried. */
struct check_call {
	struct errand errand;
	struct registry *registry;
	struct asker *asker;
	struct probe probe;
};

/* What was found so far. */
struct checks {
	Upgraded__Wire__Check entries[8], *list[8];
	struct why details[8];
	size_t n;
};

static void check_add(struct checks *checks, const char *name, bool ok, const struct why *detail)
{
	Upgraded__Wire__Check *check = &checks->entries[checks->n];

	upgraded__wire__check__init(check);
	checks->details[checks->n] = *detail;
	check->name = wire_text(name);
	check->ok = ok;
	check->detail = checks->details[checks->n].text;
	checks->list[checks->n++] = check;
}

/* The version that a start without one would start, and what it needs. */
static int check_start(struct registry *registry, const struct unit *unit, struct why *why)
{
	return *unit->version ? origin_try(registry->host.origin, unit, unit->version, why) : 0;
}

/* A name service that says nothing is waited for once, and not by each service. */
static bool check_user(const struct unit *unit, uint64_t due_us, unsigned *silent, struct why *detail)
{
	uint64_t now = clock_now_us();
	bool names = *unit->user || *unit->group;
	int r = !names ? 0 : now < due_us ? unit_users_known(unit, due_us - now, detail) : UNIT_USERS_SILENT;

	*silent += r == UNIT_USERS_SILENT;
	return r >= 0;
}

static bool check_services(struct registry *registry, struct why *detail)
{
	uint64_t due_us = clock_now_us() + USERS_US;
	unsigned n = 0, silent = 0;

	if (registry_scan(registry, detail) < 0)
		return false;
	for (const struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s), n++) {
		struct unit *unit;
		bool good;

		if (unit_load(registry->host.config_dir, service_name(s), &unit, detail) < 0)
			return false;
		good = check_user(unit, due_us, &silent, detail) &&
		       (clock_now_us() >= due_us || check_start(registry, unit, detail) >= 0);
		unit_free(unit);
		if (!good)
			return false;
	}
	why_set(detail, 0, "%u in %s", n, registry->host.config_dir);
	if (silent)
		why_set(detail, 0,
			"%u in %s; whether User= and Group= of %u are known the name service did not say within %u ms", n,
			registry->host.config_dir, silent, (unsigned)(USERS_US / USEC_PER_MSEC));
	return true;
}

/* The probe tries an image of a root process; to restore another user's process takes a further capability. */
static bool check_users(struct registry *registry, struct why *detail)
{
	const char *whose = NULL;

	for (const struct service *s = registry_next(registry, NULL); s && !whose; s = registry_next(registry, s)) {
		struct unit *unit;

		if (unit_load(registry->host.config_dir, service_name(s), &unit, NULL) < 0)
			continue;
		if (*unit->user && strcmp(unit->user, "root") != 0)
			whose = service_name(s);
		unit_free(unit);
	}
	if (criu_may_restore_users()) {
		why_set(detail, 0, "processes of any user can be restored");
		return true;
	}
	why_set(detail, 0, "without CAP_SYS_RESOURCE only root's processes can be restored%s%s%s", whose ? "; " : "",
		whose ? whose : "", whose ? " sets User= and has no image as way back" : ", and no service sets User=");
	return !whose;
}

static bool check_sock_diag(const struct registry *registry, struct why *detail)
{
	if (!registry->host.site.conntable) {
		why_set(detail, 0, "no sock_diag: after a rollback every connection is reset, as nobody can tell which may go on");
		return false;
	}
	why_set(detail, 0, "sock_diag answers");
	return true;
}

/* ---- the call ---- */

/* Whether images work, and if not, what to do about it. */
static void check_images(struct checks *checks, bool ok, const struct why *found)
{
	const char *getter = ok ? NULL : criu_getter();
	struct why detail = *found;

	if (getter)
		why_set(&detail, 0, "%s. To bring a CRIU that works on this kernel, run as root: %s", found->text, getter);
	check_add(checks, "images", ok, &detail);
}

static void answer_checks(struct check_call *call, bool criu_ok, const struct why *criu_detail)
{
	struct registry *registry = call->registry;
	Upgraded__Wire__Result with = UPGRADED__WIRE__RESULT__INIT;
	struct checks checks = { .n = 0 };
	struct why detail = { 0 };
	struct utsname kernel;
	bool services_ok;

	uname(&kernel);
	why_set(&detail, 0, "%s %s", kernel.sysname, kernel.release);
	check_add(&checks, "kernel", true, &detail);
	services_ok = check_services(registry, &detail);
	check_add(&checks, "service files", services_ok, &detail);
	check_add(&checks, "connection table", check_sock_diag(registry, &detail), &detail);
	check_images(&checks, criu_ok, criu_detail);
	check_add(&checks, "images of users", check_users(registry, &detail), &detail);
	with.n_checks = checks.n;
	with.checks = checks.list;
	asker_answer(call->asker, &(struct answer){ .code = criu_ok && services_ok ? WIRE_EXIT_DONE : WIRE_EXIT_ERROR,
						    .text = criu_ok ? "rolls can go back to the parked process and to an image" :
								      "rolls run, and can go back to the parked process only",
						    .with = &with });
}

static void on_probed(struct probe *probe, bool ok, const struct why *detail)
{
	struct check_call *call = probe->owner;

	registry_set_criu(call->registry, ok, detail);
	answer_checks(call, ok, detail);
}

static void free_call(struct errand *errand)
{
	struct check_call *call = container_of(errand, struct check_call, errand);

	probe_done(&call->probe);
	free(call);
}

struct errand *check_run(const struct verb_call *verb)
{
	struct registry *registry = verb->registry;
	struct check_call *call = calloc(1, sizeof(*call));
	struct why why = { 0 };

	if (!call) {
		asker_answer(verb->asker, &(struct answer){ .code = WIRE_EXIT_ERROR, .text = "out of memory" });
		return NULL;
	}
	call->errand.free = free_call;
	call->registry = registry;
	call->asker = verb->asker;
	probe_init(&call->probe, call);
	if (probe_start(registry->host.site.loop, &call->probe, registry->criu_path, registry->work_dir, on_probed, &why) < 0)
		on_probed(&call->probe, false, &why);
	return &call->errand;
}
