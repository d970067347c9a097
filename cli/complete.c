/* SPDX-License-Identifier: MIT */
/*
 * Which words could come next? Verbs and options are those of args.c; a word of a verb's operands (SERVICE, VERSION, ...) says what
 * may stand there. Services, versions and images are asked of the supervisor, which has a second for it.
 */
#include "cli/complete.h"

#include "base/clock.h"
#include "base/why.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/complete_versions.h"
#include "cli/completion_scripts.h"
#include "wire/name.h"
#include "wire/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_US (1 * USEC_PER_SEC)
#define WORDS_MAX 16u
#define FILES ":files"
#define STATE_OPTIONS "output type limit key quiet color help"

struct line {
	const char *current;             /* what is being typed */
	const char *words[WORDS_MAX];    /* operands before it */
	size_t n_words;
	const char *option;              /* whose value is being typed; NULL: none */
	const char *socket;
	char prefix[32];                 /* "--wait=", which stands before the value in @current */
};

/* What may follow an option, and which verbs it goes with. One that is not here goes with all but `state`. */
static const struct {
	const char *name;
	const char *verbs;  /* NULL: all; a verb of two words by its first */
	const char *values; /* NULL: nothing can be said */
} options[] = {
	{ "output", NULL, "text json" },
	{ "socket", NULL, FILES },
	{ "wait", "roll undo", "commit done" },
	{ "rollback", "roll undo plan", "auto parked image none" },
	{ "verify", "roll undo", "none roundtrip" },
	{ "bake", "roll undo", NULL },
	{ "require-image", "roll undo plan", NULL },
	{ "again", "roll plan", NULL },
	{ "from", "start", FILES },
	{ "to", "undo", ":history" },
	{ "way", "undo", "live parked image" },
	{ "color", NULL, "auto always never" },
	{ "type", "state", NULL },
	{ "limit", "state", NULL },
	{ "key", "state", NULL },
};

/* Verbs that args.c does not have. */
static const struct args_verb others[] = {
	{ "leave", "", "Let upgraded leave its services running when it is ended now" },
	{ "state show", "FILE...", "Print every record" },
	{ "state verify", "FILE...", "Check everything there is to check" },
	{ "state diff", "FILE FILE", "Say in which records two files differ" },
	{ "state stats", "FILE...", "Count records and bytes by type" },
	{ "state compat", "FILE FILE", "Say what becomes of every type between two schemas" },
	{ "completion bash", "", "Print the completion for bash" },
	{ "completion zsh", "", "Print the completion for zsh" },
	{ "completion fish", "", "Print the completion for fish" },
};

#define N_OPTIONS (sizeof(options) / sizeof(options[0]))
#define N_OTHERS (sizeof(others) / sizeof(others[0]))

/* ---- what is printed ---- */

static void offer(const struct line *line, const char *word, const char *told)
{
	size_t before = strlen(line->prefix);

	if (strncmp(word, line->current + before, strlen(line->current) - before) != 0)
		return;
	printf("%s%s%s%s\n", line->prefix, word, told ? "\t" : "", told ? told : "");
}

/* A name that came from elsewhere: nothing else is printed, as a shell takes it for words. */
static void offer_name(const char *name, void *userdata)
{
	size_t at;

	if (wire_name_check(name, &at) == WIRE_NAME_FITS)
		offer(userdata, name, NULL);
}

/* Return: the answer, to be freed; NULL: there is none. */
static Upgraded__Wire__ControlMessage *ask(const struct line *line, Upgraded__Wire__Verb verb, const char *service)
{
	Upgraded__Wire__Request request = UPGRADED__WIRE__REQUEST__INIT;
	struct client_call call = { .socket_path = line->socket, .request = &request, .timeout_us = ASK_US };
	Upgraded__Wire__ControlMessage *message;
	struct why why;

	request.protocol = WIRE_PROTOCOL;
	request.verb = verb;
	request.service = wire_text(service);
	return client_call(&call, &message, &why) == CLIENT_ANSWERED ? message : NULL;
}

static void offer_services(struct line *line)
{
	Upgraded__Wire__ControlMessage *message = ask(line, UPGRADED__WIRE__VERB__VERB_LIST, NULL);

	if (!message)
		return;
	for (size_t i = 0; i < message->result->n_services; i++)
		offer_name(message->result->services[i]->name, line);
	upgraded__wire__control_message__free_unpacked(message, NULL);
}

static void offer_versions(struct line *line, const char *service, bool history_only)
{
	Upgraded__Wire__ControlMessage *message = ask(line, UPGRADED__WIRE__VERB__VERB_STATUS, service);

	if (!message)
		return;
	if (message->result->n_services == 1)
		complete_versions(message->result->services[0], history_only, offer_name, line);
	upgraded__wire__control_message__free_unpacked(message, NULL);
}

