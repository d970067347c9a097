/* SPDX-License-Identifier: MIT */
#include "tests/rig/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 24
#define CTL_TIMEOUT_US (60 * USEC_PER_SEC)
#define LOOK_AGAIN_MS 20

/* upgradectl and what it is started with; the words are borrowed. */
struct command {
	const char *argv[WORDS_MAX + 1];
	const char *environment[2];
	char program[PATH_MAX];
	char variable[PATH_MAX + 32];
	struct rig_run run;
};

static void command_begin(struct rig *rig, struct command *command, const char *output)
{
	size_t n = 0;

	snprintf(command->program, sizeof(command->program), "%s", rig_program(rig, "upgradectl"));
	snprintf(command->variable, sizeof(command->variable), "UPGRADED_SOCKET=%s", rig->control);
	command->argv[n++] = command->program;
	if (output) {
		command->argv[n++] = "-o";
		command->argv[n++] = output;
	}
	command->argv[n] = NULL;
	command->environment[0] = command->variable;
	command->environment[1] = NULL;
	command->run = (struct rig_run){ .argv = command->argv, .environment = command->environment };
}

static int command_words(struct rig *rig, struct command *command, va_list words)
{
	const char *word;
	size_t n = 0;

	while (command->argv[n])
		n++;
	while ((word = va_arg(words, const char *)) != NULL) {
		if (n == WORDS_MAX)
			return rig_fail(rig, -E2BIG, "more than %d words for upgradectl", WORDS_MAX);
		command->argv[n++] = word;
	}
	command->argv[n] = NULL;
	return 0;
}

static int command_run(struct rig *rig, const struct command *command, struct rig_answer *ret_answer)
{
	struct rig_child *child;
	int rc = rig_run_begin(rig, &command->run, &child);

	return rc < 0 ? rc : rig_run_wait(child, CTL_TIMEOUT_US, ret_answer);
}

int rig_ctl(struct rig *rig, struct rig_answer *ret_answer, ...)
{
	struct command command;
	va_list words;
	int rc;

	command_begin(rig, &command, "json");
	va_start(words, ret_answer);
	rc = command_words(rig, &command, words);
	va_end(words);
	return rc < 0 ? rc : command_run(rig, &command, ret_answer);
}

int rig_ctl_begin(struct rig *rig, struct rig_child **ret_child, ...)
{
	struct command command;
	va_list words;
	int rc;

	command_begin(rig, &command, "json");
	va_start(words, ret_child);
	rc = command_words(rig, &command, words);
	va_end(words);
	return rc < 0 ? rc : rig_run_begin(rig, &command.run, ret_child);
}

int rig_ctl_text(struct rig *rig, struct rig_answer *ret_answer, void (*on_line)(void *data, const char *line), void *data, ...)
{
	struct command command;
	va_list words;
	int rc;

	command_begin(rig, &command, NULL);
	command.run.on_line = on_line;
	command.run.data = data;
	va_start(words, data);
	rc = command_words(rig, &command, words);
	va_end(words);
	return rc < 0 ? rc : command_run(rig, &command, ret_answer);
}

int rig_ctl_show(struct rig *rig, int *ret_status, ...)
{
	struct rig_answer answer = { 0 };
	struct command command;
	va_list words;
	int rc;

	command_begin(rig, &command, NULL);
	command.run.show = true;
	va_start(words, ret_status);
	rc = command_words(rig, &command, words);
	va_end(words);
	if (rc == 0)
		rc = command_run(rig, &command, &answer);
	if (rc == 0)
		*ret_status = answer.status;
	rig_answer_done(&answer);
	return rc;
}

/* ---- status ---- */

json_t *rig_status(struct rig *rig, const char *service)
{
	struct rig_answer answer = { 0 };
	json_t *entry = NULL;

	if (rig_ctl(rig, &answer, "status", service, NULL) < 0)
		return NULL;
	entry = json_incref(json_array_get(json_object_get(answer.json, "services"), 0));
	if (!entry)
		rig_fail(rig, -EPROTO, "upgradectl status %s ended with status %d and said: %s%s", service, answer.status,
			 answer.out, answer.err);
	rig_answer_done(&answer);
	return entry;
}

/* The daemon tells nobody who does not wait for a roll, so it is asked again. */
int rig_wait_status(struct rig *rig, const char *service, const char *state, const char *version, uint64_t timeout_us)
{
	uint64_t due_us = clock_now_us() + timeout_us;

	for (;;) {
		json_t *entry = rig_status(rig, service);
		char last[128];
		bool reached;

		if (!entry)
			return -EPROTO;
		reached = strcmp(rig_text(entry, "state"), state) == 0 &&
			  (!version || strcmp(rig_text(entry, "version"), version) == 0);
		snprintf(last, sizeof(last), "%s, version %s", rig_text(entry, "state"), rig_text(entry, "version"));
		json_decref(entry);
		if (reached)
			return 0;
		if (clock_now_us() >= due_us)
			return rig_fail(rig, -ETIMEDOUT, "waited %.1f s for %s to be %s%s%s; it is %s",
					(double)timeout_us / (double)USEC_PER_SEC, service, state,
					version ? " with version " : "", version ? version : "", last);
		loop_turn(rig->loop, LOOK_AGAIN_MS);
	}
}
