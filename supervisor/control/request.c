/* SPDX-License-Identifier: MIT */
#include "supervisor/control/request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int refuse(struct refusal *refusal, enum wire_exit code, const char *text, const char *next)
{
	refusal->answer = (struct answer){ .code = code, .text = text, .cause = refusal->cause.text, .next = next };
	return -EINVAL;
}

static int refuse_usage(struct refusal *refusal, const char *text)
{
	return refuse(refusal, WIRE_EXIT_USAGE, text, NULL);
}

static int check_protocol(const Upgraded__Wire__Request *wire, struct refusal *refusal)
{
	if (wire->protocol == WIRE_PROTOCOL)
		return 0;
	why_set(&refusal->cause, 0, "upgradectl speaks protocol %u, upgraded speaks %u", wire->protocol, WIRE_PROTOCOL);
	return refuse(refusal, WIRE_EXIT_ERROR, "upgradectl and upgraded are of different versions",
		      "install both from one release");
}

/* "roll and plan need a version" */
static void tell_who_needs_version(struct why *why)
{
	size_t used = 0;

	for (const struct verb *verb = verb_next(NULL); verb; verb = verb_next(verb)) {
		if (verb->needs_version && used < sizeof(why->text))
			used += (size_t)snprintf(why->text + used, sizeof(why->text) - used, "%s%s", used ? " and " : "",
						 verb->name);
	}
	if (used < sizeof(why->text))
		snprintf(why->text + used, sizeof(why->text) - used, " need a version");
}

static int parse_version(const Upgraded__Wire__Request *wire, struct request *request, struct refusal *refusal)
{
	bool fit = true;

	if (*wire->version) {
		fit = unit_name_check("version", wire->version, &refusal->cause) == 0;
	} else if (request->verb->needs_version) {
		tell_who_needs_version(&refusal->cause);
		fit = false;
	}
	if (!fit)
		return refuse_usage(refusal, "that is no version name");
	snprintf(request->roll.version, sizeof(request->roll.version), "%s", wire->version);
	return 0;
}

static int parse_service(const Upgraded__Wire__Request *wire, struct request *request, struct refusal *refusal)
{
	enum verb_service wants = request->verb->service;
	bool must_exist = wants == VERB_SERVICE || wants == VERB_SERVICE_OR_ALL;
	bool may_be_all = wants == VERB_SERVICE_OR_ALL || (wants == VERB_NAME_OR_ALL && !wire->generation);

	if (wants == VERB_NO_SERVICE || (may_be_all && !*wire->service))
		return 0;
	if (unit_name_check("service", wire->service, &refusal->cause) < 0)
		return refuse(refusal, WIRE_EXIT_USAGE, "that is no service name",
			      must_exist ? "upgradectl list shows the services" : NULL);
	snprintf(request->service, sizeof(request->service), "%s", wire->service);
	return 0;
}

static bool way_parse(const char *text, enum undo_way *ret)
{
	static const char *const names[] = {
		[UNDO_AS_IT_GOES] = "", [UNDO_LIVE] = "live", [UNDO_PARKED] = "parked", [UNDO_IMAGE] = "image"
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum undo_way)i;
			return true;
		}
	}
	return false;
}

static int parse_options(const Upgraded__Wire__Request *wire, struct request *request, struct refusal *refusal)
{
	const struct verb *verb = request->verb;
	struct roll_request *roll = &request->roll;

	roll->sets_rollback = verb->takes_rollback && *wire->rollback;
	roll->sets_verify = verb->takes_verify && *wire->verify;
	if ((roll->sets_rollback && !unit_rollback_parse(wire->rollback, &roll->rollback)) ||
	    (roll->sets_verify && !unit_verify_parse(wire->verify, &roll->verify)))
		return refuse_usage(refusal, verb->takes_verify ?
						     "rollback is one of auto, parked, image, none; verify is none or roundtrip" :
						     "rollback is one of auto, parked, image, none");
	if (verb->takes_way && !way_parse(wire->way, &roll->way))
		return refuse_usage(refusal, "way is one of live, parked, image");
	roll->bake_us = wire->bake_us;
	roll->require_image = wire->require_image;
	roll->again = verb->takes_again && wire->again;
	return 0;
}

static int check_file(const struct request *request, size_t n_fds, struct refusal *refusal)
{
	const struct verb *verb = request->verb;
	bool needed = verb->file == VERB_FILE || (verb->file == VERB_FILE_IF_SAID && request->from_file);

	return needed && !n_fds ? refuse_usage(refusal, verb->no_file) : 0;
}

int request_parse(const Upgraded__Wire__Request *wire, size_t n_fds, struct request *ret, struct refusal *ret_refusal)
{
	struct request request = {
		.verb = verb_find((int)wire->verb),
		.wait_commit = wire->wait_commit,
		.phases = wire->phases,
		.stays_down = wire->stays_down,
		.from_file = wire->from_file,
		.generation = wire->generation,
		.program = wire->program,
	};
	int r;

	*ret_refusal->cause.text = 0;
	r = check_protocol(wire, ret_refusal);
	if (r == 0 && !request.verb)
		r = refuse(ret_refusal, WIRE_EXIT_USAGE, "upgraded does not know this verb",
			   "install upgradectl and upgraded from one release");
	if (r == 0)
		r = parse_version(wire, &request, ret_refusal);
	if (r == 0)
		r = parse_service(wire, &request, ret_refusal);
	if (r == 0)
		r = parse_options(wire, &request, ret_refusal);
	if (r == 0)
		r = check_file(&request, n_fds, ret_refusal);
	if (r == 0)
		*ret = request;
	return r;
}