static void offer_generations(struct line *line, const char *service)
{
	Upgraded__Wire__ControlMessage *message = ask(line, UPGRADED__WIRE__VERB__VERB_IMAGES_LIST, service);
	char number[24], told[WIRE_NAME_MAX + 64];

	if (!message)
		return;
	for (size_t i = 0; i < message->result->n_images; i++) {
		const Upgraded__Wire__ImageInfo *image = message->result->images[i];
		size_t at;

		snprintf(number, sizeof(number), "%" PRIu64, image->generation);
		if (wire_name_check(image->version, &at) != WIRE_NAME_FITS)
			continue;
		snprintf(told, sizeof(told), "version %s", image->version);
		offer(line, number, told);
	}
	upgraded__wire__control_message__free_unpacked(message, NULL);
}

/* ---- the words so far ---- */

static bool verb_at(size_t i, struct args_verb *ret_verb)
{
	size_t n = 0;

	while (args_verb_at(n, ret_verb))
		n++;
	if (i < n)
		return args_verb_at(i, ret_verb);
	if (i - n >= N_OTHERS)
		return false;
	*ret_verb = others[i - n];
	return true;
}

/* Is @word among those of @list, which a blank parts? */
static bool among(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *p = list; p; p = strchr(p, ' '), p += p != NULL)
		if (strncmp(p, word, length) == 0 && (p[length] == ' ' || !p[length]))
			return true;
	return false;
}

/* Return: how many words of @name there are, if the first words of @line are these or, at its end, begin them; 0: another verb.
 * @ret_next: the word of the name that is still to come; empty: none. */
static size_t name_matches(const struct line *line, const char *name, char *ret_next, size_t size)
{
	size_t n = 0;

	*ret_next = '\0';
	while (*name) {
		size_t length = strcspn(name, " ");

		if (n == line->n_words) {
			snprintf(ret_next, size, "%.*s", (int)length, name);
			return n;
		}
		if (strlen(line->words[n]) != length || strncmp(line->words[n], name, length) != 0)
			return 0;
		n++;
		name += length + (name[length] == ' ');
	}
	return n;
}

/* The @n-th word of operands, without brackets. The last one counts for all that follow, if it ends in dots. */
static void operand_at(const char *operands, size_t n, char *ret_word, size_t size)
{
	const char *p = operands;

	*ret_word = '\0';
	for (size_t i = 0; *p; i++) {
		size_t length;

		p += strspn(p, " [");
		length = strcspn(p, " ]");
		if (i == n || (length > 3 && strncmp(p + length - 3, "...", 3) == 0)) {
			snprintf(ret_word, size, "%.*s", (int)length, p);
			return;
		}
		p += length + strspn(p + length, " ]");
	}
}

static bool takes_value(const char *name)
{
	bool takes = false;
	const char *option;

	for (size_t i = 0; (option = args_option_at(i, &takes)); i++)
		if (strcmp(option, name) == 0)
			return takes;
	return among("type limit key", name);
}

static void read_line(int argc, char **argv, struct line *line)
{
	const char *pending = NULL;

	for (int i = 0; i < argc - 1; i++) {
		const char *word = argv[i];

		if (pending) {
			if (strcmp(pending, "socket") == 0)
				line->socket = word;
			pending = NULL;
		} else if (strncmp(word, "--socket=", 9) == 0) {
			line->socket = word + 9;
		} else if (strncmp(word, "--", 2) == 0) {
			pending = !strchr(word, '=') && takes_value(word + 2) ? word + 2 : NULL;
		} else if (*word == '-' && word[1]) {
			pending = strcmp(word, "-o") == 0 ? "output" : strcmp(word, "-I") == 0 ? "socket" : NULL;
		} else if (line->n_words < WORDS_MAX) {
			line->words[line->n_words++] = word;
		}
	}
	line->current = argc > 0 ? argv[argc - 1] : "";
	line->option = pending;
}

/* ---- what could come ---- */

static const char *service_of(const struct line *line)
{
	size_t at = line->n_words && strcmp(line->words[0], "images") == 0 ? 2 : 1;

	return line->n_words > at ? line->words[at] : NULL;
}

static void offer_value(struct line *line, const char *name)
{
	const char *values = NULL;
	char word[24];

	for (size_t i = 0; i < N_OPTIONS; i++)
		if (strcmp(options[i].name, name) == 0)
			values = options[i].values;
	if (values && strcmp(values, FILES) == 0) {
		puts(FILES);
	} else if (values && *values == ':') {
		if (service_of(line))
			offer_versions(line, service_of(line), true);
	} else {
		for (const char *p = values; p; p = strchr(p, ' '), p += p != NULL) {
			snprintf(word, sizeof(word), "%.*s", (int)strcspn(p, " "), p);
			offer(line, word, NULL);
		}
	}
}

