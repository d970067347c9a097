/* SPDX-License-Identifier: MIT */
#include "supervisor/process/share.h"

uint64_t share_use(struct share *share, uint64_t now_us, uint64_t used_us)
{
	uint64_t forgiven_us = now_us > share->at_us ? (now_us - share->at_us) / SHARE_PARTS : 0;

	share->used_us -= forgiven_us < share->used_us ? forgiven_us : share->used_us;
	share->used_us += used_us;
	share->at_us = now_us;
	return share->used_us > SHARE_BURST_US ? (share->used_us - SHARE_BURST_US) * SHARE_PARTS : 0;
}
