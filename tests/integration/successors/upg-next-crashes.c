/* SPDX-License-Identifier: MIT */
/* An upgraded that says it could take over, and crashes when it has taken nearly all. */
#include "supervisor/recover/recover.h"

#include <signal.h>

int __real_recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
			 void (*on_done)(struct recover *recover), void *owner, struct why *why);
int __wrap_recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
			 void (*on_done)(struct recover *recover), void *owner, struct why *why);

static void crash(struct recover *recover)
{
	(void)recover;
	raise(SIGSEGV);
}

int __wrap_recover_begin(struct recover *recover, struct registry *registry, struct spawner *spawner, struct carry *carry,
			 void (*on_done)(struct recover *recover), void *owner, struct why *why)
{
	return __real_recover_begin(recover, registry, spawner, carry, carry ? crash : on_done, owner, why);
}
