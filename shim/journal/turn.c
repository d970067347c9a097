/* SPDX-License-Identifier: MIT */
/* One journal takes the place of another while all threads stand, or begins between two requests.
 *
 * The one before is left as it is to its last byte: together with the checkpoint before it, it is a way back until the next
 * checkpoint is whole, and the child that writes that one reads buffers of connections in it. So nothing is given back there. The
 * streams of a connection are counted on, so that the kernel's counters need not be read again.
 */
#include "shim/core/upg.h"
#include "shim/fds/table.h"
#include "shim/journal/buffer.h"
#include "shim/journal/conn.h"
#include "shim/journal/counters.h"
#include "shim/journal/memory.h"
#include "shim/state/application.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- connections ---- */

/* Where the kernel's counting and ours begin. @before: its record in the journal before; NULL: none. Return: flags of the
 * record. */
static uint32_t set_bases(struct upg_conn *conn, struct journal_record *record, const struct journal_record *before)
{
	struct counters counters;
	int r;

	if (before && (before->flags & JOURNAL_COUNTED) && !(before->flags & JOURNAL_UNCOVERED)) {
		record->read_base = before->read_base;
		record->written_base = before->written_base;
		return JOURNAL_COUNTED;
	}
	r = counters_read(conn->fd, &counters);
	if (r == 0) {
		record->read_base = counters.read - conn->in_end;
		record->written_base = counters.written - conn->out_sent;
		return JOURNAL_COUNTED;
	}
	if (r == -EOPNOTSUPP)
		return 0;
	conn_miss(conn, GAP_UNCOUNTED, 0);
	return JOURNAL_UNCOVERED;
}

/* Without memory for its bytes it cannot go on. */
static void give_up(struct upg_conn *conn)
{
	shutdown(conn->fd, SHUT_RDWR);
	conn->in_done = conn->in_end;
	conn->out_sent = conn->out_done = conn->out_end;
}

/* Nobody gives the old memory back: it was the journal's before, or is a copy that is freed here. */
static void turn_buffer(struct upg_conn *conn, struct conn_buffer *buffer, uint64_t from, uint64_t end)
{
	struct conn_buffer before = *buffer;
	uint8_t *room;

	*buffer = (struct conn_buffer){ .base = from };
	if (end > from) {
		room = conn_room(conn, buffer, from, from, end - from);
		if (room)
			memcpy(room, before.data + (from - before.base), end - from);
		else if (!conn->is_own)
			give_up(conn);
	}
	if (!before.at)
		free(before.data);
}

/* Does the journal before, or the library, have all bytes of it that are not dealt with? */
static bool has_bytes(const struct upg_conn *conn, const struct journal_record *before)
{
	if (!conn->is_own || (conn->in_done == conn->in_end && conn->out_sent == conn->out_end))
		return true;
	return before && !(before->flags & JOURNAL_UNCOVERED);
}

static void enter(struct upg_conn *conn, const struct fd_entry *entry, struct journal_record *record,
		  const struct journal_record *before)
{
	size_t held = conn->in_end - conn->in_done + conn->out_end - conn->out_sent;
	uint32_t flags = set_bases(conn, record, before);

	if (conn->is_own && !conn->receives)
		flags |= JOURNAL_NOTED;
	if (!has_bytes(conn, before)) {
		flags |= JOURNAL_UNCOVERED;
		conn_miss(conn, GAP_ROOM, held);
		conn->missed_bytes = held;
	}
	memcpy(record->name, entry->name, strlen(entry->name));
	record->tag = entry->tag;
	record->start_output = conn->out_done;
	atomic_store(&record->received, conn->in_end);
	atomic_store(&record->sent, conn->out_sent);
	atomic_store(&record->flags, flags);
	conn->record = record;
	conn_move_cursor(conn);
}

static void turn(struct upg_conn *conn, const struct fd_entry *entry, bool keeps_changes)
{
	const struct journal_record *before = conn->record;
	struct journal_record *record;
	uint64_t serial = 0;

	if (!keeps_changes)
		changes_clear(&conn->pending);
	/* What nobody else has a descriptor of stays so. */
	if (conn->gap != GAP_UNTOLD || entry->custody)
		conn_fill_gap(conn);
	conn->record = NULL;
	record = journal_record_take(conn->journal, &serial);
	if (record)
		enter(conn, entry, record, before);
	else
		conn_miss(conn, GAP_RECORD, 2 * CONN_BUFFER_MIN_BYTES);
	turn_buffer(conn, &conn->input, conn->in_done, conn->in_end);
	turn_buffer(conn, &conn->output, conn->out_sent, conn->out_end);
	if (record)
		atomic_store_explicit(&record->serial, serial, memory_order_release);
}

void conn_turn_all(struct journal *journal, bool keeps_changes)
{
	const struct fd_table *table = journal->fds;

	for (size_t i = 0; i < table->n_by_fd; i++)
		if (table->by_fd[i] && table->by_fd[i]->conn)
			turn(table->by_fd[i]->conn, table->by_fd[i], keeps_changes);
}

/* ---- the journal ---- */

void journal_attach_own(struct journal *journal, int fd)
{
	const struct upg_config *config = journal->application->config;

	journal_attach(journal, fd);
	journal->is_own_way = true;
	journal->no_newcomers = !config->on_conn;
	journal->unapplied = calloc(config->n_types + 1, sizeof(*journal->unapplied));
	if (!journal->unapplied) {
		journal_fail(journal, "out of memory");
		return;
	}
	for (size_t i = 0; i < config->n_types; i++)
		journal->unapplied[i] = !config->types[i].change;
}

void journal_turn(struct journal *journal, int fd)
{
	const struct upg_config *config = journal->application->config;
	struct sf_header header = {
		.service = config->service, .app_version = config->version,
		.schemas = journal->application->schemas, .n_schemas = config->n_types,
	};
	/* What a request in hand has changed so far may be in the state that is saved now; if that one does not become whole, it is
	 * in none but this journal. What was packed for another version is of no use in it. */
	bool keeps_changes = journal->is_own_way;
	struct journal_former former = journal_take_off(journal);

	journal_attach_own(journal, fd);
	journal_lay_out(journal, &header);
	/* Also without one: nothing may stay in the memory that goes now. */
	conn_turn_all(journal, keeps_changes);
	/* A process that ends before this goes on from the journal before. */
	journal_say_bound(journal);
	journal_begin(journal);
	journal_former_done(&former);
}
