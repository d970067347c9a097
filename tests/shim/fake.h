/* SPDX-License-Identifier: MIT */
/* The supervisor, played by a test: the other end of an application's channel. */
#pragma once

#include "tests/shim/app.h"

#include "shim/core/channel.h"
#include "wire/commit.h"
#include "wire/in_hand.h"

#define FAKE_PATIENCE_MS 20000

struct fake {
	struct app *app;
	pid_t pid;
	int fd;
	Upgraded__Wire__AppMessage *message; /* taken last */
	struct wire_fds fds;                 /* that came with it */
};

/** fake_start() - Fork the application, with its channel in the environment. */
void fake_start(struct fake *fake, struct app *app);

/** fake_start_serving() - And bring it to where it serves, freshly started. */
void fake_start_serving(struct fake *fake, struct app *app);

/** fake_take() - Wait for a message; it has to be of this kind. Borrowed until the next call. */
const Upgraded__Wire__AppMessage *fake_take(struct fake *fake, Upgraded__Wire__AppMessage__BodyCase kind);

/** fake_hears_nothing() - Nothing is there to be taken right now. */
bool fake_hears_nothing(const struct fake *fake);

void fake_say(struct fake *fake, const Upgraded__Wire__AppMessage *message, const int *fds, size_t n);
#define FAKE_SAY(fake, KIND, field, body)                                                                                \
	fake_say(fake, &(const Upgraded__Wire__AppMessage)APP_BODY(UPGRADED__WIRE__APP_MESSAGE__BODY_##KIND, .field = body), \
		 NULL, 0)
#define FAKE_TAKE(fake, KIND) fake_take(fake, UPGRADED__WIRE__APP_MESSAGE__BODY_##KIND)
void fake_say_abort(struct fake *fake);
void fake_say_commit(struct fake *fake);
void fake_say_park(struct fake *fake);
void fake_say_baked(struct fake *fake);
void fake_say_ping(struct fake *fake, uint64_t nonce);

/** fake_vanish() - The supervisor's end closes. */
void fake_vanish(struct fake *fake);

/** fake_wait() - Wait for the application's end. Return: its exit status; a signal fails the test. */
int fake_wait(struct fake *fake);

/** fake_done() - What still runs is killed. */
void fake_done(struct fake *fake);

/** fake_await() - Wait until @value, which the application changes, is above @floor. */
void fake_await(const atomic_ulong *value, unsigned long floor);
void fake_await_set(const atomic_bool *value);

/* ---- a roll ---- */

struct fake_roll {
	uint64_t generation;
	struct commit_word word;
	int word_fd;
	int state_in, state_out; /* the pipe; -1 once given away */
	uint64_t quiesce_us, commit_us; /* how long from now on; 10 s each if not set */
	uint64_t question; /* the number of the Prepare */
	bool verify_roundtrip;
	struct in_hand in_hand; /* what new says that it loads; mapped by fake_roll_open() */
	int in_hand_fd;
	uint32_t target; /* the schema version of test.Note that new reads; 0: it knows no such type */
	const char *knows; /* another type that new reads, at version 1; NULL: none */
	/* Custody: what old handed over. */
	struct fake_fd {
		char *name;
		uint64_t tag;
		int fd;
		bool optional;
		uint64_t since;
	} *held;
	size_t n_held;
	uint64_t next_tag; /* as old said */
};

/** fake_hold() - Put a descriptor into custody as if old had handed it over. Owns @fd. */
void fake_hold(struct fake_roll *roll, const char *name, uint64_t tag, int fd);

void fake_roll_open(struct fake_roll *roll, uint32_t target);
void fake_roll_done(struct fake_roll *roll);

/** fake_prepare() - Tell @old to prepare; our copy of the pipe's end for writing is closed. */
void fake_prepare(struct fake *old, struct fake_roll *roll);
/** fake_take_fds() - Take descriptors into custody until the last batch. */
void fake_take_fds(struct fake *old, struct fake_roll *roll);
/** fake_receive() - Tell @new to receive; our copy of the pipe's end for reading is closed. */
void fake_receive(struct fake *new, struct fake_roll *roll);
/** fake_give_fds() - Hand what is in custody to an application, all of it but those with a tag for which @but says true. */
void fake_give_fds(struct fake *to, const struct fake_roll *roll, bool (*but)(const struct fake_fd *fd));

/** fake_park() - Roll @old to where it lies parked; its state is read and thrown away. */
void fake_park(struct fake *old, struct fake_roll *roll);

/** fake_drain() - Read the state until its end. Return: bytes. */
size_t fake_drain(int fd);

struct fake_state {
	uint8_t *data;
	size_t size;
};

/** fake_capture() - The state of an application of version 1 with @n_notes; release with free(). */
struct fake_state fake_capture(uint32_t n_notes);

/** fake_start_standby() - Start a new version, up to where it can be told to receive. */
void fake_start_standby(struct fake *fake, struct app *app);

/** fake_feed() - Tell @new to receive what is in custody, and @state. */
void fake_feed(struct fake *new, struct fake_roll *roll, const uint8_t *state, size_t size);

/** fake_take_over() - Start a version that receives three notes and what is in custody, and commits. */
void fake_take_over(struct fake *fake, struct app *app, struct fake_roll *roll);
