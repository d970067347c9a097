/* SPDX-License-Identifier: MIT */
/* upg-clerk PORT PATH: a server whose buffers are its own: requests are received into an array of each client, and what answers
 * them waits as pieces that point to where the bytes are, sent by sendmsg(). It listens at 127.0.0.1:PORT and at the unix socket
 * PATH, is one thread, and answers
 *
 *     KEY SIZE\n    one more for the account KEY: "KEY VALUE SIZE\n", and SIZE bytes of the pattern, from clerk_offset() on
 *     die\n         "alive\n"; but a version whose name ends with -v2 aborts in the middle of this request
 */
#include "tests/integration/apps/upg-clerk.h"

#include "shim/examples/cached/cached_v1.pb-c.h"
#include "shim/upgrade.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCOUNTS 4096u
#define INPUT_BYTES 1024u              /* of requests, and each is a short line */
#define OUTPUT_LIMIT ((size_t)4 << 20) /* with more than this waiting, nothing is received or handled */
#define PIECES_AT_ONCE 64u
#define EVENTS 64

#define MUST(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))

/* A piece of output. */
struct piece {
	struct piece *next;
	const uint8_t *data; /* @own, or the pattern */
	size_t size_bytes;
	uint8_t own[];
};

struct client {
	struct client *next, **link;
	struct upg_conn *conn;
	uint64_t id;
	char input[INPUT_BYTES];
	size_t n_input;
	struct piece *first, **last;
	size_t n_output; /* bytes in the pieces */
	uint32_t events; /* that its descriptor is watched for */
};

static struct upg *upg;
static struct client *clients;
static uint64_t accounts[ACCOUNTS];
static uint8_t pattern[CLERK_PATTERN_BYTES];
static int epoll_fd = -1, tcp_fd = -1, unix_fd = -1;
static bool dies;
static const char *port, *path;

static void broken(int line, const char *what)
{
	fprintf(stderr, "upg-clerk: line %d: %s: %s\n", line, what, strerror(errno));
	abort();
}

/* ---- a client's buffers ---- */

/* @data: NULL: it is in the piece itself, copied from @copied. */
static void queue(struct client *client, const uint8_t *data, const void *copied, size_t size_bytes)
{
	struct piece *piece = malloc(sizeof(*piece) + (data ? 0 : size_bytes));

	MUST(piece);
	piece->next = NULL;
	piece->size_bytes = size_bytes;
	piece->data = data ? data : piece->own;
	if (!data) {
		MUST(copied);
		memcpy(piece->own, copied, size_bytes);
	}
	*client->last = piece;
	client->last = &piece->next;
	client->n_output += size_bytes;
}

static void unqueue(struct client *client, size_t bytes)
{
	client->n_output -= bytes;
	while (client->first && bytes >= client->first->size_bytes) {
		struct piece *piece = client->first;

		bytes -= piece->size_bytes;
		client->first = piece->next;
		free(piece);
	}
	if (!client->first) {
		client->last = &client->first;
		return;
	}
	client->first->data += bytes;
	client->first->size_bytes -= bytes;
}

/* Go on with what the library brought, if it did. */
static void take_over(struct client *client)
{
	const void *input, *output;
	size_t output_bytes;

	if (upg_conn_is_own(client->conn))
		return;
	input = upg_conn_input(client->conn, &client->n_input);
	MUST(client->n_input <= sizeof(client->input));
	memcpy(client->input, input, client->n_input);
	unqueue(client, client->n_output);
	output = upg_conn_output(client->conn, &output_bytes);
	if (output_bytes)
		queue(client, NULL, output, output_bytes);
	upg_conn_own(client->conn);
}

static void watch(struct client *client, int operation)
{
	struct epoll_event event = { .data.ptr = client };

	event.events = client->n_output > OUTPUT_LIMIT ? 0 : EPOLLIN;
	event.events |= client->n_output ? EPOLLOUT : 0;
	if (operation == EPOLL_CTL_MOD && event.events == client->events)
		return;
	client->events = event.events;
	MUST(epoll_ctl(epoll_fd, operation, upg_conn_fd(client->conn), &event) == 0);
}

static struct client *client_new(struct upg_conn *conn, uint64_t id)
{
	struct client *client = calloc(1, sizeof(*client));

	MUST(client);
	client->conn = conn;
	client->id = id;
	client->last = &client->first;
	client->next = clients;
	client->link = &clients;
	if (clients)
		clients->link = &client->next;
	clients = client;
	take_over(client);
	watch(client, EPOLL_CTL_ADD);
	return client;
}

static void client_close(struct client *client)
{
	*client->link = client->next;
	if (client->next)
		client->next->link = client->link;
	unqueue(client, client->n_output);
	upg_conn_close(client->conn, epoll_fd);
	free(client);
}

/* ---- requests ---- */

