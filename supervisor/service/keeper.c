/* SPDX-License-Identifier: MIT */
/* Journal=always.
 *
 * A process that serves is asked for a checkpoint as it is asked for a save. It stands for the time of a fork: its child writes the state,
 * and it goes on with another journal. Until the checkpoint is whole, the one before counts, with both journals. When a journal is half
 * full, the next checkpoint is asked for. One that fails changes nothing, and is tried again after a while.
 *
 * When the process fails, another one of the same version is started, and gets the checkpoint, the journals since and the
 * duplicates of what the first one had open: member.c. It has a journal of its own before it serves, behind those.
 */
#include "supervisor/service/keeper.h"

#include "supervisor/custody/journal_memory.h"
#include "supervisor/machine/procfs.h"
#include "supervisor/service/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGAIN_US USEC_PER_SEC         /* to the next one after a failure; doubled with each */
#define AGAIN_DOUBLINGS 10u
/* Nobody asked for it: the service is not to stand for longer if one of its threads does not come. */
#define REST_US (500 * USEC_PER_MSEC)

static struct loop *loop_of(const struct member *member)
{
	return member->service->host->site.loop;
}

const struct unit *keeper_unit(const struct member *member)
{
	const struct instance *instance = member->instance;

	return instance && instance->unit ? instance->unit : member->service->unit;
}

static void on_next(struct timer *timer);

static void plan_next(struct member *member, uint64_t us)
{
	timer_arm(loop_of(member), &member->keeper.next, clock_now_us() + us, on_next);
}

/* ---- the end of one ---- */

/* What was made for the checkpoint under way is let go. Its journal stays in the hold: perhaps the process writes there. */
static void drop_attempt(struct keeper *keeper)
{
	keeper->step = KEEPER_IDLE;
	keeper->state = fd_ref_drop(keeper->state);
	keeper->journal = fd_ref_drop(keeper->journal);
	keeper->report = fd_ref_drop(keeper->report);
	source_del(&keeper->source);
	keeper->said_fd = fd_close(keeper->said_fd);
	keeper->n_said = 0;
	hold_clear(&keeper->coming);
	rest_end(&keeper->rest);
	timer_disarm(&keeper->again);
	timer_disarm(&keeper->deadline);
}

/* The child is over, or is to be. */
static void tell_over(struct member *member)
{
	Upgraded__Wire__Checkpointed over = UPGRADED__WIRE__CHECKPOINTED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_CHECKPOINTED, .checkpointed = &over);

	if (member->state == MEMBER_RUNNING && member->keeper.on && instance_is_alive(member->instance))
		instance_send(member->instance, &message, NULL, 0);
}

static void fail(struct member *member, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct member *member, const char *fmt, ...)
{
	struct keeper *keeper = &member->keeper;
	unsigned doublings = keeper->failures < AGAIN_DOUBLINGS ? keeper->failures : AGAIN_DOUBLINGS;
	va_list args;

	va_start(args, fmt);
	vsnprintf(keeper->note.text, sizeof(keeper->note.text), fmt, args);
	va_end(args);
	log_warning("%s: no checkpoint: %s; %s", member->service->name, keeper->note.text,
		    keeper->hold.state ? "the one before counts" : "a crash now would lose everything");
	drop_attempt(keeper);
	tell_over(member);
	keeper->failures++;
	if (keeper->awaits_child) {
		keeper->awaits_child = false;
		hold_clear(&keeper->hold);
		timer_arm(loop_of(member), &member->restart, clock_now_us(), member->restart.on_due);
	} else if (keeper->on) {
		plan_next(member, AGAIN_US << doublings);
	}
}

