/* SPDX-License-Identifier: MIT */
/* Taking the place of a process that ended.
 *
 * The checkpoint is loaded as any state is. What was closed since is not there to be claimed: the table lets sockets stand
 * in that are at their end. Then come the changes of all journals, in their order, and what the last journal that was begun
 * says of connections: when a journal takes the place of another, all that is open goes along. Connections that are younger
 * than the checkpoint are handed over last, as they may rely on the changes.
 */
#include "shim/journal/held.h"

#include "base/fd.h"
#include "base/why.h"
#include "shim/core/upg.h"
#include "shim/fds/handover.h"
#include "shim/fds/table.h"
#include "shim/journal/memory.h"
#include "shim/journal/replay_private.h"
#include "shim/state/application.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct held {
	struct journal *own;
	struct replay **replays; /* of the journals that were begun */
	size_t n;
	struct why unused;
	struct replay none; /* where there is none of use */
	uint64_t n_kept;
};

/* ---- looking ---- */

/* The process ended before anything counted in it. */
static bool was_begun(const struct replay *replay)
{
	const struct journal_header *header = replay->map;

	return !header || replay->size_bytes < sizeof(*header) || atomic_load(&header->magic);
}

static int look(struct held *held, int fd, struct why *why)
{
	struct replay *replay;
	int r = replay_new(held->own, NULL, fd, &replay, why);

	if (r < 0)
		return r;
	if (!was_begun(replay)) {
		replay_free(replay);
		return 0;
	}
	if (*replay_unused(replay) && !*held->unused.text)
		held->unused = replay->unused;
	held->replays[held->n++] = replay;
	return 0;
}

int held_new(struct journal *own, const int *fds, size_t n, struct held **ret_held, struct why *why)
{
	struct held *held = calloc(1, sizeof(*held));
	int r = 0;

	if (held)
		held->replays = calloc(n + 1, sizeof(struct replay *));
	if (!held || !held->replays) {
		free(held);
		return why_errno(why, -ENOMEM, "journals");
	}
	held->own = own;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = look(held, fds[i], why);
	if (r == 0 && !held->n)
		why_set(&held->unused, 0, "none was begun");
	held->none = (struct replay){ .own = own, .application = own->application, .unused = held->unused };
	if (r < 0)
		held = held_free(held);
	*ret_held = held;
	return r;
}

struct held *held_free(struct held *held)
{
	if (!held)
		return NULL;
	for (size_t i = 0; i < held->n; i++)
		replay_free(held->replays[i]);
	free(held->replays);
	free(held);
	return NULL;
}

/* What is known of connections: the last journal, if all are of use. */
static struct replay *last(struct held *held)
{
	return *held->unused.text ? &held->none : held->replays[held->n - 1];
}

/* ---- descriptors ---- */

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

int held_take_fd(struct held *held, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	int r;

	if (info->since && is_socket(fd) && door_kind(fd) == DOOR_NONE)
		return replay_take_newcomer(last(held), info, fd, why);
	r = fd_table_put(held->own->fds, fd, info->name, info->tag, false, true);
	if (r == -EEXIST)
		return FDS_NOT_KEPT; /* a duplicate of what came already */
	if (r < 0)
		return why_errno(why, r, "descriptor %s %llu", info->name, (unsigned long long)info->tag);
	/* Its process may have been about to close it, or have opened it since. */
	fd_table_drop(held->own->fds, info->name, info->tag);
	return 0;
}

/* ---- connections ---- */

static int empty(struct upg_conn *conn)
{
	return replay_fill(conn, NULL, 0, NULL, 0);
}

/* The application has it and sees its end. Return: 0 or -ENOMEM. */
static int give_up(struct held *held, const struct fd_entry *entry, bool ends)
{
	int fd = fcntl(entry->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		shutdown(entry->fd, SHUT_RDWR);
	else if (ends)
		replay_end(fd);
	else
		replay_lose(last(held), fd);
	return entry->conn ? empty(entry->conn) : 0;
}

/* A connection of the checkpoint. */
static int settle(struct held *held, const struct fd_entry *entry)
{
	const struct replay *replay = last(held);
	const struct journal_view_record *record = NULL;
	const uint8_t *input, *output;
	size_t input_bytes, output_bytes;

	if (entry->stand_in)
		return entry->conn ? empty(entry->conn) : 0;
	if (!entry->conn)
		return fd_is_connection(entry->fd) ? give_up(held, entry, false) : 0;
	if (!*replay_unused(replay))
		record = journal_view_find(&replay->view, entry->name, entry->tag);
	if (!record || (record->flags & JOURNAL_CLOSED))
		return give_up(held, entry, record);
	if (replay_recover(replay, record, entry->fd, &input, &input_bytes, &output, &output_bytes) < 0)
		return give_up(held, entry, false);
	held->n_kept++;
	return replay_fill(entry->conn, input, input_bytes, output, output_bytes);
}

/* The threads stand: the table does not change under us. */
static int settle_all(struct held *held, struct why *why)
{
	const struct fd_table *table = held->own->fds;
	int r = 0;

	for (size_t i = 0; r == 0 && i < table->n_by_fd; i++)
		if (table->by_fd[i] && table->by_fd[i]->claimed && table->by_fd[i]->custody | table->by_fd[i]->stand_in)
			r = settle(held, table->by_fd[i]);
	return r < 0 ? why_errno(why, r, "connections of the checkpoint") : 0;
}

/* The supervisor has duplicates of those that were adopted, too: their closes are to be told. */
static void note_custody(struct held *held)
{
	const struct fd_table *table = held->own->fds;

	for (size_t i = 0; i < table->n_by_fd; i++)
		if (table->by_fd[i] && table->by_fd[i]->conn && !table->by_fd[i]->stand_in)
			table->by_fd[i]->custody = true;
}

int held_apply(struct held *held, struct why *why)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < held->n && !*held->unused.text; i++)
		r = replay_changes(held->replays[i], why);
	if (r == 0)
		r = settle_all(held, why);
	if (r == 0)
		r = replay_adopt_all(last(held), why);
	note_custody(held);
	return r;
}

void held_tell(const struct held *held, Upgraded__Wire__Replayed *ret)
{
	for (size_t i = 0; i < held->n; i++) {
		ret->changes += held->replays[i]->n_applied;
		ret->adopted += held->replays[i]->n_adopted;
		ret->reset += held->replays[i]->n_reset;
	}
	ret->reset += held->none.n_reset;
	ret->kept = held->n_kept;
	ret->unused = (char *)(uintptr_t)held->unused.text;
}