static void answer(struct client *client, const uint8_t *data, const void *copied, size_t size_bytes)
{
	MUST(upg_conn_put(client->conn, data ? data : copied, size_bytes) == 0);
	queue(client, data, copied, size_bytes);
}

static void account_changed(struct client *client, uint32_t key)
{
	Cached__V1__Item message = CACHED__V1__ITEM__INIT;

	if (!upg_journal_on(upg))
		return;
	message.flags = key;
	message.cas = accounts[key];
	MUST(upg_changed(upg, client->conn, "clerk.Account", UPG_PUT, &message.base) == 0);
}

static bool handle(struct client *client, const char *line, size_t line_bytes)
{
	unsigned key, size;
	char head[64];
	int n;

	if (strcmp(line, "die") == 0) {
		accounts[0]++;
		account_changed(client, 0);
		answer(client, NULL, "alive\n", 6);
		if (dies)
			abort();
	} else {
		if (sscanf(line, "%u %u", &key, &size) != 2 || key >= ACCOUNTS || size > CLERK_SIZE_MAX)
			return false;
		accounts[key]++;
		account_changed(client, key);
		n = snprintf(head, sizeof(head), "%u %llu %u\n", key, (unsigned long long)accounts[key], size);
		answer(client, NULL, head, (size_t)n);
		if (size)
			answer(client, pattern + clerk_offset(key, accounts[key]), NULL, size);
	}
	MUST(upg_conn_done(client->conn, line_bytes) == 0);
	return true;
}

/* Return: false: it talks nonsense. */
static bool handle_all(struct client *client)
{
	char *at = client->input, *end = client->input + client->n_input, *newline = at;
	bool well = true;

	while (well && client->n_output <= OUTPUT_LIMIT && (newline = memchr(at, '\n', (size_t)(end - at)))) {
		*newline = '\0';
		well = handle(client, at, (size_t)(newline + 1 - at));
		at = newline + 1;
	}
	client->n_input = (size_t)(end - at);
	memmove(client->input, at, client->n_input);
	/* A full buffer without a whole request is hopeless. */
	return well && (newline || client->n_input < sizeof(client->input));
}

/* Return: 0 or -errno. */
static int send_all(struct client *client)
{
	while (client->first) {
		struct iovec vectors[PIECES_AT_ONCE];
		struct msghdr message = { .msg_iov = vectors };
		ssize_t n;

		for (struct piece *piece = client->first; piece && message.msg_iovlen < PIECES_AT_ONCE; piece = piece->next)
			vectors[message.msg_iovlen++] = (struct iovec){ (void *)(uintptr_t)piece->data, piece->size_bytes };
		n = sendmsg(upg_conn_fd(client->conn), &message, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		MUST(upg_conn_sent(client->conn, (size_t)n) == 0);
		unqueue(client, (size_t)n);
	}
	return 0;
}

/* Do for it what can be done now. */
static void serve(struct client *client, uint32_t events)
{
	size_t room = sizeof(client->input) - client->n_input;
	bool receives = (events & EPOLLIN) && room && client->n_output <= OUTPUT_LIMIT;
	ssize_t n = 1;

	if (receives) {
		n = upg_conn_read(client->conn, client->input + client->n_input, room);
		client->n_input += n > 0 ? (size_t)n : 0;
	}
	if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR) || !handle_all(client) || send_all(client) < 0) {
		client_close(client);
		return;
	}
	/* What waited for room in the output. */
	if (!handle_all(client)) {
		client_close(client);
		return;
	}
	watch(client, EPOLL_CTL_MOD);
}

static void accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
	struct upg_conn *conn;
	uint64_t id;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	MUST(upg_conn_new(upg, fd, "client", &id, &conn) == 0);
	serve(client_new(conn, id), EPOLLIN);
}

/* ---- state ---- */

/* An account is a cached.v1.Item: its flags are the key, its cas is the value. */
static int save_accounts(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	(void)userdata;
	for (uint32_t i = 0; r == 0 && i < ACCOUNTS; i++) {
		Cached__V1__Item message = CACHED__V1__ITEM__INIT;

		message.flags = i;
		message.cas = accounts[i];
		if (accounts[i])
			r = upg_save(saver, &message.base);
	}
	return r;
}

static int load_account(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Cached__V1__Item *account = (const void *)message;

	(void)userdata;
	if (account->flags >= ACCOUNTS)
		return upg_load_fail(loader, "account %u", account->flags);
	accounts[account->flags] = account->cas;
	return 0;
}

static int change_account(struct upg_loader *loader, enum upg_change change, const ProtobufCMessage *message, void *userdata)
{
	(void)change;
	return load_account(loader, message, userdata);
}

