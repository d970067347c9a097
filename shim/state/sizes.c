/* SPDX-License-Identifier: MIT */
#include "shim/state/sizes.h"

#include "shim/state/application.h"

#include <errno.h>
#include <stdlib.h>

void sizes_init(struct sizes *sizes, const struct application *application)
{
	*sizes = (struct sizes){ .application = application };
}

void sizes_done(struct sizes *sizes)
{
	free(sizes->last);
	free(sizes->expected);
	sizes->last = sizes->expected = NULL;
}

static bool make_room(const struct sizes *sizes, struct type_size **list)
{
	if (!*list)
		*list = calloc(sizes->application->config->n_types + 1, sizeof(**list));
	return *list != NULL;
}

void sizes_note(struct sizes *sizes, size_t type, uint64_t records, uint64_t bytes)
{
	if (make_room(sizes, &sizes->last))
		sizes->last[type] = (struct type_size){ .records = records, .bytes = bytes, .known = true };
}

static struct type_size size_now(const struct sizes *sizes, size_t type)
{
	const struct upg_config *config = sizes->application->config;
	struct type_size last = { 0 }, now;

	if (sizes->last)
		last = sizes->last[type];
	if (!config->types[type].count)
		return last;
	now = (struct type_size){ .records = config->types[type].count(config->userdata), .known = true };
	if (last.records)
		now.bytes = (uint64_t)((double)last.bytes / (double)last.records * (double)now.records);
	return now;
}

void sizes_tell(const struct sizes *sizes, struct sizes_told *ret)
{
	const struct upg_config *config = sizes->application->config;

	ret->n = 0;
	for (size_t i = 0; i < config->n_types && ret->n < SIZES_TOLD_MAX; i++) {
		struct type_size size = size_now(sizes, i);
		Upgraded__Wire__Count *count = &ret->counts[ret->n];

		if (!size.known)
			continue;
		upgraded__wire__count__init(count);
		count->type = (char *)(uintptr_t)config->types[i].name;
		count->records = size.records;
		count->bytes = size.bytes;
		ret->list[ret->n++] = count;
	}
}

void sizes_expect(struct sizes *sizes, Upgraded__Wire__Count *const *counts, size_t n)
{
	if (!make_room(sizes, &sizes->expected))
		return;
	for (size_t i = 0; i < n; i++) {
		const struct upg_type *type = application_type(sizes->application, counts[i]->type);

		if (type)
			sizes->expected[type - sizes->application->config->types] =
				(struct type_size){ .records = counts[i]->records, .bytes = counts[i]->bytes, .known = true };
	}
}

int sizes_expected(const struct sizes *sizes, const char *type, struct type_size *ret_size)
{
	const struct upg_config *config = sizes->application->config;
	const struct upg_type *wanted = type ? application_type(sizes->application, type) : NULL;
	struct type_size sum = { 0 };

	if (type && !wanted)
		return -EINVAL;
	for (size_t i = 0; sizes->expected && i < config->n_types; i++) {
		if (wanted && wanted != &config->types[i])
			continue;
		sum.records += sizes->expected[i].records;
		sum.bytes += sizes->expected[i].bytes;
		sum.known |= sizes->expected[i].known;
	}
	if (!sum.known)
		return -ENOENT;
	*ret_size = sum;
	return 0;
}
