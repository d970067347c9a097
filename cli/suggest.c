/* SPDX-License-Identifier: MIT */
#include "cli/suggest.h"

#include "base/clock.h"
#include "base/why.h"
#include "cli/client.h"
#include "wire/wire.h"

#include <ctype.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 64u
#define ASK_US (2 * USEC_PER_SEC)

/* How many letters must be changed, added, left out, or exchanged with the next one. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1];
	size_t n = strlen(a), m = strlen(b);
	unsigned *before = rows[0], *last = rows[1], *now = rows[2];

	if (n > WORD_MAX || m > WORD_MAX)
		return UINT_MAX;
	for (size_t j = 0; j <= m; j++)
		before[j] = last[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *spare = before;

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

			best = last[j] + 1 < best ? last[j] + 1 : best;
			best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[m];
}

const char *suggest_word(const char *word, const char *const *words, size_t n)
{
	unsigned least = (unsigned)strlen(word) / 3 + 1, found;
	const char *best = NULL;
	bool is_one = false;

	for (size_t i = 0; i < n; i++) {
		found = distance(word, words[i]);
		if (found > least || found >= strlen(word))
			continue;
		is_one = !best || found < least;
		least = found;
		best = words[i];
	}
	return is_one ? best : NULL; /* of two nobody knows which */
}

/* ---- what there is ---- */

/* Return: release with upgraded__wire__control_message__free_unpacked(); NULL. */
static Upgraded__Wire__ControlMessage *ask(const struct args *args, Upgraded__Wire__Verb verb, const char *service)
{
	Upgraded__Wire__Request request = UPGRADED__WIRE__REQUEST__INIT;
	const struct client_call call = {
		.socket_path = args->socket_path, .host = args->host, .request = &request, .timeout_us = ASK_US
	};
	Upgraded__Wire__ControlMessage *message = NULL;

	request.protocol = WIRE_PROTOCOL;
	request.verb = verb;
	request.service = wire_text(service);
	return client_call(&call, &message, NULL) == CLIENT_ANSWERED ? message : NULL;
}

static void suggest_service(const struct args *args, char *buf, size_t size)
{
	Upgraded__Wire__ControlMessage *message = ask(args, UPGRADED__WIRE__VERB__VERB_LIST, "");
	const char *words[256] = { NULL }, *best;
	size_t n = 0;

	for (size_t i = 0; message && i < message->result->n_services && n < sizeof(words) / sizeof(words[0]); i++)
		words[n++] = message->result->services[i]->name;
	best = suggest_word(args->service, words, n);
	if (best)
		snprintf(buf, size, "did you mean %s?", best);
	if (message)
		upgraded__wire__control_message__free_unpacked(message, NULL);
}

/* The program of a service file's Exec=, as far as it can be looked for: with %v once. Return: false: there is none. */
static bool read_program(const char *path, char *program, size_t size)
{
	FILE *file = fopen(path, "re");
	char line[PATH_MAX + 64];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		const char *at = line + strspn(line, " \t");

		if (strncmp(at, "Exec", 4) != 0)
			continue;
		at += 4 + strspn(at + 4, " \t");
		if (*at++ != '=')
			continue;
		at += strspn(at, " \t");
		snprintf(program, size, "%.*s", (int)strcspn(at, " \t\n"), at);
		found = strstr(program, "%v") != NULL;
	}
	if (file)
		fclose(file);
	return found;
}

/* "/opt/web-%v" and "/opt/web-v2" -> "v2" */
static const char *version_of(const char *program, const char *path, char *buf, size_t size)
{
	const char *hole = strstr(program, "%v");
	size_t head = (size_t)(hole - program), tail = strlen(hole + 2), whole = strlen(path);

	if (whole < head + tail || whole - head - tail >= size)
		return "";
	snprintf(buf, size, "%.*s", (int)(whole - head - tail), path + head);
	return buf;
}

static void tell_versions(const struct args *args, const char *program, const glob_t *found, char *buf, size_t size)
{
	static char names[64][WORD_MAX + 1];
	const char *words[64] = { NULL }, *best;
	size_t n = 0, used = 0;

	for (size_t i = 0; i < found->gl_pathc && n < 64; i++) {
		const char *version = version_of(program, found->gl_pathv[i], names[n], sizeof(names[n]));

		if (!strcmp(version, args->version))
			return; /* it is there: that was not it */
		if (*version && name_check("version", version, NULL) == 0)
			words[n] = names[n], n++;
	}
	best = suggest_word(args->version, words, n);
	if (best)
		used = (size_t)snprintf(buf, size, "did you mean %s? ", best);
	for (size_t i = 0; i < n && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? " " : "versions there are: ", words[i]);
}

static void suggest_version(const struct args *args, char *buf, size_t size)
{
	Upgraded__Wire__ControlMessage *message = ask(args, UPGRADED__WIRE__VERB__VERB_STATUS, args->service);
	const char *file = message && message->result->n_services ? message->result->services[0]->unit_file : "";
	char program[PATH_MAX], pattern[PATH_MAX];
	glob_t found = { 0 };

	if (*file && read_program(file, program, sizeof(program))) {
		const char *hole = strstr(program, "%v");

		snprintf(pattern, sizeof(pattern), "%.*s*%s", (int)(hole - program), program, hole + 2);
		if (!strstr(hole + 2, "%") && glob(pattern, GLOB_ERR, NULL, &found) == 0)
			tell_versions(args, program, &found, buf, size);
		globfree(&found);
	}
	if (message)
		upgraded__wire__control_message__free_unpacked(message, NULL);
}

const char *suggest_after(const struct args *args, const Upgraded__Wire__Result *result, char *buf, size_t size)
{
	bool starts = args->verb == UPGRADED__WIRE__VERB__VERB_START || args->verb == UPGRADED__WIRE__VERB__VERB_ROLL ||
		      args->verb == UPGRADED__WIRE__VERB__VERB_PLAN;

	*buf = '\0';
	if (result->code == WIRE_EXIT_NO_SUCH_SERVICE && args->service)
		suggest_service(args, buf, size);
	else if (result->code != WIRE_EXIT_DONE && !result->roll && starts && args->service && args->version && !args->host)
		suggest_version(args, buf, size);
	return buf;
}
