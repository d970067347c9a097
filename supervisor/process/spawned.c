/* SPDX-License-Identifier: MIT */
/* A process that is a child of ours: Exec= of one version, with a channel as descriptor 3 and a pipe as its output. */
#include "supervisor/process/origin.h"

#include "supervisor/logbook/logbook.h"
#include "supervisor/logbook/note.h"
#include "supervisor/machine/procfs.h"
#include "supervisor/process/channel.h"
#include "supervisor/process/gifts.h"
#include "supervisor/process/groups.h"
#include "supervisor/process/leftovers.h"
#include "supervisor/process/output.h"
#include "supervisor/process/regain.h"
#include "supervisor/process/spawned_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOLDER_FDS_MAX 64 /* descriptors 0 to 63 of a process are looked at */
#define HOLDERS_MAX 256u
#define STORED_PIPE_BYTES (1 << 20)

static int make_output(struct spawned *spawned)
{
	if (!spawned->output)
		spawned->output = output_new(spawned->spawner->loop, spawned->log_rate, spawned->log_rate_bytes,
					     &spawned->instance.lines);
	return spawned->output ? 0 : -ENOMEM;
}

void spawned_name_output(struct spawned *spawned)
{
	const struct instance *instance = &spawned->instance;

	output_name(spawned->output, instance->service, instance->version, instance->pid);
}

/* ---- what it says of itself ---- */

bool spawned_is_older(const struct instance *instance)
{
	return instance->hello && !instance->hello->hello->keeps;
}

uint8_t *spawned_pack_hello(const struct instance *instance, ProtobufCBinaryData *ret)
{
	size_t size = instance->hello ? upgraded__wire__app_message__get_packed_size(instance->hello) : 0;
	uint8_t *packed = size ? malloc(size) : NULL;

	if (packed)
		*ret = (ProtobufCBinaryData){ .data = packed,
					      .len = upgraded__wire__app_message__pack(instance->hello, packed) };
	return packed;
}

int spawned_unpack_hello(struct instance *instance, const ProtobufCBinaryData *packed)
{
	ProtobufCMessage *message;
	int r = wire_unpack(&upgraded__wire__app_message__descriptor, packed->len, packed->data, &message);

	if (r < 0)
		return r;
	instance->hello = (Upgraded__Wire__AppMessage *)message;
	return instance->hello->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO ? 0 : -EBADMSG;
}

/* ---- in the logbook ---- */

