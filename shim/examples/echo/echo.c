/* SPDX-License-Identifier: MIT */
/* echo PORT: answers each line with its number on this connection and the line. Two worker threads, each with its epoll, and a main
 * thread that accepts. Not even SIGKILL of a new version in its bake costs a byte, with Journal=yes. docs/PORTING.md goes through
 * this source step by step. One source for two versions: version 2 knows the longest line, too. */
#if ECHO_VERSION == 1
#include "shim/examples/echo/echo_v1.pb-c.h"
#else
#include "shim/examples/echo/echo_v2.upgrade.h"
#endif

#include "shim/upgrade.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORKERS 2u
#define LINE_MAX_BYTES 65536u
#define OUTPUT_MAX_BYTES (1u << 20) /* no more is answered before some of it is read */

struct client {
	struct client *next, *prev;
	struct worker *worker;
	struct upg_conn *conn; /* NULL: a change has named it, and on_conn() has not yet */
	uint64_t tag, lines;
	uint32_t events; /* that epoll is asked for */
};

struct worker {
	pthread_t thread;
	char name[16];
	struct client *clients; /* main adds, the worker removes */
	int epoll_fd, wake_fd;
};

static struct upg *upg;
static struct worker workers[WORKERS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the figures, and of all lists of clients */
static uint64_t lines, bytes, longest, n_clients;
static int listener;
static uint16_t port;

/* ---- clients ---- */

static struct client *client_new(uint64_t tag)
{
	static unsigned next;
	struct worker *worker = &workers[next++ % WORKERS];
	struct client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->tag = tag;
	client->worker = worker;
	pthread_mutex_lock(&lock);
	client->next = worker->clients;
	if (client->next)
		client->next->prev = client;
	worker->clients = client;
	n_clients++;
	pthread_mutex_unlock(&lock);
	return client;
}

static void client_free(struct client *client)
{
	pthread_mutex_lock(&lock);
	*(client->prev ? &client->prev->next : &client->worker->clients) = client->next;
	if (client->next)
		client->next->prev = client->prev;
	n_clients--;
	pthread_mutex_unlock(&lock);
	upg_conn_close(client->conn, client->worker->epoll_fd);
	free(client);
}

/* Its worker may see it from here on. It may have input that no event announces, so EPOLLOUT brings the worker to it at once. */
static int client_watch(struct client *client, struct upg_conn *conn, int op)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.ptr = client };

	client->conn = conn;
	client->events = event.events;
	return epoll_ctl(client->worker->epoll_fd, op, upg_conn_fd(conn), &event) < 0 ? -errno : 0;
}

static void client_await(struct client *client, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = client };

	if (events != client->events)
		(void)epoll_ctl(client->worker->epoll_fd, EPOLL_CTL_MOD, upg_conn_fd(client->conn), &event);
	client->events = events;
}

/* ---- the state as records: step 3 ---- */

#if ECHO_VERSION == 1
#define TOTALS Echo__V1__Totals
#define TOTALS_INIT ECHO__V1__TOTALS__INIT
#define TOTALS_DESCRIPTOR echo__v1__totals__descriptor

static void totals_fill(TOTALS *totals)
{
	totals->lines = (uint32_t)lines;
	totals->bytes = bytes;
}

static void totals_take(const TOTALS *totals)
{
	lines = totals->lines;
	bytes = totals->bytes;
}
#else
#define TOTALS Echo__V2__Totals
#define TOTALS_INIT ECHO__V2__TOTALS__INIT
#define TOTALS_DESCRIPTOR echo__v2__totals__descriptor

static void totals_fill(TOTALS *totals)
{
	totals->lines = lines;
	totals->bytes_received = bytes;
	totals->longest = longest;
}

static void totals_take(const TOTALS *totals)
{
	lines = totals->lines;
	bytes = totals->bytes_received;
	longest = totals->longest;
}
#endif

static int save_totals(struct upg_saver *saver, void *userdata)
{
	TOTALS totals = TOTALS_INIT;

	(void)userdata;
	totals_fill(&totals);
	return upg_save(saver, &totals.base);
}

static int load_totals(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)loader, (void)userdata;
	totals_take((const TOTALS *)message);
	return 0;
}

static ProtobufCBinaryData borrow(const void *data, size_t size)
{
	return (ProtobufCBinaryData){ .len = size, .data = (uint8_t *)(uintptr_t)data };
}

static int save_client(struct upg_saver *saver, const struct client *client)
{
	Echo__V1__Client message = ECHO__V1__CLIENT__INIT;
	size_t input_size, output_size;
	const void *input = upg_conn_input(client->conn, &input_size), *output = upg_conn_output(client->conn, &output_size);

	message.tag = client->tag;
	message.lines = client->lines;
	message.input = borrow(input, input_size);
	message.output = borrow(output, output_size);
	return upg_save(saver, &message.base);
}

