/* SPDX-License-Identifier: MIT */
/* upg-torture [--seconds N] [--sweep-seconds N] [--seed N] [--state NAME] [--party NAME]: everybody dies in every state of a roll,
 * and then upgraded at each of its system calls. --state and --party leave the others out.
 *
 * Each state of the roll's machine, each party and each of three signals is a cell. The cells are tried in a random order that
 * follows from the seed, for as long as there is time. A cell whose party is never there in that state is tried once and then
 * left out. Afterwards a table says what was tried and what came of it, and the last line is
 *
 *     torture: kills=K outcomes_ok=K wrong=0 lost=0 leaks=0 worst_outage_ms=T
 *
 * `lost` counts what is beyond the loss that docs/WAYS-BACK.md tells of. `worst_outage_ms` is the longest that a client had to
 * wait for an answer on a connection that lived.
 *
 * Exit status: 0 if all outcomes are well, and there were some.
 */
#include "tests/torture/client.h"
#include "tests/torture/sweep.h"
#include "tests/wild/dice.h"

#include "base/clock.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const int signals[] = { SIGKILL, SIGSTOP, SIGTERM };
#define SIGNALS (sizeof(signals) / sizeof(*signals))
#define CELLS ((size_t)ROLL_STATES * PARTIES * SIGNALS)
#define PASSES_MAX 1000u

struct tally {
	unsigned fates[FATES], bad;
};

/* NULL: all of them. */
static const char *only_state, *only_party;
static struct tally tallies[ROLL_STATES][PARTIES];

static const char *signal_name(int signal)
{
	return signal == SIGKILL ? "KILL" : signal == SIGSTOP ? "STOP" : "TERM";
}

static bool is_wanted(enum party party)
{
	return !only_party || strcmp(only_party, party_name(party)) == 0;
}

/* Return: how many cells are in @cells, which has room for all. A state without a recipe is an error. */
static size_t cells_make(struct blow *cells)
{
	size_t n = 0;

	for (int state = 0; state < ROLL_STATES; state++) {
		if (roll_is_over((enum roll_state)state) ||
		    (only_state && strcmp(only_state, roll_state_name((enum roll_state)state)) != 0))
			continue;
		if (!recipe_for((enum roll_state)state, 0)) {
			fprintf(stderr, "upg-torture: no recipe leads into the state %s; add one to tests/torture/recipe.c\n",
				roll_state_name((enum roll_state)state));
			return 0;
		}
		for (int party = 0; party < PARTIES; party++)
			for (size_t i = 0; is_wanted((enum party)party) && i < SIGNALS; i++)
				cells[n++] = (struct blow){ .state = (enum roll_state)state, .party = (enum party)party,
							    .signal = signals[i] };
	}
	return n;
}

static void shuffle(struct dice *dice, struct blow *cells, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = dice_below(dice, i);
		struct blow cell = cells[i - 1];

		cells[i - 1] = cells[j];
		cells[j] = cell;
	}
}

/* Only where CRIU or the child works can it be struck: elsewhere one look is enough. */
static bool is_hopeless(const struct blow *blow)
{
	const struct tally *tally = &tallies[blow->state][blow->party];

	return tally->fates[FATE_ABSENT] && !tally->fates[FATE_NOTHING] && !tally->fates[FATE_SINCE] &&
	       !tally->fates[FATE_EVERYTHING];
}

/* Return: what came of it; <0: the run is over. */
static int try(struct torture *torture, const struct blow *blow)
{
	struct tally *tally = &tallies[blow->state][blow->party];
	uint64_t began_us = clock_now_us();
	int fate = torture_blow(torture, blow);

	if (fate >= 0)
		tally->fates[fate]++;
	if (fate < 0 || *torture->trouble)
		tally->bad++;
	printf("%-15s %-8s %-4s  %-30s %-7s %5.1f s  %s\n", roll_state_name(blow->state), party_name(blow->party),
	       signal_name(blow->signal), recipe_for(blow->state, blow->nth)->name,
	       fate < 0 ? "BROKEN" : fate_name((enum fate)fate),
	       (double)(clock_now_us() - began_us) / (double)USEC_PER_SEC, torture->trouble);
	fflush(stdout);
	if (*torture->trouble)
		rig_fail(torture->rig, 0, "not well: %s", torture->trouble); /* with what was logged */
	return fate;
}

