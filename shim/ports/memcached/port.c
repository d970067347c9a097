/* SPDX-License-Identifier: MIT */
/* Items, connections, threads, listeners and the start. At the end of memcached.c. ITEM is the version's message. */
#include <limits.h>
#include <malloc.h>

#define PAGES (32u << 20) /* that a page for each slab class takes, and half of them are in use */
#define STEP (64u << 20)  /* after which it says that it gets on */
#define MARKS (ITEM_FETCHED | ITEM_ACTIVE | ITEM_TOKEN_SENT | ITEM_TOKEN_RESERVED | ITEM_STALE | ITEM_KEY_BINARY)

struct upg *port_upg;
struct upg_libevent port_glue;
bool port_loads, port_serves;
int port_standing;
extern item **const port_heads, **const port_tails;
static unsigned n_loaded; /* connections */
static bool stands;       /* all threads do */
static void *hash_table;

static int gather(void (*put)(void *of, FILE *to), void *of, ProtobufCBinaryData *ret_bytes)
{
	FILE *to = open_memstream((char **)&ret_bytes->data, &ret_bytes->len);

	if (!to)
		return -ENOMEM;
	put(of, to);
	return fclose(to) == 0 ? 0 : -ENOMEM;
}

/* ---- items ---- */

static void put_chunks(void *it, FILE *to)
{
	for (item_chunk *chunk = (item_chunk *)ITEM_schunk((item *)it); chunk; chunk = chunk->next)
		fwrite(chunk->data, 1, (size_t)chunk->used, to);
}

static int save_item(struct upg_saver *saver, item *it)
{
	ITEM record = ITEM_INIT;
	bool chunked = it->it_flags & ITEM_CHUNKED;
	int r = chunked ? gather(put_chunks, it, &record.value) : 0;

	if (!chunked)
		record.value = (ProtobufCBinaryData){ (size_t)it->nbytes, (uint8_t *)ITEM_data(it) };
	record.key = (ProtobufCBinaryData){ it->nkey, (uint8_t *)ITEM_key(it) };
	FLAGS_CONV(it, record.flags);
	record.expires = it->exptime;
	record.accessed = it->time;
	record.cas = ITEM_get_cas(it);
	record.segment = ITEM_lruid(it);
	record.marks = it->it_flags & MARKS;
#if PORT_VERSION > 1
	record.stored = it->stored;
#endif
	r = r ? r : upg_save(saver, &record.base);
	if (chunked)
		free(record.value.data);
	return r;
}

/* All hot ones come before all cold ones: where there is not room for all, the cold ones are left out. */
static int save_items(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	for (unsigned id = 0; id < POWER_LARGEST; id++)
		for (item *it = port_heads[id]; it && r == 0; it = it->next)
			if (it->nkey || it->nbytes) /* else it is where the crawler is */
				r = save_item(saver, it);
	return r;
}

static bool fill(item *it, ProtobufCBinaryData value)
{
	if (it->it_flags & ITEM_CHUNKED) {
		conn reader = { .ritem = ITEM_schunk(it), .rlbytes = (int)value.len, .rcurr = (char *)value.data,
				.rbytes = (int)value.len, .protocol = ascii_prot };

		return read_into_chunked_item(&reader) >= 0;
	}
	memcpy(ITEM_data(it), value.data, value.len);
	return true;
}

/* Items are linked to the head, and come from the head to the tail. */
static void move_to_tail(item *it)
{
	item **head = &port_heads[it->slabs_clsid], **tail = &port_tails[it->slabs_clsid];

	if (*tail == it)
		return;
	*head = it->next;
	(*head)->prev = NULL;
	it->next = NULL;
	it->prev = *tail;
	*tail = it->prev->next = it;
}