static int save_clients(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	(void)userdata;
	for (struct worker *worker = workers; worker < workers + WORKERS; worker++)
		for (const struct client *client = worker->clients; client && r == 0; client = client->next)
			r = save_client(saver, client);
	return r;
}

static int load_client(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Echo__V1__Client *from = (const Echo__V1__Client *)message;
	int fd = upg_load_claim(loader, "client", from->tag);
	struct client *client = fd >= 0 ? client_new(from->tag) : NULL;
	struct upg_conn *conn;

	(void)userdata;
	if (!client)
		return upg_load_fail(loader, "client %" PRIu64 ": no %s", from->tag, fd < 0 ? "descriptor came" : "memory");
	client->lines = from->lines;
	if (upg_conn_open(upg, fd, "client", from->tag, &conn) < 0 ||
	    upg_conn_restore(conn, from->input.data, from->input.len, from->output.data, from->output.len) < 0 ||
	    client_watch(client, conn, EPOLL_CTL_ADD) < 0)
		return upg_load_fail(loader, "client %" PRIu64 ": no memory", from->tag);
	return 0;
}

static uint64_t count_clients(void *userdata)
{
	uint64_t n;

	(void)userdata;
	pthread_mutex_lock(&lock);
	n = n_clients;
	pthread_mutex_unlock(&lock);
	return n;
}

/* ---- back from a version that failed: steps 5 and 7 ---- */

static int change_totals(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	(void)change;
	return load_totals(loader, message, userdata);
}

static struct client *client_find(uint64_t tag)
{
	for (struct worker *worker = workers; worker < workers + WORKERS; worker++)
		for (struct client *client = worker->clients; client; client = client->next)
			if (client->tag == tag)
				return client;
	return NULL;
}

/* The client may be one that the failed version had accepted: on_conn() brings its connection later, if it still has one. */
static int change_client(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	const Echo__V1__Client *from = (const Echo__V1__Client *)message;
	struct client *client = client_find(from->tag);

	(void)change, (void)userdata;
	if (!client && !(client = client_new(from->tag)))
		return upg_load_fail(loader, "client %" PRIu64 ": no memory", from->tag);
	client->lines = from->lines;
	return 0;
}

static int on_conn(struct upg_conn *conn, const char *name, uint64_t tag, void *userdata)
{
	struct client *client = client_find(tag);

	(void)name, (void)userdata;
	if (!client && !(client = client_new(tag)))
		return -ENOMEM;
	return client_watch(client, conn, EPOLL_CTL_ADD);
}

static bool is_lost(const struct upg_go_on *go_on, const struct client *client)
{
	if (!client->conn)
		return true;
	for (size_t i = 0; i < go_on->n_lost; i++)
		if (go_on->lost[i] == upg_conn_fd(client->conn))
			return true;
	return false;
}

static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	(void)userdata;
	if (go_on->reason != UPG_CAME_BACK)
		return;
	for (struct worker *worker = workers; worker < workers + WORKERS; worker++) {
		for (struct client *client = worker->clients, *next; client; client = next) {
			next = client->next;
			if (is_lost(go_on, client) || client_watch(client, client->conn, EPOLL_CTL_MOD) < 0)
				client_free(client);
		}
	}
}

/* ---- what the library is told: step 1 ---- */

static void wake(struct upg_thread *thread, void *userdata)
{
	const struct worker *worker = upg_thread_data(thread);

	(void)userdata;
	(void)eventfd_write(worker->wake_fd, 1);
}

static const struct upg_type types[] = {
	{ .name = "echo.Totals", .version = ECHO_VERSION, .descriptor = &TOTALS_DESCRIPTOR, .save = save_totals,
	  .load = load_totals, .change = change_totals },
	{ .name = "echo.Client", .version = 1, .descriptor = &echo__v1__client__descriptor, .save = save_clients,
	  .load = load_client, .count = count_clients, .process_only = 1, .change = change_client },
};

#if ECHO_VERSION > 1
static const struct upg_migration migrations[] = { ECHO_V2_MIGRATIONS };
#endif

static const struct upg_config config = {
	.service = "echo",
	.version = ECHO_NAME,
	.types = types,
	.n_types = sizeof(types) / sizeof(*types),
#if ECHO_VERSION > 1
	.migrations = migrations,
	.n_migrations = sizeof(migrations) / sizeof(*migrations),
#endif
	.wake = wake,
	.on_go_on = on_go_on,
	.on_conn = on_conn,
};

/* ---- a request ---- */

/* Of the figures and the client as they are now. The lock is held. */
static void tell_changes(const struct client *client)
{
	Echo__V1__Client message = ECHO__V1__CLIENT__INIT;
	TOTALS totals = TOTALS_INIT;

	message.tag = client->tag;
	message.lines = client->lines;
	totals_fill(&totals);
	upg_changed(upg, client->conn, "echo.Client", UPG_PUT, &message.base);
	upg_changed(upg, client->conn, "echo.Totals", UPG_PUT, &totals.base);
}

