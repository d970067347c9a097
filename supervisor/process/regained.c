/* SPDX-License-Identifier: MIT */
/* A process that a supervisor before this one has started: as the logbook has it, or as the program before this one has left it. */
#include "supervisor/machine/procfs.h"
#include "supervisor/process/carried.h"
#include "supervisor/process/output.h"
#include "supervisor/process/regain.h"
#include "supervisor/process/spawned_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- by the logbook ---- */

/* What may well be there for the next supervisor. */
static bool is_short(int r)
{
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -EIO || r == -ENOSPC;
}

/* The pipe that it prints to, if systemd has held its other end: all is there that was printed since. */
static bool regain_output(struct spawned *spawned, const Upgraded__Logbook__Process *process)
{
	int fd = store_take(spawned->spawner->store, process->serial, STORE_OUTPUT, process->log_inode);

	if (fd < 0 || output_take(spawned->output, fd, NULL, 0, NULL) < 0)
		return false;
	spawned->instance.log_inode = process->log_inode;
	return true;
}

/* In the place of the one that ended with the supervisor before. @ret_theirs: the end to print to. */
static int replace_output(struct spawned *spawned, struct fd_ref **ret_theirs, struct why *why)
{
	int log = -1, r = output_open(spawned->output, &log, &spawned->instance.log_inode, why);

	if (r < 0)
		return r;
	spawned_own_output(spawned, log);
	*ret_theirs = fd_ref_new(log);
	return *ret_theirs ? 0 : why_errno(why, -ENOMEM, "its output");
}

/* Nobody was at its end of a channel while no supervisor ran, and nothing was lost: it knows of none. */
static int open_voice(struct spawned *spawned, struct why *why)
{
	int theirs, r = channel_open(&spawned->channel, spawned->spawner->loop, &theirs, &spawned->instance.channel_inode, why);

	return r < 0 ? r : spawned_open_voice(spawned, theirs, true, why);
}

/* Our end of its channel: systemd has held it, or the process itself. One that lies parked is not to be spoken to, see
 * carried_find(). */
static int regain_channel(struct spawned *spawned, const Upgraded__Logbook__Process *process, struct why *why)
{
	int fd = -1;

	if (spawned->voice)
		return open_voice(spawned, why);
	if (process->place != INSTANCE_IS_REPLACED)
		fd = store_take(spawned->spawner->store, process->serial, STORE_CHANNEL, process->our_channel_inode);
	if (fd < 0)
		fd = regain_socket(spawned->child.pidfd, spawned->instance.pid, process->our_channel_inode, why);
	return fd < 0 ? fd : channel_take(&spawned->channel, spawned->spawner->loop, fd, why);
}

/* One that cannot be asked again who it is, and rested: it notices nothing. What it does not know of is lost with us: a pipe in the
 * place of one that has ended. */
static int go_on_with_older(struct spawned *spawned, const Upgraded__Logbook__Process *process, struct why *why)
{
	struct instance *instance = &spawned->instance;
	int fd = store_take(spawned->spawner->store, process->serial, STORE_CHANNEL, process->our_channel_inode), r;

	if (fd < 0)
		return why_set(why, -ENOENT, "its libupgrade is older, and nobody has held its channel");
	r = channel_take(&spawned->channel, spawned->spawner->loop, fd, why);
	if (r == 0 && (r = spawned_unpack_hello(instance, &process->hello)) < 0)
		why_errno(why, r, "what it said of itself");
	if (r == 0)
		instance->returns = false;
	return r;
}

