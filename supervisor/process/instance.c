/* SPDX-License-Identifier: MIT */
#include "supervisor/process/instance.h"

#include "supervisor/process/query.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define HELLO_MAX 4096u /* types and migrations */
#define TEXT_MAX 1000u  /* bytes of what a process says to people */
/* A channel that is full is heard within so many looks, and one that had used up its share of the loop's time by then has some. */
#define PUT_OFF_MAX 100u

/* ---- asked of the kind ---- */

void instance_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, struct fd_ref *const *fds, size_t n)
{
	instance->kind->send(instance, message, fds, n);
}

bool instance_awaits(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what)
{
	return instance->kind->awaits(instance, what);
}

bool instance_retract(struct instance *instance, Upgraded__Wire__AppMessage__BodyCase what)
{
	return instance->kind->retract(instance, what);
}

void instance_kill(struct instance *instance, int signal)
{
	if (instance->life != INSTANCE_RUNS)
		return;
	instance->killed |= signal == SIGKILL;
	instance->kind->signal(instance, signal);
}

void instance_stop(struct instance *instance)
{
	instance->stopped = true;
	instance_kill(instance, SIGSTOP);
}

void instance_go_on(struct instance *instance)
{
	if (instance->stopped)
		instance_kill(instance, SIGCONT);
	instance->stopped = false;
}

void instance_set_victim(struct instance *instance, bool is_first)
{
	struct why why = { 0 };

	if (!instance_is_alive(instance) || !instance->kind->set_victim || instance->victim.is_first == is_first)
		return;
	if (instance->kind->set_victim(instance, is_first, &why) < 0 && !instance_has_ended(instance))
		log_instance(WARNING, instance,
			     "%s; when memory is short, the kernel may end another process first than it should",
			     why.text);
}

bool instance_is_alive(const struct instance *instance)
{
	return instance && instance->life == INSTANCE_RUNS;
}

bool instance_is_over(const struct instance *instance)
{
	return !instance || instance->life == INSTANCE_ENDED;
}

bool instance_has_ended(struct instance *instance)
{
	return instance->life != INSTANCE_RUNS || instance->kind->has_ended(instance);
}

bool instance_is_heard_out(struct instance *instance)
{
	if (!instance_is_alive(instance) || !instance->kind->has_unread(instance)) {
		if (instance)
			instance->put_off = 0;
		return true;
	}
	if (instance->put_off == PUT_OFF_MAX)
		return true;
	instance->put_off++;
	return false;
}

bool instance_can(const struct instance *instance, enum instance_power power)
{
	return instance->kind->powers & power;
}

void instance_prove(struct instance *instance)
{
	if (instance_is_alive(instance) && instance->kind->prove)
		instance->kind->prove(instance);
}

const char *instance_says(const struct instance *instance)
{
	return instance->kind->says ? instance->kind->says(instance) : "";
}

void instance_drain(struct instance *instance)
{
	const struct unit *unit = instance->unit;
	uint64_t now_us = clock_now_us();
	bool first = !instance->drain_due_us;

	if (first)
		instance->drain_due_us = now_us + unit->drain_timeout_us;
	/* Written down before it is told, and told once: for many programs a second signal means "at once". One that was not
	 * told, as the supervisor was killed in between, is killed at its deadline. */
	if (first && instance->place == INSTANCE_IS_REPLACED && instance->kind->set_place)
		instance->kind->set_place(instance);
	instance_set_place(instance, INSTANCE_IS_REPLACED);
	instance_set_victim(instance, true);
	log_info("%s: version %s (pid %d) drains: %s; it is killed if it has not ended in %" PRIu64 " ms (DrainTimeout=)",
		 instance->service, instance->version, (int)instance->pid, unit_signal_name(unit->stop_signal),
		 instance->drain_due_us > now_us ? (instance->drain_due_us - now_us) / USEC_PER_MSEC : 0);
	instance_go_on(instance);
	if (first)
		instance_kill(instance, unit->stop_signal);
}

int instance_may_have_image(const struct instance *instance, struct why *why)
{
	if (instance_can(instance, INSTANCE_CAN_IMAGE))
		return 0;
	return why_set(why, -ENOTSUP, "a process that is %s cannot be imaged", instance->kind->name);
}

