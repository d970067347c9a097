/* SPDX-License-Identifier: MIT */
/* A disk for the logbook that fails where it is told to, and that knows what would be left if the power were cut.
 *
 * Calls go to a real folder, so that the kernel says what names and files are. Only syncing is done here: what is on the disk is a
 * copy of what a file held when it was synced, and of the names that a folder had. A sync that failed loses what it was to
 * write, and the next one says that all is well, as Linux does. */
#pragma once

#include "supervisor/logbook/disk.h"

#include <stdbool.h>
#include <stdint.h>

enum spoil {
	SPOIL_EIO,
	SPOIL_ENOSPC,
	SPOIL_SHORT, /* a write does half of it, then ENOSPC; other calls as SPOIL_ENOSPC */
	SPOIL_DEAD,  /* nothing is done from here on: the supervisor was killed. A write does half of it. */
	SPOIL_KINDS,
};

/** spoiled_disk_reset() - A disk without any fault, for the files in @folder. Return: it, to be used until the next reset. */
const struct logbook_disk *spoiled_disk_reset(const char *folder);

/** spoiled_disk_spoil() - The @n-th call from now on fails, counted from 1; may be called several times. */
void spoiled_disk_spoil(unsigned n, enum spoil spoil);

/** spoiled_disk_mend() - No call fails from now on, and whoever was dead has come back. What is on the disk stays as it is. */
void spoiled_disk_mend(void);

/** spoiled_disk_break_blocks() - A sync that fails from now on also destroys what the disk had of the block that it began in: the
 * drive was writing there. The file in memory does not show it. */
void spoiled_disk_break_blocks(void);

/** spoiled_disk_is_dead() - Did SPOIL_DEAD come? */
bool spoiled_disk_is_dead(void);

/** spoiled_disk_calls() - How many calls that can fail were made since the reset? */
unsigned spoiled_disk_calls(void);

/** spoiled_disk_next_chance() - The number that the next book gets; each one later is larger by 1. */
void spoiled_disk_next_chance(uint32_t number);

enum {
	CUT_NAMES = 1,  /* names that were not synced are there nevertheless */
	CUT_ALL = 2,    /* so is what was written: all of it, */
	CUT_HALF = 4,   /* half of it, */
	CUT_ZEROS = 6,  /* or zeros in its place, */
	CUT_HOLE = 8,   /* or zeros in the place of its first half: the disk takes pages in any order */
	CUT_KINDS = 10,
};

/** spoiled_disk_cut() - Fill the empty folder @to with what is left after the power was cut. @kind: 0 to CUT_KINDS - 1. */
void spoiled_disk_cut(const char *to, unsigned kind);
