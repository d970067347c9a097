/* SPDX-License-Identifier: MIT */
/* Writes the code of one link: where the value is, whether it is there at all, and where it goes. */
#include "statefmt/gen/gen.h"

#include "base/why.h"

#include <inttypes.h>
#include <string.h>

static const struct schema_message *path_holder(const struct schema_message *message, const struct succession_path *path)
{
	for (size_t i = 0; i + 1 < path->n; i++)
		message = path->steps[i]->message;
	return message;
}

static struct end end_older(const struct route *route, const struct succession_link *link)
{
	return (struct end){ path_holder(route->pair->older, &link->from), succession_path_end(&link->from), &link->from,
			     link->from_bits };
}

static struct end end_newer(const struct route *route, const struct succession_link *link)
{
	return (struct end){ route->pair->newer, link->field, NULL, link->field_bits };
}

/* A group is made of, or taken apart into, the message around it: its own end is the nested message. */
struct end end_source(const struct route *route, const struct succession_link *link)
{
	return route->up && link->kind != SUCCESSION_GROUPS ? end_older(route, link) : end_newer(route, link);
}

struct end end_target(const struct route *route, const struct succession_link *link)
{
	return route->up || link->kind == SUCCESSION_GROUPS ? end_newer(route, link) : end_older(route, link);
}

static void append(struct code *buffer, const char *text)
{
	size_t at = strlen(buffer->text);

	snprintf(buffer->text + at, sizeof(buffer->text) - at, "%.1000s", text);
}

static size_t end_steps(const struct end *end)
{
	return end->path ? end->path->n : 1;
}

/* The first @n steps of an end's path. */
static const char *steps_code(struct code *buffer, const char *root, const struct end *end, size_t n)
{
	struct name name;

	snprintf(buffer->text, sizeof(buffer->text), "%s", root);
	for (size_t i = 0; i < n; i++) {
		append(buffer, "->");
		append(buffer, name_field(&name, end->path ? end->path->steps[i]->name : end->field->name));
	}
	return buffer->text;
}

const char *end_code(struct code *buffer, const char *root, const struct end *end)
{
	return steps_code(buffer, root, end, end_steps(end));
}

/* "to->has_x", "to->n_x", "to->kind_case": a member beside the field's own. */
static const char *beside_code(struct code *buffer, const char *root, const struct end *end, const char *before,
			       const char *name, const char *after)
{
	steps_code(buffer, root, end, end_steps(end) - 1);
	append(buffer, "->");
	append(buffer, before);
	append(buffer, name);
	append(buffer, after);
	return buffer->text;
}

static const char *count_code(struct code *buffer, const char *root, const struct end *end)
{
	struct name name;

	return beside_code(buffer, root, end, "n_", name_field(&name, end->field->name), "");
}

/* A flag of its own, has_x: texts and messages have NULL instead. */
static bool has_flag(const struct schema_field *field)
{
	return field->label == SCHEMA_OPTIONAL && !field->implicit && !field->oneof && field->type != SCHEMA_STRING &&
	       value_kind(field) != VALUE_MESSAGE;
}

/* NULL where there is none. */
static bool is_null_where_absent(const struct schema_field *field)
{
	return value_kind(field) == VALUE_MESSAGE ||
	       (field->type == SCHEMA_STRING && field->label == SCHEMA_OPTIONAL && !field->implicit);
}

static const char *flag_code(struct code *buffer, const char *root, const struct end *end)
{
	struct name name;

	return beside_code(buffer, root, end, "has_", name_field(&name, end->field->name), "");
}

static const char *case_code(struct code *buffer, const char *root, const struct end *end)
{
	struct name name;

	return beside_code(buffer, root, end, "", name_lower(&name, end->field->oneof), "_case");
}

static void also(struct code *condition, const char *term)
{
	if (condition->text[0])
		append(condition, " && ");
	append(condition, term);
}

