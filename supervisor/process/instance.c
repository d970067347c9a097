/* SPDX-License-Identifier: MIT */
#include "supervisor/process/instance.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define APP_CHANNEL_FD 3
#define LOG_READ_BYTES 4096
#define DATAGRAMS_A_TURN 64u
#define LAST_WORDS_MAX 4096u /* more than a socket holds */

/* ---- what it prints ---- */

static void line_complete(struct instance *instance)
{
	struct lines *lines = &instance->lines;
	unsigned slot = (lines->first + lines->n) % INSTANCE_LINES;

	instance->partial[instance->n_partial] = 0;
	memcpy(lines->text[slot], instance->partial, instance->n_partial + 1);
	if (lines->n < INSTANCE_LINES)
		lines->n++;
	else
		lines->first = (lines->first + 1) % INSTANCE_LINES;
	log_info("%s[%s %d]: %s", instance->service, instance->version, instance->child.pid, instance->partial);
	instance->n_partial = 0;
}

/* What a service says must not drive the operator's terminal, nor break a message's UTF-8. */
static char tame(char c)
{
	return c == '\t' || (c >= 0x20 && c < 0x7f) ? c : '?';
}

static void tame_text(char *text)
{
	for (; *text; text++)
		*text = tame(*text);
}

static void take_output(struct instance *instance, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '\n') {
			line_complete(instance);
			continue;
		}
		if (instance->n_partial == INSTANCE_LINE_BYTES - 1)
			line_complete(instance);
		instance->partial[instance->n_partial++] = tame(data[i]);
	}
}

static void log_close(struct instance *instance)
{
	source_del(&instance->log_source);
	instance->log = fd_close(instance->log);
}

static void drain_log(struct instance *instance)
{
	char data[LOG_READ_BYTES];

	while (instance->log >= 0) {
		ssize_t n = read(instance->log, data, sizeof(data));

		if (n > 0) {
			take_output(instance, data, (size_t)n);
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else {
			if (n == 0 || errno != EAGAIN)
				log_close(instance);
			return;
		}
	}
}

static void on_log(struct source *source, uint32_t events)
{
	struct instance *instance = container_of(source, struct instance, log_source);
	char data[LOG_READ_BYTES];
	ssize_t n;

	(void)events;
	/* Once per turn: a service that prints without end must not hold the loop. */
	n = read(instance->log, data, sizeof(data));
	if (n > 0)
		take_output(instance, data, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		log_close(instance);
}

const char *instance_line(const struct instance *instance, unsigned i)
{
	return i < instance->lines.n ? instance->lines.text[(instance->lines.first + i) % INSTANCE_LINES] : NULL;
}

/* ---- the channel ---- */

static void channel_close(struct instance *instance)
{
	source_del(&instance->channel_source);
	instance->channel = fd_close(instance->channel);
	outbox_clear(&instance->outbox);
}

static void watch_channel(struct instance *instance)
{
	if (instance->channel >= 0)
		source_set(&instance->channel_source,
			   EPOLLIN | (outbox_is_empty(&instance->outbox) ? 0u : (uint32_t)EPOLLOUT));
}

void instance_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n)
{
	struct why why = { 0 };

	if (instance->channel < 0)
		return;
	if (outbox_send(&instance->outbox, instance->channel, &message->base, fds, n, &why) < 0)
		log_warning("%s[%s %d]: %s could not be sent: %s", instance->service, instance->version, instance->child.pid,
			    wire_app_name(message), why.text);
	watch_channel(instance);
}

/* Type names are not tamed, as both versions compare them; but they are shown, too. */
static bool is_name(const char *text)
{
	size_t n = 0;

	while ((unsigned char)text[n] >= 0x20 && text[n] != 0x7f)
		n++;
	return n && !text[n];
}

static int check_hello(const struct instance *instance, const Upgraded__Wire__Hello *hello, struct why *why)
{
	if (instance->hello)
		return why_set(why, -EPROTO, "said hello twice");
	if (hello->protocol != WIRE_PROTOCOL)
		return why_set(why, -EPROTO, "speaks protocol %u, this supervisor speaks %u", hello->protocol, WIRE_PROTOCOL);
	for (size_t i = 0; i < hello->n_schemas; i++)
		if (!is_name(hello->schemas[i]->name) || !hello->schemas[i]->version)
			return why_set(why, -EPROTO, "said hello with a type that has no name or version");
	return 0;
}

static void handle_datagram(struct instance *instance, Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct why why = { 0 };

	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED)
		tame_text(message->refused->reason);
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS)
		tame_text(message->start_progress->text);
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO) {
		instance->events->on_message(instance, message, fds);
	} else if (check_hello(instance, message->hello, &why) == 0) {
		instance->hello = message;
		message = NULL;
		if (instance->events->on_hello)
			instance->events->on_hello(instance);
	} else {
		instance->events->on_garbage(instance, why.text);
	}
	wire_fds_close(fds);
	if (message)
		upgraded__wire__app_message__free_unpacked(message, NULL);
}

