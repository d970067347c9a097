/* SPDX-License-Identifier: MIT */
/* What the logbook has of one service, as a descriptor that the processes of that service hold: a supervisor whose logbook is gone
 * finds it there.
 *
 * The processes may mean ill, so a note must be something that none of them can make. It is memory that is sealed, so that nobody
 * changes it, and that belongs to the user as whom upgraded runs: the kernel says whose memory it is, and nobody can give memory
 * away. What it says of a process is said with pid, time of start and boot, which name that process alone, whoever holds the note.
 */
#pragma once

#include "supervisor/logbook/logbook.h"

#include <sys/types.h>

/* As /proc/PID/fd tells it. */
#define NOTE_LINK "/memfd:upgraded-note (deleted)"

/**
 * note_make() - What @book has of @service.
 * @head: all but the entries and the place is filled in by the caller. Borrowed.
 *
 * Return: the descriptor, the caller's; -errno.
 */
int note_make(const struct logbook *book, const char *service, const Upgraded__Logbook__Note *head, struct why *why);

/**
 * note_read() - Without waiting for anybody, whatever @fd is.
 * @fd:       borrowed; of a process that is not trusted.
 * @ret_note: release with upgraded__logbook__note__free_unpacked().
 *
 * Return: 0; -EPERM with words: we did not write it; -ENOMEM, -errno.
 */
int note_read(int fd, Upgraded__Logbook__Note **ret_note, struct why *why);
