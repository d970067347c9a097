/* SPDX-License-Identifier: MIT */
#include "cli/command.h"

#include "base/clock.h"
#include "base/why.h"
#include "cli/client.h"
#include "cli/file.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/render_images.h"
#include "cli/render_json.h"
#include "cli/render_plan.h"
#include "cli/render_text.h"
#include "cli/suggest.h"
#include "cli/told.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define DONE ((int)WIRE_EXIT_DONE)
#define ERROR ((int)WIRE_EXIT_ERROR)
#define ROLLED_BACK ((int)WIRE_EXIT_ROLLED_BACK)
#define TIMED_OUT ((int)WIRE_EXIT_TIMED_OUT)

/* The time in the last message is of the supervisor's clock; the time since then is measured by this side's clock. */
struct watch {
	const struct args *args;
	const struct term *out;
	struct progress progress;
	uint64_t shown_at_us;
};

static void watch_show(void *data, const Upgraded__Wire__Progress *message)
{
	struct watch *watch = data;

	progress_show(&watch->progress, message);
	watch->shown_at_us = clock_now_us();
}

/* A reader that is gone does not end the waiting: the exit status is of the roll. */
static void watch_print(void *data, const Upgraded__Wire__Progress *message)
{
	struct watch *watch = data;
	json_t *json = json_progress(watch->args, message);

	if (json)
		(void)json_print(watch->out->out, json);
	json_decref(json);
}

static void watch_end(struct watch *watch, int outcome, const Upgraded__Wire__Result *result)
{
	int code = (int)result->code;
	const char *cause = *result->cause || !result->roll ? result->cause : result->roll->cause;
	bool went_well = outcome == CLIENT_ANSWERED && (code == DONE || (code == ROLLED_BACK && watch->progress.back));
	bool goes_on = outcome == CLIENT_TIMED_OUT || outcome == CLIENT_INTERRUPTED || code == TIMED_OUT ||
		       (code == ROLLED_BACK && watch->progress.turned);

	progress_end(&watch->progress, goes_on ? MARK_OPEN : went_well ? MARK_OK : MARK_FAIL,
		     watch->progress.elapsed_us + (clock_now_us() - watch->shown_at_us), outcome == CLIENT_ANSWERED ? cause : "");
}

static bool is_about_images(const struct args *args)
{
	return args->verb >= UPGRADED__WIRE__VERB__VERB_IMAGES_LIST && args->verb <= UPGRADED__WIRE__VERB__VERB_IMAGES_GC;
}

static bool is_query(const struct args *args)
{
	return args->verb == UPGRADED__WIRE__VERB__VERB_STATUS || args->verb == UPGRADED__WIRE__VERB__VERB_LIST ||
	       args->verb == UPGRADED__WIRE__VERB__VERB_CHECK || args->verb == UPGRADED__WIRE__VERB__VERB_PLAN ||
	       args->verb == UPGRADED__WIRE__VERB__VERB_VERSION || is_about_images(args) || told_has(args);
}

void command_explain(const struct args *args, int outcome, const struct why *why, char *next, size_t size,
		    Upgraded__Wire__Result *ret_result)
{
	ret_result->code = (uint32_t)ERROR;
	ret_result->cause = wire_text(why->text);
	next[0] = '\0';
	if (!is_query(args))
		snprintf(next, size, "see what it did: upgradectl status %s", args->service);
	switch (outcome) {
	case CLIENT_UNREACHABLE:
		ret_result->text = wire_text("cannot reach upgraded: no request was sent");
		snprintf(next, size, "is upgraded running? systemctl status upgraded");
		break;
	case CLIENT_FORBIDDEN:
		ret_result->text = wire_text("not allowed to talk to upgraded: no request was sent");
		snprintf(next, size, "try again as root, or as the user that upgraded runs as");
		break;
	case CLIENT_TIMED_OUT:
		ret_result->code = (uint32_t)TIMED_OUT;
		ret_result->cause = wire_text("");
		ret_result->text = wire_text(why->text);
		if (is_query(args))
			snprintf(next, size, "is upgraded well? systemctl status upgraded");
		else
			snprintf(next, size, "it goes on without this command: upgradectl status %s", args->service);
		break;
	case CLIENT_LOST:
		ret_result->text = wire_text("upgraded went away");
		if (is_query(args))
			snprintf(next, size, "is upgraded running? systemctl status upgraded");
		else
			snprintf(next, size, "systemctl status upgraded; then see what it did: upgradectl status %s",
				 args->service);
		break;
	case CLIENT_INTERRUPTED:
		ret_result->text = wire_text("interrupted");
		break;
	default:
		ret_result->text = wire_text("talking to upgraded failed");
		break;
	}
	ret_result->next = next;
}

