/* SPDX-License-Identifier: MIT */
/* upg-faults [--seconds N] [--seed N] [--scene NAME] [--role NAME] [--kind NAME] [--at N] [--from-then] [--most N]: the n-th call
 * fails, for all n.
 *
 * A scene is played once without faults, and the calls of each process are counted, by what makes them fail (kinds.c). Then each
 * of them fails, one in each further run of the scene: first those that are far from each other, of all kinds in turn, until
 * there is no time left or each was tried. Without --seconds all are. --most: how many of each kind. --from-then: also those after
 * it.
 * --scene, --role and --kind leave the others out; images are tried only where --scene names them. --at tries one call.
 *
 * Afterwards a table says what was tried and what came of it, and the last line is
 *
 *     faults: tried=N struck=S well=S wrong=0 lost=0 leaks=0
 *
 * Exit status: 0 if all is well, and something was struck.
 */
#include "tests/faults/sweep/trial.h"

#include "base/clock.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KINDS_MAX 32

struct cell {
	uint64_t calls, tried, struck, well;
	uint64_t fates[FATES], ended, refused;
};

static struct cell cells[SCENES][KINDS_MAX][FAULT_ROLES];
static const char *only_scene, *only_role, *only_kind;
static uint64_t only_at, most = UINT64_MAX, seed, due_us = UINT64_MAX;
static bool from_then;

static bool is_wanted(const char *only, const char *name)
{
	return !only || strcmp(only, name) == 0;
}

static bool scene_is_wanted(enum scene scene)
{
	/* CRIU takes its time. */
	return is_wanted(only_scene, scene_name(scene)) && (scene != SCENE_IMAGE || only_scene);
}

static bool cell_is_wanted(enum fault_role role, unsigned kind)
{
	return is_wanted(only_role, fault_role_name(role)) && is_wanted(only_kind, fault_kinds[kind].name);
}

static void tell_trouble(struct torture *torture, const struct faults *faults, const struct trial *trial, int rc)
{
	char *place = faults_place(faults, torture->rig), *log = rig_daemon_log(torture->rig);
	size_t size = log ? strlen(log) : 0;

	printf("%s: %s of %s, call %" PRIu64 "%s: %s\n    %s\n", scene_name(trial->scene), trial->kind->name,
	       fault_role_name(trial->role), trial->at, trial->from_then ? " and all after it" : "",
	       *torture->trouble ? torture->trouble : rc < 0 ? rig_why(torture->rig) : "", place ? place : "");
	if (getenv("UPG_FAULTS_LOG"))
		printf("---- upgraded.log\n%s----\n", log ? log + (size > 20000 ? size - 20000 : 0) : "");
	free(log);
	free(place);
	fflush(stdout);
}

static int try(struct torture *torture, struct faults *faults, const struct trial *trial, struct cell *cell)
{
	struct verdict verdict = { 0 };
	int rc = trial_run(torture, faults, trial, &verdict);
	bool well = rc == 0 && !*torture->trouble;

	cell->tried++;
	torture->kills += rc < 0 || verdict.struck;
	cell->struck += rc < 0 || verdict.struck;
	if (rc == 0 && verdict.struck) {
		cell->fates[verdict.fate]++;
		cell->ended += verdict.ended;
		cell->refused += verdict.status != 0;
	}
	cell->well += well && verdict.struck;
	torture->well += well && verdict.struck;
	if (!well)
		tell_trouble(torture, faults, trial, rc);
	return rc;
}

/* After a trial that left things as nothing can be done with them: so the others are not in vain. */
static int begin_anew(struct torture *torture, struct faults *faults)
{
	int rc;

	faults_clear(faults);
	torture->wrong++;
	if (rig_daemon_pid(torture->rig))
		(void)rig_daemon_stop(torture->rig);
	else
		(void)rig_daemon_kill(torture->rig, SIGKILL);
	rc = rig_daemon_start(torture->rig, NULL);
	return rc < 0 ? rc : torture_sound(torture, FATE_EVERYTHING);
}

/* Return: 1: there was one more to try; 0: there was none; <0: the run is over. */
static int next_of(struct torture *torture, struct faults *faults, enum scene scene, unsigned kind, enum fault_role role)
{
	struct cell *cell = &cells[scene][kind][role];
	struct trial trial = { .scene = scene, .role = role, .kind = &fault_kinds[kind], .from_then = from_then };
	int rc;

	if (!cell->calls || cell->tried >= (only_at ? 1 : cell->calls) || cell->tried >= most || clock_now_us() >= due_us)
		return 0;
	trial.at = only_at ? only_at : faults_spread(cell->tried + seed, cell->calls);
	rc = try(torture, faults, &trial, cell);
	if (rc < 0)
		rc = begin_anew(torture, faults);
	return rc < 0 ? rc : 1;
}

static int count(struct torture *torture, struct faults *faults, enum scene scene)
{
	uint64_t calls[KINDS_MAX][FAULT_ROLES] = { 0 };
	int rc = trial_count(torture, faults, scene, calls);

	if (rc == 0 && *torture->trouble) {
		printf("%s: without any fault: %s\n", scene_name(scene), torture->trouble);
		rc = -EPROTO;
	}
	for (unsigned kind = 0; rc == 0 && kind < fault_kinds_n; kind++)
		for (int role = 1; role < FAULT_ROLES; role++)
			if (cell_is_wanted((enum fault_role)role, kind))
				cells[scene][kind][role].calls = calls[kind][role];
	return rc;
}

