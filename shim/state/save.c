/* SPDX-License-Identifier: MIT */
#include "shim/state/save.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/why.h"
#include "shim/core/channel.h"
#include "shim/state/application.h"
#include "shim/state/saver.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A saver whose messages go into the state stream. */
struct stream {
	struct upg_saver saver;
	struct state *state;
	struct sf_writer *writer;
	int fd;
	uint64_t deadline_us;
};

/* ---- writing ---- */

/* Waits for room in the pipe, but not past the deadline, nor past a message from the supervisor: while state is under way it only
 * ever speaks to call the roll off. */
static int await_room(const struct stream *stream, struct why *why)
{
	struct pollfd fds[] = { { .fd = stream->fd, .events = POLLOUT }, { .fd = stream->state->channel->fd, .events = POLLIN } };

	for (;;) {
		int n = poll(fds, 2, clock_timeout_ms(stream->deadline_us));

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
	struct stream *stream = arg;
	const uint8_t *at = data;

	while (size_bytes) {
		ssize_t n = write_quietly(stream->fd, at, size_bytes);

		if (n >= 0) {
			at += n;
			size_bytes -= (size_t)n;
			continue;
		}
		if (errno == EAGAIN) {
			int r = await_room(stream, why);

			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			stream->state->reader_gone = errno == EPIPE;
			return why_errno(why, -errno, errno == EPIPE ? "nobody reads the state any more" : "state transfer");
		}
	}
	return 0;
}

static int put_in_stream(struct upg_saver *saver, size_t type, const ProtobufCMessage *message)
{
	struct stream *stream = container_of(saver, struct stream, saver);

	return sf_writer_put(stream->writer, type, message, saver->why);
}

/* ---- what is written ---- */

/* The schema that a type is written in: our own, or the older one that the receiver reads. */
static int schema_to_write(const struct application *application, size_t type, const Upgraded__Wire__Prepare *prepare,
			   struct sf_schema *ret, struct why *why)
{
	const struct sf_schema *own = &application->schemas[type];

	*ret = *own;
	if (prepare->save_only)
		return 0;
	for (size_t i = 0; i < prepare->n_targets; i++) {
		const Upgraded__Wire__Schema *target = prepare->targets[i];

		if (strcmp(target->name, own->name) != 0)
			continue;
		if (target->version >= own->version)
			return 0;
		ret->version = target->version;
		ret->fingerprint = target->fingerprint;
		ret->descriptor = application_older(application, own->name, target->version);
		if (!ret->descriptor)
			return why_set(why, -ENOENT, "no migration of %s leads down from version %u to %u", own->name,
				       own->version, target->version);
		return 0;
	}
	return why_set(why, -ENOENT, "the new version does not know the type %s", own->name);
}

static int save_types(struct stream *stream, const Upgraded__Wire__Prepare *prepare)
{
	const struct upg_config *config = stream->state->application->config;
	const struct sf_totals *sofar = sf_writer_totals(stream->writer);
	int r = 0;

	for (size_t i = 0; r == 0 && i < config->n_types; i++) {
		const struct upg_type *type = &config->types[i];
		uint64_t records = sofar->records, bytes = sofar->payload_bytes;

		stream->saver.type = stream->saver.stream_type = i;
		bool leaves_out = prepare->save_only && !prepare->checkpoint && type->process_only;

		if (type->save && !leaves_out)
			r = type->save(&stream->saver, config->userdata);
		if (r < 0)
			why_prefix(stream->saver.why, r, "saving %s", type->name);
		else if (!leaves_out)
			sizes_note(&stream->state->sizes, i, sofar->records - records, sofar->payload_bytes - bytes);
	}
	return r;
}

static int write_stream(struct stream *stream, const struct sf_schema *schemas, const Upgraded__Wire__Prepare *prepare,
			Upgraded__Wire__Totals *ret_totals)
{
	const struct upg_config *config = stream->state->application->config;
	struct sf_header header = {
		.service = config->service, .app_version = config->version, .schemas = schemas, .n_schemas = config->n_types
	};
	struct sf_limits limits = state_limits(prepare->limits);
	struct why *why = stream->saver.why;
	struct sf_totals totals;
	int r;

	r = sf_writer_new(&header, &limits, write_state, stream, &stream->writer, why);
	if (r == 0)
		r = save_types(stream, prepare);
	if (r == 0)
		r = sf_writer_finish(stream->writer, &totals, why);
	if (r == 0) {
		ret_totals->records = totals.records;
		ret_totals->payload_bytes = totals.payload_bytes;
		ret_totals->digest_lo = totals.digest[0];
		ret_totals->digest_hi = totals.digest[1];
	}
	stream->writer = sf_writer_free(stream->writer);
	return r;
}

int state_save(struct state *state, int state_fd, const Upgraded__Wire__Prepare *prepare, Upgraded__Wire__Totals *ret_totals,
	       struct why *why)
{
	const struct application *application = state->application;
	size_t n_types = application->config->n_types;
	struct stream stream = {
		.saver = { .refs = &state->refs, .put = put_in_stream, .why = why },
		.state = state, .fd = state_fd, .deadline_us = prepare->commit_deadline_us
	};
	struct sf_schema *want = calloc(n_types + 1, sizeof(*want));
	int r = want ? 0 : why_errno(why, -ENOMEM, "saving");

	for (size_t i = 0; r == 0 && i < n_types; i++)
		r = schema_to_write(application, i, prepare, &want[i], why);
	if (r == 0)
		r = sf_plan_new(application->schemas, n_types, want, n_types, application->migrations,
				application->config->n_migrations, &stream.saver.plan, why);
	if (r == 0)
		r = fd_nonblock(state_fd, 1);
	if (r == 0)
		r = write_stream(&stream, want, prepare, ret_totals);
	refs_done(&state->refs);
	sf_plan_free(stream.saver.plan);
	free(want);
	return r;
}