static int load_item(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const ITEM *from = (const ITEM *)message;
	char *key = (char *)from->key.data;
	item *it = NULL;

	if (from->expires && from->expires <= current_time)
		return upg_load_skip(loader, "it has expired");
	it = do_item_alloc(key, from->key.len, from->flags, from->expires, (int)from->value.len);
	if (!it || !fill(it, from->value)) {
		if (it)
			do_item_remove(it);
		return upg_load_skip(loader, "there is no room for it within -m and -I");
	}
	if (settings.lru_segmented && (from->segment != TEMP_LRU || settings.temp_lru))
		it->slabs_clsid = (uint8_t)(ITEM_clsid(it) | from->segment);
	it->it_flags |= from->marks & MARKS;
	do_item_link(it, hash(key, from->key.len));
	do_item_remove(it); /* the table holds it now */
	move_to_tail(it);
	stats.total_items--; /* it is not new */
	set_cas_id(get_cas_id() - 2);
	it->time = from->accessed;
	ITEM_set_cas(it, from->cas);
#if PORT_VERSION > 1
	it->stored = from->stored;
#endif
	if (!item_is_flushed(it))
		return 0;
	item_unlink(it);
	return upg_load_skip(loader, "it was flushed");
}

static uint64_t count_items(void *userdata)
{
	return __atomic_load_n(&stats_state.curr_items, __ATOMIC_RELAXED);
}

/* ---- connections ---- */

/* The line or header in front of a value, for when the value is half there. Of a line the end is a NUL already. */
void port_remember(conn *c, const char *request, size_t bytes)
{
	c->port_line_bytes = bytes <= PORT_LINE_BYTES ? bytes : 0;
	memcpy(c->port_line, request, c->port_line_bytes);
	if (c->protocol == ascii_prot && c->port_line_bytes)
		c->port_line[bytes - 1] = '\n';
}

/* What would have to be received for it to come to where it is. */
static void put_input(void *of, FILE *to)
{
	conn *c = of;
	item *it = c->item;

	if (c->state == conn_nread) {
		fwrite(c->port_line, 1, c->port_line_bytes, to);
		if (it->it_flags & ITEM_CHUNKED)
			put_chunks(it, to);
		else
			fwrite(ITEM_data(it), 1, (size_t)(c->ritem - ITEM_data(it)), to);
	}
	fwrite(c->rcurr, 1, (size_t)c->rbytes, to);
}

static void put_output(void *of, FILE *to)
{
	conn *c = of;
	mc_resp *head = c->resp_head;
	struct iovec iov[IOV_MAX];

	for (mc_resp *resp = head; resp; resp = resp->next) {
		c->resp_head = resp;
		for (int i = 0, n = resp->skip ? 0 : _transmit_pre(c, iov, 0, TRANSMIT_ONE_RESP); i < n; i++)
			fwrite(iov[i].iov_base, 1, iov[i].iov_len, to);
	}
	c->resp_head = head;
}

static int save_conns(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	for (struct upg_fd_info it = { .fd = -1 }; r == 0 && upg_fd_next(port_upg, &it);) {
		Mc__V1__Connection record = MC__V1__CONNECTION__INIT;
		conn *c = conns[it.fd];

		if (strcmp(it.name, "client") != 0)
			continue;
		record.tag = it.tag;
		record.protocol = c->protocol;
		record.transport = c->transport;
		record.swallow = c->state == conn_swallow ? (uint32_t)c->sbytes : 0;
		record.closes = c->close_after_write;
		record.authenticated = c->authenticated;
		r = gather(put_input, c, &record.input);
		r = r ? r : gather(put_output, c, &record.output);
		r = r ? r : upg_save(saver, &record.base);
		free(record.input.data);
		free(record.output.data);
	}
	return r;
}

