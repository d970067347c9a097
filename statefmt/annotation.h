/* SPDX-License-Identifier: MIT */
/* What the author of a schema says of its succession: the options of <upgrade/options.proto>, read back from descriptors. */
#pragma once

#include "statefmt/arena.h"
#include "statefmt/schema.h"

#include <upgrade/options.pb-c.h>

#define ANNOTATION_NUMBER 50610u /* of both extensions */

/**
 * annotation_of_message() - (upgrade.type) of @message.
 * @ret_type: in @arena's memory; NULL if there is none.
 *
 * Return: 0; -EBADMSG: there is something else under that number; -ENOMEM.
 */
int annotation_of_message(const struct schema_message *message, struct sf_arena *arena, const Upgrade__Type **ret_type,
			  struct why *why);

/** annotation_of_field() - (upgrade.field) of @field, likewise. */
int annotation_of_field(const struct schema_field *field, struct sf_arena *arena, const Upgrade__Field **ret_field,
			struct why *why);
