/* SPDX-License-Identifier: MIT */
/* Taking over from a successor that failed.
 *
 * First the journal is checked as far as possible: its structure and checksums, and for each of its types that a way leads to one
 * of ours, and that the application can apply its changes. If anything is wrong, this process resumes as without a journal, and
 * connections that have moved are reset. Then come the descriptors, then the changes, in the order of their effects, and last the
 * connections that the successor had accepted, as these may rely on the changes.
 */
#include "shim/journal/replay_private.h"

#include "base/fd.h"
#include "base/why.h"
#include "shim/fds/handover.h"
#include "shim/fds/shed.h"
#include "shim/journal/conn.h"
#include "shim/journal/counters.h"
#include "shim/journal/memory.h"
#include "shim/journal/view.h"
#include "shim/state/application.h"
#include "shim/state/load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- looking ---- */

/* Only sealed memory: who can shorten a mapping ends its reader with SIGBUS. */
static int map_journal(struct replay *replay, int fd, struct why *why)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *map;

	if (fd < 0)
		return why_set(why, -EBADMSG, "it did not come");
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0)
		return why_set(why, -EBADMSG, "it is no sealed memory");
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return why_errno(why, -errno, "mapping it");
	replay->map = map;
	replay->size_bytes = (size_t)st.st_size;
	return 0;
}

static int plan_types(struct replay *replay, struct why *why)
{
	const struct application *application = replay->application;
	const struct upg_config *config = application->config;
	const struct journal_view *view = &replay->view;
	struct sf_schema *have = calloc(view->n_types + 1, sizeof(*have));
	int r = 0;

	if (!have)
		r = why_errno(why, -ENOMEM, "journal");
	for (size_t i = 0; r == 0 && i < view->n_types; i++) {
		have[i].name = view->types[i].name;
		have[i].version = view->types[i].version;
		have[i].fingerprint = view->types[i].fingerprint;
	}
	if (r == 0)
		r = sf_plan_new(have, view->n_types, application->schemas, config->n_types, application->migrations,
				config->n_migrations, &replay->plan, why);
	free(have);
	return r;
}

/* The application must have a change() for each type that has changed. */
static int check_appliers(const struct replay *replay, struct why *why)
{
	struct journal_view_place place = { 0 };
	struct journal_view_change change;

	while (journal_view_next(&replay->view, &place, &change)) {
		const struct upg_type *type = application_type(replay->application, replay->view.types[change.type].name);

		if (type && !type->change)
			return why_set(why, -ENOENT, "changes of %s are in it, which this version cannot apply", type->name);
	}
	return 0;
}

int replay_new(struct journal *own, struct shed *shed, int fd, struct replay **ret_replay, struct why *why)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	struct why unused = { 0 };
	int r;

	if (!replay)
		return why_errno(why, -ENOMEM, "resume");
	replay->own = own;
	replay->shed = shed;
	replay->application = own->application;
	r = map_journal(replay, fd, &unused);
	if (r == 0)
		r = journal_view_open(&replay->view, replay->map, replay->size_bytes, &unused);
	if (r == 0)
		r = plan_types(replay, &unused);
	if (r == 0)
		r = check_appliers(replay, &unused);
	if (r != 0)
		replay->unused = unused;
	*ret_replay = replay;
	return 0;
}

struct replay *replay_free(struct replay *replay)
{
	if (!replay)
		return NULL;
	for (size_t i = 0; i < replay->n_newcomers; i++)
		fd_close(replay->newcomers[i].fd);
	free(replay->newcomers);
	sf_plan_free(replay->plan);
	journal_view_done(&replay->view);
	if (replay->map)
		munmap(replay->map, replay->size_bytes);
	free(replay);
	return NULL;
}

const char *replay_unused(const struct replay *replay)
{
	return replay->unused.text;
}

void replay_counts(const struct replay *replay, uint64_t *ret_changes, uint64_t *ret_adopted, uint64_t *ret_reset)
{
	*ret_changes = replay->n_applied;
	*ret_adopted = replay->n_adopted;
	*ret_reset = replay->n_reset;
}

/* ---- descriptors ---- */

void replay_reset(struct replay *replay, int fd)
{
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	struct linger linger = { .l_onoff = 1 };
	int listening = 0;
	socklen_t size = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && !listening) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		if (connect(fd, &nowhere, sizeof(nowhere)) < 0)
			shutdown(fd, SHUT_RDWR);
	}
	fd_close(fd);
	replay->n_reset++;
}

