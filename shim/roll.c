/* SPDX-License-Identifier: MIT */
/* The old version's side of a roll, all of it inside one upg_dispatch():
 *
 *     stop threads -> on_prepare() -> hand over descriptors -> save -> wait for the outcome
 *         called off: release the threads, go on
 *         committed:  shed the sockets, wait (parked), perhaps for a long time, perhaps inside an image
 *                         resumed: take the sockets back, release the threads, go on
 *
 * Until the commit word says otherwise this process is the one that has the state, so each wait before that ends by itself: at the
 * deadline, or when the supervisor vanishes, it takes the commit word to ABORTED and serves on.
 */
#include "shim/roll.h"

#include "base/clock.h"
#include "base/fd.h"
#include "shim/checkpoint.h"
#include "shim/core/channel.h"
#include "shim/core/still.h"
#include "shim/core/threads.h"
#include "shim/fds/announce.h"
#include "shim/fds/handover.h"
#include "shim/fds/readers.h"
#include "shim/fds/shed.h"
#include "shim/fds/traffic.h"
#include "shim/journal/conn.h"
#include "shim/journal/memory.h"
#include "shim/journal/replay.h"
#include "shim/state/save.h"
#include "wire/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

struct roll {
	struct upg *upg;
	const Upgraded__Wire__Prepare *prepare;
	struct commit_word word; /* not mapped: the state is for a file, or the outcome is known */
	struct replay *replay;   /* during a resume with a journal */
	struct still still;      /* while it is parked */
	pid_t child;             /* that on_prepare() waits for; 0: it does not say which */
};

/* ---- what is said ---- */

/* Each answer names the Prepare that it belongs to: the supervisor may have given that one up and asked another time. */

static int send_quiesced(const struct roll *roll, uint64_t since_us)
{
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED, .quiesced = &quiesced);

	quiesced.nanoseconds = (clock_now_us() - since_us) * 1000;
	quiesced.begun_us = since_us;
	quiesced.question = roll->prepare->question;
	return channel_say(roll->upg->channel, &message, &roll->upg->why);
}

static void send_not_yet(const struct roll *roll, bool awaits_child)
{
	Upgraded__Wire__NotYet not_yet = UPGRADED__WIRE__NOT_YET__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET, .not_yet = &not_yet);

	not_yet.question = roll->prepare->question;
	not_yet.reason = roll->upg->why.text;
	not_yet.awaits_child = awaits_child;
	not_yet.child = awaits_child ? roll->child : 0;
	channel_say(roll->upg->channel, &message, &roll->upg->why);
}

static void send_refused(const struct roll *roll)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED, .refused = &refused);
	struct upg *upg = roll->upg;

	refused.question = roll->prepare->question;
	refused.reason = upg->why.text;
	refused.reader_gone = upg->state->reader_gone;
	channel_say(upg->channel, &message, &upg->why);
}

/* @resumed->at_us is from before the first thread was let go, so that nothing this process answers is older. */
static void send_resumed(const struct roll *roll, Upgraded__Wire__Resumed *resumed)
{
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED, .resumed = resumed);

	resumed->question = roll->prepare->question;
	channel_say(roll->upg->channel, &message, &roll->upg->why);
}

static void send_resumed_at(const struct roll *roll, uint64_t at_us)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	resumed.at_us = at_us;
	send_resumed(roll, &resumed);
}

/* ---- going on ---- */

/* Both kinds of threads: those that the library knows, and those that the application stops by itself. */
static int stop_all(struct upg *upg, uint64_t deadline_us)
{
	const struct upg_config *config = upg->config;
	int r = threads_stop(upg->threads, deadline_us, &upg->why);

	if (r < 0 || !config->stop_threads)
		return r;
	r = config->stop_threads(deadline_us, config->userdata);
	if (r == 0)
		return 0;
	threads_release(upg->threads);
	return why_errno(&upg->why, r < 0 ? r : -EBUSY, "the application did not stop its threads");
}

static void release_all(struct upg *upg)
{
	const struct upg_config *config = upg->config;

	if (config->start_threads)
		config->start_threads(config->userdata);
	threads_release(upg->threads);
}

static void tell_go_on(struct upg *upg, const struct upg_go_on *go_on)
{
	if (upg->config->on_go_on)
		upg->config->on_go_on(go_on, upg->config->userdata);
}

/* Undo what on_prepare() did, then let the threads go. Return: the moment just before. */
static uint64_t release(struct upg *upg, enum upg_go_on_reason reason)
{
	uint64_t at_us;

	tell_go_on(upg, &(struct upg_go_on){ .reason = reason });
	at_us = clock_now_us();
	release_all(upg);
	return at_us;
}

