/* SPDX-License-Identifier: MIT */
#include "cli/leave.h"

#include "base/base.h"
#include "cli/args.h"
#include "cli/client.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_BYTES ((size_t)64 << 10)
#define ANSWER_US (10 * USEC_PER_SEC)

extern char **environ;

static const char usage[] =
	"usage: upgradectl leave [--socket=PATH] [UNIT]\n"
	"\n"
	"A SIGTERM within the next minute ends upgraded and leaves its services running; the upgraded that is started then has\n"
	"them back. With UNIT, only if systemd is restarting that unit, and not stopping it. upgraded.service says so in\n"
	"ExecStop=.\n";

/* ---- what systemd is about to do ---- */

/* A line is: number, unit, type, state. */
static bool is_restart_line(const char *line, const char *unit)
{
	char name[256], type[32];

	return sscanf(line, "%*u %255s %31s", name, type) == 2 && strcmp(name, unit) == 0 &&
	       (strcmp(type, "restart") == 0 || strcmp(type, "try-restart") == 0);
}

bool leave_is_restart(const char *jobs, const char *unit)
{
	while (*jobs) {
		const char *end = strchrnul(jobs, '\n');
		char line[512];

		snprintf(line, sizeof(line), "%.*s", (int)(end - jobs), jobs);
		if (is_restart_line(line, unit))
			return true;
		jobs = end + (*end == '\n');
	}
	return false;
}

static int read_jobs(int fd, char jobs[static JOBS_BYTES])
{
	size_t used = 0;
	ssize_t n = 1;

	while (n > 0 && used < JOBS_BYTES - 1) {
		n = read(fd, jobs + used, JOBS_BYTES - 1 - used);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			used += (size_t)n;
	}
	jobs[used] = 0;
	return n < 0 ? -errno : 0;
}

/* systemctl reaches systemd without a bus, too. Return: 0; -errno with words. */
static int ask_systemd(const char *unit, char jobs[static JOBS_BYTES], struct why *why)
{
	char *argv[] = { (char *)(uintptr_t)"systemctl", (char *)(uintptr_t)"list-jobs", (char *)(uintptr_t)"--no-legend",
			 (char *)(uintptr_t)"--no-pager", (char *)(uintptr_t)"--full", (char *)(uintptr_t)"--",
			 (char *)(uintptr_t)unit, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], status = 0, r;
	pid_t pid = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "a pipe");
	r = posix_spawn_file_actions_init(&actions);
	if (r == 0) {
		r = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
		if (r == 0)
			r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(ends[1]);
	if (r != 0) {
		close(ends[0]);
		return why_errno(why, -r, "systemctl list-jobs");
	}
	r = read_jobs(ends[0], jobs);
	close(ends[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return why_errno(why, r, "systemctl list-jobs");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : why_set(why, -EIO, "systemctl list-jobs failed");
}

/* ---- and upgraded is told ---- */

static int tell(const char *socket_path, bool leaves, struct why *why)
{
	Upgraded__Wire__Request request = UPGRADED__WIRE__REQUEST__INIT;
	struct client_call call = { .socket_path = socket_path, .request = &request, .timeout_us = ANSWER_US };
	Upgraded__Wire__ControlMessage *message = NULL;
	int code = WIRE_EXIT_ERROR;

	request.protocol = WIRE_PROTOCOL;
	request.verb = UPGRADED__WIRE__VERB__VERB_LEAVE;
	request.stays_down = !leaves;
	if (client_call(&call, &message, why) != CLIENT_ANSWERED)
		return code;
	code = (int)message->result->code;
	if (code == WIRE_EXIT_DONE && leaves)
		printf("%s\n", message->result->text);
	else if (code != WIRE_EXIT_DONE)
		why_set(why, 0, "%s", message->result->text);
	upgraded__wire__control_message__free_unpacked(message, NULL);
	return code;
}

bool leave_is_meant(int argc, char **argv)
{
	return argc > 1 && strcmp(argv[1], "leave") == 0;
}

int leave_main(int argc, char **argv)
{
	static const struct option options[] = { { "socket", required_argument, NULL, 's' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	const char *env = getenv(ARGS_SOCKET_ENV), *main_pid = getenv("MAINPID"), *unit;
	const char *socket_path = env && *env ? env : ARGS_SOCKET_DEFAULT;
	static char jobs[JOBS_BYTES];
	struct why why = { "" };
	bool leaves = true;
	int option, r = 0;

	optind = 2; /* behind the verb */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 's') {
			socket_path = optarg;
			continue;
		}
		fputs(usage, option == 'h' ? stdout : stderr);
		return option == 'h' ? (int)WIRE_EXIT_DONE : (int)WIRE_EXIT_USAGE;
	}
	if (argc - optind > 1) {
		fputs(usage, stderr);
		return WIRE_EXIT_USAGE;
	}
	unit = argv[optind];
	/* systemd calls what ExecStop= names after the end of a main process as well: nobody is there to be told. */
	if (unit && getenv("INVOCATION_ID") && (!main_pid || !*main_pid))
		return WIRE_EXIT_DONE;
	if (unit) {
		r = ask_systemd(unit, jobs, &why);
		leaves = r == 0 && leave_is_restart(jobs, unit);
	}
	if (r < 0)
		fprintf(stderr, "upgradectl leave: %s; the services will be stopped\n", why.text);
	r = tell(socket_path, leaves, &why);
	if (r != WIRE_EXIT_DONE)
		fprintf(stderr, "upgradectl leave: upgraded was not told whether to leave its services running: %s\n", why.text);
	return r;
}
