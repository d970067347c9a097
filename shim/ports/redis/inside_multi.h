/* SPDX-License-Identifier: MIT */
/* At the end of multi.c, which alone knows what a watched key is. */
#include <inside.h>

void watched_look(const void *watched, struct watched_look *ret_look)
{
	const watchedKey *one = watched;

	/* One that has expired since it was watched and still lies there has changed: the next version would not know. */
	*ret_look = (struct watched_look){ one->db, one->key, one->expired, !one->expired && keyIsExpired(one->db, one->key) };
}

void watched_mark(void *watched, int expired)
{
	((watchedKey *)watched)->expired = expired ? 1 : 0;
}
