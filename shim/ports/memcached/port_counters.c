/* SPDX-License-Identifier: MIT */
/* Counters as records. At the end of memcached's items.c, as those of the LRUs are known nowhere else. */
item **const port_heads = heads, **const port_tails = tails;

static struct thread_stats sum; /* of all threads */
static uint64_t flushed;        /* settings.oldest_live, as wide as the others */
uint64_t port_clock;            /* current_time, likewise */

static const struct counter {
	const char *name;
	void *at;
	size_t stride;
	unsigned n;
} counters[] = {
	{ "started", &process_started, 0, 1 }, /* unix time */
	{ "clock", &port_clock, 0, 1 },
	{ "flushed", &flushed, 0, 1 },
	{ "flushed cas", &settings.oldest_cas, 0, 1 },
	{ "cas", &cas_id, 0, 1 },
	{ "lru hits", sum.lru_hits, sizeof(uint64_t), POWER_LARGEST },
#define X(field) { #field, &sum.field, 0, 1 },
	THREAD_STATS_FIELDS
#undef X
#define X(field) { "slab " #field, &sum.slab_stats[0].field, sizeof(struct slab_stats), MAX_NUMBER_OF_SLAB_CLASSES },
	SLAB_STATS_FIELDS
#define GLOBAL(field) { #field, &stats.field, 0, 1 },
#define LRU(field) { "lru " #field, &itemstats[0].field, sizeof(itemstats_t), LARGEST_ID },
#include <counters.inc>
};

static uint64_t *counter_at(const struct counter *counter, unsigned i)
{
	return (uint64_t *)((char *)counter->at + i * counter->stride);
}

int port_save_counters(struct upg_saver *saver, void *userdata)
{
	uint64_t values[LARGEST_ID];
	int r = 0;

	flushed = settings.oldest_live;
	if (port_serves) /* the round trip saves what was loaded */
		port_clock = current_time;
	threadlocal_stats_aggregate(&sum);
	sum.response_obj_count = sum.response_obj_bytes = 0; /* of this process's memory */
	for (unsigned id = 0; id < POWER_LARGEST; id++)
		sum.slab_stats[CLEAR_LRU(id)].get_hits -= sum.lru_hits[id]; /* which the sum has in both */
	for (unsigned k = 0; k < sizeof(counters) / sizeof(*counters) && r == 0; k++) {
		Mc__V1__Counter record = MC__V1__COUNTER__INIT;

		record.name = (char *)counters[k].name;
		record.values = values;
		for (unsigned i = 0; i < counters[k].n; i++)
			if ((values[i] = *counter_at(&counters[k], i)) != 0)
				record.n_values = i + 1;
		r = upg_save(saver, &record.base);
	}
	return r;
}

int port_load_counter(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Mc__V1__Counter *from = (const Mc__V1__Counter *)message;
	const size_t bytes = offsetof(struct thread_stats, read_buf_count) - offsetof(struct thread_stats, get_cmds);

	for (unsigned k = 0; k < sizeof(counters) / sizeof(*counters); k++)
		for (unsigned i = 0; strcmp(counters[k].name, from->name) == 0 && i < counters[k].n && i < from->n_values; i++)
			*counter_at(&counters[k], i) = from->values[i];
	memcpy(&get_worker_thread(0)->stats.get_cmds, &sum.get_cmds, bytes);
	settings.oldest_live = (rel_time_t)flushed;
	return 0;
}