void replay_end(int fd)
{
	shutdown(fd, SHUT_RDWR);
	fd_close(fd);
}

int replay_recover(const struct replay *replay, const struct journal_view_record *record, int fd, const uint8_t **ret_input,
		   size_t *ret_input_bytes, const uint8_t **ret_output, size_t *ret_output_bytes)
{
	uint64_t received = record->received, sent = record->sent;
	struct counters counters = { .is_over = true };

	if (record->flags & JOURNAL_UNCOVERED)
		return -EBADMSG;
	if ((record->flags & JOURNAL_COUNTED) && counters_read(fd, &counters) < 0)
		return -EBADMSG;
	/* Of a connection that is over the counters say nothing, and its peer gets no answer any more: the notes will do. */
	if (!counters.is_over) {
		received = counters.read - record->read_base;
		sent = counters.written - record->written_base;
		if (received < record->received || ((record->flags & JOURNAL_NOTED) && received > record->received))
			return -EBADMSG;
		if (counters.is_shut && sent == record->cursor.output + 1)
			sent--;
	}
	return journal_view_pieces(&replay->view, record, received, sent, ret_input, ret_input_bytes, ret_output,
				   ret_output_bytes);
}

int replay_fill(struct upg_conn *conn, const uint8_t *input, size_t input_bytes, const uint8_t *output, size_t output_bytes)
{
	/* Forget what the connection held, also the output of a request in hand. A program that holds the bytes itself finds by
	 * upg_conn_is_own() that there are others. */
	conn->is_own = false;
	if (conn->record) { /* in the journal of this process, as if all of it had been sent */
		conn->record->written_base -= conn->out_end - conn->out_sent;
		atomic_store(&conn->record->sent, conn->out_end);
		atomic_fetch_and(&conn->record->flags, ~(uint32_t)JOURNAL_NOTED);
	}
	conn->in_done = conn->in_end;
	conn->out_sent = conn->out_done = conn->out_end;
	return upg_conn_restore(conn, input, input_bytes, output, output_bytes);
}

/* Whether the successor has handled anything of this connection. */
static bool was_handled(const struct journal_view_record *record)
{
	return record->cursor.input || record->sent || record->cursor.output != record->start_output;
}

/* Whether this connection held nothing at the roll that the successor could have handled, unseen by the journal. */
static bool is_at_rest(const struct upg_conn *conn)
{
	return conn->in_done == conn->in_end && conn->out_sent == conn->out_done;
}

/* Give up a connection that the journal does not know. Perhaps the successor has closed it: then its last bytes are still to
 * arrive, which a reset would throw away. */
void replay_lose(struct replay *replay, int fd)
{
	struct counters counters = { 0 };

	if (counters_read(fd, &counters) == 0 && (counters.is_shut || counters.is_over))
		replay_end(fd);
	else
		replay_reset(replay, fd);
}

/* Take back a buffered connection that this version had. */
static int take_conn(struct replay *replay, struct fd_entry *entry, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	const struct journal_view_record *record = journal_view_find(&replay->view, info->name, info->tag);
	const uint8_t *input, *output;
	size_t input_bytes, output_bytes;

	if (record && (record->flags & JOURNAL_CLOSED)) {
		replay_end(fd);
		return 0;
	}
	/* The successor reused the tag for a new connection: it is not the one that this version had. */
	if (record && (record->flags & JOURNAL_FRESH)) {
		replay_reset(replay, fd);
		return 0;
	}
	if (!record) {
		if (!info->moved && is_at_rest(entry->conn))
			return shed_restore(replay->shed, info, fd, why);
		replay_lose(replay, fd);
		return 0;
	}
	if (replay_recover(replay, record, fd, &input, &input_bytes, &output, &output_bytes) < 0) {
		if (info->moved || was_handled(record)) {
			replay_reset(replay, fd);
			return 0;
		}
		return shed_restore(replay->shed, info, fd, why);
	}
	if (replay_fill(entry->conn, input, input_bytes, output, output_bytes) < 0)
		return why_errno(why, -ENOMEM, "resume");
	return shed_restore(replay->shed, info, fd, why);
}

