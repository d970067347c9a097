/* SPDX-License-Identifier: MIT */
/* The versions that a service could be started in or rolled to. */
#pragma once

#include "wire/control.pb-c.h"

#include <stdbool.h>

/**
 * complete_versions() - Tell the versions of a service, each once, in no order.
 * @history_only: only those that undo can reach.
 * @on_version:   is told of whatever a file is called, which need not be fit to be a version's name.
 *
 * They are those that it had, and those whose program is there: Exec= of its file names one for each version.
 */
void complete_versions(const Upgraded__Wire__ServiceStatus *service, bool history_only,
		       void (*on_version)(const char *version, void *userdata), void *userdata);
