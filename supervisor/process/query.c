/* SPDX-License-Identifier: MIT */
#include "supervisor/process/query.h"

#include "supervisor/process/instance.h"

void query_ask(struct query *query, struct instance *instance)
{
	Upgraded__Wire__AskRegistered ask = UPGRADED__WIRE__ASK_REGISTERED__INIT;
	Upgraded__Wire__AppMessage message =
		APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_REGISTERED, .ask_registered = &ask);

	query->of = instance;
	query->next = instance->queries;
	instance->queries = query;
	/* One that does not read gets no more than one question. */
	if (instance->registered.asked)
		return;
	instance->registered.asked = true;
	instance_send(instance, &message, NULL, 0);
}

void query_forget(struct query *query)
{
	if (!query->of)
		return;
	for (struct query **link = &query->of->queries; *link; link = &(*link)->next) {
		if (*link == query) {
			*link = query->next;
			break;
		}
	}
	query->of = NULL;
}

void query_told(struct instance *instance)
{
	while (instance->queries) {
		struct query *query = instance->queries;

		query_forget(query);
		query->on_told(query);
	}
}