/* Its worker stands. No event announces what is in a buffer: room for output brings the worker to it. */
static int load_conn(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Mc__V1__Connection *from = (const Mc__V1__Connection *)message;
	LIBEVENT_THREAD *thread = get_worker_thread((int)(n_loaded++ % (unsigned)settings.num_threads));
	bool busy = from->input.len || from->output.len || from->swallow || from->closes;
	int fd = upg_load_claim(loader, "client", from->tag);
	conn *c = fd < 0 || fd >= max_fds ? NULL :
		conn_new(fd, conn_new_cmd, (busy ? EV_WRITE : EV_READ) | EV_PERSIST, READ_BUFFER_CACHED, from->transport,
			 thread->base, NULL, 0, from->protocol);

	if (!c)
		return upg_load_fail(loader, "client %llu: no descriptor came, or -c is too low", (unsigned long long)from->tag);
	stats_state.curr_conns--, stats.total_conns--; /* it is not new */
	c->thread = thread;
	conn_io_queue_setup(c);
	if (busy) {
		c->rsize = (int)from->input.len + READ_BUFFER_SIZE;
		c->rbuf = c->rcurr = malloc((size_t)c->rsize);
		c->rbytes = (int)from->input.len;
		c->rbuf_malloced = true;
		if (!c->rbuf || !resp_start(c) || !(c->resp->write_and_free = malloc(from->output.len + 1)))
			return upg_load_fail(loader, "client %llu: no memory", (unsigned long long)from->tag);
		memcpy(c->rbuf, from->input.data, from->input.len);
		memcpy(c->resp->write_and_free, from->output.data, from->output.len);
		resp_add_iov(c->resp, c->resp->write_and_free, (int)from->output.len);
	}
	c->state = from->swallow ? conn_swallow : from->closes ? conn_mwrite : conn_new_cmd;
	c->sbytes = (int)from->swallow;
	c->close_after_write = from->closes;
	c->authenticated = from->authenticated;
	if (c->authenticated && c->protocol == ascii_prot)
		c->try_read_command = try_read_command_ascii;
	return 0;
}

/* ---- coming to rest, and back ---- */

/* Workers come before the crawler, for which one of them may wait; the others may take a while, and nobody waits for them. What
 * may last is not begun: a growing hash table holds the first of these locks, a dump whose client does not read the last one. */
static int stop_threads_if_possible(uint64_t deadline_us, void *userdata)
{
	stands = !stats_state.hash_is_expanding;
	for (int fd = 0; fd < max_fds && stands; fd++)
		stands = !conns[fd] || conns[fd]->state != conn_watch;
	if (!stands)
		return 0; /* and on_prepare() says why */
	hash_table = assoc_get_iterator();
	slabs_rebalancer_pause();
	lru_maintainer_pause();
	pause_threads(PAUSE_WORKER_THREADS);
	lru_crawler_pause();
	return 0;
}

static void start_threads(void *userdata)
{
	if (!stands)
		return;
	pause_threads(RESUME_ALL_THREADS);
	assoc_iterate_final(hash_table);
}

static enum upg_rest on_prepare(enum upg_level level, uint64_t deadline_us, void *userdata)
{
	const char *busy = stands ? NULL : "a client watches the log or dumps keys, or the hash table grows";

	for (int fd = 0; fd < max_fds && !busy; fd++) {
		const conn *c = conns[fd];

		if (!c || c->state == conn_closed || c->state == conn_listening || IS_UDP(c->transport))
			continue;
		if (c->sasl_started)
			busy = "a client is telling its password";
		else if (c->state == conn_nread && !c->port_line_bytes)
			busy = "a client is within a value that more than 512 bytes announced";
		else if (level >= UPG_REQUEST_FREE &&
			 (c->state == conn_nread || c->state == conn_swallow || c->rbytes || c->resp_head))
			busy = "a client is within a request";
		else if (level == UPG_PROTOCOL_FREE)
			busy = "a client is connected";
	}
	if (busy)
		upg_refuse(port_upg, "%s", busy);
	return busy ? UPG_NOT_YET : UPG_AT_REST;
}

static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	for (size_t i = 0; i < go_on->n_lost; i++)
		conn_close(conns[go_on->lost[i]]);
}

/* ---- becoming ---- */

static int load_counter(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	port_load_counter(loader, message, userdata);
	/* It goes on from where it was, and never back: old's seconds began at another moment than those of the day. */
	current_time = (rel_time_t)(time(NULL) - process_started);
	if (current_time < port_clock)
		current_time = (rel_time_t)port_clock;
	monotonic_start = now.tv_sec - current_time;
	return 0;
}

