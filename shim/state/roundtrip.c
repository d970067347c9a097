/* SPDX-License-Identifier: MIT */
#include "shim/state/roundtrip.h"

#include "base/loop.h"
#include "base/why.h"
#include "shim/state/application.h"
#include "shim/state/saver.h"
#include "statefmt/compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct roundtrip {
	const struct application *application;
	struct sf_compare *compare;
	struct sf_schema *schemas; /* of the stream; the names are owned */
	size_t n;
	uint8_t *packed; /* scratch */
	size_t cap;
};

/* A saver whose messages are compared. */
struct comparison {
	struct upg_saver saver;
	struct roundtrip *roundtrip;
};

struct roundtrip *roundtrip_new(const struct application *application)
{
	struct roundtrip *roundtrip = calloc(1, sizeof(*roundtrip));

	if (roundtrip)
		roundtrip->application = application;
	return roundtrip;
}

struct roundtrip *roundtrip_free(struct roundtrip *roundtrip)
{
	if (!roundtrip)
		return NULL;
	for (size_t i = 0; roundtrip->schemas && i < roundtrip->n; i++)
		free((void *)(uintptr_t)roundtrip->schemas[i].name);
	free(roundtrip->schemas);
	free(roundtrip->packed);
	sf_compare_free(roundtrip->compare);
	free(roundtrip);
	return NULL;
}

int roundtrip_begin(struct roundtrip *roundtrip, const struct sf_header *header, struct why *why)
{
	const struct application *application = roundtrip->application;

	roundtrip->schemas = calloc(header->n_schemas + 1, sizeof(*roundtrip->schemas));
	if (!roundtrip->schemas || sf_compare_new(roundtrip->schemas, header->n_schemas, application->config->volatile_fields,
						  &roundtrip->compare) < 0)
		return why_errno(why, -ENOMEM, "round trip");
	for (size_t i = 0; i < header->n_schemas; i++) {
		const struct upg_type *type = application_type(application, header->schemas[i].name);
		struct sf_schema *schema = &roundtrip->schemas[i];

		*schema = header->schemas[i];
		schema->name = strdup(header->schemas[i].name);
		roundtrip->n = i + 1;
		if (!schema->name)
			return why_errno(why, -ENOMEM, "round trip");
		if (type && type->version == schema->version)
			schema->descriptor = type->descriptor;
		else
			schema->descriptor = application_older(application, schema->name, schema->version);
		if (!schema->descriptor)
			return why_set(why, -ENOENT,
				       "the round trip needs a migration of %s back to version %u, and there is none", schema->name,
				       schema->version);
	}
	return 0;
}

int roundtrip_note(struct roundtrip *roundtrip, const struct sf_record *record, struct why *why)
{
	int r = sf_compare_add(roundtrip->compare, SF_BEFORE, record->type, record->data, record->size_bytes);

	return r < 0 ? why_errno(why, r, "round trip") : 0;
}

/* What upg_save() would have written into a stream. @type is the stream's. */
static int put_in_comparison(struct upg_saver *saver, size_t type, const ProtobufCMessage *message)
{
	struct roundtrip *roundtrip = container_of(saver, struct comparison, saver)->roundtrip;
	size_t size = protobuf_c_message_get_packed_size(message);
	int r;

	if (size > roundtrip->cap) {
		uint8_t *grown = realloc(roundtrip->packed, size);

		if (!grown)
			return why_errno(saver->why, -ENOMEM, "round trip");
		roundtrip->packed = grown;
		roundtrip->cap = size;
	}
	protobuf_c_message_pack(message, roundtrip->packed);
	r = sf_compare_add(roundtrip->compare, SF_AFTER, type, roundtrip->packed, size);
	return r < 0 ? why_errno(saver->why, r, "round trip") : 0;
}

/* Only types that came are compared: those that are new have nothing to lose. */
static int save_what_came(struct roundtrip *roundtrip, struct upg_saver *saver)
{
	const struct application *application = roundtrip->application;
	const struct upg_config *config = application->config;
	int r = 0;

	for (size_t i = 0; r == 0 && i < roundtrip->n; i++) {
		const struct sf_schema *came = &roundtrip->schemas[i];
		const struct upg_type *type = application_type(application, came->name);

		if (!type || !type->save)
			continue;
		r = sf_plan_new(&application->schemas[type - config->types], 1, came, 1, application->migrations,
				config->n_migrations, &saver->plan, saver->why);
		if (r < 0)
			return r;
		saver->type = 0;
		saver->stream_type = i;
		r = type->save(saver, config->userdata);
		saver->plan = sf_plan_free(saver->plan);
	}
	return r;
}

int roundtrip_check(struct roundtrip *roundtrip, struct refs *refs, struct why *why)
{
	struct comparison comparison = {
		.saver = { .refs = refs, .put = put_in_comparison, .why = why }, .roundtrip = roundtrip
	};
	struct why differs = { 0 };
	int r = save_what_came(roundtrip, &comparison.saver);

	if (r < 0)
		return why_prefix(why, r, "round trip");
	if (sf_compare_explain(roundtrip->compare, &differs))
		return 0;
	return why_set(why, -EPROTO, "the round trip shows that going back would lose something: %s", differs.text);
}
