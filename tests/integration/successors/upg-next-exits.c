/* SPDX-License-Identifier: MIT */
/* An upgraded that says it could take over, and ends as if all were well. */
#include "supervisor/recover/recover.h"

#include <stdlib.h>

int __wrap_recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
			 void (*on_done)(struct recover *recover), void *owner, struct why *why);

int __wrap_recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
			 void (*on_done)(struct recover *recover), void *owner, struct why *why)
{
	(void)recover, (void)registry, (void)spawner, (void)carry, (void)on_done, (void)owner, (void)why;
	exit(EXIT_SUCCESS);
}
