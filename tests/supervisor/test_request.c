/* SPDX-License-Identifier: MIT */
/* Requests are read once: what each verb needs, what it ignores, and what is told where something is missing or wrong. */
#include "supervisor/control/request.h"

#include "supervisor/service/service.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

TestSuite(request, .timeout = 20);

#define VERB(name) UPGRADED__WIRE__VERB__VERB_##name
#define WIRE(verb_name, ...) request_of(VERB(verb_name), &(struct given){ __VA_ARGS__ })

/* What is 0 or not set is in order. */
struct given {
	uint32_t protocol;
	const char *service; /* NULL: "web" */
	const char *version, *rollback, *verify, *way;
	uint64_t generation, bake_us;
	bool from_file, wait_commit, require_image, again;
};

static char *text(const char *given)
{
	return (char *)(uintptr_t)(given ? given : "");
}

static Upgraded__Wire__Request request_of(int verb, const struct given *given)
{
	Upgraded__Wire__Request wire = UPGRADED__WIRE__REQUEST__INIT;

	wire.protocol = given->protocol ? given->protocol : WIRE_PROTOCOL;
	wire.verb = (Upgraded__Wire__Verb)verb;
	wire.service = text(given->service ? given->service : "web");
	wire.version = text(given->version);
	wire.rollback = text(given->rollback);
	wire.verify = text(given->verify);
	wire.way = text(given->way);
	wire.generation = given->generation;
	wire.bake_us = given->bake_us;
	wire.from_file = given->from_file;
	wire.wait_commit = given->wait_commit;
	wire.require_image = given->require_image;
	wire.again = given->again;
	return wire;
}

static struct request parsed(Upgraded__Wire__Request wire, size_t n_fds)
{
	struct refusal refusal;
	struct request request;

	cr_assert_eq(request_parse(&wire, n_fds, &request, &refusal), 0, "verb %d: %s", (int)wire.verb, refusal.answer.text);
	return request;
}

static void is_refused(Upgraded__Wire__Request wire, enum wire_exit code, const char *words, const char *cause)
{
	struct request request = { .generation = 77 };
	struct refusal refusal;

	cr_assert_eq(request_parse(&wire, 0, &request, &refusal), -EINVAL, "verb %d: %s", (int)wire.verb, words);
	cr_assert_eq(refusal.answer.code, code);
	cr_assert_str_eq(refusal.answer.text, words);
	cr_assert(strstr(refusal.answer.cause, cause), "cause: %s", refusal.answer.cause);
	cr_assert_eq(refusal.answer.cause, refusal.cause.text);
	cr_assert_eq(request.generation, 77, "written although it was refused");
}

/* ---- verbs ---- */

Test(request, knows_every_verb_of_the_protocol)
{
	const ProtobufCEnumDescriptor *all = &upgraded__wire__verb__descriptor;
	unsigned rows = 0;

	for (unsigned i = 0; i < all->n_values; i++) {
		const struct verb *verb = verb_find(all->values[i].value);

		cr_assert_eq(!verb, all->values[i].value == VERB(UNSPECIFIED), "%s", all->values[i].name);
		cr_assert(!verb || (verb->run && verb->name && (verb->file == VERB_NO_FILE || verb->no_file)));
	}
	for (const struct verb *verb = verb_next(NULL); verb; verb = verb_next(verb))
		rows++;
	cr_assert_eq(rows, all->n_values - 1);
}

Test(request, refuses_a_verb_that_there_is_not)
{
	static const int numbers[] = { 0, -1, (int)VERB(ROLL_SELF) + 1, 1000, INT32_MAX, INT32_MIN };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		Upgraded__Wire__Request wire = WIRE(ROLL, .version = "v2");

		wire.verb = (Upgraded__Wire__Verb)numbers[i];
		is_refused(wire, WIRE_EXIT_USAGE, "upgraded does not know this verb", "");
	}
}

Test(request, refuses_another_protocol_before_anything_else)
{
	Upgraded__Wire__Request wire = WIRE(ROLL, .version = "a/b", .protocol = WIRE_PROTOCOL + 1);

	is_refused(wire, WIRE_EXIT_ERROR, "upgradectl and upgraded are of different versions", "upgradectl speaks protocol 2");
}