static const struct upg_type types[] = {
	{ .name = "mc.Counter", .version = 1, .descriptor = &mc__v1__counter__descriptor, .save = port_save_counters,
	  .load = load_counter },
	{ .name = "mc.Item", .version = PORT_VERSION, .descriptor = &ITEM_DESCRIPTOR, .save = save_items, .load = load_item,
	  .count = count_items, .record_max = 1u << 30 },
	{ .name = "mc.Connection", .version = 1, .descriptor = &mc__v1__connection__descriptor, .save = save_conns,
	  .load = load_conn, .process_only = 1, .record_max = 1u << 30 },
};
static const struct upg_migration migrations[] = { MIGRATIONS };
static const struct upg_config config = {
	.service = "memcached", .version = PORT_VERSION == 1 ? "v1" : "v2",
	.types = types, .n_types = sizeof(types) / sizeof(*types),
	.migrations = migrations, .n_migrations = sizeof(migrations) / sizeof(*migrations),
	.stop_threads = stop_threads_if_possible, .start_threads = start_threads, .on_prepare = on_prepare, .on_go_on = on_go_on,
};

static void leave(const char *why)
{
	if (*why)
		fprintf(stderr, "memcached: %s\n", why);
	exit(*why ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Clients wait for each page of memory that is touched for the first time while items are loaded, so the heap grows here. Each
 * page is written to, and not only asked for (MADV_POPULATE_WRITE): below a hypervisor that keeps page tables of its own the
 * first access is what costs, some microseconds for a page, however large it is. */
static void touch(uint64_t bytes)
{
	uint64_t room = (bytes + bytes / 4 + PAGES) & ~UINT64_C(4095), most = INT_MAX & ~UINT64_C(4095);
	void *volatile block;
	char *end;

	room = room > settings.maxbytes ? settings.maxbytes & ~UINT64_C(4095) : room;
	room = room > most ? most : room;
	mallopt(M_MMAP_THRESHOLD, PAGES);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	mallopt(M_TOP_PAD, (int)room);
	block = malloc((size_t)settings.slab_page_size);
	free(block);
	mallopt(M_TOP_PAD, settings.slab_page_size);
	end = sbrk(0);
	madvise(end - room, room, MADV_HUGEPAGE);
	for (uint64_t at = 0; at < room; at += 4096) {
		((volatile char *)end - room)[at] = 0; /* new, or let go of */
		if (at % STEP == 0)
			upg_progress(port_upg, "touching memory");
	}
}

/* What is made ready here costs no client time. */
void port_open(void)
{
	uint64_t items, bytes;

	if (upg_open(&config, &port_upg) < 0)
		leave(upg_why(NULL));
	if (upg_expected(port_upg, "mc.Item", &items, &bytes) < 0)
		return;
	touch(bytes);
	if (!settings.hashpower_init)
		for (settings.hashpower_init = HASHPOWER_DEFAULT; items > (UINT64_C(3) << settings.hashpower_init) / 2;)
			settings.hashpower_init++;
}

/* All threads are there already, so they stand until this process serves. What loads needs a logger, as a worker has. */
void port_receive(void)
{
	stop_threads_if_possible(0, NULL);
	logger_create();
	port_loads = true;
	if (upg_receive(port_upg) == UPG_NOT_RECEIVED)
		leave(upg_why(port_upg));
	port_loads = false;
	mallopt(M_MMAP_THRESHOLD, settings.slab_page_size);
}

void port_serve(void)
{
	if (n_loaded)
		stats.total_conns -= stats_state.curr_conns; /* listeners were counted when they were first opened */
	stats_state.curr_conns += n_loaded;
	if (upg_ready(port_upg) != UPG_SERVE || upg_libevent_watch(&port_glue, port_upg, main_base) < 0)
		leave(upg_why(port_upg));
	port_serves = true;
	start_threads(NULL);
}

int port_listen(const struct sockaddr *address, socklen_t bytes, int type)
{
	int fd = upg_listen(port_upg, address, bytes, type | SOCK_NONBLOCK, settings.backlog);

	errno = fd < 0 ? -fd : errno;
	return fd < 0 ? -1 : fd;
}
