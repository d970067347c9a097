/* SPDX-License-Identifier: MIT */
/*
 * protobuf's descriptors of the protocol drive this: a field added to control.proto appears in the output by itself, under its own
 * name. Every field is always there; a message that is absent, and a figure that nobody knows, is null. What all of it means says
 * upgradectl.schema.json, by which a test judges real answers.
 */
#include "cli/render_json.h"

#include "base/clock.h"
#include "wire/wire.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static json_t *message_to_json(const ProtobufCMessage *message, const char *const skip[]);

/* protobuf-c does not check that a string is UTF-8, as JSON's strings are: what is not UTF-8 becomes U+FFFD. */
static json_t *text_to_json(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	json_t *json = json_string(text);
	char *fixed;
	size_t used = 0;

	if (json)
		return json;
	fixed = malloc(strlen(text) * (sizeof(replacement) - 1) + 1);
	if (!fixed)
		return NULL;
	while (*text) {
		size_t length = 4;

		/* jansson decides what is UTF-8, a character at a time, so that we always agree with it. */
		for (; length; length--) {
			if (strnlen(text, length) < length)
				continue;
			json = json_stringn(text, length);
			if (json)
				break;
		}
		json_decref(json);
		memcpy(fixed + used, length ? text : replacement, length ? length : sizeof(replacement) - 1);
		used += length ? length : sizeof(replacement) - 1;
		text += length ? length : 1;
	}
	json = json_stringn(fixed, used);
	free(fixed);
	return json;
}

static json_t *count_to_json(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *value_to_json(const ProtobufCFieldDescriptor *field, const void *value)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		return text_to_json(*(char *const *)value);
	case PROTOBUF_C_TYPE_MESSAGE: {
		const ProtobufCMessage *message = *(ProtobufCMessage *const *)value;

		return message ? message_to_json(message, NULL) : json_null();
	}
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)value);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)value);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return count_to_json(*(const uint64_t *)value);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_ENUM:
		return json_integer(*(const int32_t *)value);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_integer(*(const int64_t *)value);
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
	case PROTOBUF_C_TYPE_BYTES:
	default:
		return json_null(); /* no answer has such a field */
	}
}

