/* SPDX-License-Identifier: MIT */
/* Two sides, type by type. The newer side knows how it came to be: from its version of a type a chain of annotations leads
 * back, and the older side's version should be on it. Each step of the chain is judged by the succession of its two messages. The
 * generator writes its code by the same successions, so the judgement holds for that code.
 */
#include "statefmt/compat.h"

#include "base/why.h"
#include "statefmt/annotation.h"
#include "statefmt/arena.h"
#include "statefmt/compat_judge.h"
#include "statefmt/succession.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct record {
	const char *type;
	uint32_t version; /* 0: not known */
	const struct schema_message *message;
	bool met; /* by the other side */
};

struct records {
	struct record *list;
	size_t n;
	bool annotated;
};

struct result {
	struct compat compat; /* first: what the caller has */
	struct succession_book *book;
	struct sf_arena arena;
	struct compat_type *types;
};

static struct result *result_of(struct compat *compat)
{
	return (struct result *)(void *)compat;
}

const char *compat_verdict_name(enum compat_verdict verdict)
{
	static const char *const names[COMPAT_VERDICTS] = {
		[COMPAT_SAME] = "same",
		[COMPAT_CARRIES] = "carries",
		[COMPAT_CHECKED] = "checked",
		[COMPAT_BY_HAND] = "by hand",
		[COMPAT_ACCEPTED] = "accepted",
		[COMPAT_LOSES] = "loses",
		[COMPAT_MISSING] = "missing",
	};

	return names[verdict];
}

bool compat_passes(const struct compat *compat)
{
	return compat->verdict < COMPAT_LOSES;
}

struct compat *compat_free(struct compat *compat)
{
	struct result *result = compat ? result_of(compat) : NULL;

	if (!result)
		return NULL;
	for (size_t i = 0; i < result->compat.n_types; i++)
		free((void *)(uintptr_t)result->types[i].findings);
	free(result->types);
	succession_book_free(result->book);
	sf_arena_done(&result->arena);
	free(result);
	return NULL;
}

/* ---- what a side has ---- */

/* Return: the name without the package, which two versions share. */
static const char *bare_name(const struct schema_message *message)
{
	size_t length = strlen(message->file->package);

	return length && message->name[length] == '.' ? message->name + length + 1 : message->name;
}

/* Is it a file of options? No state is in its types. */
static bool is_vocabulary(const struct schema_file *file)
{
	return strcmp(file->name, "upgrade/options.proto") == 0 || strncmp(file->name, "google/protobuf/", 16) == 0 ||
	       strcmp(file->name, "protobuf-c/protobuf-c.proto") == 0;
}

static bool is_of_side(const struct compat_side *side, const struct schema_message *message)
{
	return side->file ? strcmp(message->file->name, side->file) == 0 : !is_vocabulary(message->file);
}

/* Add a record type. Of two versions of a type the higher one stays. */
static void record_put(struct records *records, const struct record *record)
{
	for (size_t i = 0; i < records->n; i++) {
		if (strcmp(records->list[i].type, record->type) != 0)
			continue;
		if (record->version > records->list[i].version)
			records->list[i] = *record;
		return;
	}
	records->list[records->n++] = *record;
}

/* Is @message a part of another one? Those are judged where they are used. */
static bool is_part(const struct schema_set *set, const struct schema_message *message)
{
	for (size_t i = 0; i < set->n_messages; i++)
		for (size_t j = 0; j < set->messages[i].n_fields; j++)
			if (set->messages[i].fields[j].message == message && &set->messages[i] != message)
				return true;
	return false;
}

static int records_annotated(struct succession_book *book, const struct compat_side *side, struct records *records,
			     struct why *why)
{
	for (size_t i = 0; i < side->set->n_messages; i++) {
		struct record record = { .message = &side->set->messages[i] };
		int r;

		r = succession_record(book, record.message, &record.type, &record.version, why);
		if (r < 0)
			return r;
		if (r == 0)
			record_put(records, &record);
	}
	records->annotated = records->n > 0;
	return 0;
}

