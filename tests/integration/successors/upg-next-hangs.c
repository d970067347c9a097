/* SPDX-License-Identifier: MIT */
/* An upgraded that says it could take over, and then hangs on the way. */
#include "supervisor/recover/recover.h"

#include <unistd.h>

int __wrap_recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
			 void (*on_done)(struct recover *recover), void *owner, struct why *why);

int __wrap_recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
			 void (*on_done)(struct recover *recover), void *owner, struct why *why)
{
	(void)recover, (void)registry, (void)spawner, (void)carry, (void)on_done, (void)owner, (void)why;
	for (;;)
		pause();
}
