/* SPDX-License-Identifier: MIT */
#include "cli/told.h"

#include "base/clock.h"
#include "base/why.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/file.h"
#include "cli/interrupt.h"
#include "cli/page.h"
#include "cli/progress.h"
#include "cli/render_history.h"
#include "cli/render_json.h"
#include "cli/render_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define AGAIN_US (100 * USEC_PER_MSEC)
#define COMES_BACK_US (15 * USEC_PER_SEC) /* an upgraded that is replaced or started anew */

bool told_has(const struct args *args)
{
	return args->verb >= UPGRADED__WIRE__VERB__VERB_HISTORY && args->verb <= UPGRADED__WIRE__VERB__VERB_WAIT;
}

/* ---- what comes while it lasts ---- */

struct follow {
	const struct args *args;
	const struct term *out;
	struct progress progress;
	uint64_t shown_at_us;
	bool heard; /* something, since the connection was made */
	int64_t seen_us; /* up to then all events were shown; 0: none was */
};

static void on_progress(void *data, const Upgraded__Wire__Progress *message)
{
	struct follow *follow = data;

	follow->heard = true;
	progress_show(&follow->progress, message);
	follow->shown_at_us = clock_now_us();
}

static void on_event(void *data, const Upgraded__Wire__Event *event)
{
	struct follow *follow = data;
	json_t *json;

	follow->heard = true;
	follow->seen_us = event->wall_us;
	if (!follow->args->json) {
		render_event(follow->out, event);
	} else if ((json = json_of(&event->base, NULL))) {
		(void)json_print(follow->out->out, json);
		json_decref(json);
	}
	fflush(follow->out->out);
	if (ferror(follow->out->out)) /* nobody reads any more */
		exit(WIRE_EXIT_ERROR);
}

static bool waits(const struct args *args)
{
	return args->verb == UPGRADED__WIRE__VERB__VERB_WATCH || args->verb == UPGRADED__WIRE__VERB__VERB_WAIT;
}

/* Who follows is not left alone because upgraded is replaced, or started anew after a crash: it asks the next one. */
static int call_on(struct client_call *call, Upgraded__Wire__Request *request, struct follow *follow,
		   Upgraded__Wire__ControlMessage **ret_message, struct why *why)
{
	int64_t now_us = (int64_t)time(NULL) * 1000000;
	uint64_t until_us = 0, begun_us = clock_now_us(), timeout_us = call->timeout_us;
	int outcome;

	for (;;) {
		struct timespec again = { .tv_nsec = (long)AGAIN_US * 1000 };

		follow->heard = false;
		outcome = client_call(call, ret_message, why);
		if (!waits(follow->args) || interrupt_came())
			return outcome;
		if (outcome == CLIENT_LOST || follow->heard)
			until_us = clock_now_us() + COMES_BACK_US;
		if ((outcome != CLIENT_LOST && outcome != CLIENT_UNREACHABLE) || clock_now_us() >= until_us)
			return outcome;
		if (call->on_event) /* what happens meanwhile is told then */
			request->since_us = (follow->seen_us ? follow->seen_us : now_us) + 1;
		nanosleep(&again, NULL);
		if (!timeout_us)
			continue;
		if (clock_now_us() - begun_us >= timeout_us)
			return CLIENT_TIMED_OUT;
		call->timeout_us = timeout_us - (clock_now_us() - begun_us);
	}
}

/* ---- answers ---- */

static int write_page(const struct args *args, const Upgraded__Wire__RollReport *roll, const struct term *out, struct why *why)
{
	char name[192];
	struct file file;
	FILE *stream;
	int rc;

	snprintf(name, sizeof(name), "%s-roll-%llu.html", args->service, (unsigned long long)roll->number);
	if (strcmp(args->page, "-") == 0) {
		page_write(out->out, args->service, roll);
		return 0;
	}
	file_init(&file);
	rc = file_create(*args->page ? args->page : name, &file, why);
	stream = rc == 0 ? fdopen(dup(file.fd), "w") : NULL;
	if (rc == 0 && !stream)
		rc = why_errno(why, -errno, "%s", file.path);
	if (stream) {
		page_write(stream, args->service, roll);
		if (ferror(stream) | fclose(stream))
			rc = why_errno(why, -EIO, "%s", file.path);
	}
	if (rc == 0)
		rc = file_publish(&file, why);
	file_discard(&file);
	if (rc == 0 && !args->quiet)
		fprintf(out->out, "%s\n", *args->page ? args->page : name);
	return rc;
}

static void show_json(const struct args *args, const Upgraded__Wire__Result *result, const struct term *out)
{
	json_t *json;

	for (size_t i = 0; i < result->n_events; i++) {
		json = json_of(&result->events[i]->base, NULL);
		(void)json_print(out->out, json);
		json_decref(json);
	}
	if (args->verb == UPGRADED__WIRE__VERB__VERB_EVENTS && result->code == WIRE_EXIT_DONE)
		return;
	json = json_result(args, result);
	(void)json_print(out->out, json);
	json_decref(json);
}