static int save_clients(struct upg_saver *saver, void *userdata)
{
	int r = 0;

	(void)userdata;
	for (struct client *client = clients; r == 0 && client; client = client->next) {
		Cached__V1__Connection message = CACHED__V1__CONNECTION__INIT;

		message.id = client->id;
		message.input.data = (uint8_t *)client->input;
		message.input.len = client->n_input;
		message.output.data = malloc(client->n_output + 1);
		MUST(message.output.data);
		for (struct piece *piece = client->first; piece; piece = piece->next) {
			memcpy(message.output.data + message.output.len, piece->data, piece->size_bytes);
			message.output.len += piece->size_bytes;
		}
		r = upg_save(saver, &message.base);
		free(message.output.data);
	}
	return r;
}

static int load_client(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	const Cached__V1__Connection *saved = (const void *)message;
	int fd = upg_load_claim(loader, "client", saved->id);
	struct upg_conn *conn;

	(void)userdata;
	if (fd < 0 || upg_conn_open(upg, fd, "client", saved->id, &conn) < 0 ||
	    upg_conn_restore(conn, saved->input.data, saved->input.len, saved->output.data, saved->output.len) < 0)
		return upg_load_fail(loader, "client %llu", (unsigned long long)saved->id);
	client_new(conn, saved->id);
	return 0;
}

static int on_conn(struct upg_conn *conn, const char *name, uint64_t tag, void *userdata)
{
	(void)name, (void)userdata;
	client_new(conn, tag);
	return 0;
}

static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	struct client *next;

	(void)userdata;
	if (go_on->reason != UPG_CAME_BACK)
		return;
	for (struct client *client = clients; client; client = next) {
		bool lost = false;

		next = client->next;
		for (size_t i = 0; i < go_on->n_lost; i++)
			lost = lost || go_on->lost[i] == upg_conn_fd(client->conn);
		if (lost) {
			client_close(client);
			continue;
		}
		take_over(client);
		serve(client, 0);
	}
}

static const struct upg_type types[] = {
	{ .name = "clerk.Account", .version = 1, .descriptor = &cached__v1__item__descriptor, .save = save_accounts,
	  .load = load_account, .change = change_account },
	{ .name = "clerk.Client", .version = 1, .descriptor = &cached__v1__connection__descriptor, .save = save_clients,
	  .load = load_client, .process_only = 1 },
};

/* ---- */

static void watch_fd(int fd, int *mark)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = mark };

	MUST(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
}

static int start(enum upg_received how, void *userdata)
{
	struct sockaddr_in tcp = { .sin_family = AF_INET,
				   .sin_port = htons((uint16_t)atoi(port)),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un local = { .sun_family = AF_UNIX };

	(void)how, (void)userdata;
	snprintf(local.sun_path, sizeof(local.sun_path), "%s", path);
	tcp_fd = upg_listen(upg, (const struct sockaddr *)&tcp, sizeof(tcp), SOCK_STREAM | SOCK_NONBLOCK, 500);
	if (tcp_fd >= 0)
		unix_fd = upg_listen(upg, (const struct sockaddr *)&local, sizeof(local), SOCK_STREAM | SOCK_NONBLOCK, 500);
	return tcp_fd < 0 ? tcp_fd : unix_fd < 0 ? unix_fd : 0;
}

static void serve_all(void)
{
	struct epoll_event events[EVENTS];
	struct client *next;

	watch_fd(tcp_fd, &tcp_fd);
	watch_fd(unix_fd, &unix_fd);
	for (struct client *client = clients; client; client = next) {
		next = client->next;
		serve(client, 0);
	}
	for (;;) {
		int n = epoll_wait(epoll_fd, events, EVENTS, -1);
		bool dispatch = false;

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &upg)
				dispatch = true;
			else if (events[i].data.ptr == &tcp_fd || events[i].data.ptr == &unix_fd)
				accept_one(*(int *)events[i].data.ptr);
			else
				serve(events[i].data.ptr, events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? EPOLLIN : 0);
		}
		/* Last, as clients may close in it. */
		if (dispatch && upg_dispatch(upg) == UPG_LEAVE)
			return;
	}
}

int main(int argc, char **argv)
{
	static const struct upg_config config = {
		.service = "clerk", .version = "", .types = types, .n_types = 2, .on_go_on = on_go_on, .on_conn = on_conn,
	};
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &upg };

	if (argc != 3 || upg_open(&config, &upg) < 0)
		return 2;
	port = argv[1];
	path = argv[2];
	dies = strlen(argv[0]) > 3 && strcmp(argv[0] + strlen(argv[0]) - 3, "-v2") == 0;
	clerk_fill(pattern);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	MUST(epoll_fd >= 0);
	if (upg_fd(upg) >= 0)
		MUST(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, upg_fd(upg), &event) == 0);
	if (upg_become(upg, start, NULL) != UPG_SERVE) {
		fprintf(stderr, "upg-clerk: %s\n", upg_why(upg));
		return 0;
	}
	serve_all();
	return 0;
}
