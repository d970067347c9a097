/* SPDX-License-Identifier: MIT */
#include "supervisor/service/summary.h"

#include "supervisor/service/private.h"

#include <stdio.h>
#include <string.h>

#define MORE_BYTES 32u /* "; and 12 more" */

/* Return: false: there is nothing to say of it beyond whether it runs. */
static bool describe(const struct service *service, char *text, size_t size)
{
	const struct member *member = service_member(service);
	const struct roll *roll = member->back ? member->back : member->roll;
	const char *state = member_state_name(member);

	if (roll)
		snprintf(text, size, "; %s: roll %s -> %s, %s", service->name, roll_report(roll)->from, roll_report(roll)->to,
			 roll_is_baking(roll) ? "bake" : roll_phase(roll));
	else if (member->state == MEMBER_STOPPED || strcmp(state, "running") == 0)
		return false;
	else
		snprintf(text, size, "; %s: %s", service->name, state);
	return true;
}

void summary_write(const struct registry *registry, char text[static SUMMARY_BYTES])
{
	unsigned n = 0, run = 0, more = 0;
	size_t used;

	for (const struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s)) {
		n++;
		run += member_serving(service_member(s)) && service_member(s)->state == MEMBER_RUNNING;
	}
	used = (size_t)snprintf(text, SUMMARY_BYTES, n == 0 ? "no services" : "%u of %u services run", run, n);
	for (const struct service *s = registry_next(registry, NULL); s; s = registry_next(registry, s)) {
		char one[256];
		size_t bytes;

		if (!describe(s, one, sizeof(one)))
			continue;
		bytes = strlen(one);
		if (more || used + bytes + MORE_BYTES > SUMMARY_BYTES) {
			more++;
			continue;
		}
		memcpy(text + used, one, bytes + 1);
		used += bytes;
	}
	if (more)
		snprintf(text + used, SUMMARY_BYTES - used, "; and %u more", more);
}
