/* SPDX-License-Identifier: MIT */
/* What the application says of its state: its types and migrations, in the terms of statefmt, looked up in one place. */
#pragma once

#include "shim/upgrade.h"

#include "statefmt/statefmt.h"

struct why;

struct application {
	const struct upg_config *config;
	struct sf_schema *schemas;       /* of its types, in their order */
	struct sf_migration *migrations; /* in the order of the application's */
};

/** application_init() - Check @config and translate it. @config is borrowed until application_done(). Return: 0; -EINVAL: it is not
 * what upgrade.h asks for; -ENOMEM. application_done() in all cases. */
int application_init(struct application *application, const struct upg_config *config);
/** application_done() - Also fine for one of zeros. */
void application_done(struct application *application);

/** application_check_volatile() - Is each of config->volatile_fields a field of some message? Return: 0; -EINVAL with the first
 * that is none. */
int application_check_volatile(const struct application *application, struct why *why);

/** application_type() - Return: the type of this name, an element of config->types; NULL: there is none. */
const struct upg_type *application_type(const struct application *application, const char *name);

/** application_older() - Return: what a migration of the type @name makes at @version; NULL: none leads there. */
const ProtobufCMessageDescriptor *application_older(const struct application *application, const char *name, uint32_t version);