static void succeed(struct member *member, const Upgraded__Wire__Totals *totals)
{
	struct keeper *keeper = &member->keeper;
	struct hold *hold = &keeper->hold;
	bool first = !hold->state;

	hold_advance(hold, keeper->last_number, keeper->state, keeper->journal);
	keeper->state = NULL;
	hold->made_us = keeper->stands_us;
	hold->records = totals ? totals->records : 0;
	hold->bytes = totals ? totals->payload_bytes : 0;
	if (keeper->turned)
		*hold->broken.text = 0;
	keeper->failures = 0;
	*keeper->note.text = 0;
	keeper->took_us = clock_now_us() - keeper->stands_us;
	drop_attempt(keeper);
	tell_over(member);
	log_debug("%s: checkpoint %" PRIu64 " is whole: %" PRIu64 " bytes, pause %" PRIu64 " us, written in %" PRIu64 " ms",
		  member->service->name, keeper->n_begun, hold->bytes, keeper->pause_us, keeper->took_us / 1000);
	if (first)
		log_info("%s: the first checkpoint is whole: %" PRIu64 " records, %" PRIu64 " bytes; a crash would lose nothing now",
			 member->service->name, hold->records, hold->bytes);
	if (keeper->awaits_child) {
		keeper->awaits_child = false;
		keeper->starts = true;
		timer_arm(loop_of(member), &member->restart, clock_now_us(), member->restart.on_due);
	} else if (keeper->on && keeper->wanted) {
		plan_next(member, 0);
	}
}

/* ---- what the child reports ---- */

static void hear_report(struct member *member)
{
	struct keeper *keeper = &member->keeper;
	Upgraded__Wire__AppMessage *message = upgraded__wire__app_message__unpack(NULL, keeper->n_said, keeper->said);

	if (message && keeper->n_said && message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED)
		succeed(member, message->saved->totals);
	else if (message && message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED)
		fail(member, "%s", message->refused->reason);
	else
		fail(member, "the child that wrote it ended without a word");
	if (message)
		upgraded__wire__app_message__free_unpacked(message, NULL);
}

static void on_report(struct source *source, uint32_t events)
{
	struct keeper *keeper = container_of(source, struct keeper, source);
	struct member *member = container_of(keeper, struct member, keeper);
	size_t room = sizeof(keeper->said) - keeper->n_said;
	ssize_t n = read(keeper->said_fd, keeper->said + keeper->n_said, room);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && (size_t)n < room) {
		keeper->n_said += (size_t)n;
		return;
	}
	/* While the process stands, its end is heard of otherwise. */
	if (n == 0 && keeper->step == KEEPER_STANDS)
		source_del(source);
	else if (n == 0)
		hear_report(member);
	else
		fail(member, "the child that wrote it said what cannot be understood");
}

/* ---- asking ---- */

static void on_deadline(struct timer *timer)
{
	struct keeper *keeper = container_of(timer, struct keeper, deadline);
	struct member *member = container_of(keeper, struct member, keeper);

	if (keeper->step == KEEPER_WRITES)
		fail(member, "the state was not written in time (TransferTimeout=)");
	else if (!instance_is_heard_out(member->instance))
		timer_arm(loop_of(member), timer, clock_now_us() + INSTANCE_HEAR_US, on_deadline);
	else
		fail(member, "it did not quiesce in time (QuiesceTimeout=)%s%s", *keeper->rest.reason.text ? ": " : "",
		     keeper->rest.reason.text);
}

static void ask(struct member *member)
{
	struct keeper *keeper = &member->keeper;
	struct fd_ref *fds[] = { keeper->state, keeper->report, keeper->journal };
	uint64_t transfer_us = keeper_unit(member)->transfer_timeout_us, rest_us = clock_now_us() + REST_US;
	struct instance_prepare prepare;

	rest_ask(&keeper->rest);
	if (rest_us > keeper->rest.due_us)
		rest_us = keeper->rest.due_us;
	prepare = (struct instance_prepare){
		.unit = keeper_unit(member), .generation = keeper->last_number, .rest_us = rest_us,
		.settles_us = rest_us + transfer_us, .checkpoint = true, .announce = !keeper->announced,
	};
	timer_arm(loop_of(member), &keeper->deadline, rest_us + transfer_us + USEC_PER_SEC, on_deadline);
	keeper->stands_us = clock_now_us();
	keeper->step = KEEPER_ASKED;
	instance_prepare(member->instance, &prepare, fds, 3);
}

static void on_again(struct timer *timer)
{
	struct keeper *keeper = container_of(timer, struct keeper, again);
	struct member *member = container_of(keeper, struct member, keeper);

	if (instance_awaits(member->instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE))
		timer_arm(loop_of(member), timer, clock_now_us() + rest_pause_us(&keeper->rest), on_again);
	else
		ask(member);
}

