/* SPDX-License-Identifier: MIT */
#include "supervisor/process/plain.h"

#include "base/base.h"
#include "supervisor/machine/procfs.h"
#include "supervisor/process/accepting.h"
#include "supervisor/process/instance.h"
#include "wire/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_US (20 * USEC_PER_MSEC)
#define MESSAGES_A_TURN 16u

void voice_init(struct voice *voice, struct instance *of)
{
	*voice = (struct voice){ .of = of, .fd = -1 };
	notified_init(&voice->notified);
	child_init(&voice->looker);
}

/* ---- what is said ---- */

/* What there is no room for is lost, as are the words of a process that is about to end: a deadline tells. */
static void say(struct voice *voice, const Upgraded__Wire__AppMessage *message)
{
	const struct instance *of = voice->of;
	struct why why = { 0 };

	if (voice->fd >= 0 && wire_send(voice->fd, &message->base, NULL, 0, &why) < 0)
		log_warning("%s[%s %d]: %s could not be said for it: %s", of->service, of->version, (int)of->pid,
			    wire_app_name(message), why.text);
}

#define SAY(voice, NAME, member, body) \
	do { \
		Upgraded__Wire__AppMessage message_ = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_##NAME, .member = (body)); \
		say(voice, &message_); \
	} while (0)

static void say_hello(struct voice *voice, bool anew)
{
	Upgraded__Wire__Hello hello = UPGRADED__WIRE__HELLO__INIT;

	hello.protocol = WIRE_PROTOCOL;
	hello.service = wire_text(voice->of->service);
	hello.version = wire_text(voice->of->version);
	hello.leaves = hello.listens = hello.keeps = hello.no_newcomers = true;
	hello.anew = anew;
	SAY(voice, HELLO, hello, &hello);
}

static void become_ready(struct voice *voice)
{
	Upgraded__Wire__Standby standby = UPGRADED__WIRE__STANDBY__INIT;

	if (voice->ready)
		return;
	voice->ready = true;
	voice->beat_us = clock_now_us();
	timer_disarm(&voice->look);
	SAY(voice, STANDBY, standby, &standby);
}

void voice_prove(struct voice *voice)
{
	become_ready(voice);
}

static bool beats(const struct voice *voice)
{
	const struct unit *unit = voice->of->unit;

	return !voice->fails && (!unit || !unit->watchdog_us || clock_now_us() - voice->beat_us < unit->watchdog_us);
}

static void say_pong(struct voice *voice, uint64_t nonce)
{
	Upgraded__Wire__Pong pong = UPGRADED__WIRE__PONG__INIT;

	voice->unanswered = beats(voice) ? 0 : nonce;
	if (voice->unanswered)
		return;
	pong.nonce = nonce;
	SAY(voice, PONG, pong, &pong);
}

/* ---- what it is asked ---- */

static void answer_prepare(struct voice *voice, const Upgraded__Wire__Prepare *prepare)
{
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;

	if (prepare->save_only || prepare->checkpoint) {
		refused.reason = wire_text("it is a program without the library (Kind=plain): it has no state to save");
		refused.question = prepare->question;
		SAY(voice, REFUSED, refused, &refused);
		return;
	}
	quiesced.question = saved.question = prepare->question;
	quiesced.begun_us = clock_now_us();
	saved.totals = &totals;
	SAY(voice, QUIESCED, quiesced, &quiesced);
	SAY(voice, SAVED, saved, &saved);
}

static void answer_receive(struct voice *voice, const Upgraded__Wire__Receive *receive, const struct wire_fds *fds)
{
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;
	Upgraded__Wire__Loaded loaded = UPGRADED__WIRE__LOADED__INIT;
	struct why why = { 0 };

	commit_unmap(&voice->word);
	if (receive->from_file || fds->n < 1)
		why_set(&why, 0, "it is a program without the library (Kind=plain), and cannot load a state");
	else if (commit_map(&voice->word, fds->fd[0], receive->generation, &why) == 0) {
		loaded.totals = &totals;
		SAY(voice, LOADED, loaded, &loaded);
		return;
	}
	refused.reason = why.text;
	SAY(voice, REFUSED, refused, &refused);
}

