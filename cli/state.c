/* SPDX-License-Identifier: MIT */
#include "cli/state.h"

#include "base/why.h"
#include "wire/wire.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

enum option_id { OPTION_TYPE = 256, OPTION_LIMIT, OPTION_KEY, OPTION_COLOR };

static const struct state_verb verbs[] = {
	{ "show", 1, SIZE_MAX, true, false, false, "FILE...", "Print every record", state_show },
	{ "verify", 1, SIZE_MAX, false, false, false, "FILE...", "Check everything there is to check; say what is damaged",
	  state_verify },
	{ "diff", 2, 2, true, true, false, "A B", "Say which records B has more, less or other than A, in whatever order",
	  state_diff },
	{ "stats", 1, SIZE_MAX, false, false, false, "FILE...", "Count records and bytes by type", state_stats },
	{ "compat", 2, 2, false, false, true, "OLD NEW", "Say what becomes of every type between two schemas, up and down",
	  state_compat },
};

static const struct option long_options[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "type", required_argument, NULL, OPTION_TYPE },
	{ "limit", required_argument, NULL, OPTION_LIMIT },
	{ "key", required_argument, NULL, OPTION_KEY },
	{ "quiet", no_argument, NULL, 'q' },
	{ "color", required_argument, NULL, OPTION_COLOR },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

void state_usage(FILE *out)
{
	fputs("Usage: upgradectl state VERB [OPTION...] FILE...\n"
	      "\n"
	      "Look at state that \"upgradectl save\" wrote. FILE may be \"-\", the standard input. A file of any size takes\n"
	      "little memory; neither its application nor upgraded is needed. For compat, OLD and NEW are .proto files,\n"
	      "descriptor sets (protoc --include_imports -o FILE), or programs with what protoc-gen-upgrade(1) made of their\n"
	      ".proto files.\n"
	      "\n"
	      "Verbs:\n", out);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		fprintf(out, "  %-7s %-9s %s\n", verbs[i].name, verbs[i].operands, verbs[i].does);
	fputs("\n"
	      "Options:\n"
	      "  -o, --output=text|json    What to print (default text); json: one object on each line\n"
	      "      --type=NAME           show, diff: only records of this type\n"
	      "      --limit=N             show, diff: print no more than N records, or differences\n"
	      "      --key=FIELD           diff: the field by which records are told apart (default: each type's first)\n"
	      "  -I DIR                    compat: look for .proto files in DIR, too; may be given several times\n"
	      "  -q, --quiet               No output but errors: the exit status alone is the answer\n"
	      "      --color=auto|always|never\n"
	      "  -h, --help                This text\n"
	      "\n"
	      "Exit status:\n"
	      "  0  all is well, nothing differs, or compatible\n"
	      "  1  damaged, something differs, or not compatible: a migration is missing, or going down loses what was not\n"
	      "     accepted\n"
	      "  2  usage, or a file that cannot be read\n", out);
}

/* ---- the command line ---- */

/* The options that were seen. Whether they may stand there is known when the verb is. */
struct seen {
	const char *picks; /* the first of --type and --limit */
	bool key;
	bool imports;
};

static int choose(const char *option, const char *value, const char *const words[], struct why *why)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], value))
			return i;
	return why_set(why, -EINVAL, "%s cannot be \"%.80s\": see \"upgradectl state --help\"", option, value);
}

static int take_limit(struct state_call *call, const char *value, struct why *why)
{
	char *end;

	errno = 0;
	call->limit = strtoull(value, &end, 10);
	if (errno || *end || *value < '0' || *value > '9')
		return why_set(why, -EINVAL, "--limit is a number, not \"%.80s\"", value);
	return 0;
}

static int take_option(struct state_call *call, struct seen *seen, int id, const char *value, struct why *why)
{
	static const char *const outputs[] = { "text", "json", NULL };
	static const char *const colors[] = { "auto", "always", "never", NULL };
	int chosen;

	switch (id) {
	case 'o':
		chosen = choose("--output", value, outputs, why);
		call->json = chosen == 1;
		return chosen < 0 ? chosen : 0;
	case OPTION_COLOR:
		chosen = choose("--color", value, colors, why);
		if (chosen >= 0)
			call->color = (enum color_choice)chosen;
		return chosen < 0 ? chosen : 0;
	case OPTION_TYPE:
		seen->picks = "--type";
		call->type = value;
		return 0;
	case OPTION_LIMIT:
		seen->picks = "--limit";
		return take_limit(call, value, why);
	case 'I':
		seen->imports = true;
		if (call->n_imports == STATE_IMPORTS_MAX)
			return why_set(why, -EINVAL, "-I can be given %u times", STATE_IMPORTS_MAX);
		call->imports[call->n_imports++] = value;
		return 0;
	case OPTION_KEY:
		seen->key = true;
		call->key = value;
		return 0;
	default:
		call->quiet = true;
		return 0;
	}
}

