/* SPDX-License-Identifier: MIT */
/* State out of this process and into it: the application's callbacks on one side, the state stream on the other.
 *
 * The side that knows the newer schema migrates. Going up that is the reader, who was built later. Going down it is the writer: the
 * version that is being left knows how its records looked before, the one that takes over never heard of them.
 */
#include "shim/core/upg.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what both directions need ---- */

static int migrate_by_application(struct sf_step *step, const ProtobufCMessage *from, ProtobufCMessage *to, void *arg)
{
	const struct upg_migration *migration = arg;

	/* struct upg_step is the public name of struct sf_step: upg_step_alloc() casts it back. */
	return migration->migrate((struct upg_step *)(void *)step, from, to);
}

void *upg_step_alloc(struct upg_step *step, size_t size_bytes)
{
	return sf_step_alloc((struct sf_step *)(void *)step, size_bytes);
}

int upg_step_fail(struct upg_step *step, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return sf_step_fail((struct sf_step *)(void *)step, "%s", text);
}

/* The application's migrations as statefmt knows them; the caller frees. */
struct sf_migration *transfer_migrations(const struct upg_config *config)
{
	struct sf_migration *all = calloc(config->n_migrations + 1, sizeof(*all));

	for (size_t i = 0; all && i < config->n_migrations; i++) {
		const struct upg_migration *m = &config->migrations[i];

		all[i] = (struct sf_migration){
			.type = m->type,
			.from = m->from,
			.to = m->to,
			.from_descriptor = m->from_descriptor,
			.to_descriptor = m->to_descriptor,
			.migrate = migrate_by_application,
			.arg = (void *)(uintptr_t)m,
		};
	}
	return all;
}

static struct sf_schema own_schema(const struct upg_type *type)
{
	return (struct sf_schema){
		.name = type->name,
		.version = type->version,
		.descriptor = type->descriptor,
		.fingerprint = sf_fingerprint(type->descriptor),
	};
}

struct sf_schema *transfer_schemas(const struct upg_config *config)
{
	struct sf_schema *schemas = calloc(config->n_types + 1, sizeof(*schemas));

	for (size_t i = 0; schemas && i < config->n_types; i++)
		schemas[i] = own_schema(&config->types[i]);
	return schemas;
}

/* ---- saving ---- */

/* Waits for room in the pipe, but not past the deadline, nor past a word from the supervisor: while state is under way it only
 * ever speaks to call the roll off. */
static int await_room(struct upg_saver *saver, struct why *why)
{
	struct pollfd fds[] = { { .fd = saver->state_fd, .events = POLLOUT }, { .fd = saver->upg->channel->fd, .events = POLLIN } };

	for (;;) {
		int n = poll(fds, 2, clock_timeout_ms(saver->deadline_us));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return why_errno(why, -errno, "state transfer");
		if (n == 0)
			return why_set(why, -ETIMEDOUT, "the state was not taken over in time");
		if (fds[1].revents)
			return why_set(why, -ECANCELED, "the roll was called off during the transfer");
		return 0;
	}
}

/* A write to a pipe that nobody reads raises SIGPIPE, which ends an application that does not expect one. It goes to the
 * thread that writes: held off here and taken away, it reaches nobody. */
