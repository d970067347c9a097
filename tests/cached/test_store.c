/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/store.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NOW (INT64_C(1800000000) * NSEC_PER_SEC)
#define DAY (INT64_C(24) * 60 * 60)

static struct store store;

static void set_up(void)
{
	cr_assert_eq(store_init(&store, 1024 * 1024), 0);
}

static void tear_down(void)
{
	store_done(&store);
}

TestSuite(store, .timeout = 20, .init = set_up, .fini = tear_down);

static enum store_outcome put(enum store_mode mode, const char *key, const char *value, int64_t exptime, int64_t now)
{
	struct item *item = item_new(key, strlen(key), value, strlen(value), 7);

	cr_assert_not_null(item);
	item_state_expire(item, item_expiry_ns(exptime, now));
	store_lock(&store, NULL, now);
	enum store_outcome outcome = store_put_consume(&store, mode, item, 0, now);
	store_unlock(&store);
	return outcome;
}

static struct item *get(const char *key, int64_t now)
{
	store_lock(&store, NULL, now);
	struct item *item = store_get(&store, key, strlen(key), now);
	store_unlock(&store);
	return item;
}

static enum store_outcome set(const char *key, const char *value)
{
	return put(STORE_SET, key, value, 0, NOW);
}

static bool has(const char *key, const char *value, int64_t now)
{
	struct item *item = get(key, now);
	bool same = item && item->value_size == strlen(value) && memcmp(item_value(item), value, item->value_size) == 0;

	item_put(item);
	return same;
}

static bool lacks(const char *key, int64_t now)
{
	struct item *item = get(key, now);

	item_put(item);
	return !item;
}

static int append_key(const struct item *item, void *arg)
{
	strncat(arg, item_key(item), item->key_size);
	strcat(arg, " ");
	return 0;
}

static const char *order(void)
{
	static char keys[4096];

	keys[0] = '\0';
	store_walk(&store, append_key, keys);
	return keys;
}

Test(store, walks_from_the_least_to_the_most_recently_used)
{
	set("a", "1");
	set("b", "2");
	set("c", "3");
	cr_expect_str_eq(order(), "a b c ");
	cr_expect(has("a", "1", NOW));
	cr_expect_str_eq(order(), "b c a ");
	set("b", "4");
	cr_expect_str_eq(order(), "c a b ");
	item_put(store_touch(&store, "c", 1, 0, NOW));
	cr_expect_str_eq(order(), "a b c ");
	store_delete(&store, "b", 1, NOW);
	cr_expect_str_eq(order(), "a c ");
}

Test(store, evicts_the_least_recently_used_when_memory_is_short)
{
	static char value[100 * 1024];
	char key[16];

	memset(value, 'v', sizeof value - 1);
	for (int i = 0; i < 9; i++) {
		snprintf(key, sizeof key, "k%d", i);
		cr_assert_eq(set(key, value), STORE_DONE);
	}
	cr_expect(has("k0", value, NOW));
	cr_expect_eq(set("k9", value), STORE_DONE);
	cr_expect_eq(set("k10", value), STORE_DONE);
	cr_expect(lacks("k1", NOW));
	cr_expect(has("k0", value, NOW), "used before k1 was evicted");
	cr_expect(has("k10", value, NOW));
	cr_expect_eq(store.counters.evictions, 1);
	cr_expect(store.bytes <= store.bytes_max);
}

Test(store, refuses_what_is_larger_than_all_its_memory)
{
	struct item *item = item_new("k", 1, NULL, VALUE_MAX, 0);

	memset(item_room(item), 'v', VALUE_MAX);
	set("old", "1");
	cr_expect_eq(store_put_consume(&store, STORE_SET, item, 0, NOW), STORE_NO_MEMORY);
	cr_expect(has("old", "1", NOW), "nothing is evicted for it");
}

Test(store, keeps_a_value_that_is_being_sent_although_it_was_replaced)
{
	set("a", "old");
	struct item *item = get("a", NOW);
	set("a", "new");
	store_flush(&store, 0, NOW);
	set("b", "x");
	cr_expect(memcmp(item_value(item), "old", 3) == 0);
	item_put(item);
}