static void answer_commit(struct voice *voice)
{
	Upgraded__Wire__Committed committed = UPGRADED__WIRE__COMMITTED__INIT;
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;

	if (voice->word.word && commit_take(&voice->word, COMMIT_NEW)) {
		committed.at_us = clock_now_us();
		SAY(voice, COMMITTED, committed, &committed);
	} else {
		refused.reason = wire_text("the roll was called off");
		SAY(voice, REFUSED, refused, &refused);
	}
	commit_unmap(&voice->word);
}

static void say_resumed(struct voice *voice)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	resumed.at_us = clock_now_us();
	SAY(voice, RESUMED, resumed, &resumed);
}

static void answer(struct voice *voice, const Upgraded__Wire__AppMessage *message, const struct wire_fds *fds)
{
	Upgraded__Wire__Inventory inventory = UPGRADED__WIRE__INVENTORY__INIT;
	Upgraded__Wire__Parked parked = UPGRADED__WIRE__PARKED__INIT;
	Upgraded__Wire__Ready ready = UPGRADED__WIRE__READY__INIT;

	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_WELCOME:
		SAY(voice, READY, ready, &ready);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE:
		answer_prepare(voice, message->prepare);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE:
		answer_receive(voice, message->receive, fds);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_COMMIT:
		answer_commit(voice);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PARK:
		SAY(voice, PARKED, parked, &parked); /* not still: nobody stops it */
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT:
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME:
		say_resumed(voice);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_PING:
		say_pong(voice, message->ping->nonce);
		break;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_ASK_INVENTORY:
		inventory.last = true;
		inventory.question = message->ask_inventory->question;
		SAY(voice, INVENTORY, inventory, &inventory);
		break;
	default: /* what a library needs to know, and this does not; AskRegistered, as nobody knows how many that are */
		break;
	}
}

/* Return: true if there may be another. */
static bool read_one(struct voice *voice)
{
	static uint8_t buffer[WIRE_MESSAGE_MAX]; /* one loop thread */
	ProtobufCMessage *message;
	struct wire_fds fds;
	struct why why = { 0 };
	int r;

	if (voice->fd < 0)
		return false;
	r = wire_receive(voice->fd, &upgraded__wire__app_message__descriptor, buffer, &fds, &message, &why);
	if (r == WIRE_OK) {
		answer(voice, (Upgraded__Wire__AppMessage *)message, &fds);
		wire_fds_close(&fds);
		protobuf_c_message_free_unpacked(message, NULL);
	} else if (r != WIRE_AGAIN && r != -EBADMSG) {
		source_del(&voice->source);
		voice->fd = fd_close(voice->fd);
	}
	return r == WIRE_OK || r == -EBADMSG;
}

static void on_ready(struct source *source, uint32_t events)
{
	struct voice *voice = container_of(source, struct voice, source);

	(void)events;
	for (unsigned i = 0; i < MESSAGES_A_TURN && read_one(voice); i++)
		;
}

/* ---- what is known of the process ---- */

static void hear_progress(struct voice *voice, const struct notification *told)
{
	Upgraded__Wire__StartProgress progress = UPGRADED__WIRE__START_PROGRESS__INIT;
	char text[64 + sizeof(voice->status)];

	if (*voice->status)
		snprintf(text, sizeof(text), "%s", voice->status);
	else
		snprintf(text, sizeof(text), "it asks for %" PRIu64 " ms more", told->extend_us / 1000);
	progress.text = text;
	SAY(voice, START_PROGRESS, start_progress, &progress);
}

static void on_heard(struct notified *notified, const struct notification *told)
{
	struct voice *voice = container_of(notified, struct voice, notified);
	const struct unit *unit = voice->of->unit;

	if (told->status)
		snprintf(voice->status, sizeof(voice->status), "%s", told->status);
	if (told->beats || told->ready)
		voice->beat_us = clock_now_us();
	voice->fails |= told->fails;
	if (told->extend_us && !voice->ready)
		hear_progress(voice, told);
	if (told->ready && unit && unit->ready == READY_NOTIFY)
		become_ready(voice);
	if (voice->unanswered && told->beats)
		say_pong(voice, voice->unanswered);
}

static void on_look(struct timer *timer);

/* In a process of its own: who reads of an epoll set waits for whoever has it locked, and a service can make that last. */
static void look_in_child(void *userdata)
{
	const struct voice *voice = userdata;

	if (!accepting_all(voice->of->pid, voice->listeners, voice->n_listeners))
		_exit(EXIT_FAILURE);
}

