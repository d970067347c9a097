/* SPDX-License-Identifier: MIT */
#include "shim/state/state.h"

#include "shim/state/application.h"
#include "shim/state/roundtrip.h"

#include <stdlib.h>

void state_init(struct state *state, const struct application *application, struct channel *channel, struct fd_table *fds,
		struct progress *progress)
{
	*state = (struct state){ .application = application, .channel = channel, .fds = fds, .progress = progress };
	upgraded__wire__totals__init(&state->totals);
	sizes_init(&state->sizes, application);
}

void state_done(struct state *state)
{
	roundtrip_free(state->roundtrip);
	state->roundtrip = NULL;
	refs_done(&state->refs);
	sizes_done(&state->sizes);
	in_hand_unmap(&state->in_hand);
	free(state->came);
	state->came = NULL;
}

void state_list_skipped(const struct state *state, struct state_skipped *ret)
{
	const struct upg_config *config = state->application->config;

	ret->n = 0;
	for (size_t i = 0; state->came && i < config->n_types && ret->n < STATE_SKIPPED_MAX; i++) {
		Upgraded__Wire__Skipped *skipped = &ret->skipped[ret->n];

		if (!state->came[i].skipped)
			continue;
		upgraded__wire__skipped__init(skipped);
		skipped->type = (char *)(uintptr_t)config->types[i].name;
		skipped->records = state->came[i].skipped;
		skipped->reason = state->came[i].reason;
		ret->list[ret->n++] = skipped;
	}
}

struct sf_limits state_limits(const Upgraded__Wire__Limits *limits)
{
	struct sf_limits allowed = sf_limits_default;

	if (limits && limits->record_bytes)
		allowed.record_bytes = limits->record_bytes;
	if (limits && limits->types)
		allowed.types = limits->types;
	if (limits)
		allowed.stream_bytes = limits->stream_bytes;
	return allowed;
}
