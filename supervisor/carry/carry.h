/* SPDX-License-Identifier: MIT */
/* What a supervisor leaves to the program that takes its place by execve(2): items of carry.proto in memory that outlives the
 * program, and descriptors that stay open.
 *
 * The program that comes reads all of it before it touches anything. Until carry_done() the descriptors stay as they are, so that
 * the program before can be executed again, and finds everything once more.
 *
 * Not thread-safe.
 */
#pragma once

#include "supervisor/carry/carry.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct carry;
struct why;

/* What is written, and the oldest that is read. A program says what it reads before it is executed: see recover/successor.h. */
#define CARRY_FORMAT 1u
#define CARRY_FORMAT_OLDEST 1u

/** carry_new() - Empty. Return: 0 or -errno. */
int carry_new(struct carry **ret_carry, struct why *why);

/** carry_put_header() - Before all others: @header, of which the format and our pid are filled in here. */
void carry_put_header(struct carry *carry, Upgraded__Carry__Header *header);

/** carry_put() - Add @item, which is copied. What fails is told by carry_seal(). */
void carry_put(struct carry *carry, const Upgraded__Carry__Item *item);

/** carry_fail() - Something could not be added, with -errno. */
void carry_fail(struct carry *carry, int rc);

/** carry_hold() - Let @fd (borrowed; open until the end of @carry) stay open. Return: its key, the same each time; 0 where @fd is
 * negative. */
uint64_t carry_hold(struct carry *carry, int fd);

/** carry_id() - A number by which one item may name another; never 0. */
uint64_t carry_id(struct carry *carry);

/**
 * carry_seal() - It is whole: from here on what is held stays open over execve(2).
 * @ret_fd: borrowed; the memory, which stays open as well, to be told to the next program.
 *
 * Return: 0; -errno of this, or of what was added before.
 */
int carry_seal(struct carry *carry, int *ret_fd, struct why *why);

/** carry_write() - Write it into the file @path, which has a folder in it, whole or not at all, in place of carry_seal(): for a
 * supervisor that is started anew, to which no descriptor stays open. The disk is not waited for: what is told of ends with the
 * machine. Return: 0 or -errno. */
int carry_write(struct carry *carry, const char *path, struct why *why);

/** carry_unseal() - Nothing came of it: what is held ends with execve(2) again. */
void carry_unseal(struct carry *carry);

/* Where descriptors are found that a supervisor had which has ended. */
struct carry_finder {
	/* Return: a duplicate of the open file, owned by the caller; -1: nobody has it. */
	int (*find)(struct carry_finder *finder, uint64_t device, uint64_t inode);
};

/**
 * carry_open() - Read what the program before has left, or what a supervisor that has ended has written.
 * @fd:     of the former: stays open until carry_done(). Of the latter: borrowed for the call.
 * @finder: NULL: of the former, whose descriptors have stayed open. Else asked by carry_take(); borrowed until the end of @carry.
 *
 * Return: 0; -EBADMSG: it is not whole, or another process's; -EPROTO: its format is not one that is read here; -errno.
 */
int carry_open(int fd, struct carry_finder *finder, struct carry **ret_carry, struct why *why);

/** carry_open_file() - The same of the file that carry_write() has written at @path. Return: as carry_open(); -ENOENT. */
int carry_open_file(const char *path, struct carry_finder *finder, struct carry **ret_carry, struct why *why);

/** carry_is_found() - Was it opened with a finder? Then a descriptor may be gone for good reasons. */
bool carry_is_found(const struct carry *carry);

/** carry_next() - The next item of this kind behind @after (NULL: the first). Return: borrowed; NULL: there is no other. */
const Upgraded__Carry__Item *carry_next(struct carry *carry, Upgraded__Carry__Item__WhatCase what,
					const Upgraded__Carry__Item *after);

/** carry_behind() - The item right behind @item, of whatever kind. Return: borrowed; NULL: that was the last. */
const Upgraded__Carry__Item *carry_behind(struct carry *carry, const Upgraded__Carry__Item *item);

/** carry_header() - Return: borrowed. */
const Upgraded__Carry__Header *carry_header(const struct carry *carry);

/** carry_take() - A descriptor by its key. Return: owned by the caller, who gets a duplicate if somebody has taken it before; -1:
 * there is none, or another one is in its place. */
int carry_take(struct carry *carry, uint64_t key);

/** carry_done() - The program that came has all of it: what nobody took is closed, and the rest ends with execve(2) again. */
void carry_done(struct carry *carry);

/** carry_free() - Descriptors that nobody took stay open, unless carry_done() was called. NULL is allowed. Return: NULL. */
struct carry *carry_free(struct carry *carry);
