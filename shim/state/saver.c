/* SPDX-License-Identifier: MIT */
#include "shim/state/saver.h"

#include "base/why.h"
#include "shim/state/refs.h"
#include "statefmt/statefmt.h"

int upg_save(struct upg_saver *saver, const ProtobufCMessage *message)
{
	const ProtobufCMessage *out = message;
	size_t want;
	int r;

	if (saver->refs->failed)
		return why_errno(saver->why, saver->refs->failed, "numbering objects for upg_ref()");
	r = sf_plan_convert(saver->plan, saver->type, message, &want, &out, saver->why);
	return r < 0 ? r : saver->put(saver, saver->stream_type, out);
}

uint64_t upg_ref(struct upg_saver *saver, const void *object)
{
	return refs_id(saver->refs, object);
}
