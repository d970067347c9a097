/* SPDX-License-Identifier: MIT */
#include "supervisor/control/verbs.h"

#include "supervisor/control/check.h"
#include "supervisor/control/client.h"
#include "supervisor/control/images.h"
#include "supervisor/service/registry.h"
#include "supervisor/service/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer_statuses(struct client *client, const struct service *only)
{
	struct registry *registry = client->registry;
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	Upgraded__Wire__ServiceStatus **list;
	struct status *statuses;
	size_t n = 0, i = 0;

	for (const struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s))
		n++;
	statuses = calloc(n + 1, sizeof(*statuses));
	list = calloc(n + 1, sizeof(*list));
	if (statuses && list) {
		for (const struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s)) {
			if (only && s != only)
				continue;
			service_status(s, &statuses[i]);
			list[i] = &statuses[i].message;
			i++;
		}
		result.n_services = i;
		result.services = list;
		if (only && service_is_idle(only))
			result.code = WIRE_EXIT_NOT_RUNNING;
		client_send_result(client, &result);
	} else {
		client_answer(client, WIRE_EXIT_ERROR, "out of memory", NULL, NULL);
	}
	for (size_t k = 0; statuses && k < i; k++)
		status_done(&statuses[k]);
	free(list);
	free(statuses);
}

static const char *roll_request_parse(const Upgraded__Wire__Request *request, struct roll_request *ret)
{
	*ret = (struct roll_request){ .bake_us = request->bake_us, .require_image = request->require_image };
	snprintf(ret->version, sizeof(ret->version), "%s", request->version);
	ret->sets_rollback = *request->rollback;
	ret->sets_verify = *request->verify;
	if (ret->sets_rollback && !unit_rollback_parse(request->rollback, &ret->rollback))
		return "rollback is one of auto, parked, image, none; verify is none or roundtrip";
	if (ret->sets_verify && !unit_verify_parse(request->verify, &ret->verify))
		return "rollback is one of auto, parked, image, none; verify is none or roundtrip";
	if (strcmp(request->way, "parked") == 0)
		ret->way = UNDO_PARKED;
	else if (strcmp(request->way, "image") == 0)
		ret->way = UNDO_IMAGE;
	else if (*request->way && strcmp(request->way, "live") != 0)
		return "way is one of live, parked, image";
	return NULL;
}

static void handle_service_verb(struct client *client, const Upgraded__Wire__Request *request, struct wire_fds *fds)
{
	struct why why = { 0 };
	struct roll_request parsed;
	const char *complaint;
	struct service *service = registry_find(client->registry, request->service, &why);

	if (!service) {
		bool bad_name = unit_name_check("service", request->service, NULL) < 0;
		char text[256];

		snprintf(text, sizeof(text), bad_name ? "that is no service name" : "there is no service %s", request->service);
		client_answer(client,
		       bad_name ? WIRE_EXIT_USAGE : WIRE_EXIT_NO_SUCH_SERVICE,
		       text, why.text, "upgradectl list shows the services");
		return;
	}
	complaint = roll_request_parse(request, &parsed);
	if (complaint) {
		client_answer(client, WIRE_EXIT_USAGE, complaint, NULL, NULL);
		return;
	}
	client->asker.wait_commit = request->wait_commit;
	switch ((int)request->verb) {
	case UPGRADED__WIRE__VERB__VERB_START:
		if (request->from_file && !fds->n)
			client_answer(client, WIRE_EXIT_USAGE, "start --from came without a file", NULL, NULL);
		else
			service_start(service, request->version, request->from_file ? wire_fds_claim(fds, 0) : -1,
				      &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_STOP:
		service_stop(service, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_ROLL:
		service_roll(service, &parsed, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_SAVE:
		if (!fds->n)
			client_answer(client, WIRE_EXIT_USAGE, "save came without a file to write to", NULL, NULL);
		else
			service_save(service, wire_fds_claim(fds, 0), &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_UNDO:
		service_undo(service, &parsed, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_PLAN:
		service_plan(service, &parsed, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_PACK:
		service_pack(service, &client->asker);
		break;
	default:
		answer_statuses(client, service);
	}
}

static bool version_is_fit(const Upgraded__Wire__Request *request, struct why *why)
{
	if (*request->version)
		return unit_name_check("version", request->version, why) == 0;
	if (request->verb != UPGRADED__WIRE__VERB__VERB_ROLL && request->verb != UPGRADED__WIRE__VERB__VERB_PLAN)
		return true;
	why_set(why, 0, "roll and plan need a version");
	return false;
}

void verbs_handle(struct client *client, const Upgraded__Wire__Request *request, struct wire_fds *fds)
{
	struct registry *registry = client->registry;
	struct why why = { 0 };

	if (request->protocol != WIRE_PROTOCOL) {
		why_set(&why, 0, "upgradectl speaks protocol %u, upgraded speaks %u", request->protocol, WIRE_PROTOCOL);
		client_answer(client, WIRE_EXIT_ERROR, "upgradectl and upgraded are of different versions", why.text,
		       "install both from one release");
		return;
	}
	if (!version_is_fit(request, &why)) {
		client_answer(client, WIRE_EXIT_USAGE, "that is no version name", why.text, NULL);
		return;
	}
	switch ((int)request->verb) {
	case UPGRADED__WIRE__VERB__VERB_STATUS:
		if (*request->service) {
			handle_service_verb(client, request, fds);
			break;
		}
		/* fall through */
	case UPGRADED__WIRE__VERB__VERB_LIST:
		if (registry_scan(registry, &why) < 0)
			client_answer(client, WIRE_EXIT_ERROR, "the services cannot be listed", why.text,
			       "is the configuration directory there?");
		else
			answer_statuses(client, NULL);
		break;
	case UPGRADED__WIRE__VERB__VERB_CHECK:
		check_start(client);
		break;
	case UPGRADED__WIRE__VERB__VERB_IMAGES_LIST:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_VERIFY:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_GC:
		client->images = images_call_start(registry, request, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_START:
	case UPGRADED__WIRE__VERB__VERB_STOP:
	case UPGRADED__WIRE__VERB__VERB_ROLL:
	case UPGRADED__WIRE__VERB__VERB_UNDO:
	case UPGRADED__WIRE__VERB__VERB_SAVE:
	case UPGRADED__WIRE__VERB__VERB_PLAN:
	case UPGRADED__WIRE__VERB__VERB_PACK:
		handle_service_verb(client, request, fds);
		break;
	default:
		client_answer(client, WIRE_EXIT_USAGE, "upgraded does not know this verb", NULL,
		       "install upgradectl and upgraded from one release");
	}
}
