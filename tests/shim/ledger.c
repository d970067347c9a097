/* SPDX-License-Identifier: MIT */
#include "tests/shim/ledger.h"

#include "tests/shim/ledger.pb-c.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCOUNT_V1 (&test__ledger__account_v1__descriptor)
#define ACCOUNT_V2 (&test__ledger__account_v2__descriptor)
#define LINK (&test__ledger__link__descriptor)
#define LISTENER_MARK UINT64_MAX

/* ---- state ---- */

static void account_message(const struct ledger *ledger, uint32_t key, Test__Ledger__AccountV1 *v1,
			    Test__Ledger__AccountV2 *v2, const ProtobufCMessage **ret)
{
	test__ledger__account_v1__init(v1);
	test__ledger__account_v2__init(v2);
	v1->key = v2->key = key;
	v1->value = ledger->values[key];
	v2->twice = ledger->values[key] * 2;
	*ret = ledger->version == 1 ? &v1->base : &v2->base;
}

static void link_message(const struct link *link, Test__Ledger__Link *ret)
{
	test__ledger__link__init(ret);
	ret->id = link->id;
	ret->left = link->left;
	ret->key = link->key;
	ret->seq = link->seq;
	ret->sum = link->sum;
	ret->quits = link->quits;
}

static int save_accounts(struct upg_saver *saver, void *userdata)
{
	struct ledger *ledger = userdata;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < LEDGER_ACCOUNTS; i++) {
		Test__Ledger__AccountV1 v1;
		Test__Ledger__AccountV2 v2;
		const ProtobufCMessage *message;

		if (!ledger->values[i])
			continue;
		account_message(ledger, i, &v1, &v2, &message);
		r = upg_save(saver, message);
	}
	return r;
}

static int take_account(struct ledger *ledger, const ProtobufCMessage *message)
{
	const Test__Ledger__AccountV1 *v1 = (const void *)message;
	const Test__Ledger__AccountV2 *v2 = (const void *)message;
	uint32_t key = ledger->version == 1 ? v1->key : v2->key;

	APP_MUST(key < LEDGER_ACCOUNTS);
	ledger->values[key] = ledger->version == 1 ? v1->value : v2->twice / 2;
	return 0;
}

static int load_account(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)loader;
	return take_account(userdata, message);
}

static int change_account(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	struct ledger *ledger = userdata;

	if (ledger->fails_change)
		return upg_load_fail(loader, "a test says so");
	APP_MUST(change == UPG_PUT);
	atomic_fetch_add(&ledger->n_changes_applied, 1);
	return take_account(ledger, message);
}

static int save_links(struct upg_saver *saver, void *userdata)
{
	struct ledger *ledger = userdata;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < LEDGER_LINKS; i++) {
		struct link *link = &ledger->links[i];
		Test__Ledger__Link message;

		if (!link->conn)
			continue;
		link_message(link, &message);
		message.input.data = (uint8_t *)(uintptr_t)buffers_input(link->buffers, &message.input.len);
		message.output.data = buffers_output(link->buffers, &message.output.len);
		r = upg_save(saver, &message.base);
		free(message.output.data);
	}
	return r;
}

static struct link *link_new(struct ledger *ledger, struct upg_conn *conn, uint64_t id)
{
	for (uint32_t i = 0; i < LEDGER_LINKS; i++) {
		if (ledger->links[i].id)
			continue;
		ledger->links[i] = (struct link){ .conn = conn, .id = id, .worker = i % LEDGER_WORKERS };
		return &ledger->links[i];
	}
	app_broken(__FILE__, __LINE__, "no link is free");
}

static void watch(struct ledger *ledger, struct link *link)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = (uint64_t)(link - ledger->links) };

	APP_MUST(epoll_ctl(ledger->epolls[link->worker], EPOLL_CTL_ADD, upg_conn_fd(link->conn), &event) == 0);
}

static void set_link(struct link *link, const Test__Ledger__Link *message)
{
	link->left = message->left;
	link->key = message->key;
	link->seq = message->seq;
	link->sum = message->sum;
	link->quits = message->quits;
}

static int load_link(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Test__Ledger__Link *saved = (const void *)message;
	struct ledger *ledger = userdata;
	int fd = upg_load_claim(loader, "link", saved->id);
	struct upg_conn *conn;
	struct link *link;

	APP_MUST(fd >= 0 && upg_conn_open(ledger->app.upg, fd, "link", saved->id, &conn) == 0);
	APP_MUST(upg_conn_restore(conn, saved->input.data, saved->input.len, saved->output.data, saved->output.len) == 0);
	link = link_new(ledger, conn, saved->id);
	link->buffers = buffers_new(conn, ledger->buffers);
	set_link(link, saved);
	return 0;
}

