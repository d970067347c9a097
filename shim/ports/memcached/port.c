/* SPDX-License-Identifier: MIT */
/* The start, listeners and threads. At the end of memcached.c, after port_conns.c. */
#include <upgrade/libevent.h>

#if PORT_VERSION == 1
#define ITEM_DESCRIPTOR mc__v1__item__descriptor
#else
#include "memcached_v2.upgrade.h"
#define ITEM_DESCRIPTOR mc__v2__item__descriptor
#endif

#define LOCK_TIMEOUT_US 5000u

struct upg *port_upg;
int port_standing;
static struct upg_libevent glue;
static uint64_t total_conns; /* as they came: listeners are none */

/* ---- threads ---- */

/* Of the hash table's thread, which stops workers itself, and of the others in the background. */
extern pthread_mutex_t *const port_maintenance_lock, *const port_slabs_rebalance_lock, *const port_lru_maintainer_lock,
	*const port_lru_crawler_lock;

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static bool lock_until(pthread_mutex_t *lock, uint64_t until_us)
{
	struct timespec until = { .tv_sec = (time_t)(until_us / 1000000), .tv_nsec = (long)(until_us % 1000000 * 1000) };

	return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until) == 0;
}

static void start_threads(void *userdata)
{
	pthread_mutex_unlock(port_lru_crawler_lock);
	pthread_mutex_unlock(port_lru_maintainer_lock);
	pthread_mutex_unlock(port_slabs_rebalance_lock);
	pause_threads(RESUME_WORKER_THREADS);
	pthread_mutex_unlock(port_maintenance_lock);
}

/* Workers first: one of them may wait for the crawler. */
static bool stop_at_once(uint64_t deadline_us)
{
	pthread_mutex_t *const locks[] = { port_slabs_rebalance_lock, port_lru_maintainer_lock, port_lru_crawler_lock };
	int n = 0;

	if (!lock_until(port_maintenance_lock, deadline_us))
		return false;
	pause_threads(PAUSE_WORKER_THREADS);
	while (n < 3 && lock_until(locks[n], now_us() + LOCK_TIMEOUT_US))
		n++;
	if (n == 3)
		return true;
	while (n > 0)
		pthread_mutex_unlock(locks[--n]);
	pause_threads(RESUME_WORKER_THREADS);
	pthread_mutex_unlock(port_maintenance_lock);
	return false;
}

/* Clients are served between two attempts. */
static int stop_threads_until(uint64_t deadline_us, void *userdata)
{
	while (!stop_at_once(deadline_us)) {
		if (now_us() >= deadline_us)
			return -ETIMEDOUT;
		usleep(LOCK_TIMEOUT_US);
	}
	return 0;
}

/* ---- the clock, from which all times count ---- */

static int save_clock(struct upg_saver *saver, void *userdata)
{
	Mc__V1__Clock record = MC__V1__CLOCK__INIT;

	record.started = process_started;
	record.flushed = settings.oldest_live;
	record.flushed_cas = settings.oldest_cas;
	return upg_save(saver, &record.base);
}

static int load_clock(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Mc__V1__Clock *from = (const Mc__V1__Clock *)message;

	process_started = (time_t)from->started;
	current_time = (rel_time_t)(time(NULL) - process_started);
	monotonic_start = (int64_t)(now_us() / 1000000) - current_time;
	settings.oldest_live = from->flushed;
	settings.oldest_cas = from->flushed_cas;
	return 0;
}

/* ---- becoming ---- */

static uint64_t count_items(void *userdata)
{
	uint64_t n;

	STATS_LOCK();
	n = stats_state.curr_items;
	STATS_UNLOCK();
	return n;
}

static const struct upg_type types[] = {
	{ .name = "mc.Clock", .version = 1, .descriptor = &mc__v1__clock__descriptor, .save = save_clock, .load = load_clock },
	{ .name = "mc.Item", .version = PORT_VERSION, .descriptor = &ITEM_DESCRIPTOR, .save = port_save_items,
	  .load = port_load_item, .count = count_items, .record_max = 1u << 30 },
	{ .name = "mc.Connection", .version = 1, .descriptor = &mc__v1__connection__descriptor, .save = save_conns,
	  .load = load_conn, .process_only = 1, .record_max = 1u << 30 },
	{ .name = "mc.Counter", .version = 1, .descriptor = &mc__v1__counter__descriptor, .save = port_save_counters,
	  .load = port_load_counter },
};

#if PORT_VERSION > 1
static const struct upg_migration migrations[] = { MEMCACHED_V2_MIGRATIONS };
#endif

static const struct upg_config config = {
	.service = "memcached",
	.version = PORT_VERSION == 1 ? "v1" : "v2",
	.types = types,
	.n_types = sizeof(types) / sizeof(*types),
#if PORT_VERSION > 1
	.migrations = migrations,
	.n_migrations = sizeof(migrations) / sizeof(*migrations),
#endif
	.stop_threads = stop_threads_until,
	.start_threads = start_threads,
	.on_prepare = on_prepare,
	.on_go_on = on_go_on,
};

static void leave(void)
{
	if (*upg_why(port_upg))
		fprintf(stderr, "memcached: %s\n", upg_why(port_upg));
	exit(*upg_why(port_upg) ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* A hash table that grows while it is filled would cost time in which clients wait. */
void port_open(void)
{
	uint64_t items;

	if (upg_open(&config, &port_upg) < 0)
		leave();
	if (settings.hashpower_init || upg_expected(port_upg, "mc.Item", &items, NULL) < 0)
		return;
	settings.hashpower_init = HASHPOWER_DEFAULT;
	while (items > (UINT64_C(3) << settings.hashpower_init) / 2 && settings.hashpower_init < HASHPOWER_MAX)
		settings.hashpower_init++;
}

/* All threads are there already, so they stand until it is known that this process serves. Some of what runs in here runs in a
 * worker otherwise, which has a logger. */
void port_receive(void)
{
	if (!logger_create() || stop_threads_until(now_us() + 10000000, NULL) < 0) {
		fprintf(stderr, "memcached: its threads do not stop\n");
		exit(EXIT_FAILURE);
	}
	port_loads = true;
	if (upg_receive(port_upg) == UPG_NOT_RECEIVED)
		leave();
	port_loads = false;
	total_conns = stats.total_conns;
}

void port_serve(void)
{
	stats_state.curr_conns += n_loaded;
	stats.total_conns = total_conns;
	if (upg_ready(port_upg) != UPG_SERVE || upg_libevent_watch(&glue, port_upg, main_base) < 0)
		leave();
	start_threads(NULL);
}

void port_leave_if_told(void)
{
	if (glue.leaves)
		exit(EXIT_SUCCESS);
}

int port_listen(const struct sockaddr *address, socklen_t bytes, int type)
{
	int fd = upg_listen(port_upg, address, bytes, type | SOCK_NONBLOCK, settings.backlog);

	if (fd >= 0)
		return fd;
	errno = -fd;
	return -1;
}
