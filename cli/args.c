/* SPDX-License-Identifier: MIT */
#include "cli/args.h"

#include "base/why.h"
#include "cli/format.h"
#include "cli/suggest.h"
#include "wire/name.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum option_id {
	OPTION_SOCKET = 256, /* above every character, so that no short option collides */
	OPTION_TIMEOUT,
	OPTION_WAIT,
	OPTION_ROLLBACK,
	OPTION_BAKE,
	OPTION_VERIFY,
	OPTION_REQUIRE_IMAGE,
	OPTION_AGAIN,
	OPTION_FROM,
	OPTION_TO,
	OPTION_WAY,
	OPTION_DETACH,
	OPTION_SINCE,
	OPTION_FOR,
	OPTION_COLOR,
	OPTION_PROGRESS,
	OPTION_VERSION,
};

struct verb {
	const char *name;
	Upgraded__Wire__Verb verb;
	int min_operands;
	int max_operands;
	bool rolls; /* takes --wait, --rollback, --bake and --verify */
	const char *operands;
	const char *does;
};

static const struct verb verbs[] = {
	{ "start", UPGRADED__WIRE__VERB__VERB_START, 1, 2, false, "SERVICE [VERSION]", "Start a service" },
	{ "stop", UPGRADED__WIRE__VERB__VERB_STOP, 1, 1, false, "SERVICE", "Stop a service" },
	{ "roll", UPGRADED__WIRE__VERB__VERB_ROLL, 1, 2, true, "SERVICE [VERSION]",
	  "Replace the running version by VERSION; no connection drops" },
	{ "retry", UPGRADED__WIRE__VERB__VERB_RETRY, 1, 1, true, "SERVICE", "The last roll once more, after it failed" },
	{ "undo", UPGRADED__WIRE__VERB__VERB_UNDO, 1, 1, true, "SERVICE", "Go back to the version before the last roll" },
	{ "abort", UPGRADED__WIRE__VERB__VERB_ABORT, 1, 1, false, "SERVICE",
	  "Call off a start, a roll, a save; a roll that has committed is undone" },
	{ "accept", UPGRADED__WIRE__VERB__VERB_ACCEPT, 1, 1, false, "SERVICE", "End the bake now: the new version stays" },
	{ "pack", UPGRADED__WIRE__VERB__VERB_PACK, 1, 1, false, "SERVICE",
	  "Within a bake: move the version before out of memory, into its image" },
	{ "save", UPGRADED__WIRE__VERB__VERB_SAVE, 2, 2, false, "SERVICE FILE",
	  "Write the running state to FILE (-: standard output); it serves on" },
	{ "plan", UPGRADED__WIRE__VERB__VERB_PLAN, 2, 2, false, "SERVICE VERSION",
	  "Say what a roll would meet and what each way back would cost; touches nothing" },
	{ "status", UPGRADED__WIRE__VERB__VERB_STATUS, 0, 1, false, "[SERVICE]", "Show one service, or all, in detail" },
	{ "watch", UPGRADED__WIRE__VERB__VERB_WATCH, 0, 1, false, "[SERVICE]",
	  "Show the roll that is under way, or the next one, to its end; without a service: all that happens" },
	{ "wait", UPGRADED__WIRE__VERB__VERB_WAIT, 1, 1, false, "SERVICE --for=done|commit|serving",
	  "Wait until that holds; the exit status says what came of the roll" },
	{ "history", UPGRADED__WIRE__VERB__VERB_HISTORY, 1, 2, false, "SERVICE [N]",
	  "List the rolls of a service, or show one in full" },
	{ "report", UPGRADED__WIRE__VERB__VERB_HISTORY, 2, 3, false, "SERVICE N [FILE]", "Write one roll as a page of HTML" },
	{ "events", UPGRADED__WIRE__VERB__VERB_EVENTS, 0, 1, false, "[SERVICE]", "List what happened" },
	{ "list", UPGRADED__WIRE__VERB__VERB_LIST, 0, 0, false, "", "List the services" },
	{ "version", UPGRADED__WIRE__VERB__VERB_VERSION, 0, 0, false, "", "Show the versions of this tool and of upgraded" },
	{ "check", UPGRADED__WIRE__VERB__VERB_CHECK, 0, 0, false, "", "Say what this machine can do (images, space, ...)" },
};

