/* SPDX-License-Identifier: MIT */
#include "shim/examples/loops/lines.h"

#include "shim/examples/echo/echo_v1.pb-c.h"

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
static struct client *clients;
static uint64_t n_clients, lines;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of these three */
static uint16_t port;
static int listener;

/* ---- clients ---- */

static void client_free(struct client *client)
{
	pthread_mutex_lock(&lock);
	*(client->prev ? &client->prev->next : &clients) = client->next;
	if (client->next)
		client->next->prev = client->prev;
	n_clients--;
	pthread_mutex_unlock(&lock);
	loop_unwatch(client);
	upg_conn_close(client->conn, -1);
	free(client);
}

/* Once it is watched, another thread may serve it, and free it. */
static int client_new(struct upg_conn *conn_consume, uint64_t tag, uint64_t n_lines)
{
	struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client) {
		upg_conn_close(conn_consume, -1);
		return -ENOMEM;
	}
	*client = (struct client){ .conn = conn_consume, .tag = tag, .lines = n_lines };
	pthread_mutex_lock(&lock);
	client->next = clients;
	if (clients)
		clients->prev = client;
	clients = client;
	n_clients++;
	pthread_mutex_unlock(&lock);
	r = loop_watch(client);
	if (r < 0)
		client_free(client);
	return r;
}

/* ---- the state ---- */

static ProtobufCBinaryData borrow(const void *data, size_t size)
{
	return (ProtobufCBinaryData){ .len = size, .data = (uint8_t *)(uintptr_t)data };
}

static int save_totals(struct upg_saver *saver, void *userdata)
{
	Echo__V1__Totals totals = ECHO__V1__TOTALS__INIT;

	(void)userdata;
	totals.lines = (uint32_t)lines;
	return upg_save(saver, &totals.base);
}

static int load_totals(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)loader, (void)userdata;
	lines = ((const Echo__V1__Totals *)message)->lines;
	return 0;
}

static int save_clients(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	(void)userdata;
	for (const struct client *client = clients; client && r == 0; client = client->next) {
		Echo__V1__Client message = ECHO__V1__CLIENT__INIT;
		size_t input_size, output_size;
		const void *input = upg_conn_input(client->conn, &input_size);
		const void *output = upg_conn_output(client->conn, &output_size);

		message.tag = client->tag;
		message.lines = client->lines;
		message.input = borrow(input, input_size);
		message.output = borrow(output, output_size);
		r = upg_save(saver, &message.base);
	}
	return r;
}

static int load_client(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Echo__V1__Client *from = (const Echo__V1__Client *)message;
	int fd = upg_load_claim(loader, "client", from->tag);
	struct upg_conn *conn;

	(void)userdata;
	if (fd < 0)
		return upg_load_fail(loader, "client %" PRIu64 ": no descriptor came", from->tag);
	if (upg_conn_open(upg, fd, "client", from->tag, &conn) < 0 ||
	    upg_conn_restore(conn, from->input.data, from->input.len, from->output.data, from->output.len) < 0 ||
	    client_new(conn, from->tag, from->lines) < 0)
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

static bool is_lost(const struct upg_go_on *go_on, int fd)
{
	for (size_t i = 0; i < go_on->n_lost; i++)
		if (go_on->lost[i] == fd)
			return true;
	return false;
}

static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	(void)userdata;
	for (struct client *client = clients, *next; client; client = next) {
		next = client->next;
		if (is_lost(go_on, upg_conn_fd(client->conn)))
			client_free(client);
		else if (go_on->reason == UPG_CAME_BACK)
			loop_await(client, AWAIT_INPUT | AWAIT_ROOM);
	}
}

static const struct upg_type types[] = {
	{ .name = "echo.Totals", .version = 1, .descriptor = &echo__v1__totals__descriptor, .save = save_totals,
	  .load = load_totals },
	{ .name = "echo.Client", .version = 1, .descriptor = &echo__v1__client__descriptor, .save = save_clients,
	  .load = load_client, .count = count_clients, .process_only = 1 },
};

/* ---- serving ---- */

static int answer_line(struct client *client, const char *line, size_t size)
{
	char number[24];
	int r, n = snprintf(number, sizeof(number), "%" PRIu64 " ", client->lines + 1);

	r = upg_conn_put(client->conn, number, (size_t)n);
	if (r == 0)
		r = upg_conn_put(client->conn, line, size);
	if (r < 0)
		return r;
	client->lines++;
	pthread_mutex_lock(&lock);
	lines++;
	pthread_mutex_unlock(&lock);
	return upg_conn_done(client->conn, size);
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
			r = answer_line(client, input, (size_t)(end + 1 - input));
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
		loop_await(client, r == 1 ? AWAIT_ROOM : AWAIT_INPUT);
}

void lines_accept(int from)
{
	int fd = accept4(from, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct upg_conn *conn;
	uint64_t tag;

	if (fd < 0)
		return;
	if (upg_conn_new(upg, fd, "client", &tag, &conn) < 0)
		close(fd);
	else
		(void)client_new(conn, tag, 0);
}

void lines_told(void)
{
	if (*upg_why(upg))
		fprintf(stderr, "lines: %s\n", upg_why(upg));
}

static int start(enum upg_received how, void *userdata)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	(void)how, (void)userdata;
	listener = upg_listen(upg, (struct sockaddr *)&address, sizeof(address), SOCK_STREAM | SOCK_NONBLOCK, 1024);
	return listener < 0 ? listener : 0;
}

int lines_open(int argc, char **argv, void (*wake)(struct upg_thread *thread, void *userdata))
{
	struct upg_config config = {
		.service = "lines", .version = LOOPS_NAME, .types = types, .n_types = 2, .wake = wake, .on_go_on = on_go_on,
	};

	if (argc != 2 || !(port = (uint16_t)atoi(argv[1]))) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		exit(EXIT_FAILURE);
	}
	if (upg_open(&config, &upg) < 0 || upg_become(upg, start, NULL) != UPG_SERVE) {
		lines_told();
		exit(*upg_why(upg) ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	return listener;
}