/* ---- services ---- */

Test(request, wants_the_name_of_a_service_where_a_verb_is_about_one)
{
	for (const struct verb *verb = verb_next(NULL); verb; verb = verb_next(verb)) {
		bool must = verb->service == VERB_SERVICE || verb->service == VERB_NAME;
		int number = 0;

		while (verb_find(number) != verb)
			number++;
		for (int bad = 0; bad < 2; bad++) {
			struct given given = { .version = "v2", .service = bad ? "../web" : "" };
			Upgraded__Wire__Request wire = request_of(number, &given);
			struct refusal refusal;
			struct request request;
			bool refused = request_parse(&wire, 1, &request, &refusal) < 0;

			cr_assert_eq(refused, must || (bad && verb->service != VERB_NO_SERVICE), "%s", verb->name);
			cr_assert(!refused || strcmp(refusal.answer.text, "that is no service name") == 0, "%s", verb->name);
		}
	}
}

Test(request, names_the_list_of_services_only_where_one_has_to_exist)
{
	Upgraded__Wire__Request stop = WIRE(STOP, .service = ".web"), show = WIRE(IMAGES_SHOW, .service = ".web");
	struct refusal refusal;
	struct request request;

	cr_assert(request_parse(&stop, 0, &request, &refusal) < 0);
	cr_assert_str_eq(refusal.answer.next, "upgradectl list shows the services");
	cr_assert(request_parse(&show, 0, &request, &refusal) < 0);
	cr_assert_null(refusal.answer.next);
}

Test(request, takes_all_images_but_no_generation_without_a_service)
{
	cr_assert_str_eq(parsed(WIRE(IMAGES_LIST, .service = ""), 0).service, "");
	cr_assert_str_eq(parsed(WIRE(IMAGES_GC, .service = ""), 0).service, "");
	is_refused(WIRE(IMAGES_LIST, .service = "", .generation = 3), WIRE_EXIT_USAGE, "that is no service name", "");
	is_refused(WIRE(IMAGES_GC, .service = "", .generation = 3), WIRE_EXIT_USAGE, "that is no service name", "");
	cr_assert_eq(parsed(WIRE(IMAGES_GC, .generation = 3), 0).generation, 3);
}

Test(request, does_not_look_at_the_service_of_a_list)
{
	cr_assert_str_eq(parsed(WIRE(LIST, .service = "../web"), 0).service, "");
	cr_assert_str_eq(parsed(WIRE(CHECK, .service = "../web"), 0).service, "");
}

/* ---- versions ---- */

Test(request, wants_a_version_to_roll_to_and_to_plan_for)
{
	is_refused(WIRE(PLAN, 0), WIRE_EXIT_USAGE, "that is no version name", "plan needs a version");
	cr_assert_str_eq(parsed(WIRE(UNDO, 0), 0).roll.version, "");
	cr_assert_str_eq(parsed(WIRE(START, 0), 0).roll.version, "");
	cr_assert_str_eq(parsed(WIRE(ROLL, .version = "v2"), 0).roll.version, "v2");
}

Test(request, refuses_a_bad_version_whatever_the_verb)
{
	for (const struct verb *verb = verb_next(NULL); verb; verb = verb_next(verb)) {
		int number = 0;

		while (verb_find(number) != verb)
			number++;
		is_refused(request_of(number, &(struct given){ .version = "a/b" }),
			   WIRE_EXIT_USAGE, "that is no version name", "version name: character 2");
	}
}

/* ---- options ---- */

Test(request, reads_what_a_roll_is_asked_with)
{
	struct request request = parsed(WIRE(ROLL, .version = "v2", .rollback = "image", .verify = "roundtrip", .bake_us = 5,
					     .require_image = true, .again = true, .wait_commit = true), 0);

	cr_assert(request.roll.sets_rollback && request.roll.rollback == ROLLBACK_IMAGE);
	cr_assert(request.roll.sets_verify && request.roll.verify == VERIFY_ROUNDTRIP);
	cr_assert(request.roll.bake_us == 5 && request.roll.require_image && request.roll.again && request.wait_commit);
	cr_assert(parsed(WIRE(PLAN, .version = "v2", .again = true), 0).roll.again);
	cr_assert_str_eq(request.service, "web");
	request = parsed(WIRE(ROLL, .version = "v2"), 0);
	cr_assert(!request.roll.sets_rollback && !request.roll.sets_verify && !request.roll.bake_us && !request.roll.again);
}