/* The supervisor itself, in the place of a service. */
#define SELF "upgraded"
static const struct verb self_verb = { "roll " SELF, UPGRADED__WIRE__VERB__VERB_ROLL_SELF, 0, 1, false, "[PROGRAM]",
				       "Let PROGRAM, or upgraded's own file as it is now, take over the supervisor" };

/* Verbs of two words. */
#define IMAGES "images "
static const struct verb image_verbs[] = {
	{ IMAGES "list", UPGRADED__WIRE__VERB__VERB_IMAGES_LIST, 0, 1, false, "[SERVICE]", "List the images of earlier versions" },
	{ IMAGES "show", UPGRADED__WIRE__VERB__VERB_IMAGES_SHOW, 1, 2, false, "SERVICE [GENERATION]",
	  "Show one, the newest if none is named, with the files it needs" },
	{ IMAGES "verify", UPGRADED__WIRE__VERB__VERB_IMAGES_VERIFY, 1, 2, false, "SERVICE [GENERATION]",
	  "Could it be restored now? Reads all of it" },
	{ IMAGES "gc", UPGRADED__WIRE__VERB__VERB_IMAGES_GC, 0, 2, false, "[SERVICE [GENERATION]]",
	  "Remove those beyond the limits, or the one that is named" },
};

static const struct option long_options[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "wait", required_argument, NULL, OPTION_WAIT },
	{ "rollback", required_argument, NULL, OPTION_ROLLBACK },
	{ "bake", required_argument, NULL, OPTION_BAKE },
	{ "verify", required_argument, NULL, OPTION_VERIFY },
	{ "require-image", no_argument, NULL, OPTION_REQUIRE_IMAGE },
	{ "again", no_argument, NULL, OPTION_AGAIN },
	{ "from", required_argument, NULL, OPTION_FROM },
	{ "to", required_argument, NULL, OPTION_TO },
	{ "way", required_argument, NULL, OPTION_WAY },
	{ "detach", no_argument, NULL, OPTION_DETACH },
	{ "since", required_argument, NULL, OPTION_SINCE },
	{ "for", required_argument, NULL, OPTION_FOR },
	{ "host", required_argument, NULL, 'H' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "progress", no_argument, NULL, OPTION_PROGRESS },
	{ "color", required_argument, NULL, OPTION_COLOR },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

static void describe(const struct verb *verb, struct args_verb *ret_verb)
{
	*ret_verb = (struct args_verb){ .name = verb->name, .operands = verb->operands, .does = verb->does };
}

bool args_verb_at(size_t i, struct args_verb *ret_verb)
{
	size_t n = sizeof(verbs) / sizeof(verbs[0]), n_images = sizeof(image_verbs) / sizeof(image_verbs[0]);

	if (i < n)
		describe(&verbs[i], ret_verb);
	else if (i == n)
		describe(&self_verb, ret_verb);
	else if (i - n - 1 < n_images)
		describe(&image_verbs[i - n - 1], ret_verb);
	else
		return false;
	return true;
}

const char *args_option_at(size_t i, bool *ret_takes_value)
{
	if (i >= sizeof(long_options) / sizeof(long_options[0]) - 1)
		return NULL;
	*ret_takes_value = long_options[i].has_arg == required_argument;
	return long_options[i].name;
}

/* The options that were seen. Whether they may stand there is known when the verb is. */
struct seen {
	const char *roll_option; /* an option that only rolls take */
	const char *way_option;  /* one that plans take, too */
	bool from, again, since, wait_for;
	const char *undo_option; /* the first one that only undo takes */
};