/* The condition under which the end's value is there; "" if it always is. */
static const char *present_code(struct code *buffer, const char *root, const struct end *end,
				const struct schema_message *outermost)
{
	const struct schema_message *holder = outermost;
	struct code code;
	struct name name;

	buffer->text[0] = '\0';
	/* Those on the way are in no oneof. */
	for (size_t i = 0; i + 1 < end_steps(end); i++) {
		also(buffer, steps_code(&code, root, end, i + 1));
		holder = end->path->steps[i]->message;
	}
	if (end->field->label == SCHEMA_REPEATED) {
		also(buffer, count_code(&code, root, end));
	} else if (end->field->oneof) {
		also(buffer, case_code(&code, root, end));
		append(buffer, " == ");
		append(buffer, name_case(&name, holder, end->field));
	} else if (has_flag(end->field)) {
		also(buffer, flag_code(&code, root, end));
	} else if (is_null_where_absent(end->field)) {
		also(buffer, end_code(&code, root, end));
	}
	return buffer->text;
}

/* ---- the value and what tells of it ---- */

/* Two at once of what is one of a kind now: somebody has to decide. */
static void case_write(const struct route *route, const struct succession_link *link, const struct end *to,
		       const char *indent)
{
	struct code code;
	struct name name;

	case_code(&code, "to", to);
	if (!end_source(route, link).field->oneof)
		fprintf(route->out,
			"%sif (%s != 0)\n%s\treturn upg_step_fail(step, "
			"\"%s: %s is set besides another field that goes into %s\");\n",
			indent, code.text, indent, route_source(route)->name, route->up ? link->from.name : link->field->name,
			to->field->oneof);
	fprintf(route->out, "%s%s = %s;\n", indent, code.text, name_case(&name, to->message, to->field));
}

static void single_write(const struct route *route, const struct succession_link *link, const char *indent)
{
	const struct end from = end_source(route, link), to = end_target(route, link);
	struct code source, target;

	if (to.field->oneof)
		case_write(route, link, &to, indent);
	value_write(route, link, end_code(&source, "from", &from), end_code(&target, "to", &to), indent);
	if (has_flag(to.field))
		fprintf(route->out, "%s%s = 1;\n", indent, flag_code(&target, "to", &to));
}

static void repeated_write(const struct route *route, const struct succession_link *link, const char *indent)
{
	const struct end from = end_source(route, link), to = end_target(route, link);
	struct code source, target, from_count, to_count, element, place;
	char inner[16];

	end_code(&source, "from", &from);
	end_code(&target, "to", &to);
	count_code(&from_count, "from", &from);
	count_code(&to_count, "to", &to);
	fprintf(route->out, "%s%s = %s;\n", indent, to_count.text, from_count.text);
	if (link->same) {
		fprintf(route->out, "%s%s = %s;\n", indent, target.text, source.text);
		return;
	}
	snprintf(inner, sizeof(inner), "%s\t", indent);
	snprintf(element.text, sizeof(element.text), "%.1000s[i]", source.text);
	snprintf(place.text, sizeof(place.text), "%.1000s[i]", target.text);
	fprintf(route->out, "%s%s = upg_step_alloc(step, %s * sizeof(*%s));\n", indent, target.text, to_count.text,
		target.text);
	fprintf(route->out, "%sfor (size_t i = 0; i < %s; i++) {\n", indent, to_count.text);
	value_write(route, link, element.text, place.text, inner);
	fprintf(route->out, "%s}\n", indent);
}

/* ---- what each kind of link comes to ---- */

static int default_write(const struct route *route, const struct succession_link *link, const char *indent, struct why *why)
{
	const struct end to = end_target(route, link);
	struct code target, value;
	int r = value_default(&value, link->field, link->default_value, why);

	if (r < 0)
		return why_prefix(why, r, "%s.%s", route->pair->newer->name, link->field->name);
	fprintf(route->out, "%s%s = %s;\n", indent, end_code(&target, "to", &to), value.text);
	if (has_flag(link->field))
		fprintf(route->out, "%s%s = 1;\n", indent, flag_code(&target, "to", &to));
	return 0;
}

/* Whether the nested message that the target is in may be missing: then there was nothing to put into it. */
static const char *target_container(struct code *buffer, const struct end *to)
{
	buffer->text[0] = '\0';
	if (end_steps(to) > 1)
		steps_code(buffer, "to", to, end_steps(to) - 1);
	return buffer->text;
}

