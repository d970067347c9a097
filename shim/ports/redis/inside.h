/* SPDX-License-Identifier: MIT */
/* What is asked of redis' own structs that only one of its files knows. After server.h. */
#pragma once

struct watched_look {
	redisDb *db;
	robj *key;
	int expired; /* when it was watched */
	int changed; /* it has expired since */
};
void watched_look(const void *watched, struct watched_look *ret_look);
void watched_mark(void *watched, int expired);

/** blocked_after() - The entry after which a client waits for the next, of what client->bpop.keys holds for a stream. */
streamID blocked_after(const void *info);
