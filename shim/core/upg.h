/* SPDX-License-Identifier: MIT */
/* The shim's inside. What applications see is upgrade.h. */
#pragma once

#include "shim/upgrade.h"

#include "base/why.h"
#include "shim/core/channel.h"
#include "shim/core/progress.h"
#include "shim/core/threads.h"
#include "shim/journal/memory.h"
#include "shim/state/refs.h"
#include "shim/journal/replay.h"
#include "statefmt/statefmt.h"
#include "wire/commit.h"
#include "wire/wire.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <time.h>

/* ---- fds.c: the descriptors that move ---- */

struct fd_entry {
	char *name;
	uint64_t tag;
	int fd;
	bool claimed; /* false: handed to us, and nobody asked for it yet */
	bool custody; /* the supervisor holds a duplicate: a close must be told */
	bool fresh;   /* new since the commit, and the supervisor has no duplicate yet */
	bool shed;    /* parked: /dev/null stands at its number */
	struct upg_conn *conn; /* what buffers it, or NULL */
	bool lost;    /* ... and still does after a resume: it is in no epoll set */
	int cloexec;  /* of what was shed: O_CLOEXEC or 0 */
	struct fd_entry *next; /* in its hash bucket */
};

struct fd_table {
	pthread_mutex_t lock;
	struct fd_entry **buckets;
	size_t n_buckets, n_entries;
	struct fd_entry **by_fd; /* n_by_fd of them, indexed by number */
	size_t n_by_fd;
	/* Closes the supervisor has not been told of yet, because its channel was full. */
	Upgraded__Wire__FdInfo *closed;
	size_t n_closed, cap_closed;
	/* Descriptors it is to have duplicates of, likewise. */
	int *fresh;
	size_t cap_fresh;
	atomic_size_t n_fresh;
};

int fd_table_init(struct fd_table *table);
void fd_table_done(struct fd_table *table);

/** fd_table_put() - Return: 0; -EEXIST; -EINVAL (name too long); -ENOMEM. */
int fd_table_put(struct fd_table *table, int fd, const char *name, uint64_t tag, bool claimed, bool custody);
struct fd_entry *fd_table_find(struct fd_table *table, const char *name, uint64_t tag);
/** fd_table_unclaimed() - How many, and one of them as an example (NULL if none). */
size_t fd_table_unclaimed(struct fd_table *table, const struct fd_entry **ret_example);
/** fd_table_end_custody() - The supervisor dropped its duplicates. */
void fd_table_end_custody(struct fd_table *table);
/** fd_table_announce() - Send the supervisor a duplicate of @fd, now or when the channel has room. */
void fd_table_announce(struct upg *upg, int fd);
/** fd_table_tell() - Send what is queued, as far as the channel takes it. */
void fd_table_tell(struct upg *upg);

/** fds_send() - Hand duplicates of all registered descriptors to the supervisor. */
int fds_send(struct upg *upg, uint64_t deadline_us, uint32_t *ret_n);
/** fds_tell_inventory() - Answer AskInventory. */
int fds_tell_inventory(struct upg *upg);
/** fd_table_put_conn() - Register @fd for @conn, unless it was claimed under this name and tag. @ret_claimed: whether it was.
 * Return: as fd_table_put(). */
int fd_table_put_conn(struct fd_table *table, int fd, const char *name, uint64_t tag, struct upg_conn *conn, bool *ret_claimed);
#define FDS_NOT_KEPT 1
/** fds_receive() - Take descriptors in until the last batch. @take gets each and keeps it (0), or not (FDS_NOT_KEPT, -errno). */
int fds_receive(struct upg *upg, uint64_t deadline_us,
		int (*take)(struct upg *upg, const Upgraded__Wire__FdInfo *info, int fd));

/* ---- shed.c: what makes a parked process free of sockets ---- */

struct epoll_entry {
	int epoll_fd;
	int fd;
	struct epoll_event event;
};

struct timer_entry {
	int fd;
	struct timespec interval;
};

struct shed {
	struct epoll_entry *entries; /* registrations to put back */
	size_t n, cap;
	struct timer_entry *timers; /* that tick */
	size_t n_timers;
	int *spent; /* numbers of lost sockets, to be closed when the threads run again */
	size_t n_spent, cap_spent;
};