static int follows_write(const struct route *route, const struct succession_link *link, struct why *why)
{
	const struct end from = end_source(route, link), to = end_target(route, link);
	bool repeated = from.field->label == SCHEMA_REPEATED, plain;
	struct code condition, source, nonzero, container;
	int r = 0;

	present_code(&condition, "from", &from, route_source(route));
	/* A field without presence becomes one of a oneof where it says something. */
	if (to.field->oneof && !repeated && !value_has_presence(from.field))
		also(&condition, value_nonzero(&nonzero, from.field, end_code(&source, "from", &from)));
	if (*target_container(&container, &to))
		also(&condition, container.text);
	/* Pointers can be handed on whether or not there is something behind them. */
	plain = link->same && !to.field->oneof && !from.field->oneof && !repeated && end_steps(&from) == 1 && !container.text[0] &&
		(value_kind(from.field) == VALUE_MESSAGE || !condition.text[0]) && !link->default_value && !has_flag(to.field);
	if (plain) {
		single_write(route, link, "\t");
		return 0;
	}
	/* What declares something needs a block of its own. */
	if (!condition.text[0] && !value_declares(route, link)) {
		single_write(route, link, "\t");
		return 0;
	}
	if (condition.text[0])
		fprintf(route->out, "\tif (%s) {\n", condition.text);
	else
		fputs("\t{\n", route->out);
	if (repeated)
		repeated_write(route, link, "\t\t");
	else
		single_write(route, link, "\t\t");
	if (route->up && link->default_value && condition.text[0]) {
		fputs("\t} else {\n", route->out);
		r = default_write(route, link, "\t\t", why);
	}
	fputs("\t}\n", route->out);
	return r;
}

static void group_up_write(const struct route *route, const struct succession_link *link)
{
	const struct end to = end_newer(route, link);
	struct code target;

	fputs("\t{\n", route->out);
	value_write(route, link, "from", end_code(&target, "to", &to), "\t\t");
	fputs("\t}\n", route->out);
}

static void group_down_write(const struct route *route, const struct succession_link *link)
{
	const struct end from = end_newer(route, link);
	struct code source;
	struct name function;

	end_code(&source, "from", &from);
	fprintf(route->out, "\tif (%s) {\n\t\trc = %s(step, %s, to);\n\t\tif (rc != 0)\n\t\t\treturn rc;\n\t}\n",
		source.text,
		pair_function(&function, link->inner, false), source.text);
}

int link_write(const struct route *route, const struct succession_link *link, struct why *why)
{
	switch (link->kind) {
	case SUCCESSION_FOLLOWS:
		return follows_write(route, link, why);
	case SUCCESSION_GROUPS:
		if (route->up)
			group_up_write(route, link);
		else
			group_down_write(route, link);
		return 0;
	case SUCCESSION_ADDED:
		return route->up && link->default_value ? default_write(route, link, "\t", why) : 0;
	case SUCCESSION_DROPPED:
	case SUCCESSION_BY_HAND:
	case SUCCESSION_UNDECIDED:
		break;
	}
	return 0;
}

/* ---- nested messages that fields moved out of ---- */

/* Does an earlier link go into the same nested message? Then the message was made before. */
static bool container_seen(const struct succession *pair, size_t before, const struct end *to, size_t n)
{
	for (size_t i = 0; i < before; i++) {
		const struct succession_path *path = &pair->links[i].from;

		if (pair->links[i].kind == SUCCESSION_FOLLOWS && path->n > n && memcmp(path->steps, to->path->steps,
											n * sizeof(path->steps[0])) == 0)
			return true;
	}
	return false;
}

/* Write the condition that something goes into the nested message that is @n steps down @to's path. */
static void anything_below(const struct route *route, struct code *condition, const struct end *to, size_t n)
{
	const struct succession *pair = route->pair;

	for (size_t i = 0; i < pair->n_links; i++) {
		const struct succession_link *link = &pair->links[i];
		struct code code, nonzero;

		if (link->kind != SUCCESSION_FOLLOWS || link->from.n <= n ||
		    memcmp(link->from.steps, to->path->steps, n * sizeof(link->from.steps[0])) != 0)
			continue;
		const struct end from = end_source(route, link);
		if (condition->text[0])
			append(condition, " || ");
		append(condition, "(");
		if (from.field->label == SCHEMA_REPEATED)
			append(condition, count_code(&code, "from", &from));
		else
			append(condition, value_has_presence(from.field) ?
			       (*present_code(&nonzero, "from", &from, route->pair->newer) ? nonzero.text : "1") :
			       value_nonzero(&nonzero, from.field, end_code(&code, "from", &from)));
		append(condition, ")");
	}
}

