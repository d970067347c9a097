/* SPDX-License-Identifier: MIT */
/* The journal's log: transactions put into effect. */
#pragma once

#include "shim/journal/memory.h"

/** journal_publish() - Put @changes into the log, in the name of @record (may be NULL), and clear them. There is one at least, and
 * they were made with room for a transaction's head. While the journal is off they are only cleared. Thread-safe. */
void journal_publish(struct journal *journal, struct changes *changes, const struct journal_record *record,
		     struct journal_cursor cursor);

/** journal_add_loose() - Put one change of no connection into effect at once. @type is the application's, and the predecessor has
 * it. Return: 0 or -errno: the caller makes the journal void. Thread-safe. */
int journal_add_loose(struct journal *journal, size_t type, enum upg_change change, const ProtobufCMessage *message,
		      struct why *why);
