/* SPDX-License-Identifier: MIT */
/* The old version's side of a roll, all of it inside one upg_dispatch():
 *
 *     stop threads -> on_prepare -> hand over descriptors -> save -> wait for the outcome
 *         called off: release the threads, go on
 *         committed:  shed the sockets, wait (parked), perhaps for a long time, perhaps inside an image
 *                         resumed: take the sockets back, release the threads, go on
 *
 * Until the commit word says otherwise this process is the one that has the state, so each wait before that ends by itself: at the
 * deadline, or when the supervisor vanishes, it takes the word to ABORTED and serves on.
 */
#include "shim/core/upg.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>

static int send_quiesced(struct upg *upg, uint64_t since_us)
{
	Upgraded__Wire__Quiesced quiesced = UPGRADED__WIRE__QUIESCED__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_QUIESCED, .quiesced = &quiesced);

	quiesced.nanoseconds = (clock_now_us() - since_us) * 1000;
	return channel_say(upg->channel, &message, &upg->why);
}

static void send_not_yet(struct upg *upg)
{
	Upgraded__Wire__NotYet not_yet = UPGRADED__WIRE__NOT_YET__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_NOT_YET, .not_yet = &not_yet);

	channel_say(upg->channel, &message, &upg->why);
}

static void send_refused(struct upg *upg)
{
	Upgraded__Wire__Refused refused = UPGRADED__WIRE__REFUSED__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_REFUSED, .refused = &refused);

	refused.reason = upg->why.text;
	refused.reader_gone = upg->state->reader_gone;
	channel_say(upg->channel, &message, &upg->why);
}

/* Its at_us: before the first thread was let go, so that nothing this process answers is older. */
static void send_resumed(struct upg *upg, Upgraded__Wire__Resumed *resumed)
{
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_RESUMED, .resumed = resumed);

	channel_say(upg->channel, &message, &upg->why);
}

static void send_resumed_at(struct upg *upg, uint64_t at_us)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;

	resumed.at_us = at_us;
	send_resumed(upg, &resumed);
}

/* Undo what on_prepare() did, then let the threads go. Return: the moment just before. */
static uint64_t release(struct upg *upg)
{
	uint64_t at_us;

	if (upg->config->on_abort)
		upg->config->on_abort(upg->config->userdata);
	at_us = clock_now_us();
	threads_release(upg->threads);
	return at_us;
}

/* This process serves on, and nothing has changed for it. */
static int go_on(struct upg *upg)
{
	commit_unmap(&upg->word);
	send_resumed_at(upg, release(upg));
	return UPG_OK;
}

/* ---- parked ---- */

/* Look at the journal that comes with the Resume, if one does. */
static int look_at_journal(struct upg *upg, const Upgraded__Wire__Resume *resume)
{
	FD_CLEANUP int journal_fd = -1;

	if (!resume->journal)
		return 0;
	journal_fd = channel_claim(upg->channel, 0);
	return replay_new(upg->journal, upg->shed, journal_fd, &upg->replay, &upg->why);
}

static int take_fd(void *arg, const Upgraded__Wire__FdInfo *info, int fd, struct why *why)
{
	struct upg *upg = arg;

	return upg->replay ? replay_take_fd(upg->replay, info, fd, why) : shed_restore(upg->shed, info, fd, why);
}

/* Descriptors back at their numbers, and what the successor left. Return: 0; -errno: this process is of no use any more. */
static int take_back(struct upg *upg)
{
	int r = channel_restored(upg->channel);

	if (r == 0)
		r = fds_receive(upg->channel, UINT64_MAX, take_fd, upg, &upg->why);
	if (r == 0 && upg->replay)
		r = replay_apply(upg->replay, &upg->why);
	return r;
}

