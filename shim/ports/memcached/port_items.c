/* SPDX-License-Identifier: MIT */
/* Items and counters as records. At the end of memcached's items.c, whose lists it walks. */
#if PORT_VERSION == 1
#include "memcached_v1.pb-c.h"
#define ITEM_RECORD Mc__V1__Item
#define ITEM_RECORD_INIT MC__V1__ITEM__INIT
#else
#include "memcached_v2.pb-c.h"
#define ITEM_RECORD Mc__V2__Item
#define ITEM_RECORD_INIT MC__V2__ITEM__INIT
#endif

#define MARKS (ITEM_FETCHED | ITEM_ACTIVE | ITEM_TOKEN_SENT | ITEM_TOKEN_RESERVED | ITEM_STALE | ITEM_KEY_BINARY)

bool port_loads;

static int save_item(struct upg_saver *saver, item *it)
{
	ITEM_RECORD record = ITEM_RECORD_INIT;
	char *whole = it->it_flags & ITEM_CHUNKED ? malloc((size_t)it->nbytes) : ITEM_data(it);
	int r;

	if (!whole)
		return -ENOMEM;
	if (it->it_flags & ITEM_CHUNKED)
		port_chunks(it, whole);
	record.key = (ProtobufCBinaryData){ it->nkey, (uint8_t *)ITEM_key(it) };
	record.value = (ProtobufCBinaryData){ (size_t)it->nbytes, (uint8_t *)whole };
	FLAGS_CONV(it, record.flags);
	record.expires = it->exptime;
	record.accessed = it->time;
	record.cas = ITEM_get_cas(it);
	record.segment = ITEM_lruid(it);
	record.marks = it->it_flags & MARKS;
#if PORT_VERSION > 1
	record.stored = it->stored;
#endif
	r = upg_save(saver, &record.base);
	if (it->it_flags & ITEM_CHUNKED)
		free(whole);
	return r;
}

/* All hot ones before all cold ones: where there is not room for all, the cold ones are those that are left out. */
int port_save_items(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	for (unsigned id = 0; id < LARGEST_ID; id++)
		for (item *it = heads[id]; it && r == 0; it = it->next)
			if (it->nkey || it->nbytes) /* else it is the crawler's mark of where it is */
				r = save_item(saver, it);
	return r;
}

/* They come from the head to the tail. */
static void move_to_tail(item *it)
{
	item **head = &heads[it->slabs_clsid], **tail = &tails[it->slabs_clsid];

	if (*tail == it)
		return;
	*head = it->next;
	it->next->prev = NULL;
	it->next = NULL;
	it->prev = *tail;
	(*tail)->next = it;
	*tail = it;
}

int port_load_item(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const ITEM_RECORD *from = (const ITEM_RECORD *)message;
	uint32_t hv = hash((char *)from->key.data, from->key.len);
	item *it;

	if (from->expires && from->expires <= current_time)
		return upg_load_skip(loader, "it has expired");
	it = item_alloc((char *)from->key.data, from->key.len, (int)from->flags, from->expires, (int)from->value.len);
	if (!it || !port_fill(it, from->value)) {
		if (it)
			do_item_remove(it);
		return upg_load_skip(loader, "there is no room for it within -m and -I");
	}
	if (settings.lru_segmented && (from->segment != TEMP_LRU || settings.temp_lru))
		it->slabs_clsid = (uint8_t)(ITEM_clsid(it) | from->segment);
	it->it_flags |= from->marks & MARKS;
	do_item_link(it, hv);
	do_item_remove(it); /* the list holds it now */
	move_to_tail(it);
	it->time = from->accessed;
	ITEM_set_cas(it, from->cas);
#if PORT_VERSION > 1
	it->stored = from->stored;
#endif
	if (!item_is_flushed(it))
		return 0;
	do_item_unlink(it, hv);
	return upg_load_skip(loader, "it was flushed");
}

/* ---- counters ---- */

#define GLOBAL_FIELDS X(total_items) X(total_conns) X(rejected_conns) X(malloc_fails) X(listen_disabled_num) X(slabs_moved) \
	X(slab_reassign_rescues) X(slab_reassign_evictions_nomem) X(slab_reassign_inline_reclaim) X(slab_reassign_chunk_rescues) \
	X(slab_reassign_busy_items) X(slab_reassign_busy_deletes) X(lru_crawler_starts) X(lru_maintainer_juggles) \
	X(time_in_listen_disabled_us) X(log_worker_dropped) X(log_worker_written) X(log_watcher_skipped) X(log_watcher_sent)
#define LRU_FIELDS X(evicted) X(evicted_nonzero) X(reclaimed) X(outofmemory) X(tailrepairs) X(expired_unfetched) \
	X(evicted_unfetched) X(evicted_active) X(crawler_reclaimed) X(crawler_items_checked) X(lrutail_reflocked) \
	X(moves_to_cold) X(moves_to_warm) X(moves_within_lru) X(direct_reclaims)

static const struct counter {
	const char *name;
	void *at;              /* NULL: in a struct thread_stats */
	size_t offset, stride;
	unsigned n;
} counters[] = {
	{ "cas", &cas_id, 0, 0, 1 },
#define X(field) { #field, &stats.field, 0, 0, 1 },
	GLOBAL_FIELDS
#undef X
#define X(field) { "lru " #field, &itemstats[0].field, 0, sizeof(itemstats_t), LARGEST_ID },
	LRU_FIELDS
#undef X
#define X(field) { #field, NULL, offsetof(struct thread_stats, field), 0, 1 },
	THREAD_STATS_FIELDS
#undef X
#define X(field) { "slab " #field, NULL, offsetof(struct thread_stats, slab_stats[0].field), sizeof(struct slab_stats), \
		   MAX_NUMBER_OF_SLAB_CLASSES },
	SLAB_STATS_FIELDS
#undef X
	{ "lru hits", NULL, offsetof(struct thread_stats, lru_hits), sizeof(uint64_t), POWER_LARGEST },
};

static uint64_t *counter_at(const struct counter *counter, struct thread_stats *thread, unsigned i)
{
	return (uint64_t *)((char *)(counter->at ? counter->at : thread) + counter->offset + i * counter->stride);
}

int port_save_counters(struct upg_saver *saver, void *userdata)
{
	uint64_t values[LARGEST_ID];
	struct thread_stats sum;
	int r = 0;

	threadlocal_stats_aggregate(&sum);
	sum.response_obj_count = sum.response_obj_bytes = 0; /* of this process's memory */
	for (unsigned id = 0; id < POWER_LARGEST; id++)
		sum.slab_stats[CLEAR_LRU(id)].get_hits -= sum.lru_hits[id]; /* were added for the sum */
	for (const struct counter *counter = counters; counter < counters + sizeof(counters) / sizeof(*counters) && r == 0; counter++) {
		Mc__V1__Counter record = MC__V1__COUNTER__INIT;

		record.name = (char *)counter->name;
		record.values = values;
		for (unsigned i = 0; i < counter->n; i++)
			if ((values[i] = *counter_at(counter, &sum, i)) != 0)
				record.n_values = i + 1;
		r = upg_save(saver, &record.base);
	}
	return r;
}

/* One that this version does not have is none of its business. */
int port_load_counter(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Mc__V1__Counter *from = (const Mc__V1__Counter *)message;

	for (const struct counter *counter = counters; counter < counters + sizeof(counters) / sizeof(*counters); counter++)
		for (unsigned i = 0; strcmp(counter->name, from->name) == 0 && i < counter->n && i < from->n_values; i++)
			*counter_at(counter, &get_worker_thread(0)->stats, i) = from->values[i];
	return 0;
}
