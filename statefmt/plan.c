/* SPDX-License-Identifier: MIT */
/* From the schemas that records come in to the schemas that a program holds.
 *
 * sf_plan_new() decides everything that can be known beforehand: a route for each type, and for each step of the route which C
 * struct goes in and which comes out. A record then costs one arena reset, one unpack and its steps. No piece is freed by itself,
 * so a migration may share the memory of its input.
 */
#include "base/why.h"
#include "statefmt/arena.h"
#include "statefmt/frame.h"
#include "statefmt/shape.h"

#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* The memory that unpacking a record may take. An empty nested message is two bytes on the wire and a whole struct in memory:
 * honest records grow to a degree, hostile ones without a limit. What makes a record larger than 16 MiB is bytes, which do not
 * grow. */
static size_t unpack_memory(size_t size_bytes)
{
	const size_t small = (size_t)16 << 20;

	return size_bytes < small ? small + 64 * size_bytes : small + 64 * small + 4 * (size_bytes - small);
}

struct sf_step {
	struct sf_arena *arena;
	jmp_buf no_memory;
	void *context;  /* of the migration that is running */
	struct why why; /* what sf_step_fail() was told */
};

struct hop {
	const struct sf_migration *migration;
	const ProtobufCMessageDescriptor *to;
};

struct route {
	const char *name;
	uint32_t version;                        /* records come in */
	size_t want;
	const ProtobufCMessageDescriptor *first; /* what records are unpacked as */
	bool recursive;
	struct hop *hops;
	size_t n_hops;
};

struct sf_plan {
	struct sf_arena arena; /* of the record in hand */
	struct sf_step step;
	struct route *routes;  /* as in have */
	size_t n_routes;
};

/* ---- planning ---- */

struct planning {
	const struct sf_schema *want;
	size_t n_want;
	const struct sf_migration *migrations;
	size_t n_migrations;
	size_t *steps; /* scratch, n_migrations of them */
};

/* Return: a schema's own fingerprint, or that of its C struct; 0: not known. */
static uint64_t fingerprint_of(const struct sf_schema *schema)
{
	if (schema->fingerprint)
		return schema->fingerprint;
	return schema->descriptor ? sf_fingerprint(schema->descriptor) : 0;
}

static int fingerprints_check(const char *name, uint32_t version, uint64_t one, uint64_t other, struct why *why)
{
	if (!one || !other || one == other)
		return 0;
	return why_set(why, -EPROTO, "\"%s\" version %u has two different shapes (fingerprints %016llx and %016llx): a "
		       "released schema was changed; give the changed one a new version", name, version,
		       (unsigned long long)one, (unsigned long long)other);
}

/* Two sides that name the same version must mean the same C struct. If one has none, that of the other is taken. */
static int descriptor_agree(const char *name, uint32_t version, const ProtobufCMessageDescriptor **at,
			    const ProtobufCMessageDescriptor *other, struct why *why)
{
	if (!*at)
		*at = other;
	if (!other || *at == other)
		return 0;
	return why_set(why, -EINVAL, "\"%s\" version %u is %s in one place and %s in another: use one generated message for "
		       "one version", name, version, (*at)->name, other->name);
}

static int find_want(const struct planning *planning, const struct sf_schema *have, size_t *ret_want, struct why *why)
{
	for (size_t i = 0; i < planning->n_want; i++) {
		if (strcmp(planning->want[i].name, have->name) == 0) {
			*ret_want = i;
			return 0;
		}
	}
	return why_set(why, -ENOENT, "\"%s\" version %u: the receiving version has no such type, so its records would be lost",
		       have->name, have->version);
}

/* Find the C structs of a route: from the schemas at both ends, and from both sides of every step. */
static int route_type(struct route *route, const struct sf_schema *have, const struct sf_schema *want, struct why *why)
{
	const ProtobufCMessageDescriptor **at = &route->first;
	uint32_t version = have->version;
	int r;

	route->first = have->descriptor;
	for (size_t i = 0; i < route->n_hops; i++) {
		struct hop *hop = &route->hops[i];

		r = descriptor_agree(route->name, version, at, hop->migration->from_descriptor, why);
		if (r < 0)
			return r;
		at = &hop->to;
		version = hop->migration->to;
		*at = hop->migration->to_descriptor;
		if (!hop->migration->migrate)
			return why_set(why, -EINVAL, "the migration of \"%s\" from version %u to %u has no function",
				       route->name, hop->migration->from, hop->migration->to);
	}
	r = descriptor_agree(route->name, version, at, want->descriptor, why);
	if (r < 0)
		return r;
	if (!route->first)
		return why_set(why, -EINVAL, "\"%s\" version %u: nobody says which message it is", route->name, have->version);
	for (size_t i = 0; i < route->n_hops; i++)
		if (!route->hops[i].to)
			return why_set(why, -EINVAL, "\"%s\" version %u: nobody says which message it is", route->name,
				       route->hops[i].migration->to);
	return 0;
}