static struct link *find_link(struct ledger *ledger, uint64_t id)
{
	for (uint32_t i = 0; i < LEDGER_LINKS; i++)
		if (ledger->links[i].id == id)
			return &ledger->links[i];
	return NULL;
}

/* One that is not known is one that the successor had accepted: its connection comes later. */
static int change_link(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	const Test__Ledger__Link *changed = (const void *)message;
	struct ledger *ledger = userdata;
	struct link *link = find_link(ledger, changed->id);

	(void)loader;
	(void)change;
	if (!link)
		link = link_new(ledger, NULL, changed->id);
	set_link(link, changed);
	return 0;
}

static int up(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	const Test__Ledger__AccountV1 *old = (const void *)from;
	Test__Ledger__AccountV2 *new = (void *)to;

	(void)step;
	new->key = old->key;
	new->twice = old->value * 2;
	return 0;
}

static int down(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	const Test__Ledger__AccountV2 *old = (const void *)from;
	Test__Ledger__AccountV1 *new = (void *)to;

	if (old->key == LEDGER_ACCOUNTS - 1)
		return upg_step_fail(step, "account %u does not fit", old->key);
	new->key = old->key;
	new->value = old->twice / 2;
	return 0;
}

#define TYPES(ACCOUNT, number)                                                                                        \
	{                                                                                                                 \
		{ .name = "test.Account", .version = (number), .descriptor = (ACCOUNT), .save = save_accounts,                \
		  .load = load_account, .change = change_account },                                                           \
		{ .name = "test.Link", .version = 1, .descriptor = LINK, .save = save_links, .load = load_link,               \
		  .change = change_link, .process_only = 1 },                                                                 \
	}
static const struct upg_type types_v1[] = TYPES(ACCOUNT_V1, 1);
static const struct upg_type types_v2[] = TYPES(ACCOUNT_V2, 2);
static const struct upg_migration migrations[] = {
	{ "test.Account", 1, 2, ACCOUNT_V1, ACCOUNT_V2, up },
	{ "test.Account", 2, 1, ACCOUNT_V2, ACCOUNT_V1, down },
};

/* ---- serving; the ledger's lock is held ---- */

static void link_close(struct ledger *ledger, struct link *link)
{
	upg_conn_close(link->conn, ledger->epolls[link->worker]);
	buffers_free(link->buffers);
	*link = (struct link){ 0 };
}

static void answer(struct ledger *ledger, struct link *link, uint32_t seq, uint32_t key, uint32_t size_bytes)
{
	struct ledger_answer head = { .seq = seq, .size_bytes = size_bytes, .value = ledger->values[key] };
	uint8_t chunk[777];

	buffers_put(link->buffers, &head, sizeof(head));
	for (uint32_t at = 0; at < size_bytes;) {
		uint32_t n = size_bytes - at < sizeof(chunk) ? size_bytes - at : (uint32_t)sizeof(chunk);

		for (uint32_t i = 0; i < n; i++)
			chunk[i] = ledger_byte(seq, at + i);
		buffers_put(link->buffers, chunk, n);
		at += n;
	}
}

static void account_changed(struct ledger *ledger, struct link *link, uint32_t key)
{
	Test__Ledger__AccountV1 v1;
	Test__Ledger__AccountV2 v2;
	const ProtobufCMessage *message;

	if (!upg_journal_on(ledger->app.upg))
		return;
	account_message(ledger, key, &v1, &v2, &message);
	APP_MUST(upg_changed(ledger->app.upg, link->conn, "test.Account", UPG_PUT, message) == 0);
}

static void link_changed(struct ledger *ledger, struct link *link)
{
	Test__Ledger__Link message;

	if (!upg_journal_on(ledger->app.upg))
		return;
	link_message(link, &message);
	APP_MUST(upg_changed(ledger->app.upg, link->conn, "test.Link", UPG_PUT, &message.base) == 0);
}