/* If it has a question already, its answer is waited for. */
static void on_child_gone(struct rest *rest)
{
	struct keeper *keeper = container_of(rest, struct keeper, rest);
	struct member *member = container_of(keeper, struct member, keeper);

	if (keeper->again.loop)
		timer_arm(loop_of(member), &keeper->again, clock_now_us() + REST_CHILD_REAPED_US, on_again);
}

/* Memory for the state, a pipe for the report, and the next journal. Return: 0 or -errno; what was made is let go by the caller. */
static int make_room(struct member *member, struct why *why)
{
	struct keeper *keeper = &member->keeper;
	int state = memfd_create("upgraded-checkpoint", MFD_CLOEXEC), journal, report[2], r;

	if (state < 0 || !(keeper->state = fd_ref_new(state)))
		return why_errno(why, state < 0 ? -errno : -ENOMEM, "checkpoint");
	r = journal_memory_create(keeper_unit(member)->journal_bytes, &journal, why);
	if (r < 0)
		return r;
	if (!(keeper->journal = fd_ref_new(journal)))
		return why_errno(why, -ENOMEM, "checkpoint");
	if (pipe2(report, O_CLOEXEC) < 0)
		return why_errno(why, -errno, "checkpoint");
	keeper->said_fd = report[0];
	keeper->report = fd_ref_new(report[1]);
	r = keeper->report ? fd_nonblock(report[0], 1) : -ENOMEM;
	if (r == 0)
		r = source_add(loop_of(member), &keeper->source, report[0], EPOLLIN, on_report);
	return r < 0 ? why_errno(why, r, "checkpoint") : 0;
}

/* Too many failed one after the other. What is left is the checkpoint itself. */
static void start_over(struct hold *hold)
{
	hold_break(hold, "too many checkpoints in a row were not made");
	while (hold->n_journals)
		hold_drop_journal(hold, hold->journals[0]);
}

static void begin(struct member *member)
{
	struct keeper *keeper = &member->keeper;
	struct why why = { 0 };

	keeper->wanted = false;
	if (make_room(member, &why) < 0) {
		fail(member, "%s", why.text);
		return;
	}
	if (hold_add_journal(&keeper->hold, keeper->journal) < 0) {
		start_over(&keeper->hold);
		hold_add_journal(&keeper->hold, keeper->journal);
	}
	/* It grows over restarts of the process, and of ours: what a process has opened since a checkpoint is known by its number. */
	keeper->last_number = clock_now_us() > keeper->last_number ? clock_now_us() : keeper->last_number + 1;
	keeper->n_begun++;
	keeper->asked_us = clock_now_us();
	keeper->turned = false;
	rest_begin(&keeper->rest, loop_of(member), keeper_unit(member), on_child_gone);
	ask(member);
}

/* Whatever else is asked of the process comes first. */
static bool is_busy(const struct member *member)
{
	return member->roll || member->service->save || member->pulse.silent_us || member->state != MEMBER_RUNNING;
}

static void on_next(struct timer *timer)
{
	struct keeper *keeper = container_of(timer, struct keeper, next);
	struct member *member = container_of(keeper, struct member, keeper);

	if (!keeper->on || keeper->step != KEEPER_IDLE)
		keeper->wanted = true;
	else if (is_busy(member))
		plan_next(member, AGAIN_US);
	else
		begin(member);
}

/* ---- what the process says ---- */

/* No more than it may have open. */
static int take_fds(struct member *member, struct hold *hold, const Upgraded__Wire__Fds *message, struct wire_fds *fds,
		    struct why *why)
{
	const struct unit *unit = keeper_unit(member);

	if (!hold->custody.most || hold->custody.n + fds->n > hold->custody.most) {
		hold->custody.most = procfs_open_files(member->instance->pid);
		if (!hold->custody.most)
			hold->custody.most = unit->limit_nofile ? unit->limit_nofile : fd_limit_at_start();
	}
	return hold_take(hold, message, fds, why);
}

