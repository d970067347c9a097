/* SPDX-License-Identifier: MIT */
/* A process that is a child of ours: Exec= of one version, with a channel as descriptor 3 and a pipe as its output. */
#include "supervisor/process/origin.h"

#include "supervisor/process/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define APP_CHANNEL_FD 3
#define LOG_READ_BYTES 4096

struct spawned {
	struct instance instance;
	struct loop *loop;
	struct child child;
	struct channel channel;
	int log; /* -1: closed */
	struct source log_source;
	char partial[LINE_BYTES]; /* a line that has no end yet */
	size_t n_partial;
};

static struct spawned *spawned_of(struct instance *instance)
{
	return container_of(instance, struct spawned, instance);
}

/* ---- what it prints ---- */

static void line_complete(struct spawned *spawned)
{
	const struct instance *instance = &spawned->instance;

	spawned->partial[spawned->n_partial] = 0;
	lines_put(&spawned->instance.lines, spawned->partial);
	log_info("%s[%s %d]: %s", instance->service, instance->version, instance->pid, spawned->partial);
	spawned->n_partial = 0;
}

static void take_output(struct spawned *spawned, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '\n') {
			line_complete(spawned);
			continue;
		}
		if (spawned->n_partial == LINE_BYTES - 1)
			line_complete(spawned);
		spawned->partial[spawned->n_partial++] = tame(data[i]);
	}
}

static void log_close(struct spawned *spawned)
{
	source_del(&spawned->log_source);
	spawned->log = fd_close(spawned->log);
}