static int run(struct torture *torture, struct faults *faults)
{
	int rc = 0;
	bool more = true;

	for (int scene = 0; rc == 0 && scene < SCENES; scene++)
		if (scene_is_wanted((enum scene)scene))
			rc = count(torture, faults, (enum scene)scene);
	while (rc == 0 && more) {
		more = false;
		for (int scene = 0; scene < SCENES; scene++) {
			for (unsigned kind = 0; kind < fault_kinds_n; kind++) {
				for (int role = 1; rc >= 0 && role < FAULT_ROLES; role++) {
					rc = next_of(torture, faults, (enum scene)scene, kind, (enum fault_role)role);
					more |= rc > 0;
				}
			}
		}
		rc = rc < 0 ? rc : 0;
	}
	return rc;
}

static void table_print(void)
{
	printf("\n%-7s %-11s %-10s %6s %6s %6s %6s   %s\n", "scene", "fails", "of", "calls", "tried", "struck", "well",
	       "lost nothing/since the commit/everything, upgradectl failed, upgraded ended");
	for (int scene = 0; scene < SCENES; scene++) {
		for (unsigned kind = 0; kind < fault_kinds_n; kind++) {
			for (int role = 1; role < FAULT_ROLES; role++) {
				const struct cell *cell = &cells[scene][kind][role];

				if (!cell->tried)
					continue;
				printf("%-7s %-11s %-10s %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %6" PRIu64 "   %" PRIu64
				       "/%" PRIu64 "/%" PRIu64 ", %" PRIu64 ", %" PRIu64 "%s\n",
				       scene_name((enum scene)scene), fault_kinds[kind].name,
				       fault_role_name((enum fault_role)role), cell->calls, cell->tried, cell->struck,
				       cell->well, cell->fates[FATE_NOTHING], cell->fates[FATE_SINCE],
				       cell->fates[FATE_EVERYTHING], cell->refused, cell->ended,
				       cell->well != cell->struck ? "   BAD" : "");
			}
		}
	}
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (!*text || *end) {
		fprintf(stderr, "upg-faults: \"%s\" is no number\n", text);
		exit(2);
	}
	return n;
}

static void options_read(int argc, char **argv, uint64_t *ret_seconds)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'r' },
		{ "scene", required_argument, NULL, 'c' },   { "role", required_argument, NULL, 'p' },
		{ "kind", required_argument, NULL, 'k' },    { "at", required_argument, NULL, 'a' },
		{ "most", required_argument, NULL, 'm' },    { "from-then", no_argument, NULL, 'f' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's': *ret_seconds = number(optarg); break;
		case 'r': seed = number(optarg); break;
		case 'c': only_scene = optarg; break;
		case 'p': only_role = optarg; break;
		case 'k': only_kind = optarg; break;
		case 'a': only_at = number(optarg); break;
		case 'm': most = number(optarg); break;
		case 'f': from_then = true; break;
		default: exit(2);
		}
	}
}

/* A process that serves and rests: no later one has more open. */
static int note_serving(struct torture *torture)
{
	json_t *entry = rig_status(torture->rig, "cached");

	if (!entry)
		return -EPROTO;
	torture->serving_fds = rig_descriptors((pid_t)rig_number(entry, "instances.0.pid"));
	json_decref(entry);
	return torture->serving_fds ? 0 : -ESRCH;
}

int main(int argc, char **argv)
{
	struct torture torture = { 0 };
	struct faults *faults = NULL;
	uint64_t seconds = 0, tried = 0;
	int rc;

	options_read(argc, argv, &seconds);
	if (!only_scene || strcmp(only_scene, "image") != 0)
		setenv("UPG_CRIU", RIG_NO_CRIU, 1); /* each start would try it */
	rc = rig_new("faults", &torture.rig);
	if (rc == 0)
		rc = faults_open(torture.rig, &faults);
	torture.more = faults_lines();
	if (rc == 0)
		rc = torture_open(&torture);
	if (rc == 0)
		rc = note_serving(&torture);
	if (seconds)
		due_us = clock_now_us() + seconds * USEC_PER_SEC;
	if (rc == 0)
		rc = run(&torture, faults);
	table_print();
	if (rc < 0)
		printf("faults: the run could not go on: %s\n", *torture.trouble ? torture.trouble : "see above");
	faults_close(faults);
	torture_close(&torture);
	for (int scene = 0; scene < SCENES; scene++)
		for (unsigned kind = 0; kind < fault_kinds_n; kind++)
			for (int role = 0; role < FAULT_ROLES; role++)
				tried += cells[scene][kind][role].tried;
	printf("faults: tried=%" PRIu64 " struck=%u well=%u wrong=%" PRIu64 " lost=%" PRIu64 " leaks=%" PRIu64 "\n", tried,
	       torture.kills, torture.well, torture.wrong, torture.lost, torture.leaks);
	if (rc < 0 || !torture.kills || torture.kills != torture.well)
		return 1;
	return torture.wrong || torture.lost || torture.leaks ? 1 : 0;
}