/* From before the process can do anything that would need us: what is not written down when we end notices our end, and ends. */
static int write_down(struct spawned *spawned, const struct unit *unit, struct why *why)
{
	const struct instance *instance = &spawned->instance;
	const struct spawner *spawner = spawned->spawner;
	Upgraded__Logbook__Process process = UPGRADED__LOGBOOK__PROCESS__INIT;
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;
	uint8_t *hello = NULL;
	char *text = NULL;
	int r;

	if (!spawner->logbook)
		return 0;
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS;
	entry.process = &process;
	r = unit_text(unit, &text);
	if (r == 0)
		r = procfs_start_ticks(instance->pid, &process.start_ticks);
	if (r < 0) {
		free(text);
		return why_errno(why, r, "pid %d", (int)instance->pid);
	}
	process.serial = spawned->serial;
	process.service = (char *)(uintptr_t)instance->service;
	process.version = (char *)(uintptr_t)instance->version;
	process.pid = instance->pid;
	process.since_us = instance->since_us;
	process.unit_path = unit->path;
	process.unit_text = (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
	process.our_channel_inode = spawned->our_inode;
	process.channel_inode = instance->channel_inode;
	process.log_inode = instance->log_inode;
	process.place = instance->place;
	process.oom_normal = instance->victim.normal;
	process.uid = spawned->uid;
	process.serves = instance->place == INSTANCE_SERVES;
	process.boot_id = (char *)(uintptr_t)regain_boot();
	process.written_us = logbook_now_us();
	process.drain_due_us = instance->drain_due_us;
	if (spawner->store && spawned_is_older(instance))
		hello = spawned_pack_hello(instance, &process.hello);
	r = logbook_write(spawner->logbook, &entry, why);
	free(hello);
	free(text);
	return r;
}

static void write_down_change(struct spawned *spawned)
{
	const struct instance *instance = &spawned->instance;
	struct why why = { 0 };

	if (spawned->serial && instance_is_alive(instance) && write_down(spawned, instance->unit, &why) < 0)
		log_instance(WARNING, instance,
			     "what it is now could not be written down: %s; if upgraded ends, it is found by its hello",
			     why.text);
}

void spawned_cross_out(struct spawner *spawner, uint64_t serial)
{
	Upgraded__Logbook__Entry entry = UPGRADED__LOGBOOK__ENTRY__INIT;
	struct why why = { 0 };

	store_remove(spawner->store, serial);
	if (!spawner->logbook || !serial)
		return;
	entry.what_case = UPGRADED__LOGBOOK__ENTRY__WHAT_PROCESS_GONE;
	entry.process_gone = serial;
	/* A process that has ended is known to have ended, with or without it. */
	if (logbook_write(spawner->logbook, &entry, &why) < 0)
		log_warning("%s", why.text);
}

/* As whoever closes a socket closes what lies in it unread, and a descriptor's close may last as long as its sender likes: systemd
 * would stand still. Of another user it holds none. */
static bool is_our_user(const struct instance *instance)
{
	uid_t uid;

	return procfs_user(instance->pid, &uid) == 0 && uid == geteuid();
}

/* The channel only of who can live on without us: another one has to notice our end by it. */
static bool may_store_channel(const struct spawned *spawned)
{
	const struct instance *instance = &spawned->instance;

	/* What is said for one that knows nothing of us is said anew. */
	if (spawned->voice || !is_our_user(instance))
		return false;
	if (spawned_is_older(instance))
		return instance->place == INSTANCE_SERVES && !spawned->asked;
	return instance->place != INSTANCE_IS_NEW && !instance->unreachable && instance->hello;
}

void spawned_store(struct spawned *spawned)
{
	const struct instance *instance = &spawned->instance;
	struct store *store = spawned->spawner->store;

	if (!store || !spawned->serial || !instance_is_alive(instance))
		return;
	if (!store_holds(store, spawned->serial, STORE_PIDFD))
		store_put(store, spawned->serial, STORE_PIDFD, spawned->child.pidfd);
	if (!store_holds(store, spawned->serial, STORE_OUTPUT) && spawned->output && spawned->output->fd >= 0) {
		/* Nobody reads it while no supervisor runs. */
		(void)fcntl(spawned->output->fd, F_SETPIPE_SZ, STORED_PIPE_BYTES);
		store_put(store, spawned->serial, STORE_OUTPUT, spawned->output->fd);
	}
	if (!store_holds(store, spawned->serial, STORE_CHANNEL) && may_store_channel(spawned))
		store_put(store, spawned->serial, STORE_CHANNEL, spawned->channel.fd);
	else if (store_holds(store, spawned->serial, STORE_CHANNEL) && spawned->channel.fd >= 0 && !is_our_user(instance))
		store_forget(store, spawned->serial, STORE_CHANNEL); /* an older upgraded has stored it; ours is the last one */
}

/* What the logbook has of its service. NULL: none could be made; the logbook is what counts. */
static struct fd_ref *make_note(const struct instance *instance, const struct spawner *spawner)
{
	Upgraded__Logbook__Note head = UPGRADED__LOGBOOK__NOTE__INIT;
	struct why why = { 0 };
	int fd, r;

	head.boot_id = (char *)(uintptr_t)regain_boot();
	head.pid = getpid();
	head.written_us = clock_now_us();
	r = procfs_start_ticks(head.pid, &head.start_ticks);
	fd = r < 0 ? why_errno(&why, r, "when upgraded was started") :
		     note_make(spawner->logbook, instance->service, &head, &why);
	if (fd >= 0)
		return fd_ref_new(fd);
	log_instance(WARNING, instance, "%s; should the logbook be lost as well, it is not known", why.text);
	return NULL;
}

/* Our end of the channel, for the process to hold while we live and after that. */
static void spawned_keep(struct instance *instance, struct fd_ref *stored)
{
	Upgraded__Wire__Keep keep = UPGRADED__WIRE__KEEP__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_KEEP, .keep = &keep);
	const struct spawned *spawned = spawned_of(instance);
	struct fd_ref *fds[] = { NULL, spawned->spawner->self, stored, NULL }, *note;
	uint32_t n = stored ? 3 : 2;

	if (spawned_is_older(instance)) {
		spawned_of(instance)->asked = false; /* it rests, and serves */
		spawned_store(spawned_of(instance));
		return;
	}
	if (!spawned->serial || !fds[1] || spawned->channel.fd < 0)
		return;
	fds[0] = fd_ref_new(fcntl(spawned->channel.fd, F_DUPFD_CLOEXEC, 0));
	note = make_note(instance, spawned->spawner);
	if (note) {
		keep.note = n;
		fds[n++] = note;
	}
	if (fds[0] && fds[0]->fd >= 0)
		instance_send(instance, &message, fds, n);
	else
		log_instance(WARNING, instance,
			     "no descriptor is left to keep its channel by; it would be lost with upgraded");
	fd_ref_drop(note);
	fd_ref_drop(fds[0]);
}