/* @r: what came of the look at the journal. */
static int resume(struct upg *upg, int r)
{
	Upgraded__Wire__Resumed resumed = UPGRADED__WIRE__RESUMED__INIT;
	int *lost = NULL;
	size_t n_lost = 0;

	if (r == 0)
		r = take_back(upg);
	if (r == 0)
		r = shed_undo(upg->shed, &lost, &n_lost, &upg->why);
	if (r < 0) {
		/* Without its sockets or with half a state this process is of no use; the supervisor learns of it by our end. */
		send_refused(upg);
		upg->replay = replay_free(upg->replay);
		return UPG_LEAVE;
	}
	/* The supervisor's duplicates of what came back live until its bake ends. */
	if (upg->config->on_resume)
		upg->config->on_resume(lost, n_lost, upg->config->userdata);
	free(lost);
	if (upg->replay) {
		replay_counts(upg->replay, &resumed.replayed, &resumed.adopted, &resumed.reset);
		resumed.journal_unused = (char *)(uintptr_t)replay_unused(upg->replay);
	}
	resumed.at_us = clock_now_us();
	threads_release(upg->threads);
	send_resumed(upg, &resumed);
	upg->replay = replay_free(upg->replay);
	fd_table_close_spent(upg->fds);
	return UPG_OK;
}

/* Waits without a deadline: how long a version stays parked is the supervisor's decision, and it may span an image. */
static int stay_parked(struct upg *upg)
{
	for (;;) {
		Upgraded__Wire__AppMessage *message;
		int r = channel_receive(upg->channel, UINT64_MAX, &message, &upg->why);

		if (r != CHANNEL_MESSAGE)
			return UPG_LEAVE;
		if (message->body_case == UPGRADED__WIRE__APP_MESSAGE__BODY_RESUME) {
			r = look_at_journal(upg, message->resume);
			channel_free(upg->channel, message);
			return resume(upg, r);
		}
		channel_free(upg->channel, message);
	}
}

static int park(struct upg *upg)
{
	Upgraded__Wire__Parked parked = UPGRADED__WIRE__PARKED__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_PARKED, .parked = &parked);
	int r;

	/* A shared mapping would come back from an image as a private copy. */
	commit_unmap(&upg->word);
	conn_leave_all(upg->journal);
	r = shed_sockets(upg->shed, &parked.fds, &upg->why);
	if (r == 0)
		r = channel_say(upg->channel, &message, &upg->why);
	if (r < 0) {
		send_refused(upg);
		return UPG_LEAVE;
	}
	return stay_parked(upg);
}

/* ---- the outcome ---- */

/* No one will tell us any more, or not in time: settle it ourselves. */
static int settle(struct upg *upg, bool *ret_ours)
{
	*ret_ours = commit_take(&upg->word, COMMIT_ABORTED);
	return *ret_ours ? go_on(upg) : UPG_LEAVE;
}

static int await_outcome(struct upg *upg, uint64_t deadline_us)
{
	bool ours;

	for (;;) {
		Upgraded__Wire__AppMessage *message;
		int r = channel_receive(upg->channel, deadline_us, &message, &upg->why), body;

		if (r == CHANNEL_TIMEOUT) {
			r = settle(upg, &ours);
			if (ours)
				return r;
			/* It did commit, at the last moment: the word to park is on its way. */
			deadline_us = UINT64_MAX;
			continue;
		}
		if (r != CHANNEL_MESSAGE)
			return settle(upg, &ours);
		body = (int)message->body_case;
		channel_free(upg->channel, message);
		if (body == UPGRADED__WIRE__APP_MESSAGE__BODY_PARK)
			return park(upg);
		if (body == UPGRADED__WIRE__APP_MESSAGE__BODY_ABORT) {
			/* Whoever says so has taken the word already; if not, this makes it true. */
			if (commit_take(&upg->word, COMMIT_ABORTED))
				return go_on(upg);
		}
	}
}

/* ---- the beginning ---- */

