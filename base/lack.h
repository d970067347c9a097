/* SPDX-License-Identifier: MIT */
/* What is short for a moment: memory, or what the kernel takes it for. */
#pragma once

#include <stdbool.h>

/**
 * lack_again() - After a step failed on which everything hangs: is it worth another try? Waits a moment then.
 * @error: positive errno; of anything but a lack of memory the answer is no.
 * @tries: 0 before the first try; counts.
 *
 * Only for steps that cannot be undone or asked for again. All waits together are 20 ms, so that the loop can bear them.
 */
bool lack_again(int error, unsigned *tries);