void instance_set_place(struct instance *instance, enum instance_place place)
{
	if (!instance || instance->place == place)
		return;
	instance->place = place;
	instance->place_us = clock_now_us();
	if (place == INSTANCE_SERVES)
		in_hand_unmap(&instance->in_hand);
	if (instance->kind->set_place)
		instance->kind->set_place(instance);
}

int instance_reconnect(struct instance *instance, int *ret_channel, int *ret_log, struct why *why)
{
	*ret_channel = *ret_log = -1;
	if (!instance_can(instance, INSTANCE_CAN_IMAGE))
		return why_set(why, -ENOTSUP, "a process that is %s does not come back from an image", instance->kind->name);
	return instance->kind->reconnect(instance, ret_channel, ret_log, why);
}

int instance_adopt(struct instance *instance, pid_t pid, struct why *why)
{
	if (!instance_can(instance, INSTANCE_CAN_IMAGE))
		return why_set(why, -ENOTSUP, "a process that is %s does not come back from an image", instance->kind->name);
	return instance->kind->adopt(instance, pid, why);
}

void instance_forget_stored(struct instance *instance)
{
	instance->stored = fd_ref_drop(instance->stored);
}

void instance_store(struct instance *instance, struct fd_ref *stored)
{
	if (stored != instance->stored) {
		instance_forget_stored(instance);
		instance->stored = stored ? fd_ref_use(stored) : NULL;
	}
	if (instance->kind->keep && instance->hello && instance->hello->hello->keeps)
		instance->kind->keep(instance, stored);
}

void instance_tell_note(struct instance *instance)
{
	if (!instance_is_alive(instance) || instance->killed || !instance->hello)
		return;
	if (instance->hello->hello->keeps)
		instance_store(instance, instance->stored);
	else if (instance->kind->keep)
		instance->kind->keep(instance, NULL);
}

int instance_our_end(const struct instance *instance)
{
	return instance->kind->our_end ? instance->kind->our_end(instance) : -1;
}

static void drop_listeners(struct instance *instance)
{
	while (instance->n_listeners)
		fd_ref_drop(instance->listeners[--instance->n_listeners]);
}

static void end_proof(struct instance *instance)
{
	void (*end)(void *data) = instance->proof.end;

	instance->proof.end = NULL;
	if (end)
		end(instance->proof.data);
}

struct instance *instance_free(struct instance *instance)
{
	if (!instance)
		return NULL;
	end_proof(instance);
	if (instance->hello)
		upgraded__wire__app_message__free_unpacked(instance->hello, NULL);
	query_told(instance);
	in_hand_unmap(&instance->in_hand);
	fd_ref_drop(instance->output);
	fd_ref_drop(instance->stored);
	drop_listeners(instance);
	unit_free(instance->unit);
	instance->kind->free(instance);
	return NULL;
}

/* ---- told by the kind ---- */

void instance_init(struct instance *instance, const struct instance_kind *kind, const char *service, const char *version)
{
	*instance = (struct instance){ .kind = kind, .since_us = clock_now_us() };
	instance->place_us = instance->since_us;
	snprintf(instance->service, sizeof(instance->service), "%s", service);
	snprintf(instance->version, sizeof(instance->version), "%s", version);
}

void instance_own(struct instance *instance, const struct instance_events *events, void *owner)
{
	instance->events = events;
	instance->owner = owner;
}

/* Type names are not changed, as both versions compare them; but they are shown, too. */
static bool is_name(const char *text)
{
	return *text && !strchr(text, '\t') && text_is_tame(text);
}

static int check_hello(const struct instance *instance, const Upgraded__Wire__Hello *hello, struct why *why)
{
	if (instance->hello)
		return why_set(why, -EPROTO, "said hello twice");
	if (hello->protocol != WIRE_PROTOCOL)
		return why_set(why, -EPROTO, "speaks protocol %u, this supervisor speaks %u", hello->protocol, WIRE_PROTOCOL);
	if (hello->n_schemas + hello->n_migrations > HELLO_MAX)
		return why_set(why, -EPROTO, "said hello with %zu types and %zu migrations, at most %u are heard", hello->n_schemas,
			       hello->n_migrations, HELLO_MAX);
	for (size_t i = 0; i < hello->n_schemas; i++)
		if (!is_name(hello->schemas[i]->name) || !hello->schemas[i]->version)
			return why_set(why, -EPROTO, "said hello with a type that has no version, or no name of printable ASCII");
	return 0;
}

