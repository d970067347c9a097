/* SPDX-License-Identifier: MIT */
/* What a child may still become: its capabilities, and whether programs that it executes can give it more. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Zeroed: as this process. Sets of capabilities have bit N for the capability of number N. */
struct privileges {
	bool no_new;         /* no program that is executed gives any: setuid, setgid and file capabilities have no effect */
	bool bounded;        /* the bounding set becomes @bounding */
	bool must_bound;     /* it is an error if it cannot; otherwise it stays as it is where this process may not change it */
	uint64_t bounding;
	uint64_t ambient;    /* capabilities that are kept although the user is not root */
	bool own_keyring;    /* a session keyring of its own, where the kernel lets it */
};

/* Both between fork and exec; async-signal-safe. Return: 0; -errno. */

/** privileges_lower() - While the child is still who we are. */
int privileges_lower(const struct privileges *privileges);

/** privileges_settle() - When it has become its user. */
int privileges_settle(const struct privileges *privileges);

/** capability_number() - Of "CAP_CHOWN" and the like. Return: -1 if there is none of that name. */
int capability_number(const char *name);