void args_usage(FILE *out)
{
	fputs("Usage: upgradectl [OPTION...] VERB ...\n"
	      "\n"
	      "Replace running services by their next version, and take them back.\n"
	      "\n"
	      "Verbs:\n", out);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		fprintf(out, strlen(verbs[i].name) + strlen(verbs[i].operands) < 26 ? "  %-7s %-17s %s\n" :
										     "  %s %s\n                            %s\n",
			verbs[i].name, verbs[i].operands, verbs[i].does);
	fprintf(out, "  %s %s\n  %-25s %s\n", self_verb.name, self_verb.operands, "", self_verb.does);
	fprintf(out, "  %-6s %-18s %s\n", "leave", "[UNIT]", "Let upgraded leave its services running when it is ended now");
	for (size_t i = 0; i < sizeof(image_verbs) / sizeof(image_verbs[0]); i++)
		fprintf(out, "  %s %s\n  %-25s %s\n", image_verbs[i].name, image_verbs[i].operands, "", image_verbs[i].does);
	fprintf(out, "  %-6s %-18s %s\n", "state", "VERB FILE...", "Look at saved state: see \"upgradectl state --help\"");
	fprintf(out, "  %s %-14s %s\n", "completion", "SHELL", "Print what completes upgradectl in bash, zsh or fish");
	fputs("\n"
	      "Options:\n"
	      "  -o, --output=text|wide|name|json\n"
	      "                            What to print (default text): wide adds columns, name prints names alone\n"
	      "      --progress            With -o json: a line for each step of a roll, and the answer as the last\n"
	      "      --socket=PATH         The supervisor's socket (default $" ARGS_SOCKET_ENV " or " ARGS_SOCKET_DEFAULT ")\n"
	      "  -H, --host=[USER@]HOST    The supervisor of another machine, over ssh\n"
	      "      --timeout=DURATION    Give up waiting, with status 9; what was asked for goes on\n"
	      "      --detach              roll, undo: return when it has begun\n"
	      "      --since=TIME          events, watch: so long ago (10min), or from then on (2026-11-30 04:00)\n"
	      "      --for=done|commit|serving\n"
	      "                            wait: nothing is under way; nothing but a bake; a version serves\n"
	      "      --wait=commit|done    roll, undo: return when the new version serves, or when all is over (default done)\n"
	      "      --rollback=auto|parked|image|none\n"
	      "                            roll, undo, plan: the way back to keep (default: as configured)\n"
	      "      --require-image       roll, undo, plan: refuse what could not go back by an image\n"
	      "      --again               roll, plan: also to the version that serves, with the service file as it is now\n"
	      "      --verify=none|roundtrip\n"
	      "                            roll, undo: prove before the commit that going back would lose nothing\n"
	      "      --from=FILE           start: with the state that save wrote\n"
	      "      --to=VERSION          undo: not to the version before, but to an earlier one (see status)\n"
	      "      --way=live|parked|image\n"
	      "                            undo: with all state (default), or within a bake without what was written since the\n"
	      "                            commit: the process that lies parked, or its image\n"
	      "      --bake=DURATION       roll, undo: how long the new version is watched (default: as configured)\n"
	      "  -q, --quiet               No progress and no summary; errors are still told\n"
	      "  -v, --verbose             On a terminal, too, print every message\n"
	      "      --color=auto|always|never\n"
	      "  -h, --help                This text\n"
	      "      --version             The version of this tool\n"
	      "\n"
	      "Durations: 300ms, 5s, 2min, 1h; a bare number counts seconds.\n"
	      "\n"
	      "Exit status:\n"
	      "  0  done                            5  refused: nothing was touched\n"
	      "  1  error                           6  rolled back: the old version serves\n"
	      "  2  usage                           7  the way back failed\n"
	      "  3  the service is not running      8  another roll is under way\n"
	      "  4  no such service                 9  gave up waiting; it goes on\n"
	      "                                    10  called off; look whether the old version serves\n", out);
}

static const struct verb *verb_find(const char *name);
static bool is_images(const char *name);