Test(store, obeys_each_mode)
{
	cr_expect_eq(put(STORE_REPLACE, "a", "1", 0, NOW), STORE_NOT_STORED);
	cr_expect_eq(put(STORE_APPEND, "a", "1", 0, NOW), STORE_NOT_STORED);
	cr_expect_eq(put(STORE_PREPEND, "a", "1", 0, NOW), STORE_NOT_STORED);
	cr_expect_eq(put(STORE_CAS, "a", "1", 0, NOW), STORE_NOT_FOUND);
	cr_expect_eq(put(STORE_ADD, "a", "1", 0, NOW), STORE_DONE);
	cr_expect_eq(put(STORE_ADD, "a", "2", 0, NOW), STORE_NOT_STORED);
	cr_expect_eq(put(STORE_APPEND, "a", "2", 0, NOW), STORE_DONE);
	cr_expect_eq(put(STORE_PREPEND, "a", "0", 0, NOW), STORE_DONE);
	cr_expect(has("a", "012", NOW));
	cr_expect_eq(put(STORE_REPLACE, "a", "9", 0, NOW), STORE_DONE);
	cr_expect(has("a", "9", NOW));
}

Test(store, lets_only_the_holder_of_the_current_cas_through)
{
	set("a", "1");
	struct item *item = get("a", NOW);
	uint64_t cas = item->cas;
	item_put(item);
	cr_expect_eq(store_put_consume(&store, STORE_CAS, item_new("a", 1, "2", 1, 0), cas, NOW), STORE_DONE);
	cr_expect_eq(store_put_consume(&store, STORE_CAS, item_new("a", 1, "3", 1, 0), cas, NOW), STORE_EXISTS);
	cr_expect(has("a", "2", NOW));
}

Test(store, keeps_flags_and_expiry_through_append_and_incr)
{
	uint64_t number = 0;

	put(STORE_SET, "n", "1", 10, NOW);
	cr_expect_eq(put(STORE_APPEND, "n", "0", 0, NOW), STORE_DONE);
	cr_expect_eq(store_add_number(&store, "n", 1, true, 5, NOW, &number), STORE_DONE);
	cr_expect_eq(number, 15);
	struct item *item = get("n", NOW);
	cr_expect_eq(item->flags, 7);
	item_put(item);
	cr_expect(lacks("n", NOW + 10 * NSEC_PER_SEC));
}

Test(store, counts_up_around_and_down_to_zero)
{
	uint64_t number = 0;

	set("n", "10");
	cr_expect_eq(store_add_number(&store, "n", 1, true, UINT64_MAX, NOW, &number), STORE_DONE);
	cr_expect_eq(number, 9);
	cr_expect_eq(store_add_number(&store, "n", 1, false, 100, NOW, &number), STORE_DONE);
	cr_expect_eq(number, 0);
	set("n", "ten");
	cr_expect_eq(store_add_number(&store, "n", 1, true, 1, NOW, &number), STORE_NOT_A_NUMBER);
	set("n", "");
	cr_expect_eq(store_add_number(&store, "n", 1, true, 1, NOW, &number), STORE_NOT_A_NUMBER);
	cr_expect_eq(store_add_number(&store, "m", 1, true, 1, NOW, &number), STORE_NOT_FOUND);
}

