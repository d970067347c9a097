/* SPDX-License-Identifier: MIT */
/* The application's end of its channel to the supervisor: one message in, one message out.
 *
 * The channel has an owner: the thread that called upg_open(). It alone opens and closes the channel, receives, and sends with
 * patience. Every other thread may post, which never waits.
 */
#pragma once

#include "wire/app.h"
#include "wire/wire.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

struct why;

/* A message that may come at any time is answered where it is received, whatever is being waited for.
 * Return: true: this was one, and it is done with. */
typedef bool (*channel_answer_fn)(void *arg, const Upgraded__Wire__AppMessage *message);

#define CHANNEL_SPARE 4u

struct channel {
	/* Guards fd and is_open. A thread that posts holds the lock, so that channel_close() cannot give the number away under it.
	 * Only the owner changes them, so the owner reads them without the lock.
	 *
	 * The order of the shim's locks: this one is the innermost. Who holds it takes no other and does not wait. It is taken
	 * under the lock of the descriptor table (fds/table.h) or of the journal (journal/memory.h), which are never held together,
	 * and under that of the gaps (fds/gaps.h), which is taken under either.
	 * The lock of the threads (core/threads.h) is held alone. */
	pthread_mutex_t lock;
	int fd; /* -1: there never was a supervisor. When it is gone, a silent descriptor has the number */
	pid_t process; /* that opened it; a child that it forks is none of the supervisor's. 0: it was never open */
	bool is_open;

	/* So that the channel outlives a supervisor that is killed: its end of the channel, for the next one to take, and a pidfd
	 * that tells its end, as the channel does not. -1: the channel ends with the supervisor. The owner's; posts do not look at
	 * them. */
	int kept, supervisor;
	int stored; /* what else the next supervisor is to find here, for its own use; -1: nothing */
	int note;   /* of the supervisor to one whose logbook is gone; -1: none */
	bool anew; /* another supervisor has spoken, and was not answered yet. Until then whatever waits is told CHANNEL_CLOSED */

	/* The owner's. */
	channel_answer_fn answer;
	void *arg;
	uint8_t *buffer;
	struct wire_fds fds; /* of the message in hand */
	/* Numbers kept for what messages bring: an application that has used all others up can be rolled all the same. */
	int spare[CHANNEL_SPARE]; /* -1: none */
	rlim_t limit;             /* on descriptors, when the channel was opened */
};

/** channel_inherited() - Find the channel that a supervisor left in the environment, and take it out of there: processes that the
 * application starts do not get it. Return: 0, *@ret_fd is the caller's, -1 if there is no supervisor; -EBADF. */
int channel_inherited(int *ret_fd, struct why *why);

/** channel_init() - Make a closed channel. @answer gets each message first. Return: 0 or -ENOMEM; channel_done() in both cases. */
int channel_init(struct channel *channel, channel_answer_fn answer, void *arg);
/** channel_done() - Release everything. Also fine for a channel of zeros. */
void channel_done(struct channel *channel);

/** channel_open() - Speak by @fd from now on; owns it, also on failure. Return: 0 or -errno. */
int channel_open(struct channel *channel, int fd, struct why *why);
/** channel_close() - The supervisor is gone. From now on nothing is sent, and the number is never readable. Also fine for a closed
 * channel. */
void channel_close(struct channel *channel);
/** channel_keep() - Hold the supervisor's own end of this channel, and know by @supervisor whether it lives; owns both. What was
 * held before is closed. */
void channel_keep(struct channel *channel, int end, int supervisor);
/** channel_store() - Hold @fd_consume (-1: nothing) for the next supervisor, in place of what was stored before. It ends with what
 * is kept, too. */
void channel_store(struct channel *channel, int fd_consume);
/** channel_note() - The same of what the supervisor has noted for the next one. */
void channel_note(struct channel *channel, int fd_consume);
/** channel_end_keep() - From here on the channel ends with the supervisor again. Also fine where nothing is kept. */
void channel_end_keep(struct channel *channel);
static inline bool channel_is_kept(const struct channel *channel)
{
	return channel->kept >= 0;
}
/** channel_print_to() - What this process prints goes to another supervisor by @log_consume, unless it goes elsewhere by now than
 * into the pipe @before, which is an inode. */
void channel_print_to(int log_consume, uint64_t before);
/** channel_come_anew() - Another supervisor speaks by this channel; owns @supervisor. */
void channel_come_anew(struct channel *channel, int supervisor);

/** channel_restored() - After an image the socket is a new one, with flags of its own: set ours. Return: 0 or -errno. */
int channel_restored(struct channel *channel);

/** channel_is_ours() - false: this is a child that was forked and has not called exec, with a copy of everything. Locks may be held
 * in it by threads that it does not have. */
static inline bool channel_is_ours(const struct channel *channel)
{
	return channel->process == 0 || channel->process == getpid();
}

/** channel_is_open() - Is there a supervisor? Context: the owner. */
static inline bool channel_is_open(const struct channel *channel)
{
	return channel->is_open;
}

/**
 * channel_send() - Send one message, and wait for room if there is none.
 * @fds:         @n descriptors to go along, borrowed.
 * @deadline_us: how long to wait, monotonic; 0: a second from now.
 *
 * Return: 0; -ETIMEDOUT, -EPIPE or another -errno. Context: the owner.
 */
int channel_send(struct channel *channel, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n,
		 uint64_t deadline_us, struct why *why);

/** channel_say() - Send one message without descriptors, as channel_send() within a second. */
static inline int channel_say(struct channel *channel, const Upgraded__Wire__AppMessage *message, struct why *why)
{
	return channel_send(channel, message, NULL, 0, 0, why);
}

/** channel_post() - Send one message with @n borrowed descriptors if there is room for it now. Return: WIRE_OK; WIRE_AGAIN: there
 * was no room; WIRE_CLOSED: nobody is there to hear it; -errno. Context: any thread. */
int channel_post(struct channel *channel, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n);
/** channel_await_room() - Wait until a post may find room, at most @timeout_ms. Context: any thread that holds none of our
 * locks. */
void channel_await_room(struct channel *channel, int timeout_ms);

/* Closed: the supervisor has ended, or another one has taken its place (@anew). */
enum channel_wait { CHANNEL_MESSAGE = 0, CHANNEL_TIMEOUT = 1, CHANNEL_CLOSED = 2 };

/** channel_receive() - Wait until @deadline_us for a message that @answer leaves to us. *@ret is released with channel_free();
 * its descriptors are claimed before the next message is received. Return: enum channel_wait or -errno. Context: the owner. */
int channel_receive(struct channel *channel, uint64_t deadline_us, Upgraded__Wire__AppMessage **ret, struct why *why);
/** channel_claim() - Take descriptor @i of the message in hand. Return: the fd, owned by the caller; -1: there is none. */
int channel_claim(struct channel *channel, size_t i);
/** channel_free() - Release the message in hand, and close those of its descriptors that nobody claimed. Spare numbers are taken
 * again. */
void channel_free(struct channel *channel, Upgraded__Wire__AppMessage *message);