static int hand_over(struct upg *upg, int state_fd, const Upgraded__Wire__Prepare *prepare)
{
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	int r;

	saved.totals = &totals;
	r = fds_send(upg->fds, prepare->commit_deadline_us, &saved.fds, &upg->why);
	if (r == 0)
		r = state_save(upg->state, state_fd, prepare, &totals, &upg->why);
	return r < 0 ? r : channel_say(upg->channel, &message, &upg->why);
}

/* Return: UPG_OK when all stand and the application agrees; UPG_NOT_YET or UPG_REFUSE when it does not, nothing held. */
static int quiesce(struct upg *upg, const Upgraded__Wire__Prepare *prepare)
{
	const struct upg_config *config = upg->config;
	int r;

	if (threads_stop(upg->threads, prepare->quiesce_deadline_us, &upg->why) < 0)
		return UPG_REFUSE;
	r = config->on_prepare ? config->on_prepare((enum upg_level)prepare->level, config->userdata) : UPG_OK;
	if (r == UPG_OK)
		return UPG_OK;
	threads_release(upg->threads);
	if (r == UPG_NOT_YET)
		return r;
	why_set(&upg->why, 0, "the application refused to be rolled now");
	return UPG_REFUSE;
}

/* For a file: the state as of now, and on. No one takes over, so there is no word to settle and nothing to hand over. */
static int save_and_go_on(struct upg *upg, int state_fd, const Upgraded__Wire__Prepare *prepare)
{
	Upgraded__Wire__Saved saved = UPGRADED__WIRE__SAVED__INIT;
	Upgraded__Wire__AppMessage message = APP_MESSAGE(UPGRADED__WIRE__APP_MESSAGE__BODY_SAVED, .saved = &saved);
	Upgraded__Wire__Totals totals = UPGRADED__WIRE__TOTALS__INIT;
	int r = state_save(upg->state, state_fd, prepare, &totals, &upg->why);
	uint64_t at_us = release(upg);

	if (r < 0) {
		send_refused(upg);
		return UPG_OK;
	}
	saved.totals = &totals;
	channel_say(upg->channel, &message, &upg->why);
	send_resumed_at(upg, at_us);
	return UPG_OK;
}

/* The descriptors a Prepare comes with: the commit word, unless it is for a file, then where the state goes. */
static int take_descriptors(struct upg *upg, const Upgraded__Wire__Prepare *prepare, int *ret_state_fd)
{
	FD_CLEANUP int word_fd = prepare->save_only ? -1 : channel_claim(upg->channel, 0);

	*ret_state_fd = channel_claim(upg->channel, prepare->save_only ? 0 : 1);
	if (*ret_state_fd < 0)
		return why_set(&upg->why, -EPROTO, "Prepare came without its descriptors");
	return prepare->save_only ? 0 : commit_map(&upg->word, word_fd, prepare->generation, &upg->why);
}

int roll_leave(struct upg *upg, const Upgraded__Wire__Prepare *prepare)
{
	FD_CLEANUP int state_fd = -1;
	uint64_t since_us = clock_now_us();
	int r;

	upg->state->reader_gone = false;
	r = take_descriptors(upg, prepare, &state_fd);
	if (r < 0) {
		send_refused(upg);
		return r;
	}
	r = quiesce(upg, prepare);
	if (r != UPG_OK) {
		commit_unmap(&upg->word);
		if (r == UPG_NOT_YET)
			send_not_yet(upg);
		else
			send_refused(upg);
		return UPG_OK;
	}
	r = send_quiesced(upg, since_us);
	if (prepare->save_only)
		return save_and_go_on(upg, state_fd, prepare);
	if (r == 0)
		r = hand_over(upg, state_fd, prepare);
	/* The reader's end of stream, and nothing an image would have to hold. */
	state_fd = fd_close(state_fd);
	if (r < 0)
		send_refused(upg);
	return await_outcome(upg, prepare->commit_deadline_us);
}
