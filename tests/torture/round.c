/* SPDX-License-Identifier: MIT */
#include "tests/torture/round.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 60
#define STAND_US (2 * USEC_PER_SEC)     /* for so long a party is stopped */
#define REACH_US (25 * USEC_PER_SEC)
#define REST_US (60 * USEC_PER_SEC)
#define GONE_US (20 * USEC_PER_SEC)
#define CHILD_US (2 * USEC_PER_SEC)     /* CRIU comes a little later than the state it works in */
#define LOOK_US 200
#define AT_REST "Bake=50ms\nRollback=parked\nRestartDelay=10ms\n"

const char *fate_name(enum fate fate)
{
	static const char *const names[FATES] = { "missed", "absent", "nothing", "since", "all" };

	return names[fate];
}

void torture_trouble(struct torture *torture, const char *fmt, ...)
{
	size_t used = strlen(torture->trouble);
	va_list args;

	if (used && used + 3 < sizeof(torture->trouble))
		used += (size_t)snprintf(torture->trouble + used, sizeof(torture->trouble) - used, "; ");
	va_start(args, fmt);
	vsnprintf(torture->trouble + used, sizeof(torture->trouble) - used, fmt, args);
	va_end(args);
}

static void nap_us(unsigned us)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)us * 1000 }, NULL);
}

/* ---- clients ---- */

static int load_begin(struct torture *torture)
{
	struct rig_load_options options = {
		.connections = CONNECTIONS, .keys = 4, .rate = 1200, .values = "16-600", .seed = ++torture->loads
	};

	torture->connections = CONNECTIONS;
	return rig_load_start(torture->rig, torture->port, &options, &torture->load);
}

/* Its server has lost all that it had: what it says is of no use. */
static int load_anew(struct torture *torture)
{
	struct rig_load *load = torture->load;

	torture->load = NULL;
	(void)rig_load_stop(load, NULL, NULL);
	return load_begin(torture);
}

static int client_begin(struct torture *torture)
{
	char program[PATH_MAX], port[16];
	const char *argv[] = { program, "--client", port, NULL };

	if (torture->client) {
		(void)rig_run_kill(torture->client, SIGKILL);
		(void)rig_run_wait(torture->client, GONE_US, NULL);
	}
	torture->client = NULL;
	snprintf(program, sizeof(program), "%s", rig_program(torture->rig, "upg-torture"));
	snprintf(port, sizeof(port), "%u", torture->port);
	return rig_run_begin(torture->rig, &(struct rig_run){ .argv = argv }, &torture->client);
}

/* ---- how things are ---- */

struct look {
	char state[64], version[64], outcome[64];
	pid_t serving;
	unsigned serve; /* how many say that they do */
	int64_t commit_us, resume_us;
};

static int look(struct torture *torture, struct look *ret)
{
	json_t *entry = rig_status(torture->rig, "cached"), *instance;
	size_t i;

	*ret = (struct look){ .serving = 0 };
	if (!entry)
		return -EPROTO;
	snprintf(ret->state, sizeof(ret->state), "%s", rig_text(entry, "state"));
	snprintf(ret->version, sizeof(ret->version), "%s", rig_text(entry, "version"));
	snprintf(ret->outcome, sizeof(ret->outcome), "%s", rig_text(entry, "last_roll.outcome"));
	ret->commit_us = rig_number(entry, "last_roll.commit_us");
	ret->resume_us = rig_number(entry, "last_roll.resume_us");
	json_array_foreach(json_object_get(entry, "instances"), i, instance) {
		if (strcmp(rig_text(instance, "state"), "serving") != 0)
			continue;
		ret->serving = (pid_t)rig_number(instance, "pid");
		ret->serve++;
	}
	json_decref(entry);
	return 0;
}

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcmp(*words, word) != 0)
		words++;
	return *words;
}

/* Until nothing is under way any more. A bake is ended. */
static int rest(struct torture *torture, struct look *ret)
{
	static const char *const resting[] = { "running", "stopped", "failed", NULL };
	uint64_t due_us = clock_now_us() + REST_US;

	for (;;) {
		struct rig_answer answer = { 0 };

		if (look(torture, ret) < 0)
			return -EPROTO;
		if (is_one_of(ret->state, resting))
			return 0;
		if (strcmp(ret->state, "baking") == 0 && rig_ctl(torture->rig, &answer, "accept", "cached", NULL) == 0)
			rig_answer_done(&answer);
		if (clock_now_us() >= due_us)
			return rig_fail(torture->rig, -ETIMEDOUT, "the service does not come to rest: it is %s", ret->state);
		rig_reap(torture->rig);
		nap_us(20000);
	}
}

