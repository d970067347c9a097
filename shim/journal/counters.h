/* SPDX-License-Identifier: MIT */
/* How far a TCP connection was read and written, as the kernel counts it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct counters {
	uint64_t read, written; /* bytes by the application, up to a constant for each connection */
	bool is_over; /* closed or reset: the kernel does not say any more whether a FIN is among them */
	bool is_shut; /* our side was shut down: a FIN may count as written */
};

/** counters_read() - Return: 0; -EOPNOTSUPP if @fd is no plain TCP socket; -errno. */
int counters_read(int fd, struct counters *ret);