/* This process serves on, and nothing has changed for it. */
static int go_on(struct roll *roll)
{
	commit_unmap(&roll->word);
	send_resumed_at(roll, release(roll->upg, UPG_CALLED_OFF));
	return UPG_GO_ON;
}

/* ---- parked ---- */

/* Look at the journal that comes with the Resume, if one does. */
static int look_at_journal(struct roll *roll, const Upgraded__Wire__Resume *resume)
{
	struct upg *upg = roll->upg;
	FD_CLEANUP int journal_fd = resume->journal ? channel_claim(upg->channel, 0) : -1;

	if (resume->output)
		channel_print_to(channel_claim(upg->channel, resume->journal ? 1 : 0), resume->output);
	if (!resume->journal)
		return 0;
	return replay_new(upg->journal, upg->shed, journal_fd, &roll->replay, &upg->why);
}

static int take_fd(void *arg, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	struct roll *roll = arg;

	return roll->replay ? replay_take_fd(roll->replay, info, fd, why) : shed_restore(roll->upg->shed, info, fd, why);
}

/* Each socket comes under a number of its own before it gets its old one, at which something else stands still. A process that may
 * have no more open than it has would be of no use any more. */
static void numbers_take(struct rlimit *ret_before)
{
	struct rlimit more;

	if (getrlimit(RLIMIT_NOFILE, ret_before) < 0)
		*ret_before = (struct rlimit){ 0 };
	more = *ret_before;
	if (more.rlim_max - more.rlim_cur > WIRE_FDS_MAX)
		more.rlim_cur += WIRE_FDS_MAX;
	else
		more.rlim_cur = more.rlim_max;
	if (more.rlim_cur != ret_before->rlim_cur)
		(void)setrlimit(RLIMIT_NOFILE, &more);
}

static void numbers_give(const struct rlimit *before)
{
	if (before->rlim_max)
		(void)setrlimit(RLIMIT_NOFILE, before);
}

/* Descriptors back at their numbers, and what the successor left. @ret_lost, @ret_n_lost: as shed_undo().
 * Return: 0; -errno: this process is of no use any more. */
static int take_back(struct roll *roll, int **ret_lost, size_t *ret_n_lost)
{
	uint64_t deadline_us = UINT64_MAX;
	struct upg *upg = roll->upg;
	int r = channel_restored(upg->channel);
	struct rlimit before;

	numbers_take(&before);
	if (r == 0)
		r = fds_receive(upg->channel, &deadline_us, take_fd, roll, NULL, &upg->why);
	numbers_give(&before);
	if (r == 0 && roll->replay)
		r = replay_apply(roll->replay, &upg->why);
	return r < 0 ? r : shed_undo(upg->shed, ret_lost, ret_n_lost, &upg->why);
}

/* Everything is back: serve. */
static void serve_again(struct roll *roll, const int *lost, size_t n_lost)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;
	struct upg *upg = roll->upg;
	struct shed_missed missed;

	shed_list_missed(upg->shed, &missed);
	/* The supervisor's duplicates of what came back live until its bake ends. */
	tell_go_on(upg, &(struct upg_go_on){ .reason = UPG_CAME_BACK, .lost = lost, .n_lost = n_lost });
	if (roll->replay) {
		replay_counts(roll->replay, &resumed.replayed, &resumed.adopted, &resumed.reset);
		resumed.journal_unused = (char *)(uintptr_t)replay_unused(roll->replay);
	}
	resumed.at_us = clock_now_us();
	still_end(&roll->still);
	release_all(upg);
	resumed.missed = missed.list;
	resumed.n_missed = missed.n;
	send_resumed(roll, &resumed);
	shed_missed_done(&missed);
}

/* @message: the Resume, released here. */
static int resume(struct roll *roll, Upgraded__Wire__AppMessage *message)
{
	struct upg *upg = roll->upg;
	size_t n_lost = 0;
	int *lost = NULL, r;

	r = look_at_journal(roll, message->resume);
	channel_free(upg->channel, message);
	if (r == 0)
		r = take_back(roll, &lost, &n_lost);
	if (r == 0)
		serve_again(roll, lost, n_lost);
	else
		/* Without its sockets or with half a state this process is of no use; the supervisor learns of it by our end. */
		send_refused(roll);
	free(lost);
	roll->replay = replay_free(roll->replay);
	if (r < 0)
		return UPG_LEAVE;
	fd_table_close_spent(upg->fds);
	return UPG_GO_ON;
}

/* Waits without a deadline: how long a version stays parked is the supervisor's decision, and it may span an image. */
static int stay_parked(struct roll *roll)
{
	struct channel *channel = roll->upg->channel;

	for (;;) {
		Upgraded__Wire__AppMessage *message;

		if (channel_receive(channel, UINT64_MAX, &message, &roll->upg->why) != CHANNEL_MESSAGE)
			return UPG_LEAVE;
		if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME)
			return resume(roll, message);
		channel_free(channel, message);
	}
}

