/* SPDX-License-Identifier: MIT */
#include "tests/faults/sweep/kinds.h"

#include <errno.h>

#define ONE(class) (1u << FAULT_##class)
#define BYTES (ONE(READ) | ONE(WRITE) | ONE(SEND) | ONE(RECEIVE))

const struct fault_kind fault_kinds[] = {
	{ "memory", ONE(MEMORY), FAULT_ANYWHERE, FAULT_FAIL, ENOMEM },
	{ "maps", ONE(MAP), FAULT_ANYWHERE, FAULT_FAIL, ENOMEM },
	{ "descriptors", ONE(DESCRIPTOR), FAULT_ANYWHERE, FAULT_FAIL, EMFILE },
	{ "reads", ONE(READ), FAULT_FILES, FAULT_FAIL, EIO },
	{ "writes", ONE(WRITE), FAULT_FILES, FAULT_FAIL, ENOSPC },
	{ "syncs", ONE(SYNC), FAULT_ANYWHERE, FAULT_FAIL, EIO },
	{ "names", ONE(NAME), FAULT_ANYWHERE, FAULT_FAIL, ENOSPC },
	{ "sends", ONE(SEND), FAULT_ANYWHERE, FAULT_FAIL, ENOBUFS },
	{ "full", ONE(WRITE) | ONE(SEND), FAULT_STREAMS, FAULT_FULL, EAGAIN },
	{ "receives", ONE(RECEIVE), FAULT_ANYWHERE, FAULT_FAIL, ENOMEM },
	{ "truncated", ONE(RECEIVE), FAULT_ANYWHERE, FAULT_TRUNC, 0 },
	{ "watches", ONE(WATCH), FAULT_ANYWHERE, FAULT_FAIL, ENOMEM },
	{ "processes", ONE(PROCESS), FAULT_ANYWHERE, FAULT_FAIL, EAGAIN },
	{ "looks", ONE(LOOK), FAULT_ANYWHERE, FAULT_FAIL, ENOMEM },
	{ "short", BYTES, FAULT_ANYWHERE, FAULT_SHORT, 0 },
	{ "interrupted", BYTES | ONE(WAIT), FAULT_ANYWHERE, FAULT_FAIL, EINTR },
};

const unsigned fault_kinds_n = sizeof(fault_kinds) / sizeof(*fault_kinds);

const char *fault_role_name(enum fault_role role)
{
	static const char *const names[FAULT_ROLES] = { "nobody", "upgraded", "fork", "old", "new", "upgradectl" };

	return names[role];
}