/* From here on something is missing; the next checkpoint makes it good. */
static void lose(struct member *member, const char *reason)
{
	struct keeper *keeper = &member->keeper;

	if (!*keeper->hold.broken.text)
		log_warning("%s: %s; until the next checkpoint a crash would lose what was written since the last one",
			    member->service->name, reason);
	hold_break(&keeper->hold, reason);
	keeper->turned = false;
	if (keeper->step == KEEPER_IDLE && !keeper->failures)
		plan_next(member, 0);
	else
		keeper->wanted = true;
}

static void hear_fds(struct member *member, const Upgraded__Wire__Fds *message, struct wire_fds *fds)
{
	struct keeper *keeper = &member->keeper;
	bool announces = keeper->step == KEEPER_STANDS && !keeper->announced;
	struct why why = { 0 };

	if (!announces && !keeper->announced && !keeper->took_place)
		return; /* all of them come with the first checkpoint */
	if (take_fds(member, announces ? &keeper->coming : &keeper->hold, message, fds, &why) < 0) {
		lose(member, why.text);
		keeper->announced = false;
		return;
	}
	if (!announces || !message->last)
		return;
	custody_clear(&keeper->hold.custody);
	keeper->hold.custody = keeper->coming.custody;
	keeper->hold.next_tag = keeper->coming.next_tag;
	keeper->coming = (struct hold){ 0 };
	keeper->announced = true;
}

static void hear_quiesced(struct member *member, const Upgraded__Wire__Quiesced *quiesced)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step != KEEPER_ASKED)
		return;
	keeper->step = KEEPER_STANDS;
	keeper->turned = true;
	if (quiesced->begun_us > keeper->stands_us && quiesced->begun_us <= clock_now_us())
		keeper->stands_us = quiesced->begun_us;
	/* It has its own: when nobody has any more, there is no child. */
	keeper->report = fd_ref_drop(keeper->report);
	rest_end(&keeper->rest);
}

static void hear_resumed(struct member *member, uint64_t at_us)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step != KEEPER_STANDS)
		return;
	keeper->step = KEEPER_WRITES;
	keeper->pause_us = at_us > keeper->stands_us ? at_us - keeper->stands_us : 0;
	timer_arm(loop_of(member), &keeper->deadline, clock_now_us() + keeper_unit(member)->transfer_timeout_us, on_deadline);
	if (!keeper->source.loop) /* the child has ended before this was heard */
		hear_report(member);
}

static void hear_not_yet(struct member *member, const Upgraded__Wire__NotYet *not_yet)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step != KEEPER_ASKED || keeper->again.loop)
		return;
	rest_hear(&keeper->rest, member->instance, not_yet);
	if (rest_overdue(&keeper->rest) != REST_IN_TIME)
		fail(member, "it did not quiesce in time: %s", keeper->rest.reason.text);
	else
		timer_arm(loop_of(member), &keeper->again, clock_now_us() + rest_pause_us(&keeper->rest), on_again);
}

/* Nothing was begun. */
static void hear_refused(struct member *member, const char *reason)
{
	struct keeper *keeper = &member->keeper;

	hold_drop_journal(&keeper->hold, keeper->journal);
	fail(member, "%s", reason);
}

static void hear_full(struct member *member, const Upgraded__Wire__JournalFull *full)
{
	struct why why;

	if (*full->reason)
		why_set(&why, 0, "the journal cannot be written on: %.200s", full->reason);
	else
		why_set(&why, 0, "the journal was full after %" PRIu64 " bytes (JournalSize=)", full->bytes);
	lose(member, why.text);
}

/* A line for the first, and each time that there are twice as many as the last line said; status always has the number. */
static void hear_gaps(struct member *member, const Upgraded__Wire__JournalGaps *gaps)
{
	struct keeper *keeper = &member->keeper;
	uint32_t n = gaps->no_room + gaps->others;

	keeper->uncovered = n;
	if (!n || n < 2 * (uint64_t)keeper->gaps_told)
		return;
	keeper->gaps_told = n;
	log_warning("%s: the journal does not cover %" PRIu32 " connections, which a crash would cost: %" PRIu32 " found no room "
		    "(JournalSize=), %" PRIu32 " others%s%.200s", member->service->name, n, gaps->no_room, gaps->others,
		    *gaps->reason ? ": " : "", gaps->reason);
}

