/* SPDX-License-Identifier: MIT */
#include "tests/faults/sweep/trial.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE "RestartDelay=10ms\nStartTimeout=5s\nQuiesceTimeout=3s\nTransferTimeout=4s\nStopTimeout=2s\n"
#define END_US (60 * USEC_PER_SEC)
#define BAKE_US (20 * USEC_PER_SEC)
#define ALL_US (3 * USEC_PER_SEC / 2) /* for so long all calls fail */
#define DYING_US (USEC_PER_SEC / 2)   /* whoever lost its answer may have lost it because upgraded ends */

const char *scene_name(enum scene scene)
{
	static const char *const names[SCENES] = { "roll", "undo", "resume", "image", "start" };

	return names[scene];
}

/* What one trial is about. */
struct play {
	struct torture *torture;
	struct faults *faults;
	enum scene scene;
	bool quiet;     /* clients wait meanwhile: what fails is not the answer to a request */
	bool from_then;
	enum fault_role role;
	char version[64];
	pid_t serving;
	int status;
	bool ended;
};

static void nap_us(unsigned us)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)us * 1000 }, NULL);
}

static int who_serves(struct play *play)
{
	json_t *entry = rig_status(play->torture->rig, "cached"), *instance;
	size_t i;

	if (!entry)
		return -EPROTO;
	snprintf(play->version, sizeof(play->version), "%s", rig_text(entry, "version"));
	play->serving = 0;
	json_array_foreach(json_object_get(entry, "instances"), i, instance)
		if (strcmp(rig_text(instance, "state"), "serving") == 0)
			play->serving = (pid_t)rig_number(instance, "pid");
	json_decref(entry);
	return play->serving ? 0 : rig_fail(play->torture->rig, -ESRCH, "nobody serves");
}

static const char *next_version(const struct play *play)
{
	return strcmp(play->version, "v2") == 0 ? "v3" : "v2";
}

/* ---- the log of this trial alone ---- */