int replay_take_newcomer(struct replay *replay, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	const struct journal_view_record *record = NULL;

	if (!*replay_unused(replay))
		record = journal_view_find(&replay->view, info->name, info->tag);
	if (record && (record->flags & JOURNAL_CLOSED)) {
		replay_end(fd);
		return 0;
	}
	if (!record) {
		replay_lose(replay, fd);
		return 0;
	}
	if (!replay->application->config->on_conn) {
		replay_reset(replay, fd);
		return 0;
	}
	if (replay->n_newcomers == replay->cap_newcomers) {
		size_t cap = replay->cap_newcomers ? replay->cap_newcomers * 2 : 16;
		struct newcomer *grown = realloc(replay->newcomers, cap * sizeof(*grown));

		if (!grown)
			return why_errno(why, -ENOMEM, "resume");
		replay->newcomers = grown;
		replay->cap_newcomers = cap;
	}
	replay->newcomers[replay->n_newcomers++] = (struct newcomer){ record, fd };
	return 0;
}

int replay_take_fd(struct replay *replay, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	struct fd_entry *entry = fd_table_find(replay->own->fds, info->name, info->tag);

	if (!entry)
		return replay_take_newcomer(replay, info, fd, why);
	if (entry->shed && entry->conn && !*replay_unused(replay))
		return take_conn(replay, entry, info, fd, why);
	if (entry->shed && info->moved) {
		replay_reset(replay, fd);
		return 0;
	}
	return shed_restore(replay->shed, info, fd, why);
}

/* ---- changes ---- */

static int apply_change(struct replay *replay, struct upg_loader *loader, const struct journal_view_change *change)
{
	const struct upg_config *config = replay->application->config;
	struct why *why = loader->why;
	const ProtobufCMessage *message;
	const struct upg_type *type;
	int r;

	r = sf_plan_unpack(replay->plan, change->type, change->data, change->size_bytes, &loader->type, &message, why);
	if (r < 0)
		return r;
	type = &config->types[loader->type];
	loader->failed = false;
	r = type->change(loader, change->change, message, config->userdata);
	if (r < 0 && !loader->failed)
		why_errno(why, r, "the application's change()");
	return r < 0 ? why_prefix(why, r, "change %" PRIu64 " of a %s", replay->n_applied + 1, type->name) : 0;
}

int replay_changes(struct replay *replay, struct why *why)
{
	struct refs refs = { 0 };
	struct upg_loader loader = { .application = replay->application, .fds = replay->own->fds, .refs = &refs, .why = why };
	struct journal_view_place place = { 0 };
	struct journal_view_change change;
	int r = 0;

	while (r == 0 && journal_view_next(&replay->view, &place, &change)) {
		r = apply_change(replay, &loader, &change);
		if (r == 0)
			replay->n_applied++;
	}
	refs_done(&refs);
	return r < 0 ? why_prefix(why, r, "applying the journal") : 0;
}

/* ---- newcomers ---- */

/* Hand a connection over that the successor had accepted. Return: 0: it was taken or reset; -ENOMEM. Owns the descriptor. */
static int adopt(struct replay *replay, const struct newcomer *newcomer)
{
	const struct journal_view_record *record = newcomer->record;
	const struct upg_config *config = replay->application->config;
	const uint8_t *input, *output;
	size_t input_bytes, output_bytes;
	struct upg_conn *conn;
	int r;

	if (replay_recover(replay, record, newcomer->fd, &input, &input_bytes, &output, &output_bytes) < 0) {
		replay_reset(replay, newcomer->fd);
		return 0;
	}
	r = conn_open(replay->own, newcomer->fd, record->name, record->tag, &conn);
	if (r < 0) {
		replay_reset(replay, newcomer->fd);
		return r == -ENOMEM ? r : 0;
	}
	/* A version to come would make the same tag again, and this connection and that one would be taken for one. */
	fd_table_note_tag(replay->own->fds, record->tag);
	r = replay_fill(conn, input, input_bytes, output, output_bytes);
	if (r == 0 && config->on_conn(conn, record->name, record->tag, config->userdata) == 0) {
		replay->n_adopted++;
		return 0;
	}
	/* A duplicate for the reset, as closing the connection takes its descriptor along. */
	replay_reset(replay, fcntl(newcomer->fd, F_DUPFD_CLOEXEC, 0));
	upg_conn_close(conn, -1);
	return r;
}

int replay_adopt_all(struct replay *replay, struct why *why)
{
	while (replay->n_newcomers) {
		int r = adopt(replay, &replay->newcomers[--replay->n_newcomers]);

		if (r < 0)
			return why_errno(why, r, "resume");
	}
	return 0;
}

int replay_apply(struct replay *replay, struct why *why)
{
	int r;

	if (*replay_unused(replay))
		return 0;
	r = replay_changes(replay, why);
	return r < 0 ? r : replay_adopt_all(replay, why);
}
