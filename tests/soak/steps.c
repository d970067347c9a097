/* SPDX-License-Identifier: MIT */
#include "tests/soak/soak.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define REACH_US (60 * USEC_PER_SEC)

/* It lasts until somebody ends it. */
#define LONG "Bake=5min\n"
/* Room for what 5,000 connections note in a bake of a second. */
#define JOURNAL "Journal=yes\nJournalSize=64M\n"

enum ending {
	END_BY_TIME, /* of the bake */
	END_ACCEPT,
	END_UNDO,
	END_ONWARD,  /* a third version within the bake */
	END_CRASH,
};

struct step {
	const char *name;
	const char *to; /* NULL: undo, after the bake */
	const char *lines;
	enum ending ending;
	const char *then;    /* END_ONWARD: the third version */
	const char *outcome; /* of the last roll */
	const char *serves;
	unsigned rolls;
	bool needs_images;
	bool costs; /* what was written since the commit, and connections */
};

/* One after the other, and round and round: the last one leaves serving what the first one begins with. */
static const struct step steps[] = {
	{ "accepted, both ways back", "v2", LONG "Rollback=auto\n", END_ACCEPT, NULL, "done", "v2", 1, false, false },
	{ "until its bake is over", "v3", LONG "Rollback=parked\n", END_BY_TIME, NULL, "done", "v3", 1, false, false },
	{ "undone after its bake", NULL, LONG "Rollback=parked\n", END_BY_TIME, NULL, "done", "v2", 1, false, false },
	{ "undone within its bake", "v3", LONG "Rollback=parked\n", END_UNDO, NULL, "done", "v2", 2, false, false },
	{ "onward within its bake", "v3", LONG "Rollback=parked\n", END_ONWARD, "v2", "done", "v2", 2, false, false },
	{ "crashes, back from memory", "v3", LONG "Rollback=parked\n", END_CRASH, NULL, "rolled-back-parked", "v2", 1, false,
	  true },
	{ "crashes, back from its image", "v3", LONG "Rollback=image\n", END_CRASH, NULL, "rolled-back-image", "v2", 1, true,
	  true },
	{ "crashes, back with its journal", "v3", LONG JOURNAL "Rollback=parked\n", END_CRASH, NULL, "rolled-back-parked", "v2", 1,
	  false, false },
	{ "down", "v1", LONG "Rollback=auto\n", END_BY_TIME, NULL, "done", "v1", 1, false, false },
};
#define STEPS (sizeof(steps) / sizeof(*steps))

_Static_assert(STEPS <= SOAK_STEPS_MAX, "a series for each step");

const char *soak_step_name(unsigned n)
{
	return n < STEPS ? steps[n].name : NULL;
}

bool soak_step_is_possible(const struct soak *soak, unsigned n)
{
	return soak->has_images || !steps[n].needs_images;
}

static int write_unit(struct soak *soak, const char *lines)
{
	char options[32];

	snprintf(options, sizeof(options), "-c %u", soak->connections + 100);
	return rig_cached_write(soak->rig, "cached",
				&(struct rig_cached){ .port = soak->port, .options = options, .lines = lines,
						      .files = 2 * soak->connections + 1000 });
}

/* upgradectl VERB cached [VERSION] [OPTION] must end with @status. */
static int ctl(struct soak *soak, int status, const char *verb, const char *version, const char *option)
{
	const char *first = version ? version : option;
	struct rig_answer answer = { 0 };
	int rc = rig_ctl(soak->rig, &answer, verb, "cached", first, version ? option : NULL, NULL);

	if (rc == 0 && answer.status != status)
		rc = rig_fail(soak->rig, -EPROTO, "upgradectl %s %s: status %d, not %d: %s%s", verb, version ? version : "",
			      answer.status, status, answer.out, answer.err);
	rig_answer_done(&answer);
	return rc;
}

static int kill_serving(struct soak *soak)
{
	json_t *entry = rig_status(soak->rig, "cached");
	pid_t pid = entry ? rig_pid_in(entry, "serving") : 0;

	json_decref(entry);
	if (pid <= 0)
		return rig_fail(soak->rig, -ESRCH, "nobody serves whom one could kill");
	return kill(pid, SIGKILL) < 0 ? -errno : 0;
}

static int end(struct soak *soak, const struct step *step)
{
	switch (step->ending) {
	case END_BY_TIME: return 0;
	case END_ACCEPT: return ctl(soak, 0, "accept", NULL, NULL);
	case END_UNDO: return ctl(soak, 0, "undo", NULL, "--bake=50ms");
	case END_ONWARD: return ctl(soak, 0, "roll", step->then, "--bake=50ms");
	case END_CRASH: return kill_serving(soak);
	}
	return -EINVAL;
}