static void on_looked(struct child *child)
{
	struct voice *voice = container_of(child, struct voice, looker);
	bool accepts = WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;

	child_done(child);
	if (accepts)
		become_ready(voice);
	else
		timer_arm(voice->loop, &voice->look, clock_now_us() + LOOK_US, on_look);
}

static void on_look(struct timer *timer)
{
	struct voice *voice = container_of(timer, struct voice, look);
	const struct child_work work = { .run = look_in_child, .userdata = voice, .keep_fd = -1 };
	struct why why = { 0 };
	char what[8];
	/* What becomes of the fork is not its program yet. */
	bool runs = !voice->of->kind->doing || !voice->of->kind->doing(voice->of, what, sizeof(what));

	if (runs && voice->of->unit->ready == READY_STARTED)
		become_ready(voice);
	else if (!runs || child_fork(voice->loop, &voice->looker, &work, on_looked, &why) < 0)
		timer_arm(voice->loop, timer, clock_now_us() + LOOK_US, on_look);
}

void voice_begin(struct voice *voice, const unsigned long long *listeners, size_t n)
{
	enum unit_ready ready = voice->of->unit->ready;

	voice->n_listeners = n < PLAIN_LISTENERS_MAX ? n : PLAIN_LISTENERS_MAX;
	if (voice->n_listeners)
		memcpy(voice->listeners, listeners, voice->n_listeners * sizeof(*listeners));
	voice->notified.pid = voice->of->pid;
	if (procfs_start_ticks(voice->of->pid, &voice->start_ticks) < 0)
		voice->start_ticks = UINT64_MAX;
	voice->ready |= voice->of->place != INSTANCE_IS_NEW; /* it came back */
	if (!voice->ready && (ready == READY_STARTED || ready == READY_ACCEPTS))
		timer_arm(voice->loop, &voice->look, clock_now_us(), on_look);
}

bool voice_has_unread(const struct voice *voice)
{
	return notified_has_unread(&voice->notified);
}

const char *voice_lack(const struct voice *voice)
{
	switch (voice->of->unit->ready) {
	case READY_NOTIFY:
		return "it has not said READY=1 (Ready=notify, see sd_notify(3))";
	case READY_ACCEPTS:
		return "it does not wait for clients at each listener that it was given (Ready=accepts)";
	case READY_HEALTH:
		return "not every check of health has succeeded (Ready=health)";
	case READY_STARTED:
		break;
	}
	return "it is not its program yet (Ready=started)";
}

/* ---- life ---- */

int voice_take(struct voice *voice, struct loop *loop, int theirs_consume, const char *folder, uint64_t serial, struct why *why)
{
	const struct unit *unit = voice->of->unit;
	int r;

	voice->loop = loop;
	voice->fd = theirs_consume;
	r = source_add(loop, &voice->source, voice->fd, EPOLLIN, on_ready);
	if (r < 0)
		why_errno(why, r, "channel");
	if (r == 0 && folder)
		r = notified_open(&voice->notified, loop, folder, serial, unit ? unit->user : "", on_heard, why);
	voice->notified.pid = voice->of->pid;
	voice->beat_us = clock_now_us();
	if (r < 0)
		voice_close(voice);
	return r;
}

int voice_open(struct voice *voice, struct loop *loop, int theirs_consume, const char *folder, uint64_t serial, bool anew,
	       struct why *why)
{
	int r = voice_take(voice, loop, theirs_consume, folder, serial, why);

	if (r == 0)
		say_hello(voice, anew);
	return r;
}

static void end(struct voice *voice)
{
	if (voice->looker.pidfd >= 0) {
		child_kill(&voice->looker, SIGKILL);
		child_let_go(&voice->looker); /* it may have to wait for the end of the service: it is reaped as a stray */
	}
	if (voice->loop) {
		timer_disarm(&voice->look);
		if (voice->fd >= 0)
			source_del(&voice->source);
	}
	voice->fd = fd_close(voice->fd);
	commit_unmap(&voice->word);
}

void voice_leave(struct voice *voice)
{
	end(voice);
	notified_leave(&voice->notified);
}

void voice_close(struct voice *voice)
{
	end(voice);
	notified_close(&voice->notified);
}