static int regain_ends(struct spawned *spawned, const Upgraded__Logbook__Process *process, struct why *why)
{
	Upgraded__Wire__Anew anew = UPGRADED__WIRE__ANEW__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ANEW, .anew = &anew);
	struct instance *instance = &spawned->instance;
	struct fd_ref *fds[] = { spawned->spawner->self, NULL };
	bool prints = process->place != INSTANCE_IS_REPLACED && regain_output(spawned, process);
	bool older = process->hello.len > 0;
	int r = older ? go_on_with_older(spawned, process, why) : regain_channel(spawned, process, why);

	/* Where it prints to cannot be changed from here. */
	if (r == 0 && !prints && !older && !spawned->voice)
		r = replace_output(spawned, &fds[1], why);
	if (is_short(r)) {
		fd_ref_drop(fds[1]);
		return r;
	}
	instance->unreachable = r < 0;
	anew.output = fds[1] ? process->log_inode : 0;
	if (spawned->voice)
		voice_begin(spawned->voice, NULL, 0);
	else if (!instance->unreachable && !older)
		instance_send(instance, &message, fds, fds[1] ? 2 : 1);
	else if (!instance->unreachable)
		log_service(INFO, instance->service,
			    "version %s (pid %d) has an older libupgrade; systemd has held its channel",
			    instance->version, (int)instance->pid);
	else if (process->place != INSTANCE_IS_REPLACED) /* a parked one has no channel but the one that another process may hold */
		log_service(WARNING, instance->service, "version %s (pid %d) runs, and cannot be reached: %s",
			    instance->version, (int)instance->pid, why->text);
	fd_ref_drop(fds[1]);
	return 0;
}

void spawner_greet(struct instance *instance)
{
	Upgraded__Wire__Anew anew = UPGRADED__WIRE__ANEW__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ANEW, .anew = &anew);
	const struct spawned *spawned = spawned_of(instance);
	struct fd_ref *fds[] = { spawned->spawner->self };

	if (!instance->unreachable && !instance->hello)
		instance_send(instance, &message, fds, 1);
}

static int regain(struct spawned *spawned, const Upgraded__Logbook__Process *process, int pidfd_consume, struct why *why)
{
	struct instance *instance = &spawned->instance;
	int r;

	spawned_set_kind(spawned, false);
	instance->pid = process->pid;
	if (spawned->voice)
		instance->place = (enum instance_place)process->place;
	instance->drain_due_us = process->drain_due_us;
	instance->since_us = process->since_us;
	instance->channel_inode = process->channel_inode;
	instance->returns = true;
	instance->victim.normal = process->oom_normal;
	spawned->serial = process->serial;
	spawned->our_inode = process->our_channel_inode;
	spawned->uid = process->uid;
	/* Of the program before us it was a child, and so it is of us. */
	if (child_adopt(spawned->spawner->loop, &spawned->child, process->pid, spawned_on_exit, NULL) == 0) {
		fd_close(pidfd_consume);
		spawned_set_kind(spawned, true);
	} else {
		r = child_regain(spawned->spawner->loop, &spawned->child, process->pid, pidfd_consume, spawned_on_exit, why);
		if (r < 0)
			return r;
	}
	spawned_name_output(spawned);
	r = regain_ends(spawned, process, why);
	if (r == 0)
		spawned_store(spawned);
	return r;
}

/* What systemd has held of a process that is gone: what it printed last, and how it ended. */
static void hear_last(struct spawner *spawner, const Upgraded__Logbook__Process *process, const struct unit *unit, int *ret_status)
{
	int fd = store_take(spawner->store, process->serial, STORE_OUTPUT, process->log_inode);
	/* One that was only found has nothing there: whatever has its name is of another process. */
	int pidfd = process->our_channel_inode ? store_take(spawner->store, process->serial, STORE_PIDFD, 0) : -1;
	struct output *output = fd < 0 ? NULL : output_new(spawner->loop, unit->log_rate, unit->log_rate_bytes, NULL);

	if (output) {
		output_name(output, process->service, process->version, process->pid);
		if (output_take(output, fd, NULL, 0, NULL) == 0)
			output_finish(output);
		output_free(output);
	} else {
		fd_close(fd);
	}
	if (pidfd >= 0)
		(void)child_status_of(pidfd, ret_status);
	fd_close(pidfd);
}

