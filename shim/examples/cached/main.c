/* SPDX-License-Identifier: MIT */
/* cached: a cache that speaks the memcached text protocol, and a model of how an ordinary server is made replaceable. */
#include "shim/examples/cached/breakage.h"
#include "shim/examples/cached/options.h"
#include "shim/examples/cached/server.h"
#include "shim/examples/cached/upgrade.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum verdict { GO_ON, STOP, LEAVE };

static int watch(const struct server *server, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void end_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGINT);
}

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
	sigset_t ends, before;

	if (rc == 0)
		rc = store_init(&server->store, server->options.bytes_max);
	if (rc < 0)
		return rc;
	server->store.on_change = upgrade_store_changed;
	server->store.userdata = server;
	raise_descriptor_limit(server->options.connections_max);
	server->started_ns = unix_now_ns();
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll_fd < 0)
		return -errno;
	/* Workers never see these signals. This thread does until it serves: who stands by ends at a SIGTERM like anyone. */
	end_signals(&ends);
	pthread_sigmask(SIG_BLOCK, &ends, &before);
	rc = workers_start(server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/* ---- upgrade: what main has to do with it ---- */

/* Have what a process that serves has: from the predecessor, or opened here. */
static int start_serving(enum upg_received how, void *userdata)
{
	struct server *server = userdata;

	if (how == UPG_RECEIVED && break_refuses(server->upg))
		return -ECANCELED;
	return listener_open(server);
}

static enum verdict dispatch_upgrade(struct server *server)
{
	enum upg_dispatched said = upg_dispatch(server->upg);

	if (*upg_why(server->upg))
		fprintf(stderr, "cached: %s\n", upg_why(server->upg));
	return said == UPG_LEAVE ? LEAVE : GO_ON;
}

/* ---- */

static enum verdict turn(struct server *server, int end_fd)
{
	struct epoll_event events[4];
	int n = epoll_wait(server->epoll_fd, events, 4, -1);

	break_on_turn();
	for (int i = 0; i < n; i++) {
		int fd = events[i].data.fd;
		if (fd == end_fd)
			return STOP;
		if (fd == upg_fd(server->upg))
			return dispatch_upgrade(server); /* the other events may be stale now, and come again */
		if (fd == server->listener)
			listener_accept(server);
	}
	return GO_ON;
}

static int loop(struct server *server, int end_fd)
{
	enum verdict verdict = GO_ON;

	workers_serve(server);
	break_serving(server->upg);
	while (verdict == GO_ON)
		verdict = turn(server, end_fd);
	if (verdict == LEAVE)
		return 0; /* another process serves: what is open here is its business, too */
	workers_stop(server);
	upg_close(server->upg, server->listener, server->epoll_fd);
	upg_free(server->upg);
	close(server->epoll_fd);
	close(server->spare_fd);
	close(end_fd);
	freeaddrinfo(server->address);
	store_done(&server->store);
	return 0;
}

static int run(struct server *server)
{
	sigset_t ends;

	end_signals(&ends);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	int end_fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK); /* ending is an event like others */
	if (end_fd < 0)
		return -errno;
	int rc = watch(server, end_fd);
	if (rc == 0)
		rc = watch(server, server->listener);
	if (rc == 0 && upg_fd(server->upg) >= 0)
		rc = watch(server, upg_fd(server->upg));
	return rc < 0 ? rc : loop(server, end_fd);
}

int main(int argc, char **argv)
{
	static struct server server; /* threads may outlive main() by a moment */

	break_at_start();
	if (options_parse(argc, argv, &server.options) != 0)
		return 2;
	if (upgrade_open(&server) < 0)
		return 1;
	break_in_init();
	int rc = server_init(&server);
	if (rc == 0 && upg_become(server.upg, start_serving, &server) == UPG_NOT_READY) {
		if (!*upg_why(server.upg))
			return 0; /* the roll was called off */
		rc = -ECANCELED;
	}
	if (rc == 0)
		rc = run(&server);
	if (rc < 0)
		fprintf(stderr, "cached: gave up: %s\n", *upg_why(server.upg) ? upg_why(server.upg) : strerror(-rc));
	return rc < 0 ? 1 : 0;
}
