/* SPDX-License-Identifier: MIT */
/* Who has an address that is wanted. */
#pragma once

#include <stddef.h>

struct sockaddr;

/**
 * bound_by() - Which process has a socket of @type at @at, or at one that leaves no room for it (0.0.0.0)?
 *
 * Asks the kernel for its list, and looks through the descriptors of all processes: for when something was refused, as it takes as
 * long as there are many.
 *
 * Return: @buf: "pid 12 (nginx)"; "" where that cannot be seen.
 */
const char *bound_by(const struct sockaddr *at, int type, char *buf, size_t size);
