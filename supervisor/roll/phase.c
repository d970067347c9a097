/* SPDX-License-Identifier: MIT */
/* The phase that goes on, with its figures. A state is not a phase: state.c says which states are one phase for people. */
#include "supervisor/roll/private.h"

#include "supervisor/machine/procfs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How much @pid has ever read. A program reads its state from a pipe, so that this counts it, about: all else that it reads
 * meanwhile counts as well. Return: 0 where nobody can tell. */
static uint64_t bytes_read(pid_t pid)
{
	char path[48], text[512];
	uint64_t bytes = 0;

	snprintf(path, sizeof(path), "/proc/%d/io", (int)pid);
	if (procfs_read(path, text, sizeof(text)) < 0 || sscanf(text, "rchar: %" SCNu64, &bytes) != 1)
		return 0;
	return bytes;
}

void roll_phase_begins(struct roll *roll)
{
	const char *shown = roll_facts(roll->record.state)->shown;

	if (!shown || !roll_is_told(roll, shown) || (roll->phase.name && strcmp(shown, roll->phase.name) == 0))
		return;
	roll->phase.name = shown;
	roll->phase.since_us = clock_now_us();
	if (!roll->events->on_phase)
		return;
	if (roll->record.state == ROLL_TRANSFER)
		roll->phase.read_before = bytes_read(roll->new->pid);
	roll->events->on_phase(roll);
}

/* Records are counted by type, and only the type in hand can be looked at. Return: of all types that were seen. */
static uint64_t records_so_far(struct roll *roll)
{
	unsigned n = roll->phase.n_seen, at = 0;
	uint64_t number, sum = 0;
	size_t type;

	if (in_hand_get(&roll->new->in_hand, &type, &number)) {
		while (at < n && roll->phase.seen[at].type != type)
			at++;
		if (at == n && n < sizeof(roll->phase.seen) / sizeof(*roll->phase.seen))
			roll->phase.seen[roll->phase.n_seen++].type = type;
		if (at < roll->phase.n_seen && number > roll->phase.seen[at].records && number < INT64_MAX / 16)
			roll->phase.seen[at].records = number; /* whatever it says */
	}
	for (at = 0; at < roll->phase.n_seen; at++)
		sum += roll->phase.seen[at].records;
	return sum;
}

static void look_moving(struct roll *roll, struct roll_phase *ret)
{
	uint64_t read = bytes_read(roll->new->pid);

	ret->records_expected = roll->saved.told ? roll->saved.records : 0;
	ret->bytes_expected = roll->saved.told ? roll->saved.payload_bytes : 0;
	ret->records = records_so_far(roll);
	ret->bytes = read > roll->phase.read_before ? read - roll->phase.read_before : 0;
}

void roll_phase_look(struct roll *roll, struct roll_phase *ret)
{
	const Upgraded__Wire__RollReport *report = &roll->report.wire;
	const struct roll_facts *facts = roll_facts(roll->record.state);
	bool moves = facts->patience == PATIENCE_TRANSFER || facts->patience == PATIENCE_AS_BEFORE;

	*ret = (struct roll_phase){ .name = roll->phase.name ? roll->phase.name : "",
				    .since_us = roll->phase.since_us,
				    .failed_of = roll->report.cause.text,
				    .waited_for = facts->patience == PATIENCE_START ? roll->phase.doing :
										      roll->report.waited_for.text,
				    .quiesce_us = roll->phase.quiesce_us };
	if (moves && instance_is_alive(roll->new))
		look_moving(roll, ret);
	if (report->records) { /* all of them */
		ret->records = ret->records_expected = report->records;
		ret->bytes = ret->bytes_expected = report->state_bytes;
	}
	if (roll->record.commit_us && roll_is_committed(roll))
		ret->pause_us = roll->record.commit_us - roll->record.stops_us;
	if (!roll_is_baking(roll))
		return;
	ret->bake_us = roll->options.bake_us;
	ret->bake_ends_us = roll->record.commit_us + roll->options.bake_us;
}

bool roll_is_note(const struct roll *roll)
{
	return roll->phase.says_note;
}
