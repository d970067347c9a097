/* SPDX-License-Identifier: MIT */
/* protoc-gen-upgrade: protoc starts it, writes a request to its standard input, and writes the files of its answer. If something is
 * wrong with a schema, the answer says so. The exit status is for when there can be no answer. */
#include "base/why.h"
#include "statefmt/gen/gen.h"
#include "statefmt/gen/plugin.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_BYTES ((size_t)64 << 20)
#define FEATURE_PROTO3_OPTIONAL 1u

struct answer {
	Upgraded__Gen__Response response;
	Upgraded__Gen__Response__File *files;
	Upgraded__Gen__Response__File **list;
	struct why why;
};

static int input_read(uint8_t **ret_data, size_t *ret_size)
{
	size_t size = 0, cap = 0;
	uint8_t *data = NULL;
	ssize_t n = 1;

	while (n > 0 && size < REQUEST_BYTES) {
		if (size == cap) {
			uint8_t *more = realloc(data, cap = cap ? 2 * cap : (size_t)64 << 10);

			if (!more)
				break;
			data = more;
		}
		n = read(STDIN_FILENO, data + size, cap - size);
		size += n > 0 ? (size_t)n : 0;
	}
	if (n != 0) {
		free(data);
		return -EIO;
	}
	*ret_data = data;
	*ret_size = size;
	return 0;
}

/* "prefix=my_,no_schema" */
static int options_parse(char *text, struct module_options *options, struct why *why)
{
	char *rest = NULL;

	for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
		if (strncmp(one, "prefix=", 7) == 0)
			options->prefix = one + 7;
		else if (strcmp(one, "no_schema") == 0)
			options->no_schema = true;
		else
			return why_set(why, -EINVAL,
				       "there is no option \"%.80s\": prefix=NAME and no_schema are possible", one);
	}
	if (strspn(options->prefix,
		   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != strlen(options->prefix))
		return why_set(why, -EINVAL, "prefix=%.80s: a function's name cannot begin so", options->prefix);
	return 0;
}

/* ---- the schema to embed ---- */

static const Google__Protobuf__FileDescriptorProto *file_find(const Upgraded__Gen__Request *request, const char *name)
{
	for (size_t i = 0; i < request->n_proto_file; i++)
		if (strcmp(request->proto_file[i]->name, name) == 0)
			return request->proto_file[i];
	return NULL;
}

/* Does the file only declare options? No type of a program's state is in it. */
static bool is_vocabulary(const char *name)
{
	return strcmp(name, "google/protobuf/descriptor.proto") == 0 || strcmp(name, "upgrade/options.proto") == 0 ||
	       strcmp(name, "protobuf-c/protobuf-c.proto") == 0;
}

/* Mark the file and all that it imports. protoc lists a file after its imports, so one pass from the end finds them all. */
static void wanted_mark(const Upgraded__Gen__Request *request, const char *name, bool *wanted)
{
	for (size_t i = request->n_proto_file; i-- > 0;) {
		const Google__Protobuf__FileDescriptorProto *file = request->proto_file[i];

		wanted[i] |= strcmp(file->name, name) == 0;
		for (size_t j = 0; wanted[i] && j < file->n_dependency; j++)
			for (size_t k = 0; k < i; k++)
				wanted[k] |= strcmp(request->proto_file[k]->name, file->dependency[j]) == 0;
	}
	for (size_t i = 0; i < request->n_proto_file; i++)
		wanted[i] &= !is_vocabulary(request->proto_file[i]->name);
}

static int schema_pack(const Upgraded__Gen__Request *request, const char *name, struct schema_bytes *ret_schema)
{
	Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
	bool *wanted = calloc(request->n_proto_file + 1, sizeof(*wanted));
	uint8_t *data = NULL;

	set.file = calloc(request->n_proto_file + 1, sizeof(Google__Protobuf__FileDescriptorProto *));
	if (wanted && set.file) {
		wanted_mark(request, name, wanted);
		for (size_t i = 0; i < request->n_proto_file; i++)
			if (wanted[i])
				set.file[set.n_file++] = request->proto_file[i];
		ret_schema->size_bytes = google__protobuf__file_descriptor_set__get_packed_size(&set);
		data = malloc(ret_schema->size_bytes + 1);
	}
	if (data)
		google__protobuf__file_descriptor_set__pack(&set, data);
	ret_schema->data = data;
	free(wanted);
	free(set.file);
	return data ? 0 : -ENOMEM;
}

static void json_name_strip(Google__Protobuf__FieldDescriptorProto **fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(fields[i]->json_name);
		fields[i]->json_name = NULL;
	}
}

/* Drop comments, positions and names for JSON: they are no part of a type, and differ between versions of protoc. */
static void message_strip(Google__Protobuf__DescriptorProto *message)
{
	json_name_strip(message->field, message->n_field);
	json_name_strip(message->extension, message->n_extension);
	for (size_t i = 0; i < message->n_nested_type; i++)
		message_strip(message->nested_type[i]);
}

static void file_strip(Google__Protobuf__FileDescriptorProto *file)
{
	if (file->source_code_info)
		google__protobuf__source_code_info__free_unpacked(file->source_code_info, NULL);
	file->source_code_info = NULL;
	json_name_strip(file->extension, file->n_extension);
	for (size_t i = 0; i < file->n_message_type; i++)
		message_strip(file->message_type[i]);
}

