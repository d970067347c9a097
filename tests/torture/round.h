/* SPDX-License-Identifier: MIT */
/* One blow: a roll is led into a state, somebody is struck, and then everything is looked at. */
#pragma once

#include "tests/torture/party.h"
#include "tests/torture/recipe.h"

#include <stdint.h>

/* What came of a blow. */
enum fate {
	FATE_MISSED,     /* the roll did not come into the state */
	FATE_ABSENT,     /* whom to strike was not there */
	FATE_NOTHING,    /* lost nothing */
	FATE_SINCE,      /* what was written since the commit */
	FATE_EVERYTHING, /* the state, as the process that alone had it was struck, or the last way back */
	FATES
};

struct blow {
	enum roll_state state;
	enum party party;
	int signal;
	unsigned nth; /* recipe */
};

struct torture {
	struct rig *rig;
	struct rig_load *load;
	struct rig_child *client; /* one that may be struck */
	uint16_t port;
	unsigned connections, loads;
	unsigned daemon_fds; /* open in a daemon that rests */
	unsigned serving_fds; /* open in a process that serves and rests, at most; 0: not looked at */
	const char *more;    /* lines for every service file; NULL: none */
	bool traced;         /* upgraded is the child of what traces it */
	struct rig_traces traces; /* at rest */
	/* Counted. */
	unsigned kills, well;
	uint64_t wrong, lost, leaks, worst_us;
	char trouble[512]; /* what was not well in the last round */
};

/** torture_open() - A daemon, the example service and its clients, on @torture->rig if there is one. Return: 0 or -errno. */
int torture_open(struct torture *torture);
/** torture_close() - End it all; what is left then is a leak. */
void torture_close(struct torture *torture);

/** torture_blow() - Return: what came of it; <0: nothing can be done any more. @torture->trouble says what was not well. */
int torture_blow(struct torture *torture, const struct blow *blow);

/** torture_daemon_again() - End the daemon by SIGKILL or SIGTERM, or find that it has ended, and start it again. */
int torture_daemon_again(struct torture *torture, int signal);

/** torture_roll_begin() - Begin a roll to the version that does not serve. @arm: sent a SIGUSR1 just before; 0: nobody. Return:
 * 0 or -errno. */
int torture_roll_begin(struct torture *torture, const char *lines, pid_t arm, struct rig_child **ret_child);

/** torture_unit() - Write the service file with these lines, and with @torture->more. Return: 0 or -errno. */
int torture_unit(struct torture *torture, const char *lines);

/** torture_sound() - After something happened outside of a blow: does one version serve, was nothing lost? Return: 0 or -errno. */
int torture_sound(struct torture *torture, enum fate most);

/** torture_trouble() - Note that something was not well. */
void torture_trouble(struct torture *torture, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *fate_name(enum fate fate);