static ssize_t write_quietly(int fd, const void *data, size_t size_bytes)
{
	static const struct timespec at_once;
	sigset_t broken_pipe, pending, before;
	ssize_t n;
	int error;

	sigemptyset(&broken_pipe);
	sigaddset(&broken_pipe, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
	n = write(fd, data, size_bytes);
	error = errno;
	if (n < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&broken_pipe, NULL, &at_once) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return n;
}

static int write_state(void *arg, const void *data, size_t size_bytes, struct why *why)
{
	struct upg_saver *saver = arg;
	const uint8_t *at = data;

	while (size_bytes) {
		ssize_t n = write_quietly(saver->state_fd, at, size_bytes);

		if (n >= 0) {
			at += n;
			size_bytes -= (size_t)n;
			continue;
		}
		if (errno == EAGAIN) {
			int r = await_room(saver, why);

			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			saver->upg->reader_gone = errno == EPIPE;
			return why_errno(why, -errno, errno == EPIPE ? "nobody reads the state any more" : "state transfer");
		}
	}
	return 0;
}

static int put_in_stream(struct upg_saver *saver, size_t type, const ProtobufCMessage *message)
{
	return sf_writer_put(saver->writer, type, message, &saver->upg->why);
}

int upg_save(struct upg_saver *saver, const ProtobufCMessage *message)
{
	const ProtobufCMessage *out = message;
	size_t want;
	int r;

	if (saver->upg->refs.failed)
		return why_errno(&saver->upg->why, saver->upg->refs.failed, "numbering objects for upg_ref()");
	r = sf_plan_convert(saver->plan, saver->type, message, &want, &out, &saver->upg->why);
	return r < 0 ? r : saver->put(saver, saver->stream_type, out);
}

const ProtobufCMessageDescriptor *transfer_older_descriptor(const struct upg_config *config, const char *type,
							    uint32_t version)
{
	for (size_t i = 0; i < config->n_migrations; i++)
		if (strcmp(config->migrations[i].type, type) == 0 && config->migrations[i].to == version)
			return config->migrations[i].to_descriptor;
	return NULL;
}

/* The schema a type is written in: our own, or an older one if that is what the receiver reads. */
static int schema_to_write(const struct upg_config *config, const struct upg_type *type,
			   const Upgraded__Wire__Prepare *prepare, struct sf_schema *ret, struct why *why)
{
	*ret = own_schema(type);
	if (prepare->save_only)
		return 0;
	for (size_t i = 0; i < prepare->n_targets; i++) {
		const Upgraded__Wire__Schema *target = prepare->targets[i];

		if (strcmp(target->name, type->name) != 0)
			continue;
		if (target->version >= type->version)
			return 0;
		ret->version = target->version;
		ret->fingerprint = target->fingerprint;
		ret->descriptor = transfer_older_descriptor(config, type->name, target->version);
		if (!ret->descriptor)
			return why_set(why, -ENOENT, "no migration of %s leads down from version %u to %u", type->name,
				       type->version, target->version);
		return 0;
	}
	return why_set(why, -ENOENT, "the new version does not know the type %s", type->name);
}

/* What the supervisor allows; it need not say. */
static struct sf_limits limits_of(const Upgraded__Wire__Limits *limits)
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

static int save_types(struct upg_saver *saver, const struct sf_schema *schemas, const Upgraded__Wire__Prepare *prepare,
		      Upgraded__Wire__Totals *ret_totals)
{
	struct upg *upg = saver->upg;
	const struct upg_config *config = upg->config;
	struct sf_header header = {
		.service = config->service, .app_version = config->version, .schemas = schemas, .n_schemas = config->n_types
	};
	struct sf_limits limits = limits_of(prepare->limits);
	struct sf_totals totals;
	int r;

	r = sf_writer_new(&header, &limits, write_state, saver, &saver->writer, &upg->why);
	for (size_t i = 0; r == 0 && i < config->n_types; i++) {
		saver->type = saver->stream_type = i;
		if (config->types[i].save && !(prepare->save_only && config->types[i].process_only))
			r = config->types[i].save(saver, config->userdata);
		if (r < 0)
			why_prefix(&upg->why, r, "saving %s", config->types[i].name);
	}
	if (r == 0)
		r = sf_writer_finish(saver->writer, &totals, &upg->why);
	if (r == 0) {
		ret_totals->records = totals.records;
		ret_totals->payload_bytes = totals.payload_bytes;
		ret_totals->digest_lo = totals.digest[0];
		ret_totals->digest_hi = totals.digest[1];
	}
	saver->writer = sf_writer_free(saver->writer);
	return r;
}

int transfer_save(struct upg *upg, int state_fd, const Upgraded__Wire__Prepare *prepare,
		  Upgraded__Wire__Totals *ret_totals)
{
	const struct upg_config *config = upg->config;
	struct upg_saver saver = {
		.upg = upg, .put = put_in_stream, .state_fd = state_fd, .deadline_us = prepare->commit_deadline_us
	};
	struct sf_schema *have = transfer_schemas(config), *want = calloc(config->n_types + 1, sizeof(*want));
	struct sf_migration *migrations = transfer_migrations(config);
	int r = have && want && migrations ? 0 : why_errno(&upg->why, -ENOMEM, "saving");

	for (size_t i = 0; r == 0 && i < config->n_types; i++)
		r = schema_to_write(config, &config->types[i], prepare, &want[i], &upg->why);
	if (r == 0)
		r = sf_plan_new(have, config->n_types, want, config->n_types, migrations, config->n_migrations, &saver.plan,
				&upg->why);
	if (r == 0)
		r = fd_nonblock(state_fd, 1);
	if (r == 0)
		r = save_types(&saver, want, prepare, ret_totals);
	refs_done(&upg->refs);
	sf_plan_free(saver.plan);
	free(migrations);
	free(want);
	free(have);
	return r;
}

/* ---- loading ---- */

static ssize_t read_state(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	struct upg_loader *loader = arg;

	for (;;) {
		struct pollfd fd = { .fd = loader->state_fd, .events = POLLIN };
		ssize_t n = read(loader->state_fd, buffer, size_bytes);
		int ready;

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return why_errno(why, -errno, "state transfer");
		ready = poll(&fd, 1, clock_timeout_ms(loader->deadline_us));
		if (ready == 0)
			return why_set(why, -ETIMEDOUT, "the state did not come in time");
		if (ready < 0 && errno != EINTR)
			return why_errno(why, -errno, "state transfer");
	}
}

int upg_load_claim(struct upg_loader *loader, const char *name, uint64_t tag)
{
	return fd_table_claim(loader->upg->fds, name, tag);
}

int upg_load_fail(struct upg_loader *loader, const char *fmt, ...)
{
	char text[sizeof(loader->upg->why.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	loader->failed = true;
	return why_set(&loader->upg->why, -EINVAL, "%s", text);
}

static int load_record(struct upg_loader *loader, struct sf_plan *plan, const struct sf_record *record)
{
	struct upg *upg = loader->upg;
	const ProtobufCMessage *message;
	const struct upg_type *type;
	size_t index;
	int r;

	r = sf_plan_unpack(plan, record->type, record->data, record->size_bytes, &index, &message, &upg->why);
	if (r < 0)
		return r;
	if (upg->roundtrip && (r = roundtrip_note(upg, record)) < 0)
		return r;
	type = &upg->config->types[index];
	loader->type = index;
	upg->loaded[index]++;
	if (!type->load)
		return 0;
	loader->failed = false;
	r = type->load(loader, message, upg->config->userdata);
	if (r < 0 && !loader->failed)
		why_errno(&upg->why, r, "the application's load()");
	return r < 0 ? why_prefix(&upg->why, r, "loading a %s at offset %llu", type->name,
				  (unsigned long long)record->offset) :
		       0;
}

static void tell_progress(struct upg_loader *loader)
{
	char text[64];

	loader->records++;
	if (!loader->tells || !progress_is_due(loader->upg->progress))
		return;
	snprintf(text, sizeof(text), "%llu records loaded", (unsigned long long)loader->records);
	progress_tell(loader->upg->progress, text);
}

static int load_all(struct upg_loader *loader, struct sf_reader *reader)
{
	struct upg *upg = loader->upg;
	const struct upg_config *config = upg->config;
	const struct sf_header *header = sf_reader_header(reader);
	struct sf_schema *want = transfer_schemas(config);
	struct sf_migration *migrations = transfer_migrations(config);
	struct sf_plan *plan = NULL;
	int r = want && migrations ? 0 : why_errno(&upg->why, -ENOMEM, "loading");

	if (r == 0)
		r = sf_plan_new(header->schemas, header->n_schemas, want, config->n_types, migrations, config->n_migrations,
				&plan, &upg->why);
	if (r == 0 && upg->roundtrip)
		r = roundtrip_begin(upg, header);
	if (r == 0)
		journal_bind(upg, header);
	while (r == 0) {
		struct sf_record record;
		int next = sf_reader_next(reader, &record, &upg->why);

		if (next <= 0) {
			r = next;
			break;
		}
		r = load_record(loader, plan, &record);
		tell_progress(loader);
	}
	sf_plan_free(plan);
	free(migrations);
	free(want);
	return r;
}

/* Everything has come. What had which id is kept for as long as it takes to save it all once more. */
static int finish_refs(struct upg *upg)
{
	int r = refs_check(&upg->refs, upg->config->types, &upg->why);

	if (r == 0 && upg->roundtrip)
		return refs_turn(&upg->refs) < 0 ? why_errno(&upg->why, -ENOMEM, "round trip") : 0;
	refs_done(&upg->refs);
	return r;
}

int transfer_load(struct upg *upg, int state_fd, const Upgraded__Wire__Receive *receive)
{
	struct upg_loader loader = { .upg = upg, .state_fd = state_fd, .deadline_us = receive->deadline_us };
	struct sf_limits limits = limits_of(receive->limits);
	struct sf_reader *reader = NULL;
	int r;

	/* Within a roll clients wait for this load: no progress makes TransferTimeout= longer for them. */
	loader.tells = receive->from_file;
	upg->loaded = calloc(upg->config->n_types + 1, sizeof(*upg->loaded));
	if (!upg->loaded)
		return why_errno(&upg->why, -ENOMEM, "loading");
	r = fd_nonblock(state_fd, 1);
	if (r == 0)
		r = sf_reader_new(&limits, read_state, &loader, &reader, &upg->why);
	if (r == 0)
		r = load_all(&loader, reader);
	if (r == 0)
		r = finish_refs(upg);
	if (r == 0) {
		const struct sf_totals *totals = sf_reader_totals(reader);

		upg->totals.records = totals->records;
		upg->totals.payload_bytes = totals->payload_bytes;
		upg->totals.digest_lo = totals->digest[0];
		upg->totals.digest_hi = totals->digest[1];
	}
	sf_reader_free(reader);
	return r;
}

int transfer_check(struct upg *upg)
{
	const struct upg_config *config = upg->config;
	const struct fd_entry *example;
	size_t unclaimed;
	int r;

	for (size_t i = 0; i < config->n_types; i++) {
		uint64_t holds;

		if (!config->types[i].count)
			continue;
		holds = config->types[i].count(config->userdata);
		if (holds != upg->loaded[i])
			return why_set(&upg->why, -EPROTO, "%llu records of %s came, but the application now holds %llu",
				       (unsigned long long)upg->loaded[i], config->types[i].name, (unsigned long long)holds);
	}
	unclaimed = fd_table_unclaimed(upg->fds, &example);
	if (unclaimed)
		return why_set(&upg->why, -EPROTO, "%zu descriptors were not claimed, among them %s %llu", unclaimed,
			       example->name, (unsigned long long)example->tag);
	r = upg->roundtrip ? roundtrip_check(upg) : 0;
	refs_done(&upg->refs);
	return r;
}
