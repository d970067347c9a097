/* SPDX-License-Identifier: MIT */
#pragma once

#include "shim/upgrade.h"

extern const struct upg_migration migrations[];
extern const size_t n_migrations;