static int spawned_our_end(const struct instance *instance)
{
	return spawned_of((struct instance *)(uintptr_t)instance)->channel.fd;
}

static int open_ends(struct spawned *spawned, int *ret_channel, int *ret_log, struct why *why)
{
	struct instance *instance = &spawned->instance;
	int r = channel_open(&spawned->channel, spawned->spawner->loop, ret_channel, &instance->channel_inode, why);

	if (r == 0 && (r = fd_inode(spawned->channel.fd, &spawned->our_inode)) < 0)
		why_errno(why, r, "channel");
	if (r == 0)
		r = output_open(spawned->output, ret_log, &instance->log_inode, why);
	if (r < 0) {
		*ret_channel = fd_close(*ret_channel);
		*ret_log = fd_close(*ret_log);
	}
	return r;
}

int spawned_open_voice(struct spawned *spawned, int theirs_consume, bool anew, struct why *why)
{
	struct instance *instance = &spawned->instance;

	instance->channel_inode = 0; /* no process has it */
	return voice_open(spawned->voice, spawned->spawner->loop, theirs_consume, spawned->spawner->notify_folder,
			  spawned->serial, anew, why);
}

/* ---- as every instance ---- */

static void spawned_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds,
			 size_t n)
{
	struct spawned *spawned = spawned_of(instance);

	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE && spawned_is_older(instance)) {
		spawned->asked = true;
		store_forget(spawned->spawner->store, spawned->serial, STORE_CHANNEL);
	}
	channel_send(&spawned->channel, message, fds, n);
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
	for (struct spawned *one = spawned_of(instance); one; one = one->kin)
		child_kill(&one->child, signal);
}

