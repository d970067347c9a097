/* SPDX-License-Identifier: MIT */
/* Not even SIGKILL of a new version in its bake costs a byte, with Journal=yes. docs/PORTING.md goes through this source step by
 * step. One source for two versions: version 2 knows the longest line, too. */
#include "shim/examples/echo/echo.h"

#if ECHO_VERSION == 1
#include "shim/examples/echo/echo_v1.pb-c.h"
#else
#include "shim/examples/echo/echo_v2.upgrade.h"
#endif

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 65536u
#define OUTPUT_MAX_BYTES (1u << 20) /* no more is answered before some of it is read */

struct upg *upg;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the figures, and of the list of clients */
static struct client *clients; /* the thread that dispatches adds, who serves one removes it */
static uint64_t lines, bytes, longest, n_clients;
static int listener;
static uint16_t port;

/* ---- clients ---- */

static struct client *client_new(uint64_t tag)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->tag = tag;
	pthread_mutex_lock(&lock);
	client->next = clients;
	if (clients)
		clients->prev = client;
	clients = client;
	n_clients++;
	pthread_mutex_unlock(&lock);
	return client;
}

static void client_free(struct client *client)
{
	pthread_mutex_lock(&lock);
	*(client->prev ? &client->prev->next : &clients) = client->next;
	if (client->next)
		client->next->prev = client->prev;
	n_clients--;
	pthread_mutex_unlock(&lock);
	if (client->conn)
		loop_unwatch(client);
	upg_conn_close(client->conn, -1);
	free(client);
}

static void client_await(struct client *client, unsigned await)
{
	if (await == client->awaited)
		return;
	client->awaited = await;
	loop_await(client);
}

/* It may have input that no event announces, so room for output brings who serves it to it at once. */
static int client_watch(struct client *client, struct upg_conn *conn)
{
	client->conn = conn;
	client->awaited = AWAIT_INPUT | AWAIT_ROOM;
	return loop_watch(client);
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
	for (const struct client *client = clients; client && r == 0; client = client->next)
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
	    client_watch(client, conn) < 0)
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
	for (struct client *client = clients; client; client = client->next)
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
	int r;

	(void)name, (void)userdata;
	if (!client && !(client = client_new(tag)))
		return -ENOMEM;
	r = client_watch(client, conn);
	if (r < 0)
		client->conn = NULL; /* the library closes it */
	return r;
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
	for (struct client *client = clients, *next; client; client = next) {
		next = client->next;
		if (is_lost(go_on, client))
			client_free(client);
		else
			client_await(client, AWAIT_INPUT | AWAIT_ROOM);
	}
}

/* ---- what the library is told: step 1 ---- */

static const struct upg_type types[] = {
	{ .name = "echo.Totals", .version = ECHO_VERSION, .descriptor = &TOTALS_DESCRIPTOR, .save = save_totals,
	  .load = load_totals, .change = change_totals },
	{ .name = "echo.Client", .version = 1, .descriptor = &echo__v1__client__descriptor, .save = save_clients,
	  .load = load_client, .count = count_clients, .process_only = 1, .change = change_client },
};

#if ECHO_VERSION > 1
static const struct upg_migration migrations[] = { ECHO_V2_MIGRATIONS };
#endif

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

void client_serve(struct client *client, unsigned await)
{
	ssize_t n = 1;
	int r = 0;

	if (await & AWAIT_INPUT)
		n = upg_conn_receive(client->conn, 16384);
	if (n < 0 && n != -EAGAIN && n != -EINTR)
		r = (int)n;
	if (r == 0)
		r = answer(client);
	if (r < 0 || n == 0)
		client_free(client);
	else
		client_await(client, r == 1 ? AWAIT_ROOM : AWAIT_INPUT);
}

void echo_accept(int at)
{
	int fd = accept4(at, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
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
	else if (client_watch(client, conn) < 0)
		client_free(client);
}

void echo_tell(void)
{
	if (*upg_why(upg))
		fprintf(stderr, "echo: %s\n", upg_why(upg));
}

/* ---- becoming: step 1 ---- */

static int start(enum upg_received how, void *userdata)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	(void)how, (void)userdata;
	listener = upg_listen(upg, (struct sockaddr *)&address, sizeof(address), SOCK_STREAM | SOCK_NONBLOCK, 1024);
	return listener < 0 ? listener : 0;
}

static void give_up(void)
{
	echo_tell();
	exit(*upg_why(upg) ? EXIT_FAILURE : EXIT_SUCCESS);
}

int echo_open(int argc, char **argv, void (*wake)(struct upg_thread *thread, void *userdata))
{
	const struct upg_config config = {
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

	if (argc != 2 || !(port = (uint16_t)atoi(argv[1]))) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		exit(EXIT_FAILURE);
	}
	if (upg_open(&config, &upg) < 0 || upg_become(upg, start, NULL) != UPG_SERVE)
		give_up();
	return listener;
}
