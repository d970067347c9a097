/* SPDX-License-Identifier: MIT */
#include "shim/examples/cached/options.h"

#include "shim/examples/cached/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int usage(void)
{
	fputs("usage: cached [-l ADDRESS] [-p PORT] [-t THREADS] [-m MEGABYTES] [-c CONNECTIONS]\n"
	      "  -l  listen on (127.0.0.1)       -p  port (11211)\n"
	      "  -t  worker threads (4)          -m  memory for items, in MiB (64)\n"
	      "  -c  connections at a time (1024)\n"
	      "A service that takes over from another process keeps that one's listener if it is at the same address.\n",
	      stderr);
	return 1;
}

static int number(char option, const char *text, unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0' && *ret >= 1 && *ret <= max)
		return 0;
	fprintf(stderr, "cached: -%c %s: not a number from 1 to %lu\n", option, text, max);
	return 1;
}

int options_parse(int argc, char **argv, struct options *ret)
{
	unsigned long threads = 4, megabytes = 64, connections = 1024;
	int option, rc = 0;

	*ret = (struct options){ .address = "127.0.0.1", .port = "11211" };
	while (rc == 0 && (option = getopt(argc, argv, "l:p:t:m:c:h")) != -1) {
		switch (option) {
		case 'l':
			ret->address = optarg;
			break;
		case 'p':
			ret->port = optarg;
			break;
		case 't':
			rc = number('t', optarg, 256, &threads);
			break;
		case 'm':
			rc = number('m', optarg, 1024 * 1024, &megabytes);
			break;
		case 'c':
			rc = number('c', optarg, 1000000, &connections);
			break;
		default:
			return usage();
		}
	}
	if (rc == 0 && optind < argc)
		return usage();
	ret->n_workers = (unsigned)threads;
	ret->bytes_max = megabytes * 1024 * 1024;
	ret->connections_max = (unsigned)connections;
	return rc;
}
