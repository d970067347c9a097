/* SPDX-License-Identifier: MIT */
/* What the application told at upg_open(), with the structs as this library knows them. An application may have been compiled with
 * an older header, whose structs are shorter, or with a newer one. */
#pragma once

#include "shim/upgrade.h"

struct why;

struct config {
	struct upg_config told; /* its types and migrations are the two below */
	struct upg_type *types;
	struct upg_migration *migrations;
};

/**
 * config_init() - Copy what was told. Members that the application did not know are 0.
 * @bytes: of each struct, as the application knows it.
 *
 * What the members point to is borrowed, but for types and migrations. Return: 0; -E2BIG: it uses what this library does not know;
 * -EINVAL: a size that no header ever had; -ENOMEM.
 */
int config_init(struct config *config, const struct upg_config *told, const struct upg_sizes *bytes, struct why *why);
void config_done(struct config *config);
