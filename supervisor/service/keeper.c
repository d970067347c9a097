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
#define AGAIN_DOUBLINGS 6u
#define TRIES_MAX 2u                  /* starts from it that may fail before the service is started empty */
#define QUICK_US (10 * USEC_PER_SEC)  /* an end so soon after a start from it may come of what was taken over */
#define QUICK_MAX 3u                  /* so many in a row; then connections are not taken over any more */
#define FDS_AT_ONCE 64u

static struct loop *loop_of(const struct member *member)
{
	return member->service->host->site.loop;
}

static const struct unit *unit_of(const struct member *member)
{
	const struct instance *instance = member->instance;

	return instance && instance->unit ? instance->unit : member->service->unit;
}

static void begin(struct member *member);
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
	uint64_t transfer_us = unit_of(member)->transfer_timeout_us;
	struct instance_prepare prepare;

	rest_ask(&keeper->rest);
	prepare = (struct instance_prepare){
		.unit = unit_of(member), .generation = keeper->last_number, .rest_us = keeper->rest.due_us,
		.settles_us = keeper->rest.due_us + transfer_us, .checkpoint = true, .announce = !keeper->announced,
	};
	timer_arm(loop_of(member), &keeper->deadline, keeper->rest.due_us + transfer_us + USEC_PER_SEC, on_deadline);
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
	r = journal_memory_create(unit_of(member)->journal_bytes, &journal, why);
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
	keeper->last_number++;
	keeper->asked_us = clock_now_us();
	keeper->turned = false;
	rest_begin(&keeper->rest, loop_of(member), unit_of(member), on_child_gone);
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
	const struct unit *unit = unit_of(member);

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
	timer_arm(loop_of(member), &keeper->deadline, clock_now_us() + unit_of(member)->transfer_timeout_us, on_deadline);
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
		keeper->uncovered = message->journal_gaps->no_room + message->journal_gaps->others;
		return true;
	default:
		return hear_answer(member, message);
	}
}

/* ---- on and off ---- */

static void be_off(struct keeper *keeper)
{
	drop_attempt(keeper);
	timer_disarm(&keeper->next);
	keeper->on = keeper->announced = keeper->wanted = false;
	keeper->uncovered = 0;
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
	if (unit_of(member)->journal != UNIT_JOURNAL_ALWAYS)
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
	be_off(keeper);
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
	be_off(keeper);
	hold_clear(&keeper->hold);
}

/* ---- going on from it ---- */

bool keeper_needs_child(const struct member *member)
{
	const struct keeper *keeper = &member->keeper;

	return keeper->on && keeper->step == KEEPER_WRITES && !keeper->hold.state;
}

/* A process that was sent SIGKILL did not end of what it does. */
static bool ended_soon(const struct member *member)
{
	const struct instance *instance = member->instance;
	bool killed = WIFSIGNALED(instance->status) && WTERMSIG(instance->status) == SIGKILL;

	return !killed && clock_now_us() - instance->since_us < QUICK_US;
}

enum keeper_goes_on keeper_on_exit(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	if (!keeper->on)
		return KEEPER_EMPTY;
	keeper->quick = keeper->took_place && ended_soon(member) ? keeper->quick + 1 : 0;
	keeper->took_place = false;
	keeper->tries = 0;
	if (keeper_needs_child(member)) {
		keeper->on = false;
		timer_disarm(&keeper->next);
		keeper->awaits_child = true;
		return KEEPER_AWAITS;
	}
	be_off(keeper);
	if (!keeper->hold.state) {
		hold_clear(&keeper->hold);
		return KEEPER_EMPTY;
	}
	keeper->starts = true;
	return keeper->quick >= QUICK_MAX ? KEEPER_LATER : KEEPER_AT_ONCE;
}

enum keeper_goes_on keeper_on_start_failed(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	if (!keeper->starts)
		return KEEPER_EMPTY;
	if (++keeper->tries < TRIES_MAX)
		return KEEPER_AT_ONCE;
	log_error("%s: what was kept could not be gone on from, %u times: it is lost", member->service->name, keeper->tries);
	keeper_end(member, false);
	return KEEPER_EMPTY;
}

/* Clients of one that fails again and again are let go: perhaps one of them asks for what it fails of. */
static void let_connections_go(struct hold *hold)
{
	for (size_t i = hold->custody.n; i > 0; i--)
		if (hold->custody.entries[i - 1].is_tcp)
			custody_drop_at(&hold->custody, i - 1, true);
}

static void send_fds(struct instance *instance, const struct hold *hold)
{
	Upgraded__Wire__FdInfo infos[FDS_AT_ONCE], *pointers[FDS_AT_ONCE];
	Upgraded__Wire__Fds fds = UPGRADED__WIRE__FDS__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_FDS, .fds = &fds);
	struct fd_ref *refs[FDS_AT_ONCE];
	size_t at = 0;

	fds.fds = pointers;
	do {
		for (fds.n_fds = 0; at < hold->custody.n && fds.n_fds < FDS_AT_ONCE; at++) {
			const struct custody_entry *entry = &hold->custody.entries[at];
			Upgraded__Wire__FdInfo *info = &infos[fds.n_fds];

			(void)custody_reopen(entry);
			upgraded__wire__fd_info__init(info);
			info->name = entry->name;
			info->tag = entry->tag;
			info->since = entry->since >= hold->number ? entry->since : 0;
			pointers[fds.n_fds] = info;
			refs[fds.n_fds++] = entry->ref;
		}
		fds.last = at == hold->custody.n;
		fds.next_tag = fds.last ? hold->next_tag : 0;
		instance_send(instance, &message, refs, fds.n_fds);
	} while (!fds.last);
}