static int park(struct roll *roll)
{
	Upgraded__Wire__Parked parked = UPGRADED__WIRE__PARKED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_PARKED, .parked = &parked);
	struct upg *upg = roll->upg;
	int r;

	/* A shared mapping would come back from an image as a private copy. */
	commit_unmap(&roll->word);
	conn_leave_all(upg->journal);
	checkpoint_finish(upg);
	/* Nor would the image come back with them. Whoever would wake this process ends with the supervisor. */
	channel_end_keep(upg->channel);
	r = shed_sockets(upg->shed, &parked.fds, &upg->why);
	still_begin(&roll->still);
	parked.still = still_can_be_stopped(upg->channel->fd);
	if (r == 0)
		r = channel_say(upg->channel, &message, &upg->why);
	if (r < 0) {
		send_refused(roll);
		r = UPG_LEAVE;
	} else {
		r = stay_parked(roll);
	}
	still_end(&roll->still);
	return r;
}

/* ---- the outcome ---- */

/* No one will tell us any more, or not in time: settle it ourselves. */
static int settle(struct roll *roll, bool *ret_ours)
{
	*ret_ours = commit_take(&roll->word, COMMIT_ABORTED);
	return *ret_ours ? go_on(roll) : UPG_LEAVE;
}

static int await_outcome(struct roll *roll)
{
	struct channel *channel = roll->upg->channel;
	uint64_t deadline_us = roll->prepare->commit_deadline_us;
	bool ours;

	for (;;) {
		Upgraded__Wire__AppMessage *message;
		int r = channel_receive(channel, deadline_us, &message, &roll->upg->why), body;

		if (r == CHANNEL_TIMEOUT) {
			r = settle(roll, &ours);
			if (ours)
				return r;
			/* The new version did commit, at the last moment: Park is on its way. */
			deadline_us = UINT64_MAX;
			continue;
		}
		if (r != CHANNEL_MESSAGE)
			return settle(roll, &ours);
		body = (int)message->body_case;
		channel_free(channel, message);
		if (body == UPGRADED__WIRE__APP_MESSAGE__BODY_PARK)
			return park(roll);
		/* Whoever calls the roll off has taken the commit word already; if not, this makes it true. */
		if (body == UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT && commit_take(&roll->word, COMMIT_ABORTED))
			return go_on(roll);
	}
}

/* ---- the beginning ---- */

static int hand_over(struct roll *roll, int state_fd)
{
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	Upgraded__Wire__Traffic traffic = fd_traffic_look(roll->upg->fds);
	struct upg *upg = roll->upg;
	int r;

	saved.totals = &totals;
	saved.traffic = &traffic;
	saved.question = roll->prepare->question;
	r = fds_send(upg->fds, roll->prepare->commit_deadline_us, &saved.fds, &upg->why);
	if (r == 0)
		r = state_save(upg->state, state_fd, roll->prepare, &totals, &upg->why);
	return r < 0 ? r : channel_say(upg->channel, &message, &upg->why);
}

/* Return: 0; -EBUSY: somebody else would go on taking from what is handed over. */
static int look_for_readers(struct upg *upg, const Upgraded__Wire__Prepare *prepare)
{
	return prepare->save_only || prepare->other_readers ? 0 : readers_check(upg->threads, upg->fds, &upg->why);
}

/* Ask the application. What it says besides is in upg_why() afterwards. */
static enum upg_rest ask_application(struct roll *roll)
{
	const Upgraded__Wire__Prepare *prepare = roll->prepare;
	struct upg *upg = roll->upg;
	const struct upg_config *config = upg->config;
	struct upg_rest_said said = { .child = 0 };
	enum upg_rest rest;

	if (!config->on_prepare)
		return UPG_AT_REST;
	upg->rest = &said;
	rest = config->on_prepare((enum upg_level)prepare->level, prepare->quiesce_deadline_us, config->userdata);
	upg->rest = NULL;
	if (rest == UPG_AT_REST)
		return rest;
	upg->why = said.why;
	roll->child = said.child;
	if (rest == UPG_NOT_YET || rest == UPG_AWAIT_CHILD)
		return rest;
	why_set(&upg->why, 0, "the application refused to be rolled now%s%s", *said.why.text ? ": " : "", said.why.text);
	return UPG_REFUSE;
}

/* @ret_since_us: up to here everybody served. Return: UPG_AT_REST when all stand and the application agrees; what else it is, with
 * nothing held, and upg_why() says why. */
static enum upg_rest quiesce(struct roll *roll, uint64_t *ret_since_us)
{
	const Upgraded__Wire__Prepare *prepare = roll->prepare;
	struct upg *upg = roll->upg;
	bool own = upg->config->stop_threads;
	enum upg_rest rest;

