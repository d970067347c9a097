/* SPDX-License-Identifier: MIT */
/* One checkpoint, from the question to what its child reports. */
#include "supervisor/service/keeper.h"

#include "supervisor/custody/journal_memory.h"
#include "supervisor/service/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define APART_US (100 * USEC_PER_MSEC) /* whatever a process says of its journal */
#define AGAIN_DOUBLINGS 10u
/* Nobody asked for it: the service is not to stand for longer if one of its threads does not come. */
#define REST_US (500 * USEC_PER_MSEC)

static struct loop *loop_of(const struct member *member)
{
	return member->service->host->site.loop;
}

static void on_next(struct timer *timer);

void keeper_plan_next(struct member *member, uint64_t us)
{
	uint64_t due_us = clock_now_us() + us, apart_us = member->keeper.asked_us + APART_US;

	timer_arm(loop_of(member), &member->keeper.next, due_us < apart_us ? apart_us : due_us, on_next);
}

/* ---- the end of one ---- */

void keeper_turn_journal(struct keeper *keeper)
{
	struct hold *hold = &keeper->hold;
	struct why why;

	if (hold_has_journal(hold, keeper->journal))
		return;
	why_set(&why, 0, "%zu journals wait for a checkpoint that is whole, and there may be no more", hold->n_journals);
	hold_break(hold, why.text);
	hold_drop_broken(hold);
	(void)hold_add_journal(hold, keeper->journal, HOLD_JOURNALS_MAX);
}

void keeper_forget_journal(struct keeper *keeper)
{
	hold_drop_journal(&keeper->hold, keeper->journal);
	keeper->journal = fd_ref_drop(keeper->journal);
}

void keeper_drop_attempt(struct keeper *keeper)
{
	if (keeper->step != KEEPER_IDLE && keeper->journal)
		keeper_turn_journal(keeper);
	keeper->step = KEEPER_IDLE;
	keeper->state = fd_ref_drop(keeper->state);
	keeper->journal = fd_ref_drop(keeper->journal);
	keeper->report = fd_ref_drop(keeper->report);
	source_del(&keeper->source);
	keeper->said_fd = fd_close(keeper->said_fd);
	keeper->n_said = 0;
	hold_clear(&keeper->coming);
	*keeper->spoiled.text = 0;
	rest_end(&keeper->rest);
	timer_disarm(&keeper->again);
	timer_disarm(&keeper->deadline);
}

/* The child is over, or is to be. */
void keeper_tell_over(struct member *member)
{
	Upgraded__Wire__Checkpointed over = UPGRADED__WIRE__CHECKPOINTED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_CHECKPOINTED, .checkpointed = &over);

	if (member->state == MEMBER_RUNNING && member->keeper.on && instance_is_alive(member->instance))
		instance_send(member->instance, &message, NULL, 0);
}