void args_help(FILE *out, const char *name)
{
	const struct verb *verb = name ? verb_find(name) : NULL;

	if (!verb && !(name && is_images(name))) {
		args_usage(out);
		return;
	}
	if (verb)
		fprintf(out, "Usage: upgradectl [OPTION...] %s %s\n\n%s.\n", verb->name, verb->operands, verb->does);
	for (size_t i = 0; !verb && i < sizeof(image_verbs) / sizeof(image_verbs[0]); i++)
		fprintf(out, "Usage: upgradectl [OPTION...] %s %s\n\n%s.\n\n", image_verbs[i].name, image_verbs[i].operands,
			image_verbs[i].does);
	if (verb && verb->rolls)
		fputs("\nOptions: --wait, --bake, --rollback, --require-image, --verify, --detach; "
		      "for undo --to, --way; for roll --again\n",
		      out);
	fputs("\nAll options and all verbs: upgradectl --help. In full: man upgradectl\n", out);
}

int name_check(const char *what, const char *name, struct why *why)
{
	size_t at = 0;

	switch (wire_name_check(name, &at)) {
	case WIRE_NAME_EMPTY:
		return why_set(why, -EINVAL, "the %s name is empty", what);
	case WIRE_NAME_DOTTED:
		return why_set(why, -EINVAL, "%s name \"%.80s\" starts with a '.'", what, name);
	case WIRE_NAME_CHARACTER:
		return why_set(why, -EINVAL, "%s name \"%.80s\" contains '%c': only letters, digits and . _ @ - can stand there",
			       what, name, name[at]);
	case WIRE_NAME_LONG:
		return why_set(why, -EINVAL, "%s name \"%.80s\" has %zu characters, more than %u", what, name, strlen(name),
			       WIRE_NAME_MAX);
	case WIRE_NAME_FITS:
		break;
	}
	return 0;
}

static const struct verb *image_verb_find(const char *name)
{
	for (size_t i = 0; i < sizeof(image_verbs) / sizeof(image_verbs[0]); i++)
		if (!strcmp(image_verbs[i].name + strlen(IMAGES), name))
			return &image_verbs[i];
	return NULL;
}

static bool is_images(const char *name)
{
	return strlen(name) == strlen(IMAGES) - 1 && !strncmp(name, IMAGES, strlen(name));
}

static const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

/* Return: the index of @value in @words; -EINVAL with the whole list in @why. */
static int choose(const char *option, const char *value, const char *const words[], struct why *why)
{
	char list[128] = "";
	size_t used = 0;

	for (int i = 0; words[i]; i++) {
		if (!strcmp(words[i], value))
			return i;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", words[i]);
	}
	return why_set(why, -EINVAL, "%s is one of %s, not \"%s\"", option, list, value);
}

/* Zero means "none given" in struct args and on the wire, so it cannot be asked for. */
static int positive_duration(const char *option, const char *text, uint64_t *ret_us, struct why *why)
{
	uint64_t us = 0;
	int rc = duration_parse(option, text, &us, why);

	if (rc < 0)
		return rc;
	if (!us)
		return why_set(why, -EINVAL, "%s must be more than zero", option);
	*ret_us = us;
	return 0;
}

static int take_choice(struct args *args, int id, const char *value, struct why *why)
{
	static const char *const outputs[] = { "text", "json", "wide", "name", NULL };
	static const char *const waits[] = { "done", "commit", NULL };
	static const char *const conditions[] = { "done", "commit", "serving", NULL };
	static const char *const rollbacks[] = { "auto", "parked", "image", "none", NULL };
	static const char *const verifies[] = { "none", "roundtrip", NULL };
	static const char *const ways[] = { "live", "parked", "image", NULL };
	static const char *const colors[] = { "auto", "always", "never", NULL };
	int chosen;

	switch (id) {
	case 'o':
		chosen = choose("--output", value, outputs, why);
		args->json = chosen == 1;
		args->wide = chosen == 2;
		args->names = chosen == 3;
		break;
	case OPTION_WAIT:
		chosen = choose("--wait", value, waits, why);
		args->wait_commit = chosen == 1;
		break;
	case OPTION_FOR:
		chosen = choose("--for", value, conditions, why);
		if (chosen >= 0)
			args->wait_for = conditions[chosen];
		break;
	case OPTION_ROLLBACK:
		chosen = choose("--rollback", value, rollbacks, why);
		if (chosen >= 0)
			args->rollback = rollbacks[chosen];
		break;
	case OPTION_WAY:
		chosen = choose("--way", value, ways, why);
		if (chosen >= 0)
			args->way = ways[chosen];
		break;
	case OPTION_VERIFY:
		chosen = choose("--verify", value, verifies, why);
		if (chosen >= 0)
			args->verify = verifies[chosen];
		break;
	default:
		chosen = choose("--color", value, colors, why);
		if (chosen >= 0)
			args->color = (enum color_choice)chosen;
		break;
	}
	return chosen < 0 ? chosen : 0;
}