/* What is passed on to people fits on a few lines of theirs, whatever it was. */
static void bound_text(char *text)
{
	if (strlen(text) > TEXT_MAX)
		text[text_whole(text, TEXT_MAX)] = 0;
	text_tame(text, strlen(text));
}

static void bound_texts(Upgraded__Wire__AppMessage *message)
{
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED)
		bound_text(message->refused->reason);
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS)
		bound_text(message->start_progress->text);
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED)
		bound_text(message->resumed->journal_unused);
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL)
		bound_text(message->journal_full->reason);
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_GAPS)
		bound_text(message->journal_gaps->reason);
}

static size_t unclaimed(const struct wire_fds *fds)
{
	size_t n = 0;

	for (size_t i = 0; i < fds->n; i++)
		n += fds->fd[i] >= 0;
	return n;
}

/* An answer that says to which question: which. 0: an older library, or no answer. */
static uint64_t answers(const Upgraded__Wire__AppMessage *message)
{
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED:
		return message->quiesced->question;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET:
		return message->not_yet->question;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		return message->refused->question;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED:
		return message->saved->question;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED:
		return message->resumed->question;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_INVENTORY:
		return message->inventory->question;
	default:
		return 0;
	}
}

/* Is it the answer to something that was given up meanwhile? Then what was asked since must not take it for its own. */
static bool is_late(const struct instance *instance, const Upgraded__Wire__AppMessage *message)
{
	uint64_t of = answers(message);
	bool inventory = message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_INVENTORY;

	if (!of || of == (inventory ? instance->inventory_question : instance->question))
		return false;
	log_instance(INFO, instance, "a late answer (%s), to what is not asked any more; ignored",
		     wire_app_name(message));
	return true;
}

/* A shell that waits for its program gets our signals, and the program does not: it would be killed where it should end. An older
 * library that does not tell its pid is believed. */
static bool is_wrapped(struct instance *instance, const Upgraded__Wire__Hello *hello)
{
	if (!hello->pid || hello->pid == instance->pid)
		return false;
	why_set(&instance->failure, 0,
		"is not the program, which says that it is pid %d: where Exec= names a script, let the script's last line be "
		"'exec PROGRAM ...'",
		hello->pid);
	return true;
}

/* A child that was forked after hello goes on in its place: it became a daemon. Its parent is about to be heard to exit. */
static bool is_by_child(const struct instance *instance, const Upgraded__Wire__AppMessage *message)
{
	int32_t pid = 0;

	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_STANDBY)
		pid = message->standby->pid;
	else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_READY)
		pid = message->ready->pid;
	return pid && pid != instance->pid;
}

static void hear_registered(struct instance *instance, uint64_t count)
{
	if (!instance->registered.asked)
		return;
	instance->registered.asked = false;
	instance->registered.told = true;
	instance->registered.count = count;
	query_told(instance);
}

bool instance_registered(const struct instance *instance, uint64_t *ret_count)
{
	if (!instance->registered.told || instance->registered.asked)
		return false;
	*ret_count = instance->registered.count;
	return true;
}

static void keep(struct instance *instance)
{
	instance_store(instance, instance->stored);
}

/* Of a process that returns, everything before its hello to us. */
static bool is_meant_for_another(struct instance *instance, const Upgraded__Wire__AppMessage *message)
{
	if (!instance->returns)
		return false;
	instance->returns = message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO || !message->hello->anew;
	return instance->returns;
}

/* It said that it serves, and was told to end by somebody who did not know that yet: by now it serves nobody. */
static bool serves_too_late(const struct instance *instance, const Upgraded__Wire__AppMessage *message)
{
	return instance->killed && message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_READY;
}

/* It was asked several times. */
static bool is_hello_again(const struct instance *instance, const Upgraded__Wire__AppMessage *message)
{
	return message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO && message->hello->anew && instance->hello &&
	       instance->hello->hello->anew;
}