	/* Threads that the application stops by itself wait for requests until then. */
	if (!own && look_for_readers(upg, prepare) < 0)
		return UPG_REFUSE;
	*ret_since_us = clock_now_us();
	if (stop_all(upg, prepare->quiesce_deadline_us) < 0)
		return UPG_REFUSE;
	rest = own && look_for_readers(upg, prepare) < 0 ? UPG_REFUSE : ask_application(roll);
	if (rest != UPG_AT_REST)
		release_all(upg);
	return rest;
}

/* For a file: the state as of now, and on. No one takes over, so there is no commit word to settle and nothing to hand over. */
static int save_and_go_on(struct roll *roll, int state_fd)
{
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	struct upg *upg = roll->upg;
	int r = state_save(upg->state, state_fd, roll->prepare, &totals, &upg->why);
	uint64_t at_us = release(upg, UPG_SAVED);

	if (r < 0) {
		send_refused(roll);
		return UPG_GO_ON;
	}
	saved.totals = &totals;
	saved.question = roll->prepare->question;
	channel_say(upg->channel, &message, &upg->why);
	send_resumed_at(roll, at_us);
	return UPG_GO_ON;
}

/* All that is registered, for whoever takes this process's place. */
static int announce_all(struct upg *upg, const Upgraded__Wire__Prepare *prepare)
{
	uint32_t n;
	int r = fds_send(upg->fds, prepare->commit_deadline_us, &n, &upg->why);

	if (r == 0)
		fd_table_begin_custody(upg->fds);
	return r;
}

/* A child writes the state as of now, and what comes after it goes into another journal. */
static int checkpoint_and_go_on(struct roll *roll, int state_fd)
{
	struct upg *upg = roll->upg;
	FD_CLEANUP int report_fd = channel_claim(upg->channel, 1), journal_fd = channel_claim(upg->channel, 2);
	int r = roll->prepare->announce ? announce_all(upg, roll->prepare) : 0;
	uint64_t at_us;

	if (r == 0)
		r = checkpoint_fork(upg, roll->prepare, state_fd, report_fd);
	if (r == 0) {
		upg->fds->checkpoint = roll->prepare->generation;
		journal_turn(upg->journal, journal_fd);
	}
	at_us = release(upg, UPG_SAVED);
	if (r < 0)
		send_refused(roll);
	else
		send_resumed_at(roll, at_us);
	return UPG_GO_ON;
}

/* The descriptors a Prepare comes with: the commit word, unless it is for a file, then where the state goes. */
static int take_descriptors(struct roll *roll, int *ret_state_fd)
{
	const Upgraded__Wire__Prepare *prepare = roll->prepare;
	struct upg *upg = roll->upg;
	FD_CLEANUP int word_fd = prepare->save_only ? -1 : channel_claim(upg->channel, 0);

	*ret_state_fd = channel_claim(upg->channel, prepare->save_only ? 0 : 1);
	if (*ret_state_fd < 0)
		return why_set(&upg->why, -EPROTO, "Prepare came without its descriptors");
	return prepare->save_only ? 0 : commit_map(&roll->word, word_fd, prepare->generation, &upg->why);
}

int roll_leave(struct upg *upg, const Upgraded__Wire__Prepare *prepare)
{
	struct roll roll = { .upg = upg, .prepare = prepare };
	FD_CLEANUP int state_fd = -1;
	uint64_t since_us = clock_now_us();
	enum upg_rest rest;
	int r;

	upg->state->reader_gone = false;
	r = take_descriptors(&roll, &state_fd);
	if (r < 0) {
		send_refused(&roll);
		return r;
	}
	/* It was long over when we came to read it. Nobody waits for an answer, and one would be taken for that to another
	 * question. */
	if (since_us > prepare->commit_deadline_us) {
		commit_unmap(&roll.word);
		return UPG_GO_ON;
	}
	rest = quiesce(&roll, &since_us);
	if (rest != UPG_AT_REST) {
		commit_unmap(&roll.word);
		if (rest == UPG_REFUSE)
			send_refused(&roll);
		else
			send_not_yet(&roll, rest == UPG_AWAIT_CHILD);
		return UPG_GO_ON;
	}
	r = send_quiesced(&roll, since_us);
	if (prepare->save_only && prepare->checkpoint)
		return checkpoint_and_go_on(&roll, state_fd);
	if (prepare->save_only)
		return save_and_go_on(&roll, state_fd);
	if (r == 0)
		r = hand_over(&roll, state_fd);
	/* The reader's end of stream, and nothing an image would have to hold. */
	state_fd = fd_close(state_fd);
	if (r < 0)
		send_refused(&roll);
	r = await_outcome(&roll);
	commit_unmap(&roll.word);
	return r;
}