static int take_option(struct args *args, struct seen *seen, int id, const char *value, struct why *why)
{
	switch (id) {
	case OPTION_DETACH:
		seen->roll_option = "--detach";
		args->detach = true;
		return 0;
	case OPTION_SINCE:
		seen->since = true;
		return since_parse("--since", value, time(NULL), &args->since_us, why);
	case OPTION_FOR:
		seen->wait_for = true;
		return take_choice(args, id, value, why);
	case OPTION_WAIT:
		seen->roll_option = "--wait";
		return take_choice(args, id, value, why);
	case OPTION_ROLLBACK:
		seen->way_option = "--rollback";
		return take_choice(args, id, value, why);
	case OPTION_VERIFY:
		seen->roll_option = "--verify";
		return take_choice(args, id, value, why);
	case OPTION_REQUIRE_IMAGE:
		seen->way_option = "--require-image";
		args->require_image = true;
		return 0;
	case OPTION_AGAIN:
		seen->again = args->again = true;
		return 0;
	case OPTION_FROM:
		seen->from = true;
		if (!*value)
			return why_set(why, -EINVAL, "--from needs a file");
		args->file = value;
		return 0;
	case OPTION_TO:
		seen->undo_option = "--to";
		args->version = value;
		return name_check("version", value, why);
	case OPTION_WAY:
		seen->undo_option = "--way";
		return take_choice(args, id, value, why);
	case OPTION_BAKE:
		seen->roll_option = "--bake";
		return positive_duration("--bake", value, &args->bake_us, why);
	case OPTION_TIMEOUT:
		return positive_duration("--timeout", value, &args->timeout_us, why);
	case OPTION_SOCKET:
		if (!*value)
			return why_set(why, -EINVAL, "--socket needs a path");
		args->socket_path = value;
		return 0;
	case OPTION_PROGRESS:
		args->progress = true;
		return 0;
	case 'H':
		if (!*value || *value == '-')
			return why_set(why, -EINVAL, "-H needs a host, as ssh takes it");
		args->host = value;
		return 0;
	case 'q':
		args->quiet = true;
		return 0;
	case 'v':
		args->verbose = true;
		return 0;
	default:
		return take_choice(args, id, value, why);
	}
}

static int generation_take(const char *text, uint64_t *ret, struct why *why)
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || *text < '1' || *text > '9' || *end)
		return why_set(why, -EINVAL, "\"%.80s\" is not the generation of an image: a number, as images list shows it",
			       text);
	*ret = number;
	return 0;
}

static int roll_take(const char *text, uint64_t *ret, struct why *why)
{
	return generation_take(text, ret, NULL) < 0 ?
		       why_set(why, -EINVAL, "\"%.80s\" is not the number of a roll: history shows them", text) :
		       0;
}

#define VERBS "start, stop, roll, retry, undo, abort, accept, pack, plan, save, status, list, watch, wait, history, report, " \
	"events, images, check, version, help or state"

