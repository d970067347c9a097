/* SPDX-License-Identifier: MIT */
#include "tests/rig/private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Below the ports that outgoing connections take, so that none of the load client's is one a service is about to open. */
#define PORT_MIN 20000u
#define PORT_COUNT 10000u
#define FILES_MAX 8192u

static bool port_is_free(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	bool unused;

	if (fd < 0)
		return false;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* With SO_REUSEADDR only listening tells a port that is listened on. */
	unused = bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0;
	fd_close(fd);
	return unused;
}

uint16_t rig_port(struct rig *rig)
{
	for (unsigned i = 0; i < PORT_COUNT; i++) {
		uint16_t port;

		if (!rig->port)
			rig->port = (unsigned)getpid() * 37 % PORT_COUNT;
		port = (uint16_t)(PORT_MIN + rig->port++ % PORT_COUNT);
		if (port_is_free(port))
			return port;
	}
	rig_fail(rig, -EADDRINUSE, "no TCP port is free");
	return 0;
}

int rig_unit_write(struct rig *rig, const char *name, const char *text)
{
	char path[PATH_MAX], made[PATH_MAX];
	FILE *file;
	bool well;

	snprintf(path, sizeof(path), "%s/conf/%s.conf", rig->folder, name);
	snprintf(made, sizeof(made), "%s/conf/.%s.new", rig->folder, name);
	file = fopen(made, "we");
	if (!file)
		return rig_fail(rig, -errno, "%s: %s", made, strerror(errno));
	well = fputs(text, file) >= 0;
	well = fclose(file) == 0 && well;
	/* The daemon never reads half a file. */
	if (!well || rename(made, path) < 0)
		return rig_fail(rig, -EIO, "%s could not be written: %s", path, strerror(errno));
	return 0;
}

int rig_cached_write(struct rig *rig, const char *name, const struct rig_cached *cached)
{
	char *text = NULL;
	int rc;

	if (asprintf(&text, "[Service]\nExec=%s-%%v -p %u -t %u%s%s\nVersion=%s\nLimitNOFILE=%u\n%s",
		     rig_program(rig, "examples/cached"), cached->port, cached->threads ? cached->threads : 4,
		     cached->options ? " " : "", cached->options ? cached->options : "",
		     cached->version ? cached->version : "v1", cached->files ? cached->files : FILES_MAX,
		     cached->lines ? cached->lines : "") < 0)
		return rig_fail(rig, -ENOMEM, "no memory");
	rc = rig_unit_write(rig, name, text);
	free(text);
	return rc;
}
