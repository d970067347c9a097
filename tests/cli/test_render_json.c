/* SPDX-License-Identifier: MIT */
#include "cli/render_json.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

TestSuite(render_json, .timeout = 20);

static struct args args_of(Upgraded__Wire__Verb verb)
{
	return (struct args){ .verb = verb, .verb_name = "verb", .json = true };
}

static bool is_empty(const json_t *json)
{
	return json_is_null(json) || json_is_false(json) || (json_is_integer(json) && !json_integer_value(json)) ||
	       (json_is_string(json) && !json_string_length(json)) || (json_is_array(json) && !json_array_size(json));
}

/* Beside "x_us" stands "x_at". */
static bool is_time(const char *key)
{
	return strlen(key) > 3 && !strcmp(key + strlen(key) - 3, "_at");
}

/* Messages grow. A field that a test does not know of, and did not set, is none of its business. */
static void drop_unknown(json_t *json, const json_t *wanted)
{
	const char *key;
	json_t *value;
	void *next;
	size_t i;

	json_array_foreach(json, i, value)
		drop_unknown(value, json_array_get(wanted, i));
	json_object_foreach_safe(json, next, key, value) {
		if (!json_object_get(wanted, key) && (is_empty(value) || is_time(key)))
			json_object_del(json, key);
		else
			drop_unknown(value, json_object_get(wanted, key));
	}
}

/* Rendered, then compared as JSON values: the order of fields is nobody's business. Which parts a result has is. */
static void expect_json(Upgraded__Wire__Verb verb, const Upgraded__Wire__Result *result, const char *expected)
{
	struct args args = args_of(verb);
	json_t *json = json_result(&args, result);
	json_t *wanted = json_loads(expected, 0, NULL);
	char *text = json ? json_dumps(json, 0) : NULL;
	static const char *const common[] = { "schema", "verb", "at", "at_us", "service" };

	for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
		cr_expect(json_object_get(json, common[i]), "%s", common[i]);
		json_object_del(json, common[i]);
	}
	if (!json_object_get(wanted, "code"))
		json_object_del(json, "code");
	drop_unknown(json, wanted);
	cr_assert(wanted, "the test's own JSON is broken: %s", expected);
	cr_expect(json && json_equal(json, wanted), "%s", text ? text : "(null)");
	free(text);
	json_decref(json);
	json_decref(wanted);
}

Test(render_json, a_roll_has_every_field_under_its_protocol_name)
{
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;
	char from[] = "1.0", to[] = "2.0", outcome[] = "rolled-back-parked", way[] = "parked+image", cause[] = "SIGSEGV";
	char line_1[] = "one", line_2[] = "two", text[] = "rolled back", serving[] = "1.0", next[] = "fix it";
	char *lines[] = { line_1, line_2 };

	upgraded__wire__result__init(&result);
	upgraded__wire__roll_report__init(&roll);
	roll.from = from;
	roll.to = to;
	roll.outcome = outcome;
	roll.records = 5000000000;
	roll.state_bytes = 6000000000;
	roll.fds = 14;
	roll.pause_us = 3210;
	roll.commit_us = 7;
	roll.resume_us = 8;
	roll.kept = 12;
	roll.reset = 1;
	roll.image_bytes = 9;
	roll.image_us = 10;
	roll.restore_us = 11;
	roll.way_back = way;
	roll.cause = cause;
	result.code = 6;
	result.text = text;
	result.cause = cause;
	result.serving = serving;
	result.next = next;
	result.log_lines = lines;
	result.n_log_lines = 2;
	roll.uncovered = 5;
	roll.journal_size_would_do = 2097152;
	result.roll = &roll;
	expect_json(UPGRADED__WIRE__VERB__VERB_ROLL, &result,
		    "{\"code\": 6, \"text\": \"rolled back\", \"cause\": \"SIGSEGV\", \"serving_text\": \"1.0\","
		    " \"next\": \"fix it\","
		    " \"log_lines\": [\"one\", \"two\"], \"roll\": {\"from\": \"1.0\", \"to\": \"2.0\","
		    " \"outcome\": \"rolled-back-parked\", \"records\": 5000000000, \"state_bytes\": 6000000000, \"fds\": 14,"
		    " \"pause_us\": 3210, \"commit_us\": 7, \"resume_us\": 8, \"kept\": 12, \"reset\": 1, \"image_bytes\": 9,"
		    " \"image_us\": 10, \"restore_us\": 11, \"way_back\": \"parked+image\", \"cause\": \"SIGSEGV\","
		    " \"log_lines\": [], \"started\": \"\", \"verified\": false, \"lost_us\": 0,"
		    " \"journal\": false, \"replayed\": 0, \"adopted\": 0, \"journal_note\": \"\","
		    " \"uncovered\": 5, \"journal_size_would_do\": 2097152}}");
}

Test(render_json, without_a_roll_there_is_null)
{
	Upgraded__Wire__Result result;

	upgraded__wire__result__init(&result);
	expect_json(UPGRADED__WIRE__VERB__VERB_STOP, &result,
		    "{\"code\": 0, \"text\": \"\", \"cause\": \"\", \"serving_text\": \"\", \"next\": \"\", \"log_lines\": [],"
		    " \"roll\": null}");
}

