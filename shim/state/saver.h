/* SPDX-License-Identifier: MIT */
/* What an application's save() is given. Where its messages go is up to @put: into a stream, or into a comparison. A saver is
 * embedded in what @put needs to know. */
#pragma once

#include "shim/upgrade.h"

#include <stddef.h>

struct refs;
struct sf_plan;
struct why;

struct upg_saver {
	struct refs *refs;
	struct sf_plan *plan; /* down to what the receiver reads */
	size_t type;          /* being saved: the plan's index */
	size_t stream_type;   /* ... and the stream's */
	int (*put)(struct upg_saver *saver, size_t type, const ProtobufCMessage *message);
	struct why *why;
};