Test(store, forgets_an_item_when_its_time_has_come)
{
	put(STORE_SET, "soon", "1", 10, NOW);
	put(STORE_SET, "month", "1", 30 * DAY, NOW);
	put(STORE_SET, "date", "1", NOW / NSEC_PER_SEC + 40 * DAY, NOW);
	put(STORE_SET, "past", "1", 30 * DAY + 1, NOW);
	put(STORE_SET, "gone", "1", -1, NOW);
	put(STORE_SET, "ever", "1", 0, NOW);
	cr_expect(lacks("gone", NOW));
	cr_expect(lacks("past", NOW), "more than 30 days is a date, in 1970");
	cr_expect(has("soon", "1", NOW + 10 * NSEC_PER_SEC - 1));
	cr_expect(lacks("soon", NOW + 10 * NSEC_PER_SEC));
	cr_expect(has("month", "1", NOW + 30 * DAY * NSEC_PER_SEC - 1));
	cr_expect(lacks("month", NOW + 30 * DAY * NSEC_PER_SEC));
	cr_expect(has("date", "1", NOW + 40 * DAY * NSEC_PER_SEC - 1));
	cr_expect(lacks("date", NOW + 40 * DAY * NSEC_PER_SEC));
	cr_expect(has("ever", "1", INT64_MAX));
	cr_expect_eq(store.table.count, 1);
}

Test(store, takes_an_expired_key_for_absent)
{
	put(STORE_SET, "a", "1", 1, NOW);
	cr_expect_eq(put(STORE_REPLACE, "a", "2", 0, NOW + NSEC_PER_SEC), STORE_NOT_STORED);
	put(STORE_SET, "a", "1", 1, NOW);
	cr_expect_eq(put(STORE_ADD, "a", "2", 0, NOW + NSEC_PER_SEC), STORE_DONE);
	cr_expect_eq(store_delete(&store, "b", 1, NOW), STORE_NOT_FOUND);
}

Test(store, touches_and_survives_its_old_expiry)
{
	put(STORE_SET, "a", "1", 1, NOW);
	struct item *item = store_touch(&store, "a", 1, item_expiry_ns(10, NOW), NOW);
	cr_expect_not_null(item);
	item_put(item);
	cr_expect(has("a", "1", NOW + 9 * NSEC_PER_SEC));
	cr_expect(lacks("a", NOW + 10 * NSEC_PER_SEC));
}

Test(store, flushes_now_or_later_what_is_there_by_then)
{
	set("a", "1");
	store_flush(&store, 0, NOW);
	cr_expect_eq(store.table.count, 0);
	cr_expect_eq(store.bytes, 0);
	set("b", "1");
	store_flush(&store, NOW + 5, NOW);
	cr_expect(has("b", "1", NOW + 4));
	put(STORE_SET, "c", "1", 0, NOW + 4);
	put(STORE_SET, "d", "1", 0, NOW + 6);
	cr_expect(lacks("b", NOW + 6));
	cr_expect(lacks("c", NOW + 6));
	cr_expect(has("d", "1", NOW + 6));
}

Test(store, finds_every_item_while_and_after_the_table_grows)
{
	char key[16];

	store.bytes_max = SIZE_MAX;
	for (int i = 0; i < 50000; i++) {
		snprintf(key, sizeof key, "key%d", i);
		cr_assert_eq(set(key, key), STORE_DONE);
		snprintf(key, sizeof key, "key%d", i / 2);
		cr_assert(has(key, key, NOW));
		if (i % 3 == 0) {
			snprintf(key, sizeof key, "key%d", i);
			cr_assert_eq(store_delete(&store, key, strlen(key), NOW), STORE_DONE);
			cr_assert_eq(set(key, key), STORE_DONE);
		}
	}
	for (int i = 0; i < 50000; i++) {
		snprintf(key, sizeof key, "key%d", i);
		cr_assert(has(key, key, NOW));
	}
	cr_expect_eq(store.table.count, 50000);
	cr_expect(store.table.mask > 30000);
}

Test(store, loads_in_order_with_cas_and_without_evicting)
{
	struct item *item;

	for (uint64_t cas = 5; cas >= 3; cas--) {
		char key = (char)('a' + cas);
		item = item_new(&key, 1, NULL, 400 * 1024, 0);
		memset(item_room(item), 'v', 400 * 1024);
		item->cas = cas;
		cr_assert_eq(store_load_consume(&store, item), 0);
	}
	cr_expect_str_eq(order(), "f e d ");
	cr_expect(store.bytes > store.bytes_max, "a load loses nothing, whatever the limit");
	cr_expect_eq(store.cas, 5);
	cr_expect_eq(store_load_consume(&store, item_new("d", 1, "", 0, 0)), -EEXIST);
	set("x", "1");
	cr_expect(store.bytes <= store.bytes_max, "the next request brings it down");
	cr_expect(lacks("f", NOW));
}