void keeper_fail(struct member *member, const char *fmt, ...)
{
	struct keeper *keeper = &member->keeper;
	unsigned doublings = keeper->failures < AGAIN_DOUBLINGS ? keeper->failures : AGAIN_DOUBLINGS;
	va_list args;

	va_start(args, fmt);
	vsnprintf(keeper->note.text, sizeof(keeper->note.text), fmt, args);
	va_end(args);
	log_service(WARNING, member->service->name, "no checkpoint: %s; %s", keeper->note.text,
		    keeper->hold.state ? "the one before counts" : "a crash now would lose everything");
	keeper_drop_attempt(keeper);
	keeper_tell_over(member);
	keeper->failures++;
	if (keeper->awaits_child) {
		keeper->awaits_child = false;
		hold_clear(&keeper->hold);
		/* They were let live for that one. */
		service_end_children(member->service);
		timer_arm(loop_of(member), &member->restart, clock_now_us(), member->restart.on_due);
	} else if (keeper->on) {
		keeper_plan_next(member, KEEPER_AGAIN_US << doublings);
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
	if (keeper->turned && keeper->announced)
		*hold->broken.text = 0;
	keeper->failures = 0;
	*keeper->note.text = 0;
	keeper->took_us = clock_now_us() - keeper->stands_us;
	keeper_drop_attempt(keeper);
	keeper_tell_over(member);
	log_service(DEBUG, member->service->name,
		    "checkpoint %" PRIu64 " is whole: %" PRIu64 " bytes, pause %" PRIu64 " us, written in %" PRIu64
		    " ms",
		    keeper->n_begun, hold->bytes, keeper->pause_us, keeper->took_us / 1000);
	if (first)
		log_service(INFO, member->service->name,
			    "the first checkpoint is whole: %" PRIu64 " records, %" PRIu64
			    " bytes; a crash would lose nothing "
			    "now",
			    hold->records, hold->bytes);
	if (keeper->awaits_child) {
		keeper->awaits_child = false;
		keeper->starts = true;
		timer_arm(loop_of(member), &member->restart, clock_now_us(), member->restart.on_due);
	} else if (keeper->on && keeper->wanted) {
		keeper_plan_next(member, 0);
	}
}

/* ---- what the child reports ---- */

void keeper_hear_report(struct member *member)
{
	struct keeper *keeper = &member->keeper;
	Upgraded__Wire__AppMessage *message = upgraded__wire__app_message__unpack(NULL, keeper->n_said, keeper->said);

	if (*keeper->spoiled.text)
		keeper_fail(member, "%s", keeper->spoiled.text);
	else if (!keeper->complete)
		keeper_fail(member, "it has not told of all its descriptors");
	else if (message && keeper->n_said && message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED)
		succeed(member, message->saved->totals);
	else if (message && message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED)
		keeper_fail(member, "%s", message->refused->reason);
	else
		keeper_fail(member, "the child that wrote it ended without a word");
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
		keeper_hear_report(member);
	else
		keeper_fail(member, "the child that wrote it said what cannot be understood");
}

/* ---- asking ---- */

void keeper_on_deadline(struct timer *timer)
{
	struct keeper *keeper = container_of(timer, struct keeper, deadline);
	struct member *member = container_of(keeper, struct member, keeper);

	if (keeper->step == KEEPER_WRITES)
		keeper_fail(member, "the state was not written in time (TransferTimeout=)");
	else if (!instance_is_heard_out(member->instance))
		timer_arm(loop_of(member), timer, clock_now_us() + INSTANCE_HEAR_US, keeper_on_deadline);
	else
		keeper_fail(member, "it did not quiesce in time (QuiesceTimeout=)%s%s", *keeper->rest.reason.text ? ": " : "",
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
	timer_arm(loop_of(member), &keeper->deadline, rest_us + transfer_us + USEC_PER_SEC, keeper_on_deadline);
	keeper->stands_us = clock_now_us();
	keeper->step = KEEPER_ASKED;
	instance_prepare(member->instance, &prepare, fds, 3);
}

void keeper_on_again(struct timer *timer)
{
	struct keeper *keeper = container_of(timer, struct keeper, again);
	struct member *member = container_of(keeper, struct member, keeper);

	if (instance_awaits(member->instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE))
		timer_arm(loop_of(member), timer, clock_now_us() + rest_pause_us(&keeper->rest), keeper_on_again);
	else
		ask(member);
}

/* If it has a question already, its answer is waited for. */
static void on_child_gone(struct rest *rest)
{
	struct keeper *keeper = container_of(rest, struct keeper, rest);
	struct member *member = container_of(keeper, struct member, keeper);

	if (keeper->again.loop)
		timer_arm(loop_of(member), &keeper->again, clock_now_us() + REST_CHILD_REAPED_US, keeper_on_again);
}

/* Memory for the state, a pipe for the report, and the next journal. Return: 0 or -errno; what was made is let go by the
 * caller. */
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

static void begin(struct member *member)
{
	struct keeper *keeper = &member->keeper;
	struct why why = { 0 };

	keeper->wanted = false;
	if (make_room(member, &why) < 0) {
		keeper_fail(member, "%s", why.text);
		return;
	}
	hold_drop_broken(&keeper->hold);
	/* There may be no room; then keeper_turn_journal() makes some, and not before it is known to be in use. */
	(void)hold_add_journal(&keeper->hold, keeper->journal, HOLD_JOURNALS_MAX);
	/* It grows over restarts of the process, and of ours: what a process has opened since a checkpoint is known by its
	 * number. */
	keeper->last_number = clock_now_us() > keeper->last_number ? clock_now_us() : keeper->last_number + 1;
	keeper->n_begun++;
	keeper->asked_us = clock_now_us();
	keeper->turned = keeper->complete = false;
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
		keeper_plan_next(member, KEEPER_AGAIN_US);
	else
		begin(member);
}
