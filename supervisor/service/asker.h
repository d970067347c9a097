/* SPDX-License-Identifier: MIT */
/* Whoever waits for something that was asked of a service: told how it gets on, and answered once. */
#pragma once

#include "wire/wire.h"

#include <stdbool.h>
#include <stdint.h>

struct service;

/* Embedded in a client. */
struct asker {
	struct service *service; /* which it waits for; NULL: none */
	bool wait_commit;        /* wants its answer at the commit, not at the end of the bake */
	void (*on_progress)(struct asker *asker, const Upgraded__Wire__Progress *progress);
	void (*on_result)(struct asker *asker, const Upgraded__Wire__Result *result);
};

/** text_of() - protobuf-c's strings are not const, but packing does not write to them. NULL: "". */
static inline char *text_of(const char *text)
{
	return (char *)(uintptr_t)(text ? text : "");
}