/* The fingerprint that a side gives for its version must be that of the C struct that is used for it here. */
static int route_check(const struct route *route, const struct sf_schema *have, const struct sf_schema *want,
		       struct why *why)
{
	const ProtobufCMessageDescriptor *last = route->n_hops ? route->hops[route->n_hops - 1].to : route->first;
	int r;

	r = fingerprints_check(route->name, have->version, have->fingerprint, sf_fingerprint(route->first), why);
	return r < 0 ? r : fingerprints_check(route->name, want->version, want->fingerprint, sf_fingerprint(last), why);
}

static int route_hops(struct route *route, const struct planning *planning, const struct sf_schema *want,
		      struct why *why)
{
	int r;

	r = sf_path_find(planning->migrations, planning->n_migrations, route->name, route->version, want->version,
			 planning->steps, planning->n_migrations, &route->n_hops, why);
	if (r < 0)
		return r;
	switch ((enum sf_path)r) {
	case SF_PATH_FOUND:
		break;
	case SF_PATH_NONE:
		return -ENOENT;
	case SF_PATH_AMBIGUOUS:
		return -EEXIST;
	}
	route->hops = calloc(route->n_hops + 1, sizeof(*route->hops));
	if (!route->hops)
		return why_errno(why, -ENOMEM, "%zu migrations", route->n_hops);
	for (size_t i = 0; i < route->n_hops; i++)
		route->hops[i].migration = &planning->migrations[planning->steps[i]];
	return 0;
}

static int route_plan(struct route *route, const struct planning *planning, const struct sf_schema *have,
		      struct why *why)
{
	const struct sf_schema *want;
	int r;

	route->name = have->name;
	route->version = have->version;
	r = find_want(planning, have, &route->want, why);
	if (r < 0)
		return r;
	want = &planning->want[route->want];
	if (have->version == want->version) {
		r = fingerprints_check(have->name, have->version, fingerprint_of(have), fingerprint_of(want), why);
		if (r < 0)
			return r;
	}
	r = route_hops(route, planning, want, why);
	if (r == 0)
		r = route_type(route, have, want, why);
	if (r == 0)
		r = route_check(route, have, want, why);
	if (r == 0)
		route->recursive = sf_is_recursive(route->first);
	return r;
}

int sf_plan_new(const struct sf_schema *have, size_t n_have, const struct sf_schema *want, size_t n_want,
		const struct sf_migration *migrations, size_t n_migrations, struct sf_plan **ret_plan, struct why *why)
{
	struct planning planning = {
		.want = want,
		.n_want = n_want,
		.migrations = migrations,
		.n_migrations = n_migrations,
		.steps = calloc(n_migrations + 1, sizeof(*planning.steps)),
	};
	struct sf_plan *plan = calloc(1, sizeof(*plan));
	struct route *routes = calloc(n_have + 1, sizeof(*routes));
	int r = 0;

	if (!planning.steps || !plan || !routes) {
		free(planning.steps);
		free(plan);
		free(routes);
		return why_errno(why, -ENOMEM, "a plan for %zu types", n_have);
	}
	plan->routes = routes;
	plan->n_routes = n_have;
	sf_arena_init(&plan->arena);
	plan->step.arena = &plan->arena;
	for (size_t i = 0; i < n_have && r == 0; i++)
		r = route_plan(&routes[i], &planning, &have[i], why);
	free(planning.steps);
	if (r < 0)
		sf_plan_free(plan);
	else
		*ret_plan = plan;
	return r;
}

struct sf_plan *sf_plan_free(struct sf_plan *plan)
{
	if (!plan)
		return NULL;
	for (size_t i = 0; i < plan->n_routes; i++)
		free(plan->routes[i].hops);
	free(plan->routes);
	sf_arena_done(&plan->arena);
	free(plan);
	return NULL;
}

/* ---- walking ---- */

void *sf_step_alloc(struct sf_step *step, size_t size_bytes)
{
	void *memory = sf_arena_alloc(step->arena, size_bytes, alignof(max_align_t));

	if (!memory)
		longjmp(step->no_memory, 1);
	return memset(memory, 0, size_bytes);
}

void *sf_step_context(const struct sf_step *step)
{
	return step->context;
}

int sf_step_fail(struct sf_step *step, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(step->why.text, sizeof(step->why.text), fmt, args);
	va_end(args);
	return -EINVAL;
}

/* Carry the fields over that @from did not know, unless @to knows their number: those the migration had to fill. Unknown fields
 * that the migration itself put into @to stay. The bytes are shared. */
static int unknown_carry(struct sf_arena *arena, const ProtobufCMessage *from, ProtobufCMessage *to)
{
	ProtobufCMessageUnknownField *fields;
	size_t n;

	if (from->n_unknown_fields == 0)
		return 0;
	/* A migration that copied the whole base struct has not added unknown fields of its own. */
	n = to->unknown_fields == from->unknown_fields ? 0 : to->n_unknown_fields;
	fields = sf_arena_alloc(arena, (n + from->n_unknown_fields) * sizeof(*fields), alignof(max_align_t));
	if (!fields)
		return -ENOMEM;
	if (n)
		memcpy(fields, to->unknown_fields, n * sizeof(*fields));
	for (size_t i = 0; i < from->n_unknown_fields; i++)
		if (!protobuf_c_message_descriptor_get_field(to->descriptor, from->unknown_fields[i].tag))
			fields[n++] = from->unknown_fields[i];
	to->n_unknown_fields = (unsigned)n;
	to->unknown_fields = n ? fields : NULL;
	return 0;
}