size_t instance_hear(struct instance *instance, Upgraded__Wire__AppMessage *message_consume, struct wire_fds *fds)
{
	Upgraded__Wire__AppMessage *message = message_consume;
	struct why why = { 0 };
	size_t waste;

	bound_texts(message);
	if (is_meant_for_another(instance, message) || *instance->failure.text || serves_too_late(instance, message) ||
	    is_late(instance, message) || is_hello_again(instance, message) || is_by_child(instance, message)) {
		/* What it had begun to say to a supervisor that is gone; what would hide why it is being ended; a late answer, and
		 * one that was heard: nobody waits for these. Nor may a child speak for it. */
	} else if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_REGISTERED) {
		hear_registered(instance, message->registered->count);
	} else if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO) {
		/* Parked it had let go of it. */
		if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED)
			keep(instance);
		instance->events->on_message(instance, message, fds);
	} else if (is_wrapped(instance, message->hello)) {
		instance_kill(instance, SIGKILL); /* its end tells why */
	} else if (check_hello(instance, message->hello, &why) == 0) {
		instance->hello = message;
		if (message->hello->keeps && !message->hello->anew)
			keep(instance);
		message = NULL;
		if (instance->events->on_hello)
			instance->events->on_hello(instance);
	} else {
		instance->events->on_garbage(instance, why.text);
	}
	waste = unclaimed(fds);
	wire_fds_close(fds);
	if (message)
		upgraded__wire__app_message__free_unpacked(message, NULL);
	return waste;
}

void instance_exited(struct instance *instance, int status)
{
	end_proof(instance);
	instance->life = INSTANCE_LAST_WORDS;
	instance->exited_us = clock_now_us();
	instance->status = status;
}

void instance_ended(struct instance *instance)
{
	instance->life = INSTANCE_ENDED;
	query_told(instance);
	instance->events->on_exit(instance);
}

void instance_came_back(struct instance *instance, pid_t pid)
{
	instance->pid = pid;
	instance->life = INSTANCE_RUNS;
	instance->killed = false;
	instance->registered.asked = false;
	instance->since_us = instance->place_us = clock_now_us();
}

/* ---- what is said in more than one place ---- */

struct fd_ref *instance_lend_in_hand(struct instance *instance)
{
	struct why why = { 0 };
	int fd;

	in_hand_unmap(&instance->in_hand);
	if (in_hand_create(&instance->in_hand, &fd, &why) == 0)
		return fd_ref_new(fd);
	log_instance(WARNING, instance, "%s; a crash while it loads will be told without the record", why.text);
	return NULL;
}

const char *instance_in_hand(const struct instance *instance, char *buf, size_t size)
{
	uint64_t number;
	char count[32];
	size_t type;

	*buf = 0;
	if (!instance || !instance->hello || !in_hand_get(&instance->in_hand, &type, &number) ||
	    type >= instance->hello->hello->n_schemas)
		return buf;
	snprintf(buf, size, "record %s of %.64s", text_count(count, sizeof(count), number),
		 instance->hello->hello->schemas[type]->name);
	text_tame(buf, strlen(buf));
	return buf;
}

static const char *describe_status(const struct instance *instance, char *buf, size_t size)
{
	char record[128];
	size_t n;

	child_describe_status(instance->status, buf, size);
	n = strlen(buf);
	if (*instance_in_hand(instance, record, sizeof(record)))
		snprintf(buf + n, size - n, " while loading %s", record);
	return buf;
}

const char *instance_describe_end(const struct instance *instance, char *buf, size_t size)
{
	if (instance->life != INSTANCE_RUNS && !*instance->failure.text)
		return describe_status(instance, buf, size);
	snprintf(buf, size, "%s", instance->life == INSTANCE_RUNS ? "is running" : instance->failure.text);
	return buf;
}

void instance_describe_slow_start(struct instance *instance, const struct unit *unit, bool progressed, struct why *ret_why)
{
	uint64_t timeout_us = unit->start_timeout_us;
	char what[256];

	if (instance->kind->doing && instance->kind->doing(instance, what, sizeof(what)))
		why_set(ret_why, 0, "version %s (pid %d) was not its program within %" PRIu64 " ms (StartTimeout=): it %s",
			instance->version, instance->pid, timeout_us / 1000, what);
	else if (progressed && clock_now_us() - instance->since_us >= unit_start_limit(unit))
		why_set(ret_why, 0,
			"version %s (pid %d) was not ready after %" PRIu64
			" ms (StartTimeoutMax=), although it said that it gets on",
			instance->version, instance->pid, unit_start_limit(unit) / 1000);
	else if (instance->kind->lack)
		why_set(ret_why, 0, "version %s (pid %d) did not become ready within %" PRIu64 " ms (StartTimeout=)%s: %s",
			instance->version, instance->pid, timeout_us / 1000, progressed ? " of its last word of progress" : "",
			instance->kind->lack(instance));
	else if (instance->hello)
		why_set(ret_why, 0, "version %s (pid %d) did not become ready within %" PRIu64 " ms (StartTimeout=)%s",
			instance->version, instance->pid, timeout_us / 1000, progressed ? " of its last word of progress" : "");
	else
		why_set(ret_why, 0,
			"version %s (pid %d) did not say hello within %" PRIu64
			" ms (StartTimeout=): is it linked with libupgrade, and does it call upg_open()?",
			instance->version, instance->pid, timeout_us / 1000);
}

