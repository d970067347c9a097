/* SPDX-License-Identifier: MIT */
/* A bake outlives a supervisor that is killed: while it is on, a file says all that is in memory alone. Descriptors are found in
 * the version that serves, which has them as well, and which holds the channel to the parked one for us. */
#include "supervisor/process/carried.h"
#include "supervisor/process/regain.h"
#include "supervisor/roll/carried.h"
#include "supervisor/service/carried.h"
#include "supervisor/service/private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *path_of(const struct service *service, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", service->host->bakes, service->name);
	return path;
}

static int write_bake(struct service *service, struct why *why)
{
	Upgraded__Carry__Header header = UPGRADED__CARRY__HEADER__INIT;
	char path[PATH_MAX];
	struct carry *carry;
	int r = carry_new(&carry, why);

	if (r < 0)
		return r;
	header.boot_id = wire_text(regain_boot());
	carry_put_header(carry, &header);
	service_put(service, carry);
	r = carry_write(carry, path_of(service, path), why);
	carry_free(carry);
	return r;
}

void service_forget_bake(const struct service *service)
{
	char path[PATH_MAX];

	if (service->host->bakes && unlink(path_of(service, path)) < 0 && errno != ENOENT)
		log_warning("%s: %s; a supervisor that is started anew might take a bake for one that is on", path,
			    strerror(errno));
}

void service_on_bake(struct roll *roll, bool on)
{
	const struct member *member = roll_owner(roll);
	struct service *service = member->service;
	struct why why = { 0 };

	/* Within another bake that one counts: it has the ways back. */
	if (!service->host->bakes || member->roll != roll)
		return;
	if (!on)
		service_forget_bake(service);
	else if (write_bake(service, &why) < 0)
		log_service(WARNING, service->name, "%s; should upgraded be killed, this bake is over", why.text);
}

/* ---- read again ---- */

int service_open_bake(const struct service *service, struct carry_finder *finder, struct carry **ret_carry, struct why *why)
{
	char path[PATH_MAX];
	int r = service->host->bakes ? carry_open_file(path_of(service, path), finder, ret_carry, why) : -ENOENT;

	if (r < 0)
		return r;
	if (strcmp(carry_header(*ret_carry)->boot_id, regain_boot()) == 0 &&
	    carry_next(*ret_carry, UPGRADED__CARRY__ITEM__WHAT_ROLL, NULL))
		return 0;
	*ret_carry = carry_free(*ret_carry);
	return why_set(why, -ENOENT, "it is of another start of the machine");
}

int service_bake_on(struct service *service, struct carry *carry, struct instance *old, struct instance *new, struct why *why)
{
	const Upgraded__Carry__Item *item = carry_next(carry, UPGRADED__CARRY__ITEM__WHAT_ROLL, NULL);
	struct member *member = service_member(service);
	int r;

	service_set_version(service, new->version, new->unit);
	r = roll_take_left(&service->host->site, carry, item, old, new, service_roll_events((enum roll_purpose)item->roll->purpose),
			   member, &member->roll, why);
	if (r < 0)
		return r;
	member_go_on(member, MEMBER_RUNNING, NULL, 0);
	service_listen_go_on(service);
	*member->failure.text = 0;
	log_service(INFO, service->name,
		    "version %s (pid %d) serves, and did so while upgraded was away; its bake goes on, and version %s "
		    "(pid %d) "
		    "lies parked",
		    new->version, (int)new->pid, old->version, (int)old->pid);
	service_write_down(service);
	service_stop_if_wanted(service);
	return 0;
}
