/* SPDX-License-Identifier: MIT */
/* Values that may name the version: the commands of Exec= and HealthCommand=, and the addresses of the other checks. A command is
 * split into words, with quotes as in a shell, but without a shell's expansions. */
#include "supervisor/unit/private.h"

#include "base/text_out.h"
#include "base/why.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
	return isspace((unsigned char)c);
}

/* What %@c stands for; NULL: nothing. */
static const char *expand(const struct unit *unit, const char *version, char c)
{
	switch (c) {
	case 'v':
		return version;
	case 'n':
		return unit->name;
	case '%':
		return "%";
	default:
		return NULL;
	}
}

/* Write what the percent sign at @*at and the character behind it stand for. */
static int put_expanded(const struct unit *unit, const struct unit_line *line, const char *version, const char **at,
			struct text_out *out, struct why *why)
{
	const char *value = expand(unit, version, *++*at);

	if (!value)
		return why_set(why, -EINVAL, "%s:%u: %s=: %%v, %%n and %%%% are known, not %%%.1s", unit->path, line->number,
			       line->key, *at);
	text_out_put(out, value);
	return 0;
}

/* Write the word at @*at, unquoted and expanded, and move @*at behind it. */
static int next_word(const struct unit *unit, const struct unit_line *line, const char *version, const char **at,
		     struct text_out *out, struct why *why)
{
	char quote = 0;

	for (; **at && (quote || !is_blank(**at)); ++*at) {
		char c = **at;

		if (quote && c == quote) {
			quote = 0;
		} else if (!quote && (c == '"' || c == '\'')) {
			quote = c;
		} else if (c == '\\' && quote != '\'' && (*at)[1]) {
			text_out_char(out, *++*at);
		} else if (c != '%') {
			text_out_char(out, c);
		} else {
			int r = put_expanded(unit, line, version, at, out, why);

			if (r < 0)
				return r;
		}
	}
	return quote ? why_set(why, -EINVAL, "%s:%u: %s=: a %c is not closed", unit->path, line->number, line->key, quote) : 0;
}

static int split_words(const struct unit *unit, const struct unit_line *line, const char *version, char **argv, struct why *why)
{
	const char *at = line->value;
	int r = 0;

	for (size_t n = 0; r == 0; n++) {
		struct text_out out = { 0 };

		while (is_blank(*at))
			at++;
		if (!*at)
			break;
		r = next_word(unit, line, version, &at, &out, why);
		if (r == 0 && text_out_take(&out, &argv[n], NULL) < 0)
			r = why_errno(why, -ENOMEM, "%s=", line->key);
		text_out_drop(&out);
	}
	return r;
}

int unit_words(const struct unit *unit, const struct unit_line *line, const char *version, char ***ret_argv, struct why *why)
{
	/* A word takes a character, and a blank lies between two of them. */
	char **argv = calloc(strlen(line->value) / 2 + 2, sizeof(char *));
	int r = argv ? split_words(unit, line, version, argv, why) : why_errno(why, -ENOMEM, "%s=", line->key);

	if (r == 0 && (!argv[0] || argv[0][0] != '/'))
		r = why_set(why, -EINVAL, "%s:%u: %s=: %s is not an absolute path", unit->path, line->number, line->key,
			    argv[0] && *argv[0] ? argv[0] : "nothing");
	if (r < 0) {
		unit_command_free(argv);
		return r;
	}
	*ret_argv = argv;
	return 0;
}

int unit_expand(const struct unit *unit, const struct unit_line *line, const char *version, char **ret_text, struct why *why)
{
	struct text_out out = { 0 };
	int r = 0;

	for (const char *at = line->value; *at && r == 0; at++) {
		if (*at == '%')
			r = put_expanded(unit, line, version, &at, &out, why);
		else
			text_out_char(&out, *at);
	}
	if (r == 0 && text_out_take(&out, ret_text, NULL) < 0)
		r = why_errno(why, -ENOMEM, "%s=", line->key);
	text_out_drop(&out);
	return r;
}

static struct unit_line exec_line(const struct unit *unit)
{
	return (struct unit_line){ .key = "Exec", .value = unit->exec, .number = unit->exec_line };
}

static bool is_alike(char *const *one, char *const *other)
{
	size_t i = 0;

	while (one[i] && other[i] && strcmp(one[i], other[i]) == 0)
		i++;
	return !one[i] && !other[i];
}

/* Two versions of a program that is nobody's here may be two configurations of it. */
int unit_command_check(const struct unit *unit, struct why *why)
{
	struct unit_line line = exec_line(unit);
	char **one = NULL, **other = NULL;
	int r = unit_words(unit, &line, "1", &one, why);

	if (r == 0)
		r = unit_words(unit, &line, "2", &other, why);
	if (r == 0 && unit->kind == UNIT_PLAIN && is_alike(one, other))
		r = why_set(why, -EINVAL, "%s:%u: Exec=: %%v must stand somewhere in the command: two versions are two programs, "
			    "or two configurations of one", unit->path, unit->exec_line);
	else if (r == 0 && unit->kind == UNIT_LIBRARY && strcmp(one[0], other[0]) == 0)
		r = why_set(why, -EINVAL,
			    "%s:%u: Exec=: the program's path must hold %%v: versions live at paths of their own, or "
			    "there is no way back",
			    unit->path, unit->exec_line);
	unit_command_free(one);
	unit_command_free(other);
	return r;
}

int unit_command(const struct unit *unit, const char *version, char ***ret_argv, struct why *why)
{
	struct unit_line line = exec_line(unit);

	return unit_words(unit, &line, version, ret_argv, why);
}

char **unit_command_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
	return NULL;
}
