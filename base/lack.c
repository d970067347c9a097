/* SPDX-License-Identifier: MIT */
#include "base/lack.h"

#include <errno.h>
#include <time.h>

#define TRIES_MAX 20u
#define WAIT_NS (1000 * 1000)

bool lack_again(int error, unsigned *tries)
{
	if ((error != ENOMEM && error != ENOBUFS) || *tries >= TRIES_MAX)
		return false;
	++*tries;
	nanosleep(&(struct timespec){ .tv_nsec = WAIT_NS }, NULL);
	return true;
}
