/* SPDX-License-Identifier: MIT */
#include "tests/torture/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS 5
#define PAUSE_NS 10000000

static int open_one(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* What is asked for in one write, up to the end of its answer. */
static bool ask(int fd, const char *request, const char *end)
{
	char text[512];
	size_t used = 0;

	if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
		return false;
	do {
		ssize_t n = recv(fd, text + used, sizeof(text) - 1 - used, 0);

		if (n <= 0)
			return false;
		used += (size_t)n;
		text[used] = '\0';
	} while (!strstr(text, end));
	return true;
}

int client_run(uint16_t port)
{
	char request[128];
	int fds[SOCKETS];

	for (int i = 0; i < SOCKETS; i++)
		if ((fds[i] = open_one(port)) < 0)
			return 1;
	for (unsigned n = 0;; n++) {
		int fd = fds[n % SOCKETS];

		snprintf(request, sizeof(request), "set struck:%u 0 0 4\r\nabcd\r\n", n % SOCKETS);
		if (!ask(fd, request, "STORED\r\n"))
			return 1;
		snprintf(request, sizeof(request), "get struck:%u\r\n", n % SOCKETS);
		if (!ask(fd, request, "END\r\n"))
			return 1;
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	}
}
