/* SPDX-License-Identifier: MIT */
/* HealthCommand=: a program of the operator's, run as the service is. Its exit status is the result, and the last line of its
 * output says why. The program leads a process group, which is killed when the program has ended or its time is over. */
#include "supervisor/health/private.h"

#include "base/fd.h"
#include "supervisor/process/graveyard.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void command_on_exit(struct child *child)
{
	struct health_check *check = container_of(child, struct health_check, child);
	bool healthy = WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
	const char *line;
	char how[sizeof(struct why)];

	last_line_finish(&check->output);
	child_describe(child, how, sizeof(how));
	line = last_line_get(&check->output.line);
	child_done(child);
	timer_disarm(&check->timer);
	if (healthy)
		health_check_done(check, true, "%s", *line ? line : how);
	else
		health_check_done(check, false, "%s%s%s", how, *line ? ": " : "", line);
}

static int command_spawn(struct health_check *check, char **argv, int output, struct why *why)
{
	const struct instance *instance = check->health->instance;
	const struct unit *unit = check->health->unit;
	struct child_fd fds[] = { { output, STDOUT_FILENO }, { output, STDERR_FILENO } };
	struct child_spec spec = { .path = argv[0], .argv = argv, .cwd = unit->working_directory, .fds = fds, .n_fds = 2 };
	char pid[32], version[UNIT_NAME_MAX + 20], service[UNIT_NAME_MAX + 20];
	const char *more[] = { pid, version, service };
	char **env;
	int r;

	snprintf(pid, sizeof(pid), "UPGRADE_PID=%d", instance->pid);
	snprintf(version, sizeof(version), "UPGRADE_VERSION=%s", instance->version);
	snprintf(service, sizeof(service), "UPGRADE_SERVICE=%s", unit->name);
	env = unit_environment(unit, more, 3);
	spec.envp = env;
	unit_identity(unit, &spec);
	r = env ? child_spawn(check->health->loop, &check->child, &spec, command_on_exit, why) :
		  why_errno(why, -ENOMEM, "environment");
	unit_command_free(env);
	return r;
}

int health_command_start(struct health_check *check, struct why *why)
{
	FD_CLEANUP int output = -1;
	char **argv;
	int r = unit_check_command(check->health->unit, check->unit, check->health->instance->version, &argv, why);

	if (r < 0)
		return r;
	r = last_line_open(&check->output, check->health->loop, &output, why);
	if (r == 0)
		r = command_spawn(check, argv, output, why);
	unit_command_free(argv);
	if (r < 0)
		last_line_finish(&check->output);
	return r;
}

void health_command_cancel(struct health_check *check)
{
	last_line_finish(&check->output);
	graveyard_bury_child(check->health->graveyard, &check->child);
}
