/* SPDX-License-Identifier: MIT */
#include "supervisor/service/hook.h"

#include "base/base.h"
#include "supervisor/events/events.h"
#include "supervisor/process/output.h"
#include "supervisor/roll/report.h"
#include "supervisor/service/private.h"
#include "supervisor/unit/unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOOK_TIMEOUT_US (60 * USEC_PER_SEC)
#define HOOKS_MAX 32u /* a service that goes back all the time is not to fill the machine with them */

struct hook {
	struct hook *next;
	struct service_host *host;
	struct child child;
	struct timer due;
	struct output *output; /* what it prints; NULL: that is lost */
	bool overdue;
	uint64_t roll;
	char service[UNIT_NAME_MAX + 1];
};

static struct hook *hook_free(struct hook *hook)
{
	struct hook **link = &hook->host->hooks;

	while (*link && *link != hook)
		link = &(*link)->next;
	if (*link)
		*link = hook->next;
	timer_disarm(&hook->due);
	child_done(&hook->child);
	output_free(hook->output);
	free(hook);
	return NULL;
}

static void tell(const struct hook *hook, bool well, const char *text)
{
	enum log_level level = well ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING;
	Upgraded__Wire__Event event;

	log_about(level, &(const struct log_about){ .service = hook->service, .roll = hook->roll }, "OnRollback=: %s", text);
	told_begin(&event, "hook", level, hook->service);
	event.roll = hook->roll;
	event.text = wire_text(text);
	events_tell(hook->host->events, &event);
}

static void on_exit_of(struct child *child)
{
	struct hook *hook = container_of(child, struct hook, child);
	char how[sizeof(struct why)], text[sizeof(how) + 64];

	if (hook->output)
		output_finish(hook->output);
	child_describe(child, how, sizeof(how));
	snprintf(text, sizeof(text), "pid %d %s%s", (int)child->pid, how,
		 hook->overdue ? ": it had not ended in time" : "");
	tell(hook, WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0, text);
	hook_free(hook);
}

static void on_due(struct timer *timer)
{
	struct hook *hook = container_of(timer, struct hook, due);

	hook->overdue = true;
	child_kill_group(&hook->child);
}

/* ---- what it is given ---- */

#define VARIABLES 8u

/* Its end says what it did; to its environment goes what happened, in words that a shell can compare. */
static char **environment(const struct unit *unit, const struct roll_report *report)
{
	char text[VARIABLES][sizeof(struct why) + 32];
	const char *list[VARIABLES];

	snprintf(text[0], sizeof(text[0]), "SERVICE=%s", unit->name);
	snprintf(text[1], sizeof(text[1]), "OUTCOME=%s", roll_report_outcome(report));
	snprintf(text[2], sizeof(text[2]), "FROM=%s", report->from);
	snprintf(text[3], sizeof(text[3]), "TO=%s", report->to);
	snprintf(text[4], sizeof(text[4]), "CAUSE=%s", report->cause.text);
	snprintf(text[5], sizeof(text[5]), "LOST_US=%" PRIu64, report->wire.lost_us);
	snprintf(text[6], sizeof(text[6]), "ROLL=%" PRIu64, report->number);
	snprintf(text[7], sizeof(text[7]), "SERVES=%s", report->serves);
	for (size_t i = 0; i < VARIABLES; i++) {
		text_tame(text[i], strlen(text[i])); /* a service's words may be in them */
		list[i] = text[i];
	}
	return unit_environment(unit, list, VARIABLES);
}

static int open_output(struct hook *hook, const struct unit *unit, int *ret_theirs, struct why *why)
{
	unsigned long long inode;

	hook->output = output_new(hook->host->site.loop, unit->log_rate, unit->log_rate_bytes, NULL);
	if (!hook->output)
		return why_errno(why, -ENOMEM, "its output");
	return output_open(hook->output, ret_theirs, &inode, why);
}

static int spawn(struct hook *hook, const struct unit *unit, const struct roll_report *report, struct why *why)
{
	struct unit_line line = { "OnRollback", unit->on_rollback, 0 };
	FD_CLEANUP int theirs = -1;
	char **argv = NULL, **env = NULL;
	int r = unit_words(unit, &line, report->to, &argv, why);

	if (r == 0)
		r = open_output(hook, unit, &theirs, why);
	if (r == 0 && !(env = environment(unit, report)))
		r = why_errno(why, -ENOMEM, "environment");
	if (r == 0) {
		struct child_fd fds[] = { { theirs, STDOUT_FILENO }, { theirs, STDERR_FILENO } };
		struct child_spec spec = { .path = argv[0], .argv = argv, .envp = env, .cwd = unit->working_directory,
					   .fds = fds, .n_fds = 2 };

		unit_identity(unit, &spec);
		r = child_spawn(hook->host->site.loop, &hook->child, &spec, on_exit_of, why);
	}
	unit_command_free(argv);
	unit_command_free(env);
	return r;
}

static bool calls_for_it(enum roll_outcome outcome)
{
	switch (outcome) {
	case ROLL_IS_UNANSWERED:
	case ROLL_IS_BACK_LIVE:
	case ROLL_IS_BACK_PARKED:
	case ROLL_IS_BACK_IMAGE:
	case ROLL_IS_BACK_PART:
	case ROLL_IS_COLD:
	case ROLL_IS_FAILED:
		return true;
	case ROLL_IS_UNDER_WAY:
	case ROLL_IS_DONE:
	case ROLL_IS_REFUSED:
	case ROLL_IS_ABORTED:
		break;
	}
	return false;
}

static bool too_many(const struct service_host *host)
{
	unsigned n = 0;

	for (const struct hook *hook = host->hooks; hook; hook = hook->next)
		n++;
	return n >= HOOKS_MAX;
}

void hook_run(struct service_host *host, const struct unit *unit, const struct roll_report *report)
{
	struct why why = { 0 };
	struct hook *hook;

	if (!unit || !unit->on_rollback || !calls_for_it(report->outcome))
		return;
	hook = too_many(host) ? NULL : calloc(1, sizeof(*hook));
	if (!hook) {
		log_service(WARNING, unit->name, "OnRollback= is not run: too many of them run, or memory is out");
		return;
	}
	hook->host = host;
	hook->roll = report->id;
	snprintf(hook->service, sizeof(hook->service), "%s", unit->name);
	child_init(&hook->child);
	hook->next = host->hooks;
	host->hooks = hook;
	if (spawn(hook, unit, report, &why) < 0) {
		tell(hook, false, why.text);
		hook_free(hook);
		return;
	}
	output_name(hook->output, unit->name, "OnRollback", hook->child.pid);
	timer_arm(host->site.loop, &hook->due, clock_now_us() + HOOK_TIMEOUT_US, on_due);
}

void hook_end_all(struct service_host *host)
{
	while (host->hooks) {
		child_kill_group(&host->hooks->child);
		hook_free(host->hooks);
	}
}