int spawner_regain(struct spawner *spawner, const Upgraded__Logbook__Process *process, struct unit *unit,
		   struct instance **ret_instance, int *ret_status, struct why *why)
{
	int pidfd = regain_pidfd(process->pid, process->start_ticks), r;
	struct spawned *spawned;

	if (pidfd == -ESRCH) {
		if (unit->kind == UNIT_PLAIN && spawner->notify_folder)
			notified_forget(spawner->notify_folder, process->serial);
		hear_last(spawner, process, unit, ret_status);
		spawned_cross_out(spawner, process->serial);
	}
	if (pidfd < 0)
		return why_errno(why, pidfd, "pid %d", process->pid);
	spawned = spawned_new(spawner, unit, process->version);
	if (!spawned) {
		fd_close(pidfd);
		return why_errno(why, -ENOMEM, "instance");
	}
	spawned->instance.unit = unit_ref(unit);
	r = regain(spawned, process, pidfd, why);
	if (r < 0) {
		child_let_go(&spawned->child); /* it serves, with us or without */
		instance_free(&spawned->instance);
		return r;
	}
	*ret_instance = &spawned->instance;
	return 0;
}


/* ---- by what the program before has left ---- */

struct queue_writer {
	struct carry *carry;
	Upgraded__Carry__Queued **list;
	size_t n;
	bool failed;
};

static void queued_free(Upgraded__Carry__Queued *queued)
{
	if (queued)
		free(queued->descriptors);
	free(queued);
}

static void put_queued(void *arg, const struct outbox_waiting *waiting)
{
	struct queue_writer *writer = arg;
	Upgraded__Carry__Queued **more = reallocarray(writer->list, writer->n + 1, sizeof(Upgraded__Carry__Queued *));
	Upgraded__Carry__Queued *queued = malloc(sizeof(*queued));

	if (more)
		writer->list = more;
	if (queued) {
		upgraded__carry__queued__init(queued);
		queued->descriptors = calloc(waiting->n_fds + 1, sizeof(uint64_t));
	}
	if (!more || !queued || !queued->descriptors) {
		queued_free(queued);
		writer->failed = true;
		return;
	}
	queued->message = (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)waiting->data, .len = waiting->size_bytes };
	queued->kind = waiting->kind;
	queued->n_descriptors = waiting->n_fds;
	for (size_t i = 0; i < waiting->n_fds; i++)
		queued->descriptors[i] = carry_hold(writer->carry, waiting->fds[i]->fd);
	more[writer->n++] = queued;
}

/* What the instance itself knows. Borrows from it. */
static void fill_instance(const struct instance *instance, Upgraded__Carry__Process *process)
{
	process->service = (char *)(uintptr_t)instance->service;
	process->version = (char *)(uintptr_t)instance->version;
	process->pid = instance->pid;
	process->stood_by = instance->stood_by;
	process->stopped = instance->stopped;
	process->unreachable = instance->unreachable;
	process->ended = instance->life != INSTANCE_RUNS;
	process->status = instance->status;
	process->place = instance->place;
	process->since_us = instance->since_us;
	process->place_us = instance->place_us;
	process->question = instance->question;
	process->inventory_question = instance->inventory_question;
	process->registered = instance->registered.count;
	process->registered_asked = instance->registered.asked;
	process->registered_told = instance->registered.told;
	process->is_victim = instance->victim.is_first;
	process->oom_normal = instance->victim.normal;
	process->channel_inode = instance->channel_inode;
	process->log_inode = instance->log_inode;
	process->output_before = instance->output_before;
	process->drain_due_us = instance->drain_due_us;
}

