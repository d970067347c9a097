/* SPDX-License-Identifier: MIT */
/* The round trip: before it takes over, the new version saves what it has loaded, migrated back to the versions it came in. Equal
 * sets of records prove that going back will lose nothing; unequal ones stop the roll while old still has everything. */
#include "shim/core/upg.h"

#include "statefmt/compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct roundtrip {
	struct sf_compare *compare;
	struct sf_schema *schemas; /* of the stream; the names are owned */
	size_t n;
	uint8_t *packed; /* scratch */
	size_t cap;
};

struct roundtrip *roundtrip_new(void)
{
	return calloc(1, sizeof(struct roundtrip));
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

static const struct upg_type *type_of(const struct upg_config *config, const char *name)
{
	for (size_t i = 0; i < config->n_types; i++)
		if (strcmp(config->types[i].name, name) == 0)
			return &config->types[i];
	return NULL;
}

int roundtrip_begin(struct upg *upg, const struct sf_header *header)
{
	struct roundtrip *roundtrip = upg->roundtrip;

	roundtrip->schemas = calloc(header->n_schemas + 1, sizeof(*roundtrip->schemas));
	if (!roundtrip->schemas || sf_compare_new(header->n_schemas, &roundtrip->compare) < 0)
		return why_errno(&upg->why, -ENOMEM, "round trip");
	for (size_t i = 0; i < header->n_schemas; i++) {
		const struct upg_type *type = type_of(upg->config, header->schemas[i].name);
		struct sf_schema *schema = &roundtrip->schemas[i];

		*schema = header->schemas[i];
		schema->name = strdup(header->schemas[i].name);
		roundtrip->n = i + 1;
		if (!schema->name)
			return why_errno(&upg->why, -ENOMEM, "round trip");
		if (type && type->version == schema->version)
			schema->descriptor = type->descriptor;
		else
			schema->descriptor = transfer_older_descriptor(upg->config, schema->name, schema->version);
		if (!schema->descriptor)
			return why_set(&upg->why, -ENOENT,
				       "the round trip needs a migration of %s back to version %u, and there is none", schema->name,
				       schema->version);
	}
	return 0;
}

int roundtrip_note(struct upg *upg, const struct sf_record *record)
{
	int r = sf_compare_add(upg->roundtrip->compare, SF_BEFORE, record->type, record->data, record->size_bytes);

	return r < 0 ? why_errno(&upg->why, r, "round trip") : 0;
}

/* What upg_save() would have written into a stream. @type is the stream's. */
static int put_in_comparison(struct upg_saver *saver, size_t type, const ProtobufCMessage *message)
{
	struct roundtrip *roundtrip = saver->upg->roundtrip;
	size_t size = protobuf_c_message_get_packed_size(message);
	int r;

	if (size > roundtrip->cap) {
		uint8_t *grown = realloc(roundtrip->packed, size);

		if (!grown)
			return why_errno(&saver->upg->why, -ENOMEM, "round trip");
		roundtrip->packed = grown;
		roundtrip->cap = size;
	}
	protobuf_c_message_pack(message, roundtrip->packed);
	r = sf_compare_add(roundtrip->compare, SF_AFTER, type, roundtrip->packed, size);
	return r < 0 ? why_errno(&saver->upg->why, r, "round trip") : 0;
}

/* Only types that came are compared: those that are new have nothing to lose. */
static int save_what_came(struct upg_saver *saver, const struct sf_schema *have, const struct sf_migration *migrations)
{
	struct upg *upg = saver->upg;
	const struct upg_config *config = upg->config;
	int r = 0;

	for (size_t i = 0; r == 0 && i < upg->roundtrip->n; i++) {
		const struct sf_schema *came = &upg->roundtrip->schemas[i];
		const struct upg_type *type = type_of(config, came->name);

		if (!type || !type->save)
			continue;
		r = sf_plan_new(&have[type - config->types], 1, came, 1, migrations, config->n_migrations, &saver->plan, &upg->why);
		if (r < 0)
			return r;
		saver->type = 0;
		saver->stream_type = i;
		r = type->save(saver, config->userdata);
		saver->plan = sf_plan_free(saver->plan);
	}
	return r;
}

int roundtrip_check(struct upg *upg)
{
	struct upg_saver saver = { .upg = upg, .put = put_in_comparison, .state_fd = -1 };
	struct sf_schema *have = transfer_schemas(upg->config);
	struct sf_migration *migrations = transfer_migrations(upg->config);
	struct why differs = { 0 };
	int r = have && migrations ? 0 : why_errno(&upg->why, -ENOMEM, "round trip");

	if (r == 0)
		r = save_what_came(&saver, have, migrations);
	free(migrations);
	free(have);
	if (r < 0)
		return why_prefix(&upg->why, r, "round trip");
	if (sf_compare_explain(upg->roundtrip->compare, upg->roundtrip->schemas, &differs))
		return 0;
	return why_set(&upg->why, -EPROTO, "the round trip shows that going back would lose something: %s", differs.text);
}
