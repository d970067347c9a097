/* SPDX-License-Identifier: MIT */
/* What a version handed over, by name: what it did not have is what a newer version has added. */
#pragma once

#include "supervisor/custody/custody.h"

/* A door counts by name and tag, as each is one of a kind; of everything else the name counts, as tags are counted on. */
struct fd_names {
	struct fd_name {
		char *name;
		uint64_t tag;
		bool door;
	} *names; /* in order, each once */
	size_t n;
	bool cut; /* there are more: then nothing counts as added */
};

/** fd_names_note() - All that lies in @custody, in place of what was noted before. Where memory is out: cut. */
void fd_names_note(struct fd_names *names, const struct custody *custody);

/** fd_names_have() - Was this handed over, or something of its kind? */
bool fd_names_have(const struct fd_names *names, const struct custody_entry *entry);

/** fd_names_move() - @to gets what @from has, which is empty then. */
void fd_names_move(struct fd_names *to, struct fd_names *from);

/** fd_names_done() - Safe on a zeroed one, and twice. */
void fd_names_done(struct fd_names *names);