static void fill_spawned(struct spawned *spawned, struct carry *carry, Upgraded__Carry__Process *process)
{
	const struct output *output = spawned->output;

	process->serial = spawned->serial;
	process->our_channel_inode = spawned->our_inode;
	process->uid = spawned->uid;
	process->pidfd = carry_hold(carry, spawned->child.pidfd);
	process->channel = carry_hold(carry, spawned->channel.fd);
	process->voice = spawned->voice && spawned->voice->fd >= 0 ? carry_hold(carry, spawned->voice->fd) : 0;
	process->output_theirs = spawned->instance.output ? carry_hold(carry, spawned->instance.output->fd) : 0;
	if (!output)
		return;
	process->output = carry_hold(carry, output->fd);
	process->partial = (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)output->partial, .len = output->n_partial };
}

static size_t kin_put(struct spawned *spawned, struct carry *carry, uint64_t **ret_ids)
{
	size_t n = 0;

	*ret_ids = NULL;
	for (struct spawned *kin = spawned->head ? NULL : spawned->kin; kin; kin = kin->kin) {
		uint64_t *more = reallocarray(*ret_ids, n + 1, sizeof(*more));

		if (!more) {
			carry_fail(carry, -ENOMEM);
			return n;
		}
		*ret_ids = more;
		more[n++] = carried_put(&kin->instance, carry);
	}
	return n;
}