static bool spawned_has_ended(struct instance *instance)
{
	const struct spawned *spawned = spawned_of(instance);
	siginfo_t info = { 0 };

	return spawned->child.pidfd < 0 ||
	       (waitid(P_PIDFD, (id_t)spawned->child.pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid != 0);
}

static bool regained_has_ended(struct instance *instance)
{
	struct pollfd end = { .fd = spawned_of(instance)->child.pidfd, .events = POLLIN };

	return end.fd < 0 || poll(&end, 1, 0) > 0;
}

static bool spawned_has_unread(struct instance *instance)
{
	const struct spawned *spawned = spawned_of(instance);

	return channel_has_unread(&spawned->channel) || (spawned->voice && voice_has_unread(spawned->voice));
}

static void plain_prove(struct instance *instance)
{
	voice_prove(spawned_of(instance)->voice);
}

static const char *plain_lack(const struct instance *instance)
{
	return voice_lack(spawned_of((struct instance *)(uintptr_t)instance)->voice);
}

static const char *plain_says(const struct instance *instance)
{
	return spawned_of((struct instance *)(uintptr_t)instance)->voice->status;
}

static const char *spawned_doing(struct instance *instance, char *buf, size_t size)
{
	return child_doing(&spawned_of(instance)->child, buf, size);
}

void spawned_set_spares(struct spawned *spawned)
{
	const struct instance *instance = &spawned->instance;
	bool spares = false;

	if (instance->children == CHILDREN_KEEP)
		spares = instance->place != INSTANCE_IS_NEW;
	else if (instance->children == CHILDREN_HAND_OVER)
		spares = instance->place == INSTANCE_IS_REPLACED;
	spawned->child.spares_group = spares;
}

static void spawned_set_place(struct instance *instance)
{
	spawned_set_spares(spawned_of(instance));
	write_down_change(spawned_of(instance));
	spawned_store(spawned_of(instance));
}

/* ---- its end ---- */

/* Return: a child of ours that nobody watches, and that has the socket @inode; 0: there is none. */
/* Of our children that nobody watches: who has @inode open, and was not started before @since_ticks? */
static pid_t find_holder(unsigned long long inode, uint64_t since_ticks)
{
	uint64_t ticks;
	pid_t pids[HOLDERS_MAX];
	size_t n = procfs_children(getpid(), pids, HOLDERS_MAX);

	for (size_t i = 0; i < n; i++)
		if (!child_is_watched(pids[i]) && procfs_find_socket(pids[i], inode, HOLDER_FDS_MAX) >= 0 &&
		    (!since_ticks || (procfs_start_ticks(pids[i], &ticks) == 0 && ticks >= since_ticks)))
			return pids[i];
	return 0;
}

/* It ended well before it served, and somebody has its channel: it went to the background. Nobody could look after that process,
 * and it would be in the way of the next start. */
static void end_background(struct spawned *spawned)
{
	struct instance *instance = &spawned->instance;
	pid_t pid = find_holder(instance->channel_inode, 0);
	char who[64] = "another process had its channel"; /* or it has ended with the group */

	if (pid) {
		kill(pid, SIGKILL); /* our child and not reaped, so the number is its own */
		snprintf(who, sizeof(who), "its channel was left to pid %d, which was ended", (int)pid);
	}
	why_set(&instance->failure, 0,
		"exited with status 0, and %s: it has to stay in the foreground, without daemon(3) or a fork after upg_open()",
		who);
}

/* The same of one that knows of no channel: what it left behind has the service's listeners, and would go on accepting. */
static void end_plain_background(struct spawned *spawned)
{
	struct instance *instance = &spawned->instance;
	pid_t pid = 0, last = 0;

	for (size_t i = 0; i < spawned->voice->n_listeners; i++) {
		while ((pid = find_holder(spawned->voice->listeners[i], spawned->voice->start_ticks)) > 0 && pid != last) {
			kill(pid, SIGKILL); /* our child and not reaped, so the number is its own */
			last = pid;
		}
	}
	if (instance->place != INSTANCE_IS_NEW || *instance->failure.text)
		return;
	why_set(&instance->failure, 0, "exited with status 0 before it was ready: it has to stay in the foreground (Kind=plain)%s",
		last ? "; what it left in the background was ended" : "");
}

void spawned_on_exit(struct child *child)
{
	struct spawned *spawned = container_of(child, struct spawned, child);
	struct instance *instance = &spawned->instance;
	bool held;

	if (spawned_goes_on(spawned))
		return;
	instance_exited(instance, child->status);
	if (*child->failure.text && !*instance->failure.text)
		instance->failure = child->failure;
	/* What is said for it is said from here, and ends with it. */
	if (spawned->voice)
		voice_close(spawned->voice);
	/* Its last words come first: why it refused, that it had committed. */
	held = channel_drain(&spawned->channel);
	output_finish(spawned->output);
	if (held && instance->place == INSTANCE_IS_NEW && !*instance->failure.text && WIFEXITED(child->status) &&
	    WEXITSTATUS(child->status) == 0)
		end_background(spawned); /* who notices that our end is closed lets go of his, and is not found */
	/* Beside one that was replaced another one serves, at the same listeners. */
	if (spawned->voice && instance->place != INSTANCE_IS_REPLACED && instance->children == CHILDREN_END &&
	    WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0)
		end_plain_background(spawned);
	/* A child of the process may hold the other end still: it does not speak for the service. */
	if (store_holds(spawned->spawner->store, spawned->serial, STORE_CHANNEL))
		store_empty(spawned->channel.fd);
	channel_close(&spawned->channel);
	spawned_cross_out(spawned->spawner, spawned->serial);
	spawned->serial = 0;
	if (child->spares_group) {
		leftovers_keep(spawned->spawner->leftovers, instance, spawned->output);
		spawned->output = NULL;
	} else {
		leftovers_bury(spawned->spawner->leftovers, instance);
		output_close(spawned->output);
	}
	instance_ended(instance);
}

/* As it was made the process's own at its start. */
void spawned_own_output(const struct spawned *spawned, int log)
{
	const struct instance *instance = &spawned->instance;

	if (spawned->uid != geteuid() && fchown(log, spawned->uid, (gid_t)-1) < 0)
		log_instance(WARNING, instance, "its output could not be made its own: %s", strerror(errno));
}

static int spawned_reconnect(struct instance *instance, int *ret_channel, int *ret_log, struct why *why)
{
	struct spawned *spawned = spawned_of(instance);
	int r = make_output(spawned);

	if (r == 0) {
		spawned_name_output(spawned);
		r = open_ends(spawned, ret_channel, ret_log, why);
	}
	if (r == 0)
		spawned_own_output(spawned, *ret_log);
	return r < 0 ? why_errno(why, r, "output") : 0;
}

static int spawned_set_victim(struct instance *instance, bool is_first, struct why *why)
{
	struct victim *victim = &instance->victim;

	return is_first ? victim_mark(victim, instance->pid, instance->children == CHILDREN_END, why) :
			   victim_spare(victim, instance->pid, why);
}

static int spawned_adopt(struct instance *instance, pid_t pid, struct why *why)
{
	struct spawned *spawned = spawned_of(instance);
	struct why oom = { 0 };
	int r;

	child_done(&spawned->child);
	child_init(&spawned->child);
	r = child_adopt(spawned->spawner->loop, &spawned->child, pid, spawned_on_exit, why);
	if (r < 0) /* it stays a process that has ended: nobody may wait for the end of this one */
		return r;
	instance_came_back(instance, pid);
	groups_join(spawned->spawner->groups, instance->service, pid);
	spawned_name_output(spawned);
	spawned->serial = ++spawned->spawner->last_serial;
	spawned_set_place(instance);
	if (victim_restored(&instance->victim, pid, &oom) < 0)
		log_warning("%s[%s %d]: %s", instance->service, instance->version, pid, oom.text);
	return 0;
}

static void spawned_free(struct instance *instance)
{
	struct spawned *spawned = spawned_of(instance);

	if (!spawned->head)
		spawned_free_kin(spawned);
	if (spawned->spawner->lets_go)
		child_let_go(&spawned->child);
	else
		child_done(&spawned->child);
	if (spawned->voice && spawned->spawner->lets_go)
		voice_leave(spawned->voice);
	else if (spawned->voice)
		voice_close(spawned->voice);
	free(spawned->voice);
	channel_close(&spawned->channel);
	output_free(spawned->output);
	free(spawned);
}

const struct instance_kind spawned_kind = {
	.name = "spawned",
	.powers = INSTANCE_CAN_SIGNAL | INSTANCE_CAN_REAP | INSTANCE_CAN_IMAGE | INSTANCE_CAN_MOVE,
	.send = spawned_send,
	.awaits = spawned_awaits,
	.retract = spawned_retract,
	.signal = spawned_signal,
	.has_ended = spawned_has_ended,
	.has_unread = spawned_has_unread,
	.set_victim = spawned_set_victim,
	.reconnect = spawned_reconnect,
	.adopt = spawned_adopt,
	.doing = spawned_doing,
	.set_place = spawned_set_place,
	.keep = spawned_keep,
	.our_end = spawned_our_end,
	.free = spawned_free,
};

/* Not our child: PID 1 reaps it, when it likes to, and so its pid cannot be given to a process from an image. */
const struct instance_kind regained_kind = {
	.name = "no child of this upgraded",
	.powers = INSTANCE_CAN_SIGNAL | INSTANCE_CAN_MOVE,
	.send = spawned_send,
	.awaits = spawned_awaits,
	.retract = spawned_retract,
	.signal = spawned_signal,
	.has_ended = regained_has_ended,
	.has_unread = spawned_has_unread,
	.set_victim = spawned_set_victim,
	.doing = spawned_doing,
	.set_place = spawned_set_place,
	.keep = spawned_keep,
	.our_end = spawned_our_end,
	.free = spawned_free,
};

/* They know nothing of us: what is asked of them, a voice of ours answers. */
static const struct instance_kind plain_kind = {
	.name = "a program without the library",
	.powers = INSTANCE_CAN_SIGNAL | INSTANCE_CAN_REAP,
	.send = spawned_send,
	.awaits = spawned_awaits,
	.retract = spawned_retract,
	.signal = spawned_signal,
	.has_ended = spawned_has_ended,
	.has_unread = spawned_has_unread,
	.set_victim = spawned_set_victim,
	.doing = spawned_doing,
	.set_place = spawned_set_place,
	.prove = plain_prove,
	.lack = plain_lack,
	.says = plain_says,
	.free = spawned_free,
};

static const struct instance_kind regained_plain_kind = {
	.name = "a program without the library",
	.powers = INSTANCE_CAN_SIGNAL,
	.send = spawned_send,
	.awaits = spawned_awaits,
	.retract = spawned_retract,
	.signal = spawned_signal,
	.has_ended = regained_has_ended,
	.has_unread = spawned_has_unread,
	.set_victim = spawned_set_victim,
	.doing = spawned_doing,
	.set_place = spawned_set_place,
	.prove = plain_prove,
	.lack = plain_lack,
	.says = plain_says,
	.free = spawned_free,
};

bool spawned_is(const struct instance *instance)
{
	return instance->kind == &spawned_kind || instance->kind == &regained_kind || instance->kind == &plain_kind ||
	       instance->kind == &regained_plain_kind;
}

void spawned_set_kind(struct spawned *spawned, bool is_child)
{
	if (spawned->voice)
		spawned->instance.kind = is_child ? &plain_kind : &regained_plain_kind;
	else
		spawned->instance.kind = is_child ? &spawned_kind : &regained_kind;
}

/* ---- the start ---- */

/* Everything that a process of @unit is started with, but for its descriptors. @spec->envp is the caller's to release with
 * unit_command_free(), also after a failure. */
static int spec_make(const struct unit *unit, char **argv, const struct gifts *gifts, struct child_spec *spec, struct why *why)
{
	spec->path = argv[0];
	spec->argv = argv;
	spec->cwd = unit->working_directory;
	spec->nofile = unit->limit_nofile;
	spec->oom_score_adj = unit->sets_oom ? &unit->oom_score_adj : NULL;
	spec->pid_variable = gifts->named ? "LISTEN_PID" : NULL;
	spec->envp = unit_environment(unit, gifts->more, gifts->n_more);
	unit_identity(unit, spec);
	return spec->envp ? 0 : why_errno(why, -ENOMEM, "environment");
}

static int spawn(struct spawned *spawned, const struct unit *unit, char **argv, int channel, int log, struct why *why)
{
	struct child_spec spec = { .ends_first = spawned->instance.victim.is_first };
	struct gifts gifts;
	FD_CLEANUP int group = groups_open(spawned->spawner->groups, unit->name);
	int r;

	gifts_make(spawned, unit, channel, &gifts);
	gifts.fds[gifts.n_fds++] = (struct child_fd){ log, STDOUT_FILENO };
	gifts.fds[gifts.n_fds++] = (struct child_fd){ log, STDERR_FILENO };
	spec.fds = gifts.fds;
	spec.n_fds = gifts.n_fds;
	spec.group_procs = group >= 0 ? &group : NULL;
	r = spec_make(unit, argv, &gifts, &spec, why);
	if (r == 0)
		r = child_spawn(spawned->spawner->loop, &spawned->child, &spec, spawned_on_exit, why);
	unit_command_free((char **)(uintptr_t)spec.envp);
	if (r == 0 && spawned->voice) {
		spawned->instance.pid = spawned->child.pid;
		voice_begin(spawned->voice, gifts.listeners, gifts.n_listeners);
	}
	return r;
}

static int try_start(struct origin *origin, const struct unit *unit, const char *version, struct why *why)
{
	struct child_spec spec = { .fds = NULL };
	struct gifts gifts = { .n_fds = 0 };
	char **argv;
	int r = unit_command(unit, version, &argv, why);

	(void)origin;
	if (r < 0)
		return r;
	r = spec_make(unit, argv, &gifts, &spec, why);
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

struct spawned *spawned_new(struct spawner *spawner, const struct unit *unit, const char *version)
{
	struct spawned *spawned = calloc(1, sizeof(*spawned));

	if (!spawned)
		return NULL;
	instance_init(&spawned->instance, &spawned_kind, unit->name, version);
	spawned->instance.children = unit->children;
	spawned->spawner = spawner;
	spawned->uid = geteuid();
	spawned->log_rate = unit->log_rate;
	spawned->log_rate_bytes = unit->log_rate_bytes;
	channel_init(&spawned->channel, &spawned->instance);
	child_init(&spawned->child);
	if (unit->kind == UNIT_PLAIN) {
		spawned->voice = malloc(sizeof(*spawned->voice));
		if (spawned->voice)
			voice_init(spawned->voice, &spawned->instance);
	}
	if ((unit->kind == UNIT_PLAIN && !spawned->voice) || make_output(spawned) < 0) {
		free(spawned->voice);
		free(spawned);
		return NULL;
	}
	spawned_set_kind(spawned, true);
	return spawned;
}

static void started(struct spawned *spawned)
{
	struct instance *instance = &spawned->instance;

	instance->pid = spawned->child.pid;
	spawned_name_output(spawned);
	check_victim(spawned);
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
	spawned = spawned_new(spawner, unit, version);
	if (spawned)
		spawned->instance.victim = (struct victim){ .normal = unit->sets_oom ? unit->oom_score_adj : victim_own_value(),
							    .is_first = aside };
	r = spawned ? open_ends(spawned, &channel, &log, why) : why_errno(why, -ENOMEM, "instance");
	if (r == 0 && spawner->logbook)
		spawned->serial = ++spawner->last_serial;
	if (r == 0 && spawned->voice) {
		spawned->instance.unit = unit_ref((struct unit *)(uintptr_t)unit);
		r = spawned_open_voice(spawned, channel, false, why);
		channel = -1;
	}
	if (r == 0)
		r = spawn(spawned, unit, argv, channel, log, why);
	unit_command_free(argv);
	if (r < 0) {
		instance_free(spawned ? &spawned->instance : NULL);
		return why_prefix(why, r, "%s:%u: version %s", unit->path, unit->exec_line, version);
	}
	started(spawned);
	r = write_down(spawned, unit, why);
	if (r < 0) {
		instance_free(&spawned->instance);
		return why_prefix(why, r, "%s version %s was not started, as it could not be written down", unit->name, version);
	}
	spawned_store(spawned);
	*ret_instance = &spawned->instance;
	return 0;
}

/* ---- the origin ---- */

uint64_t spawner_serial(struct instance *instance)
{
	return spawned_is(instance) ? spawned_of(instance)->serial : 0;
}

void spawner_number(struct spawner *spawner)
{
	uint64_t came = store_last_serial(spawner->store), now = clock_now_us();

	/* In the same start of the machine the clock was less when a supervisor before us began, and no process took it less than a
	 * microsecond to start. */
	if (spawner->last_serial < came)
		spawner->last_serial = came;
	if (spawner->last_serial < now)
		spawner->last_serial = now;
}

void spawner_forget(struct spawner *spawner, uint64_t serial)
{
	spawned_cross_out(spawner, serial);
}

static void end_children(struct origin *origin, const char *service)
{
	leftovers_end(container_of(origin, struct spawner, origin)->leftovers, service);
}

static void end_rest(struct origin *origin, const char *service)
{
	const struct spawner *spawner = container_of(origin, struct spawner, origin);

	end_children(origin, service);
	if (!leftovers_keeps(spawner->leftovers, service))
		(void)groups_end(spawner->groups, service);
}

int spawner_init(struct spawner *spawner, struct loop *loop)
{
	int self;

	*spawner = (struct spawner){
		.origin = { .start = start, .try = try_start, .end_children = end_children, .end_rest = end_rest }, .loop = loop
	};
	self = pidfd_open(getpid(), 0);
	if (self < 0)
		return -errno;
	/* Who is given it notices our end, and lives on: without it services would end with us. */
	spawner->self = fd_ref_new(self);
	if (!spawner->self)
		return -ENOMEM;
	spawner->leftovers = leftovers_new(loop);
	return spawner->leftovers ? 0 : -ENOMEM;
}

void spawner_done(struct spawner *spawner)
{
	spawner->leftovers = leftovers_free(spawner->leftovers);
	spawner->groups = groups_free(spawner->groups);
	spawner->self = fd_ref_drop(spawner->self);
}

static int start_as(struct origin *origin, struct unit *unit, const char *version, bool aside, const struct instance_events *events,
		    void *owner, struct instance **ret_instance, struct why *why)
{
	int r = origin->start(origin, unit, version, aside, ret_instance, why);

	if (r < 0)
		return r;
	if (!(*ret_instance)->unit)
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

void origin_end_children(struct origin *origin, const char *service)
{
	if (origin->end_children)
		origin->end_children(origin, service);
}

void origin_end_rest(struct origin *origin, const char *service)
{
	if (origin->end_rest)
		origin->end_rest(origin, service);
	else
		origin_end_children(origin, service);
}
