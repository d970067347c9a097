/* SPDX-License-Identifier: MIT */
#include "shim/state/change.h"

#include "base/why.h"
#include "shim/state/application.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES ((size_t)256)
#define KEEP_BYTES ((size_t)64 << 10)

/* ---- the way to the reader ---- */

/* Where the reader's type of this name is, or -1. */
static int find_type(const struct sf_header *header, const char *name)
{
	for (size_t i = 0; i < header->n_schemas; i++)
		if (strcmp(header->schemas[i].name, name) == 0)
			return (int)i;
	return -1;
}

static int find_way(struct change_ways *ways, size_t type, const struct sf_header *header, struct why *why)
{
	const struct application *application = ways->application;
	const struct sf_schema *have = &application->schemas[type];
	struct sf_schema want;
	int at = find_type(header, have->name);

	ways->types[type] = at;
	if (at < 0 || header->schemas[at].version == have->version)
		return 0;
	want = header->schemas[at];
	/* The application's string, which is equal and outlives the plan. */
	want.name = have->name;
	want.descriptor = application_older(application, have->name, want.version);
	return sf_plan_new(have, 1, &want, 1, application->migrations, application->config->n_migrations, &ways->plans[type], why);
}

int change_ways_init(struct change_ways *ways, const struct application *application, const struct sf_header *header,
		     struct why *why)
{
	size_t n = application->config->n_types;
	int r = 0;

	*ways = (struct change_ways){ .application = application };
	ways->types = calloc(n + 1, sizeof(*ways->types));
	ways->plans = calloc(n + 1, sizeof(struct sf_plan *));
	if (!ways->types || !ways->plans)
		return why_errno(why, -ENOMEM, "ways for changes");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = find_way(ways, i, header, why);
	return r;
}

void change_ways_done(struct change_ways *ways)
{
	for (size_t i = 0; ways->plans && i < ways->application->config->n_types; i++)
		sf_plan_free(ways->plans[i]);
	free(ways->plans);
	free(ways->types);
	*ways = (struct change_ways){ 0 };
}

/* ---- packed changes ---- */

void changes_init(struct changes *changes, size_t head_bytes)
{
	*changes = (struct changes){ .head_bytes = head_bytes };
}

void changes_done(struct changes *changes)
{
	free(changes->data);
	changes_init(changes, changes->head_bytes);
}

void changes_clear(struct changes *changes)
{
	if (changes->cap > KEEP_BYTES)
		changes_done(changes);
	changes->used = 0;
	changes->n = 0;
}

/* Room for @bytes more. */
static int grow(struct changes *changes, size_t bytes)
{
	size_t cap = changes->cap ? changes->cap : FIRST_BYTES;
	uint8_t *grown;

	while (cap - changes->used < bytes)
		cap *= 2;
	if (cap == changes->cap)
		return 0;
	grown = realloc(changes->data, cap);
	if (!grown)
		return -ENOMEM;
	changes->data = grown;
	changes->cap = cap;
	return 0;
}

static int pack(struct changes *changes, size_t type, enum upg_change change, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message), padded = change_padded(size);
	struct change_head head = { .type = (uint16_t)type, .change = (uint8_t)change, .size_bytes = (uint32_t)size };
	uint8_t *at;

	if (size > UINT32_MAX / 4 || changes->used > UINT32_MAX / 4)
		return -EMSGSIZE;
	if (grow(changes, changes->head_bytes + sizeof(head) + padded) < 0)
		return -ENOMEM;
	if (!changes->used)
		changes->used = changes->head_bytes;
	at = changes->data + changes->used;
	memcpy(at, &head, sizeof(head));
	protobuf_c_message_pack(message, at + sizeof(head));
	memset(at + sizeof(head) + size, 0, padded - size);
	changes->used += sizeof(head) + padded;
	changes->n++;
	return 0;
}

int changes_add(struct changes *changes, const struct change_ways *ways, size_t type, enum upg_change change,
		const ProtobufCMessage *message, struct why *why)
{
	struct sf_plan *plan = ways->plans[type];
	size_t want;
	int r = plan ? sf_plan_convert(plan, 0, message, &want, &message, why) : 0;

	if (r < 0)
		return r;
	r = pack(changes, (size_t)ways->types[type], change, message);
	return r < 0 ? why_errno(why, r, "a change of a %s", ways->application->schemas[type].name) : 0;
}