/* Reads one datagram. Return: true if there may be another. */
static bool read_channel(struct instance *instance)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX]; /* one loop thread */
	struct why why = { 0 };
	struct wire_fds fds;
	ProtobufCMessage *message;
	int r;

	if (instance->channel < 0)
		return false;
	r = wire_receive(instance->channel, &upgraded__wire__app_message__descriptor, buffer, &fds, &message, &why);
	if (r == WIRE_AGAIN)
		return false;
	if (r == WIRE_OK)
		handle_datagram(instance, (Upgraded__Wire__AppMessage *)message, &fds);
	else if (r == -EBADMSG)
		instance->events->on_garbage(instance, why.text);
	else
		channel_close(instance);
	return true;
}

static void on_channel(struct source *source, uint32_t events)
{
	struct instance *instance = container_of(source, struct instance, channel_source);
	struct why why = { 0 };

	if (events & EPOLLOUT) {
		/* A peer that is gone may have said something before. */
		if (outbox_flush(&instance->outbox, instance->channel, &why) < 0)
			outbox_clear(&instance->outbox);
		watch_channel(instance);
	}
	/* Bounded: a process that talks without end must not hold the loop. */
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		for (unsigned i = 0; i < DATAGRAMS_A_TURN && read_channel(instance); i++)
			;
}

/* ---- the process ---- */

static void on_child_exit(struct child *child)
{
	struct instance *instance = container_of(child, struct instance, child);

	instance->exited = true;
	instance->exited_us = clock_now_us();
	/* Its last words come first: why it refused, that it had committed. The socket holds no more than that. */
	for (unsigned i = 0; i < LAST_WORDS_MAX && read_channel(instance); i++)
		;
	/* A child of its own may hold the other end still: it does not speak for the service. */
	channel_close(instance);
	drain_log(instance);
	if (instance->n_partial)
		line_complete(instance);
	instance->exit_told = true;
	instance->events->on_exit(instance);
}

