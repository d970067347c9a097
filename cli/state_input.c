/* SPDX-License-Identifier: MIT */
#include "cli/state_input.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ssize_t input_read(void *arg, void *buffer, size_t size_bytes, struct why *why)
{
	const struct state_input *input = arg;
	ssize_t n;

	do
		n = read(input->fd, buffer, size_bytes);
	while (n < 0 && errno == EINTR);
	return n < 0 ? why_errno(why, -errno, "reading") : n;
}

/* Link the types that the file describes. If that fails, records are shown with numbers for names. */
static int types_link(struct state_input *input, struct why *why)
{
	const struct sf_header *header = input->header;

	input->messages = calloc(header->n_schemas + 1, sizeof(*input->messages));
	if (!input->messages)
		return why_errno(why, -ENOMEM, "%zu types", header->n_schemas);
	if (!header->descriptors_bytes || header->descriptors_bytes > SF_DESCRIPTORS_BYTES ||
	    schema_set_new(header->descriptors, header->descriptors_bytes, &input->schemas, NULL) < 0)
		return 0;
	for (size_t i = 0; i < header->n_schemas; i++)
		if (header->messages[i][0])
			input->messages[i] = schema_find_message(input->schemas, header->messages[i]);
	return 0;
}

int state_input_open(const char *path, struct state_input *ret_input, struct why *why)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int r;

	*ret_input = (struct state_input){ .path = path, .fd = -1 };
	ret_input->fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (ret_input->fd < 0)
		return why_errno(why, -errno, "cannot be opened");
	r = sf_reader_new(NULL, input_read, ret_input, &ret_input->reader, why);
	if (r == -EBADMSG || r == -EMSGSIZE)
		return STATE_DAMAGED;
	if (r < 0)
		return r;
	ret_input->header = sf_reader_header(ret_input->reader);
	/* Of a file everything is believed that memory is not taken for in advance. */
	for (size_t i = 0; i < ret_input->header->n_schemas; i++)
		sf_reader_raise(ret_input->reader, i, ret_input->header->schemas[i].record_bytes);
	return types_link(ret_input, why);
}

void state_input_close(struct state_input *input)
{
	sf_reader_free(input->reader);
	schema_set_free(input->schemas);
	free(input->messages);
	fd_close(input->fd);
	*input = (struct state_input){ .fd = -1 };
}

int state_input_next(struct state_input *input, const char *type, struct sf_record *ret_record, struct why *why)
{
	int r;

	do
		r = sf_reader_next(input->reader, ret_record, why);
	while (r == SF_RECORD && type && strcmp(type, input->header->schemas[ret_record->type].name) != 0);
	return r;
}

static int type_check(const struct state_input *input, size_t i, struct why *why)
{
	const struct sf_schema *schema = &input->header->schemas[i];

	if (!input->header->messages[i][0])
		return 0;
	if (!input->messages[i])
		return why_set(why, -EBADMSG, "header: the message %s of type \"%s\" is not among its descriptors",
			       input->header->messages[i], schema->name);
	if (schema->fingerprint && schema_fingerprint(input->messages[i]) != schema->fingerprint)
		return why_set(why, -EBADMSG, "header: type \"%s\" is described by %s, whose fingerprint is another",
			       schema->name, input->messages[i]->name);
	return 0;
}

int state_input_check(const struct state_input *input, struct why *why)
{
	const struct sf_header *header = input->header;
	struct schema_set *set = NULL;
	int r = 0;

	if (header->descriptors_bytes > SF_DESCRIPTORS_BYTES)
		return why_set(why, -EBADMSG, "header: %zu bytes of descriptors, over the limit of %zu",
			       header->descriptors_bytes, SF_DESCRIPTORS_BYTES);
	if (header->descriptors_bytes && !input->schemas) {
		r = schema_set_new(header->descriptors, header->descriptors_bytes, &set, why);
		schema_set_free(set);
		if (r < 0)
			return why_prefix(why, -EBADMSG, "header");
	}
	for (size_t i = 0; i < header->n_schemas && r == 0; i++)
		r = type_check(input, i, why);
	return r;
}

bool state_input_has_type(const struct state_input *input, const char *type)
{
	for (size_t i = 0; i < input->header->n_schemas; i++)
		if (strcmp(input->header->schemas[i].name, type) == 0)
			return true;
	return false;
}

void state_input_complain(const struct term *err, const char *path, const struct why *why)
{
	fputs("upgradectl: ", err->out);
	term_text(err, path, TERM_WHOLE);
	fputs(": ", err->out);
	term_text(err, why->text, TERM_WHOLE);
	fputc('\n', err->out);
}
