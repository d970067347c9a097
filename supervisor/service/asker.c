/* SPDX-License-Identifier: MIT */
/* Whoever waits for something: told how it gets on, and answered once. */
#include "supervisor/service/private.h"

#include <stdio.h>

void asker_progress(struct asker *asker, const char *phase, pid_t pid, const char *text, uint64_t since_us)
{
	Upgraded__Wire__Progress progress = UPGRADED__WIRE__PROGRESS__INIT;

	if (!asker)
		return;
	progress.at_us = clock_now_us();
	progress.phase = (char *)(uintptr_t)phase;
	progress.text = (char *)(uintptr_t)text;
	progress.pid = pid;
	progress.elapsed_us = progress.at_us - since_us;
	asker->on_progress(asker, &progress);
}

void service_forget(struct asker *asker)
{
	if (asker->service && asker->service->asker == asker)
		asker->service->asker = NULL;
	if (asker->service)
		service_plan_forget(asker->service, asker);
	if (asker->service && asker->service->visitor == asker)
		asker->service->visitor = NULL;
	asker->service = NULL;
}

void service_result(const struct service *service, struct asker *asker, Upgraded__Wire__Result *result)
{
	const struct instance *who = service_serving(service);
	char now[128];

	if (who && !who->exited)
		snprintf(now, sizeof(now), "version %s (pid %d)", who->version, who->child.pid);
	else
		snprintf(now, sizeof(now), "nothing");
	result->serving = now;
	asker->on_result(asker, result);
}

void service_answer(struct service *service, struct asker *asker, enum wire_exit code, const struct lines *lines,
		    const struct roll_result *roll, const char *cause, const char *next, const char *fmt, ...)
{
	Upgraded__Wire__Result result = UPGRADED__WIRE__RESULT__INIT;
	Upgraded__Wire__RollReport report;
	char text[512], started[32], *line_list[INSTANCE_LINES];
	va_list args;

	if (!asker)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	result.code = (uint32_t)code;
	result.text = text;
	result.cause = text_of(cause);
	result.next = text_of(next);
	if (roll) {
		service_fill_report(roll, &report, started, sizeof(started), line_list);
		result.roll = &report;
		lines = &roll->lines;
	}
	for (unsigned i = 0; lines && i < lines->n; i++)
		line_list[result.n_log_lines++] = text_of(lines->text[(lines->first + i) % INSTANCE_LINES]);
	result.log_lines = line_list;
	service_forget(asker);
	service_result(service, asker, &result);
}

void service_answer_roll(struct service *service, struct asker *asker, const struct roll_result *roll)
{
	static const struct {
		enum wire_exit code;
		const char *before, *after; /* the version that was rolled to */
		const char *next;
	} answers[] = {
		[ROLL_IS_DONE] = { WIRE_EXIT_DONE, "version ", " serves", "" },
		[ROLL_IS_REFUSED] = { WIRE_EXIT_REFUSED, "the roll to ", " was refused; nothing was touched",
				      "mend the cause and roll again" },
		[ROLL_IS_ABORTED] = { WIRE_EXIT_ROLLED_BACK,
				      "the roll to ", " was called off before it committed; nothing was lost",
				      "mend the cause and roll again" },
		[ROLL_IS_BACK_LIVE] = { WIRE_EXIT_ROLLED_BACK,
					"version ", " was left again with all its state: the version before serves",
					"mend the cause before you roll again" },
		[ROLL_IS_BACK_PARKED] = { WIRE_EXIT_ROLLED_BACK,
					  "version ", " failed after it had taken over; the version before came back from memory",
					  "what was written in between is lost; mend the cause before you roll again" },
		[ROLL_IS_BACK_IMAGE] = { WIRE_EXIT_ROLLED_BACK,
					 "version ", " failed after it had taken over; the version before came back from its image",
					 "what was written in between is lost; mend the cause before you roll again" },
		[ROLL_IS_COLD] = { WIRE_EXIT_WAY_BACK_FAILED,
				   "the roll to ", " failed and no way back was left; the version before was started empty",
				   "its state and connections are lost; see the log for why the way back failed" },
		[ROLL_IS_FAILED] = { WIRE_EXIT_WAY_BACK_FAILED,
				     "the roll to ", " failed, no way back was left, and the version before does not start",
				     "start it by hand: upgradectl start SERVICE VERSION" },
	};
	/* Before the end of the bake the outcome is not decided: the answer at the commit is that the new version serves. */
	enum roll_outcome outcome = roll->over ? roll->outcome : ROLL_IS_DONE;
	const char *next = answers[outcome].next;

	if (outcome == ROLL_IS_DONE && *roll->image_missed.text) {
		service_answer(service, asker, WIRE_EXIT_DONE, NULL, roll, roll->image_missed.text,
			       "a failure of it would be answered from memory, within the bake",
			       "%s: version %s serves, but the image that was required could not be taken; the way back is %s",
			       service->name, roll->to, roll->way_back);
		return;
	}
	if (roll->journal && (outcome == ROLL_IS_BACK_PARKED || outcome == ROLL_IS_BACK_IMAGE))
		next = "its journal made up for it: nothing is lost; mend the cause before you roll again";
	service_answer(service, asker, answers[outcome].code, NULL, roll, roll->cause.text, next,
		       "%s: %s%s%s", service->name, answers[outcome].before, roll->to, answers[outcome].after);
}