/* A pair of ends: ours, non-blocking and watched; the application's, with its inode. */
static int open_channel(struct instance *instance, int *ret_theirs, unsigned long long *ret_inode, struct why *why)
{
	int pair[2], r;

	/* Both ends: the shim expects it of the one that a restored process gets, too. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return why_errno(why, -errno, "socketpair");
	instance->channel = pair[0];
	*ret_theirs = pair[1];
	r = fd_inode(pair[1], ret_inode);
	if (r == 0)
		r = source_add(instance->loop, &instance->channel_source, pair[0], EPOLLIN, on_channel);
	return r < 0 ? why_errno(why, r, "channel") : 0;
}

static int open_log(struct instance *instance, int *ret_theirs, unsigned long long *ret_inode, struct why *why)
{
	int pair[2], r;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "pipe");
	instance->log = pair[0];
	*ret_theirs = pair[1];
	r = fd_nonblock(pair[0], 1);
	if (r == 0)
		r = fd_inode(pair[1], ret_inode);
	if (r == 0)
		r = source_add(instance->loop, &instance->log_source, pair[0], EPOLLIN, on_log);
	return r < 0 ? why_errno(why, r, "log pipe") : 0;
}

static int spawn(struct instance *instance, const struct unit *unit, char **argv, int channel, int log, struct why *why)
{
	struct child_fd fds[] = { { log, STDOUT_FILENO }, { log, STDERR_FILENO }, { channel, APP_CHANNEL_FD } };
	struct child_spec spec = {
		.path = argv[0],
		.argv = argv,
		.cwd = unit->working_directory,
		.fds = fds,
		.n_fds = sizeof(fds) / sizeof(fds[0]),
		.nofile = unit->limit_nofile,
	};
	char channel_number[32];
	const char *more[] = { channel_number };
	char **env;
	int r;

	snprintf(channel_number, sizeof(channel_number), WIRE_FD_ENV "=%d", APP_CHANNEL_FD);
	env = unit_environment(unit, more, 1);
	r = env ? unit_identity(unit, &spec, why) : why_errno(why, -ENOMEM, "environment");
	spec.envp = env;
	if (r == 0)
		r = child_spawn(instance->loop, &instance->child, &spec, on_child_exit, why);
	unit_command_free(env);
	return r;
}

int instance_start(struct loop *loop, const struct unit *unit, const char *version, const struct instance_events *events,
		   void *owner, struct instance **ret_instance, struct why *why)
{
	FD_CLEANUP int channel = -1;
	FD_CLEANUP int log = -1;
	struct instance *instance;
	char **argv;
	int r;

	r = unit_command(unit, version, &argv, why);
	if (r < 0)
		return r;
	instance = calloc(1, sizeof(*instance));
	if (!instance) {
		unit_command_free(argv);
		return why_errno(why, -ENOMEM, "instance");
	}
	instance->loop = loop;
	instance->events = events;
	instance->owner = owner;
	instance->channel = instance->log = -1;
	instance->since_us = clock_now_us();
	snprintf(instance->service, sizeof(instance->service), "%s", unit->name);
	snprintf(instance->version, sizeof(instance->version), "%s", version);
	outbox_init(&instance->outbox);
	child_init(&instance->child);
	r = open_channel(instance, &channel, &instance->channel_inode, why);
	if (r == 0)
		r = open_log(instance, &log, &instance->log_inode, why);
	if (r == 0)
		r = spawn(instance, unit, argv, channel, log, why);
	unit_command_free(argv);
	if (r < 0) {
		instance_free(instance);
		return why_prefix(why, r, "%s version %s", unit->name, version);
	}
	*ret_instance = instance;
	return 0;
}

int instance_reconnect(struct instance *instance, int *ret_channel, int *ret_log, struct why *why)
{
	int r;

	channel_close(instance);
	log_close(instance);
	*ret_channel = *ret_log = -1;
	r = open_channel(instance, ret_channel, &instance->channel_inode, why);
	if (r == 0)
		r = open_log(instance, ret_log, &instance->log_inode, why);
	if (r < 0) {
		*ret_channel = fd_close(*ret_channel);
		*ret_log = fd_close(*ret_log);
	}
	return r;
}

int instance_adopt(struct instance *instance, pid_t pid, struct why *why)
{
	int r;

	child_done(&instance->child);
	child_init(&instance->child);
	r = child_adopt(instance->loop, &instance->child, pid, on_child_exit, why);
	if (r < 0)
		return r; /* it stays a process that has ended: nobody may wait for the end of this one */
	instance->exited = instance->exit_told = false;
	instance->since_us = clock_now_us();
	return 0;
}

Upgraded__Wire__Limits instance_limits(const struct unit *unit)
{
	Upgraded__Wire__Limits limits = UPGRADED__WIRE__LIMITS__INIT;

	limits.record_bytes = (uint32_t)unit->state_record_max;
	limits.types = (uint32_t)unit->state_types_max;
	limits.stream_bytes = unit->state_max;
	return limits;
}

void instance_kill(struct instance *instance, int signal)
{
	if (!instance->exited)
		child_kill(&instance->child, signal);
}

bool instance_is_alive(const struct instance *instance)
{
	return instance && !instance->exited;
}

struct instance *instance_free(struct instance *instance)
{
	if (!instance)
		return NULL;
	child_done(&instance->child);
	channel_close(instance);
	log_close(instance);
	if (instance->hello)
		upgraded__wire__app_message__free_unpacked(instance->hello, NULL);
	free(instance);
	return NULL;
}
