/* SPDX-License-Identifier: MIT */
/* The shim's inside. What applications see is upgrade.h. */
#pragma once

#include "shim/upgrade.h"

#include "base/why.h"
#include "shim/core/channel.h"
#include "shim/core/progress.h"
#include "shim/core/threads.h"
#include "shim/fds/announce.h"
#include "shim/fds/handover.h"
#include "shim/fds/shed.h"
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
	struct fd_table *fds;
	struct shed *shed;
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
