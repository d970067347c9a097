/* SPDX-License-Identifier: MIT */
#include "supervisor/service/private.h"

#include <stdio.h>
#include <string.h>

void answer_pack(const struct answer *answer, struct answer_message *ret)
{
	const struct lines *lines = answer->roll ? &answer->roll->lines : answer->lines;
	Upgraded__Wire__Result *result = &ret->result;

	if (answer->with)
		*result = *answer->with;
	else
		upgraded__wire__result__init(result);
	result->code = (uint32_t)answer->code;
	result->text = wire_text(answer->text);
	result->cause = wire_text(answer->cause);
	result->next = wire_text(answer->next);
	result->serving = wire_text(answer->serving);
	result->unchanged = answer->unchanged;
	result->about_serving = answer->serving != NULL;
	result->at_us = clock_now_us();
	result->realtime_us = clock_realtime_us();
	if (answer->serves) {
		upgraded__wire__serving__init(&ret->serves);
		ret->serves.version = wire_text(answer->serves->version);
		ret->serves.pid = answer->serves->pid;
		result->serving_now = &ret->serves;
	}
	result->n_log_lines = lines ? lines_list(lines, ret->lines) : 0;
	result->log_lines = ret->lines;
	if (answer->roll) {
		roll_report_tell(answer->roll, &ret->texts, &ret->report);
		result->roll = &ret->report;
	}
}

static void tell_refusal(const struct asker *asker, const struct answer *answer, const char *cause)
{
	Upgraded__Wire__Event event;
	Upgraded__Wire__Who who;
	char text[ANSWER_TEXT_BYTES + sizeof(struct why)];

	told_begin(&event, "refused", LOG_LEVEL_WARNING, asker->order_of);
	snprintf(text, sizeof(text), "%s: %s%s%s", asker->order, answer->text ? answer->text : "", *cause ? ": " : "", cause);
	event.text = text;
	who_tell(&asker->who, &who);
	event.asked_by = asker->who.asked ? &who : NULL;
	events_tell(asker->events, &event);
}

/* Who asked is told why nothing came of it; so is who reads the log, perhaps in another time zone. What came of a roll has a line
 * of its own. */
static void log_refusal(const struct asker *asker, const struct answer *answer)
{
	const char *cause = answer->cause ? answer->cause : "";
	char who[WHO_BYTES];

	if (!*asker->order || answer->code == WIRE_EXIT_DONE || answer->roll)
		return;
	log_about(LOG_LEVEL_WARNING, &(const struct log_about){ .service = *asker->order_of ? asker->order_of : NULL },
		  "%s: not done: %s%s%s; asked for by %s", asker->order, answer->text ? answer->text : "",
		  *cause ? ": " : "", cause, who_text(&asker->who, who));
	tell_refusal(asker, answer, cause);
}

void asker_answer(struct asker *asker, const struct answer *answer)
{
	struct answer_message message;

	log_refusal(asker, answer);
	answer_pack(answer, &message);
	asker->on_result(asker, &message.result);
}

static void send_news(struct asker *asker, const char *phase, pid_t pid, const char *text, uint64_t since_us, bool note)
{
	Upgraded__Wire__Progress progress = UPGRADED__WIRE__PROGRESS__INIT;

	if (!asker)
		return;
	progress.at_us = clock_now_us();
	progress.phase = wire_text(phase);
	progress.text = wire_text(text);
	progress.pid = pid;
	progress.elapsed_us = progress.at_us - since_us;
	progress.note = note;
	asker->on_progress(asker, &progress);
}

void asker_progress(struct asker *asker, const char *phase, pid_t pid, const char *text, uint64_t since_us)
{
	send_news(asker, phase, pid, text, since_us, false);
}

void asker_note(struct asker *asker, const char *phase, pid_t pid, const char *text, uint64_t since_us)
{
	send_news(asker, phase, pid, text, since_us, true);
}

/* ---- rolls ---- */

