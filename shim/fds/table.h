/* SPDX-License-Identifier: MIT */
/* The table of the descriptors that move, by (name, tag) and by number. */
#pragma once

#include "base/door.h"
#include "shim/fds/gaps.h"
#include "wire/wire.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FD_NAME_MAX 64u

struct channel;
struct upg_conn;

struct fd_entry {
	char *name;
	uint64_t tag;
	uint64_t since; /* the last checkpoint before it was opened here; 0: none */
	int fd;
	bool own_make; /* made here, and not handed to us */
	bool optional; /* nobody here need claim it */
	bool given;    /* the supervisor has opened it for the service, and did not hand it over from anybody */
	bool claimed; /* false: handed to us, and nobody asked for it yet */
	bool custody; /* the supervisor holds a duplicate: a close must be told */
	bool fresh;   /* opened since the commit, and the supervisor has no duplicate yet */
	bool shed;    /* parked: /dev/null stands at its number */
	bool gap;     /* counted as one that the journal does not cover, for it is not buffered */
	bool stand_in; /* nothing was handed over: it was closed since the checkpoint */
	bool lost;    /* /dev/null still stands there after a resume: it is in no epoll set */
	enum door door; /* of what was shed */
	int cloexec;  /* of what was shed: O_CLOEXEC or 0 */
	struct upg_conn *conn; /* what buffers it, or NULL */
	struct fd_entry *next; /* in its hash bucket */
};

struct fd_table {
	struct channel *channel;
	/* From the commit of a roll until its bake is over, the supervisor gets a duplicate of what is opened. */
	atomic_bool announces;
	struct gaps gaps;
	/* Guards all that follows. The locks of the gaps and of the channel may be taken under it, and no other. While every thread
	 * stands, the one that does not may read without it. */
	pthread_mutex_t lock;
	struct fd_entry **buckets;
	size_t n_buckets, n_entries;
	struct fd_entry **by_fd; /* n_by_fd of them, indexed by number */
	size_t n_by_fd;
	bool more_may_come; /* upg_receive() may bring listeners: the owner's */
	bool stands_in;     /* what is claimed and did not come is at its end: fd_table_claim(). The owner's */
	bool leaves;        /* this process does not serve any more: nothing of what it closes is told */
	uint64_t checkpoint; /* the number of the last one; 0: there was none. Changes while all threads stand */
	uint64_t last_tag; /* that the library made, here or in a version before */
	/* announce.c: closed, and the supervisor has not been told yet because its channel was full. */
	Upgraded__Wire__FdInfo *closed;
	size_t n_closed, cap_closed;
	/* announce.c: what it is to have duplicates of, likewise. */
	struct fresh_fd {
		struct fd_entry *entry;
		int fd; /* a duplicate, owned: the number may be another descriptor's before it is sent */
	} *fresh;
	size_t cap_fresh;
	atomic_size_t n_fresh;
	/* traffic.c: connections that were closed, and what was told of them and of those that are open. */
	uint64_t unanswered, told_unanswered;
	uint64_t answered, told_answered; /* 0 or 1 */
	/* Numbers of lost sockets that the application closed while its threads stood. */
	int *spent;
	size_t n_spent, cap_spent;
};

/** fd_table_init() - @channel, borrowed: where the supervisor is told of closes. Return: 0 or -ENOMEM; fd_table_done() in both
 * cases. */
int fd_table_init(struct fd_table *table, struct channel *channel);
/** fd_table_done() - Release the table, and close what nobody claimed. Also fine for a table of zeros. */
void fd_table_done(struct fd_table *table);

/** fd_table_put() - Register @fd. Return: 0; -EEXIST: the name with this tag, or the number, is taken; -EINVAL: the name is empty
 * or too long; -EBADF; -ENOMEM. */
int fd_table_put(struct fd_table *table, int fd, const char *name, uint64_t tag, bool claimed, bool custody);
/** fd_table_new_tag() - Make a tag that no version has used for @name yet, but for what applications number themselves. */
uint64_t fd_table_new_tag(struct fd_table *table, const char *name);
/** fd_table_note_tag() - A version that is gone has made @tag: the ones to come begin behind it. */
void fd_table_note_tag(struct fd_table *table, uint64_t tag);
/** fd_table_put_conn() - Note that @conn buffers @fd, which is registered for that unless it is under this name and tag.
 * @ret_claimed: whether the supervisor holds a duplicate, as it was handed to us. Return: as fd_table_put(); -EEXIST also if
 * another connection buffers it. */
int fd_table_put_conn(struct fd_table *table, int fd, const char *name, uint64_t tag, struct upg_conn *conn, bool *ret_claimed);
/** fd_table_claim() - Take over what a predecessor handed to us. Return: the fd, owned by the caller; -ENOENT. But while the table
 * stands in, a socket at which there is nothing to come any more takes the place of what is not there. */
int fd_table_claim(struct fd_table *table, const char *name, uint64_t tag);
struct fd_entry *fd_table_find(struct fd_table *table, const char *name, uint64_t tag);
/** fd_table_drop() - What was handed to us under this name and not claimed need not be. Return: 0; -ENOENT. */
int fd_table_drop(struct fd_table *table, const char *name, uint64_t tag);

/** fd_is_connection() - Is it a TCP connection? */
bool fd_is_connection(int fd);
/** fd_table_find_gaps() - Count the connections that nobody buffers: the journal does not cover them. */
void fd_table_find_gaps(struct fd_table *table);

/** fd_table_keep_spent() - From now on the close of a lost socket waits for fd_table_close_spent(), for up to @n of them.
 * Return: 0 or -ENOMEM. */
int fd_table_keep_spent(struct fd_table *table, size_t n);
/** fd_table_close_spent() - Close them now, as the threads run again. */
void fd_table_close_spent(struct fd_table *table);

/* ---- between the files of this folder; lock held ---- */

/** fd_table_at() - Return: what is registered by this number, or NULL. */
static inline struct fd_entry *fd_table_at(const struct fd_table *table, int fd)
{
	return fd >= 0 && (size_t)fd < table->n_by_fd ? table->by_fd[fd] : NULL;
}

/** fd_table_take_out() - @entry is the caller's now, to be released with fd_entry_free(). Its descriptor stays open. */
void fd_table_take_out(struct fd_table *table, struct fd_entry *entry);
void fd_entry_free(struct fd_entry *entry);
/** fd_table_fill_gap() - It is buffered now, or closed: the journal's gap that it was is none any more. */
void fd_table_fill_gap(struct fd_table *table, struct fd_entry *entry);
/** fd_table_spend() - Keep the number @fd of a lost socket for fd_table_close_spent(). Return: false: close it now. */
bool fd_table_spend(struct fd_table *table, int fd);