static void compare_traces(struct torture *torture, const char *what, unsigned n, unsigned want)
{
	if (n == want)
		return;
	torture_trouble(torture, "%u %s, not %u", n, what, want);
	torture->leaks++;
}

static void look_for_traces(struct torture *torture)
{
	struct rig_traces now;

	rig_traces(torture->rig, &now);
	compare_traces(torture, "mounts", now.mounts, torture->traces.mounts);
	compare_traces(torture, "locks", now.locks, torture->traces.locks);
	compare_traces(torture, "rules of the firewall", now.rules, torture->traces.rules);
}

/* Processes, descriptors, stopped processes, mounts, locks, rules of the firewall: what is there again after each blow. Nobody but
 * the daemon, what serves, the load and the client. */
static void look_for_leaks(struct torture *torture, pid_t serving)
{
	uint64_t due_us = clock_now_us() + GONE_US;
	pid_t daemon = rig_daemon_pid(torture->rig);
	unsigned want = torture->client && !rig_run_ended(torture->client) ? 4 : 3, fds = 0, processes = 0;
	unsigned serving_fds = 0;

	if (torture->traced) {
		daemon = party_tracee(daemon);
		want++;
	}
	do {
		rig_reap(torture->rig);
		processes = rig_processes();
		fds = rig_descriptors(daemon);
		serving_fds = torture->serving_fds ? rig_descriptors(serving) : 0;
		if (processes == want && fds <= torture->daemon_fds && serving_fds <= torture->serving_fds &&
		    !party_count_stopped())
			break;
		nap_us(20000);
	} while (clock_now_us() < due_us);
	if (processes != want) {
		torture_trouble(torture, "%u processes, not %u", processes, want);
		torture->leaks++;
	}
	if (fds > torture->daemon_fds) {
		torture_trouble(torture, "%u descriptors in upgraded, not %u", fds, torture->daemon_fds);
		torture->leaks++;
	}
	if (serving_fds > torture->serving_fds) {
		torture_trouble(torture, "%u descriptors in what serves, not %u", serving_fds, torture->serving_fds);
		torture->leaks++;
	}
	if (party_count_stopped()) {
		torture_trouble(torture, "%u processes stand still", party_count_stopped());
		torture->leaks++;
	}
	look_for_traces(torture);
}

/* ---- what was lost ---- */

/* Return: the fate, by what clients saw, or <0. */
static int judge(struct torture *torture, const struct look *at)
{
	bool back = strncmp(at->outcome, "rolled-back-", 12) == 0 && strcmp(at->outcome, "rolled-back-live") != 0;
	uint64_t now = clock_now_us();
	json_t *report = NULL, *settled = NULL;
	int64_t live, reset;
	int rc = rig_load_ask(torture->load, &report, "report");

	if (rc < 0)
		return rc;
	live = rig_number(report, "connections");
	json_decref(report);
	/* What a version that failed has served is reset, perhaps all of it: then it is looked at what they hold. */
	if (live < (int64_t)torture->connections && !back)
		return (rc = load_anew(torture)) < 0 ? rc : FATE_EVERYTHING;
	if (back)
		rc = rig_load_ask(torture->load, &settled, "settle %lld %lld", (long long)at->commit_us, (long long)at->resume_us);
	else
		rc = rig_load_ask(torture->load, &settled, "settle %llu %llu", (unsigned long long)now, (unsigned long long)now);
	if (rc < 0)
		return rc;
	reset = rig_number(settled, "reset");
	if (rig_number(settled, "served_by_lost") > 0) {
		torture_trouble(torture, "%lld answers of what was taken back", (long long)rig_number(settled, "served_by_lost"));
		torture->wrong++;
	}
	json_decref(settled);
	return back ? FATE_SINCE : reset > 0 ? FATE_EVERYTHING : FATE_NOTHING;
}