static void container_write(const struct route *route, const struct end *to, size_t n)
{
	const struct schema_field *field = to->path->steps[n - 1];
	struct code condition = { "" }, target, outer = { "" };
	struct name type, lower;

	anything_below(route, &condition, to, n);
	steps_code(&target, "to", to, n);
	if (n > 1)
		steps_code(&outer, "to", to, n - 1);
	fprintf(route->out, "\tif (%s%s!%s && (%s)) {\n", outer.text, n > 1 ? " && " : "", target.text, condition.text);
	fprintf(route->out, "\t\t%s = upg_step_alloc(step, sizeof(%s));\n", target.text,
		name_type(&type, field->message->name));
	fprintf(route->out, "\t\tprotobuf_c_message_init(&%s__descriptor, %s);\n", name_lower(&lower, field->message->name),
		target.text);
	fputs("\t}\n", route->out);
}

void containers_write(const struct route *route)
{
	const struct succession *pair = route->pair;

	for (size_t i = 0; i < pair->n_links; i++) {
		if (pair->links[i].kind != SUCCESSION_FOLLOWS || pair->links[i].from.n < 2)
			continue;
		const struct end to = end_older(route, &pair->links[i]);
		for (size_t n = 1; n < pair->links[i].from.n; n++)
			if (!container_seen(pair, i, &to, n))
				container_write(route, &to, n);
	}
}

/* ---- bits ---- */

static uint64_t width_mask(unsigned width)
{
	return UINT64_MAX >> (64 - width);
}

static bool same_source(const struct route *route, const struct succession_link *a, const struct succession_link *b)
{
	return route->up ? a->from.n && b->from.n && strcmp(a->from.name, b->from.name) == 0 : a->field == b->field;
}

/* Return: the bits of the link's source that any link takes; 0: an earlier link has the same source, and was handled. */
static uint64_t bits_taken(const struct route *route, size_t index)
{
	const struct succession *pair = route->pair;
	const struct succession_link *link = &pair->links[index];
	uint64_t taken = 0;

	for (size_t i = 0; i < pair->n_links; i++) {
		const struct succession_link *other = &pair->links[i];
		struct succession_bits bits = route->up ? other->from_bits : other->field_bits;

		if (!same_source(route, link, other))
			continue;
		if (i < index)
			return 0;
		taken |= bits.width ? width_mask(bits.width) << bits.shift : UINT64_MAX;
	}
	return taken;
}

void bits_check_write(const struct route *route)
{
	/* The message around a group may have use for the rest. */
	for (size_t i = 0; i < route->pair->n_links && !route->pair->group; i++) {
		const struct succession_link *link = &route->pair->links[i];
		struct code condition, source;

		if (link->kind != SUCCESSION_FOLLOWS || !(route->up ? link->from_bits.width : link->field_bits.width))
			continue;
		const struct end from = end_source(route, link);
		uint64_t taken = bits_taken(route, i), all = width_mask(value_bits(from.field));
		if (!taken || (taken & all) == all)
			continue;
		present_code(&condition, "from", &from, route_source(route));
		end_code(&source, "from", &from);
		also(&condition, "((uint64_t)");
		append(&condition, source.text);
		fprintf(route->out, "\tif (%s & UINT64_C(0x%" PRIx64 ")))\n", condition.text, all & ~taken);
		fprintf(route->out, "\t\treturn upg_misfit(step, &(const struct upg_place){ \"%s\", \"%s\", upg_%s(%s) },\n"
			"\t\t\t\t  \"has bits set that no field follows\");\n", route_source(route)->name,
			route->up ? link->from.name : link->field->name, value_is_signed(from.field) ? "signed" : "unsigned",
			source.text);
	}
}
