/* SPDX-License-Identifier: MIT */
#include "shim/examples/chatd/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int usage(void)
{
	fputs("usage: chatd [-l ADDRESS] [-p PORT] [-n REMARKS] [-c CONNECTIONS]\n"
	      "  -l  listen on (127.0.0.1)             -p  port (6660)\n"
	      "  -n  history of each room (100)        -c  connections at a time (1024)\n"
	      "A service that takes over from another process keeps that one's listener if it is at the same address.\n",
	      stderr);
	return 1;
}

static int number(char option, const char *text, unsigned long max, unsigned *ret)
{
	char *end;

	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0' && value >= 1 && value <= max) {
		*ret = (unsigned)value;
		return 0;
	}
	fprintf(stderr, "chatd: -%c %s: not a number from 1 to %lu\n", option, text, max);
	return 1;
}

int options_parse(int argc, char **argv, struct options *ret)
{
	int option, rc = 0;

	*ret = (struct options){ .address = "127.0.0.1", .port = "6660", .history_max = 100, .connections_max = 1024 };
	while (rc == 0 && (option = getopt(argc, argv, "l:p:n:c:h")) != -1) {
		switch (option) {
		case 'l':
			ret->address = optarg;
			break;
		case 'p':
			ret->port = optarg;
			break;
		case 'n':
			rc = number('n', optarg, 100000, &ret->history_max);
			break;
		case 'c':
			rc = number('c', optarg, 30000, &ret->connections_max);
			break;
		default:
			return usage();
		}
	}
	return rc == 0 && optind < argc ? usage() : rc;
}