/* The load's own figures since the mark. */
static int count(struct torture *torture, bool excused)
{
	json_t *report = NULL;
	int rc = rig_load_ask(torture->load, &report, "report");
	int64_t wrong, failed, lost, us;

	if (rc < 0)
		return rc;
	wrong = rig_number(report, "since_mark.wrong");
	failed = rig_number(report, "since_mark.failed");
	lost = rig_number(report, "since_mark.lost_connections");
	us = rig_number(report, "since_mark.latency_us.max");
	json_decref(report);
	if (wrong > 0) {
		torture_trouble(torture, "%lld wrong answers", (long long)wrong);
		torture->wrong += (uint64_t)wrong;
	}
	if (failed > 0 || lost > 0) {
		torture_trouble(torture, "%lld requests failed, %lld connections lost", (long long)failed, (long long)lost);
		torture->lost += (uint64_t)(failed + lost);
	}
	if (us > 0 && !excused && (uint64_t)us > torture->worst_us)
		torture->worst_us = (uint64_t)us;
	return rig_load_ask(torture->load, NULL, "mark");
}

int torture_unit(struct torture *torture, const char *lines)
{
	char all[4 * PATH_MAX];

	snprintf(all, sizeof(all), "%s%s", lines, torture->more ? torture->more : "");
	return rig_cached_write(torture->rig, "cached",
				&(struct rig_cached){ .port = torture->port, .lines = all, .threads = 2 });
}

static int serve_again(struct torture *torture, struct look *at)
{
	struct rig_answer answer = { 0 };
	int rc;

	rc = torture_unit(torture, AT_REST);
	if (rc == 0)
		rc = rig_ctl(torture->rig, &answer, "start", "cached", "v1", NULL);
	if (rc == 0 && answer.status != 0)
		rc = rig_fail(torture->rig, -EPROTO, "it cannot be started again: %s", answer.out);
	rig_answer_done(&answer);
	return rc < 0 ? rc : look(torture, at);
}

int torture_roll_begin(struct torture *torture, const char *lines, pid_t arm, struct rig_child **ret_child)
{
	struct look at;
	int rc = torture_unit(torture, lines);

	if (rc == 0)
		rc = look(torture, &at);
	if (rc == 0 && arm && kill(arm, SIGUSR1) < 0)
		rc = -errno;
	if (rc < 0)
		return rc;
	return rig_ctl_begin(torture->rig, ret_child, "roll", "cached", strcmp(at.version, "v2") == 0 ? "v3" : "v2", NULL);
}

static void next_roll(struct torture *torture, const struct look *at)
{
	const char *to = strcmp(at->version, "v2") == 0 ? "v3" : "v2";
	struct rig_answer answer = { 0 };
	int rc = torture_unit(torture, AT_REST);

	if (rc == 0)
		rc = rig_ctl(torture->rig, &answer, "roll", "cached", to, NULL);
	if (rc < 0 || answer.status != 0)
		torture_trouble(torture, "the next roll to %s ends with status %d: %s", to, answer.status,
				rc < 0 ? rig_why(torture->rig) : rig_text(answer.json, "cause"));
	rig_answer_done(&answer);
}

int torture_sound(struct torture *torture, enum fate most)
{
	static const char *const off[] = { "stopped", "failed", NULL };
	struct look at;
	int fate, rc = rest(torture, &at);
	bool anew;

	if (rc < 0)
		return rc;
	anew = is_one_of(at.state, off);
	if (anew) {
		rc = serve_again(torture, &at);
		fate = rc < 0 || (rc = load_anew(torture)) < 0 ? rc : FATE_EVERYTHING;
	} else {
		fate = judge(torture, &at);
	}
	if (fate < 0)
		return fate;
	if (at.serve != 1 || kill(at.serving, 0) < 0) {
		torture_trouble(torture, "%u versions serve (pid %d)", at.serve, (int)at.serving);
		torture->wrong++;
	}
	if (fate > (int)most) {
		torture_trouble(torture, "lost: %s, where at most %s may be (%s, %s)", fate_name((enum fate)fate), fate_name(most),
				at.state, at.outcome);
		torture->lost++;
	}
	rc = count(torture, fate == FATE_EVERYTHING);
	if (rc == 0 && (!torture->client || rig_run_ended(torture->client)))
		rc = client_begin(torture);
	if (rc < 0)
		return rc;
	look_for_leaks(torture, at.serving);
	next_roll(torture, &at);
	rc = count(torture, false);
	return rc < 0 ? rc : fate;
}

/* ---- a blow ---- */

/* What may be lost, by docs/WAYS-BACK.md. */
static enum fate most_lost(const struct recipe *recipe, const struct blow *blow)
{
	enum roll_state s = blow->state;
	bool committed = roll_has_committed(s);
	bool back = s == ROLL_RETREAT || s == ROLL_RETREAT_IMAGING || s == ROLL_RESUME || s == ROLL_RESTORE || s == ROLL_COLD;
	bool ends = blow->signal != SIGSTOP;

