/* SPDX-License-Identifier: MIT */
/* The record that a process loads at this moment, in memory that it shares with the supervisor: so it is known after a crash, at
 * the cost of one relaxed store for each record.
 *
 * One 64-bit word: the type, as an index into the process's own types, plus one, in the upper 16 bits; the number of the record
 * among those of its type, from 1, below. 0: none. What it says is a process's word about itself, for people to read.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct why;

#define IN_HAND_TYPE_BITS 48

/* Zeros: not mapped, which nothing is written to and which says nothing. */
struct in_hand {
	_Atomic uint64_t *at;
};

/** in_hand_create() - Make memory that says: none. Its memfd is sealed against resizing, as a peer that could truncate it could
 * kill us with SIGBUS. @ret_fd is owned by the caller. Return: 0 or -errno; in_hand_unmap() in both cases. */
int in_hand_create(struct in_hand *in_hand, int *ret_fd, struct why *why);

/** in_hand_map() - Map the memory in @fd (borrowed). Return: 0; -EPROTO: @fd holds none; -errno. */
int in_hand_map(struct in_hand *in_hand, int fd, struct why *why);

/** in_hand_unmap() - Unmap it. Must come before an image is taken: a restored process would get a private copy. Safe on zeros. */
void in_hand_unmap(struct in_hand *in_hand);

static inline void in_hand_set(const struct in_hand *in_hand, size_t type, uint64_t number)
{
	if (in_hand->at)
		atomic_store_explicit(in_hand->at, ((uint64_t)type + 1) << IN_HAND_TYPE_BITS | number, memory_order_relaxed);
}

static inline void in_hand_clear(const struct in_hand *in_hand)
{
	if (in_hand->at)
		atomic_store_explicit(in_hand->at, 0, memory_order_relaxed);
}

/** in_hand_get() - Return: is there one? Then *@ret_type is below 65536, and nothing else is sure. */
bool in_hand_get(const struct in_hand *in_hand, size_t *ret_type, uint64_t *ret_number);