/* The journal of the process that takes the place. Return: NULL: there is none, and the next checkpoint makes up for it. */
static struct fd_ref *own_journal(struct member *member)
{
	struct hold *hold = &member->keeper.hold;
	struct fd_ref *ref = NULL;
	struct why why = { 0 };
	int fd;

	if (journal_memory_create(unit_of(member)->journal_bytes, &fd, &why) == 0)
		ref = fd_ref_new(fd);
	if (ref && hold_add_journal(hold, ref) == 0)
		return ref;
	log_warning("%s: no journal until the first checkpoint%s%s", member->service->name, *why.text ? ": " : "", why.text);
	return fd_ref_drop(ref);
}

void keeper_send(struct member *member, uint64_t due_us)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	Upgraded__Wire__Limits limits = instance_limits(unit_of(member));
	struct hold *hold = &member->keeper.hold;
	struct fd_ref *fds[JOURNALS_MAX + 2], *journal, *in_hand = instance_lend_in_hand(member->instance);
	size_t n = 0;

	if (member->keeper.quick >= QUICK_MAX)
		let_connections_go(hold);
	fds[n++] = hold->state;
	/* Without all of them the checkpoint alone counts, and the library sees none. */
	for (size_t i = 0; i < hold->n_journals && !*hold->broken.text; i++)
		fds[n++] = hold->journals[i];
	receive.journals = (uint32_t)(n - 1);
	journal = own_journal(member);
	if (journal)
		fds[n++] = journal;
	if (in_hand)
		fds[n++] = in_hand;
	receive.from_file = receive.held = true;
	receive.journal = journal != NULL;
	receive.in_hand = in_hand != NULL;
	receive.generation = hold->number;
	receive.limits = &limits;
	receive.deadline_us = due_us;
	/* Its child left it at the end. */
	(void)lseek(hold->state->fd, 0, SEEK_SET);
	instance_send(member->instance, &message, fds, n);
	send_fds(member->instance, hold);
	fd_ref_drop(journal);
	fd_ref_drop(in_hand);
}

void keeper_hear_ready(struct member *member, const Upgraded__Wire__Ready *ready)
{
	struct keeper *keeper = &member->keeper;
	const Upgraded__Wire__Replayed *replayed = ready->replayed;
	bool unused = replayed && *replayed->unused;

	if (!keeper->starts)
		return;
	keeper->starts = false;
	keeper->took_place = true;
	keeper->tries = 0;
	if (replayed)
		log_info("%s: version %s (pid %d) goes on from the checkpoint: %" PRIu64 " changes, %" PRIu64 " connections and %" PRIu64
			 " younger ones kept, %" PRIu64 " reset%s%s", member->service->name, member->instance->version,
			 member->instance->pid, replayed->changes, replayed->kept, replayed->adopted, replayed->reset,
			 unused ? "; what was written since is lost: " : "", unused ? replayed->unused : "");
	/* It has what it has: from here on its own journal counts, and the others are of no use to anybody after it. */
	if (unused)
		hold_break(&keeper->hold, replayed->unused);
}

/* ---- how it is ---- */

const char *keeper_tell(const struct member *member, char *buf, size_t size)
{
	const struct keeper *keeper = &member->keeper;
	const struct hold *hold = &keeper->hold;
	int n;

	*buf = 0;
	if (!unit_of(member) || unit_of(member)->journal != UNIT_JOURNAL_ALWAYS || member->state != MEMBER_RUNNING || member->roll)
		return buf;
	if (!hold->state)
		n = snprintf(buf, size, "everything: there is no checkpoint yet");
	else if (*hold->broken.text)
		n = snprintf(buf, size, "what was written in the last %" PRIu64 " s: %s",
			     (clock_now_us() - hold->made_us) / USEC_PER_SEC, hold->broken.text);
	else if (keeper->uncovered)
		n = snprintf(buf, size, "nothing but %" PRIu32 " connections, which the journal does not cover", keeper->uncovered);
	else
		n = snprintf(buf, size, "nothing");
	if (hold->state && n > 0 && (size_t)n < size)
		n += snprintf(buf + n, size - (size_t)n, " (checkpoint of %" PRIu64 " s ago, pause %" PRIu64 " us, written in %"
			      PRIu64 " ms)", (clock_now_us() - hold->made_us) / USEC_PER_SEC, keeper->pause_us,
			      keeper->took_us / 1000);
	if (*keeper->note.text && n > 0 && (size_t)n < size)
		snprintf(buf + n, size - (size_t)n, "; %s", keeper->note.text);
	return buf;
}
