/* SPDX-License-Identifier: MIT */
/*
 * protobuf's descriptors of the protocol drive this: a field added to control.proto appears in the output by itself, under its own
 * name. Every field is always there, even if empty or zero; a message that is absent is null.
 */
#include "cli/render_json.h"

#include "wire/wire.h"

#include <errno.h>
#include <string.h>

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

json_t *json_result(const struct args *args, const Upgraded__Wire__Result *result)
{
	static const char *const acting[] = { "services", "checks", "save", "plan", "images", "history",
						"events", NULL };
	static const char *const saving[] = { "services", "checks", "roll", "plan", "images", "history", "events", NULL };
	static const char *const planning[] = { "services", "checks", "roll", "save", "images", "history", "events", NULL };
	static const char *const listing[] = { "code",  "text",   "cause", "serving", "next",
					       "roll",  "checks", "log_lines", "save", "plan", "images", "history",
						"events", NULL };
	static const char *const checking[] = { "text", "cause", "serving", "next",
						"roll", "services", "log_lines", "save", "plan", "images", "history",
						"events", NULL };
	static const char *const imaging[] = { "services", "checks", "roll", "save", "plan", "log_lines", "serving", "history",
					       "events", NULL };
	bool well = result->code == WIRE_EXIT_DONE;
	bool lists = args->verb == UPGRADED__WIRE__VERB__VERB_LIST || args->verb == UPGRADED__WIRE__VERB__VERB_STATUS;

	if (lists && (well || result->n_services))
		return message_to_json(&result->base, listing);
	if (args->verb == UPGRADED__WIRE__VERB__VERB_CHECK && (well || result->n_checks))
		return message_to_json(&result->base, checking);
	if (args->verb == UPGRADED__WIRE__VERB__VERB_PLAN)
		return message_to_json(&result->base, planning);
	if (args->verb >= UPGRADED__WIRE__VERB__VERB_IMAGES_LIST && args->verb <= UPGRADED__WIRE__VERB__VERB_IMAGES_GC)
		return message_to_json(&result->base, imaging);
	return message_to_json(&result->base, args->verb == UPGRADED__WIRE__VERB__VERB_SAVE ? saving : acting);
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