/* What it changes is published, with its answer, under the lock under which it was changed. */
static int handle_line(struct client *client, const char *line, size_t size)
{
	char number[24];
	int r, n = snprintf(number, sizeof(number), "%" PRIu64 " ", client->lines + 1);

	r = upg_conn_put(client->conn, number, (size_t)n);
	if (r == 0)
		r = upg_conn_put(client->conn, line, size);
	if (r < 0)
		return r;
	pthread_mutex_lock(&lock);
	client->lines++;
	lines++;
	bytes += size;
	if (size > longest)
		longest = size;
	if (upg_journal_on(upg))
		tell_changes(client);
	r = upg_conn_done(client->conn, size);
	pthread_mutex_unlock(&lock);
	return r;
}

/* Return: 0: all that there is is answered and sent; 1: more must be read first; -errno. */
static int answer(struct client *client)
{
	const char *input, *end;
	size_t size, output;
	int r = 0;
	bool more;

	do {
		more = false;
		upg_conn_output(client->conn, &output);
		while (r == 0 && output < OUTPUT_MAX_BYTES && (input = upg_conn_input(client->conn, &size)) && size &&
		       (end = memchr(input, '\n', size))) {
			r = handle_line(client, input, (size_t)(end + 1 - input));
			upg_conn_output(client->conn, &output);
			more = true;
		}
		if (r == 0)
			r = upg_conn_send(client->conn);
	} while (r == 0 && more);
	upg_conn_input(client->conn, &size);
	return r == 0 && size > LINE_MAX_BYTES ? -EMSGSIZE : r;
}

static void serve(struct client *client, uint32_t events)
{
	ssize_t n = 1;
	int r = 0;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		n = upg_conn_receive(client->conn, 16384);
	if (n < 0 && n != -EAGAIN && n != -EINTR)
		r = (int)n;
	if (r == 0)
		r = answer(client);
	if (r < 0 || n == 0)
		client_free(client);
	else
		client_await(client, r == 1 ? EPOLLOUT : EPOLLIN);
}

/* ---- threads: step 2 ---- */

static void *work(void *data)
{
	struct worker *worker = data;
	struct upg_thread *thread = upg_thread_enter(upg, worker->name, worker);
	struct epoll_event events[64];
	eventfd_t ignored;

	if (!thread)
		abort();
	while (upg_point(thread) == UPG_GO_ON) {
		int n = epoll_wait(worker->epoll_fd, events, 64, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				serve(events[i].data.ptr, events[i].events);
			else
				(void)eventfd_read(worker->wake_fd, &ignored);
		}
	}
	upg_thread_leave(thread);
	return NULL;
}

/* Loaded clients are put into the epoll of their worker: it is there before upg_receive(), and its thread is not. */
static int worker_prepare(struct worker *worker)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

	snprintf(worker->name, sizeof(worker->name), "worker %u", (unsigned)(worker - workers) % WORKERS);
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event);
}

static void accept_one(void)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *client;
	struct upg_conn *conn;
	uint64_t tag;

	if (fd < 0)
		return;
	if (upg_conn_new(upg, fd, "client", &tag, &conn) < 0) {
		close(fd);
		return;
	}
	client = client_new(tag);
	if (!client)
		upg_conn_close(conn, -1);
	else if (client_watch(client, conn, EPOLL_CTL_ADD) < 0)
		client_free(client);
}

static void serve_all(void)
{
	struct pollfd fds[] = { { .fd = upg_fd(upg), .events = POLLIN }, { .fd = listener, .events = POLLIN } };

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (!fds[0].revents)
			accept_one();
		else if (upg_dispatch(upg) == UPG_LEAVE)
			return;
		else if (*upg_why(upg))
			fprintf(stderr, "echo: %s\n", upg_why(upg));
	}
}

/* ---- becoming: step 1 ---- */

static int start(enum upg_received how, void *userdata)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	(void)how, (void)userdata;
	listener = upg_listen(upg, (struct sockaddr *)&address, sizeof(address), SOCK_STREAM | SOCK_NONBLOCK, 1024);
	return listener < 0 ? listener : 0;
}

static int give_up(void)
{
	if (*upg_why(upg))
		fprintf(stderr, "echo: %s\n", upg_why(upg));
	return *upg_why(upg) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc != 2 || !(port = (uint16_t)atoi(argv[1]))) {
		fprintf(stderr, "usage: echo PORT\n");
		return EXIT_FAILURE;
	}
	if (upg_open(&config, &upg) < 0)
		return give_up();
	for (unsigned i = 0; i < WORKERS; i++)
		if (worker_prepare(&workers[i]) < 0)
			return EXIT_FAILURE;
	if (upg_become(upg, start, NULL) != UPG_SERVE)
		return give_up();
	for (unsigned i = 0; i < WORKERS; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			return EXIT_FAILURE;
	serve_all();
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	return EXIT_SUCCESS;
}