static const char *log_at(const struct torture *torture, char path[static PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/upgraded.log", rig_folder(torture->rig));
	return path;
}

static void log_begin(const struct torture *torture)
{
	char path[PATH_MAX];

	/* Whoever writes appends. */
	if (truncate(log_at(torture, path), 0) < 0 && errno != ENOENT)
		perror(path);
}

/* What nobody may say, whatever fails. */
static void log_judge(struct torture *torture)
{
	static const char *const bad[] = { "This is a bug", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "stack smashing",
					   "buffer overflow", "double free", "corrupted" };
	char *text = rig_daemon_log(torture->rig), *at;

	for (size_t i = 0; text && i < sizeof(bad) / sizeof(*bad); i++) {
		at = strstr(text, bad[i]);
		if (!at)
			continue;
		while (at > text && at[-1] != '\n')
			at--;
		torture_trouble(torture, "the log: %.*s", (int)strcspn(at, "\n"), at);
		torture->wrong++;
	}
	free(text);
}

/* ---- how upgraded is ---- */

static bool daemon_has_words(const struct torture *torture)
{
	char *text = rig_daemon_log(torture->rig), *end = text ? strrchr(text, '\n') : NULL;
	bool words = end && end > text;

	free(text);
	return words;
}

/* It may end where it cannot go on, if it says why; and then the next one finds what serves. */
static int daemon_look(struct play *play)
{
	struct torture *torture = play->torture;
	uint64_t due_us = clock_now_us() + (play->status == 1 ? DYING_US : 0);
	int status;

	while ((status = rig_daemon_status(torture->rig)) < 0 && clock_now_us() < due_us)
		nap_us(5000);
	if (status < 0)
		return 0;
	play->ended = true;
	if (status != 1 || !daemon_has_words(torture)) {
		torture_trouble(torture, "upgraded ended with status %d", status);
		torture->wrong++;
	}
	return torture_daemon_again(torture, SIGKILL);
}

/* ---- scenes ---- */

static int quiet(struct play *play, bool on)
{
	play->quiet = on;
	return rig_load_ask(play->torture->load, NULL, on ? "pause" : "continue");
}

/* upgradectl, while calls fail. */
static int act(struct play *play, struct rig_child *child)
{
	struct torture *torture = play->torture;
	struct rig_answer answer = { 0 };
	uint64_t all_due_us = 0, due_us = clock_now_us() + END_US;
	int rc;

	while (!rig_run_ended(child) && clock_now_us() < due_us) {
		uint64_t now_us = clock_now_us();

		if (!all_due_us && atomic_load(&play->faults->struck))
			all_due_us = now_us + ALL_US;
		if (play->from_then && all_due_us && now_us >= all_due_us)
			faults_disarm(play->faults);
		nap_us(1000);
	}
	rc = rig_run_wait(child, END_US, &answer);
	faults_disarm(play->faults);
	play->status = answer.status;
	if (rc == 0 && answer.status >= RIG_KILLED) {
		torture_trouble(torture, "upgradectl was ended by signal %d", answer.status - RIG_KILLED);
		torture->wrong++;
	}
	if (rc == 0 && answer.status != 0 && !*answer.out && !*answer.err)
		torture_trouble(torture, "upgradectl ended with status %d and said nothing", answer.status);
	rig_answer_done(&answer);
	return rc;
}

static bool is_of_service(const struct play *play)
{
	return play->role == FAULT_ROLE_OLD || play->role == FAULT_ROLE_NEW;
}

static int arm(struct play *play)
{
	int rc = who_serves(play);

	/* What the program does for its clients is its own matter, and how much of it there is, nobody knows. */
	if (rc == 0 && is_of_service(play))
		rc = quiet(play, true);
	if (rc == 0)
		faults_arm(play->faults, play->serving);
	return rc;
}

static int roll(struct play *play, const char *lines)
{
	struct rig_child *child;
	int rc = torture_unit(play->torture, lines);

	if (rc == 0)
		rc = arm(play);
	if (rc == 0)
		rc = rig_ctl_begin(play->torture->rig, &child, "roll", "cached", next_version(play), NULL);
	return rc < 0 ? rc : act(play, child);
}

/* Until it is watched: the way back is made by then. */
static int await_bake(const struct play *play)
{
	uint64_t due_us = clock_now_us() + BAKE_US;
	bool baking = false;

	while (!baking && clock_now_us() < due_us) {
		char *log = rig_daemon_log(play->torture->rig);

		baking = log && strstr(log, "bake: watching version ");
		free(log);
		nap_us(2000);
	}
	return baking ? 0 : rig_fail(play->torture->rig, -ETIMEDOUT, "the bake does not begin");
}

static int bake(struct play *play, const char *lines)
{
	struct rig *rig = play->torture->rig;
	struct rig_answer answer = { 0 };
	int rc = torture_unit(play->torture, lines);

	if (rc == 0)
		rc = who_serves(play);
	if (rc == 0)
		rc = rig_ctl(rig, &answer, "roll", "cached", next_version(play), "--wait=commit", NULL);
	if (rc == 0 && answer.status != 0)
		rc = rig_fail(rig, -EPROTO, "a roll without a fault fails: %s", answer.out);
	rig_answer_done(&answer);
	return rc < 0 ? rc : await_bake(play);
}

static int undo(struct play *play, const char *lines, const char *way)
{
	struct rig_child *child;
	int rc = bake(play, lines);

	if (rc == 0)
		rc = arm(play);
	if (rc == 0)
		rc = rig_ctl_begin(play->torture->rig, &child, "undo", "cached", way, "--bake=50ms", NULL);
	return rc < 0 ? rc : act(play, child);
}

/* Nobody wants to hear from the rig that it does not come up. */
static int start_quietly(struct rig *rig)
{
	int kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), null = open("/dev/null", O_WRONLY | O_CLOEXEC), rc;

	if (kept < 0 || null < 0)
		return -errno;
	dup2(null, STDERR_FILENO);
	rc = rig_daemon_start(rig, NULL);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(null);
	return rc;
}

static int start(struct play *play)
{
	struct torture *torture = play->torture;
	int rc = who_serves(play);

	if (rc == 0 && is_of_service(play))
		rc = quiet(play, true);
	if (rc == 0)
		rc = rig_daemon_kill(torture->rig, SIGKILL);
	if (rc < 0)
		return rc;
	faults_arm(play->faults, play->serving);
	rc = start_quietly(torture->rig);
	faults_disarm(play->faults);
	if (rc == 0)
		return 0;
	play->ended = true;
	if (rc != -ECHILD || strstr(rig_why(torture->rig), "SIG") || !daemon_has_words(torture)) {
		torture_trouble(torture, "%s", rig_why(torture->rig));
		torture->wrong++;
	}
	return rig_daemon_start(torture->rig, NULL);
}