/* ---- another store that follows ---- */

static struct store other;

static void follow(void *userdata, void *for_whom, enum store_change change, const struct item *item)
{
	struct item *copy;

	(void)userdata, (void)for_whom;
	switch (change) {
	case STORE_ITEM_PUT:
		copy = item_new(item_key(item), item->key_size, item_value(item), item->value_size, item->flags);
		copy->cas = item->cas;
		copy->state = item->state;
		store_replay_put_consume(&other, copy);
		return;
	case STORE_ITEM_REMOVED:
		store_replay_remove(&other, item_key(item), item->key_size);
		return;
	case STORE_EMPTIED:
		store_replay_empty(&other);
		return;
	case STORE_NUMBERS:
		other.flush_due_ns = store.flush_due_ns;
		other.counters = store.counters;
		return;
	}
}

static int in_other(const struct item *item, void *arg)
{
	const struct item *twin = table_find(&other.table, table_hash(&other.table, item_key(item), item->key_size),
					     item_key(item), item->key_size);

	(void)arg;
	cr_assert_not_null(twin);
	cr_assert_eq(twin->value_size, item->value_size);
	cr_assert_eq(memcmp(item_value(twin), item_value(item), item->value_size), 0);
	cr_assert_eq(twin->cas, item->cas);
	cr_assert_eq(twin->flags, item->flags);
	cr_assert_eq(twin->state.expires_ns, item->state.expires_ns);
	return 0;
}

Test(store, tells_all_that_another_one_needs_to_follow)
{
	static char value[20 * 1024];
	unsigned rng = 12345;
	uint64_t number;

	cr_assert_eq(store_init(&other, SIZE_MAX), 0);
	store.on_change = follow;
	memset(value, '1', sizeof value - 1);
	for (int i = 0; i < 20000; i++) {
		int64_t now = NOW + i * NSEC_PER_SEC / 100;
		char key[16];

		rng = rng * 1103515245 + 12345;
		snprintf(key, sizeof key, "k%u", rng >> 8 & 127);
		value[rng >> 16 & 4095] = '1';
		switch (rng >> 20 & 15) {
		case 0:
			store_lock(&store, NULL, now);
			store_delete(&store, key, strlen(key), now);
			store_unlock(&store);
			break;
		case 1:
			store_lock(&store, NULL, now);
			item_put(store_touch(&store, key, strlen(key), now + 60 * NSEC_PER_SEC, now));
			store_unlock(&store);
			break;
		case 2:
			store_lock(&store, NULL, now);
			store_add_number(&store, key, strlen(key), true, 3, now, &number);
			store_unlock(&store);
			break;
		case 3:
			if ((rng >> 24 & 31) == 0) {
				store_lock(&store, NULL, now);
				store_flush(&store, rng >> 30 ? now + NSEC_PER_SEC : 0, now);
				store_unlock(&store);
			}
			break;
		case 4:
			put(STORE_APPEND, key, "1", 0, now);
			break;
		case 5:
			put(STORE_SET, key, "7", 30, now);
			break;
		default:
			put(STORE_SET, key, value + (rng >> 17 & 16383), 0, now);
		}
		if (i % 1000 == 0)
			store_walk(&store, in_other, NULL);
	}
	store_walk(&store, in_other, NULL);
	cr_expect_gt(store.counters.evictions, 0);
	cr_expect_gt(store.counters.cmd_flush, 0);
	/* What has expired here unseen may be there still, and is found to be expired there as well. */
	cr_expect_geq(other.table.count, store.table.count);
	cr_expect_eq(other.cas, store.cas);
	cr_expect_eq(other.flush_due_ns, store.flush_due_ns);
	store_done(&other);
}
