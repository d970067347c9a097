/* SPDX-License-Identifier: MIT */
/* Journal=always.
 *
 * A process that serves is asked for a checkpoint as it is asked for a save. It stands for the time of a fork: its child
 * writes the state, and it goes on with another journal. Until the checkpoint is whole, the one before counts, with both
 * journals. When a journal is half full, the next checkpoint is asked for. One that fails changes nothing, and is tried
 * again after a while.
 *
 * When the process fails, another one of the same version is started, and gets the checkpoint, the journals since and the
 * duplicates of what the first one had open: member.c. It has a journal of its own before it serves, behind those.
 */
#include "supervisor/service/keeper.h"

#include "supervisor/machine/procfs.h"
#include "supervisor/service/private.h"

#include <inttypes.h>

#define TELL_LOSS_US (10 * USEC_PER_SEC) /* between two lines; status always has it */

static struct loop *loop_of(const struct member *member)
{
	return member->service->host->site.loop;
}

const struct unit *keeper_unit(const struct member *member)
{
	const struct instance *instance = member->instance;

	return instance && instance->unit ? instance->unit : member->service->unit;
}

/* ---- what the process says ---- */

/* No more than it may have open. */
static int take_fds(struct member *member, struct hold *hold, const Upgraded__Wire__Fds *message, struct wire_fds *fds,
		    struct why *why)
{
	const struct unit *unit = keeper_unit(member);

	if (!hold->custody.most || hold->custody.n + fds->n > hold->custody.most) {
		hold->custody.most = procfs_open_files(member->keeper.pid);
		if (!hold->custody.most)
			hold->custody.most = unit->limit_nofile ? unit->limit_nofile : fd_limit_at_start();
	}
	return hold_take(hold, message, fds, hold == &member->keeper.hold && !member->keeper.announced, why);
}

/* From here on something is missing; the next checkpoint, in @us, makes it good. */
static void lose(struct member *member, const char *reason, uint64_t us)
{
	struct keeper *keeper = &member->keeper;
	uint64_t now_us = clock_now_us();

	if (!*keeper->hold.broken.text && (!keeper->told_loss_us || now_us - keeper->told_loss_us >= TELL_LOSS_US)) {
		keeper->told_loss_us = now_us;
		log_service(WARNING, member->service->name,
			    "%s; until the next checkpoint a crash would lose what was written since the last one",
			    reason);
	}
	hold_break(&keeper->hold, reason);
	keeper->turned = false;
	if (keeper->step == KEEPER_IDLE && !keeper->failures)
		keeper_plan_next(member, us);
	else
		keeper->wanted = true;
}

/* A descriptor is missing. One that its state may refer to is missing in the checkpoint under way: that is not made, and if it
 * is so again, the next one comes later each time. */
static void lose_fd(struct member *member, const char *reason)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step == KEEPER_STANDS && !*keeper->spoiled.text)
		why_set(&keeper->spoiled, 0, "%s", reason);
	if (keeper->step == KEEPER_STANDS && !keeper->announced)
		return;
	lose(member, reason, KEEPER_AGAIN_US);
	keeper->announced = false;
}

static void hear_fds(struct member *member, const Upgraded__Wire__Fds *message, struct wire_fds *fds)
{
	struct keeper *keeper = &member->keeper;
	bool announces = keeper->step == KEEPER_STANDS && !keeper->announced;
	struct why why = { 0 };

	if (announces && *keeper->spoiled.text)
		return; /* what comes now comes to nothing */
	if (!announces && !keeper->announced && !keeper->took_place)
		return; /* all of them come with the first checkpoint */
	if (take_fds(member, announces ? &keeper->coming : &keeper->hold, message, fds, &why) < 0) {
		lose_fd(member, why.text);
		return;
	}
	if (!announces || !message->last)
		return;
	custody_clear(&keeper->hold.custody);
	keeper->hold.custody = keeper->coming.custody;
	keeper->hold.next_tag = keeper->coming.next_tag;
	keeper->coming = (struct hold){ 0 };
	keeper->announced = keeper->complete = true;
}

static void hear_quiesced(struct member *member, const Upgraded__Wire__Quiesced *quiesced)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step != KEEPER_ASKED)
		return;
	keeper->step = KEEPER_STANDS;
	keeper->turned = true;
	keeper->complete = keeper->announced;
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
	keeper_turn_journal(keeper);
	keeper->pause_us = at_us > keeper->stands_us ? at_us - keeper->stands_us : 0;
	timer_arm(loop_of(member), &keeper->deadline, clock_now_us() + keeper_unit(member)->transfer_timeout_us,
		  keeper_on_deadline);
	if (!keeper->source.loop) /* the child has ended before this was heard */
		keeper_hear_report(member);
}

