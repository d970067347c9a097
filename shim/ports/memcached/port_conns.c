/* SPDX-License-Identifier: MIT */
/* Connections and values as bytes. At the end of memcached.c. */
#include "memcached_v1.pb-c.h"

static unsigned n_loaded; /* connections that are not among stats_state.curr_conns yet */

/* ---- values in one piece ---- */

static size_t append(char *to, size_t at, const void *from, size_t bytes)
{
	if (to && bytes)
		memcpy(to + at, from, bytes);
	return at + bytes;
}

size_t port_chunks(const item *it, char *to)
{
	size_t n = 0;

	for (item_chunk *chunk = (item_chunk *)ITEM_schunk((item *)it); chunk; chunk = chunk->next)
		n = append(to, n, chunk->data, (size_t)chunk->used);
	return n;
}

/* Return: false: there is no room for all chunks. */
bool port_fill(item *it, ProtobufCBinaryData value)
{
	if (it->it_flags & ITEM_CHUNKED) {
		conn reader = { .ritem = ITEM_schunk(it), .rlbytes = (int)value.len, .rcurr = (char *)value.data,
				.rbytes = (int)value.len, .protocol = ascii_prot };

		return read_into_chunked_item(&reader) >= 0;
	}
	memcpy(ITEM_data(it), value.data, value.len);
	return true;
}

/* ---- connections ---- */

bool port_accept(int fd)
{
	uint64_t tag;

	return upg_fd_register_new(port_upg, fd, "client", &tag) == 0;
}

void port_close(int fd)
{
	upg_close(port_upg, fd, -1);
}

/* A line is told when its end is a NUL already. Of a request that waits for its value this is what was in front of the value. */
void port_remember(conn *c, const char *request, size_t bytes)
{
	c->port_line_bytes = bytes <= PORT_LINE_BYTES ? bytes : 0;
	memcpy(c->port_line, request, c->port_line_bytes);
}

/* What would have to be received for @c to come to where it is. @to: NULL: its size only. */
static size_t input_of(const conn *c, char *to)
{
	size_t n = 0;
	item *it = c->item;

	if (c->state == conn_nread) {
		n = append(to, 0, c->port_line, c->port_line_bytes);
		if (to && c->protocol == ascii_prot)
			to[n - 1] = '\n';
		if (it->it_flags & ITEM_CHUNKED)
			n += port_chunks(it, to ? to + n : NULL);
		else
			n = append(to, n, ITEM_data(it), (size_t)(c->ritem - ITEM_data(it)));
	}
	return append(to, n, c->rcurr, (size_t)c->rbytes);
}

static size_t output_of(conn *c, char *to)
{
	mc_resp *head = c->resp_head;
	struct iovec iov[IOV_MAX];
	size_t n = 0;

	for (mc_resp *resp = head; resp; resp = resp->next) {
		c->resp_head = resp;
		for (int i = 0, pieces = resp->skip ? 0 : _transmit_pre(c, iov, 0, TRANSMIT_ONE_RESP); i < pieces; i++)
			n = append(to, n, iov[i].iov_base, iov[i].iov_len);
	}
	c->resp_head = head;
	return n;
}

static int save_conn(struct upg_saver *saver, conn *c, uint64_t tag)
{
	Mc__V1__Connection record = MC__V1__CONNECTION__INIT;
	size_t input = input_of(c, NULL), output = output_of(c, NULL);
	char *bytes = malloc(input + output + 1);
	int r;

	if (!bytes)
		return -ENOMEM;
	input_of(c, bytes);
	output_of(c, bytes + input);
	record.tag = tag;
	record.input = (ProtobufCBinaryData){ input, (uint8_t *)bytes };
	record.output = (ProtobufCBinaryData){ output, (uint8_t *)bytes + input };
	record.protocol = c->protocol;
	record.transport = c->transport;
	record.swallow = c->state == conn_swallow ? (uint32_t)c->sbytes : 0;
	record.closes = c->close_after_write;
	record.authenticated = c->authenticated;
	record.credentials = c->sasl_started ? (uint32_t)c->rlbytes : 0;
	record.last_command = c->last_cmd_time;
	record.listener = c->tag;
	r = upg_save(saver, &record.base);
	free(bytes);
	return r;
}

