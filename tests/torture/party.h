/* SPDX-License-Identifier: MIT */
/* Who may be struck, and where they are found. */
#pragma once

#include "supervisor/roll/state.h"
#include "tests/rig/rig.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum party {
	PARTY_OLD, PARTY_NEW, PARTY_UPGRADED, PARTY_CRIU, PARTY_CLI, PARTY_CHECKSUM, PARTY_CLIENT,
	PARTIES
};

const char *party_name(enum party party);

/* What the daemon logs, read as it comes: which state a roll is in, and whose pids it is about. */
struct watcher {
	struct rig *rig;
	int fd;
	char line[4096];
	size_t used;
	unsigned long seen[ROLL_STATES]; /* how often each state was entered */
	pid_t old, new;                  /* of the first roll since watcher_begin() */
	bool bugs;                       /* the daemon says that it has one */
};

/** watcher_begin() - From what is logged from now on. Return: 0 or -errno. */
int watcher_begin(struct watcher *watcher, struct rig *rig);
/** watcher_look() - Read what has come. */
void watcher_look(struct watcher *watcher);
void watcher_end(struct watcher *watcher);

/** party_find_child() - CRIU or the child that makes checksums, below @daemon. Return: its pid, 0: it is not there. */
pid_t party_find_child(enum party party, pid_t daemon);

/** party_tracee() - The child of what traces the daemon; 0: it has none. */
pid_t party_tracee(pid_t tracer);

/** party_count_stopped() - Processes below this one that stand still by a signal. */
unsigned party_count_stopped(void);
