/* SPDX-License-Identifier: MIT */
/* Getting hold again of a process that a supervisor before this one has started. */
#pragma once

#include "supervisor/logbook/logbook.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct why;

/** regain_pidfd() - Of the process @pid that was started at @start_ticks. Return: the caller's; -ESRCH: it has ended, or the number
 * is another process's by now; -errno. */
int regain_pidfd(pid_t pid, uint64_t start_ticks);

/** regain_lives() - Is the process that @process is of still there, by number, start and boot? One that waits to be reaped is. */
bool regain_lives(const Upgraded__Logbook__Process *process);

/** regain_number() - The descriptor @number of the process, if it is the socket @inode still. Return: as regain_socket(). */
int regain_number(int pidfd, int number, unsigned long long inode, struct why *why);

/**
 * regain_socket() - Take a socket that a process holds for us.
 * @pidfd, @pid: of the process.
 * @inode:       of the socket. The kernel chooses it, so the process cannot pass another one off as ours.
 *
 * Needs the right to trace the process: root, or the same user where the kernel does not forbid it. Return: the caller's, closed on
 * exec; -ENOENT: the process has no such socket; -EPERM; -errno, with words.
 */
int regain_socket(int pidfd, pid_t pid, unsigned long long inode, struct why *why);

/** regain_boot() - Which start of the machine this is; pids of another one mean nothing. Return: static text, "" if nobody
 * knows. */
const char *regain_boot(void);
