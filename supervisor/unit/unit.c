/* SPDX-License-Identifier: MIT */
/* Reading a service file, from the disk to a struct unit. libinih reads the INI format; keys.c knows what the keys mean.
 *
 * libinih is handed one line at a time, and the lines are counted here: its handler is not told which line it is at. */
#include "supervisor/unit/private.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/trust.h"
#include "base/why.h"
#include "wire/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_TIMEOUTS_MAX 10u /* StartTimeoutMax= by default */

struct parse {
	struct unit *unit;
	const char *at; /* the rest of the text */
	struct why *why;
	unsigned line;
	int rc;
};

/* libinih's fgets(): hands out the next line and counts it. */
static char *next_line(char *buffer, int size, void *user)
{
	struct parse *parse = user;
	size_t n = strcspn(parse->at, "\n");

	if (parse->rc < 0 || !*parse->at)
		return NULL;
	parse->line++;
	if (n + 2 > (size_t)size) {
		parse->rc = why_set(parse->why, -EINVAL, "%s:%u: a line of %zu characters", parse->unit->path, parse->line, n);
		return NULL;
	}
	n += parse->at[n] == '\n';
	memcpy(buffer, parse->at, n);
	buffer[n] = 0;
	parse->at += n;
	return buffer;
}

#define INI_LACKS_MEMORY (-2)

/* libinih's handler: it wants 1 to go on. */
static int on_value(void *user, const char *section, const char *name, const char *value)
{
	struct parse *parse = user;
	struct unit_line line = { .key = name, .value = value, .number = parse->line };

	if (parse->rc < 0)
		return 0;
	if (!name || !value) /* a section line: its keys say what is wrong */
		return 1;
	if (strcmp(section, "Service") == 0)
		parse->rc = unit_set(parse->unit, &line, parse->why);
	else
		parse->rc = why_set(parse->why, -EINVAL, "%s:%u: %s= stands in section [%s]; only [Service] is known",
				    parse->unit->path, line.number, name, section);
	return parse->rc == 0;
}

static struct unit *unit_new(const char *name, const char *path)
{
	struct unit *unit = calloc(1, sizeof(*unit));

	if (!unit)
		return NULL;
	*unit = (struct unit){
		.references = 1,
		.path = strdup(path),
		.exec = strdup(""),
		.version = strdup(""),
		.user = strdup(""),
		.group = strdup(""),
		.working_directory = strdup("/"),
		.environment = calloc(1, sizeof(char *)),
		.start_timeout_us = 10 * USEC_PER_SEC,
		.quiesce_timeout_us = 2 * USEC_PER_SEC,
		.child_timeout_us = 600 * USEC_PER_SEC,
		.transfer_timeout_us = 30 * USEC_PER_SEC,
		.stop_timeout_us = 10 * USEC_PER_SEC,
		.stop_signal = SIGTERM,
		.drain_timeout_us = 60 * USEC_PER_SEC,
		.image_timeout_us = 60 * USEC_PER_SEC,
		.health_interval_us = USEC_PER_SEC,
		.health_timeout_us = 5 * USEC_PER_SEC,
		.health_check_timeout_us = 2 * USEC_PER_SEC,
		.health_answers = true,
		.health_failures = 3,
		.bake_us = 30 * USEC_PER_SEC,
		.restart_delay_us = USEC_PER_SEC,
		.listen_backlog = 4096,
		.socket_mode = 0660,
		.image_limits = { .keep = UNIT_IMAGES_KEEP, .max_age_us = UNIT_IMAGES_MAX_AGE_US },
		.journal_bytes = JOURNAL_BYTES_DEFAULT,
		.level = 1,
		.memory_low_bytes = UINT64_C(256) << 20,
		.memory_pressure_percent = 40,
		.log_rate = 1000,
		.log_rate_bytes = UINT64_C(1) << 20,
	};
	snprintf(unit->name, sizeof(unit->name), "%s", name);
	if (!unit->path || !unit->exec || !unit->version || !unit->user || !unit->group || !unit->working_directory ||
	    !unit->environment)
		return unit_free(unit);
	return unit;
}

struct unit *unit_ref(struct unit *unit)
{
	if (unit)
		unit->references++;
	return unit;
}

uint64_t unit_start_limit(const struct unit *unit)
{
	uint64_t limit = unit->start_timeout_max_us ? unit->start_timeout_max_us : START_TIMEOUTS_MAX * unit->start_timeout_us;

	return limit > unit->start_timeout_us ? limit : unit->start_timeout_us;
}