Test(render_json, list_and_status_are_services)
{
	Upgraded__Wire__Result result;
	Upgraded__Wire__ServiceStatus service;
	Upgraded__Wire__Instance instance;
	Upgraded__Wire__ServiceStatus *services[] = { &service };
	Upgraded__Wire__Instance *instances[] = { &instance };
	char name[] = "web", version[] = "2.0", state[] = "running", serving[] = "serving";
	static const char expected[] =
		"{\"services\": [{\"name\": \"web\", \"state\": \"running\", \"version\": \"2.0\", \"restarts\": 0,"
		" \"instances\": [{\"pid\": 4242, \"version\": \"2.0\", \"state\": \"serving\", \"since_us\": 99}],"
		" \"previous\": \"\", \"unit_file\": \"\", \"description\": \"\", \"last_roll\": null,"
		" \"descriptors\": 4294967295, \"descriptors_told\": true, \"history\": [], \"health\": []}]}";

	upgraded__wire__result__init(&result);
	upgraded__wire__service_status__init(&service);
	upgraded__wire__instance__init(&instance);
	expect_json(UPGRADED__WIRE__VERB__VERB_LIST, &result, "{\"services\": []}");
	instance.pid = 4242;
	instance.version = version;
	instance.state = serving;
	instance.since_us = 99;
	service.name = name;
	service.state = state;
	service.version = version;
	service.descriptors = UINT32_MAX;
	service.descriptors_told = true;
	service.instances = instances;
	service.n_instances = 1;
	result.services = services;
	result.n_services = 1;
	expect_json(UPGRADED__WIRE__VERB__VERB_LIST, &result, expected);
	result.code = 3; /* a service that does not run is still described */
	expect_json(UPGRADED__WIRE__VERB__VERB_STATUS, &result, expected);
}

Test(render_json, a_status_that_failed_says_why)
{
	Upgraded__Wire__Result result;
	char text[] = "no service \"web\"";

	upgraded__wire__result__init(&result);
	result.code = 4;
	result.text = text;
	expect_json(UPGRADED__WIRE__VERB__VERB_STATUS, &result,
		    "{\"code\": 4, \"text\": \"no service \\\"web\\\"\", \"cause\": \"\", \"serving_text\": \"\", \"next\": \"\","
		    " \"log_lines\": [], \"services\": []}");
}

Test(render_json, check_is_checks_and_the_code)
{
	Upgraded__Wire__Result result;
	Upgraded__Wire__Check check;
	Upgraded__Wire__Check *checks[] = { &check };
	char name[] = "criu", detail[] = "not found";

	upgraded__wire__result__init(&result);
	upgraded__wire__check__init(&check);
	check.name = name;
	check.detail = detail;
	result.checks = checks;
	result.n_checks = 1;
	result.code = 1;
	expect_json(UPGRADED__WIRE__VERB__VERB_CHECK, &result,
		    "{\"checks\": [{\"name\": \"criu\", \"ok\": false, \"detail\": \"not found\"}], \"code\": 1}");
	result.n_checks = 0;
	result.code = 0;
	expect_json(UPGRADED__WIRE__VERB__VERB_CHECK, &result, "{\"checks\": [], \"code\": 0}");
}

static char *printed(const char *text)
{
	struct args args = args_of(UPGRADED__WIRE__VERB__VERB_STOP);
	Upgraded__Wire__Result result;
	char *copy = strdup(text);
	char *output = NULL;
	size_t size;
	FILE *out = open_memstream(&output, &size);
	json_t *json;

	cr_assert(out && copy);
	upgraded__wire__result__init(&result);
	result.text = copy;
	json = json_result(&args, &result);
	cr_assert(json, "no JSON for a text of %zu bytes", strlen(text));
	cr_assert_eq(json_print(out, json), 0);
	fclose(out);
	json_decref(json);
	free(copy);
	return output;
}

Test(render_json, whatever_a_peer_said_is_ascii_on_one_line)
{
	char *output = printed("\033[2J\n\u00e9\u202e\"\\");

	cr_expect(strstr(output, "\"text\": \"\\u001B[2J\\n\\u00E9\\u202E\\\"\\\\\""), "%s", output);
	for (const char *p = output; p[1]; p++)
		cr_expect(*p >= 0x20 && *p < 0x7f, "byte %d", *p);
	cr_expect_eq(output[strlen(output) - 1], '\n');
	free(output);
}

Test(render_json, text_that_is_not_utf8_is_replaced_not_dropped)
{
	char *output = printed("a\xff" "b\xe2\x9c" "c\xc3\xa9\xf0\x9f");

	cr_expect(strstr(output, "\"text\": \"a\\uFFFDb\\uFFFD\\uFFFDc\\u00E9\\uFFFD\\uFFFD\""), "%s", output);
	free(output);
}

Test(render_json, every_pair_of_bytes_gives_json)
{
	for (unsigned a = 1; a < 256; a++)
		for (unsigned b = 1; b < 256; b += 3) {
			char text[] = { (char)a, (char)b, '\0' };

			free(printed(text));
		}
}

Test(render_json, counts_beyond_json_integers_stop_at_the_largest)
{
	struct args args = args_of(UPGRADED__WIRE__VERB__VERB_ROLL);
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;
	json_t *json;

	upgraded__wire__result__init(&result);
	upgraded__wire__roll_report__init(&roll);
	roll.records = UINT64_MAX;
	result.roll = &roll;
	json = json_result(&args, &result);
	cr_expect_eq(json_integer_value(json_object_get(json_object_get(json, "roll"), "records")), INT64_MAX);
	json_decref(json);
}
