/* SPDX-License-Identifier: MIT */
#include "shim/state/state.h"

#include "shim/state/roundtrip.h"

#include <stdlib.h>

void state_init(struct state *state, const struct application *application, struct channel *channel, struct fd_table *fds,
		struct progress *progress)
{
	*state = (struct state){ .application = application, .channel = channel, .fds = fds, .progress = progress };
	upgraded__wire__totals__init(&state->totals);
}

void state_done(struct state *state)
{
	roundtrip_free(state->roundtrip);
	state->roundtrip = NULL;
	refs_done(&state->refs);
	free(state->loaded);
	state->loaded = NULL;
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