/* ---- the answer ---- */

static char *name_with(const char *stem, const char *suffix)
{
	char *name = NULL;

	return asprintf(&name, "%s%s", stem, suffix) < 0 ? NULL : name;
}

static void answer_add(struct answer *answer, char *name, char *content)
{
	Upgraded__Gen__Response__File *file = &answer->files[answer->response.n_file];

	upgraded__gen__response__file__init(file);
	file->name = name;
	file->content = content;
	answer->list[answer->response.n_file++] = file;
}

static const struct schema_file *set_file(const struct schema_set *set, const char *name)
{
	for (size_t i = 0; i < set->n_files; i++)
		if (strcmp(set->files[i].name, name) == 0)
			return &set->files[i];
	return NULL;
}

static int file_generate(struct answer *answer, const Upgraded__Gen__Request *request, const struct schema_set *set,
			 const struct module_options *options, const char *name)
{
	size_t length = strlen(name);
	char *header = NULL, *source = NULL, *stem;
	struct module module = { .set = set, .file = set_file(set, name), .options = options };
	int r;

	if (!module.file)
		return why_set(&answer->why, -EINVAL, "%s: protoc asks for this file and does not describe it", name);
	if (length > 6 && strcmp(name + length - 6, ".proto") == 0)
		length -= 6;
	stem = strndup(name, length);
	r = stem ? schema_pack(request, name, &module.schema) : -ENOMEM;
	if (r < 0) {
		free(stem);
		return why_errno(&answer->why, r, "%s", name);
	}
	module.stem = stem;
	r = module_write(&module, &header, &source, &answer->why);
	if (r == 0) {
		answer_add(answer, name_with(stem, ".upgrade.h"), header);
		answer_add(answer, name_with(stem, ".upgrade.c"), source);
	}
	free((void *)(uintptr_t)module.schema.data);
	free(stem);
	return r < 0 ? why_prefix(&answer->why, r, "%s", name) : 0;
}

static int generate(struct answer *answer, Upgraded__Gen__Request *request)
{
	struct module_options options = { .prefix = "" };
	struct schema_set *set = NULL;
	int r = options_parse(request->parameter, &options, &answer->why);

	for (size_t i = 0; i < request->n_file_to_generate && r == 0; i++)
		if (!file_find(request, request->file_to_generate[i]))
			r = why_set(&answer->why, -EINVAL, "%s: not described by protoc", request->file_to_generate[i]);
	if (r == 0)
		r = schema_set_from_files(request->proto_file, request->n_proto_file, &set, &answer->why);
	for (size_t i = 0; i < request->n_file_to_generate && r == 0; i++)
		r = file_generate(answer, request, set, &options, request->file_to_generate[i]);
	schema_set_free(set);
	return r;
}

static int answer_write(const struct answer *answer)
{
	size_t size = upgraded__gen__response__get_packed_size(&answer->response);
	uint8_t *data = malloc(size + 1);
	int rc = -1;

	if (data) {
		upgraded__gen__response__pack(&answer->response, data);
		rc = fwrite(data, 1, size, stdout) == size && fflush(stdout) == 0 ? 0 : -1;
	}
	free(data);
	return rc;
}

static int answer_request(Upgraded__Gen__Request *request)
{
	struct answer answer = { .why = { "" } };
	int rc = -1;

	upgraded__gen__response__init(&answer.response);
	answer.response.supported_features = FEATURE_PROTO3_OPTIONAL;
	answer.files = calloc(2 * request->n_file_to_generate + 1, sizeof(*answer.files));
	answer.list = calloc(2 * request->n_file_to_generate + 1, sizeof(Upgraded__Gen__Response__File *));
	if (answer.files && answer.list) {
		for (size_t i = 0; i < request->n_proto_file; i++)
			file_strip(request->proto_file[i]);
		answer.response.file = answer.list;
		if (generate(&answer, request) < 0)
			answer.response.error = answer.why.text;
		rc = answer_write(&answer);
	}
	for (size_t i = 0; i < answer.response.n_file; i++) {
		free(answer.files[i].name);
		free(answer.files[i].content);
	}
	free(answer.files);
	free(answer.list);
	return rc;
}

int main(void)
{
	Upgraded__Gen__Request *request;
	uint8_t *data = NULL;
	size_t size = 0;
	int rc;

	if (isatty(STDIN_FILENO)) {
		fputs("protoc-gen-upgrade is started by protoc: protoc --upgrade_out=DIRECTORY FILE.proto\n", stderr);
		return EXIT_FAILURE;
	}
	if (input_read(&data, &size) < 0) {
		fputs("protoc-gen-upgrade: cannot read protoc's request\n", stderr);
		return EXIT_FAILURE;
	}
	request = upgraded__gen__request__unpack(NULL, size, data);
	free(data);
	if (!request) {
		fputs("protoc-gen-upgrade: this is no request of protoc's\n", stderr);
		return EXIT_FAILURE;
	}
	rc = answer_request(request);
	upgraded__gen__request__free_unpacked(request, NULL);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
