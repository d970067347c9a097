/* SPDX-License-Identifier: MIT */
/* Annotations: the options of <upgrade/options.proto>, by which the author of a schema says what its types follow. Read from
 * descriptors. */
#pragma once

#include "statefmt/arena.h"
#include "statefmt/schema.h"

#include <upgrade/options.pb-c.h>

#define ANNOTATION_NUMBER 50610u /* of both extensions */

/**
 * annotation_of_message() - Read (upgrade.type) of @message.
 * @ret_type: in @arena's memory; NULL if there is none.
 *
 * Return: 0; -EBADMSG: there is something else under that number; -ENOMEM.
 */
int annotation_of_message(const struct schema_message *message, struct sf_arena *arena, const Upgrade__Type **ret_type,
			  struct why *why);

/** annotation_of_field() - Read (upgrade.field) of @field, likewise. */
int annotation_of_field(const struct schema_field *field, struct sf_arena *arena, const Upgrade__Field **ret_field,
			struct why *why);
