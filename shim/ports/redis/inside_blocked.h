/* SPDX-License-Identifier: MIT */
/* At the end of blocked.c, which alone knows what stands with a key that is waited for. */
#include <inside.h>

streamID blocked_after(const void *info)
{
	return ((const bkinfo *)info)->stream_id;
}
