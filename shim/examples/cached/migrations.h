/* SPDX-License-Identifier: MIT */
/* Each step between two versions of cached's state that this program knows, up and down. */
#pragma once

#include "shim/upgrade.h"

extern const struct upg_migration migrations[];
extern const size_t n_migrations;
