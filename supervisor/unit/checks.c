/* SPDX-License-Identifier: MIT */
/* HealthCommand=, HealthHTTP= and HealthTCP=. They are read and checked when the file is, so that a roll never finds a check that
 * it cannot use. Whether an address is one, libcurl says, which will connect to it later. */
#include "supervisor/unit/private.h"

#include "base/why.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *unit_check_key(enum unit_check_kind kind)
{
	static const char *const keys[] = {
		[CHECK_COMMAND] = "HealthCommand", [CHECK_HTTP] = "HealthHTTP", [CHECK_TCP] = "HealthTCP"
	};
	return keys[kind];
}

static struct unit_line line_of(const struct unit_check *check)
{
	return (struct unit_line){ .key = unit_check_key(check->kind), .value = check->value, .number = check->line };
}

/* Return: what is wrong with @url, in words, or NULL. */
static const char *fault_of(CURLU *parts, enum unit_check_kind kind, const char *url)
{
	char *scheme = NULL, *port = NULL, *user = NULL;
	CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, 0);
	const char *fault = NULL;

	if (code != CURLUE_OK)
		return curl_url_strerror(code);
	(void)curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
	(void)curl_url_get(parts, CURLUPART_PORT, &port, 0);
	(void)curl_url_get(parts, CURLUPART_USER, &user, 0);
	if (!scheme || strcmp(scheme, "http") != 0)
		fault = "not http://";
	else if (user)
		fault = "a user name is not taken";
	else if (port && strtoul(port, NULL, 10) == 0)
		fault = "nobody listens on port 0";
	else if (kind == CHECK_TCP && !port)
		fault = "the port is missing";
	curl_free(user);
	curl_free(port);
	curl_free(scheme);
	return fault;
}

static int check_url(const struct unit *unit, const struct unit_line *line, enum unit_check_kind kind, const char *url,
		     struct why *why)
{
	CURLU *parts = curl_url();
	const char *fault = parts ? fault_of(parts, kind, url) : "out of memory";

	curl_url_cleanup(parts);
	if (!fault)
		return 0;
	return why_set(why, -EINVAL, "%s:%u: %s=%s: %s (expected %s)", unit->path, line->number, line->key, line->value, fault,
		       kind == CHECK_TCP ? "host:port" : "http://host:port/path");
}

int unit_check_url(const struct unit *unit, const struct unit_check *check, const char *version, char **ret_url, struct why *why)
{
	struct unit_line line = line_of(check);
	char *text, *url = NULL;
	int r = unit_expand(unit, &line, version, &text, why);

	if (r < 0)
		return r;
	if (check->kind == CHECK_HTTP) {
		url = text;
	} else if (strpbrk(text, "/?#@")) {
		r = why_set(why, -EINVAL, "%s:%u: %s=%s: expected host:port", unit->path, line.number, line.key, line.value);
		free(text);
		return r;
	} else {
		/* Only host and port are used, whatever the scheme. */
		r = asprintf(&url, "http://%s", text) < 0 ? why_errno(why, -ENOMEM, "%s=", line.key) : 0;
		free(text);
		if (r < 0)
			return r;
	}
	r = check_url(unit, &line, check->kind, url, why);
	if (r < 0)
		free(url);
	else
		*ret_url = url;
	return r;
}

int unit_check_command(const struct unit *unit, const struct unit_check *check, const char *version, char ***ret_argv,
		       struct why *why)
{
	struct unit_line line = line_of(check);

	return unit_words(unit, &line, version, ret_argv, why);
}

static int check_usable(const struct unit *unit, const struct unit_check *check, const char *version, struct why *why)
{
	char **argv = NULL, *url = NULL;
	int r = check->kind == CHECK_COMMAND ? unit_check_command(unit, check, version, &argv, why) :
					       unit_check_url(unit, check, version, &url, why);

	unit_command_free(argv);
	free(url);
	return r;
}

int unit_checks_usable(const struct unit *unit, const char *version, struct why *why)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < unit->n_checks; i++)
		r = check_usable(unit, &unit->checks[i], version, why);
	return r;
}

int unit_check_add(struct unit *unit, enum unit_check_kind kind, const struct unit_line *line, struct why *why)
{
	struct unit_check check = { .kind = kind, .line = line->number };
	int r;

	if (unit->n_checks == UNIT_CHECKS_MAX)
		return why_set(why, -EINVAL, "%s:%u: %s=: more than %u checks", unit->path, line->number, line->key,
			       UNIT_CHECKS_MAX);
	check.value = strdup(line->value);
	if (!check.value)
		return why_errno(why, -ENOMEM, "%s", unit->path);
	/* Any version will do here; a roll asks again with its own. */
	r = check_usable(unit, &check, "1", why);
	if (r < 0)
		free(check.value);
	else
		unit->checks[unit->n_checks++] = check;
	return r;
}
