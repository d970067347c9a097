/* SPDX-License-Identifier: MIT */
/* Descriptors that systemd holds for us, so that they outlive a supervisor that is killed.
 *
 * There is a store where FDSTORE in the environment says how many it takes (systemd does so since version 254; for older ones the
 * unit says it). Everywhere else nothing here does anything.
 *
 * systemd gives no answer and keeps no order: what comes back is known by its name and by its inode. What it holds is named after
 * the serial of a process in the logbook, so a name is never used again for something else.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct store;
struct why;

/* What is held of a process. */
enum store_what {
	STORE_CHANNEL, /* our end */
	STORE_OUTPUT,  /* the end that is read */
	STORE_PIDFD,
	STORE_WHATS,
};

#define STORE_FDS_START 3 /* the number of the first one that systemd gives */

/** store_came() - How many descriptors systemd has given to this very process. Context: before store_open(). */
unsigned long store_came(void);

/** store_is_name() - Is @name, of @length bytes, of something that was stored here? */
bool store_is_name(const char *name, size_t length);

/**
 * store_open() - Take from systemd what it holds, but for listeners of another name (activation.h). To be called once, before
 * anything starts child processes: the environment is changed.
 * @ret_store: owned by the caller; NULL: there is no store.
 *
 * Return: 0 or -errno.
 */
int store_open(struct loop *loop, struct store **ret_store, struct why *why);

/** store_put() - Let systemd hold @fd (borrowed), in the place of what it held under that name. What it has no room for it does not
 * hold, which is told in the log once; as long as what came has not been settled, it is held after that.
 * @store: NULL is allowed, in the calls below as well. */
void store_put(struct store *store, uint64_t serial, enum store_what what, int fd);

/** store_holds() - Does systemd hold that, as far as we know? */
bool store_holds(const struct store *store, uint64_t serial, enum store_what what);

/** store_forget() - That of a process which must not outlive us any more. */
void store_forget(struct store *store, uint64_t serial, enum store_what what);

/** store_empty() - What lies unread in our end of a channel is given up, and nothing more gets in: systemd, which would be the last
 * one to close it, would wait for what lies there. @fd: -1 is allowed. */
void store_empty(int fd);

/** store_remove() - All of a process, which has ended. */
void store_remove(struct store *store, uint64_t serial);

/** store_last_serial() - The highest one of anything that came. 0: nothing did. */
uint64_t store_last_serial(const struct store *store);

/** store_take() - What came from systemd under that name. @inode: that it must have; 0: nobody knows it, so it is not to be had. A
 * pidfd has none: it must be of a process that was reaped. Return: the caller's; systemd holds its own one still. -1: it is not
 * there. */
int store_take(struct store *store, uint64_t serial, enum store_what what, unsigned long long inode);

/** store_settle() - Everything that came and was not taken is of nobody: it is closed, and removed from systemd. */
void store_settle(struct store *store);

/** store_is_quiet() - Has systemd been told all? Another program in our place would not know what it has not. */
bool store_is_quiet(const struct store *store);

/** store_free() - What systemd holds, it goes on holding. NULL is allowed. Return: NULL. */
struct store *store_free(struct store *store);