static int save_conns(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	for (struct upg_fd_info it = { .fd = -1 }; r == 0 && upg_fd_next(port_upg, &it);)
		if (strcmp(it.name, "client") == 0)
			r = save_conn(saver, conns[it.fd], it.tag);
	return r;
}

/* Its worker stands. No event announces bytes that are in a buffer: room for output brings the worker to it. */
static int load_conn(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Mc__V1__Connection *from = (const Mc__V1__Connection *)message;
	LIBEVENT_THREAD *thread = get_worker_thread((int)(n_loaded++ % (unsigned)settings.num_threads));
	int fd = upg_load_claim(loader, "client", from->tag);
	bool idle = !from->input.len && !from->output.len && !from->swallow && !from->closes;
	char *output = malloc(from->output.len + 1);
	conn *c;

	if (fd < 0 || fd >= max_fds)
		return upg_load_fail(loader, "client %llu: %s", (unsigned long long)from->tag,
				     fd < 0 ? "its descriptor did not come" : "no room for it within -c");
	c = conn_new(fd, conn_new_cmd, (idle ? EV_READ : EV_WRITE) | EV_PERSIST, READ_BUFFER_CACHED, from->transport,
		     thread->base, NULL, from->listener, from->protocol);
	if (!c || !output || (!idle && !(c->rbuf = malloc(from->input.len + READ_BUFFER_SIZE))))
		return upg_load_fail(loader, "client %llu: no memory", (unsigned long long)from->tag);
	stats_state.curr_conns--;
	c->thread = thread;
	conn_io_queue_setup(c);
	if (!idle) {
		c->rbuf_malloced = true;
		c->rsize = (int)from->input.len + READ_BUFFER_SIZE;
		c->rcurr = c->rbuf;
		c->rbytes = (int)append(c->rbuf, 0, from->input.data, from->input.len);
	}
	append(output, 0, from->output.data, from->output.len);
	if (from->output.len && resp_start(c)) {
		c->resp->write_and_free = output;
		resp_add_iov(c->resp, output, (int)from->output.len);
	} else {
		free(output);
	}
	c->state = from->swallow ? conn_swallow : from->closes ? conn_mwrite : conn_new_cmd;
	c->sbytes = (int)from->swallow;
	c->close_after_write = from->closes;
	if (from->authenticated && c->protocol == ascii_prot)
		c->try_read_command = try_read_command_ascii;
	c->authenticated = from->authenticated;
	c->sasl_started = from->credentials > 0;
	c->rlbytes = (int)from->credentials;
	c->last_cmd_time = from->last_command;
	return 0;
}

/* ---- coming to rest, and back ---- */

static const char *busy_with(conn *c, enum upg_level level)
{
	if (c->state == conn_watch || c->state == conn_closing)
		return "watches the log or dumps keys";
	if (c->state == conn_nread && c->port_line_bytes == 0)
		return "is within a value, and its command was longer than what is kept of one";
	if (IS_UDP(c->transport))
		return c->resp_head ? "is answering a datagram" : NULL;
	if (level == UPG_PROTOCOL_FREE)
		return "is open";
	return level == UPG_REQUEST_FREE && (c->state == conn_swallow || input_of(c, NULL) || output_of(c, NULL)) ?
		       "is within a request" : NULL;
}

static enum upg_rest on_prepare(enum upg_level level, uint64_t deadline_us, void *userdata)
{
	for (int fd = 0; fd < max_fds; fd++) {
		conn *c = conns[fd];
		const char *busy = c && c->state != conn_closed && c->state != conn_listening ? busy_with(c, level) : NULL;

		if (!busy)
			continue;
		upg_refuse(port_upg, "connection %d %s", fd, busy);
		return UPG_NOT_YET;
	}
	return UPG_AT_REST;
}

static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	for (size_t i = 0; i < go_on->n_lost; i++)
		if (conns[go_on->lost[i]] && conns[go_on->lost[i]]->state != conn_closed)
			conn_close(conns[go_on->lost[i]]);
}
