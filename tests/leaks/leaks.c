/* SPDX-License-Identifier: MIT */
/* Which processes of a unit test are checked for leaks at their end: those that run a test, and what they fork.
 *
 * Criterion 2.4.1 runs each test in a worker, a process of its own. Its first process, which only starts the workers and
 * reports, now and then leaks two of Criterion's own records when workers end side by side. A suppression cannot tell the
 * two: every test has a frame of Criterion at the bottom of its stack, so it would hide the tests' leaks as well.
 */
#include <sanitizer/lsan_interface.h>
#include <stdbool.h>
#include <stdlib.h>

static bool is_worker;

/* Noted at the start, since a test may well clear its environment. */
__attribute__((constructor)) static void worker_note(void)
{
	is_worker = getenv("BXFI_MAP") != NULL;
}

/* Asked by the leak checker before it looks. */
int __lsan_is_turned_off(void)
{
	return !is_worker;
}
