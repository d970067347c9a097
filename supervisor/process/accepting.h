/* SPDX-License-Identifier: MIT */
/* Does a process wait for something to come at its listeners? The kernel knows, whatever the program is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/**
 * accepting_all() - Does @pid, or a process that descends from it, wait at each of the @n sockets @inodes: in an epoll set, or in a
 * thread that is blocked in accept(2) or a call that receives?
 *
 * What waits by poll(2) or select(2) is not seen. Needs the right to trace the process. Descriptors above 1023 and more than 256
 * processes are not looked at.
 */
bool accepting_all(pid_t pid, const unsigned long long *inodes, size_t n);
