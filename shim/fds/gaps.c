/* SPDX-License-Identifier: MIT */
#include "shim/fds/gaps.h"

#include "shim/core/channel.h"

void gaps_init(struct gaps *gaps, struct channel *channel)
{
	*gaps = (struct gaps){ .channel = channel };
	pthread_mutex_init(&gaps->lock, NULL);
}

void gaps_done(struct gaps *gaps)
{
	pthread_mutex_destroy(&gaps->lock);
}

static bool wants_room(enum gap gap)
{
	return gap == GAP_RECORD || gap == GAP_ROOM;
}

/* The first reason, besides want of room, that counts. */
static const char *reason_of(const struct gaps *gaps)
{
	static const char *const reasons[GAPS] = {
		[GAP_UNBUFFERED] = "not buffered by the library: upg_conn_open()",
		[GAP_UNWANTED] = "accepted since the commit, and the version before has no on_conn()",
		[GAP_UNCOUNTED] = "the kernel does not say how far they were read and written",
		[GAP_UNTOLD] = "no descriptor or memory was left to send a duplicate: LimitNOFILE=",
	};

	for (enum gap gap = GAP_NONE; gap < GAPS; gap++)
		if (gaps->n[gap] && reasons[gap])
			return reasons[gap];
	return "";
}

/* Lock held. */
static void tell(struct gaps *gaps)
{
	Upgraded__Wire__JournalGaps message = UPGRADED__WIRE__JOURNAL_GAPS__INIT;
	Upgraded__Wire__AppMessage whole = APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_JOURNAL_GAPS, .journal_gaps = &message);

	if (!gaps->tells)
		return;
	for (enum gap gap = GAP_NONE; gap < GAPS; gap++)
		*(wants_room(gap) ? &message.no_room : &message.others) += gaps->n[gap];
	message.size_would_do = message.no_room ? gaps->size_would_do : 0;
	message.reason = (char *)(uintptr_t)reason_of(gaps);
	atomic_store(&gaps->untold, channel_post(gaps->channel, &whole, NULL, 0) == WIRE_AGAIN);
}

void gaps_begin(struct gaps *gaps)
{
	bool any = false;

	pthread_mutex_lock(&gaps->lock);
	gaps->tells = true;
	for (enum gap gap = GAP_NONE; gap < GAPS; gap++)
		any = any || gaps->n[gap];
	if (any)
		tell(gaps);
	pthread_mutex_unlock(&gaps->lock);
}

void gaps_end(struct gaps *gaps)
{
	pthread_mutex_lock(&gaps->lock);
	gaps->tells = false;
	atomic_store(&gaps->untold, false);
	pthread_mutex_unlock(&gaps->lock);
}

void gaps_add(struct gaps *gaps, enum gap gap, uint64_t size_would_do)
{
	pthread_mutex_lock(&gaps->lock);
	gaps->n[gap]++;
	if (wants_room(gap))
		gaps->size_would_do = size_would_do;
	tell(gaps);
	pthread_mutex_unlock(&gaps->lock);
}

void gaps_resize(struct gaps *gaps, uint64_t size_would_do)
{
	pthread_mutex_lock(&gaps->lock);
	if (gaps->size_would_do != size_would_do) {
		gaps->size_would_do = size_would_do;
		tell(gaps);
	}
	pthread_mutex_unlock(&gaps->lock);
}

void gaps_remove(struct gaps *gaps, enum gap gap)
{
	if (gap == GAP_NONE)
		return;
	pthread_mutex_lock(&gaps->lock);
	gaps->n[gap]--;
	tell(gaps);
	pthread_mutex_unlock(&gaps->lock);
}

uint32_t gaps_count(struct gaps *gaps, enum gap gap)
{
	uint32_t n;

	pthread_mutex_lock(&gaps->lock);
	n = gaps->n[gap];
	pthread_mutex_unlock(&gaps->lock);
	return n;
}

void gaps_tell(struct gaps *gaps)
{
	if (!atomic_load_explicit(&gaps->untold, memory_order_relaxed))
		return;
	pthread_mutex_lock(&gaps->lock);
	if (atomic_load(&gaps->untold))
		tell(gaps);
	pthread_mutex_unlock(&gaps->lock);
}