/* Return: how many bytes were there; 0: none, for now or for good. */
static size_t read_log(struct spawned *spawned)
{
	char data[LOG_READ_BYTES];
	ssize_t n;

	do
		n = read(spawned->log, data, sizeof(data));
	while (n < 0 && errno == EINTR);
	if (n > 0)
		take_output(spawned, data, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		log_close(spawned);
	return n > 0 ? (size_t)n : 0;
}

/* What the process printed before it ended. A child that it left behind may print without end into the same pipe. */
static void drain_log(struct spawned *spawned)
{
	int waiting = 0;
	size_t left = 0, n = 1;

	if (spawned->log >= 0 && ioctl(spawned->log, FIONREAD, &waiting) == 0)
		left = (size_t)waiting;
	for (; left && n; left -= n < left ? n : left)
		n = read_log(spawned);
	if (spawned->n_partial)
		line_complete(spawned);
}

static void on_log(struct source *source, uint32_t events)
{
	(void)events;
	/* Once per turn: a service that prints without end must not hold the loop. */
	read_log(container_of(source, struct spawned, log_source));
}

static int open_log(struct spawned *spawned, int *ret_theirs, unsigned long long *ret_inode, struct why *why)
{
	int pair[2], r;

	log_close(spawned);
	if (pipe2(pair, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "pipe");
	spawned->log = pair[0];
	*ret_theirs = pair[1];
	r = fd_nonblock(pair[0], 1);
	if (r == 0)
		r = fd_inode(pair[1], ret_inode);
	if (r == 0)
		r = source_add(spawned->loop, &spawned->log_source, pair[0], EPOLLIN, on_log);
	return r < 0 ? why_errno(why, r, "log pipe") : 0;
}

static int open_ends(struct spawned *spawned, int *ret_channel, int *ret_log, struct why *why)
{
	struct instance *instance = &spawned->instance;
	int r = channel_open(&spawned->channel, spawned->loop, ret_channel, &instance->channel_inode, why);

	if (r == 0)
		r = open_log(spawned, ret_log, &instance->log_inode, why);
	if (r < 0) {
		*ret_channel = fd_close(*ret_channel);
		*ret_log = fd_close(*ret_log);
	}
	return r;
}

/* ---- as every instance ---- */

static void spawned_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds,
			 size_t n)
{
	channel_send(&spawned_of(instance)->channel, message, fds, n);
}

static bool spawned_awaits(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what)
{
	return outbox_holds(&spawned_of(instance)->channel.outbox, (int)what);
}

static bool spawned_retract(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what)
{
	return outbox_retract(&spawned_of(instance)->channel.outbox, (int)what) > 0;
}

static void spawned_signal(struct instance *instance, int signal)
{
	child_kill(&spawned_of(instance)->child, signal);
}

static bool spawned_has_ended(struct instance *instance)
{
	const struct spawned *spawned = spawned_of(instance);
	siginfo_t info = { 0 };

	return spawned->child.pidfd < 0 ||
	       (waitid(P_PIDFD, (id_t)spawned->child.pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid != 0);
}

static void on_child_exit(struct child *child)
{
	struct spawned *spawned = container_of(child, struct spawned, child);

	instance_exited(&spawned->instance, child->status);
	/* Its last words come first: why it refused, that it had committed. */
	channel_drain(&spawned->channel);
	drain_log(spawned);
	instance_ended(&spawned->instance);
}

static int spawned_reconnect(struct instance *instance, int *ret_channel, int *ret_log, struct why *why)
{
	return open_ends(spawned_of(instance), ret_channel, ret_log, why);
}

static int spawned_set_victim(struct instance *instance, bool is_first, struct why *why)
{
	struct victim *victim = &instance->victim;

	return is_first ? victim_mark(victim, instance->pid, why) : victim_spare(victim, instance->pid, why);
}

static int spawned_adopt(struct instance *instance, pid_t pid, struct why *why)
{
	struct spawned *spawned = spawned_of(instance);
	struct why oom = { 0 };
	int r;

	child_done(&spawned->child);
	child_init(&spawned->child);
	r = child_adopt(spawned->loop, &spawned->child, pid, on_child_exit, why);
	if (r < 0)
		return r; /* it stays a process that has ended: nobody may wait for the end of this one */
	instance_came_back(instance, pid);
	if (victim_restored(&instance->victim, pid, &oom) < 0)
		log_warning("%s[%s %d]: %s", instance->service, instance->version, pid, oom.text);
	return 0;
}

static void spawned_free(struct instance *instance)
{
	struct spawned *spawned = spawned_of(instance);

	child_done(&spawned->child);
	channel_close(&spawned->channel);
	log_close(spawned);
	free(spawned);
}

static const struct instance_kind spawned_kind = {
	.name = "spawned",
	.powers = INSTANCE_CAN_SIGNAL | INSTANCE_CAN_REAP | INSTANCE_CAN_IMAGE,
	.send = spawned_send,
	.awaits = spawned_awaits,
	.retract = spawned_retract,
	.signal = spawned_signal,
	.has_ended = spawned_has_ended,
	.set_victim = spawned_set_victim,
	.reconnect = spawned_reconnect,
	.adopt = spawned_adopt,
	.free = spawned_free,
};

/* ---- the start ---- */

/* Everything that a process of @unit is started with, but for its descriptors. @spec->envp is the caller's to release with
 * unit_command_free(), also after a failure. */
static int spec_make(const struct unit *unit, char **argv, struct child_spec *spec, struct why *why)
{
	char channel_number[32];
	const char *more[] = { channel_number };

	spec->path = argv[0];
	spec->argv = argv;
	spec->cwd = unit->working_directory;
	spec->nofile = unit->limit_nofile;
	spec->oom_score_adj = unit->sets_oom ? &unit->oom_score_adj : NULL;
	snprintf(channel_number, sizeof(channel_number), WIRE_FD_ENV "=%d", APP_CHANNEL_FD);
	spec->envp = unit_environment(unit, more, 1);
	return spec->envp ? unit_identity(unit, spec, why) : why_errno(why, -ENOMEM, "environment");
}

static int spawn(struct spawned *spawned, const struct unit *unit, char **argv, int channel, int log, struct why *why)
{
	struct child_fd fds[] = { { log, STDOUT_FILENO }, { log, STDERR_FILENO }, { channel, APP_CHANNEL_FD } };
	struct child_spec spec = { .fds = fds, .n_fds = sizeof(fds) / sizeof(fds[0]),
				   .ends_first = spawned->instance.victim.is_first };
	int r = spec_make(unit, argv, &spec, why);

	if (r == 0)
		r = child_spawn(spawned->loop, &spawned->child, &spec, on_child_exit, why);
	unit_command_free((char **)(uintptr_t)spec.envp);
	return r;
}

static int try_start(struct origin *origin, const struct unit *unit, const char *version, struct why *why)
{
	struct child_spec spec = { .fds = NULL };
	char **argv;
	int r = unit_command(unit, version, &argv, why);

	(void)origin;
	if (r < 0)
		return r;
	r = spec_make(unit, argv, &spec, why);
	if (r == 0)
		r = child_try(&spec, why);
	unit_command_free((char **)(uintptr_t)spec.envp);
	unit_command_free(argv);
	return r < 0 ? why_prefix(why, r, "%s version %s", unit->name, version) : 0;
}

static void check_victim(const struct spawned *spawned)
{
	const struct instance *instance = &spawned->instance;
	int value;

	if (instance->victim.is_first && victim_value(spawned->child.pid, &value) == 0 && value != CHILD_OOM_FIRST)
		log_warning("%s[%s %d]: oom_score_adj is %d and not %d; when memory is short, the kernel may end the process that "
			    "serves first", instance->service, instance->version, spawned->child.pid, value, CHILD_OOM_FIRST);
}

static struct spawned *spawned_new(struct loop *loop, const char *service, const char *version)
{
	struct spawned *spawned = calloc(1, sizeof(*spawned));

	if (!spawned)
		return NULL;
	instance_init(&spawned->instance, &spawned_kind, service, version);
	spawned->loop = loop;
	spawned->log = -1;
	channel_init(&spawned->channel, &spawned->instance);
	child_init(&spawned->child);
	return spawned;
}

static int start(struct origin *origin, const struct unit *unit, const char *version, bool aside, struct instance **ret_instance,
		 struct why *why)
{
	struct spawner *spawner = container_of(origin, struct spawner, origin);
	FD_CLEANUP int channel = -1;
	FD_CLEANUP int log = -1;
	struct spawned *spawned;
	char **argv;
	int r = unit_command(unit, version, &argv, why);

	if (r < 0)
		return r;
	spawned = spawned_new(spawner->loop, unit->name, version);
	if (spawned)
		spawned->instance.victim = (struct victim){ .normal = unit->sets_oom ? unit->oom_score_adj : victim_own_value(),
							    .is_first = aside };
	r = spawned ? open_ends(spawned, &channel, &log, why) : why_errno(why, -ENOMEM, "instance");
	if (r == 0)
		r = spawn(spawned, unit, argv, channel, log, why);
	unit_command_free(argv);
	if (r < 0) {
		instance_free(spawned ? &spawned->instance : NULL);
		return why_prefix(why, r, "%s version %s", unit->name, version);
	}
	spawned->instance.pid = spawned->child.pid;
	check_victim(spawned);
	*ret_instance = &spawned->instance;
	return 0;
}

void spawner_init(struct spawner *spawner, struct loop *loop)
{
	*spawner = (struct spawner){ .origin = { .start = start, .try = try_start }, .loop = loop };
}

static int start_as(struct origin *origin, struct unit *unit, const char *version, bool aside, const struct instance_events *events,
		    void *owner, struct instance **ret_instance, struct why *why)
{
	int r = origin->start(origin, unit, version, aside, ret_instance, why);

	if (r < 0)
		return r;
	(*ret_instance)->unit = unit_ref(unit);
	instance_own(*ret_instance, events, owner);
	return 0;
}

int origin_start(struct origin *origin, struct unit *unit, const char *version, const struct instance_events *events,
		 void *owner, struct instance **ret_instance, struct why *why)
{
	return start_as(origin, unit, version, false, events, owner, ret_instance, why);
}

int origin_start_aside(struct origin *origin, struct unit *unit, const char *version, const struct instance_events *events,
		       void *owner, struct instance **ret_instance, struct why *why)
{
	return start_as(origin, unit, version, true, events, owner, ret_instance, why);
}

int origin_try(struct origin *origin, const struct unit *unit, const char *version, struct why *why)
{
	return origin->try ? origin->try(origin, unit, version, why) : 0;
}
