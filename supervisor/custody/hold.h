/* SPDX-License-Identifier: MIT */
/* A service's state and sockets without any process: its last checkpoint, what its process wrote in journals since, and
 * duplicates of what that had open. */
#pragma once

#include "base/fd_ref.h"
#include "base/why.h"
#include "supervisor/custody/custody.h"
#include "wire/journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hold {
	struct custody custody;
	struct fd_ref *state; /* the last checkpoint that is whole; NULL: there is none */
	uint64_t number;      /* its number */
	uint64_t made_us;     /* since when it is the state of, CLOCK_MONOTONIC */
	uint64_t records, bytes;
	struct fd_ref *journals[JOURNALS_MAX]; /* since it, the oldest first; the last ones may never have been begun */
	size_t n_journals;
	uint64_t next_tag; /* of those that the library makes */
	struct why broken; /* why the journals are of no use any more; "": they are */
};

/** hold_clear() - Keep nothing any more. */
void hold_clear(struct hold *hold);

/** hold_take() - Descriptors that the process tells of. @again: some of them may have been told before. Return: as
 * custody_take(). */
int hold_take(struct hold *hold, const Upgraded__Wire__Fds *message, struct wire_fds *fds, bool again, struct why *why);

#define HOLD_JOURNALS_MAX (JOURNALS_MAX - 1) /* whoever takes the process's place gets one more */

/** hold_add_journal() - The process may write there from here on; one owner more. @most: at most JOURNALS_MAX. Return: 0; -ENOSPC:
 * there are so many. */
int hold_add_journal(struct hold *hold, struct fd_ref *journal, size_t most);
/** hold_has_journal() - Is it one of those that count? */
bool hold_has_journal(const struct hold *hold, const struct fd_ref *journal);
/** hold_drop_journal() - The process never will. */
void hold_drop_journal(struct hold *hold, const struct fd_ref *journal);

/** hold_advance() - The checkpoint @number is whole: from @journal on they count. @state_consume: owned. */
void hold_advance(struct hold *hold, uint64_t number, struct fd_ref *state_consume, const struct fd_ref *journal);

/** hold_break() - From here on something is missing in the journals. */
void hold_break(struct hold *hold, const char *reason);
/** hold_drop_broken() - Where something is missing in them, they are of no use to anybody. */
void hold_drop_broken(struct hold *hold);

/** hold_is_whole() - Would the end of the process lose nothing? */
static inline bool hold_is_whole(const struct hold *hold)
{
	return hold->state && !*hold->broken.text;
}
