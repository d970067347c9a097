/* SPDX-License-Identifier: MIT */
#include "supervisor/process/fds_message.h"

void fds_message_init(struct fds_message *message)
{
	upgraded__wire__fds__init(&message->fds);
	message->fds.fds = message->list;
}

Upgraded__Wire__FdInfo *fds_message_add(struct fds_message *message, const char *name, uint64_t tag, struct fd_ref *ref)
{
	size_t at = message->fds.n_fds++;
	Upgraded__Wire__FdInfo *info = &message->infos[at];

	upgraded__wire__fd_info__init(info);
	info->name = (char *)(uintptr_t)name;
	info->tag = tag;
	message->list[at] = info;
	message->refs[at] = ref;
	return info;
}

void fds_message_send(struct fds_message *message, struct instance *to, bool last, uint64_t next_tag)
{
	Upgraded__Wire__AppMessage body = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &message->fds);

	message->fds.last = last;
	message->fds.next_tag = last ? next_tag : 0;
	instance_send(to, &body, message->refs, message->fds.n_fds);
}
