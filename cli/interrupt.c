/* SPDX-License-Identifier: MIT */
#include "cli/interrupt.h"

#include <stddef.h>

static volatile sig_atomic_t came;
static sigset_t mask;
static bool begun;

static void on_interrupt(int number)
{
	(void)number;
	came = 1;
}

void interrupt_begin(void)
{
	struct sigaction action = { .sa_handler = on_interrupt };
	sigset_t blocked;

	sigemptyset(&action.sa_mask);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	/* Blocked but in ppoll(2): one that comes between a look at @came and the wait would be overlooked. */
	sigprocmask(SIG_BLOCK, &blocked, &mask);
	sigdelset(&mask, SIGINT);
	sigaction(SIGINT, &action, NULL);
	came = 0;
	begun = true;
}

const sigset_t *interrupt_mask(void)
{
	return begun ? &mask : NULL;
}

bool interrupt_came(void)
{
	return came != 0;
}
