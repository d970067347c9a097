/* SPDX-License-Identifier: MIT */
#include "shim/state/load.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"
#include "shim/core/progress.h"
#include "shim/fds/claims.h"
#include "shim/state/application.h"
#include "shim/state/roundtrip.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One load. */
struct load {
	struct upg_loader loader;
	struct state *state;
	struct sf_reader *reader;
	struct sf_plan *plan;
	int fd;
	uint64_t deadline_us;
	uint64_t records;
	size_t *types; /* of the application, by type of the stream */
	bool tells; /* that it gets on: only the supervisor waits for it */
};

/* ---- what applications call ---- */

int upg_load_claim(struct upg_loader *loader, const char *name, uint64_t tag)
{
	return fd_table_claim(loader->fds, name, tag);
}

int upg_load_fail(struct upg_loader *loader, const char *fmt, ...)
{
	char text[sizeof(loader->why->text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	loader->failed = true;
	return why_set(loader->why, -EINVAL, "%s", text);
}

int upg_load_skip(struct upg_loader *loader, const char *fmt, ...)
{
	struct state_came *came = loader->came;
	va_list args;

	if (!came || loader->skipped)
		return 0;
	loader->skipped = true;
	if (came->skipped++)
		return 0;
	va_start(args, fmt);
	vsnprintf(came->reason, sizeof(came->reason), fmt, args);
	va_end(args);
	return 0;
}

/* The failure is in words already: load() passes it up. */
static int failed(struct upg_loader *loader, int r)
{
	if (r < 0)
		loader->failed = true;
	return r;
}

int upg_define(struct upg_loader *loader, uint64_t id, void *object)
{
	const struct upg_type *types = loader->application->config->types;

	return failed(loader, refs_define(loader->refs, types, id, loader->type, object, loader->why));
}

int upg_resolve(struct upg_loader *loader, uint64_t id, const char *type, void **where)
{
	const struct upg_type *types = loader->application->config->types, *wanted = NULL;

	if (type && !(wanted = application_type(loader->application, type)))
		return upg_load_fail(loader, "upg_resolve(): no type is called %s", type);
	return failed(loader, refs_resolve(loader->refs, types, id, wanted ? (size_t)(wanted - types) : REFS_ANY_TYPE, where,
					   loader->why));
}

/* ---- reading ---- */

static ssize_t read_state(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	const struct load *load = arg;

	for (;;) {
		struct pollfd fd = { .fd = load->fd, .events = POLLIN };
		ssize_t n = read(load->fd, buffer, size_bytes);
		int ready;

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return why_errno(why, -errno, "state transfer");
		ready = poll(&fd, 1, clock_timeout_ms(load->deadline_us));
		if (ready == 0)
			return why_set(why, -ETIMEDOUT, "the state did not come in time");
		if (ready < 0 && errno != EINTR)
			return why_errno(why, -errno, "state transfer");
	}
}

static int load_record(struct load *load, const struct sf_record *record)
{
	const struct upg_config *config = load->state->application->config;
	struct roundtrip *roundtrip = load->state->roundtrip;
	struct upg_loader *loader = &load->loader;
	const ProtobufCMessage *message;
	const struct upg_type *type;
	size_t index;
	int r;

	index = load->types[record->type];
	in_hand_set(&load->state->in_hand, index, load->state->came[index].records + 1);
	r = sf_plan_unpack(load->plan, record->type, record->data, record->size_bytes, &index, &message, loader->why);
	if (r < 0)
		return r;
	type = &config->types[index];
	loader->type = index;
	loader->came = &load->state->came[index];
	loader->came->records++;
	loader->came->bytes += record->size_bytes;
	loader->failed = loader->skipped = false;
	r = type->load ? type->load(loader, message, config->userdata) : 0;
	if (r < 0 && !loader->failed)
		why_errno(loader->why, r, "the application's load()");
	if (r < 0)
		return why_prefix(loader->why, r, "loading a %s at offset %llu", type->name,
				  (unsigned long long)record->offset);
	/* What was skipped is not there to be saved: the way back need not bring it. */
	return roundtrip && !loader->skipped ? roundtrip_note(roundtrip, record, loader->why) : 0;
}

static void tell_progress(struct load *load)
{
	char text[64];

	load->records++;
	if (!load->tells || !progress_is_due(load->state->progress))
		return;
	snprintf(text, sizeof(text), "%llu records loaded", (unsigned long long)load->records);
	progress_tell(load->state->progress, text);
}

static int load_all(struct load *load)
{
	struct why *why = load->loader.why;

	for (;;) {
		struct sf_record record;
		int r = sf_reader_next(load->reader, &record, why);

		if (r <= 0)
			return r;
		r = load_record(load, &record);
		if (r < 0)
			return r;
		tell_progress(load);
	}
}

/* Which of our types is each of the stream's? The plan knows a way for all of them. */
static int map_types(struct load *load, const struct sf_header *header)
{
	const struct application *application = load->state->application;

	load->types = calloc(header->n_schemas + 1, sizeof(*load->types));
	if (!load->types)
		return why_errno(load->loader.why, -ENOMEM, "loading");
	for (size_t i = 0; i < header->n_schemas; i++) {
		const struct upg_type *type = application_type(application, header->schemas[i].name);

		sf_reader_raise(load->reader, i, type ? type->record_max : 0);
		load->types[i] = type ? (size_t)(type - application->config->types) : 0;
	}
	return 0;
}

/* What has to be done before the first record. */
static int begin(struct load *load, state_header_fn on_header, void *arg)
{
	const struct application *application = load->state->application;
	const struct upg_config *config = application->config;
	const struct sf_header *header = sf_reader_header(load->reader);
	struct why *why = load->loader.why;
	int r;

	r = sf_plan_new(header->schemas, header->n_schemas, application->schemas, config->n_types, application->migrations,
			config->n_migrations, &load->plan, why);
	if (r == 0)
		r = map_types(load, header);
	if (r == 0 && load->state->roundtrip)
		r = roundtrip_begin(load->state->roundtrip, header, why);
	if (r == 0)
		on_header(arg, header);
	return r;
}

/* Everything has come. A round trip needs the ids once more, to save the same records. */
static int finish_refs(struct state *state, struct why *why)
{
	int r = refs_check(&state->refs, state->application->config->types, why);

	if (r == 0 && state->roundtrip)
		return refs_turn(&state->refs) < 0 ? why_errno(why, -ENOMEM, "round trip") : 0;
	refs_done(&state->refs);
	return r;
}

static void note_totals(struct state *state, const struct sf_totals *totals)
{
	state->totals.records = totals->records;
	state->totals.payload_bytes = totals->payload_bytes;
	state->totals.digest_lo = totals->digest[0];
	state->totals.digest_hi = totals->digest[1];
	for (size_t i = 0; i < state->application->config->n_types; i++)
		sizes_note(&state->sizes, i, state->came[i].records, state->came[i].bytes);
}

int state_load(struct state *state, int state_fd, const Upgraded__Wire__Receive *receive, state_header_fn on_header, void *arg,
	       struct why *why)
{
	struct load load = {
		.loader = { .application = state->application, .fds = state->fds, .refs = &state->refs, .why = why },
		.state = state, .fd = state_fd, .deadline_us = receive->deadline_us,
		/* Within a roll clients wait for this load: no progress makes TransferTimeout= longer for them. */
		.tells = receive->from_file,
	};
	struct sf_limits limits = state_limits(receive->limits);
	int r;

	state->came = calloc(state->application->config->n_types + 1, sizeof(*state->came));
	if (!state->came)
		return why_errno(why, -ENOMEM, "loading");
	r = fd_nonblock(state_fd, 1);
	if (r == 0)
		r = sf_reader_new(&limits, read_state, &load, &load.reader, why);
	if (r == 0)
		r = begin(&load, on_header, arg);
	progress_begin(state->progress);
	if (r == 0)
		r = load_all(&load);
	if (r == 0)
		r = finish_refs(state, why);
	if (r == 0)
		note_totals(state, sf_reader_totals(load.reader));
	if (r == 0)
		in_hand_clear(&state->in_hand);
	free(load.types);
	sf_plan_free(load.plan);
	sf_reader_free(load.reader);
	return r;
}

/* ---- is it all there? ---- */

static int check_counts(const struct state *state, struct why *why)
{
	const struct upg_config *config = state->application->config;

	for (size_t i = 0; i < config->n_types; i++) {
		const struct state_came *came = &state->came[i];
		char skipped[64] = "";
		uint64_t holds;

		if (!config->types[i].count)
			continue;
		holds = config->types[i].count(config->userdata);
		if (came->skipped)
			snprintf(skipped, sizeof(skipped), ", %llu of them were skipped", (unsigned long long)came->skipped);
		if (holds != came->records - came->skipped)
			return why_set(why, -EPROTO, "%llu records of %s came%s, but the application now holds %llu",
				       (unsigned long long)came->records, config->types[i].name, skipped,
				       (unsigned long long)holds);
	}
	return 0;
}

int state_check(struct state *state, struct why *why)
{
	int r = check_counts(state, why);

	if (r == 0)
		r = fd_claims_check(state->fds, why);
	if (r < 0)
		return r;
	r = state->roundtrip ? roundtrip_check(state->roundtrip, &state->refs, why) : 0;
	refs_done(&state->refs);
	return r;
}