static void show_text(const struct args *args, const Upgraded__Wire__Result *result, const struct term *out,
		      const struct term *err)
{
	bool well = result->code == WIRE_EXIT_DONE;

	if (!well)
		render_failure(err, args, result);
	else if (args->quiet)
		return;
	else if (args->verb == UPGRADED__WIRE__VERB__VERB_EVENTS)
		for (size_t i = 0; i < result->n_events; i++)
			render_event(out, result->events[i]);
	else if (args->verb == UPGRADED__WIRE__VERB__VERB_HISTORY && args->generation && result->n_history)
		render_history_one(out, args->service, result->history[0]);
	else if (args->verb == UPGRADED__WIRE__VERB__VERB_HISTORY)
		render_history(out, result);
	else
		render_summary(out, args, result);
}

static int answer(const struct args *args, const Upgraded__Wire__Result *result, const struct term *out, const struct term *err)
{
	bool known = protobuf_c_enum_descriptor_get_value(&upgraded__wire__exit_code__descriptor, (int)result->code);
	int code = known ? (int)result->code : WIRE_EXIT_ERROR;
	struct why why = { "" };

	if (args->page && code == WIRE_EXIT_DONE && result->n_history) {
		if (write_page(args, result->history[0], out, &why) < 0) {
			fprintf(err->out, "upgradectl: report: ");
			term_text(err, why.text, TERM_WHOLE);
			fputc('\n', err->out);
			code = WIRE_EXIT_ERROR;
		}
	} else if (args->json) {
		show_json(args, result, out);
	} else {
		show_text(args, result, out, err);
	}
	fflush(err->out);
	if ((fflush(out->out) == EOF || ferror(out->out)) && code == WIRE_EXIT_DONE)
		code = WIRE_EXIT_ERROR;
	return code;
}

int told_run(const struct args *args, const struct term *out, const struct term *err)
{
	bool as_events = args->verb == UPGRADED__WIRE__VERB__VERB_WATCH && (args->json || !args->service);
	struct follow follow = { .args = args, .out = out, .shown_at_us = clock_now_us() };
	Upgraded__Wire__ControlMessage *message = NULL;
	Upgraded__Wire__Result no_answer = UPGRADED__WIRE__RESULT__INIT;
	Upgraded__Wire__Request request;
	struct client_call call = { .socket_path = args->socket_path, .request = &request, .timeout_us = args->timeout_us,
				    .data = &follow };
	const Upgraded__Wire__Result *result = &no_answer;
	struct why why = { "" };
	char next[192];
	int outcome, code;

	command_request(&request, args);
	progress_init(&follow.progress, err);
	follow.progress.verbose = args->verbose;
	if (as_events) {
		request.wait_for = wire_text("events");
		call.on_event = on_event;
	} else if (args->verb == UPGRADED__WIRE__VERB__VERB_WATCH && !args->quiet) {
		request.phases = err->live;
		call.on_progress = on_progress;
	}
	if (waits(args))
		interrupt_begin();
	outcome = call_on(&call, &request, &follow, &message, &why);
	if (outcome == CLIENT_ANSWERED)
		result = message->result;
	else
		command_explain(args, outcome, &why, next, sizeof(next), &no_answer);
	progress_end(&follow.progress,
		     outcome == CLIENT_ANSWERED && result->code == WIRE_EXIT_DONE ? MARK_OK :
		     outcome == CLIENT_ANSWERED					  ? MARK_FAIL :
										    MARK_OPEN,
		     follow.progress.elapsed_us + (clock_now_us() - follow.shown_at_us), "");
	code = outcome == CLIENT_INTERRUPTED ? INTERRUPT_STATUS : answer(args, result, out, err);
	if (message)
		upgraded__wire__control_message__free_unpacked(message, NULL);
	return code;
}

/* ---- who ends the waiting ---- */

static bool has_committed(const char *phase)
{
	static const char *const after[] = { "park", "image", "bake", "health", "undo", "done" };

	for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++)
		if (strcmp(phase, after[i]) == 0)
			return true;
	return false;
}

void told_goes_on(const struct args *args, const char *phase, const struct term *err)
{
	if (args->quiet)
		return;
	fprintf(err->out, "\n%s goes on without this command.\n", args->verb_name);
	fprintf(err->out, "  follow it:    upgradectl watch %s\n", args->service);
	if (has_committed(phase))
		fprintf(err->out, "  go back:      upgradectl undo %s\n  end the bake: upgradectl accept %s\n", args->service,
			args->service);
	else
		fprintf(err->out, "  call it off:  upgradectl abort %s (until the new version serves)\n"
				  "  go back:      upgradectl undo %s (after that)\n", args->service, args->service);
	fflush(err->out);
}