/* A piece of a deposit. Each piece is done with by itself. */
static void take_deposit(struct ledger *ledger, struct link *link, const uint8_t *input, size_t have)
{
	size_t n = have < link->left ? have : link->left;

	for (size_t i = 0; i < n; i++)
		link->sum += input[i];
	link->left -= (uint32_t)n;
	if (!link->left) {
		ledger->values[link->key] += link->sum;
		account_changed(ledger, link, link->key);
		answer(ledger, link, link->seq, link->key, 0);
		atomic_fetch_add(&ledger->n_handled, 1);
	}
	link_changed(ledger, link);
	buffers_done(link->buffers, n);
}

static void take_request(struct ledger *ledger, struct link *link, const struct ledger_request *request)
{
	APP_MUST(request->key < LEDGER_ACCOUNTS);
	switch ((enum ledger_kind)request->kind) {
	case LEDGER_ADD:
		ledger->values[request->key]++;
		account_changed(ledger, link, request->key);
		answer(ledger, link, request->seq, request->key, 0);
		break;
	case LEDGER_QUIT:
		link->quits = true;
		link_changed(ledger, link);
		answer(ledger, link, request->seq, request->key, 0);
		break;
	case LEDGER_GET:
		answer(ledger, link, request->seq, request->key, 0);
		break;
	case LEDGER_BIG:
		answer(ledger, link, request->seq, request->key, request->size_bytes);
		break;
	case LEDGER_DEPOSIT:
		link->left = request->size_bytes;
		link->key = request->key;
		link->seq = request->seq;
		link->sum = 0;
		link_changed(ledger, link);
		break;
	}
	atomic_fetch_add(&ledger->n_handled, request->kind != LEDGER_DEPOSIT);
	buffers_done(link->buffers, sizeof(*request));
}

static void handle_input(struct ledger *ledger, struct link *link)
{
	for (;;) {
		struct ledger_request request;
		size_t have;
		const uint8_t *input = buffers_input(link->buffers, &have);

		if (link->quits || !have || (!link->left && have < sizeof(request)))
			return;
		if (link->left) {
			take_deposit(ledger, link, input, have);
			continue;
		}
		memcpy(&request, input, sizeof(request));
		take_request(ledger, link, &request);
	}
}

/* Everything that can be done for it now. */
static void serve_link(struct ledger *ledger, struct link *link)
{
	ssize_t n = 1;
	int sent;

	while (n > 0 && !link->eof && !link->quits) {
		handle_input(ledger, link);
		n = buffers_receive(link->buffers, ledger->room_bytes ? ledger->room_bytes : 4096);
		link->eof = n == 0;
		if (n < 0 && n != -EAGAIN && n != -EINTR) {
			link_close(ledger, link);
			return;
		}
	}
	handle_input(ledger, link);
	sent = buffers_send(link->buffers);
	if (sent < 0 || (sent == 0 && (link->eof || link->quits)))
		link_close(ledger, link);
}

static void accept_all(struct ledger *ledger)
{
	for (;;) {
		int fd = accept4(ledger->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
		struct upg_conn *conn;
		struct link *link;
		uint64_t id;

		if (fd < 0)
			return;
		APP_MUST(upg_conn_new(ledger->app.upg, fd, "link", &id, &conn) == 0);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		link = link_new(ledger, conn, id);
		link->buffers = buffers_new(conn, ledger->buffers);
		watch(ledger, link);
		serve_link(ledger, link);
	}
}

static void serve(struct app_worker *worker)
{
	struct ledger *ledger = (struct ledger *)worker->app;
	struct upg_thread *thread = upg_thread_enter(ledger->app.upg, worker->name, worker);
	unsigned number = (unsigned)(worker - ledger->app.workers);

	APP_MUST(thread);
	while (!atomic_load(&ledger->ready)) {
		if (upg_point(thread) == UPG_LEAVE)
			return;
		usleep(100);
	}
	for (;;) {
		struct epoll_event events[16];
		int n;

		if (upg_point(thread) == UPG_LEAVE)
			return;
		n = epoll_wait(ledger->epolls[number], events, 16, -1);
		for (int i = 0; i < n; i++) {
			pthread_mutex_lock(&ledger->lock);
			if (events[i].data.u64 == LISTENER_MARK)
				accept_all(ledger);
			else if (ledger->links[events[i].data.u64].conn)
				serve_link(ledger, &ledger->links[events[i].data.u64]);
			pthread_mutex_unlock(&ledger->lock);
			if (upg_point(thread) == UPG_LEAVE)
				return;
		}
	}
}

static void open_listener(struct ledger *ledger)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	ledger->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	APP_MUST(bind(ledger->listener, (struct sockaddr *)&address, size) == 0 && listen(ledger->listener, 500) == 0);
	APP_MUST(getsockname(ledger->listener, (struct sockaddr *)&address, &size) == 0);
	ledger->port = ntohs(address.sin_port);
	APP_MUST(upg_fd_register(ledger->app.upg, ledger->listener, "listener", 0) == 0);
}

