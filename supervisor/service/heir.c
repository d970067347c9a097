/* SPDX-License-Identifier: MIT */
/* Going on from what was kept of a process that failed: another one of its version takes its place. */
#include "supervisor/service/keeper.h"

#include "supervisor/custody/journal_memory.h"
#include "supervisor/process/fds_message.h"
#include "supervisor/service/private.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES_MAX 3u                  /* starts from it that may fail, each with less, before the service is started empty */
#define QUICK_US (10 * USEC_PER_SEC)  /* an end so soon after it took the place may come of what was taken over */
#define QUICK_MAX 3u                  /* so many in a row; then connections are not taken over any more */
#define FDS_AT_ONCE 64u
#define KILLED_US (300 * USEC_PER_SEC) /* KEEPER_KILLED_MAX ends by SIGKILL within this: likewise */

bool keeper_needs_child(const struct member *member)
{
	const struct keeper *keeper = &member->keeper;

	return keeper->on && keeper->step == KEEPER_WRITES && !keeper->hold.state;
}

static bool was_killed(const struct instance *instance)
{
	return WIFSIGNALED(instance->status) && WTERMSIG(instance->status) == SIGKILL;
}

/* Since it serves: a load may take long. SIGKILL is as a rule no answer to what a process does. But where it did not answer
 * any more, it ended of what made it silent; that is seen one or two Heartbeat= after it. */
static bool ended_soon(const struct member *member)
{
	const struct instance *instance = member->instance;
	uint64_t silent_us = member->pulse.silent_us;

	if (silent_us)
		return silent_us < instance->place_us + QUICK_US + 2 * keeper_unit(member)->heartbeat_us;
	return !was_killed(instance) && clock_now_us() - instance->place_us < QUICK_US;
}

/* Where memory runs out of what a client asks, SIGKILL is an answer, too: again and again it is not by chance. */
static bool is_killed_again_and_again(struct keeper *keeper, const struct instance *instance)
{
	uint64_t now_us = clock_now_us(), *oldest;

	if (!was_killed(instance))
		return false;
	keeper->killed_us[keeper->n_killed++ % KEEPER_KILLED_MAX] = now_us;
	oldest = &keeper->killed_us[keeper->n_killed % KEEPER_KILLED_MAX];
	return keeper->n_killed >= KEEPER_KILLED_MAX && now_us - *oldest < KILLED_US;
}

enum keeper_goes_on keeper_on_exit(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	if (!keeper->on) {
		keeper_end(member); /* what the one before it left is not of this one */
		return KEEPER_EMPTY;
	}
	keeper->quick = keeper->took_place && ended_soon(member) ? keeper->quick + 1 : 0;
	keeper->doubts = (keeper->took_place && is_killed_again_and_again(keeper, member->instance)) || keeper->quick >= QUICK_MAX;
	keeper->took_place = false;
	keeper->tries = 0;
	if (keeper_needs_child(member)) {
		keeper->on = false;
		timer_disarm(&keeper->next);
		keeper->awaits_child = true;
		return KEEPER_AWAITS;
	}
	/* It turns to another journal after it has said that it stands, which would have been heard. */
	if (keeper->step == KEEPER_ASKED)
		keeper_forget_journal(keeper);
	keeper_be_off(keeper);
	if (!keeper->hold.state) {
		hold_clear(&keeper->hold);
		return KEEPER_EMPTY;
	}
	keeper->starts = true;
	return keeper->doubts ? KEEPER_LATER : KEEPER_AT_ONCE;
}

enum keeper_goes_on keeper_on_start_failed(struct member *member)
{
	struct keeper *keeper = &member->keeper;

	if (!keeper->starts)
		return KEEPER_EMPTY;
	if (++keeper->tries < TRIES_MAX) {
		/* What it fails of may be what a client asks, or what was written since. */
		keeper->doubts = true;
		if (keeper->tries == TRIES_MAX - 1)
			hold_break(&keeper->hold, "with it no process could take the place");
		log_service(WARNING, member->service->name, "what was kept could not be gone on from; it is tried %s",
			    keeper->tries == 1 ? "without connections"
					       : "without what was written since the checkpoint");
		return KEEPER_AT_ONCE;
	}
	log_service(ERROR, member->service->name, "what was kept could not be gone on from, %u times: it is lost",
		    keeper->tries);
	keeper_end(member);
	return KEEPER_EMPTY;
}