/* {s} is the service, {from} and {to} are the versions. */
static const struct {
	enum wire_exit code;
	const char *text, *next;
} roll_answers[] = {
	[ROLL_IS_DONE] = { WIRE_EXIT_DONE, "version {to} serves", "to go back: upgradectl undo {s}" },
	[ROLL_IS_REFUSED] = { WIRE_EXIT_REFUSED, "the roll to {to} was refused; nothing was touched",
			      "fix the cause, then run: upgradectl roll {s} {to}" },
	[ROLL_IS_ABORTED] = { WIRE_EXIT_ROLLED_BACK, "the roll to {to} was aborted before it committed; nothing was lost",
			      "fix the cause, then run: upgradectl roll {s} {to}" },
	[ROLL_IS_UNANSWERED] = { WIRE_EXIT_UNANSWERED,
				 "the roll to {to} was aborted, but version {from} has not said that it serves",
				 "check whether {from} serves: upgradectl status {s} says when it answers. Unanswered=restart "
				 "in the service file would end it" },
	[ROLL_IS_BACK_LIVE] = { WIRE_EXIT_ROLLED_BACK, "version {to} was undone: {from} serves, with all state from {to}",
				"fix the cause, then run: upgradectl roll {s} {to}" },
	[ROLL_IS_BACK_PARKED] = { WIRE_EXIT_ROLLED_BACK,
				  "version {to} failed after it had taken over; {from} is back from memory and serves",
				  "changes since the commit are lost. Fix the cause, then run: upgradectl roll {s} {to}" },
	[ROLL_IS_BACK_IMAGE] = { WIRE_EXIT_ROLLED_BACK,
				 "version {to} failed after it had taken over; {from} is back from its image and serves",
				 "changes since the commit are lost. Fix the cause, then run: upgradectl roll {s} {to}" },
	[ROLL_IS_BACK_PART] = { WIRE_EXIT_WAY_BACK_FAILED,
				"version {to} failed after it had taken over; {from} is back, but not whole",
				"{from} serves with what it has. To open the missing sockets again: upgradectl save {s} FILE, "
				"upgradectl stop {s}, upgradectl start {s} --from=FILE" },
	[ROLL_IS_COLD] = { WIRE_EXIT_WAY_BACK_FAILED, "the roll to {to} failed and no way back was left; {from} was started empty",
			   "the state and connections of {s} are lost; the log says why the way back failed" },
	[ROLL_IS_FAILED] = { WIRE_EXIT_WAY_BACK_FAILED,
			     "the roll to {to} failed, no way back was left, and version {from} does not start",
			     "start it by hand: upgradectl start {s} {from}" },
};

static void expand(const char *pattern, const char *service, const struct roll_report *roll, char *buf, size_t size)
{
	const struct {
		const char *name, *value;
	} words[] = { { "{s}", service }, { "{from}", roll->from }, { "{to}", roll->to } };
	size_t used = 0;

	while (*pattern && used + 1 < size) {
		const char *value = NULL;

		for (size_t i = 0; i < sizeof(words) / sizeof(*words) && !value; i++) {
			if (strncmp(pattern, words[i].name, strlen(words[i].name)) != 0)
				continue;
			value = words[i].value;
			pattern += strlen(words[i].name);
		}
		if (value)
			used += (size_t)snprintf(buf + used, size - used, "%s", value);
		else
			buf[used++] = *pattern++;
	}
	buf[used < size ? used : size - 1] = 0;
}

/* An image was required and looked for before the roll; that it failed after the commit is only told. */
static struct answer of_missed_image(const char *service, const struct roll_report *roll, struct answer_words *words)
{
	snprintf(words->text, sizeof(words->text),
		 "%s: version %s serves, but the required image could not be taken; the way back is %s", service, roll->to,
		 rungs_text(roll->rungs));
	return (struct answer){
		.code = WIRE_EXIT_DONE,
		.text = words->text,
		.cause = roll->image_missed.text,
		.next = "if it fails during the bake, the parked process serves again",
		.roll = roll,
	};
}

/* It serves, and has its state. But who would come in by what is missing does not. */
static void tell_missed(const char *service, const struct roll_report *roll, struct answer_words *words)
{
	char missed[ANSWER_TEXT_BYTES / 2];

	snprintf(words->text, sizeof(words->text),
		 "%s: version %s failed after it had taken over; version %s is back, but without %s", service, roll->to, roll->from,
		 roll_names_text(&roll->missed, missed, sizeof(missed)));
}

