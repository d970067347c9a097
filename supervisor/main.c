/* SPDX-License-Identifier: MIT */
#include "base/base.h"
#include "supervisor/criu/criu.h"
#include "supervisor/daemon.h"
#include "supervisor/recover/guard.h"
#include "supervisor/recover/successor.h"

#include <getopt.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef UPGRADED_VERSION
#define UPGRADED_VERSION "0.1.0"
#endif

#define LOG_SETTLE_US USEC_PER_SEC

static const char usage[] =
	"usage: upgraded [options]\n"
	"\n"
	"Supervises services and rolls them to their next version and back; upgradectl asks it to.\n"
	"\n"
	"  --config-dir DIR   service files, NAME.conf (default /etc/upgraded)\n"
	"  --run-dir DIR      holds the control socket (default /run/upgraded)\n"
	"  --state-dir DIR    holds images (default /var/lib/upgraded)\n"
	"  --criu PROGRAM     the CRIU to use, a path or a name on PATH (default: the one that get-criu brought, or criu on PATH)\n"
	"  --trust-user USER  files and folders of USER are as good as root's\n"
	"  --debug            log every step of a roll\n"
	"  --could-take-over FACTS\n"
	"                     say whether this program could take the place of the upgraded that runs, and end; that one asks so\n"
	"  --help, --version\n";

static int set_trusted(const char *name)
{
	char *end;
	unsigned long uid = strtoul(name, &end, 10);
	bool is_number = !*end && end != name;
	/* glibc's look-up ends the process where it finds no memory: a number needs none. */
	const struct passwd *user = is_number ? NULL : getpwnam(name);

	if (!user && (!is_number || uid >= UINT32_MAX)) {
		fprintf(stderr, "upgraded: there is no user '%s'\n", name);
		return -1;
	}
	trust_user(user ? user->pw_uid : (uid_t)uid);
	return 0;
}

int main(int argc, char **argv)
{
	enum { CONFIG_DIR = 256, RUN_DIR, STATE_DIR, CRIU, TRUST_USER, TAKE_OVER, DEBUG, HELP, VERSION };
	static const struct option options[] = {
		{ "config-dir", required_argument, NULL, CONFIG_DIR }, { "run-dir", required_argument, NULL, RUN_DIR },
		{ "state-dir", required_argument, NULL, STATE_DIR },   { "criu", required_argument, NULL, CRIU },
		{ "trust-user", required_argument, NULL, TRUST_USER }, { "debug", no_argument, NULL, DEBUG },
		{ "could-take-over", required_argument, NULL, TAKE_OVER },
		{ "help", no_argument, NULL, HELP },		       { "version", no_argument, NULL, VERSION },
		{ NULL, 0, NULL, 0 },
	};
	struct daemon_config config = { .config_dir = "/etc/upgraded",
					.run_dir = "/run/upgraded",
					.state_dir = "/var/lib/upgraded",
					.criu_path = CRIU_DEFAULT,
					.version = UPGRADED_VERSION,
					.left = guard_begin(argv) };
	const char *facts = NULL;
	struct why why = { 0 };
	int option, r;

	fd_open_standard();
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case CONFIG_DIR:
			config.config_dir = optarg;
			break;
		case RUN_DIR:
			config.run_dir = optarg;
			break;
		case STATE_DIR:
			config.state_dir = optarg;
			break;
		case CRIU:
			config.criu_path = optarg;
			break;
		case TRUST_USER:
			if (set_trusted(optarg) < 0)
				return 2;
			break;
		case TAKE_OVER:
			facts = optarg;
			break;
		case DEBUG:
			log_set_level(LOG_LEVEL_DEBUG);
			break;
		case HELP:
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case VERSION:
			puts("upgraded " UPGRADED_VERSION);
			return EXIT_SUCCESS;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "upgraded: what is '%s'?\n%s", argv[optind], usage);
		return 2;
	}
	if (facts)
		return successor_check(facts, config.state_dir, config.version);
	if (log_defer(&why) < 0)
		log_warning("%s; whoever does not read the log holds up everything", why.text);
	r = daemon_run(&config, &why);
	if (r < 0)
		log_error("%s", why.text);
	log_settle(LOG_SETTLE_US);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
