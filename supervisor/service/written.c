/* SPDX-License-Identifier: MIT */
/* What the logbook has of a service, and a service whose process lived on while no supervisor ran. */
#include "supervisor/logbook/logbook.h"
#include "supervisor/process/regain.h"
#include "supervisor/service/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- written ---- */

static void release_past(Upgraded__Logbook__Past *past, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(past[i].unit_text.data);
}

/* *@ret_n: how many versions are in @past, also on failure. One whose file nobody knows is left out, as it could not be started.
 * Return: 0 or -ENOMEM: then it is not all of them. */
static int list_past(const struct history *history, Upgraded__Logbook__Past *past, Upgraded__Logbook__Past **list, size_t *ret_n)
{
	size_t n = *ret_n = 0;

	for (size_t i = 0; i < history->n; i++) {
		char *text;

		if (!history->units[i])
			continue;
		if (unit_text(history->units[i], &text) < 0)
			return -ENOMEM;
		upgraded__logbook__past__init(&past[n]);
		past[n].version = (char *)(uintptr_t)history->versions[i];
		past[n].unit_path = history->units[i]->path;
		past[n].unit_text = (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
		list[n] = &past[n];
		*ret_n = ++n;
	}
	return 0;
}

void service_write_down(const struct service *service)
{
	Upgraded__Logbook__Service what = UPGRADED__LOGBOOK__SERVICE__INIT;
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;
	Upgraded__Logbook__Past past[HISTORY_MAX], *list[HISTORY_MAX];
	const struct member *member = service_member(service);
	struct why why = { 0 };
	int r;

	service_changed(service);
	if (!service->host->logbook)
		return;
	what.name = (char *)(uintptr_t)service->name;
	what.wanted = member->state == MEMBER_RUNNING || member->state == MEMBER_WAITING;
	what.serving = member->instance ? spawner_serial(member->instance) : 0;
	r = list_past(&service->history, past, list, &what.n_history);
	what.history = list;
	what.written_us = logbook_now_us();
	what.rolls = service->rolls;
	what.version = (char *)(uintptr_t)service->version;
	what.ended_with_us = service->ends_with_us && !what.wanted;
	what.boot_id = (char *)(uintptr_t)regain_boot();
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_SERVICE;
	entry.service = &what;
	/* What runs goes on, and is found by its own entry. */
	r = r < 0 ? why_errno(&why, r, "the versions before") : logbook_write(service->host->logbook, &entry, &why);
	if (r < 0)
		log_service(WARNING, service->name, "what is wanted of it could not be written down: %s", why.text);
	else if (member->instance)
		instance_tell_note(member->instance);
	release_past(past, what.n_history);
}

/* ---- and read again ---- */

static int remember(struct service *service, const Upgraded__Logbook__Past *past, struct why *why)
{
	int r = unit_name_check("version", past->version, why);
	struct unit *unit;

	if (r == 0)
		r = unit_parse_bytes(service->name, past->unit_path, past->unit_text.data, past->unit_text.len, &unit, why);
	if (r == -ENOMEM)
		return r;
	if (r == 0) {
		history_move(&service->history, past->version, unit, "");
		unit_free(unit);
	} else {
		log_service(WARNING, service->name, "undo cannot go back to version %s any more: %s", past->version,
			    why->text);
	}
	return 0;
}

int service_remember(struct service *service, const Upgraded__Logbook__Service *what, struct why *why)
{
	int r = 0;

	service->rolls = what->rolls;
	service->starts_with_us = what->ended_with_us || strcmp(what->boot_id, regain_boot()) != 0;
	if (unit_name_check("version", what->version, NULL) == 0)
		service_set_version(service, what->version, NULL);
	for (size_t i = 0; r == 0 && i < what->n_history; i++)
		r = remember(service, what->history[i], why);
	return r;
}

void service_roll_was_cut(struct service *service)
{
	service->roll_was_cut = true;
}

void service_await_return(struct service *service, pid_t pid)
{
	struct member *member = service_member(service);

	member->state = MEMBER_RETURNING;
	why_set(&member->failure, 0, "pid %d was started before upgraded was, and has not answered yet", (int)pid);
}

void service_come_back(struct service *service, struct instance *instance, const char *left, struct unit *unit_left)
{
	struct member *member = service_member(service);

	*member->failure.text = 0;
	service_set_version(service, instance->version, instance->unit);
	/* The roll under way had committed. */
	if (left && strcmp(left, instance->version) != 0)
		history_move(&service->history, left, unit_left, instance->version);
	member_come_back(member, instance);
	log_service(INFO, service->name, "version %s (pid %d) serves, and did so while upgraded was away",
		    instance->version, (int)instance->pid);
	service_tell(service, "adopted", LOG_LEVEL_INFO, instance, "version %s serves, and did so while upgraded was away",
		     instance->version);
	service_write_down(service);
	service_stop_if_wanted(service);
}

void service_end_away(struct service *service, const char *version, struct unit *unit, bool wanted, const char *how)
{
	struct member *member = service_member(service);

	service_set_version(service, version, unit);
	why_set(&member->failure, 0, "version %s ended while upgraded was away%s", version, how);
	service_tell(service, "crashed", LOG_LEVEL_ERROR, NULL, "%s", member->failure.text);
	if (!wanted || service->stop_wanted) {
		member->state = MEMBER_STOPPED;
		log_service(INFO, service->name, "%s", member->failure.text);
	} else if (unit->restart == RESTART_NO) {
		member->state = MEMBER_FAILED;
		log_service(ERROR, service->name, "%s", member->failure.text);
	} else {
		member_start_again(member);
	}
	service_write_down(service);
	service_stop_if_wanted(service);
}