/** shed_sockets() - Remove the registered sockets from every epoll set, put /dev/null at their numbers. */
int shed_sockets(struct upg *upg, uint32_t *ret_n);
/** shed_restore() - Put one socket back at its number. Keeps no @fd. */
int shed_restore(struct upg *upg, const Upgraded__Wire__FdInfo *info, int fd);
/** shed_undo() - After the last shed_restore(): epoll registrations back, and what did not come back into *@ret_lost (owned
 * by the caller, plain free()). */
int shed_undo(struct upg *upg, int **ret_lost, size_t *ret_n_lost);
/** shed_spend() - Leave the close of a lost one's number to shed_close_spent(). Table's lock held. Return: false: close it now. */
bool shed_spend(struct shed *shed, int fd);
void shed_close_spent(struct upg *upg);
void shed_done(struct shed *shed);

/* timers.c: ... and keeps its timers running */

/** timers_note() - Note the timerfd @fd if it is periodic and runs. Return: 0 or -errno. */
int timers_note(struct upg *upg, int fd);
/** timers_restore() - Those that do not run any more are started again. */
void timers_restore(struct upg *upg);

/* ---- transfer.c: state out and in ---- */

int transfer_save(struct upg *upg, int state_fd, const Upgraded__Wire__Prepare *prepare,
		  Upgraded__Wire__Totals *ret_totals);
int transfer_load(struct upg *upg, int state_fd, const Upgraded__Wire__Receive *receive);
/** transfer_check() - Does the application hold as many objects as were loaded? */
int transfer_check(struct upg *upg);

/* ---- roundtrip.c: would going back lose anything? ---- */

struct roundtrip;

/** roundtrip_new() - To compare with the stream that is about to be read. Return: NULL if memory is out. */
struct roundtrip *roundtrip_new(void);
struct roundtrip *roundtrip_free(struct roundtrip *roundtrip); /* NULL allowed; returns NULL */

/** roundtrip_begin() - The stream's header is known. Return: 0 or -errno. */
int roundtrip_begin(struct upg *upg, const struct sf_header *header);
/** roundtrip_note() - A record as it came. Return: 0 or -errno. */
int roundtrip_note(struct upg *upg, const struct sf_record *record);
/** roundtrip_check() - Save all that was loaded, migrated back to the stream's versions, and compare. Return: 0; -EPROTO with
 * types, fields and an example; -errno. */
int roundtrip_check(struct upg *upg);

/* ---- transfer.c, for roundtrip.c ---- */

struct sf_migration *transfer_migrations(const struct upg_config *config); /* caller frees */
struct sf_schema *transfer_schemas(const struct upg_config *config);       /* caller frees */
/** transfer_older_descriptor() - The struct that a migration of @type makes at @version, or NULL. */
const ProtobufCMessageDescriptor *transfer_older_descriptor(const struct upg_config *config, const char *type,
							    uint32_t version);

/* What upg_save() does with a message depends on where it goes. */
struct upg_saver {
	struct upg *upg;
	size_t type;          /* being saved: the plan's index */
	size_t stream_type;   /* ... and the stream's */
	struct sf_plan *plan; /* down to what the receiver reads */
	int (*put)(struct upg_saver *saver, size_t type, const ProtobufCMessage *message);
	struct sf_writer *writer;
	int state_fd;
	uint64_t deadline_us;
};

struct upg_loader {
	struct upg *upg;
	size_t type; /* being loaded: an index into the application's */
	int state_fd;
	uint64_t deadline_us;
	bool tells;  /* its progress: nobody waits for it but the supervisor */
	uint64_t records;
	bool failed; /* upg_load_fail() said why */
};

/* ---- roll.c: the old version's side of a roll ---- */

/** roll_leave() - From Prepare to the outcome. Return: as upg_dispatch(). */
int roll_leave(struct upg *upg, const Upgraded__Wire__Prepare *prepare);

/* ---- upg.c ---- */

struct upg {
	const struct upg_config *config;
	struct channel *channel;
	struct why why;
	struct threads *threads;
	struct progress *progress;
	struct fd_table fds;
	struct shed shed;
	struct journal journal;
	struct replay *replay; /* during a resume with a journal */
	struct commit_word word;
	bool received;  /* state came from a predecessor, the commit is still to be done */
	bool from_file; /* it came from a file: nobody served before */
	bool refused;
	bool reader_gone; /* the state could not be written because the new version had closed its end */
	Upgraded__Wire__Totals totals; /* of what was loaded */
	uint64_t *loaded;              /* records by type of ours */
	struct refs refs;              /* of the save or load under way; after a load, until it is checked */
	struct roundtrip *roundtrip;   /* NULL: not asked for */
	uint32_t n_received_fds;
};
