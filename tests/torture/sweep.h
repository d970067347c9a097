/* SPDX-License-Identifier: MIT */
/* upgraded is killed before one of its system calls: of a whole roll, or of its own start and of what it gets back then. */
#pragma once

#include "tests/torture/round.h"

struct sweep {
	unsigned long roll_calls, start_calls; /* how many there are in each, about */
	unsigned rolls, starts;                /* how many were tried */
};

/** sweep_run() - One after the other, spread over all of them, until @due_us or until each was tried. Return: 0 or -errno. */
int sweep_run(struct torture *torture, uint64_t due_us, struct sweep *ret_sweep);