static void claim(struct app *app)
{
	struct ledger *ledger = (struct ledger *)app;

	ledger->listener = upg_fd_claim(app->upg, "listener", 0);
	APP_MUST(ledger->listener >= 0);
}

static void begin(struct app *app)
{
	struct ledger *ledger = (struct ledger *)app;
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = LISTENER_MARK };

	pthread_mutex_lock(&ledger->lock);
	for (unsigned i = 0; i < LEDGER_WORKERS; i++)
		APP_MUST((ledger->epolls[i] = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	if (ledger->listener < 0)
		open_listener(ledger);
	APP_MUST(epoll_ctl(ledger->epolls[0], EPOLL_CTL_ADD, ledger->listener, &event) == 0);
	for (uint32_t i = 0; i < LEDGER_LINKS; i++) {
		if (!ledger->links[i].conn)
			continue;
		watch(ledger, &ledger->links[i]);
		serve_link(ledger, &ledger->links[i]);
	}
	pthread_mutex_unlock(&ledger->lock);
	atomic_store(&ledger->ready, true);
}

static int on_conn(struct upg_conn *conn, const char *name, uint64_t tag, void *userdata)
{
	struct ledger *ledger = userdata;
	struct link *link = find_link(ledger, tag);

	APP_MUST(strcmp(name, "link") == 0);
	if (!link)
		link = link_new(ledger, conn, tag);
	link->conn = conn;
	link->buffers = buffers_new(conn, ledger->buffers);
	if (atomic_load(&ledger->ready)) /* else begin() does */
		watch(ledger, link);
	atomic_fetch_add(&ledger->n_adopted, 1);
	return 0;
}

static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	struct ledger *ledger = userdata;

	if (go_on->reason != UPG_CAME_BACK)
		return;
	ledger->app.n_lost = (int)go_on->n_lost;
	pthread_mutex_lock(&ledger->lock);
	for (uint32_t i = 0; i < LEDGER_LINKS; i++) {
		struct link *link = &ledger->links[i];
		bool is_lost = !link->conn;

		for (size_t k = 0; link->conn && k < go_on->n_lost; k++)
			is_lost = is_lost || upg_conn_fd(link->conn) == go_on->lost[k];
		if (!is_lost && !atomic_load(&ledger->ready)) { /* begin() serves all of them */
			buffers_take(link->buffers);
		} else if (!is_lost) {
			/* The end of the stream, if it was seen, is seen again. */
			link->eof = false;
			buffers_take(link->buffers);
			serve_link(ledger, link);
		} else if (link->conn) {
			link_close(ledger, link);
		} else {
			*link = (struct link){ 0 };
		}
	}
	pthread_mutex_unlock(&ledger->lock);
	atomic_fetch_add(&ledger->app.n_resumed, 1);
}

static void opened(struct app *app)
{
	struct ledger *ledger = (struct ledger *)app;
	size_t size = offsetof(struct ledger, ready) - offsetof(struct ledger, values);

	if (ledger->is_private)
		APP_MUST(mmap(ledger->values, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
			 ledger->values);
}

struct ledger *ledger_new(unsigned version)
{
	struct ledger *ledger =
		mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	APP_MUST(ledger != MAP_FAILED);
	ledger->version = version;
	ledger->listener = -1;
	pthread_mutex_init(&ledger->lock, NULL);
	ledger->app.config = (struct upg_config){
		.service = "ledger",
		.version = version == 1 ? "v1" : "v2",
		.types = version == 1 ? types_v1 : types_v2,
		.n_types = 2,
		.migrations = migrations,
		.n_migrations = version == 1 ? 0 : 2,
		.nudge_signal = SIGUSR1,
		.on_go_on = on_go_on,
		.on_conn = on_conn,
		.userdata = ledger,
	};
	ledger->app.opened = opened;
	ledger->app.claim = claim;
	ledger->app.begin = begin;
	for (unsigned i = 0; i < LEDGER_WORKERS; i++)
		app_worker_add(&ledger->app, "server", serve);
	return ledger;
}