	if (s == ROLL_COLD || (recipe->fails_late && !recipe->has_rung))
		return FATE_EVERYTHING;
	/* Told to end, it ends its services. */
	if (blow->party == PARTY_UPGRADED && blow->signal == SIGTERM)
		return FATE_EVERYTHING;
	/* On the way back one process has it all, and it needs the supervisor, and CRIU, to come back. */
	if (back)
		return blow->party == PARTY_CLI || blow->party == PARTY_CLIENT || !ends ? FATE_SINCE : FATE_EVERYTHING;
	if (blow->party == PARTY_OLD && !committed && ends)
		return FATE_EVERYTHING;
	/* The blow comes a little later than the state: it may have committed meanwhile. If not, nothing can be taken back. */
	if (blow->party == PARTY_NEW)
		return recipe->has_rung ? FATE_SINCE : committed ? FATE_EVERYTHING : FATE_NOTHING;
	return recipe->fails_late ? FATE_SINCE : FATE_NOTHING;
}

struct scene {
	struct torture *torture;
	const struct recipe *recipe;
	const struct blow *blow;
	struct watcher watcher;
	struct rig_child *roll, *then;
};

static bool all_ended(const struct scene *scene)
{
	return rig_run_ended(scene->roll) && (!scene->then || rig_run_ended(scene->then));
}

/* Return: 0; -ENOENT: the state is not reached. */
static int reach(struct scene *scene, enum roll_state state)
{
	uint64_t due_us = clock_now_us() + REACH_US;

	for (;;) {
		bool ended = all_ended(scene);

		watcher_look(&scene->watcher);
		if (scene->watcher.seen[state] && scene->watcher.new)
			return 0;
		if (ended || clock_now_us() >= due_us)
			return -ENOENT;
		nap_us(LOOK_US);
	}
}

static int lead(struct scene *scene)
{
	static const char *const versions[] = { [THEN_UNDO] = "undo", [THEN_PACK] = "pack", [THEN_ABORT] = "abort" };
	struct torture *torture = scene->torture;
	const struct recipe *recipe = scene->recipe;
	struct look at;
	const char *to;
	int rc = torture_unit(torture, recipe->lines);

	if (rc < 0 || (rc = look(torture, &at)) < 0)
		return rc;
	to = recipe->to ? recipe->to : strcmp(at.version, "v2") == 0 ? "v3" : "v2";
	rc = rig_ctl_begin(torture->rig, &scene->roll, "roll", "cached", to, NULL);
	if (rc < 0 || recipe->then == THEN_NOTHING)
		return rc;
	rc = reach(scene, recipe->then == THEN_ABORT ? ROLL_STANDBY : ROLL_BAKE);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (recipe->then == THEN_ONWARD)
		return rig_ctl_begin(torture->rig, &scene->then, "roll", "cached", strcmp(to, "v3") == 0 ? "v2" : "v3",
				     "--bake=300ms", NULL);
	return rig_ctl_begin(torture->rig, &scene->then, versions[recipe->then], "cached", NULL);
}

static pid_t find(struct scene *scene)
{
	uint64_t due_us = clock_now_us() + CHILD_US;
	pid_t daemon = rig_daemon_pid(scene->torture->rig), pid;

	switch (scene->blow->party) {
	case PARTY_OLD: return scene->watcher.old;
	case PARTY_NEW: return scene->watcher.new;
	case PARTY_UPGRADED: return daemon;
	case PARTY_CLI: return rig_run_pid(scene->then ? scene->then : scene->roll);
	case PARTY_CLIENT: return rig_run_pid(scene->torture->client);
	case PARTY_CRIU:
	case PARTY_CHECKSUM:
		while (!(pid = party_find_child(scene->blow->party, daemon)) && !all_ended(scene) && clock_now_us() < due_us)
			nap_us(LOOK_US);
		return pid;
	case PARTIES: break;
	}
	return 0;
}

/* Return: whether there was somebody to strike. */
static bool strike(struct scene *scene)
{
	pid_t pid = find(scene);
	int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
	uint64_t due_us = clock_now_us() + STAND_US;
	bool struck = pidfd >= 0 && pidfd_send_signal(pidfd, scene->blow->signal, NULL, 0) == 0;

	while (struck && scene->blow->signal == SIGSTOP && clock_now_us() < due_us) {
		(void)all_ended(scene); /* what they say is read */
		nap_us(5000);
	}
	if (struck && scene->blow->signal == SIGSTOP)
		(void)pidfd_send_signal(pidfd, SIGCONT, NULL, 0);
	if (pidfd >= 0)
		close(pidfd);
	return struck;
}

