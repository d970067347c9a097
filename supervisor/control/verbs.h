/* SPDX-License-Identifier: MIT */
/* What can be asked over the control socket. */
#pragma once

#include "wire/wire.h"

struct client;

/** verbs_handle() - Do what @request asks for; @client gets one answer, perhaps before this returns. */
void verbs_handle(struct client *client, const Upgraded__Wire__Request *request, struct wire_fds *fds);