/* Without annotations, the record types are the messages that are part of no other; if there are none, all that are not nested. */
static void records_outermost(const struct compat_side *side, struct records *records, bool parts)
{
	for (size_t i = 0; i < side->set->n_messages; i++) {
		struct record record = { .message = &side->set->messages[i] };

		if (!is_of_side(side, record.message) || record.message->parent || (!parts && is_part(side->set, record.message)))
			continue;
		record.type = bare_name(record.message);
		record_put(records, &record);
	}
}

static int records_collect(struct succession_book *book, const struct compat_side *side, struct records *records,
			   struct why *why)
{
	int r;

	records->list = calloc(side->set->n_messages + 1, sizeof(*records->list));
	if (!records->list)
		return why_errno(why, -ENOMEM, "%zu messages", side->set->n_messages);
	r = records_annotated(book, side, records, why);
	if (r < 0 || records->annotated)
		return r;
	records_outermost(side, records, false);
	if (!records->n)
		records_outermost(side, records, true);
	return 0;
}

/* ---- one type ---- */

/* The older side's version of what @message is: by type and version, or by the message's name where nothing was annotated then. */
static struct record *older_find(struct records *older, const char *type, uint32_t version,
				 const struct schema_message *message)
{
	for (size_t i = 0; i < older->n; i++) {
		struct record *record = &older->list[i];

		if (older->annotated ? strcmp(record->type, type) == 0 && record->version == version :
		    strcmp(record->message->name, message->name) == 0)
			return record;
	}
	return NULL;
}

static struct record *older_same_type(struct records *older, const char *type)
{
	for (size_t i = 0; i < older->n; i++)
		if (strcmp(older->list[i].type, type) == 0)
			return &older->list[i];
	return NULL;
}

