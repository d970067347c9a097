/* SPDX-License-Identifier: MIT */
#include "shim/examples/chatd/upgrade.h"

#include "shim/examples/chatd/chatd_v1.pb-c.h"
#include "shim/examples/chatd/connection.h"
#include "shim/examples/chatd/migrations.h"
#include "shim/examples/chatd/records.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- connections: the descriptor goes as ("client", tag), the rest as a record ---- */

static int save_connections(struct upg_saver *saver, void *userdata)
{
	const struct server *server = userdata;
	struct connection *connection;
	int rc = 0;

	TAILQ_FOREACH(connection, &server->connections, link) {
		Chatd__V1__Connection message = CHATD__V1__CONNECTION__INIT;
		const struct output *output = &connection->output;

		message.tag = connection->tag;
		message.user = upg_ref(saver, connection->user);
		message.input = (ProtobufCBinaryData){ connection->n_input, (uint8_t *)connection->input };
		message.output = (ProtobufCBinaryData){ output_size(output), (uint8_t *)(uintptr_t)output_front(output) };
		message.swallow = connection->swallow;
		message.quit = connection->quit;
		rc = upg_save(saver, &message.base);
		if (rc < 0)
			break;
	}
	return rc;
}

static int load_connection(struct upg_loader *loader, const ProtobufCMessage *from, void *userdata)
{
	struct server *server = userdata;
	const Chatd__V1__Connection *message = (const Chatd__V1__Connection *)from;
	int fd = upg_load_claim(loader, "client", message->tag);

	if (fd < 0)
		return upg_load_fail(loader, "connection %llu came without its descriptor", (unsigned long long)message->tag);
	if (message->input.len > LINE_BYTES)
		return upg_load_fail(loader, "connection %llu has %zu bytes of a line", (unsigned long long)message->tag,
				     message->input.len);
	struct connection *connection = connection_new(server, fd, message->tag);
	if (!connection || !output_put(&connection->output, message->output.data, message->output.len))
		return -ENOMEM;
	if (message->input.len)
		memcpy(connection->input, message->input.data, message->input.len);
	connection->n_input = message->input.len;
	connection->swallow = message->swallow;
	connection->quit = message->quit;
	if (output_size(&connection->output)) {
		connection->lagging = true;
		TAILQ_INSERT_TAIL(&server->lagging, connection, lagging_link);
	}
	return upg_resolve(loader, message->user, "chatd.User", (void **)&connection->user);
}

static uint64_t count_connections(void *userdata)
{
	return server_count(userdata, &((const struct server *)userdata)->n_connections);
}

/* ---- how quiet a roll finds the connections; every thread stands ---- */

static enum upg_rest on_prepare(enum upg_level level, uint64_t deadline_us, void *userdata)
{
	const struct server *server = userdata;
	const struct connection *connection;

	(void)deadline_us; /* nothing here waits */
	/* Half a line travels, and so does what was not sent. */
	if (level == UPG_WORK_FREE)
		return UPG_AT_REST;
	TAILQ_FOREACH(connection, &server->connections, link) {
		if (level == UPG_PROTOCOL_FREE || connection->n_input || output_size(&connection->output)) {
			upg_refuse(server->upg, "client %" PRIu64 " %s", connection->tag,
				   level == UPG_PROTOCOL_FREE ? "is connected" :
				   connection->n_input        ? "has sent half a line" :
								"has not taken all output");
			return UPG_NOT_YET;
		}
	}
	return UPG_AT_REST;
}

/* ---- back from a failed successor ---- */

static bool contains(const int *fds, size_t n, int fd)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] == fd)
			return true;
	}
	return false;
}

/* The threads of lost connections stand at their update points, as all threads do. They end when they go on. */
static void on_go_on(const struct upg_go_on *go_on, void *userdata)
{
	struct server *server = userdata;
	struct connection *connection;

	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH(connection, &server->connections, link) {
		if (contains(go_on->lost, go_on->n_lost, connection->fd))
			connection_drop(connection);
	}
	pthread_mutex_unlock(&server->lock);
}

/* ---- */

static const struct upg_type types[] = {
	{
		.name = "chatd.User",
		.version = CHATD_VERSION,
		.descriptor = &RECORD_OF(user, descriptor),
		.save = save_users,
		.load = load_user,
		.count = count_users,
	},
	{
		.name = "chatd.Room",
		.version = CHATD_VERSION,
		.descriptor = &RECORD_OF(room, descriptor),
		.save = save_rooms,
		.load = load_room,
		.count = count_rooms,
	},
	{
		.name = "chatd.Remark",
		.version = CHATD_VERSION,
		.descriptor = &RECORD_OF(remark, descriptor),
		.save = save_remarks,
		.load = load_remark,
		.count = count_remarks,
	},
	{
		.name = "chatd.Connection",
		.version = 1,
		.descriptor = &chatd__v1__connection__descriptor,
		.save = save_connections,
		.load = load_connection,
		.count = count_connections,
		.process_only = 1,
	},
};

int upgrade_open(struct server *server)
{
	static struct upg_config config; /* must outlive the handle */

	config = (struct upg_config){
		.service = "chatd",
		.version = CHATD_NAME,
		.types = types,
		.n_types = sizeof types / sizeof *types,
		.migrations = migrations,
		.n_migrations = n_migrations,
		.nudge_signal = SIGUSR1,
		.on_prepare = on_prepare,
		.on_go_on = on_go_on,
		.userdata = server,
	};
	int rc = upg_open(&config, &server->upg);
	if (rc < 0)
		fprintf(stderr, "chatd: cannot reach the supervisor: %s\n", strerror(-rc));
	return rc;
}
