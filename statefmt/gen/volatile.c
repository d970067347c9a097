/* SPDX-License-Identifier: MIT */
/* The list of fields that change by themselves: those that are annotated so, in all messages that a record of this file may hold,
 * and the fields that they follow, because the round trip compares records of the older version. */
#include "statefmt/gen/gen.h"

#include "base/why.h"

#include <errno.h>
#include <stdlib.h>

struct listing {
	const struct schema_set *set;
	struct succession_book *book;
	bool *held;                        /* by index of the set's messages */
	const struct schema_field **seen;  /* written already */
	size_t n, cap;
	const char *macro;
	FILE *out;
	struct why *why;
};

static void hold(struct listing *listing, const struct schema_message *message, bool *changed)
{
	*changed |= !listing->held[message->index];
	listing->held[message->index] = true;
}

/* All that is in messages that are held is held. */
static void hold_inner(struct listing *listing)
{
	bool changed = true;

	while (changed) {
		changed = false;
		for (size_t i = 0; i < listing->set->n_messages; i++) {
			const struct schema_message *message = &listing->set->messages[i];

			for (size_t j = 0; listing->held[i] && j < message->n_fields; j++)
				if (message->fields[j].message)
					hold(listing, message->fields[j].message, &changed);
		}
	}
}

static int list_field(struct listing *listing, const struct schema_message *message, const struct schema_field *field)
{
	if (!listing->held[message->index])
		return 0;
	for (size_t i = 0; i < listing->n; i++)
		if (listing->seen[i] == field)
			return 0;
	if (listing->n == listing->cap) {
		size_t cap = listing->cap ? 2 * listing->cap : 16;
		const struct schema_field **seen = reallocarray(listing->seen, cap, sizeof(struct schema_field *));

		if (!seen)
			return why_errno(listing->why, -ENOMEM, "writing code");
		listing->seen = seen;
		listing->cap = cap;
	}
	if (listing->n == 0)
		fprintf(listing->out, "\n/* ---- for upg_config.volatile_fields: { %s, NULL } ---- */\n\n#define %s",
			listing->macro, listing->macro);
	fprintf(listing->out, "%s \\\n\t\"%s.%s\"", listing->n ? "," : "", message->name, field->name);
	listing->seen[listing->n++] = field;
	return 0;
}

static int list_annotated(struct listing *listing, const struct schema_message *message)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < message->n_fields; i++) {
		bool is_volatile = false;

		r = succession_is_volatile(listing->book, &message->fields[i], &is_volatile, listing->why);
		if (r == 0 && is_volatile)
			r = list_field(listing, message, &message->fields[i]);
	}
	return r;
}

static int list_followed(struct listing *listing, const struct succession *pair)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < pair->n_links; i++) {
		const struct succession_path *from = &pair->links[i].from;
		bool is_volatile = false;

		if (!pair->links[i].field || !from->n)
			continue;
		r = succession_is_volatile(listing->book, pair->links[i].field, &is_volatile, listing->why);
		if (r == 0 && is_volatile)
			r = list_field(listing, from->n > 1 ? from->steps[from->n - 2]->message : pair->older,
				       succession_path_end(from));
	}
	return r;
}

static int hold_records(struct listing *listing, const struct module *module)
{
	const struct schema_set *set = listing->set;
	bool changed = false;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < set->n_messages; i++) {
		struct succession_step step;
		const char *type;
		uint32_t version;

		if (set->messages[i].file != module->file)
			continue;
		r = succession_record(listing->book, &set->messages[i], &type, &version, listing->why);
		if (r == 0)
			hold(listing, &set->messages[i], &changed);
		if (r >= 0)
			r = succession_step_of(listing->book, set, &set->messages[i], &step, listing->why);
		if (r == 0)
			hold(listing, step.succession->older, &changed);
	}
	hold_inner(listing);
	return r < 0 ? r : 0;
}

int volatile_write(const struct module *module, struct succession_book *book, const char *macro, FILE *out, struct why *why)
{
	const struct schema_set *set = module->set;
	struct listing listing = { .set = set, .book = book, .macro = macro, .out = out, .why = why };
	int r;

	listing.held = calloc(set->n_messages + 1, sizeof(*listing.held));
	if (!listing.held)
		return why_errno(why, -ENOMEM, "writing code");
	r = hold_records(&listing, module);
	for (size_t i = 0; r == 0 && i < set->n_messages; i++)
		if (listing.held[i])
			r = list_annotated(&listing, &set->messages[i]);
	for (size_t i = 0; r == 0 && i < succession_count(book); i++)
		r = list_followed(&listing, succession_at(book, i));
	fputs(listing.n ? "\n" : "", out);
	free(listing.held);
	free(listing.seen);
	return r;
}
