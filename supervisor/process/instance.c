/* SPDX-License-Identifier: MIT */
#include "supervisor/process/instance.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HELLO_MAX 4096u /* types and migrations */
#define TEXT_MAX 1000u  /* bytes of what a process says to people */

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
	if (instance->life == INSTANCE_RUNS)
		instance->kind->signal(instance, signal);
}

void instance_set_victim(struct instance *instance, bool is_first)
{
	struct why why = { 0 };

	if (!instance_is_alive(instance) || !instance->kind->set_victim || instance->victim.is_first == is_first)
		return;
	if (instance->kind->set_victim(instance, is_first, &why) < 0 && !instance_has_ended(instance))
		log_warning("%s[%s %d]: %s; when memory is short, the kernel may end another process first than it should",
			    instance->service, instance->version, instance->pid, why.text);
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
	unit_free(instance->unit);
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

/* Type names are not tamed, as both versions compare them; but they are shown, too, and beyond ASCII there are characters that
 * drive a terminal. */
static bool is_name(const char *text)
{
	size_t n = 0;

	while (text[n] && tame(text[n]) == text[n] && text[n] != '\t')
		n++;
	return n && !text[n];
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
		text[TEXT_MAX] = 0;
	tame_text(text);
}

static void bound_texts(Upgraded__Wire__AppMessage *message)
{
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED)
		bound_text(message->refused->reason);
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_START_PROGRESS)
		bound_text(message->start_progress->text);
	if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED)
		bound_text(message->resumed->journal_unused);
}

static size_t unclaimed(const struct wire_fds *fds)
{
	size_t n = 0;

	for (size_t i = 0; i < fds->n; i++)
		n += fds->fd[i] >= 0;
	return n;
}

size_t instance_hear(struct instance *instance, Upgraded__Wire__AppMessage *message_consume, struct wire_fds *fds)
{
	Upgraded__Wire__AppMessage *message = message_consume;
	struct why why = { 0 };
	size_t waste;

	bound_texts(message);
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
	waste = unclaimed(fds);
	wire_fds_close(fds);
	if (message)
		upgraded__wire__app_message__free_unpacked(message, NULL);
	return waste;
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
	if (instance->life != INSTANCE_RUNS)
		return child_describe_status(instance->status, buf, size);
	snprintf(buf, size, "is running");
	return buf;
}

void instance_describe_slow_start(const struct instance *instance, uint64_t timeout_us, bool progressed, struct why *ret_why)
{
	if (instance->hello)
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

void instance_prepare(struct instance *instance, const struct instance_prepare *prepare, struct fd_ref *const *fds,
		      size_t n)
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