static const struct state_verb *verb_find(const char *name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

/* @operands: after "state". */
static int take_operands(struct state_call *call, const struct seen *seen, size_t n, char *const *operands, struct why *why)
{
	const struct state_verb *verb;
	size_t inputs = 0;

	if (n == 0)
		return why_set(why, -EINVAL, "which verb of state? See \"upgradectl state --help\"");
	verb = verb_find(operands[0]);
	if (!verb)
		return why_set(why, -EINVAL, "\"%.80s\" is not a verb of state: see \"upgradectl state --help\"", operands[0]);
	if (n - 1 < verb->min_files || n - 1 > verb->max_files)
		return why_set(why, -EINVAL, "too %s arguments: write \"upgradectl state %s %s\"",
			       n - 1 < verb->min_files ? "few" : "many", verb->name, verb->operands);
	if (seen->picks && !verb->picks)
		return why_set(why, -EINVAL, "%s has no meaning for state %s", seen->picks, verb->name);
	if (seen->key && !verb->keys)
		return why_set(why, -EINVAL, "--key has no meaning for state %s", verb->name);
	if (seen->imports && !verb->imports)
		return why_set(why, -EINVAL, "-I has no meaning for state %s", verb->name);
	call->verb = verb;
	call->files = operands + 1;
	call->n_files = n - 1;
	for (size_t i = 0; i < call->n_files; i++)
		inputs += strcmp(call->files[i], "-") == 0;
	if (inputs > 1)
		return why_set(why, -EINVAL, "the standard input can be read once only");
	return 0;
}

int state_args_parse(int argc, char **argv, struct state_call *ret_call, struct why *why)
{
	struct state_call call = { .limit = UINT64_MAX };
	struct seen seen = { 0 };
	int id, rc;

	opterr = 0;
	optind = 0; /* glibc: forget the state of an earlier parse */
	while ((id = getopt_long(argc, argv, ":o:qhI:", long_options, NULL)) != -1) {
		switch (id) {
		case 'h':
			return ARGS_HELP;
		case ':':
			return why_set(why, -EINVAL, "%s needs a value", argv[optind - 1]);
		case '?':
			return why_set(why, -EINVAL, "%.80s: no such option of state, or not with a value", argv[optind - 1]);
		default:
			rc = take_option(&call, &seen, id, optarg, why);
			if (rc < 0)
				return rc;
		}
	}
	rc = take_operands(&call, &seen, (size_t)(argc - optind - 1), argv + optind + 1, why);
	if (rc < 0)
		return rc;
	*ret_call = call;
	return ARGS_RUN;
}

/* ---- carrying it out ---- */

int state_main(int argc, char **argv)
{
	static char out_buffer[64 << 10];
	struct state_call call;
	struct why why = { "" };
	struct term out, err;
	int rc = state_args_parse(argc, argv, &call, &why);

	if (rc == ARGS_HELP) {
		state_usage(stdout);
		return WIRE_EXIT_DONE;
	}
	term_init(&err, stderr, rc < 0 ? COLOR_AUTO : call.color);
	if (rc < 0) {
		fputs("upgradectl: ", stderr);
		term_text(&err, why.text, TERM_WHOLE);
		fputs("\n", stderr);
		return WIRE_EXIT_USAGE;
	}
	term_init(&out, stdout, call.color);
	setvbuf(stdout, out_buffer, out.live ? _IOLBF : _IOFBF, sizeof(out_buffer));
	setlocale(LC_NUMERIC, "C"); /* JSON, and what else is for programs, has points */
	rc = call.verb->run(&call, &out, &err);
	fflush(stderr);
	/* An answer that could not be written is no success: the disk is full, or the reader is gone. */
	return rc == WIRE_EXIT_DONE && ferror(stdout) ? WIRE_EXIT_ERROR : rc;
}
