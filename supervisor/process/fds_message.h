/* SPDX-License-Identifier: MIT */
/* One message with descriptors for a process, as it is filled. */
#pragma once

#include "supervisor/process/instance.h"

#include <stdbool.h>
#include <stdint.h>

struct fds_message {
	Upgraded__Wire__Fds fds;
	Upgraded__Wire__FdInfo infos[WIRE_FDS_MAX], *list[WIRE_FDS_MAX];
	struct fd_ref *refs[WIRE_FDS_MAX];
};

/** fds_message_init() - With none in it. */
void fds_message_init(struct fds_message *message);

/** fds_message_add() - One more; there is room for WIRE_FDS_MAX. @name, @ref: borrowed until it is sent. Return: what is said of
 * it, for the caller to go on with; until it is sent. */
Upgraded__Wire__FdInfo *fds_message_add(struct fds_message *message, const char *name, uint64_t tag, struct fd_ref *ref);

/** fds_message_send() - Send it. @last: no other one comes; @next_tag goes with that one. */
void fds_message_send(struct fds_message *message, struct instance *to, bool last, uint64_t next_tag);
