/* SPDX-License-Identifier: MIT */
#include "supervisor/process/instance.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- asked of the kind ---- */

void instance_send(struct instance *instance, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n)
{
	instance->kind->send(instance, message, fds, n);
}

void instance_forget_queued(struct instance *instance)
{
	if (instance)
		instance->kind->forget_queued(instance);
}

void instance_kill(struct instance *instance, int signal)
{
	if (instance->life == INSTANCE_RUNS)
		instance->kind->signal(instance, signal);
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

bool instance_can(const struct instance *instance, enum instance_power power)
{
	return instance->kind->powers & power;
}

void instance_set_place(struct instance *instance, enum instance_place place)
{
	if (!instance || instance->place == place)
		return;
	instance->place = place;
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

struct instance *instance_free(struct instance *instance)
{
	if (!instance)
		return NULL;
	if (instance->hello)
		upgraded__wire__app_message__free_unpacked(instance->hello, NULL);
	instance->kind->free(instance);
	return NULL;
}

/* ---- told by the kind ---- */

void instance_init(struct instance *instance, const struct instance_kind *kind, const char *service, const char *version)
{
	*instance = (struct instance){ .kind = kind, .since_us = clock_now_us() };
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
	for (size_t i = 0; i < hello->n_schemas; i++)
		if (!is_name(hello->schemas[i]->name) || !hello->schemas[i]->version)
			return why_set(why, -EPROTO, "said hello with a type that has no name or version");
	return 0;
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

void instance_hear(struct instance *instance, Upgraded__Wire__AppMessage *message_consume, struct wire_fds *fds)
{
	Upgraded__Wire__AppMessage *message = message_consume;
	struct why why = { 0 };

	if (*instance->failure.text) { /* it is being ended: what it says now would hide why */
		wire_fds_close(fds);
		upgraded__wire__app_message__free_unpacked(message, NULL);
		return;
	}
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED)
		text_tame(message->refused->reason, strlen(message->refused->reason));
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS)
		text_tame(message->start_progress->text, strlen(message->start_progress->text));
	if (message->body_case != UPGRADED__WIRE__APP_MESSAGE__BODY_HELLO) {
		instance->events->on_message(instance, message, fds);
	} else if (is_wrapped(instance, message->hello)) {
		instance_kill(instance, SIGKILL); /* its end tells why */
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

void instance_exited(struct instance *instance, int status)
{
	instance->life = INSTANCE_LAST_WORDS;
	instance->exited_us = clock_now_us();
	instance->status = status;
}

void instance_ended(struct instance *instance)
{
	instance->life = INSTANCE_ENDED;
	instance->events->on_exit(instance);
}

void instance_came_back(struct instance *instance, pid_t pid)
{
	instance->pid = pid;
	instance->life = INSTANCE_RUNS;
	instance->since_us = clock_now_us();
}

/* ---- what is said in more than one place ---- */

const char *instance_describe_end(const struct instance *instance, char *buf, size_t size)
{
	if (instance->life != INSTANCE_RUNS && !*instance->failure.text)
		return child_describe_status(instance->status, buf, size);
	snprintf(buf, size, "%s", instance->life == INSTANCE_RUNS ? "is running" : instance->failure.text);
	return buf;
}

void instance_describe_slow_start(struct instance *instance, uint64_t timeout_us, bool progressed, struct why *ret_why)
{
	char what[256];

	if (instance->kind->doing && instance->kind->doing(instance, what, sizeof(what)))
		why_set(ret_why, 0, "version %s (pid %d) was not its program within %" PRIu64 " ms (StartTimeout=): it %s",
			instance->version, instance->pid, timeout_us / 1000, what);
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

void instance_welcome(struct instance *instance)
{
	Upgraded__Wire__Welcome welcome = UPGRADED__WIRE__WELCOME__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME, .welcome = &welcome);

	welcome.protocol = WIRE_PROTOCOL;
	welcome.service = instance->service;
	welcome.fresh = true;
	instance_send(instance, &message, NULL, 0);
}

void instance_prepare(struct instance *instance, const struct instance_prepare *prepare, const int *fds, size_t n)
{
	Upgraded__Wire__Prepare body = UPGRADED__WIRE__PREPARE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE, .prepare = &body);
	Upgraded__Wire__Limits limits = instance_limits(prepare->unit);

	body.limits = &limits;
	body.generation = prepare->generation;
	body.level = prepare->unit->level;
	body.quiesce_deadline_us = prepare->begun_us + prepare->unit->quiesce_timeout_us;
	body.commit_deadline_us = prepare->settles_us;
	body.save_only = !prepare->reader;
	if (prepare->reader) {
		body.n_targets = prepare->reader->n_schemas;
		body.targets = prepare->reader->schemas;
	}
	instance_send(instance, &message, fds, n);
}
