/* SPDX-License-Identifier: MIT */
/* As protoc-c does it. Its rules are part of what it generates, so they do not change. */
#include "statefmt/gen/names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* protoc-c appends '_' to a field with such a name. */
static const char *const keywords[] = {
	"and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch", "char", "class", "compl", "const",
	"const_cast", "continue", "default", "delete", "do", "double", "dynamic_cast", "else", "enum", "explicit", "extern",
	"false", "float", "for", "friend", "goto", "if", "inline", "int", "long", "mutable", "namespace", "new", "not",
	"not_eq", "operator", "or", "or_eq", "private", "protected", "public", "register", "reinterpret_cast", "return",
	"short", "signed", "sizeof", "static", "static_cast", "struct", "switch", "template", "this", "throw", "true", "try",
	"typedef", "typeid", "typename", "union", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while",
	"xor", "xor_eq",
};

static void put(struct name *buffer, size_t *at, char c)
{
	if (*at + 1 < sizeof(buffer->text))
		buffer->text[(*at)++] = c;
	buffer->text[*at] = '\0';
}

static char lower(char c)
{
	return (char)tolower((unsigned char)c);
}

static char upper(char c)
{
	return (char)toupper((unsigned char)c);
}

static bool is_upper(char c)
{
	return isupper((unsigned char)c);
}

/* '_' where a capital follows something that is none. */
static const char *separated(struct name *buffer, const char *name, const char *dot, char (*change)(char))
{
	bool was_upper = true;
	size_t at = 0;

	buffer->text[0] = '\0';
	for (; *name; name++) {
		if (*name == '.') {
			for (const char *c = dot; *c; c++)
				put(buffer, &at, *c);
			was_upper = true;
			continue;
		}
		if (is_upper(*name) && !was_upper)
			put(buffer, &at, '_');
		put(buffer, &at, change(*name));
		was_upper = is_upper(*name);
	}
	return buffer->text;
}

static void camel(struct name *buffer, size_t *at, const char *name, size_t length)
{
	bool next_upper = true;

	for (size_t i = 0; i < length; i++) {
		if (name[i] == '_')
			next_upper = true;
		else
			put(buffer, at, next_upper ? upper(name[i]) : name[i]);
		next_upper = name[i] == '_';
	}
}

const char *name_type(struct name *buffer, const char *full_name)
{
	size_t at = 0;

	buffer->text[0] = '\0';
	for (;;) {
		size_t length = strcspn(full_name, ".");

		camel(buffer, &at, full_name, length);
		if (!full_name[length])
			return buffer->text;
		put(buffer, &at, '_');
		put(buffer, &at, '_');
		full_name += length + 1;
	}
}

const char *name_lower(struct name *buffer, const char *full_name)
{
	return separated(buffer, full_name, "__", lower);
}

const char *name_upper(struct name *buffer, const char *full_name)
{
	return separated(buffer, full_name, "__", upper);
}

const char *name_field(struct name *buffer, const char *name)
{
	size_t at = 0;

	buffer->text[0] = '\0';
	for (const char *c = name; *c; c++)
		put(buffer, &at, lower(*c));
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++) {
		if (strcmp(buffer->text, keywords[i]) == 0) {
			put(buffer, &at, '_');
			break;
		}
	}
	return buffer->text;
}

const char *name_case(struct name *buffer, const struct schema_message *message, const struct schema_field *field)
{
	struct name of_message, of_oneof, of_field;

	snprintf(buffer->text, sizeof(buffer->text), "%.1000s__%.500s_%.500s", name_upper(&of_message, message->name),
		 name_upper(&of_oneof, field->oneof), name_upper(&of_field, field->name));
	return buffer->text;
}

const char *name_c_type(struct name *buffer, const struct schema_field *field)
{
	switch (field->type) {
	case SCHEMA_DOUBLE:
		return "double";
	case SCHEMA_FLOAT:
		return "float";
	case SCHEMA_INT64:
	case SCHEMA_SFIXED64:
	case SCHEMA_SINT64:
		return "int64_t";
	case SCHEMA_UINT64:
	case SCHEMA_FIXED64:
		return "uint64_t";
	case SCHEMA_INT32:
	case SCHEMA_SFIXED32:
	case SCHEMA_SINT32:
		return "int32_t";
	case SCHEMA_UINT32:
	case SCHEMA_FIXED32:
		return "uint32_t";
	case SCHEMA_BOOL:
		return "protobuf_c_boolean";
	case SCHEMA_STRING:
		return "char *";
	case SCHEMA_BYTES:
		return "ProtobufCBinaryData";
	case SCHEMA_ENUM:
		return name_type(buffer, field->enumeration->name);
	case SCHEMA_GROUP:
	case SCHEMA_MESSAGE:
		break;
	}
	return name_type(buffer, field->message->name);
}

const char *name_plain(struct name *buffer, const char *name)
{
	separated(buffer, name, "_", lower);
	for (char *c = buffer->text; *c; c++)
		if (!isalnum((unsigned char)*c))
			*c = '_';
	return buffer->text;
}
