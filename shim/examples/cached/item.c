/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/item.h"

#include <stdlib.h>
#include <string.h>

#define RELATIVE_MAX_S (INT64_C(30) * 24 * 60 * 60)
#define MALLOC_OVERHEAD 16u

struct item *item_new(const void *key, size_t key_size, const void *value, size_t value_size, uint32_t flags)
{
	struct item *item = malloc(sizeof *item + key_size + value_size);
	if (!item)
		return NULL;
	*item = (struct item){
		.refs = 1,
		.flags = flags,
		.key_size = (uint8_t)key_size,
		.value_size = (uint32_t)value_size,
	};
	memcpy(item->data, key, key_size);
	if (value)
		memcpy(item_room(item), value, value_size);
	item_state_init(item);
	return item;
}

struct item *item_ref(struct item *item)
{
	atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
	return item;
}

void item_put(struct item *item)
{
	if (item && atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) == 1)
		free(item);
}

char *item_room(struct item *item)
{
	return item->data + item->key_size;
}

size_t item_footprint(const struct item *item)
{
	return sizeof *item + item->key_size + item->value_size + MALLOC_OVERHEAD;
}

int64_t item_expiry_ns(int64_t exptime, int64_t now_ns)
{
	int64_t expires_ns;

	if (exptime == 0)
		return 0;
	if (exptime < 0)
		return 1; /* 1970 */
	if (__builtin_mul_overflow(exptime, NSEC_PER_SEC, &expires_ns))
		return INT64_MAX;
	if (exptime > RELATIVE_MAX_S)
		return expires_ns;
	return __builtin_add_overflow(expires_ns, now_ns, &expires_ns) ? INT64_MAX : expires_ns;
}
