/* SPDX-License-Identifier: MIT */
/* Of this room alone: lines as systemd's journal takes them with their fields, and the way there. */
#pragma once

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_RECORD_BYTES (LOG_LINE_BYTES + 1024u) /* a line with its fields */

/** log_journal_compose() - A record: "FIELD=value" in a line each, MESSAGE= the last. @about: NULL: nothing in particular.
 * @message: one line, tame. @record: LOG_RECORD_BYTES. Return: its length. */
size_t log_journal_compose(char *record, enum log_level level, const struct log_about *about, const char *message, size_t size);

/** log_journal_open() - Return: a socket; -1: there is no journal at @path that could be sent to. */
int log_journal_open(const char *path);

/** log_journal_send() - Waits where needed. What the journal does not take goes to stderr, as a line with its priority. */
void log_journal_send(int fd, const char *path, const char *record, size_t size);

/** log_priority() - As syslog(3) numbers them. */
int log_priority(enum log_level level);