static void hear_not_yet(struct member *member, const Upgraded__Wire__NotYet *not_yet)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step != KEEPER_ASKED || keeper->again.loop)
		return;
	rest_hear(&keeper->rest, member->instance, not_yet);
	if (rest_overdue(&keeper->rest) != REST_IN_TIME)
		keeper_fail(member, "it did not quiesce in time: %s", keeper->rest.reason.text);
	else
		timer_arm(loop_of(member), &keeper->again, clock_now_us() + rest_pause_us(&keeper->rest), keeper_on_again);
}

/* Nothing was begun. */
static void hear_refused(struct member *member, const char *reason)
{
	struct keeper *keeper = &member->keeper;

	keeper_forget_journal(keeper);
	keeper_fail(member, "%s", reason);
}

static void hear_full(struct member *member, const Upgraded__Wire__JournalFull *full)
{
	struct why why;

	if (*full->reason)
		why_set(&why, 0, "the journal cannot be written on: %.200s", full->reason);
	else
		why_set(&why, 0, "the journal was full after %" PRIu64 " bytes (JournalSize=)", full->bytes);
	lose(member, why.text, 0);
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
	log_service(WARNING, member->service->name,
		    "the journal does not cover %" PRIu32 " connections, which a crash would cost: %" PRIu32
		    " found no room "
		    "(JournalSize=), %" PRIu32 " others%s%.200s",
		    n, gaps->no_room, gaps->others, *gaps->reason ? ": " : "", gaps->reason);
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
		if (keeper->step == KEEPER_IDLE && !keeper->failures)
			keeper_plan_next(member, 0);
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

void keeper_hear_garbage(struct member *member, const char *reason)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->on && member->state == MEMBER_RUNNING && (keeper->hold.state || keeper->step != KEEPER_IDLE))
		lose_fd(member, reason);
}

/* ---- on and off ---- */

void keeper_be_off(struct keeper *keeper)
{
	keeper_drop_attempt(keeper);
	timer_disarm(&keeper->next);
	keeper->on = keeper->announced = keeper->wanted = false;
	keeper->uncovered = keeper->gaps_told = 0;
}

/* Return: false, with words in its note, if the version cannot, or if it is of no use. */
static bool is_able(struct member *member)
{
	struct keeper *keeper = &member->keeper;
	const struct instance *instance = member->instance;

	if (keeper_unit(member)->restart == RESTART_NO) {
		why_set(&keeper->note, 0, "with Restart=no nobody would go on from one");
		return false;
	}
	if (instance->hello && !instance->unreachable)
		return hello_may_checkpoint(instance->hello->hello, instance->version, &keeper->note) == 0;
	why_set(&keeper->note, 0, "it is out of reach");
	return false;
}

void keeper_begin(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->on)
		return; /* a roll was called off */
	if (!keeper->took_place)
		keeper_end(member);
	if (!keeper_unit(member) || keeper_unit(member)->journal != UNIT_JOURNAL_ALWAYS)
		return;
	if (!is_able(member)) {
		log_service(WARNING, member->service->name, "no checkpoints (Journal=always): %s", keeper->note.text);
		return;
	}
	*keeper->note.text = 0;
	keeper->on = true;
	keeper->pid = member->instance->pid;
	keeper_plan_next(member, 0);
}

void keeper_end(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	keeper_be_off(keeper);
	hold_clear(&keeper->hold);
	keeper->starts = keeper->awaits_child = keeper->took_place = false;
	keeper->tries = keeper->quick = keeper->n_killed = keeper->failures = 0;
	keeper->doubts = false;
	*keeper->note.text = 0;
}

void keeper_give_way(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	if (keeper->step != KEEPER_ASKED && keeper->step != KEEPER_STANDS)
		return;
	/* What it never heard of it does not do later. Else its journal may be in use. */
	if (instance_retract(member->instance, UPGRADED__WIRE__APP_MESSAGE__BODY_PREPARE))
		keeper_forget_journal(keeper);
	keeper_drop_attempt(keeper);
	keeper_tell_over(member);
	keeper_plan_next(member, KEEPER_AGAIN_US);
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
