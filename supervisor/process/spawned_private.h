/* SPDX-License-Identifier: MIT */
/* Of spawned.c and regained.c: one process that we, or a supervisor before us, have started. */
#pragma once

#include "supervisor/process/channel.h"
#include "supervisor/process/origin.h"
#include "supervisor/process/plain.h"
#include "supervisor/systemd/store.h"

struct spawned {
	struct instance instance;
	struct spawner *spawner;
	struct child child;
	struct channel channel;
	struct output *output;             /* NULL: what it left behind uses it */
	uint64_t log_rate, log_rate_bytes; /* of @output */
	uid_t uid;                         /* whose its output is */
	uint64_t serial;                   /* in the logbook; 0: it is not there */
	unsigned long long our_inode;      /* of our end of its channel */
	struct spawned *head, *kin;        /* kin.c: whose it is, and the next one */
	struct voice *voice;               /* of one that knows nothing of us (Kind=plain); else NULL */
	bool asked;                        /* to come to rest: from then on an older library has to notice our end */
};

static inline struct spawned *spawned_of(struct instance *instance)
{
	return container_of(instance, struct spawned, instance);
}

/* Children of ours, and those of a supervisor that has ended. */
extern const struct instance_kind spawned_kind, regained_kind;

/** spawned_is() - Did it come from a spawner? */
bool spawned_is(const struct instance *instance);

/** spawned_set_kind() - Is its process a child of ours? */
void spawned_set_kind(struct spawned *spawned, bool is_child);

/** spawned_new() - Nothing runs yet. Return: owned by the caller, by instance_free(); NULL if memory is out. */
struct spawned *spawned_new(struct spawner *spawner, const struct unit *unit, const char *version);

/** spawned_name_output() - Once its pid is known. */
void spawned_name_output(struct spawned *spawned);

/** spawned_own_output() - The pipe that it prints to is its user's, as at its start. @log: the end that is written to. */
void spawned_own_output(const struct spawned *spawned, int log);

/** spawned_store() - What would be lost with us is held by systemd, too, as far as it is not yet. */
void spawned_store(struct spawned *spawned);

/** spawned_is_older() - Has it a library that keeps nothing for another supervisor, and cannot be asked who it is again? */
bool spawned_is_older(const struct instance *instance);

/** spawned_pack_hello() - What it said of itself. Return: to be freed; NULL: it has said nothing, or memory is out. */
uint8_t *spawned_pack_hello(const struct instance *instance, ProtobufCBinaryData *ret);

/** spawned_unpack_hello() - Return: 0; -EBADMSG; -ENOMEM. */
int spawned_unpack_hello(struct instance *instance, const ProtobufCBinaryData *packed);

/** spawned_set_spares() - Do its child processes outlive it, in its present place? */
void spawned_set_spares(struct spawned *spawned);

/** spawned_goes_on() - Its process has ended: does one of its kin take its place? */
bool spawned_goes_on(struct spawned *head);

/** spawned_free_kin() - Together with it. */
void spawned_free_kin(struct spawned *head);

/** spawned_on_exit() - For whoever lets @child be watched. */
void spawned_on_exit(struct child *child);

/** spawned_cross_out() - It has ended: out of the logbook. @serial: 0: it was not there. */
void spawned_cross_out(struct spawner *spawner, uint64_t serial);

/** spawned_open_voice() - Of one that knows nothing of us: somebody sits at its end of the channel. Return: 0 or -errno. */
int spawned_open_voice(struct spawned *spawned, int theirs_consume, bool anew, struct why *why);
