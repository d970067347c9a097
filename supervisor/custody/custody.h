/* SPDX-License-Identifier: MIT */
/* The duplicates of a service's descriptors that the supervisor keeps while a roll may still go back. */
#pragma once

#include "base/fd_ref.h"
#include "base/door.h"
#include "supervisor/custody/conntable.h"
#include "wire/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct why;

struct custody_entry {
	char *name;
	uint64_t tag;
	struct fd_ref *ref; /* custody is one owner; a message that waits to be sent may be another */
	struct conn_id id;
	uint64_t since; /* the last checkpoint before the process opened it; 0: there was none */
	bool is_tcp; /* a TCP connection, whose progress can be told from the kernel's counters */
	enum door door;    /* what it was when it came; an old version that goes on needs all of its own */
	struct door_place *place; /* of a door */
	bool optional;     /* the version that takes over never had it, and need not claim it */
	bool since_commit; /* the new version opened it: the old one never knew it */
	bool closed;       /* a door that the application closed, and that is kept for the version before */
	bool lent;         /* custody_lend_doors(): whoever handed the others over never had it */
	bool given_up;     /* not to be handed back, but to be reset when there is time */
	bool known_moved;  /* custody_note_moved() has seen that it moved: no need to ask again */
	bool moved;        /* for a resume with a journal: something was read or written since the commit, or nobody can tell */
};

struct custody {
	struct custody_entry *entries;
	size_t n, cap;
	size_t most;  /* so many descriptors a process of the service may have open; 0: not known */
	size_t noted; /* where custody_note_moved() goes on */
};

/* What custody leaves free of the supervisor's descriptors, for whatever else there is to do: two full messages and a little more.
 * Of what is free beside that, one custody takes two thirds at most, so that the next service finds room, too. */
#define CUSTODY_RESERVE 512u

/** custody_take() - Take the descriptors of one Fds message out of @fds. Return: 0; -EPROTO if names and descriptors do not match
 * in number, or a name is too long; -EMFILE if there are more than the process may have, or than there is room for; -ENOMEM. What
 * was taken stays taken. */
int custody_take(struct custody *custody, const Upgraded__Wire__Fds *message, struct wire_fds *fds, struct why *why);

/** custody_add() - One descriptor, whatever there is room for. @name: copied. Return: borrowed until custody changes; NULL: memory
 * is out, and @fd_consume is closed. */
struct custody_entry *custody_add(struct custody *custody, const char *name, uint64_t tag, int fd_consume);

/** custody_closed() - The application closed its own descriptors of these names and tags: close the duplicates. But a door
 * (base/door.h) that it was handed stays as long as custody does, since the version before comes back with it. */
void custody_closed(struct custody *custody, Upgraded__Wire__FdInfo *const *fds, size_t n);

/** custody_lend_doors() - Put what the application closed and @from keeps into @to as well, under a name and a tag that are free
 * there. Return: how many, few enough for one message; where memory is out, fewer. */
size_t custody_lend_doors(const struct custody *from, struct custody *to);

/** custody_drop_at() - Close one duplicate. With @reset the peer of a connection gets a RST at once, whoever else holds it. Moves
 * the last entry to @i. */
void custody_drop_at(struct custody *custody, size_t i, bool reset);

/** custody_end_connections() - Close all sockets that are no doors, so that their peers see it at once, whoever else holds them. */
void custody_end_connections(struct custody *custody);

/** custody_drop_files() - Close all that are no sockets, but for those that @keep says yes to. */
void custody_drop_files(struct custody *custody, bool (*keep)(int fd, void *userdata), void *userdata);

/** custody_reset_given_up() - Close those that are given up, with a RST. */
void custody_reset_given_up(struct custody *custody);

/** custody_reopen() - Before it is handed back: what the application shut down listens again. Return: true; false: nothing comes in
 * by @entry any more. Also true for what is no door. */
bool custody_reopen(const struct custody_entry *entry);

/** custody_clear() - Close all; those that are given up with a RST. */
void custody_clear(struct custody *custody);

/** custody_sample() - Sample how far each TCP connection has come, in about a tenth of a second at most. Connections that are known
 * to have moved are left out. @ret_sample stays empty when the kernel does not tell: then every connection counts as moved. */
void custody_sample(struct custody *custody, struct conntable *table, struct conn_sample *ret_sample);

/** custody_was_written() - Was anything written on a connection since @before? In about a tenth of a second at most. */
bool custody_was_written(const struct custody *custody, struct conntable *table, const struct conn_sample *before);

/** custody_note_moved() - Look at the next @at_most connections, and mark those that moved since @before as known to have moved. A
 * connection that moved has moved for good, so a later custody_sample() has fewer to ask for. Return: false if none is left to look
 * at. */
bool custody_note_moved(struct custody *custody, struct conntable *table, const struct conn_sample *before, size_t at_most);
