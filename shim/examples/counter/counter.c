/* SPDX-License-Identifier: MIT */
/* counter PORT: the smallest server that can be replaced while it serves. It counts the lines that its clients send, and answers
 * each with the count. One thread, poll(2), and one source for two versions: version 2 counts bytes, too. */
#include "counter.pb-c.h"

#include <upgrade.h>

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 64u

static uint64_t lines, bytes;
static int listener, client[CLIENTS_MAX]; /* negative: a free place */

/* ---- upgrade: the state is one record; descriptors travel beside it, a client's under the number of its place ---- */

#if COUNTER_VERSION == 1

static int save(struct upg_saver *saver, void *userdata)
{
	Counter__StateV1 state = COUNTER__STATE_V1__INIT;

	(void)userdata;
	state.count = lines;
	return upg_save(saver, &state.base);
}

static int load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)loader, (void)userdata;
	lines = ((const Counter__StateV1 *)message)->count;
	return 0;
}

static const struct upg_type types[] = {
	{ .name = "counter.State", .version = 1, .descriptor = &counter__state_v1__descriptor, .save = save, .load = load },
};
static const struct upg_config config = { .version = "v1", .types = types, .n_types = 1 };

#else

static int save(struct upg_saver *saver, void *userdata)
{
	Counter__StateV2 state = COUNTER__STATE_V2__INIT;

	(void)userdata;
	state.lines = lines;
	state.bytes = bytes;
	return upg_save(saver, &state.base);
}

static int load(struct upg_loader *loader, const ProtobufCMessage *message, void *userdata)
{
	(void)loader, (void)userdata;
	lines = ((const Counter__StateV2 *)message)->lines;
	bytes = ((const Counter__StateV2 *)message)->bytes;
	return 0;
}

static int up(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	(void)step;
	((Counter__StateV2 *)to)->lines = ((const Counter__StateV1 *)from)->count;
	return 0;
}

static int down(struct upg_step *step, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	(void)step;
	((Counter__StateV1 *)to)->count = ((const Counter__StateV2 *)from)->lines;
	return 0;
}

static const struct upg_type types[] = {
	{ .name = "counter.State", .version = 2, .descriptor = &counter__state_v2__descriptor, .save = save, .load = load },
};
static const struct upg_migration migrations[] = {
	{ "counter.State", 1, 2, &counter__state_v1__descriptor, &counter__state_v2__descriptor, up },
	{ "counter.State", 2, 1, &counter__state_v2__descriptor, &counter__state_v1__descriptor, down },
};
static const struct upg_config config = {
	.version = "v2", .types = types, .n_types = 1, .migrations = migrations, .n_migrations = 2,
};

#endif

/* ---- an ordinary server ---- */

static ssize_t answer(int fd)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%" PRIu64, lines);

#if COUNTER_VERSION >= 2
	n += snprintf(text + n, sizeof(text) - (size_t)n, " lines, %" PRIu64 " bytes", bytes);
#endif
	text[n++] = '\n';
	return send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void serve_client(struct upg *upg, int *fd)
{
	char data[512];
	ssize_t n = recv(*fd, data, sizeof(data), MSG_DONTWAIT);
	bool closes = n == 0 || (n < 0 && errno != EAGAIN); /* of a connection that was lost on the way back, too: see upgrade.h */

	for (ssize_t i = 0; i < n; i++) {
		bytes++;
		if (data[i] == '\n') {
			lines++;
			closes |= answer(*fd) < 0;
		}
	}
	if (closes) {
		upg_close(upg, *fd, -1);
		*fd = -1;
	}
}

static void accept_client(struct upg *upg)
{
	int fd = accept(listener, NULL, NULL);
	unsigned place = 0;

	while (place < CLIENTS_MAX && client[place] >= 0)
		place++;
	if (fd >= 0 && place < CLIENTS_MAX && upg_fd_register(upg, fd, "client", place) == 0)
		client[place] = fd;
	else if (fd >= 0)
		close(fd);
}

/* Return: what upg_dispatch() said, if the supervisor had something to say. */
static enum upg_dispatched turn(struct upg *upg)
{
	struct pollfd fds[2 + CLIENTS_MAX] = { { .fd = upg_fd(upg), .events = POLLIN }, { .fd = listener, .events = POLLIN } };

	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		fds[2 + i] = (struct pollfd){ .fd = client[i], .events = POLLIN };
	poll(fds, 2 + CLIENTS_MAX, -1);
	if (fds[0].revents)
		return upg_dispatch(upg); /* a roll happens in here, and what fds[] says may be stale after it */
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		if (fds[2 + i].revents)
			serve_client(upg, &client[i]);
	if (fds[1].revents)
		accept_client(upg);
	return UPG_GO_ON;
}

/* ---- upgrade: become what this process is to be ---- */

struct self {
	struct upg *upg;
	uint16_t port;
};

/* load() has been called by the time that @how is UPG_RECEIVED. */
static int start(enum upg_received how, void *userdata)
{
	struct self *self = userdata;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(self->port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		client[i] = upg_fd_claim(self->upg, "client", i); /* -ENOENT: that place is free */
	(void)how;
	listener = upg_listen(self->upg, (struct sockaddr *)&address, sizeof(address), SOCK_STREAM | SOCK_NONBLOCK, 64);
	return listener < 0 ? listener : 0;
}

int main(int argc, char **argv)
{
	struct self self = { .port = argc > 1 ? (uint16_t)atoi(argv[1]) : 7777 };
	int rc = upg_open(&config, &self.upg);

	if (rc < 0) {
		fprintf(stderr, "counter: gave up: %s\n", strerror(-rc));
		return 1;
	}
	if (upg_become(self.upg, start, &self) != UPG_SERVE) {
		fprintf(stderr, "counter: does not serve: %s\n", upg_why(self.upg));
		return *upg_why(self.upg) != 0; /* nothing failed: the roll was called off */
	}
	while (turn(self.upg) == UPG_GO_ON)
		if (*upg_why(self.upg))
			fprintf(stderr, "counter: serves on: %s\n", upg_why(self.upg));
	return 0; /* UPG_LEAVE: another process serves */
}
