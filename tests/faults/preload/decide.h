/* SPDX-License-Identifier: MIT */
/* Is this call to fail? One question for every call of upg-faults.so. */
#pragma once

#include "tests/faults/faults.h"

#define NO_FD (-1)
#define PUBLIC __attribute__((visibility("default")))

struct fault_call {
	enum fault_class class;
	const char *name;
	int fd;            /* NO_FD: none. With @path: the folder that it is relative to */
	const char *path;  /* NULL: none */
	bool may_wait;     /* it would wait rather than fail with EAGAIN */
};

struct fault_verdict {
	enum fault_action action;
	int64_t amount;
};

/**
 * fault_ask() - Count a call, and decide.
 *
 * Return: FAULT_FAIL with errno set, another action for the caller to carry out, or FAULT_NOTHING with errno as it was. A delay
 * is over on return.
 * Context: any thread, also within malloc; allocates nothing itself.
 */
struct fault_verdict fault_ask(struct fault_call call);

/** fault_strikes() - The same for calls that can do no more than fail. Return: whether it does, with errno set. */
bool fault_strikes(enum fault_class class, const char *name, int fd, const char *path);

/** fault_real() - What a call of that name would have reached without this library; the process is ended if there is none. */
void *fault_real(const char *name);
