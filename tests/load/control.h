/* SPDX-License-Identifier: MIT */
/* Commands, one a line, and their answers, one JSON line each. They are executed one after another: the next one is looked at
 * when the one before has been answered. */
#pragma once

#include "tests/load/load.h"

enum control_work {
	CONTROL_NOTHING,
	CONTROL_REOPEN,      /* when none is to be opened again any more: until each that was has had an answer */
	CONTROL_PAUSE,       /* until no request is outstanding */
	CONTROL_AUDIT,       /* until all keys have been read */
	CONTROL_DRAIN,       /* until all that the sockets had to say before the settlement has been heard */
	CONTROL_SETTLE,      /* until all reset connections have been read back */
	CONTROL_STOP_PAUSE,
	CONTROL_STOP_AUDIT,
	CONTROL_DONE,
};

struct control {
	struct load *load;
	bool enabled;
	bool input_polled; /* the input can be waited for */
	bool input_ended;
	bool announced;    /* the ready event is out */
	bool by_command;   /* the stop was asked for */
	enum control_work work;
	unsigned drain_turns;
	uint64_t commit_us, resume_us, wrong_before;
	uint64_t end_us;   /* when to stop by itself */
	size_t size;
	char input[8192];
};

/** control_init() - With @enabled, commands are read from standard input. Return: 0 or -errno. */
int control_init(struct control *control, struct load *load, bool enabled, struct why *why);

/** control_until_us() - How long the loop may wait. */
uint64_t control_until_us(const struct control *control);

/** control_advance() - To be called after each turn. @stop: the program was asked to end. Return: whether to go on. */
bool control_advance(struct control *control, bool stop);
