/* SPDX-License-Identifier: MIT */
#include "statefmt/compat_judge.h"

#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One link being judged: texts grow, and the verdict worsens. */
struct opinion {
	enum compat_verdict verdict;
	char change[512];
	char loss[512];
};

int judgement_add(struct judgement *judgement, const struct compat_finding *finding)
{
	if (judgement->n == judgement->cap) {
		size_t cap = judgement->cap ? 2 * judgement->cap : 16;
		struct compat_finding *findings = reallocarray(judgement->findings, cap, sizeof(*findings));

		if (!findings)
			return -ENOMEM;
		judgement->findings = findings;
		judgement->cap = cap;
	}
	judgement->findings[judgement->n++] = *finding;
	if (finding->verdict > judgement->worst)
		judgement->worst = finding->verdict;
	return 0;
}

static void say(char *text, size_t size, const char *fmt, va_list args) __attribute__((format(printf, 3, 0)));
static void say(char *text, size_t size, const char *fmt, va_list args)
{
	size_t at = strlen(text);

	if (at && at + 2 < size)
		at += (size_t)snprintf(text + at, size - at, ", ");
	vsnprintf(text + at, size - at, fmt, args);
}

static void changes(struct opinion *opinion, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void changes(struct opinion *opinion, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(opinion->change, sizeof(opinion->change), fmt, args);
	va_end(args);
	if (opinion->verdict < COMPAT_CARRIES)
		opinion->verdict = COMPAT_CARRIES;
}

static void objects(struct opinion *opinion, enum compat_verdict verdict, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void objects(struct opinion *opinion, enum compat_verdict verdict, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(opinion->loss, sizeof(opinion->loss), fmt, args);
	va_end(args);
	if (verdict > opinion->verdict)
		opinion->verdict = verdict;
}

/* ---- a value that follows another ---- */

struct range {
	bool is_signed;
	unsigned bits;
};

static struct range range_of(const struct schema_field *field, struct succession_bits bits)
{
	if (bits.width)
		return (struct range){ false, bits.width };
	return (struct range){ value_is_signed(field), value_bits(field) };
}

static bool range_holds(struct range outer, struct range inner)
{
	if (outer.is_signed == inner.is_signed)
		return outer.bits >= inner.bits;
	return outer.is_signed && outer.bits > inner.bits;
}

static const char *type_name(const struct schema_field *field)
{
	return field->message ? field->message->short_name : field->enumeration ? field->enumeration->short_name :
	       schema_type_name(field->type);
}

static enum compat_verdict lost(const struct succession_link *link)
{
	return link->lossy ? COMPAT_ACCEPTED : COMPAT_LOSES;
}

/* A value that does not fit stops the roll, or is cut off if the annotation says so. @way: "up" or "down". */
static void misfit(const struct succession_link *link, const char *way, const char *what, struct opinion *opinion)
{
	if (link->overflow == UPGRADE__OVERFLOW__SATURATE)
		objects(opinion, lost(link), "%s: %s is cut to what fits", way, what);
	else
		objects(opinion, COMPAT_CHECKED, "%s: %s that does not fit stops the roll", way, what);
}

static void integer_judge(const struct succession_link *link, struct opinion *opinion)
{
	struct range older = range_of(succession_path_end(&link->from), link->from_bits);
	struct range newer = range_of(link->field, link->field_bits);

	if (link->from_bits.width)
		changes(opinion, "bits %u to %u", link->from_bits.shift, link->from_bits.shift + link->from_bits.width - 1);
	if (link->field_bits.width)
		changes(opinion, "into bits %u to %u", link->field_bits.shift,
			link->field_bits.shift + link->field_bits.width - 1);
	if (!range_holds(newer, older) || link->times > link->over)
		misfit(link, "up", "a number", opinion);
	if (!range_holds(older, newer) || link->over > link->times)
		misfit(link, "down", "a number", opinion);
}

static void unit_judge(const struct succession_link *link, struct opinion *opinion)
{
	static const char *const roundings[] = { "toward zero", "down", "up", "to the nearest", "not" };
	bool exact = link->rounding == UPGRADE__UNIT__ROUNDING__EXACT;

	if (link->times != 1)
		changes(opinion, "times %u", link->times);
	if (link->over != 1)
		changes(opinion, "over %u", link->over);
	if (link->times != 1)
		objects(opinion, exact ? COMPAT_CHECKED : lost(link), "down: rounded %s", roundings[link->rounding]);
	if (link->over != 1)
		objects(opinion, exact ? COMPAT_CHECKED : lost(link), "up: rounded %s", roundings[link->rounding]);
}

static size_t values_lacking(const struct schema_enum *of, const struct schema_enum *in, char *names, size_t size)
{
	size_t n = 0, at = 0;

	names[0] = '\0';
	for (size_t i = 0; i < of->n_values; i++) {
		if (!enum_lacks(in, &of->values[i]))
			continue;
		if (at < size)
			at += (size_t)snprintf(names + at, size - at, "%s%s", n ? " " : "", of->values[i].name);
		n++;
	}
	return n;
}

static void enum_judge(const struct succession_link *link, struct opinion *opinion)
{
	const struct schema_enum *older = succession_path_end(&link->from)->enumeration, *newer = link->field->enumeration;
	char names[128];

	if (values_lacking(newer, older, names, sizeof(names))) {
		changes(opinion, "new values: %s", names);
		misfit(link, "down", "one of them", opinion);
	}
	if (values_lacking(older, newer, names, sizeof(names))) {
		changes(opinion, "without values: %s", names);
		misfit(link, "up", "one of them", opinion);
	}
}

static void presence_judge(const struct succession_link *link, struct opinion *opinion)
{
	const struct schema_field *older = succession_path_end(&link->from), *newer = link->field;

	if (newer->label == SCHEMA_REPEATED || value_kind(newer) == VALUE_MESSAGE)
		return;
	if (value_has_presence(newer) && !value_has_presence(older)) {
		changes(opinion, "can be absent now");
		objects(opinion, lost(link), "down: absent and zero become one");
	}
	if (!value_has_presence(newer) && value_has_presence(older)) {
		changes(opinion, "cannot be absent now");
		objects(opinion, lost(link), "up: absent and zero become one");
	}
	if (!older->oneof != !newer->oneof)
		changes(opinion, "%s %s", newer->oneof ? "in" : "no more in", newer->oneof ? newer->oneof : older->oneof);
	if (older->oneof && !newer->oneof)
		objects(opinion, COMPAT_CHECKED, "down: where another field of %s is set too, the roll stops", older->oneof);
	if (newer->oneof && !older->oneof)
		objects(opinion, COMPAT_CHECKED, "up: where another field of %s is set too, the roll stops", newer->oneof);
}

static void kind_judge(const struct succession_link *link, struct opinion *opinion)
{
	const struct schema_field *older = succession_path_end(&link->from), *newer = link->field;

	if (older->type != newer->type)
		changes(opinion, "%s, was %s", type_name(newer), type_name(older));
	switch (value_kind(newer)) {
	case VALUE_INTEGER:
		if (older->enumeration && newer->enumeration)
			enum_judge(link, opinion);
		else
			integer_judge(link, opinion);
		break;
	case VALUE_REAL:
		if (older->type == SCHEMA_DOUBLE && newer->type == SCHEMA_FLOAT)
			misfit(link, "up", "a number", opinion);
		if (older->type == SCHEMA_FLOAT && newer->type == SCHEMA_DOUBLE)
			misfit(link, "down", "a number", opinion);
		break;
	case VALUE_TEXT:
		if (older->type == SCHEMA_BYTES)
			objects(opinion, COMPAT_CHECKED, "up: bytes with a zero among them stop the roll");
		break;
	case VALUE_BYTES:
		if (older->type == SCHEMA_STRING)
			objects(opinion, COMPAT_CHECKED, "down: bytes with a zero among them stop the roll");
		break;
	case VALUE_MESSAGE:
		break;
	}
}

static void follows_judge(const struct succession_link *link, struct opinion *opinion)
{
	if (strcmp(link->from.name, link->field->name) != 0)
		changes(opinion, "from %s", link->from.name);
	kind_judge(link, opinion);
	unit_judge(link, opinion);
	presence_judge(link, opinion);
}

/* ---- links ---- */

static int step_pair(struct judgement *judgement, const struct succession_step *step, const struct succession *pair,
		     const char *prefix);

static void hand_judge(const struct succession_link *link, struct opinion *opinion)
{
	if (link->from.n)
		changes(opinion, "from %s", link->from.name);
	changes(opinion, "by hand: %s", link->hand);
	if (opinion->verdict < COMPAT_BY_HAND)
		opinion->verdict = COMPAT_BY_HAND;
}

static void link_judge(const struct succession_link *link, const struct succession_step *step, struct opinion *opinion)
{
	switch (link->kind) {
	case SUCCESSION_FOLLOWS:
		follows_judge(link, opinion);
		return;
	case SUCCESSION_GROUPS:
		changes(opinion, "made of fields that stood beside it");
		return;
	case SUCCESSION_ADDED:
		if (link->default_value)
			changes(opinion, "new, %s in what was there before", link->default_value);
		else
			changes(opinion, "new");
		if (step->from)
			objects(opinion, lost(link), "down: version %u has no place for it", step->from);
		else
			objects(opinion, lost(link), "down: the older message has no place for it");
		return;
	case SUCCESSION_DROPPED:
		changes(opinion, "dropped");
		objects(opinion, COMPAT_ACCEPTED, "up: given up on purpose; going down brings nothing back");
		return;
	case SUCCESSION_BY_HAND:
		hand_judge(link, opinion);
		return;
	case SUCCESSION_UNDECIDED:
		break;
	}
	changes(opinion, link->field ? "nothing says how it follows" : "removed");
	objects(opinion, COMPAT_MISSING, "%s", link->reason);
}

/* Not in link_report(), to keep its frames small: it calls itself as deep as messages nest. */
static int link_finding(struct judgement *judgement, const struct succession_step *step, const struct succession_link *link,
			const char *name)
{
	struct opinion opinion = { .verdict = COMPAT_SAME };
	struct compat_finding finding = { .from = step->from, .to = step->to };

	link_judge(link, step, &opinion);
	if (opinion.verdict == COMPAT_SAME) {
		judgement->n_same += !link->inner;
		return 0;
	}
	finding.verdict = opinion.verdict;
	finding.field = sf_arena_string(judgement->arena, name);
	finding.change = sf_arena_string(judgement->arena, opinion.change);
	finding.loss = sf_arena_string(judgement->arena, opinion.loss);
	return finding.field && finding.change && finding.loss ? judgement_add(judgement, &finding) : -ENOMEM;
}

static int link_report(struct judgement *judgement, const struct succession_step *step, const struct succession_link *link,
		       const char *prefix)
{
	char name[512];
	int r;

	snprintf(name, sizeof(name), "%s%s", prefix, link->field ? link->field->name : link->from.name);
	r = link_finding(judgement, step, link, name);
	if (r == 0 && link->inner) {
		snprintf(name, sizeof(name), "%s%s.", prefix, link->field->name);
		r = step_pair(judgement, step, link->inner, name);
	}
	return r;
}

/* Return: 1 if @pair was there already; 0; -ENOMEM. */
static int pair_seen(struct judgement *judgement, const struct succession *pair)
{
	for (size_t i = 0; i < judgement->n_seen; i++)
		if (judgement->seen[i] == pair)
			return 1;
	if (judgement->n_seen == judgement->cap_seen) {
		size_t cap = judgement->cap_seen ? 2 * judgement->cap_seen : 16;
		const struct succession **seen = sf_arena_alloc(judgement->arena, cap * sizeof(struct succession *),
								alignof(max_align_t));

		if (!seen)
			return -ENOMEM;
		if (judgement->n_seen)
			memcpy(seen, judgement->seen, judgement->n_seen * sizeof(struct succession *));
		judgement->seen = seen;
		judgement->cap_seen = cap;
	}
	judgement->seen[judgement->n_seen++] = pair;
	return 0;
}

static int step_pair(struct judgement *judgement, const struct succession_step *step, const struct succession *pair,
		     const char *prefix)
{
	int r = pair_seen(judgement, pair);

	if (r != 0)
		return r < 0 ? r : 0;
	for (size_t i = 0; i < pair->n_links && r == 0; i++)
		r = link_report(judgement, step, &pair->links[i], prefix);
	return r;
}

int judge_step(struct judgement *judgement, const struct succession_step *step)
{
	judgement->n_seen = 0;
	return step_pair(judgement, step, step->succession, "");
}