uint64_t carried_put(struct instance *instance, struct carry *carry)
{
	Upgraded__Carry__Process process = UPGRADED__CARRY__PROCESS__INIT;
	Upgraded__Carry__Item item = UPGRADED__CARRY__ITEM__INIT;
	struct queue_writer writer = { .carry = carry };
	char *lines[LINES_MAX], *text = NULL;
	uint8_t *hello;

	if (!instance || !spawned_is(instance))
		return 0;
	process.id = carry_id(carry);
	fill_instance(instance, &process);
	fill_spawned(spawned_of(instance), carry, &process);
	hello = spawned_pack_hello(instance, &process.hello);
	process.n_lines = lines_list(&instance->lines, lines);
	process.lines = lines;
	outbox_each(&spawned_of(instance)->channel.outbox, put_queued, &writer);
	process.n_kin = kin_put(spawned_of(instance), carry, &process.kin);
	process.n_queued = writer.n;
	process.queued = writer.list;
	if (writer.failed || (instance->hello && !hello) || unit_text(instance->unit, &text) < 0) {
		carry_fail(carry, -ENOMEM);
	} else {
		process.unit_path = instance->unit->path;
		process.unit_text = (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
		item.what_case = UPGRADED__CARRY__ITEM__WHAT_PROCESS;
		item.process = &process;
		carry_put(carry, &item);
	}
	for (size_t i = 0; i < writer.n; i++)
		queued_free(writer.list[i]);
	free(writer.list);
	free(process.kin);
	free(hello);
	free(text);
	return process.id;
}

static int take_queued(struct spawned *spawned, struct carry *carry, const Upgraded__Carry__Queued *queued, struct why *why)
{
	struct fd_ref *fds[WIRE_FDS_MAX] = { NULL };
	struct outbox_waiting waiting = { .data = queued->message.data, .size_bytes = queued->message.len, .fds = fds,
					  .n_fds = queued->n_descriptors, .kind = queued->kind };
	int r = queued->n_descriptors <= WIRE_FDS_MAX ? 0 : why_set(why, -EBADMSG, "a message with too many descriptors");

	for (size_t i = 0; r == 0 && i < queued->n_descriptors; i++) {
		int fd = carry_take(carry, queued->descriptors[i]);

		fds[i] = fd < 0 ? NULL : fd_ref_new_foreign(fd);
		if (!fds[i])
			r = why_set(why, -EBADMSG, "a descriptor of a message that waits for it is gone");
	}
	if (r == 0)
		r = channel_queue(&spawned->channel, &waiting, why);
	for (size_t i = 0; r == 0 && i < queued->n_descriptors; i++)
		fd_ref_drop(fds[i]);
	return r;
}

static int take_instance(struct instance *instance, const Upgraded__Carry__Process *process)
{
	instance->pid = process->pid;
	instance->stood_by = process->stood_by;
	instance->stopped = process->stopped;
	instance->unreachable = process->unreachable;
	instance->life = process->ended ? INSTANCE_ENDED : INSTANCE_RUNS;
	instance->status = process->status;
	instance->place = (enum instance_place)process->place;
	instance->since_us = process->since_us;
	instance->place_us = process->place_us;
	instance->question = process->question;
	instance->inventory_question = process->inventory_question;
	instance->registered.count = process->registered;
	instance->registered.asked = process->registered_asked;
	instance->registered.told = process->registered_told;
	instance->victim = (struct victim){ .normal = process->oom_normal, .is_first = process->is_victim };
	instance->channel_inode = process->channel_inode;
	instance->log_inode = process->log_inode;
	instance->output_before = process->output_before;
	instance->drain_due_us = process->drain_due_us;
	for (size_t i = 0; i < process->n_lines; i++)
		lines_put(&instance->lines, process->lines[i], strlen(process->lines[i]));
	if (!process->hello.len)
		return 0;
	return spawned_unpack_hello(instance, &process->hello);
}

/* One of a supervisor before the program before is nobody's child that we could wait for. */
static int take_process(struct spawned *spawned, struct carry *carry, const Upgraded__Carry__Process *process, struct why *why)
{
	struct loop *loop = spawned->spawner->loop;
	int pidfd;

	/* It opens a pidfd of its own. */
	if (child_adopt(loop, &spawned->child, process->pid, spawned_on_exit, NULL) == 0)
		return 0;
	pidfd = carry_take(carry, process->pidfd);
	if (pidfd < 0)
		return why_set(why, -EBADMSG, "its pidfd is gone");
	spawned_set_kind(spawned, false);
	return child_regain(loop, &spawned->child, process->pid, pidfd, spawned_on_exit, why);
}

static int take_voice(struct spawned *spawned, struct carry *carry, const Upgraded__Carry__Process *process, struct why *why)
{
	int fd = carry_take(carry, process->voice);

	if (!process->voice)
		return 0;
	if (fd < 0)
		return why_set(why, -EBADMSG, "the other end of its channel is gone");
	spawned->voice->ready = process->stood_by || process->place != INSTANCE_IS_NEW;
	return voice_take(spawned->voice, spawned->spawner->loop, fd, spawned->spawner->notify_folder, process->serial, why);
}

static int take_ends(struct spawned *spawned, struct carry *carry, const Upgraded__Carry__Process *process, struct why *why)
{
	int fd = carry_take(carry, process->channel), output = carry_take(carry, process->output), r = 0;

	if ((process->channel && fd < 0) || (process->output && output < 0))
		return why_set(why, -EBADMSG, "its channel or its output is gone");
	if (output >= 0)
		r = output_take(spawned->output, output, process->partial.data, process->partial.len, why);
	if (fd >= 0 && r == 0)
		r = channel_take(&spawned->channel, spawned->spawner->loop, fd, why);
	for (size_t i = 0; r == 0 && i < process->n_queued; i++)
		r = take_queued(spawned, carry, process->queued[i], why);
	if (r == 0 && spawned->voice)
		r = take_voice(spawned, carry, process, why);
	return r;
}

int carried_take(struct spawner *spawner, struct carry *carry, const Upgraded__Carry__Process *process,
		 struct instance **ret_instance, struct why *why)
{
	struct unit *unit;
	struct spawned *spawned;
	int r = unit_parse_bytes(process->service, process->unit_path, process->unit_text.data, process->unit_text.len, &unit, why);

	if (r < 0)
		return r;
	spawned = spawned_new(spawner, unit, process->version);
	if (!spawned)
		return why_errno(why, -ENOMEM, "instance");
	spawned->instance.unit = unit;
	spawned->serial = process->serial;
	spawned->our_inode = process->our_channel_inode;
	spawned->uid = process->uid;
	r = take_instance(&spawned->instance, process);
	if (r < 0)
		why_errno(why, r, "what it said of itself");
	spawned_name_output(spawned);
	if (r == 0 && !process->ended)
		r = take_process(spawned, carry, process, why);
	if (r == 0 && process->output_theirs) {
		int theirs = carry_take(carry, process->output_theirs);

		spawned->instance.output = theirs < 0 ? NULL : fd_ref_new(theirs);
	}
	if (r == 0)
		r = take_ends(spawned, carry, process, why);
	spawned_set_spares(spawned);
	if (r == 0) {
		spawned_store(spawned);
		*ret_instance = &spawned->instance;
	}
	return r < 0 ? why_prefix(why, r, "%s version %s (pid %d)", process->service, process->version, process->pid) : 0;
}

/* ---- by what a supervisor that has ended had of a bake ---- */

/* For when it comes back: the pipe that it prints to has ended with the supervisor before. */
static int give_output(struct spawned *spawned, struct why *why)
{
	struct instance *instance = &spawned->instance;
	/* It has not heard of any pipe since then, however many supervisors there were. */
	uint64_t before = instance->output_before ? instance->output_before : instance->log_inode;
	int log = -1, r = output_open(spawned->output, &log, &instance->log_inode, why);

	if (r < 0)
		return r;
	spawned_own_output(spawned, log);
	instance->output_before = before;
	instance->output = fd_ref_new(log);
	return instance->output ? 0 : why_errno(why, -ENOMEM, "output");
}

/* It prints to a pipe that systemd has held for us. */
static bool keep_output(struct spawned *spawned)
{
	const struct instance *instance = &spawned->instance;
	int fd = instance->output_before ? -1 :
					   store_take(spawned->spawner->store, spawned->serial, STORE_OUTPUT, instance->log_inode);

	return fd >= 0 && output_take(spawned->output, fd, NULL, 0, NULL) == 0;
}

int carried_find(struct instance *instance, struct instance *holder, const Upgraded__Carry__Process *process, struct why *why)
{
	struct spawned *spawned = spawned_of(instance);
	int fd, r;

	if (spawned->voice) /* it does not rest, and is spoken for already */
		return 0;
	fd = store_take(spawned->spawner->store, spawned->serial, STORE_CHANNEL, spawned->our_inode);
	if (fd < 0)
		fd = regain_socket(spawned_of(holder)->child.pidfd, holder->pid, spawned->our_inode, why);
	if (fd < 0)
		return fd;
	r = take_instance(instance, process);
	if (r < 0) {
		fd_close(fd);
		return why_errno(why, r, "what it said of itself");
	}
	r = channel_take(&spawned->channel, spawned->spawner->loop, fd, why);
	if (r == 0 && !keep_output(spawned))
		r = give_output(spawned, why);
	/* It says no hello, as it is not to wake up. The end of the supervisor before has let it run, until it came to its wait for
	 * us. */
	instance->returns = instance->stopped = false;
	instance->unreachable = r < 0;
	if (r == 0)
		spawned_store(spawned);
	return r;
}

static int find_socket(struct carry_finder *base, uint64_t device, uint64_t inode)
{
	struct carried_finder *finder = container_of(base, struct carried_finder, finder);
	const struct spawned *spawned = spawned_of(finder->of);
	int number, fd;

	(void)device; /* all sockets are of one */
	if (!finder->looked)
		(void)sockets_of_read(finder->of->pid, PROCFS_FDS_MAX, &finder->sockets);
	finder->looked = true;
	number = sockets_of_find(&finder->sockets, inode);
	fd = number < 0 ? -1 : regain_number(spawned->child.pidfd, number, inode, NULL);
	return fd < 0 ? -1 : fd;
}

void carried_finder_init(struct carried_finder *finder, struct instance *of)
{
	*finder = (struct carried_finder){ .finder.find = find_socket, .of = of };
}

void carried_finder_done(struct carried_finder *finder)
{
	sockets_of_done(&finder->sockets);
}