static int not_a_verb(const char *name, struct why *why)
{
	const char *words[sizeof(verbs) / sizeof(verbs[0]) + 5], *best;
	size_t n = 0;

	if (strcmp(name, "leave") == 0 || strcmp(name, "completion") == 0)
		return why_set(why, -EINVAL, "%s has to be the first word of the command line", name);
	for (; n < sizeof(verbs) / sizeof(verbs[0]); n++)
		words[n] = verbs[n].name;
	words[n++] = "images";
	words[n++] = "state";
	words[n++] = "help";
	words[n++] = "leave";
	best = suggest_word(name, words, n);
	if (best)
		return why_set(why, -EINVAL, "\"%.80s\" is not a verb; did you mean %s?", name, best);
	return why_set(why, -EINVAL, "\"%.80s\" is not a verb: " VERBS, name);
}

/* Return: the verb that is meant, and in @ret_first where its operands begin; NULL. */
static const struct verb *find_verb(int n, char *const *operands, int *ret_first)
{
	const struct verb *verb = verb_find(operands[0]);
	bool self = verb && verb->verb == UPGRADED__WIRE__VERB__VERB_ROLL && n > 1 && strcmp(operands[1], SELF) == 0;

	*ret_first = self ? 2 : 1;
	return self ? &self_verb : verb;
}

static int take_program(struct args *args, const char *program, struct why *why)
{
	if (program && *program != '/')
		return why_set(why, -EINVAL, "\"%.80s\" is not the absolute path of a program", program);
	args->program = program;
	return 0;
}

static int take_operands(struct args *args, const struct seen *seen, int n, char *const *operands, struct why *why)
{
	const struct verb *verb;
	bool images = n > 0 && is_images(operands[0]);
	int rc = 0, first = 1;

	if (images) {
		n--;
		operands++;
		if (n == 0 || !image_verb_find(operands[0]))
			return why_set(why, -EINVAL, "images what? list, show, verify or gc");
	}

	if (n == 0)
		return why_set(why, -EINVAL, "which verb? " VERBS);
	verb = images ? image_verb_find(operands[0]) : find_verb(n, operands, &first);
	if (!verb)
		return not_a_verb(operands[0], why);
	if (n - first < verb->min_operands || n - first > verb->max_operands)
		return why_set(why, -EINVAL, "%s: write \"upgradectl %s%s%s\"",
			       n - first < verb->min_operands ? "too few arguments" : "too many arguments", verb->name,
			       *verb->operands ? " " : "", verb->operands);
	if (seen->roll_option && !verb->rolls)
		return why_set(why, -EINVAL, "%s has a meaning for roll and undo only, not for %s", seen->roll_option,
			       verb->name);
	if (seen->way_option && !verb->rolls && verb->verb != UPGRADED__WIRE__VERB__VERB_PLAN)
		return why_set(why, -EINVAL, "%s has a meaning for roll, undo and plan only, not for %s", seen->way_option,
			       verb->name);
	if (seen->undo_option && verb->verb != UPGRADED__WIRE__VERB__VERB_UNDO)
		return why_set(why, -EINVAL, "%s has a meaning for undo only, not for %s", seen->undo_option, verb->name);
	if (seen->again && verb->verb != UPGRADED__WIRE__VERB__VERB_ROLL && verb->verb != UPGRADED__WIRE__VERB__VERB_PLAN)
		return why_set(why, -EINVAL, "--again has a meaning for roll and plan only, not for %s", verb->name);
	if (seen->from && verb->verb != UPGRADED__WIRE__VERB__VERB_START)
		return why_set(why, -EINVAL, "--from has a meaning for start only, not for %s", verb->name);
	if (seen->since && verb->verb != UPGRADED__WIRE__VERB__VERB_EVENTS && verb->verb != UPGRADED__WIRE__VERB__VERB_WATCH)
		return why_set(why, -EINVAL, "--since has a meaning for events and watch only, not for %s", verb->name);
	if (seen->wait_for != (verb->verb == UPGRADED__WIRE__VERB__VERB_WAIT))
		return why_set(why, -EINVAL, seen->wait_for ? "--for has a meaning for wait only, not for %s" :
							      "%s: until what? --for=done, --for=commit or --for=serving",
			       verb->name);
	if (verb == &self_verb) {
		args->verb = verb->verb;
		args->verb_name = verb->name;
		return take_program(args, n > first ? operands[first] : NULL, why);
	}
	if (n > 1)
		rc = name_check("service", operands[1], why);
	if (rc == 0 && n > 2 && verb->verb == UPGRADED__WIRE__VERB__VERB_HISTORY)
		rc = roll_take(operands[2], &args->generation, why);
	else if (rc == 0 && n > 2 && images)
		rc = generation_take(operands[2], &args->generation, why);
	else if (rc == 0 && n > 2 && verb->verb != UPGRADED__WIRE__VERB__VERB_SAVE)
		rc = name_check("version", operands[2], why);
	if (rc < 0)
		return rc;
	args->verb = verb->verb;
	args->verb_name = verb->name;
	args->service = n > 1 ? operands[1] : NULL;
	if (verb->verb == UPGRADED__WIRE__VERB__VERB_SAVE)
		args->file = operands[2];
	else if (verb->verb == UPGRADED__WIRE__VERB__VERB_HISTORY)
		args->page = verb->max_operands == 3 ? (n > 3 ? operands[3] : "") : NULL;
	else if (n > 2 && !images)
		args->version = operands[2];
	return 0;
}