/* `save SERVICE -`: standard output is the file. */
static bool writes_to_output(const struct args *args)
{
	return args->verb == UPGRADED__WIRE__VERB__VERB_SAVE && !strcmp(args->file, "-");
}

static void show_plan(const struct args *args, const Upgraded__Wire__Plan *plan, const struct term *out)
{
	struct plan_loss loss;

	if (args->quiet)
		return;
	plan_loss_find(plan, &loss);
	render_plan(out, plan, &loss);
	plan_loss_done(&loss);
}

static void show_text(const struct args *args, const Upgraded__Wire__Result *result, const struct term *out,
		      const struct term *err)
{
	struct moment now = { .monotonic_us = clock_now_us(), .wall = time(NULL) };
	bool empty = !result->n_services && !result->n_checks;

	if (!args->quiet && args->names && result->code == (uint32_t)DONE)
		render_names(out, args, result);
	else if (!args->quiet && args->verb == UPGRADED__WIRE__VERB__VERB_STATUS)
		render_status(out, result, now);
	else if (!args->quiet && args->verb == UPGRADED__WIRE__VERB__VERB_LIST && result->code == (uint32_t)DONE)
		render_list(out, result, args->wide);
	else if (!args->quiet && args->verb == UPGRADED__WIRE__VERB__VERB_CHECK)
		render_checks(out, result);
	else if (!args->quiet && args->verb == UPGRADED__WIRE__VERB__VERB_VERSION && result->code == (uint32_t)DONE)
		render_line(out, result->text);
	else if (is_about_images(args) && !args->quiet && (result->n_images || result->code == (uint32_t)DONE))
		render_images(out, args, result);
	else if (result->plan)
		show_plan(args, result->plan, out);
	else if (!args->quiet && (!is_query(args) || args->verb == UPGRADED__WIRE__VERB__VERB_PLAN) &&
		 result->code == (uint32_t)DONE && !writes_to_output(args))
		render_summary(out, args, result);
	fflush(out->out);
	/* A status that was shown has told the service's failure already. */
	if (result->code != (uint32_t)DONE && (empty || args->verb != UPGRADED__WIRE__VERB__VERB_STATUS))
		render_failure(err, args, result);
	fflush(err->out);
}

static int show_json(const struct args *args, const Upgraded__Wire__Result *result, const struct term *out)
{
	json_t *json = json_result(args, result);
	struct plan_loss loss;
	int rc;

	if (json && result->plan) {
		plan_loss_find(result->plan, &loss);
		json_object_set_new(json_object_get(json, "plan"), "loss", plan_loss_json(&loss));
		plan_loss_done(&loss);
	}
	rc = json ? json_print(out->out, json) : -1;

	json_decref(json);
	return rc;
}

static int show(const struct args *args, const Upgraded__Wire__Result *result, const struct term *out,
		const struct term *err)
{
	bool known = protobuf_c_enum_descriptor_get_value(&upgraded__wire__exit_code__descriptor, (int)result->code);
	int code = known ? (int)result->code : ERROR;
	bool shown = true;

	if (!args->json)
		show_text(args, result, out, err);
	else if (!writes_to_output(args))
		shown = show_json(args, result, out) == 0;
	/* An answer that could not be written is no success: the disk is full, or the reader is gone; or there was no memory for
	 * it. What it says is told all the same. */
	if (ferror(out->out) || !shown) {
		fprintf(err->out, "upgradectl: the answer could not be written%s; it is: ",
			ferror(out->out) ? "" : " (out of memory?)");
		term_text(err, result->text, TERM_WHOLE);
		fputc('\n', err->out);
		code = code == DONE ? ERROR : code;
	}
	return code;
}

void command_request(Upgraded__Wire__Request *request, const struct args *args)
{
	upgraded__wire__request__init(request);
	request->protocol = WIRE_PROTOCOL;
	request->verb = args->verb;
	request->service = wire_text(args->service);
	request->version = wire_text(args->version);
	request->program = wire_text(args->program);
	request->wait_commit = args->wait_commit;
	request->rollback = wire_text(args->rollback);
	request->bake_us = args->bake_us;
	request->require_image = args->require_image;
	request->again = args->again;
	request->generation = args->generation;
	request->verify = wire_text(args->verify);
	request->way = wire_text(args->way);
	request->detach = args->detach;
	request->since_us = args->since_us;
	request->wait_for = wire_text(args->wait_for);
	request->from_file = args->verb == UPGRADED__WIRE__VERB__VERB_START && args->file;
}