/* Answers of a Prepare. */
static bool hear_answer(struct member *member, const Upgraded__Wire__AppMessage *message)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step != KEEPER_ASKED && keeper->step != KEEPER_STANDS)
		return false;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED:
		hear_quiesced(member, message->quiesced);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET:
		hear_not_yet(member, message->not_yet);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED:
		hear_refused(member, message->refused->reason);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED:
		hear_resumed(member, message->resumed->at_us);
		return true;
	default:
		return false;
	}
}

bool keeper_hear(struct member *member, const Upgraded__Wire__AppMessage *message, struct wire_fds *fds)
{
	struct keeper *keeper = &member->keeper;

	if (!keeper->on || member->state != MEMBER_RUNNING)
		return false;
	switch ((int)message->body_case) {
	case UPGRADED__WIRE__APP_MESSAGE__BODY_FDS:
		hear_fds(member, message->fds, fds);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_CLOSED:
		custody_closed(&keeper->hold.custody, message->closed->fds, message->closed->n_fds);
		return false; /* others hear of it, too */
	case UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FULL:
		hear_full(member, message->journal_full);
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_FILLS:
		if (keeper->step == KEEPER_IDLE)
			plan_next(member, 0);
		else
			keeper->wanted = true;
		return true;
	case UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_GAPS:
		hear_gaps(member, message->journal_gaps);
		return true;
	default:
		return hear_answer(member, message);
	}
}

/* ---- on and off ---- */

void keeper_be_off(struct keeper *keeper)
{
	drop_attempt(keeper);
	timer_disarm(&keeper->next);
	keeper->on = keeper->announced = keeper->wanted = false;
	keeper->uncovered = keeper->gaps_told = 0;
}

/* Return: false, with words in its note, if the version cannot. */
static bool is_able(struct member *member)
{
	struct keeper *keeper = &member->keeper;
	const struct instance *instance = member->instance;
	const Upgraded__Wire__Hello *hello = instance->hello ? instance->hello->hello : NULL;

	if (!hello || instance->unreachable)
		why_set(&keeper->note, 0, "it is out of reach");
	else if (!hello->checkpoints)
		why_set(&keeper->note, 0, "the library of version %s knows no checkpoints", instance->version);
	else if (!hello->journals)
		why_set(&keeper->note, 0, "version %s writes no changes down", instance->version);
	else
		return true;
	return false;
}

void keeper_begin(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	if (!keeper->took_place)
		keeper_end(member, false);
	if (keeper_unit(member)->journal != UNIT_JOURNAL_ALWAYS)
		return;
	if (!is_able(member)) {
		log_warning("%s: no checkpoints (Journal=always): %s", member->service->name, keeper->note.text);
		return;
	}
	*keeper->note.text = 0;
	keeper->on = true;
	plan_next(member, 0);
}

void keeper_end(struct member *member, bool tell)
{
	struct keeper *keeper = &member->keeper;
	Upgraded__Wire__Baked baked = UPGRADED__WIRE__BAKED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_BAKED, .baked = &baked);

	if (tell && keeper->on && instance_is_alive(member->instance)) {
		(void)instance_retract(member->instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE);
		instance_send(member->instance, &message, NULL, 0);
	}
	keeper_be_off(keeper);
	hold_clear(&keeper->hold);
	keeper->starts = keeper->awaits_child = keeper->took_place = false;
	keeper->tries = keeper->quick = keeper->failures = 0;
	*keeper->note.text = 0;
}

void keeper_give_way(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step != KEEPER_ASKED && keeper->step != KEEPER_STANDS)
		return;
	/* What it never heard of it does not do later. Else its journal may be in use. */
	if (instance_retract(member->instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE))
		hold_drop_journal(&keeper->hold, keeper->journal);
	drop_attempt(keeper);
	tell_over(member);
	keeper->announced = false; /* some of them may be on their way */
	plan_next(member, AGAIN_US);
}

void keeper_init(struct keeper *keeper)
{
	*keeper = (struct keeper){ .said_fd = -1 };
}

void keeper_done(struct keeper *keeper)
{
	keeper_be_off(keeper);
	hold_clear(&keeper->hold);
}