bool args_is_state(int argc, char **argv)
{
	int id = 0;

	opterr = 0;
	optind = 0;
	/* "+": stop at the first operand, and move no argument. */
	while (id != -1)
		id = getopt_long(argc, argv, "+:o:H:qvh", long_options, NULL);
	return optind < argc && strcmp(argv[optind], "state") == 0;
}

static int not_an_option(const char *text, struct why *why)
{
	const char *words[sizeof(long_options) / sizeof(long_options[0])], *best;
	char name[64];
	size_t n = 0;

	for (; long_options[n].name; n++)
		words[n] = long_options[n].name;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text + 2, "="), text + 2);
	best = suggest_word(name, words, n);
	if (best && strcmp(best, name) != 0)
		return why_set(why, -EINVAL, "there is no option %.80s; did you mean --%s?", text, best);
	return why_set(why, -EINVAL, "%.80s: no such option, or not with a value", text);
}

int args_parse(int argc, char **argv, const char *env_socket, struct args *ret_args, struct why *why)
{
	struct args args = {
		.socket_path = env_socket && *env_socket ? env_socket : ARGS_SOCKET_DEFAULT,
	};
	struct seen seen = { 0 };
	bool helps = false;
	int id;
	int rc;

	opterr = 0;
	optind = 0; /* glibc: forget the state of an earlier parse */
	while ((id = getopt_long(argc, argv, ":o:H:qvh", long_options, NULL)) != -1) {
		switch (id) {
		case 'h':
			helps = true;
			break;
		case OPTION_VERSION:
			return ARGS_VERSION;
		case ':':
			return why_set(why, -EINVAL, "%s needs a value", argv[optind - 1]);
		case '?':
			/* optopt is the character of a short option, 0 for an unknown long one, its id for one given
			 * a value that it does not take. */
			if (optopt > 0 && optopt < OPTION_SOCKET && strncmp(argv[optind - 1], "--", 2) != 0)
				return why_set(why, -EINVAL, "there is no option -%c", optopt);
			return not_an_option(argv[optind - 1], why);
		default:
			rc = take_option(&args, &seen, id, optarg, why);
			if (rc < 0)
				return rc;
		}
	}
	helps = helps || (optind < argc && !strcmp(argv[optind], "help"));
	if (helps) {
		int at = optind < argc && !strcmp(argv[optind], "help") ? optind + 1 : optind;

		args.help_of = at < argc ? argv[at] : NULL;
		if (args.help_of && !verb_find(args.help_of) && !is_images(args.help_of))
			return not_a_verb(args.help_of, why);
		*ret_args = args;
		return ARGS_HELP;
	}
	rc = take_operands(&args, &seen, argc - optind, argv + optind, why);
	if (rc < 0)
		return rc;
	if (args.progress && !args.json)
		return why_set(why, -EINVAL, "--progress goes with -o json");
	*ret_args = args;
	return ARGS_RUN;
}