int torture_daemon_again(struct torture *torture, int signal)
{
	int rc = 0;

	if (signal == SIGKILL) {
		rc = rig_daemon_kill(torture->rig, SIGKILL);
	} else {
		/* All its children but the load are its services: the client must not be taken for one that is left. */
		rc = rig_daemon_stop(torture->rig);
		if (rc == -EBUSY) {
			torture_trouble(torture, "upgraded left processes behind");
			torture->leaks++;
			rc = 0;
		}
	}
	return rc < 0 ? rc : rig_daemon_start(torture->rig, NULL);
}

static int end(struct scene *scene)
{
	struct rig_child **children[] = { &scene->roll, &scene->then };
	int rc = 0;

	for (size_t i = 0; i < 2; i++) {
		if (*children[i] && rig_run_wait(*children[i], REST_US, NULL) < 0)
			rc = -ETIMEDOUT;
		*children[i] = NULL;
	}
	return rc;
}

static int blow_in_scene(struct scene *scene)
{
	struct torture *torture = scene->torture;
	const struct blow *blow = scene->blow;
	bool struck, reached;
	struct look at;
	int rc = lead(scene), fate;

	if (rc < 0)
		return rc;
	reached = reach(scene, blow->state) == 0;
	struck = reached && strike(scene);
	torture->kills += struck;
	if (struck && blow->party == PARTY_UPGRADED && blow->signal != SIGSTOP)
		rc = torture_daemon_again(torture, blow->signal);
	if (rc == 0)
		rc = rest(torture, &at); /* before the tools are waited for, as a bake may be long */
	if (rc == 0)
		rc = end(scene);
	if (rc < 0)
		return rc;
	fate = torture_sound(torture, struck ? most_lost(scene->recipe, blow) : FATE_EVERYTHING);
	watcher_look(&scene->watcher);
	if (scene->watcher.bugs) {
		torture_trouble(torture, "upgraded says that it has a bug");
		torture->wrong++;
	}
	return fate < 0 ? fate : !reached ? FATE_MISSED : !struck ? FATE_ABSENT : fate;
}

int torture_blow(struct torture *torture, const struct blow *blow)
{
	struct scene scene = { .torture = torture, .recipe = recipe_for(blow->state, blow->nth), .blow = blow };
	int rc = rig_load_ask(torture->load, NULL, "mark");

	torture->trouble[0] = '\0';
	if (rc == 0)
		rc = rig_load_ask(torture->load, NULL, "crash");
	if (rc == 0)
		rc = watcher_begin(&scene.watcher, torture->rig);
	if (rc < 0)
		return rc;
	rc = blow_in_scene(&scene);
	(void)end(&scene);
	watcher_end(&scene.watcher);
	torture->well += rc >= FATE_NOTHING && !*torture->trouble;
	return rc;
}

/* ---- the beginning and the end ---- */

int torture_open(struct torture *torture)
{
	struct look at;
	int rc = torture->rig ? 0 : rig_new("torture", &torture->rig);

	if (rc < 0)
		return rc;
	torture->port = rig_port(torture->rig);
	rc = torture_unit(torture, AT_REST);
	if (rc == 0)
		rc = rig_daemon_start(torture->rig, NULL);
	if (rc == 0)
		rc = serve_again(torture, &at);
	if (rc == 0)
		rc = load_begin(torture);
	if (rc == 0)
		rc = client_begin(torture);
	if (rc < 0)
		return rc;
	/* As a supervisor has that was started anew, and has rolled once: what it opens once for all is open then. */
	rc = torture_daemon_again(torture, SIGKILL);
	if (rc == 0)
		next_roll(torture, &at);
	torture->daemon_fds = rig_descriptors(rig_daemon_pid(torture->rig));
	rig_traces(torture->rig, &torture->traces);
	return rc < 0 ? rc : *torture->trouble ? -EPROTO : 0;
}

void torture_close(struct torture *torture)
{
	if (torture->load)
		(void)rig_load_stop(torture->load, NULL, NULL);
	if (torture->rig && rig_daemon_pid(torture->rig) && rig_daemon_stop(torture->rig) == -EBUSY)
		torture->leaks++;
	torture->rig = rig_free(torture->rig);
}