uint64_t unit_start_patience(const struct unit *unit, uint64_t elapsed_us)
{
	uint64_t limit = unit_start_limit(unit), left = elapsed_us < limit ? limit - elapsed_us : 1;

	return left < unit->start_timeout_us ? left : unit->start_timeout_us;
}

struct unit *unit_free(struct unit *unit)
{
	if (!unit || --unit->references)
		return NULL;
	for (size_t i = 0; i < unit->n_settings; i++) {
		free(unit->settings[i].key);
		free(unit->settings[i].value);
	}
	free(unit->settings);
	for (size_t i = 0; i < unit->n_environment; i++)
		free(unit->environment[i]);
	free(unit->environment);
	for (size_t i = 0; i < unit->n_checks; i++)
		free(unit->checks[i].value);
	free(unit->working_directory);
	free(unit->group);
	free(unit->user);
	free(unit->version);
	free(unit->exec);
	free(unit->path);
	free(unit);
	return NULL;
}

int unit_parse(const char *name, const char *path, const char *text, struct unit **ret_unit, struct why *why)
{
	struct unit *unit = unit_new(name, path);
	struct parse parse = { .unit = unit, .at = text, .why = why };
	int bad;

	if (!unit)
		return why_errno(why, -ENOMEM, "%s", path);
	/* As Debian compiles it, libinih cuts lines at 200 characters, and takes an indented key for a part of the line before. */
	ini_use_stack = false;
	ini_max_line = ini_initial_alloc = (int)UNIT_FILE_MAX + 2;
	ini_allow_multiline = false;
	ini_allow_inline_comments = false;
	ini_stop_on_first_error = true;
	bad = ini_parse_stream(next_line, &parse, on_value, &parse);
	if (parse.rc == 0 && bad == INI_LACKS_MEMORY)
		parse.rc = why_errno(why, -ENOMEM, "%s", path);
	if (parse.rc == 0 && bad != 0)
		parse.rc = why_set(why, -EINVAL, "%s:%d: neither [Section] nor Key=value", path, bad);
	if (parse.rc == 0 && !*unit->exec)
		parse.rc = why_set(why, -EINVAL, "%s: Exec= is missing", path);
	if (parse.rc == 0 && unit->ambient && !*unit->user)
		parse.rc = why_set(why, -EINVAL, "%s: AmbientCapabilities= needs User=: root has them all", path);
	if (parse.rc == 0)
		parse.rc = unit_plain_settle(unit, why);
	if (parse.rc == 0)
		parse.rc = unit_command_check(unit, why);
	if (parse.rc < 0) {
		unit_free(unit);
		return parse.rc;
	}
	*ret_unit = unit;
	return 0;
}

int unit_parse_bytes(const char *name, const char *path, const void *data, size_t size, struct unit **ret_unit, struct why *why)
{
	char *text = strndup(size ? data : "", size);
	int r = text ? unit_parse(name, path, text, ret_unit, why) : why_errno(why, -ENOMEM, "%s", path);

	free(text);
	return r;
}

/* Read a whole file as text with a NUL at its end, so at most one byte less than @size. */
static int read_file(const char *path, char *buffer, size_t size, struct why *why)
{
	FD_CLEANUP int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t used = 0;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return why_errno(why, -errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return why_set(why, -EINVAL, "%s: not a regular file", path);
	/* Whoever can write it says what runs, and as whom. The file that was opened is looked at, and the way to it. */
	r = trust_stat(&st, path, why);
	if (r == 0)
		r = trust_path(path, why);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = read(fd, buffer + used, size - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return why_errno(why, -errno, "%s", path);
		if (n == 0)
			break;
		used += (size_t)n;
		if (used == size)
			return why_set(why, -EINVAL, "%s: larger than %u KiB", path, UNIT_FILE_MAX >> 10);
	}
	if (memchr(buffer, 0, used))
		return why_set(why, -EINVAL, "%s: holds a NUL byte: not a text file", path);
	buffer[used] = 0;
	return 0;
}

int unit_load(const char *config_dir, const char *name, struct unit **ret_unit, struct why *why)
{
	char *path, *text;
	int r;

	r = unit_name_check("service", name, why);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/%s" UNIT_SUFFIX, config_dir, name) < 0)
		return why_errno(why, -ENOMEM, "%s", name);
	text = malloc(UNIT_FILE_MAX + 1);
	r = text ? read_file(path, text, UNIT_FILE_MAX + 1, why) : why_errno(why, -ENOMEM, "%s", path);
	if (r == 0)
		r = unit_parse(name, path, text, ret_unit, why);
	free(text);
	free(path);
	return r;
}
