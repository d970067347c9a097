/* SPDX-License-Identifier: MIT */
/* A roll of the ledger with a journal, up to its bake and back; and a client that does one thing at a time. What goes wrong fails
 * the test. */
#pragma once

#include "tests/shim/fake.h"
#include "tests/shim/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_BYTES ((size_t)64 << 20)

extern struct bake {
	struct ledger *old_ledger, *new_ledger;
	struct fake old, new;
	struct fake_roll roll;
	int journal_fd;
	bool journal_full;
	char full_reason[200];
	/* What the test says. */
	const char *unapplied;      /* a type of old's without a change() */
	bool expects_gaps;          /* at the commit */
	enum buffers_kind buffers;  /* of new */
	/* The last that was told of connections that the journal does not cover. */
	struct {
		uint32_t no_room, others;
		uint64_t size_would_do;
		char reason[200];
	} gaps;
} bake;

/** bake_start(), bake_finish() - The old version serves; nothing does. */
void bake_start(void);
void bake_start_with(enum buffers_kind buffers);
void bake_start_without_on_conn(void);
void bake_finish(void);

/** bake_say_prepare() - Tell old to prepare for a new one whose accounts have this @version. */
void bake_say_prepare(unsigned version);
/** bake_roll_over() - Old lies parked, new serves and writes its journal. */
void bake_roll_over(size_t journal_bytes);
/** bake_hear() - What new says in the bake. Return: false: nothing more is there. */
bool bake_hear(void);
/** bake_handled() - New has handled more than @floor - 1 requests; what it has said meanwhile was heard. */
void bake_handled(unsigned long floor);
void bake_kill_new(void);
/** bake_say_resume(), bake_resume_old() - Old goes on; the latter waits until it does. @moved: so the connections did. */
void bake_say_resume(bool moved);
const Upgraded__Wire__Resumed *bake_resume_old(void);
/** bake_forget_roll() - It is over; the supervisor keeps nothing. */
void bake_forget_roll(void);

/* ---- a client of one thing at a time ---- */

int bake_call(void);
void bake_ask(int fd, enum ledger_kind kind, uint32_t seq, uint32_t key, uint32_t size);
/** bake_send_bytes() - @n bytes of a deposit, from its byte @from on. */
void bake_send_bytes(int fd, uint32_t from, uint32_t n);
/** bake_sum_of() - What a deposit of @n bytes adds. */
uint64_t bake_sum_of(uint32_t n);
void bake_answered(int fd, uint32_t seq, uint64_t value);
/** bake_ends(), bake_was_reset() - The connection ends in good order; it is reset. */
void bake_ends(int fd);
void bake_was_reset(int fd);

/** bake_crash_again_and_again() - Roll and kill new, @crashes times, under the load of a teller; nothing is lost. @room_bytes: of
 * each receive; 0: the usual. */
void bake_crash_again_and_again(unsigned crashes, unsigned connections, unsigned room_bytes, unsigned seed);