/* Open the file that goes with a request, if there is one: save writes it, start --from reads it. */
static int open_file(const struct args *args, struct file *ret_file, struct why *why)
{
	file_init(ret_file);
	if (!args->file)
		return 0;
	if (args->verb == UPGRADED__WIRE__VERB__VERB_SAVE)
		return file_create(args->file, ret_file, why);
	ret_file->fd = open(args->file, O_RDONLY | O_CLOEXEC);
	return ret_file->fd < 0 ? why_errno(why, -errno, "%s", args->file) : 0;
}

/* Put the file in its place if it is whole. If that fails, @spare becomes the answer. */
static const Upgraded__Wire__Result *close_file(const struct args *args, struct file *file,
						const Upgraded__Wire__Result *result,
						Upgraded__Wire__Result *spare, struct why *why)
{
	bool whole = args->verb == UPGRADED__WIRE__VERB__VERB_SAVE && result->code == (uint32_t)DONE;

	if (whole && file_publish(file, why) < 0) {
		upgraded__wire__result__init(spare);
		spare->code = (uint32_t)ERROR;
		spare->text = wire_text("the state was written, but not to its place; the service serves on");
		spare->cause = wire_text(why->text);
		spare->serving = result->serving;
		result = spare;
	}
	file_discard(file);
	return result;
}

int command_run(const struct args *args, const struct term *out, const struct term *err)
{
	Upgraded__Wire__Request request;
	Upgraded__Wire__Result no_answer;
	Upgraded__Wire__ControlMessage *message = NULL;
	const Upgraded__Wire__Result *result = &no_answer;
	struct watch watch = { .shown_at_us = clock_now_us() };
	struct client_call call = { .socket_path = args->socket_path, .request = &request, .timeout_us = args->timeout_us,
				    .host = args->host };
	struct why why = { "" };
	struct file file;
	bool saves;
	char next[192], hint[512];
	char *spare_next = NULL;
	int outcome;
	int code;

	if (told_has(args))
		return told_run(args, out, err);
	if (args->verb == UPGRADED__WIRE__VERB__VERB_ROLL || args->verb == UPGRADED__WIRE__VERB__VERB_UNDO)
		interrupt_begin();
	command_request(&request, args);
	upgraded__wire__result__init(&no_answer);
	progress_init(&watch.progress, err);
	watch.args = args;
	watch.out = out;
	call.data = &watch;
	if (args->json && args->progress && !writes_to_output(args)) {
		call.on_progress = watch_print;
		request.phases = true;
	}
	if (!args->json && !args->quiet) {
		call.on_progress = watch_show;
		watch.progress.verbose = args->verbose;
		request.phases = err->live;
	}
	outcome = open_file(args, &file, &why);
	saves = file.write_end >= 0;
	call.fds = saves ? &file.write_end : &file.fd;
	call.n_fds = file.fd >= 0 ? 1 : 0;
	call.feed = saves ? &file.feed : NULL;
	if (outcome == 0)
		outcome = client_call(&call, &message, &why);
	if (outcome == CLIENT_INTERRUPTED) {
		watch_end(&watch, outcome, result);
		file_discard(&file);
		told_goes_on(args, watch.progress.phase, err);
		return INTERRUPT_STATUS;
	}
	if (outcome == CLIENT_ANSWERED)
		result = message->result;
	else
		command_explain(args, outcome, &why, next, sizeof(next), &no_answer);
	if (args->file && file.fd < 0) {
		no_answer.text = wire_text("the state file cannot be opened: no request was sent to upgraded");
		no_answer.next = wire_text("");
	}
	/* What was mistyped is said with what there is. */
	if (outcome == CLIENT_ANSWERED && *suggest_after(args, message->result, hint, sizeof(hint))) {
		size_t used = strlen(hint);

		spare_next = message->result->next;
		if (*spare_next && used < sizeof(hint))
			snprintf(hint + used, sizeof(hint) - used, "; %s", spare_next);
		message->result->next = hint;
	}
	watch_end(&watch, outcome, result);
	result = close_file(args, &file, result, &no_answer, &why);
	code = show(args, result, out, err);
	if (message && spare_next)
		message->result->next = spare_next;
	if (message)
		upgraded__wire__control_message__free_unpacked(message, NULL);
	return code;
}