static const char *says(struct result *result, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *says(struct result *result, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return sf_arena_string(&result->arena, text);
}

static int type_finding(struct judgement *judgement, enum compat_verdict verdict, const char *change, const char *loss)
{
	struct compat_finding finding = { .verdict = verdict, .field = "", .change = change, .loss = loss };

	return change && loss ? judgement_add(judgement, &finding) : -ENOMEM;
}

/* A version that both sides have must have one shape: otherwise the library refuses the roll. */
static int shape_judge(struct result *result, struct judgement *judgement, const struct schema_message *then,
		       const struct schema_message *now, uint32_t version)
{
	if (schema_fingerprint(then) == schema_fingerprint(now))
		return 0;
	return type_finding(judgement, COMPAT_MISSING, says(result, "version %u has another shape than it had", version),
			    "a released version was changed: give the changed one a new number");
}

/* The chain from @newer back to what the older side has, judged from its old end on: the steps in the order they are taken. */
static int chain_judge(struct result *result, struct judgement *judgement, const struct compat_side *side,
		       struct records *older, const struct record *newer, struct compat_type *type, struct why *why)
{
	const struct schema_message *message = newer->message;
	uint32_t version = newer->version;
	struct succession_step step;
	struct record *then = older_find(older, newer->type, version, message);
	int r;

	if (then) {
		then->met = true;
		type->from = version;
		return shape_judge(result, judgement, then->message, message, version);
	}
	r = succession_step_of(result->book, side->set, message, &step, why);
	if (r < 0 && r != -ENOENT)
		return r;
	then = older_same_type(older, newer->type);
	if (r == 0) {
		const struct record before = { newer->type, step.from, step.succession->older, false };

		r = chain_judge(result, judgement, side, older, &before, type, why);
		return r < 0 || !type->from ? r : judge_step(judgement, &step);
	}
	if (!then) {
		type->added = true;
		return 0;
	}
	then->met = true;
	type->from = then->version;
	return type_finding(judgement, COMPAT_MISSING,
			    then->version > newer->version ?
			    says(result, "goes back from version %u to %u", then->version, newer->version) :
			    says(result, "nothing leads from version %u to %u", then->version, version),
			    then->version > newer->version ? "compare in the order of release: OLD NEW" :
			    says(result, "annotate %s with what it follows: option (upgrade.type).from", message->name));
}

/* A type that the older version does not have. */
static int added_judge(struct result *result, struct judgement *judgement, const struct record *newer)
{
	const Upgrade__Type *said = NULL;
	int r = annotation_of_message(newer->message, &result->arena, &said, NULL);

	if (r < 0)
		return r;
	return type_finding(judgement, said && said->lossy ? COMPAT_ACCEPTED : COMPAT_LOSES, "new",
			    "while there are records of it, the older version cannot take over");
}

/* Without annotations, types are compared by their names, and no version is known. */
static int unannotated_judge(struct result *result, struct judgement *judgement, const struct record *then,
			     const struct record *newer, struct why *why)
{
	struct succession_step step = { .type = newer->type };
	int r;

	if (schema_fingerprint(then->message) == schema_fingerprint(newer->message))
		return 0;
	r = succession_of(result->book, then->message, newer->message, &step.succession, why);
	if (r == 0)
		r = judge_step(judgement, &step);
	if (r == 0)
		r = type_finding(judgement, COMPAT_MISSING, "changed, and nothing says which version it is",
				 "annotate both with option (upgrade.type), and let protoc-gen-upgrade write the migrations");
	return r;
}

static int type_judge(struct result *result, const struct compat_side *side, struct records *older,
		      const struct record *newer, bool annotated, struct why *why)
{
	struct compat_type *type = &result->types[result->compat.n_types++];
	struct judgement judgement = { .arena = &result->arena };
	int r;

	*type = (struct compat_type){ .name = newer->type, .to = newer->version };
	if (annotated) {
		r = chain_judge(result, &judgement, side, older, newer, type, why);
	} else {
		struct record *then = older_same_type(older, newer->type);

		type->added = !then;
		if (then)
			then->met = true;
		r = then ? unannotated_judge(result, &judgement, then, newer, why) : 0;
	}
	if (r == 0 && type->added)
		r = added_judge(result, &judgement, newer);
	type->findings = judgement.findings;
	type->n_findings = judgement.n;
	type->n_same = judgement.n_same;
	type->verdict = judgement.worst;
	return r;
}

static int removed_judge(struct result *result, const struct record *older)
{
	struct compat_type *type = &result->types[result->compat.n_types++];
	struct judgement judgement = { .arena = &result->arena };
	int r;

	*type = (struct compat_type){ .name = older->type, .from = older->version, .removed = true };
	r = type_finding(&judgement, COMPAT_MISSING, "removed",
			 "its records have nowhere to go, and the roll is refused: keep the type, and load and save nothing of it");
	type->findings = judgement.findings;
	type->n_findings = judgement.n;
	type->verdict = judgement.worst;
	return r;
}

/* ---- all of them ---- */

static int types_judge(struct result *result, const struct compat_side *side, struct records *older,
		       const struct records *newer, struct why *why)
{
	int r = 0;

	result->types = calloc(older->n + newer->n + 1, sizeof(*result->types));
	if (!result->types)
		return why_errno(why, -ENOMEM, "%zu types", older->n + newer->n);
	result->compat.types = result->types;
	for (size_t i = 0; i < newer->n && r == 0; i++)
		r = type_judge(result, side, older, &newer->list[i], newer->annotated, why);
	for (size_t i = 0; i < older->n && r == 0; i++)
		if (!older->list[i].met)
			r = removed_judge(result, &older->list[i]);
	for (size_t i = 0; i < result->compat.n_types; i++)
		if (result->types[i].verdict > result->compat.verdict)
			result->compat.verdict = result->types[i].verdict;
	return r == -ENOMEM ? why_errno(why, r, "comparing schemas") : r;
}

int compat_new(const struct compat_side *older, const struct compat_side *newer, struct compat **ret_compat, struct why *why)
{
	struct records before = { 0 }, after = { 0 };
	struct result *result = calloc(1, sizeof(*result));
	int r;

	if (!result)
		return why_errno(why, -ENOMEM, "comparing schemas");
	sf_arena_init(&result->arena);
	sf_arena_reset(&result->arena, SIZE_MAX);
	r = succession_book_new(&result->book, why);
	if (r == 0)
		r = records_collect(result->book, older, &before, why);
	if (r == 0)
		r = records_collect(result->book, newer, &after, why);
	if (r == 0 && (!before.n || !after.n))
		r = why_set(why, -EINVAL, "the %s side has no message types", before.n ? "newer" : "older");
	if (r == 0)
		r = types_judge(result, newer, &before, &after, why);
	free(before.list);
	free(after.list);
	if (r < 0)
		compat_free(&result->compat);
	else
		*ret_compat = &result->compat;
	return r;
}
