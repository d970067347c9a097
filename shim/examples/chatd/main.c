/* SPDX-License-Identifier: MIT */
/* chatd: a chat with a thread for each client, and a model of how a server that blocks is made replaceable. What there is to it:
 *
 *     connection.c   a thread announces itself, passes an update point in each turn, and takes EINTR for a reason to turn
 *     upgrade.c      what is said to the library: the types of the state, how quiet a roll finds it, the way back
 *     records.c      users and rooms that point to each other, as records and back
 *     migrations.c   from one version to the other
 *     below          main() waits for the listener and for the supervisor
 */
#include "shim/examples/chatd/connection.h"
#include "shim/examples/chatd/records.h"
#include "shim/examples/chatd/upgrade.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum verdict { GO_ON, STOP, LEAVE };

/* A connection is a descriptor. Where the hard limit does not allow as many, listener_accept() turns clients away. */
static void raise_descriptor_limit(unsigned connections)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)connections + 64;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int server_init(struct server *server)
{
	int rc = listener_find(server);

	if (rc == 0)
		rc = -pthread_mutex_init(&server->lock, NULL);
	if (rc == 0)
		rc = crew_init(server);
	if (rc < 0)
		return rc;
	TAILQ_INIT(&server->connections);
	TAILQ_INIT(&server->lagging);
	chat_init(&server->chat, server->options.history_max);
	raise_descriptor_limit(server->options.connections_max);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return server->wake_fd < 0 ? -errno : 0;
}

/* ---- upgrade: what main has to do with it ---- */

/* Have what a process that serves has: from the predecessor, or opened here. */
static int start_serving(enum upg_received how, void *userdata)
{
	struct server *server = userdata;
	const char *wrong = records_settle(server);

	(void)how;
	if (wrong) {
		upg_refuse(server->upg, "%s", wrong);
		return -EINVAL;
	}
	return listener_open(server);
}

static enum verdict dispatch_upgrade(struct server *server)
{
	enum upg_dispatched said = upg_dispatch(server->upg);

	if (*upg_why(server->upg))
		fprintf(stderr, "chatd: %s\n", upg_why(server->upg));
	return said == UPG_LEAVE ? LEAVE : GO_ON;
}

/* Only now, when this is the process that serves, may anyone read what clients send. */
static int start_threads(struct server *server)
{
	struct connection *connection, *next;
	int rc = flusher_start(server);

	pthread_mutex_lock(&server->lock);
	next = TAILQ_FIRST(&server->connections);
	pthread_mutex_unlock(&server->lock);
	while (rc == 0 && (connection = next)) {
		/* Those that run already may leave the list. The next one cannot: its thread is started here. */
		pthread_mutex_lock(&server->lock);
		next = TAILQ_NEXT(connection, link);
		pthread_mutex_unlock(&server->lock);
		rc = connection_serve(connection);
	}
	return rc;
}

/* ---- */

static enum verdict turn(struct server *server, int end_fd)
{
	struct pollfd fds[] = {
		{ .fd = end_fd, .events = POLLIN },
		{ .fd = upg_fd(server->upg), .events = POLLIN },
		{ .fd = server->listener, .events = POLLIN },
	};

	if (poll(fds, 3, -1) <= 0)
		return GO_ON;
	if (fds[0].revents)
		return STOP;
	if (fds[1].revents)
		return dispatch_upgrade(server);
	if (fds[2].revents)
		listener_accept(server);
	return GO_ON;
}

static void stop(struct server *server)
{
	struct connection *connection;

	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH(connection, &server->connections, link)
		connection_drop(connection);
	pthread_mutex_unlock(&server->lock);
	atomic_store(&server->stopping, true);
	flusher_wake(server);
	crew_wait(server);
	upg_close(server->upg, server->listener, -1);
	chat_done(&server->chat);
	close(server->wake_fd);
	close(server->spare_fd);
	freeaddrinfo(server->address);
	upg_free(server->upg);
}

static int run(struct server *server)
{
	enum verdict verdict = GO_ON;
	sigset_t ends;

	/* Before there is another thread, so that none of them takes these. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	int end_fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	if (end_fd < 0)
		return -errno;
	int rc = start_threads(server);
	if (rc < 0)
		return rc;
	while (verdict == GO_ON)
		verdict = turn(server, end_fd);
	if (verdict == STOP)
		stop(server);
	/* Otherwise another process serves: what is open here is its business, too. */
	return 0;
}

int main(int argc, char **argv)
{
	static struct server server; /* threads may outlive main() by a moment */

	if (options_parse(argc, argv, &server.options) != 0)
		return 2;
	if (upgrade_open(&server) < 0)
		return 1;
	int rc = server_init(&server);
	if (rc == 0 && upg_become(server.upg, start_serving, &server) == UPG_NOT_READY) {
		if (!*upg_why(server.upg))
			return 0; /* the roll was called off */
		rc = -ECANCELED;
	}
	if (rc == 0)
		rc = run(&server);
	if (rc < 0)
		fprintf(stderr, "chatd: gave up: %s\n", *upg_why(server.upg) ? upg_why(server.upg) : strerror(-rc));
	return rc < 0 ? 1 : 0;
}
