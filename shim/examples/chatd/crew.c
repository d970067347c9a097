/* SPDX-License-Identifier: MIT */
#include "shim/examples/chatd/server.h"

#include <time.h>

#define STACK_BYTES (512u * 1024u)

int64_t unix_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int crew_init(struct server *server)
{
	int rc = -pthread_mutex_init(&server->crew_lock, NULL);

	return rc < 0 ? rc : -pthread_cond_init(&server->crew_left, NULL);
}

static void count(struct server *server, int by)
{
	pthread_mutex_lock(&server->crew_lock);
	server->crew += (unsigned)by;
	if (server->crew == 0)
		pthread_cond_signal(&server->crew_left);
	pthread_mutex_unlock(&server->crew_lock);
}

int crew_start(struct server *server, void *(*run)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc = pthread_attr_init(&attr);

	if (rc != 0)
		return -rc;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	count(server, 1);
	rc = pthread_create(&thread, &attr, run, arg);
	if (rc != 0)
		count(server, -1);
	pthread_attr_destroy(&attr);
	return -rc;
}

void crew_leave(struct server *server)
{
	count(server, -1);
}

void crew_wait(struct server *server)
{
	pthread_mutex_lock(&server->crew_lock);
	while (server->crew)
		pthread_cond_wait(&server->crew_left, &server->crew_lock);
	pthread_mutex_unlock(&server->crew_lock);
}