struct answer answer_of_roll(const char *service, const struct roll_report *roll, struct answer_words *words)
{
	/* Before the end of the bake the outcome is not decided: the answer at the commit is that the new version serves. */
	enum roll_outcome outcome = roll->outcome == ROLL_IS_UNDER_WAY ? ROLL_IS_DONE : roll->outcome;
	struct answer answer = { .text = words->text, .next = words->next, .cause = roll->cause.text, .roll = roll };
	const char *next = roll_answers[outcome].next, *text = roll_answers[outcome].text;
	int n;

	if (outcome == ROLL_IS_DONE && *roll->image_missed.text)
		return of_missed_image(service, roll, words);
	answer.code = roll_answers[outcome].code;
	if (roll->wire.journal && (outcome == ROLL_IS_BACK_PARKED || outcome == ROLL_IS_BACK_IMAGE))
		next = roll->wire.reset ?
			       "the journal restored every change, but not the connections that were reset. Fix the cause before "
			       "you roll again" :
			       "the journal restored every change; nothing was lost. Fix the cause before you roll again";
	if (roll->wire.plain && outcome == ROLL_IS_BACK_PARKED) {
		text = "version {to} failed during the bake; {from} serves on";
		next = "fix the cause, then run: upgradectl roll {s} {to}";
	}
	n = snprintf(words->text, sizeof(words->text), "%s: ", service);
	expand(text, service, roll, words->text + n, sizeof(words->text) - (size_t)n);
	expand(next, service, roll, words->next, sizeof(words->next));
	if (outcome == ROLL_IS_BACK_PART)
		tell_missed(service, roll, words);
	return answer;
}

/* ---- who waits for a service ---- */

void service_wait(struct service *service, struct asker *asker)
{
	service->asker = asker;
	if (asker)
		asker->service = service;
}

void service_forget(struct asker *asker)
{
	struct service *service = asker->service;

	asker->service = NULL;
	if (!service)
		return;
	if (service->asker == asker)
		service->asker = NULL;
	if (service->bake_call.asker == asker)
		service->bake_call.asker = NULL;
	if (service->abort_asker == asker)
		service->abort_asker = NULL;
	if (service->stop_asker == asker)
		service->stop_asker = NULL;
	if (asker->follows != FOLLOWS_NOTHING)
		service_unfollow(service, asker);
	service_plan_forget(service, asker);
}

static const struct instance *serving(const struct service *service)
{
	const struct instance *found = NULL;

	for (const struct member *member = service->members; member && !found; member = member->next)
		found = member_serving(member);
	return found;
}

const char *service_serving_text(const struct service *service, char *buf)
{
	const struct instance *who = serving(service);

	if (instance_is_alive(who))
		snprintf(buf, ROLL_SERVES_BYTES, "version %s (pid %d)", who->version, who->pid);
	else
		snprintf(buf, ROLL_SERVES_BYTES, "nothing");
	return buf;
}

static void send_answer(struct service *service, struct asker *asker, struct answer answer)
{
	char now[ROLL_SERVES_BYTES];

	answer.serving = service_serving_text(service, now);
	answer.serves = instance_is_alive(serving(service)) ? serving(service) : NULL;
	service_forget(asker);
	asker_answer(asker, &answer);
}

void service_answer(struct service *service, struct asker *asker, const struct answer *answer, const char *fmt, ...)
{
	struct answer whole = *answer;
	char text[ANSWER_TEXT_BYTES];
	va_list args;

	if (!asker)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	whole.text = text;
	send_answer(service, asker, whole);
}

void service_answer_roll(struct service *service, struct asker *asker, const struct roll_report *roll)
{
	struct answer_words words;
	struct answer whole = answer_of_roll(service->name, roll, &words);

	if (asker)
		send_answer(service, asker, whole);
}

void service_answer_detached(struct service *service, struct asker *asker, const struct roll_report *roll)
{
	char next[192];

	if (!asker || !asker->detach)
		return;
	snprintf(next, sizeof(next), "follow it: upgradectl watch %s; call it off: upgradectl abort %s", service->name,
		 service->name);
	service_answer(service, asker, &(struct answer){ .code = WIRE_EXIT_DONE, .next = next, .roll = roll },
		       "%s: roll %llu has begun: %s -> %s", service->name, (unsigned long long)roll->number, roll->from, roll->to);
}
