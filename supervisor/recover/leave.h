/* SPDX-License-Identifier: MIT */
/* upgraded ends and leaves its services running, for the next one that is started: `systemctl restart upgraded`.
 *
 * SIGTERM does not say whether it comes of a restart or of a stop. Whoever knows says so before (the verb `leave`), and that counts
 * for a while. Then what is under way comes to its end, or to its bake, and this process ends as a SIGKILL would end it: the next
 * one has everything back that it has back after a crash.
 */
#pragma once

#include "base/loop.h"
#include "base/why.h"

#include <stdbool.h>
#include <stdint.h>

struct successor;

#define LEAVE_WITHIN_S 60u /* SIGTERM comes; else somebody has changed his mind */

struct leave {
	const struct successor *successor; /* who knows what is under way; borrowed */
	struct loop *loop;
	void (*on_rest)(struct leave *leave);
	uint64_t allowed_until_us; /* 0: it is not */
	struct timer timer;
	uint64_t due_us;
	struct why waits_for;
};

/** leave_allow() - From now on, or not any more, the services are left. */
void leave_allow(struct leave *leave, bool allowed);

/** leave_is_allowed() - Are they, by a SIGTERM that has come now? */
bool leave_is_allowed(const struct leave *leave);

/** leave_begin() - Wait until everything is at rest, 90 s at most, and call @on_rest. A roll that has not come so far by then is
 * left as it is: the commit word says which version serves. */
void leave_begin(struct leave *leave);

/** leave_done() - Break it off; a zeroed one is allowed. */
void leave_done(struct leave *leave);