Upgraded__Wire__Limits instance_limits(const struct unit *unit)
{
	Upgraded__Wire__Limits limits = UPGRADED__WIRE__LIMITS__INIT;

	limits.record_bytes = (uint32_t)unit->state_record_max;
	limits.types = (uint32_t)unit->state_types_max;
	limits.stream_bytes = unit->state_max;
	return limits;
}

void instance_lend_listener(struct instance *instance, struct fd_ref *ref, const char *name)
{
	size_t i = instance->n_listeners;

	if (i == UNIT_LISTENS_MAX)
		return;
	instance->listeners[i] = fd_ref_use(ref);
	snprintf(instance->listener_names[i], sizeof(instance->listener_names[i]), "%s", name);
	instance->n_listeners++;
}

void instance_hand_listeners(struct instance *instance)
{
	Upgraded__Wire__Listeners listeners = UPGRADED__WIRE__LISTENERS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_LISTENERS, .listeners = &listeners);
	char *names[UNIT_LISTENS_MAX];

	if (!instance->n_listeners)
		return;
	for (size_t i = 0; i < instance->n_listeners; i++)
		names[i] = instance->listener_names[i];
	listeners.count = (uint32_t)instance->n_listeners;
	listeners.n_names = instance->n_listeners;
	listeners.names = names;
	instance_send(instance, &message, instance->listeners, instance->n_listeners);
	drop_listeners(instance);
}

int instance_knows_listen(const struct instance *instance, struct why *why)
{
	if (!instance->unit || !instance->unit->n_listens || (instance->hello && instance->hello->hello->listens))
		return 0;
	return why_set(why, -ENOTSUP,
		       "version %s (pid %d) has a libupgrade that does not know Listen= (%s:%u): it would find its addresses in "
		       "use; link it with a newer one, or take Listen= out", instance->version, (int)instance->pid,
		       instance->unit->path, instance->unit->listens[0].line);
}

void instance_welcome(struct instance *instance)
{
	Upgraded__Wire__Welcome welcome = UPGRADED__WIRE__WELCOME__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME, .welcome = &welcome);

	instance_hand_listeners(instance);
	welcome.protocol = WIRE_PROTOCOL;
	welcome.service = instance->service;
	welcome.fresh = true;
	instance_send(instance, &message, NULL, 0);
}

void instance_ask_inventory(struct instance *instance)
{
	Upgraded__Wire__AskInventory ask = UPGRADED__WIRE__ASK_INVENTORY__INIT;
	Upgraded__Wire__AppMessage message =
		APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY, .ask_inventory = &ask);

	ask.question = ++instance->inventory_question;
	instance_send(instance, &message, NULL, 0);
}

int hello_may_checkpoint(const Upgraded__Wire__Hello *hello, const char *version, struct why *why)
{
	if (!hello->checkpoints)
		return why_set(why, -ENOTSUP, "the library of version %s knows no checkpoints", version);
	if (!hello->journals)
		return why_set(why, -ENOTSUP, "version %s writes no changes down", version);
	return 0;
}

void instance_prepare(struct instance *instance, const struct instance_prepare *prepare, struct fd_ref *const *fds,
		      size_t n)
{
	Upgraded__Wire__Prepare body = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE, .prepare = &body);
	Upgraded__Wire__Limits limits = instance_limits(prepare->unit);

	body.question = ++instance->question;
	body.limits = &limits;
	body.generation = prepare->generation;
	body.level = prepare->unit->level;
	body.other_readers = prepare->other_readers;
	body.quiesce_deadline_us = prepare->rest_us;
	body.commit_deadline_us = prepare->settles_us;
	body.save_only = !prepare->reader;
	body.checkpoint = prepare->checkpoint;
	body.announce = prepare->announce;
	if (prepare->reader) {
		body.n_targets = prepare->reader->n_schemas;
		body.targets = prepare->reader->schemas;
	}
	instance_send(instance, &message, fds, n);
}