/* A function of its own, so that no local variable lives across the jump. */
static int migration_call(struct sf_step *step, const struct sf_migration *migration, const ProtobufCMessage *from,
			  ProtobufCMessage *to)
{
	step->context = migration->context;
	if (_setjmp(step->no_memory))
		return -ENOMEM;
	return migration->migrate(step, from, to, migration->arg);
}

static int hop_fail(const struct sf_plan *plan, const struct hop *hop, int rc, struct why *why)
{
	const struct sf_migration *migration = hop->migration;

	if (rc > 0)
		return why_set(why, -EINVAL, "migrating \"%s\" from version %u to %u: the migration returned %d; it is to "
			       "return 0 or a negative errno", migration->type, migration->from, migration->to, rc);
	if (plan->step.why.text[0])
		return why_set(why, rc, "migrating \"%s\" from version %u to %u: %s", migration->type, migration->from,
			       migration->to, plan->step.why.text);
	return why_errno(why, rc, "migrating \"%s\" from version %u to %u", migration->type, migration->from,
			 migration->to);
}

static int hop_run(struct sf_plan *plan, const struct hop *hop, const ProtobufCMessage *from,
		   const ProtobufCMessage **ret_to, struct why *why)
{
	ProtobufCMessage *to = sf_arena_alloc(&plan->arena, hop->to->sizeof_message, alignof(max_align_t));
	int r = -ENOMEM;

	plan->step.why.text[0] = '\0';
	if (to) {
		protobuf_c_message_init(hop->to, to);
		r = migration_call(&plan->step, hop->migration, from, to);
	}
	if (r == 0)
		r = unknown_carry(&plan->arena, from, to);
	if (r != 0)
		return hop_fail(plan, hop, r, why);
	*ret_to = to;
	return 0;
}

static int route_walk(struct sf_plan *plan, const struct route *route, const ProtobufCMessage *message,
		      size_t *ret_want, const ProtobufCMessage **ret_message, struct why *why)
{
	for (size_t i = 0; i < route->n_hops; i++) {
		int r = hop_run(plan, &route->hops[i], message, &message, why);

		if (r < 0)
			return r;
	}
	*ret_want = route->want;
	*ret_message = message;
	return 0;
}

static int record_unpack(struct sf_plan *plan, const struct route *route, const uint8_t *data, size_t size_bytes,
			 ProtobufCMessage **ret_message, struct why *why)
{
	sf_arena_reset(&plan->arena, unpack_memory(size_bytes));
	if (route->recursive && !sf_depth_check(route->first, data, size_bytes))
		return why_set(why, -EBADMSG, "a record of %zu bytes is no \"%s\" version %u, or nests messages more than %u "
			       "deep", size_bytes, route->name, route->version, SF_DEPTH_MAX);
	*ret_message = protobuf_c_message_unpack(route->first, &plan->arena.allocator, size_bytes, data);
	if (!*ret_message && plan->arena.over_limit)
		return why_set(why, -EMSGSIZE, "a record of %zu bytes of \"%s\" version %u takes more than %zu bytes of memory",
			       size_bytes, route->name, route->version, plan->arena.limit);
	if (!*ret_message)
		return why_set(why, -EBADMSG, "a record of %zu bytes is no \"%s\" version %u", size_bytes, route->name,
			       route->version);
	/* Migrations are the application's own code, so their memory has no cap. */
	plan->arena.limit = SIZE_MAX;
	return 0;
}

int sf_plan_unpack(struct sf_plan *plan, size_t type, const uint8_t *data, size_t size_bytes, size_t *ret_want,
		   const ProtobufCMessage **ret_message, struct why *why)
{
	ProtobufCMessage *message = NULL;
	int r;

	if (type >= plan->n_routes)
		return why_set(why, -EINVAL, "record type %zu: the plan has %zu types", type, plan->n_routes);
	r = record_unpack(plan, &plan->routes[type], data, size_bytes, &message, why);
	if (r < 0)
		return r;
	assert(message);
	return route_walk(plan, &plan->routes[type], message, ret_want, ret_message, why);
}

int sf_plan_convert(struct sf_plan *plan, size_t type, const ProtobufCMessage *message, size_t *ret_want,
		    const ProtobufCMessage **ret_message, struct why *why)
{
	const struct route *route;

	if (type >= plan->n_routes)
		return why_set(why, -EINVAL, "record type %zu: the plan has %zu types", type, plan->n_routes);
	route = &plan->routes[type];
	if (message->descriptor != route->first)
		return why_set(why, -EINVAL, "\"%s\" version %u: a message of type %s came where %s belongs", route->name,
			       route->version, message->descriptor->name, route->first->name);
	sf_arena_reset(&plan->arena, SIZE_MAX);
	return route_walk(plan, route, message, ret_want, ret_message, why);
}