static int run(struct torture *torture, struct dice *dice, uint64_t due_us)
{
	static struct blow cells[CELLS];
	size_t n = cells_make(cells);

	for (unsigned pass = 0; n && pass < PASSES_MAX; pass++) {
		shuffle(dice, cells, n);
		for (size_t i = 0; i < n; i++) {
			if (clock_now_us() >= due_us)
				return 0;
			if (is_hopeless(&cells[i]))
				continue;
			cells[i].nth = (unsigned)dice_below(dice, 12);
			if (try(torture, &cells[i]) < 0)
				return -1;
		}
	}
	return n ? 0 : -1;
}

static void table_print(void)
{
	printf("\n%-15s", "");
	for (int party = 0; party < PARTIES; party++)
		printf(" %-13s", party_name((enum party)party));
	printf("\n");
	for (int state = 0; state < ROLL_STATES; state++) {
		if (roll_is_over((enum roll_state)state))
			continue;
		printf("%-15s", roll_state_name((enum roll_state)state));
		for (int party = 0; party < PARTIES; party++) {
			const struct tally *tally = &tallies[state][party];
			const unsigned *fates = tally->fates;
			unsigned tried = fates[FATE_NOTHING] + fates[FATE_SINCE] + fates[FATE_EVERYTHING];
			char text[48];

			if (tried)
				snprintf(text, sizeof(text), "%u: %u/%u/%u%s", tried, fates[FATE_NOTHING], fates[FATE_SINCE],
					 fates[FATE_EVERYTHING], tally->bad ? " BAD" : "");
			else
				snprintf(text, sizeof(text), "%s%s",
					 fates[FATE_ABSENT] ? "not there" : fates[FATE_MISSED] ? "missed" : "-",
					 tally->bad ? " BAD" : "");
			printf(" %-13s", text);
		}
		printf("\n");
	}
	printf("tried: of these lost nothing / what was written since the commit / everything, each as documented\n");
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (!*text || *end) {
		fprintf(stderr, "upg-torture: \"%s\" is no number\n", text);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'r' },
		{ "state", required_argument, NULL, 't' }, { "party", required_argument, NULL, 'p' },
		{ "sweep-seconds", required_argument, NULL, 'w' }, { "client", required_argument, NULL, 'c' }, { NULL, 0, NULL, 0 }
	};
	struct torture torture = { 0 };
	uint64_t seconds = 60, sweep_seconds = 0, seed = 0;
	struct sweep sweep = { 0 };
	struct dice dice;
	int option, rc;

	if (getrandom(&seed, sizeof(uint32_t), 0) < 0)
		seed = clock_now_us();
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 's')
			seconds = number(optarg);
		else if (option == 'r')
			seed = number(optarg);
		else if (option == 't')
			only_state = optarg;
		else if (option == 'p')
			only_party = optarg;
		else if (option == 'w')
			sweep_seconds = number(optarg);
		else if (option == 'c') /* a process that may be struck */
			return client_run((uint16_t)number(optarg));
		else
			return 2;
	}
	dice_init(&dice, seed, dice_name("torture"));
	printf("torture: seed %" PRIu64 ", %" PRIu64 " s\n", seed, seconds);
	fflush(stdout);
	rc = torture_open(&torture);
	if (rc == 0)
		rc = run(&torture, &dice, clock_now_us() + seconds * USEC_PER_SEC);
	if (rc == 0 && sweep_seconds)
		rc = sweep_run(&torture, clock_now_us() + sweep_seconds * USEC_PER_SEC, &sweep);
	torture_close(&torture);
	table_print();
	if (sweep_seconds)
		printf("upgraded was killed at %u of the %lu system calls of a roll, and at %u of the %lu of a start\n",
		       sweep.rolls, sweep.roll_calls, sweep.starts, sweep.start_calls);
	if (rc < 0)
		printf("torture: the run could not go on: %s\n", *torture.trouble ? torture.trouble : "see above");
	printf("torture: kills=%u outcomes_ok=%u wrong=%" PRIu64 " lost=%" PRIu64 " leaks=%" PRIu64 " worst_outage_ms=%" PRIu64
	       "\n",
	       torture.kills, torture.well, torture.wrong, torture.lost, torture.leaks, torture.worst_us / USEC_PER_MSEC);
	return rc == 0 && torture.kills && torture.kills == torture.well && !torture.wrong && !torture.lost && !torture.leaks ?
		       0 : 1;
}