static bool goes_with(const char *option, const char *verb)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (strcmp(options[i].name, option) == 0 && options[i].verbs)
			return verb ? among(options[i].verbs, verb) : !among(options[i].verbs, "state");
	return true;
}

static void offer_option(struct line *line, const char *name, bool takes)
{
	char text[40];
	bool state = line->n_words && strcmp(line->words[0], "state") == 0;

	if (!goes_with(name, line->n_words ? line->words[0] : NULL) || (state && !among(STATE_OPTIONS, name)))
		return;
	snprintf(text, sizeof(text), "--%s%s", name, takes ? "=" : "");
	offer(line, text, NULL);
}

static void offer_options(struct line *line)
{
	const char *const of_state[] = { "type", "limit", "key" };
	const char *name;
	bool takes;

	for (size_t i = 0; (name = args_option_at(i, &takes)); i++)
		offer_option(line, name, takes);
	for (size_t i = 0; i < sizeof(of_state) / sizeof(of_state[0]); i++)
		offer_option(line, of_state[i], true);
}

static void offer_operand(struct line *line, const char *operand)
{
	if (strcmp(operand, "SERVICE") == 0)
		offer_services(line);
	else if (strcmp(operand, "VERSION") == 0 && service_of(line))
		offer_versions(line, service_of(line), false);
	else if (strcmp(operand, "GENERATION") == 0 && service_of(line))
		offer_generations(line, service_of(line));
	else if (among("FILE PROGRAM FILE...", operand))
		puts(FILES);
}

/* Has a verb before the @i-th the same word to offer? */
static bool is_offered(const struct line *line, size_t i, const char *next)
{
	struct args_verb verb;
	char other[32];

	for (size_t k = 0; k < i && verb_at(k, &verb); k++)
		if (name_matches(line, verb.name, other, sizeof(other)) == line->n_words && strcmp(other, next) == 0)
			return true;
	return false;
}

/* Words of verbs, and operands of the verb whose name has most words. */
static void offer_words(struct line *line)
{
	struct args_verb verb, best = { .name = NULL };
	char next[32], operand[32];
	size_t words, most = 0;

	for (size_t i = 0; verb_at(i, &verb); i++) {
		words = name_matches(line, verb.name, next, sizeof(next));
		if (*next && words == line->n_words) {
			/* What a verb of two words does says nothing of its first. */
			if (!is_offered(line, i, next))
				offer(line, next, words || strcmp(verb.name, next) == 0 ? verb.does : NULL);
		} else if (words > most) {
			best = verb;
			most = words;
		}
	}
	if (!best.name)
		return;
	operand_at(best.operands, line->n_words - most, operand, sizeof(operand));
	offer_operand(line, operand);
}

static void complete(int argc, char **argv)
{
	const char *socket = getenv(ARGS_SOCKET_ENV);
	struct line line = { .socket = socket && *socket ? socket : ARGS_SOCKET_DEFAULT };
	const char *value;
	char name[sizeof(line.prefix)];

	read_line(argc, argv, &line);
	value = strncmp(line.current, "--", 2) == 0 ? strchr(line.current, '=') : NULL;
	if (line.option) {
		offer_value(&line, line.option);
	} else if (value && (size_t)(value - line.current) + 1 < sizeof(line.prefix)) {
		snprintf(line.prefix, sizeof(line.prefix), "%.*s", (int)(value - line.current) + 1, line.current);
		snprintf(name, sizeof(name), "%.*s", (int)(value - line.current) - 2, line.current + 2);
		offer_value(&line, name);
	} else if (*line.current == '-') {
		offer_options(&line);
	} else {
		offer_words(&line);
	}
}

int complete_main(int argc, char **argv)
{
	static const struct {
		const char *shell, *script;
	} scripts[] = { { "bash", script_bash }, { "zsh", script_zsh }, { "fish", script_fish } };

	if (argc > 0 && strcmp(argv[0], "words") == 0) {
		complete(argc - 1, argv + 1);
		return WIRE_EXIT_DONE;
	}
	for (size_t i = 0; argc == 1 && i < sizeof(scripts) / sizeof(scripts[0]); i++)
		if (strcmp(argv[0], scripts[i].shell) == 0) {
			fputs(scripts[i].script, stdout);
			return WIRE_EXIT_DONE;
		}
	fputs("upgradectl: completion of which shell? bash, zsh or fish, as in: upgradectl completion bash\n", stderr);
	return WIRE_EXIT_USAGE;
}