Test(request, refuses_options_of_a_roll_that_there_are_not)
{
	static const char both[] = "rollback is one of auto, parked, image, none; verify is none or roundtrip";

	is_refused(WIRE(ROLL, .version = "v2", .rollback = "nonsense"), WIRE_EXIT_USAGE, both, "");
	is_refused(WIRE(ROLL, .version = "v2", .verify = "nonsense"), WIRE_EXIT_USAGE, both, "");
	/* With an image required, too: the look ahead used to go by the default then. */
	is_refused(WIRE(ROLL, .version = "v2", .rollback = "nonsense", .require_image = true), WIRE_EXIT_USAGE, both, "");
	is_refused(WIRE(UNDO, .rollback = "nonsense"), WIRE_EXIT_USAGE, both, "");
	is_refused(WIRE(PLAN, .version = "v2", .rollback = "nonsense"), WIRE_EXIT_USAGE,
		   "rollback is one of auto, parked, image, none", "");
}

Test(request, ignores_options_that_its_verb_does_not_take)
{
	cr_assert_not(parsed(WIRE(PLAN, .version = "v2", .verify = "nonsense"), 0).roll.sets_verify);
	cr_assert_not(parsed(WIRE(STOP, .rollback = "nonsense", .way = "nonsense"), 0).roll.sets_rollback);
	cr_assert_eq(parsed(WIRE(ROLL, .version = "v2", .way = "nonsense"), 0).roll.way, UNDO_AS_IT_GOES);
	cr_assert_not(parsed(WIRE(UNDO, .again = true), 0).roll.again);
}

Test(request, reads_the_way_to_undo)
{
	cr_assert_eq(parsed(WIRE(UNDO, 0), 0).roll.way, UNDO_AS_IT_GOES);
	cr_assert_eq(parsed(WIRE(UNDO, .way = "live"), 0).roll.way, UNDO_LIVE);
	cr_assert_eq(parsed(WIRE(UNDO, .way = "parked"), 0).roll.way, UNDO_PARKED);
	cr_assert_eq(parsed(WIRE(UNDO, .way = "image"), 0).roll.way, UNDO_IMAGE);
	is_refused(WIRE(UNDO, .way = "up"), WIRE_EXIT_USAGE, "way is one of live, parked, image", "");
}

/* ---- files ---- */

Test(request, wants_the_file_to_come_along)
{
	is_refused(WIRE(SAVE, 0), WIRE_EXIT_USAGE, "save came without a file to write to", "");
	is_refused(WIRE(START, .from_file = true), WIRE_EXIT_USAGE, "start --from came without a file", "");
	parsed(WIRE(SAVE, 0), 1);
	cr_assert(parsed(WIRE(START, .from_file = true), 1).from_file);
	cr_assert_not(parsed(WIRE(START, 0), 0).from_file);
}

/* ---- what becomes of it ---- */

Test(request, overrides_the_service_file_where_it_says_something)
{
	struct unit unit = { .rollback = ROLLBACK_PARKED, .verify = VERIFY_ROUNDTRIP, .bake_us = 7, .require_image = true };
	struct roll_request request = { .version = "v2" };
	struct roll_options options = service_roll_options(&unit, &request);

	cr_assert_str_eq(options.version, "v2");
	cr_assert(options.rollback == ROLLBACK_PARKED && options.verify == VERIFY_ROUNDTRIP && options.bake_us == 7);
	cr_assert(options.require_image && options.purpose == PURPOSE_FORWARD);
	request = (struct roll_request){ .sets_rollback = true, .rollback = ROLLBACK_AUTO, .sets_verify = true,
					 .verify = VERIFY_NONE, .bake_us = 9 };
	unit.require_image = false;
	options = service_roll_options(&unit, &request);
	cr_assert(options.rollback == ROLLBACK_AUTO && options.verify == VERIFY_NONE && options.bake_us == 9);
	cr_assert_not(options.require_image);
	request.require_image = true;
	cr_assert(service_roll_options(&unit, &request).require_image);
}
