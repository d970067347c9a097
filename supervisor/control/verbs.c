/* SPDX-License-Identifier: MIT */
#include "supervisor/control/verbs.h"

#include "supervisor/control/check.h"
#include "supervisor/control/client.h"
#include "supervisor/control/images.h"
#include "supervisor/service/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer_statuses(struct client *client, const struct service *only)
{
	struct registry *registry = client->registry;
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	struct status_scratch *scratches;
	Upgraded__Wire__ServiceStatus *statuses, **list;
	size_t n = 0, i = 0;

	for (const struct service *s = registry->services; s; s = s->next)
		n++;
	scratches = calloc(n + 1, sizeof(*scratches));
	statuses = calloc(n + 1, sizeof(*statuses));
	list = calloc(n + 1, sizeof(*list));
	if (scratches && statuses && list) {
		for (const struct service *s = registry->services; s; s = s->next) {
			if (only && s != only)
				continue;
			service_status(s, &statuses[i], &scratches[i]);
			list[i] = &statuses[i];
			i++;
		}
		result.n_services = i;
		result.services = list;
		if (only && strcmp(statuses[0].state, "running") != 0 && service_is_idle(only))
			result.code = WIRE_EXIT_NOT_RUNNING;
		client_send_result(client, &result);
	} else {
		client_answer(client, WIRE_EXIT_ERROR, "out of memory", NULL, NULL);
	}
	free(list);
	free(statuses);
	free(scratches);
}

static void handle_service_verb(struct client *client, const Upgraded__Wire__Request *request, struct wire_fds *fds)
{
	struct why why = { 0 };
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
		service_roll(service, request, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_SAVE:
		service_save(service, wire_fds_claim(fds, 0), &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_UNDO:
		service_undo(service, request, &client->asker);
		break;
	case UPGRADED__WIRE__VERB__VERB_PLAN:
		service_plan(service, request, &client->asker);
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
