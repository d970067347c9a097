/* SPDX-License-Identifier: MIT */
/* cached: a cache that speaks the memcached text protocol, and a model of how an ordinary server is made replaceable. */
#include "shim/examples/cached/breakage.h"
#include "shim/examples/cached/options.h"
#include "shim/examples/cached/server.h"
#include "shim/examples/cached/upgrade.h"
#include "shim/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum verdict { GO_ON, STOP, LEAVE };

static int watch(const struct server *server, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Blocked in all threads and read from a descriptor: ending is an event like others. */
static int end_signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int server_init(struct server *server, int *ret_end_fd)
{
	int rc = store_init(&server->store, server->options.bytes_max);

	if (rc < 0)
		return rc;
	server->started_ns = unix_now_ns();
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	*ret_end_fd = end_signals_open();
	if (server->epoll_fd < 0 || *ret_end_fd < 0)
		return -errno;
	rc = watch(server, *ret_end_fd);
	return rc < 0 ? rc : workers_start(server);
}

/* ---- upgrade: what main has to do with it ---- */

/* Become what this process is to be: the first of its service, or the successor. Return: UPG_SERVE, UPG_LEAVE or -errno. */
static int take_over(struct server *server)
{
	int rc = upg_receive(server->upg);

	if (rc == UPG_FRESH) {
		server->listener = listener_open(&server->options);
		if (server->listener < 0)
			return server->listener;
		rc = upg_fd_register(server->upg, server->listener, "listener", 0);
	} else if (rc == UPG_RECEIVED) {
		if (break_refuses(server->upg))
			return UPG_LEAVE;
		server->listener = upg_fd_claim(server->upg, "listener", 0);
		rc = server->listener < 0 ? server->listener : 0;
	} else {
		return rc;
	}
	return rc < 0 ? rc : upg_ready(server->upg);
}

static enum verdict dispatch_upgrade(struct server *server)
{
	int rc = upg_dispatch(server->upg);

	if (rc < 0)
		fprintf(stderr, "cached: %s\n", upg_why(server->upg));
	return rc == UPG_LEAVE ? LEAVE : GO_ON;
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

static int run(struct server *server, int end_fd)
{
	enum verdict verdict = GO_ON;
	int rc = watch(server, server->listener);

	if (rc == 0 && upg_fd(server->upg) >= 0)
		rc = watch(server, upg_fd(server->upg));
	if (rc < 0)
		return rc;
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
	store_done(&server->store);
	return 0;
}

int main(int argc, char **argv)
{
	static struct server server; /* threads may outlive main() by a moment */
	int end_fd;

	break_at_start();
	if (options_parse(argc, argv, &server.options) != 0)
		return 2;
	if (upgrade_open(&server) < 0)
		return 1;
	break_in_init();
	int rc = server_init(&server, &end_fd);
	if (rc == 0)
		rc = take_over(&server);
	if (rc == UPG_LEAVE)
		return 0;
	if (rc == UPG_SERVE)
		rc = run(&server, end_fd);
	if (rc < 0)
		fprintf(stderr, "cached: %s: %s\n", strerror(-rc), upg_why(server.upg));
	return rc < 0 ? 1 : 0;
}
