/* SPDX-License-Identifier: MIT */
/* HealthCommand=: a program of the operator's, run as the service is. Its exit status is the result, and the last line of its
 * output says why. The program leads a process group, which is killed when the program has ended or its time is over. */
#include "supervisor/health/private.h"

#include "base/fd.h"
#include "supervisor/process/graveyard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES 4096
#define LAST_READS_MAX 32u /* more than a pipe holds */

/* Return: true if there may be more. */
static bool read_output(struct health_check *check)
{
	char data[READ_BYTES];
	ssize_t n = read(check->output, data, sizeof(data));

	if (n > 0) {
		last_line_put(&check->line, data, (size_t)n);
		return true;
	}
	return n < 0 && errno == EINTR;
}

static void close_output(struct health_check *check)
{
	source_del(&check->output_source);
	check->output = fd_close(check->output);
}

static void on_output(struct source *source, uint32_t events)
{
	struct health_check *check = container_of(source, struct health_check, output_source);

	/* One read in each turn: a command that prints without end must not hold the loop. A closed pipe does not end the run; the
	 * end of the process does. */
	if (!read_output(check) && (events & (EPOLLHUP | EPOLLERR)))
		close_output(check);
}

static void command_on_exit(struct child *child)
{
	struct health_check *check = container_of(child, struct health_check, child);
	bool healthy = WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
	const char *line;
	char how[sizeof(struct why)];

	for (unsigned i = 0; i < LAST_READS_MAX && check->output >= 0 && read_output(check); i++)
		;
	close_output(check);
	child_describe(child, how, sizeof(how));
	line = last_line_get(&check->line);
	child_done(child);
	timer_disarm(&check->timer);
	if (healthy)
		health_check_done(check, true, "%s", *line ? line : how);
	else
		health_check_done(check, false, "%s%s%s", how, *line ? ": " : "", line);
}

static int open_output(struct health_check *check, int *ret_theirs, struct why *why)
{
	int pair[2], r;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "pipe");
	r = fd_nonblock(pair[0], 1);
	if (r == 0)
		r = source_add(check->health->loop, &check->output_source, pair[0], EPOLLIN, on_output);
	if (r < 0) {
		fd_close(pair[0]);
		fd_close(pair[1]);
		return why_errno(why, r, "pipe");
	}
	check->output = pair[0];
	*ret_theirs = pair[1];
	return 0;
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
	r = open_output(check, &output, why);
	if (r == 0)
		r = command_spawn(check, argv, output, why);
	unit_command_free(argv);
	if (r < 0)
		close_output(check);
	return r;
}

void health_command_cancel(struct health_check *check)
{
	for (unsigned i = 0; i < LAST_READS_MAX && check->output >= 0 && read_output(check); i++)
		;
	close_output(check);
	graveyard_bury_child(check->health->graveyard, &check->child);
}