/* Repeated fields are arrays of strings and of messages here: both are arrays of pointers. */
static json_t *array_to_json(const ProtobufCFieldDescriptor *field, size_t n, const void *const *values)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < n; i++)
		if (json_array_append_new(array, value_to_json(field, &values[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *field_to_json(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const char *base = (const char *)message;
	bool pointers = field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;

	if (field->label != PROTOBUF_C_LABEL_REPEATED)
		return value_to_json(field, base + field->offset);
	if (!pointers)
		return json_null();
	return array_to_json(field, *(const size_t *)(const void *)(base + field->quantifier_offset),
			     *(const void *const *const *)(const void *)(base + field->offset));
}

static bool is_listed(const char *name, const char *const list[])
{
	for (; list && *list; list++)
		if (!strcmp(name, *list))
			return true;
	return false;
}

static json_t *message_to_json(const ProtobufCMessage *message, const char *const skip[])
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;
	json_t *object = json_object();

	for (unsigned i = 0; object && i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];

		if (is_listed(field->name, skip))
			continue;
		if (json_object_set_new(object, field->name, field_to_json(message, field)) < 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

/* ---- what is not known is null ---- */

/* Return: false: out of memory. */
static bool forget(json_t *object, const char *name)
{
	return !json_object_get(object, name) || json_object_set_new(object, name, json_null()) == 0;
}

static bool forget_all(json_t *object, const char *const names[])
{
	bool well = true;

	for (; *names; names++)
		well = forget(object, *names) && well;
	return well;
}

/* ---- points in time ---- */

/* Both clocks at one moment, as the supervisor read them: its machine may be another one. */
struct clocks {
	uint64_t at_us, realtime_us;
};

static json_t *rfc3339(uint64_t realtime_us)
{
	time_t seconds = (time_t)(realtime_us / USEC_PER_SEC);
	char text[64], whole[96];
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm))
		return json_null();
	snprintf(whole, sizeof(whole), "%s.%06uZ", text, (unsigned)(realtime_us % USEC_PER_SEC));
	return json_string(whole);
}

/* Beside @object's @name, "x_us" of the monotonic clock, "x_at" of the other one. 0 is no point in time. */
static bool add_time(json_t *object, const char *name, const struct clocks *clocks)
{
	const json_t *value = json_object_get(object, name);
	uint64_t us = json_is_integer(value) ? (uint64_t)json_integer_value(value) : 0;
	size_t n = strlen(name) - strlen("_us");
	char beside[64];

	if (!value)
		return true;
	snprintf(beside, sizeof(beside), "%.*s_at", (int)n, name);
	/* Differences wrap as they should: a bake's end is in the future. */
	if (!us || !clocks->realtime_us)
		return json_object_set_new(object, beside, json_null()) == 0;
	return json_object_set_new(object, beside, rfc3339(clocks->realtime_us + us - clocks->at_us)) == 0;
}

static bool add_times(json_t *object, const char *const names[], const struct clocks *clocks)
{
	bool well = true;

	for (; *names; names++)
		well = add_time(object, *names, clocks) && well;
	return well;
}

/* ---- objects that answers have ---- */

static bool refine_roll(json_t *roll, const struct clocks *clocks)
{
	static const char *const times[] = { "commit_us",     "resume_us",    "died_us", "child_since_us",
					     "unanswered_us", "bake_ends_us", NULL };
	static const char *const moved[] = { "records", "state_bytes", "fds", NULL };
	bool ended, counted, well;

	if (!json_is_object(roll))
		return true;
	well = add_times(roll, times, clocks);
	ended = strcmp(json_string_value(json_object_get(roll, "outcome")), "under way") != 0;
	counted = json_is_true(json_object_get(roll, "counted"));
	/* A supervisor that does not say so knows them once it is over. */
	if (!counted && (!ended || json_integer_value(json_object_get(roll, "id"))))
		well = forget_all(roll, moved) && well;
	if (!*json_string_value(json_object_get(roll, "way_back")))
		well = forget(roll, "way_back") && well;
	json_object_del(roll, "counted");
	return well;
}

static bool refine_service(json_t *service, const struct clocks *clocks)
{
	static const char *const times[] = { "since_us", NULL };
	bool well = refine_roll(json_object_get(service, "last_roll"), clocks);
	json_t *instance;
	size_t i;

	json_array_foreach(json_object_get(service, "instances"), i, instance) well =
		add_times(instance, times, clocks) && well;
	if (!json_is_true(json_object_get(service, "descriptors_told")))
		well = forget(service, "descriptors") && well;
	return well;
}

/* Only `show` looks at the files of an image, and only `verify` whether it could be restored. */
static bool refine_image(json_t *image, Upgraded__Wire__Verb verb)
{
	static const char *const shown[] = { "files", "pins", NULL };
	static const char *const verified[] = { "checks", "restorable", NULL };
	bool well = verb == UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW || forget_all(image, shown);

	return (verb == UPGRADED__WIRE__VERB__VERB_IMAGES_VERIFY || forget_all(image, verified)) && well;
}

static bool refine_plan(json_t *plan)
{
	static const char *const pauses[] = { "pause_min_us", "pause_median_us", "pause_max_us", "pause_records",
					      NULL };
	static const char *const counts[] = { "records", "state_bytes", "pause_expected_us", NULL };
	bool well = true;

	if (!json_is_object(plan))
		return true;
	if (!json_integer_value(json_object_get(plan, "rolls")))
		well = forget_all(plan, pauses);
	if (!json_is_true(json_object_get(plan, "counted")))
		well = forget_all(plan, counts) && well;
	if (!json_is_true(json_object_get(plan, "inventory")))
		well = forget(plan, "registered") && well;
	return well;
}

static bool refine(json_t *answer, const struct args *args, const struct clocks *clocks)
{
	bool well =
		refine_roll(json_object_get(answer, "roll"), clocks) && refine_plan(json_object_get(answer, "plan"));
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(answer, "services"), i, entry) well = refine_service(entry, clocks) && well;
	json_array_foreach(json_object_get(answer, "images"), i, entry) well = refine_image(entry, args->verb) && well;
	return well;
}

/* ---- an answer ---- */

/* What stands in the envelope in another form, or in lines of its own. */
#define ELSEWHERE "events", "serving", "serving_now", "about_serving", "realtime_us", NULL

/* The names of what an answer is about, and that only some verbs have. */
static const char *const *left_out(const struct args *args)
{
	static const char *const acting[] = { "services", "checks",  "save",	       "plan",
					      "images",	  "history", "daemon_version", ELSEWHERE };
	static const char *const saving[] = { "services", "checks",  "roll",	       "plan",
					      "images",	  "history", "daemon_version", ELSEWHERE };
	static const char *const planning[] = { "services", "checks",  "roll",		 "save",
						"images",   "history", "daemon_version", ELSEWHERE };
	static const char *const versions[] = { "services", "checks", "roll",	 "save",
						"plan",	    "images", "history", ELSEWHERE };
	static const char *const listing[] = { "roll",	 "checks",  "save",	      "plan",
					       "images", "history", "daemon_version", ELSEWHERE };
	static const char *const checking[] = { "roll",	  "services", "save",		"plan",
						"images", "history",  "daemon_version", ELSEWHERE };
	static const char *const imaging[] = { "services", "checks",  "roll",		"save",
					       "plan",	   "history", "daemon_version", ELSEWHERE };
	static const char *const rolls[] = { "services", "checks", "roll",	     "save",
					     "plan",	 "images", "daemon_version", ELSEWHERE };

	switch ((int)args->verb) {
	case UPGRADED__WIRE__VERB__VERB_LIST:
	case UPGRADED__WIRE__VERB__VERB_STATUS:
		return listing;
	case UPGRADED__WIRE__VERB__VERB_CHECK:
		return checking;
	case UPGRADED__WIRE__VERB__VERB_PLAN:
		return planning;
	case UPGRADED__WIRE__VERB__VERB_VERSION:
		return versions;
	case UPGRADED__WIRE__VERB__VERB_SAVE:
		return saving;
	case UPGRADED__WIRE__VERB__VERB_HISTORY:
		return rolls;
	case UPGRADED__WIRE__VERB__VERB_IMAGES_LIST:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_VERIFY:
	case UPGRADED__WIRE__VERB__VERB_IMAGES_GC:
		return imaging;
	default:
		return acting;
	}
}

static json_t *serving_to_json(const Upgraded__Wire__Result *result)
{
	return result->serving_now ? message_to_json(&result->serving_now->base, NULL) : json_null();
}

static struct clocks clocks_of(uint64_t at_us, uint64_t realtime_us)
{
	/* A supervisor that does not say is on this machine. */
	if (!realtime_us)
		return (struct clocks){ .at_us = clock_now_us(), .realtime_us = clock_realtime_us() };
	return (struct clocks){ .at_us = at_us, .realtime_us = realtime_us };
}

static bool envelope(json_t *object, const struct args *args, const struct clocks *clocks)
{
	bool well = json_object_set_new(object, "schema", json_integer(JSON_SCHEMA)) == 0;

	well = json_object_set_new(object, "verb", json_string(args->verb_name)) == 0 && well;
	well = json_object_set_new(object, "service", args->service ? text_to_json(args->service) : json_null()) == 0 &&
	       well;
	well = json_object_set_new(object, "at_us", count_to_json(clocks->at_us)) == 0 && well;
	return json_object_set_new(object, "at", rfc3339(clocks->realtime_us)) == 0 && well;
}

json_t *json_result(const struct args *args, const Upgraded__Wire__Result *result)
{
	const struct clocks clocks = clocks_of(result->at_us, result->realtime_us);
	json_t *answer = json_object();
	bool well = answer && envelope(answer, args, &clocks);
	json_t *rest = message_to_json(&result->base, left_out(args));

	well = well && rest && json_object_update_missing(answer, rest) == 0;
	well = well && json_object_set_new(answer, "serving", serving_to_json(result)) == 0;
	well = well && json_object_set_new(answer, "serving_text", text_to_json(result->serving)) == 0;
	well = well && refine(answer, args, &clocks);
	if (well && args->progress)
		well = json_object_set_new(answer, "event", json_string("result")) == 0;
	json_decref(rest);
	if (well)
		return answer;
	json_decref(answer);
	return NULL;
}

json_t *json_progress(const struct args *args, const Upgraded__Wire__Progress *progress)
{
	static const char *const kinds[] = { "news", "begins", "goes-on" };
	static const char *const skip[] = { "kind", "realtime_us", NULL };
	static const char *const times[] = { "bake_ends_us", NULL };
	static const char *const figures[] = {
		"records", "state_bytes",  "records_expected", "bytes_expected", "pause_us", "image_bytes",
		"bake_us", "bake_ends_us", "quiesce_us",       "roll_id",	 NULL
	};
	const struct clocks clocks = clocks_of(progress->at_us, progress->realtime_us);
	json_t *answer = json_object(), *rest = message_to_json(&progress->base, skip);
	bool well = answer && rest && envelope(answer, args, &clocks);
	unsigned kind = (unsigned)progress->kind < 3 ? (unsigned)progress->kind : 0;

	well = well && json_object_set_new(answer, "event", json_string("progress")) == 0;
	well = well && json_object_set_new(answer, "kind", json_string(kinds[kind])) == 0;
	well = well && add_times(rest, times, &clocks);
	/* 0 in these is: not known, or not yet. */
	for (const char *const *name = figures; well && *name; name++)
		if (!json_integer_value(json_object_get(rest, *name)))
			well = forget(rest, *name);
	well = well && json_object_update_missing(answer, rest) == 0;
	json_decref(rest);
	if (well)
		return answer;
	json_decref(answer);
	return NULL;
}

json_t *json_of(const ProtobufCMessage *message, const char *const skip[])
{
	return message_to_json(message, skip);
}

int json_print(FILE *out, const json_t *json)
{
	if (json_dumpf(json, out, JSON_ENSURE_ASCII) < 0 || fputc('\n', out) == EOF || fflush(out) == EOF)
		return -EIO;
	return 0;
}