static int roll(struct soak *soak, const struct step *step)
{
	/* Said with the request, as undo brings the service file of its version back, with another Bake=. */
	const char *how = step->ending == END_BY_TIME ? "--bake=50ms" : "--wait=commit";
	int rc = ctl(soak, 0, step->to ? "roll" : "undo", step->to, how);

	if (rc == 0 && step->ending != END_BY_TIME)
		rc = rig_wait_status(soak->rig, "cached", "baking", step->to, REACH_US);
	if (rc == 0)
		rc = end(soak, step);
	return rc < 0 ? rc : rig_wait_status(soak->rig, "cached", "running", step->serves, REACH_US);
}

/* The clients judge for themselves what the crash may have cost, and what is beyond that they count as wrong. */
static int settle(struct soak *soak, const json_t *report)
{
	json_t *settled = NULL;
	int rc = rig_load_ask(soak->load, &settled, "settle %lld %lld", (long long)rig_number(report, "commit_us"),
			      (long long)rig_number(report, "resume_us"));

	if (rc < 0)
		return rc;
	if (rig_number(settled, "kept") != rig_number(report, "kept") ||
	    rig_number(settled, "reset") != rig_number(report, "reset"))
		soak_fail(soak, "%lld connections went on and %lld were reset, upgraded says %lld and %lld",
			  (long long)rig_number(settled, "kept"), (long long)rig_number(settled, "reset"),
			  (long long)rig_number(report, "kept"), (long long)rig_number(report, "reset"));
	if (rig_number(settled, "served_by_lost") > 0)
		soak_fail(soak, "%lld answers of what was taken back", (long long)rig_number(settled, "served_by_lost"));
	json_decref(settled);
	return 0;
}

static int judge(struct soak *soak, const struct step *step, struct look *look)
{
	json_t *entry = rig_status(soak->rig, "cached");
	const json_t *report = json_object_get(entry, "last_roll");
	int rc = 0;

	if (!entry)
		return -EPROTO;
	if (strcmp(rig_text(report, "outcome"), step->outcome) != 0)
		soak_fail(soak, "%s: the outcome is %s: %s", step->name, rig_text(report, "outcome"), rig_text(report, "cause"));
	soak->has_images |= strstr(rig_text(report, "way_back"), "image") != NULL;
	look->pause_us = (uint64_t)rig_number(report, "pause_us");
	soak->by_image += strcmp(rig_text(report, "outcome"), "rolled-back-image") == 0;
	if (step->costs)
		rc = settle(soak, report);
	json_decref(entry);
	return rc;
}

int soak_step(struct soak *soak, unsigned n, struct look *ret_look)
{
	const struct step *step = &steps[n];
	uint64_t began_us;
	int rc = write_unit(soak, step->lines);

	*ret_look = (struct look){ 0 };
	if (rc == 0 && step->costs)
		rc = rig_load_ask(soak->load, NULL, "crash");
	began_us = clock_now_us();
	if (rc == 0)
		rc = roll(soak, step);
	ret_look->roll_us = clock_now_us() - began_us;
	if (rc == 0)
		rc = judge(soak, step, ret_look);
	soak->rolls += step->rolls;
	return rc;
}

/* Only upgraded is to have it: until that was started. */
static int heap_open(struct soak *soak)
{
	int n = snprintf(soak->heap, sizeof(soak->heap), "%s/heap", rig_folder(soak->rig));

	if (n < 0 || (size_t)n >= sizeof(soak->heap))
		return -ENAMETOOLONG;
	if (mkfifo(soak->heap, 0600) < 0)
		return -errno;
	setenv("UPG_HEAP", soak->heap, 1);
	setenv("LD_PRELOAD", rig_program(soak->rig, "upg-heap.so"), 1);
	/* What threads keep for themselves counts as given out. */
	setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
	return 0;
}

int soak_serve(struct soak *soak, unsigned rate)
{
	struct rig_load_options options = { .connections = soak->connections, .keys = 4, .rate = rate, .values = "16-600" };
	int rc = write_unit(soak, LONG);

	if (rc == 0)
		rc = heap_open(soak);
	if (rc == 0)
		rc = rig_daemon_start(soak->rig, NULL);
	unsetenv("LD_PRELOAD");
	unsetenv("GLIBC_TUNABLES");
	if (rc == 0)
		rc = ctl(soak, 0, "start", NULL, NULL);
	if (rc == 0)
		rc = rig_load_start(soak->rig, soak->port, &options, &soak->load);
	if (rc == 0)
		rig_traces(soak->rig, &soak->before);
	return rc;
}
