/* SPDX-License-Identifier: MIT */
/* Ctrl-C while an answer is waited for: it ends the waiting, and there is time to say what goes on. */
#pragma once

#include <signal.h>
#include <stdbool.h>

/** interrupt_begin() - From here on SIGINT comes while something is waited for, and is only noted. */
void interrupt_begin(void);

/** interrupt_mask() - The mask for ppoll(2); NULL: nothing was begun. */
const sigset_t *interrupt_mask(void);
bool interrupt_came(void);

#define INTERRUPT_STATUS 130 /* 128 + SIGINT, as a shell has it */