static void send_fds(struct instance *instance, const struct hold *hold)
{
	struct fds_message message;
	size_t at = 0;

	do {
		fds_message_init(&message);
		for (; at < hold->custody.n && message.fds.n_fds < FDS_AT_ONCE; at++) {
			const struct custody_entry *entry = &hold->custody.entries[at];

			(void)custody_reopen(entry);
			fds_message_add(&message, entry->name, entry->tag, entry->ref)->since =
				entry->since >= hold->number ? entry->since : 0;
		}
		fds_message_send(&message, instance, at == hold->custody.n, hold->next_tag);
	} while (!message.fds.last);
}

/* The journal of the process that takes the place. Return: NULL: there is none, and the next checkpoint makes up for it. */
static struct fd_ref *own_journal(struct member *member)
{
	struct hold *hold = &member->keeper.hold;
	struct fd_ref *ref = NULL;
	struct why why = { 0 };
	int fd;

	if (journal_memory_create(keeper_unit(member)->journal_bytes, &fd, &why) == 0)
		ref = fd_ref_new(fd);
	if (ref && hold_add_journal(hold, ref, JOURNALS_MAX) == 0)
		return ref;
	if (!*why.text)
		why_set(&why, 0, "%zu journals wait for a checkpoint that is whole", hold->n_journals);
	log_service(WARNING, member->service->name, "no journal until the first checkpoint: %s", why.text);
	return fd_ref_drop(ref);
}

void keeper_send(struct member *member, uint64_t due_us)
{
	Upgraded__Wire__Receive receive = UPGRADED__WIRE__RECEIVE__INIT;
	Upgraded__Wire__AppMessage message = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_RECEIVE, .receive = &receive);
	Upgraded__Wire__Limits limits = instance_limits(keeper_unit(member));
	struct hold *hold = &member->keeper.hold;
	struct fd_ref *fds[JOURNALS_MAX + 2], *journal, *in_hand = instance_lend_in_hand(member->instance);
	size_t n = 0;

	/* Perhaps one of the clients asks for what it fails of. */
	if (member->keeper.doubts)
		custody_end_connections(&hold->custody);
	fds[n++] = hold->state;
	/* Without all of them the checkpoint alone counts, and the library sees none. */
	for (size_t i = 0; i < hold->n_journals && !*hold->broken.text; i++)
		fds[n++] = hold->journals[i];
	receive.journals = (uint32_t)(n - 1);
	journal = own_journal(member);
	member->keeper.has_journal = journal;
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
		log_service(INFO, member->service->name,
			    "version %s (pid %d) goes on from the checkpoint: %" PRIu64 " changes, %" PRIu64
			    " connections and %" PRIu64 " younger ones kept, %" PRIu64 " reset%s%s",
			    member->instance->version, member->instance->pid, replayed->changes, replayed->kept,
			    replayed->adopted, replayed->reset, unused ? "; what was written since is lost: " : "",
			    unused ? replayed->unused : "");
	/* It has what it has: from here on its own journal counts, and the others are of no use to anybody after it. */
	if (unused)
		hold_break(&keeper->hold, replayed->unused);
	/* Until then it has done nothing that whoever comes after it would miss. */
	if (!keeper->has_journal)
		hold_break(&keeper->hold, "the process that took the place of another has no journal");
}

/* ---- how it is ---- */

const char *keeper_tell(const struct member *member, char *buf, size_t size)
{
	const struct keeper *keeper = &member->keeper;
	const struct hold *hold = &keeper->hold;
	int n;

	*buf = 0;
	if (!keeper_unit(member) || keeper_unit(member)->journal != UNIT_JOURNAL_ALWAYS)
		return buf;
	if (member->state != MEMBER_RUNNING || member->roll)
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