static int play_scene(struct play *play)
{
	int rc = rig_load_ask(play->torture->load, NULL, "crash");

	if (rc < 0)
		return rc;
	switch (play->scene) {
	case SCENE_ROLL: rc = roll(play, PATIENCE "Bake=50ms\nRollback=parked\n"); break;
	case SCENE_UNDO: rc = undo(play, PATIENCE "Bake=20s\nRollback=parked\n", "--way=live"); break;
	case SCENE_RESUME: rc = undo(play, PATIENCE "Bake=20s\nRollback=parked\n", "--way=parked"); break;
	case SCENE_IMAGE: rc = undo(play, PATIENCE "Bake=20s\nRollback=image\n", "--way=image"); break;
	case SCENE_START: rc = start(play); break;
	case SCENES: break;
	}
	faults_disarm(play->faults);
	if (rc == 0 && play->quiet)
		rc = quiet(play, false);
	return rc < 0 ? rc : daemon_look(play);
}

/* ---- judging ---- */

/* As docs/WAYS-BACK.md says of whatever fails then. */
static enum fate most_lost(const struct play *play)
{
	/* The image is the only rung, and what breaks it leads to the next, which starts empty. */
	if (play->scene == SCENE_IMAGE && play->role != FAULT_ROLE_CTL)
		return FATE_EVERYTHING;
	/* On the way back one process has the state. If it lacks what it needs for as long as anybody asks, that rung is lost. */
	if (play->from_then && play->scene == SCENE_RESUME && play->role != FAULT_ROLE_CTL)
		return FATE_EVERYTHING;
	if (play->scene == SCENE_START || play->role == FAULT_ROLE_CTL)
		return play->scene == SCENE_RESUME || play->scene == SCENE_IMAGE ? FATE_SINCE : FATE_NOTHING;
	if (play->scene == SCENE_RESUME)
		return FATE_SINCE;
	return play->role == FAULT_ROLE_OLD && play->scene == SCENE_ROLL ? FATE_NOTHING : FATE_SINCE;
}

static int play_whole(struct play *play, struct verdict *ret)
{
	struct torture *torture = play->torture;
	int rc, fate;

	torture->trouble[0] = '\0';
	log_begin(torture);
	rc = rig_load_ask(torture->load, NULL, "mark");
	if (rc == 0)
		rc = play_scene(play);
	fate = rc < 0 ? rc : torture_sound(torture, most_lost(play));
	log_judge(torture);
	if (fate < 0)
		return fate;
	*ret = (struct verdict){ .struck = atomic_load(&play->faults->struck) > 0, .ended = play->ended, .fate = (enum fate)fate,
				 .status = play->status };
	return 0;
}

static void add_rule(struct faults *faults, enum fault_role role, const struct fault_kind *kind, uint64_t at, uint64_t times)
{
	faults_add(faults, &(struct fault_rule){ .role = role, .classes = kind->classes, .where = kind->where,
						 .action = kind->action, .error = kind->error, .at = at, .times = times });
}

int trial_count(struct torture *torture, struct faults *faults, enum scene scene, uint64_t (*ret)[FAULT_ROLES])
{
	/* With clients that wait, as where they count: those of old and new. */
	struct play play = { .torture = torture, .faults = faults, .scene = scene, .role = FAULT_ROLE_OLD };
	struct verdict verdict;
	size_t rule = 0;
	int rc;

	faults_clear(faults);
	for (unsigned kind = 0; kind < fault_kinds_n; kind++)
		for (int role = 1; role < FAULT_ROLES; role++)
			add_rule(faults, (enum fault_role)role, &fault_kinds[kind], FAULT_ALWAYS, 1);
	rc = play_whole(&play, &verdict);
	if (rc == 0 && verdict.status != 0)
		torture_trouble(torture, "upgradectl ended with status %d", verdict.status);
	for (unsigned kind = 0; rc == 0 && kind < fault_kinds_n; kind++)
		for (int role = 1; role < FAULT_ROLES; role++)
			ret[kind][role] = atomic_load(&faults->rules[rule++].seen);
	return rc;
}

int trial_run(struct torture *torture, struct faults *faults, const struct trial *trial, struct verdict *ret)
{
	struct play play = { .torture = torture, .faults = faults, .scene = trial->scene, .role = trial->role,
			     .from_then = trial->from_then };

	faults_clear(faults);
	add_rule(faults, trial->role, trial->kind, trial->at, trial->from_then ? FAULT_ALWAYS : 1);
	return play_whole(&play, ret);
}
