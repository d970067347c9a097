/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "tests/load/control.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
	"Usage: upg-load [OPTION]... HOST:PORT\n"
	"\n"
	"Keep many memcached connections busy, know what every answer must be, and count each one that is not.\n"
	"A connection is opened once (but see --reopen), and never again when it has ended by itself: run this while\n"
	"the server is replaced.\n"
	"\n"
	"  -c, --connections N     connections (1000)\n"
	"  -k, --keys N            keys of each connection (8)\n"
	"  -r, --rate N            requests per second over all connections; 0: as fast as possible (10000)\n"
	"  -d, --duration SECONDS  then audit and report; 0: until told (0)\n"
	"      --value-bytes MIN-MAX\n"
	"                          sizes of values (32-1500)\n"
	"      --pipeline N        most requests in flight on a connection (4)\n"
	"      --reopen N          connections that this client closes and opens again per second, between requests; what it\n"
	"                          had stored must still be there (0)\n"
	"      --seed N            of everything that is random (1)\n"
	"      --timeout SECONDS   a request without an answer for so long has failed (30)\n"
	"      --control           read commands from standard input, answer in JSON lines:\n"
	"                          report, mark, crash, settle COMMIT_US RESUME_US, reopen N, pause, continue, audit,\n"
	"                          stop\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 something was requested and nothing was wrong, failed or lost; 1 otherwise; 2 usage.\n";

static volatile sig_atomic_t stop_asked;

static void on_signal(int signal)
{
	(void)signal;
	stop_asked = 1;
}

static bool number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_n)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < min || n > max)
		return false;
	*ret_n = n;
	return true;
}

static bool range_parse(const char *text, struct load_config *config)
{
	const char *dash = strchr(text, '-');
	char first[24];
	uint64_t min, max;

	if (!dash || (size_t)(dash - text) >= sizeof(first))
		return false;
	memcpy(first, text, (size_t)(dash - text));
	first[dash - text] = '\0';
	/* Values grow to four times their size by append and prepend, and the usual servers stop at 1 MiB. */
	if (!number_parse(first, 1, 240000, &min) || !number_parse(dash + 1, min, 240000, &max))
		return false;
	config->value_min = (size_t)min;
	config->value_max = (size_t)max;
	return true;
}

enum { OPTION_VALUE_BYTES = 256, OPTION_PIPELINE, OPTION_REOPEN, OPTION_SEED, OPTION_TIMEOUT, OPTION_CONTROL };

static bool option_take(int option, const char *text, struct load_config *config)
{
	uint64_t n = 0;
	bool ok;

	switch (option) {
	case 'c':
		ok = number_parse(text, 1, 1000000, &n);
		config->connections = (unsigned)n;
		return ok;
	case 'k':
		ok = number_parse(text, 1, 100000, &n);
		config->keys = (unsigned)n;
		return ok;
	case 'r':
		return number_parse(text, 0, 10000000, &config->rate);
	case 'd':
		ok = number_parse(text, 0, 10000000, &n);
		config->duration_us = n * USEC_PER_SEC;
		return ok;
	case OPTION_VALUE_BYTES:
		return range_parse(text, config);
	case OPTION_PIPELINE:
		ok = number_parse(text, 1, 1000, &n);
		config->pipeline = (unsigned)n;
		return ok;
	case OPTION_REOPEN:
		return number_parse(text, 0, 100000, &config->reopen_rate);
	case OPTION_SEED:
		return number_parse(text, 0, UINT64_MAX, &config->seed);
	case OPTION_TIMEOUT:
		ok = number_parse(text, 1, 86400, &n);
		config->timeout_us = n * USEC_PER_SEC;
		return ok;
	case OPTION_CONTROL:
		config->control = true;
		return true;
	default:
		return false;
	}
}

/* Return: 0, or the status to exit with plus one. */
static int options_parse(int argc, char **argv, struct load_config *config)
{
	static const struct option options[] = {
		{ "connections", required_argument, NULL, 'c' },
		{ "keys", required_argument, NULL, 'k' },
		{ "rate", required_argument, NULL, 'r' },
		{ "duration", required_argument, NULL, 'd' },
		{ "value-bytes", required_argument, NULL, OPTION_VALUE_BYTES },
		{ "pipeline", required_argument, NULL, OPTION_PIPELINE },
		{ "reopen", required_argument, NULL, OPTION_REOPEN },
		{ "seed", required_argument, NULL, OPTION_SEED },
		{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
		{ "control", no_argument, NULL, OPTION_CONTROL },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:k:r:d:h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage_text, stdout);
			return 1;
		}
		if (option == '?')
			break;
		if (!option_take(option, optarg, config)) {
			fprintf(stderr, "upg-load: \"%s\" is not a possible value here\n", optarg);
			break;
		}
	}
	if (option != -1 || optind + 1 != argc) {
		fprintf(stderr, "upg-load: %ssee upg-load --help\n", option == -1 ? "one HOST:PORT is wanted; " : "");
		return 3;
	}
	config->address = argv[optind];
	return 0;
}

static int load_run(struct load *load, struct control *control, struct why *why)
{
	int rc;

	while (control_advance(control, stop_asked)) {
		rc = load_turn(load, control_until_us(control), why);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct load_config config = {
		.connections = 1000, .keys = 8, .rate = 10000, .value_min = 32, .value_max = 1500,
		.pipeline = 4, .seed = 1, .timeout_us = 30 * USEC_PER_SEC,
	};
	static struct control control;
	static struct load load;
	struct why why = { 0 };
	int rc = options_parse(argc, argv, &config);
	bool clean;

	if (rc)
		return rc - 1;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	rc = load_open(&load, &config, &why);
	if (rc == 0)
		rc = control_init(&control, &load, config.control, &why);
	if (rc == 0)
		rc = load_run(&load, &control, &why);
	if (rc < 0)
		fprintf(stderr, "upg-load: %s\n", why.text);
	clean = rc == 0 && load.ready && stats_clean(&load.stats);
	load_close(&load);
	return clean ? 0 : 1;
}
