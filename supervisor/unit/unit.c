/* SPDX-License-Identifier: MIT */
/* Reading a service file. libinih reads the INI; here is what the keys mean and what is wrong with a value, with its line. */
#include "supervisor/unit/unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/why.h"
#include "wire/journal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ini.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int unit_name_check(const char *what, const char *name, struct why *why)
{
	size_t at = 0;

	switch (wire_name_check(name, &at)) {
	case WIRE_NAME_EMPTY:
	case WIRE_NAME_LONG:
		return why_set(why, -EINVAL, "%s name of %zu characters: 1 to %u are allowed", what, strlen(name), UNIT_NAME_MAX);
	case WIRE_NAME_DOTTED:
		return why_set(why, -EINVAL, "%s name '%s': must not begin with a dot", what, name);
	case WIRE_NAME_CHARACTER:
		return why_set(why, -EINVAL, "%s name: character %zu is not one of A-Z a-z 0-9 . _ @ -", what, at + 1);
	case WIRE_NAME_FITS:
		break;
	}
	return 0;
}

int unit_duration(const char *text, uint64_t *ret_us)
{
	static const struct {
		const char *suffix;
		uint64_t us;
	} suffixes[] = { { "", USEC_PER_SEC },	    { "us", 1 },		   { "ms", USEC_PER_MSEC },
			 { "s", USEC_PER_SEC },	    { "min", 60 * USEC_PER_SEC }, { "h", 3600 * USEC_PER_SEC },
			 { "d", 24 * 3600 * USEC_PER_SEC } };
	char *end;
	uint64_t n;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		if (strcmp(end, suffixes[i].suffix) != 0)
			continue;
		/* A year is more than anyone waits, and keeps sums of deadlines far from overflow. */
		if (n > 366ULL * 24 * 3600 * USEC_PER_SEC / suffixes[i].us)
			return -EINVAL;
		*ret_us = n * suffixes[i].us;
		return 0;
	}
	return -EINVAL;
}

bool unit_rollback_parse(const char *text, enum unit_rollback *ret)
{
	for (int i = ROLLBACK_AUTO; i <= ROLLBACK_NONE; i++) {
		if (strcmp(text, unit_rollback_name((enum unit_rollback)i)) == 0) {
			*ret = (enum unit_rollback)i;
			return true;
		}
	}
	return false;
}

const char *unit_rollback_name(enum unit_rollback rollback)
{
	static const char *const names[] = {
		[ROLLBACK_AUTO] = "auto", [ROLLBACK_PARKED] = "parked", [ROLLBACK_IMAGE] = "image", [ROLLBACK_NONE] = "none"
	};
	return names[rollback];
}

/* ---- values ---- */

struct key {
	const char *name;
	const char *expects; /* for the message when the value is bad */
	int (*set)(struct unit *unit, const struct key *key, const char *value);
	size_t offset;
};

static void *field(struct unit *unit, const struct key *key)
{
	return (char *)unit + key->offset;
}

static int set_string(struct unit *unit, const struct key *key, const char *value)
{
	char **at = field(unit, key);
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*at);
	*at = copy;
	return *value ? 0 : -EINVAL;
}

static int set_version(struct unit *unit, const struct key *key, const char *value)
{
	return unit_name_check("version", value, NULL) < 0 ? -EINVAL : set_string(unit, key, value);
}

static int set_directory(struct unit *unit, const struct key *key, const char *value)
{
	return *value == '/' ? set_string(unit, key, value) : -EINVAL;
}

static int set_user(struct unit *unit, const struct key *key, const char *value)
{
	return getpwnam(value) ? set_string(unit, key, value) : -EINVAL;
}

static int set_group(struct unit *unit, const struct key *key, const char *value)
{
	return getgrnam(value) ? set_string(unit, key, value) : -EINVAL;
}

static int set_duration(struct unit *unit, const struct key *key, const char *value)
{
	return unit_duration(value, field(unit, key));
}

static int set_positive_duration(struct unit *unit, const struct key *key, const char *value)
{
	uint64_t us;

	if (unit_duration(value, &us) < 0 || us == 0)
		return -EINVAL;
	*(uint64_t *)field(unit, key) = us;
	return 0;
}

static int set_rollback(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	return unit_rollback_parse(value, &unit->rollback) ? 0 : -EINVAL;
}

static int set_dirty(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	unit->on_dirty = strcmp(value, "keep") == 0 ? DIRTY_KEEP : DIRTY_RESET;
	return strcmp(value, "keep") == 0 || strcmp(value, "reset") == 0 ? 0 : -EINVAL;
}

bool unit_verify_parse(const char *text, enum unit_verify *ret)
{
	*ret = strcmp(text, "roundtrip") == 0 ? VERIFY_ROUNDTRIP : VERIFY_NONE;
	return *ret == VERIFY_ROUNDTRIP || strcmp(text, "none") == 0;
}

static int set_verify(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	return unit_verify_parse(value, &unit->verify) ? 0 : -EINVAL;
}

static int set_restart(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	unit->restart = strcmp(value, "no") == 0 ? RESTART_NO : RESTART_ON_FAILURE;
	return strcmp(value, "no") == 0 || strcmp(value, "on-failure") == 0 ? 0 : -EINVAL;
}

int unit_size(const char *text, uint64_t *ret_bytes)
{
	static const char suffixes[] = "KMGT";
	unsigned shift = 0;
	uint64_t n;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (*end && end[1] == 0 && strchr(suffixes, *end))
		shift = 10 * (unsigned)(strchr(suffixes, *end) - suffixes + 1);
	else if (*end)
		return -EINVAL;
	if (errno || n > UINT64_MAX >> 1 >> shift)
		return -EINVAL;
	*ret_bytes = n << shift;
	return 0;
}

static int set_size(struct unit *unit, const struct key *key, const char *value)
{
	return unit_size(value, field(unit, key));
}

/* What the format has 32 bits for. */
static int set_small_size(struct unit *unit, const struct key *key, const char *value)
{
	uint64_t n;

	if (unit_size(value, &n) < 0 || n == 0 || n > UINT32_MAX)
		return -EINVAL;
	*(uint64_t *)field(unit, key) = n;
	return 0;
}

static int set_journal_size(struct unit *unit, const struct key *key, const char *value)
{
	uint64_t n;

	if (unit_size(value, &n) < 0 || n < JOURNAL_BYTES_MIN)
		return -EINVAL;
	*(uint64_t *)field(unit, key) = n;
	return 0;
}

static int set_bool(struct unit *unit, const struct key *key, const char *value)
{
	*(bool *)field(unit, key) = strcmp(value, "yes") == 0;
	return strcmp(value, "yes") == 0 || strcmp(value, "no") == 0 ? 0 : -EINVAL;
}

static int set_level(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const levels[] = { "work", "request", "protocol" };

	(void)key;
	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(value, levels[i]) == 0) {
			unit->level = i + 1;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_failures(struct unit *unit, const struct key *key, const char *value)
{
	uint64_t n;

	(void)key;
	if (unit_size(value, &n) < 0 || n < 1 || n > 1000)
		return -EINVAL;
	unit->health_failures = (unsigned)n;
	return 0;
}

static int set_nofile(struct unit *unit, const struct key *key, const char *value)
{
	char *end;
	unsigned long n;

	(void)key;
	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || end == value || *end || n < 16 || n > 10000000)
		return -EINVAL;
	unit->limit_nofile = (unsigned)n;
	return 0;
}

static int set_count(struct unit *unit, const struct key *key, const char *value)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || *value < '0' || *value > '9' || *end || n > 1000)
		return -EINVAL;
	*(unsigned *)field(unit, key) = (unsigned)n;
	return 0;
}

static int set_environment(struct unit *unit, const struct key *key, const char *value)
{
	char **grown, *copy;

	(void)key;
	if (!strchr(value, '=') || *value == '=')
		return -EINVAL;
	grown = realloc(unit->environment, (unit->n_environment + 2) * sizeof(char *));
	if (!grown)
		return -ENOMEM;
	unit->environment = grown;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	grown[unit->n_environment++] = copy;
	grown[unit->n_environment] = NULL;
	return 0;
}

static int set_percent(struct unit *unit, const struct key *key, const char *value)
{
	char *end;
	unsigned long n;

	if (!isdigit((unsigned char)*value))
		return -EINVAL;
	n = strtoul(value, &end, 10);
	if (*end == '%')
		end++;
	if (*end || n > 100)
		return -EINVAL;
	*(unsigned *)field(unit, key) = (unsigned)n;
	return 0;
}

#define DURATION "a duration such as 300ms, 5s, 2min"
#define AT(member) __builtin_offsetof(struct unit, member)

static const struct key keys[] = {
	{ "Exec", "a command", set_string, AT(exec) },
	{ "Version", "a version name of A-Z a-z 0-9 . _ @ -", set_version, AT(version) },
	{ "User", "a user of this machine", set_user, AT(user) },
	{ "Group", "a group of this machine", set_group, AT(group) },
	{ "WorkingDirectory", "an absolute path", set_directory, AT(working_directory) },
	{ "Environment", "NAME=value (one for each line)", set_environment, 0 },
	{ "StartTimeout", DURATION ", not 0", set_positive_duration, AT(start_timeout_us) },
	{ "QuiesceTimeout", DURATION ", not 0", set_positive_duration, AT(quiesce_timeout_us) },
	{ "TransferTimeout", DURATION ", not 0", set_positive_duration, AT(transfer_timeout_us) },
	{ "StopTimeout", DURATION ", not 0", set_positive_duration, AT(stop_timeout_us) },
	{ "ImageTimeout", DURATION ", not 0", set_positive_duration, AT(image_timeout_us) },
	{ "HealthInterval", DURATION ", not 0", set_positive_duration, AT(health_interval_us) },
	{ "HealthTimeout", DURATION ", not 0", set_positive_duration, AT(health_timeout_us) },
	{ "HealthCheckTimeout", DURATION ", not 0", set_positive_duration, AT(health_check_timeout_us) },
	{ "HealthFailures", "a number from 1 to 1000", set_failures, 0 },
	{ "Bake", DURATION, set_duration, AT(bake_us) },
	{ "RestartDelay", DURATION, set_duration, AT(restart_delay_us) },
	{ "ImagesKeep", "a number up to 1000", set_count, AT(images.keep) },
	{ "ImagesMaxAge", "a duration such as 12h, 7d; 0: no limit", set_duration, AT(images.max_age_us) },
	{ "ImagesMaxSize", "a size such as 20G; 0: no limit", set_size, AT(images.max_size_bytes) },
	{ "Rollback", "auto, parked, image or none", set_rollback, 0 },
	{ "OnDirtyConnection", "reset or keep", set_dirty, 0 },
	{ "Journal", "yes or no", set_bool, AT(journal) },
	{ "JournalSize", "a size from 64K, such as 256M", set_journal_size, AT(journal_bytes) },
	{ "StateRecordMax", "a size from 1 below 4G, such as 64M", set_small_size, AT(state_record_max) },
	{ "StateTypesMax", "a number from 1", set_small_size, AT(state_types_max) },
	{ "StateMax", "a size such as 20G; 0: no limit", set_size, AT(state_max) },
	{ "MemoryLow", "a size such as 512M; 0: never", set_size, AT(memory_low_bytes) },
	{ "MemoryPressure", "a percentage from 0 to 100; 0: never", set_percent, AT(memory_pressure_percent) },
	{ "Verify", "none or roundtrip", set_verify, 0 },
	{ "RequireImage", "yes or no", set_bool, AT(require_image) },
	{ "Restart", "on-failure or no", set_restart, 0 },
	{ "QuiesceLevel", "work, request or protocol", set_level, 0 },
	{ "LimitNOFILE", "a number from 16", set_nofile, 0 },
};

/* ---- the file ---- */

struct parse {
	struct unit *unit;
	const char *path;
	const char *at; /* the rest of the text */
	struct why *why;
	int line;
	int rc;
};

/* libinih's fgets(): hands out a line and counts it, as the library does not tell its handler which one it is at. */
static char *next_line(char *buffer, int size, void *user)
{
	struct parse *parse = user;
	size_t n = strcspn(parse->at, "\n");

	if (parse->rc < 0 || !*parse->at)
		return NULL;
	parse->line++;
	if (n + 2 > (size_t)size) {
		parse->rc = why_set(parse->why, -EINVAL, "%s:%d: a line of %zu characters", parse->path, parse->line, n);
		return NULL;
	}
	n += parse->at[n] == '\n';
	memcpy(buffer, parse->at, n);
	buffer[n] = 0;
	parse->at += n;
	return buffer;
}

/* Keys whose values say by themselves what is wrong with them. Return: true if @line is of one of them. */
static bool take_check(struct parse *parse, const struct unit_line *line)
{
	for (int kind = CHECK_COMMAND; kind <= CHECK_TCP; kind++) {
		if (strcmp(line->key, unit_check_key((enum unit_check_kind)kind)) != 0)
			continue;
		parse->rc = unit_check_add(parse->unit, (enum unit_check_kind)kind, line, parse->why);
		return true;
	}
	return false;
}

static int on_value(void *user, const char *section, const char *name, const char *value)
{
	struct parse *parse = user;
	int line = parse->line;

	if (parse->rc < 0)
		return 0;
	if (!name || !value) /* a section line: its keys say what is wrong */
		return 1;
	if (strcmp(section, "Service") != 0) {
		parse->rc = why_set(parse->why, -EINVAL, "%s:%d: %s= stands in section [%s]; only [Service] is known", parse->path,
				    line, name, section);
		return 0;
	}
	if (take_check(parse, &(struct unit_line){ .key = name, .value = value, .number = (unsigned)line }))
		return parse->rc == 0;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(name, keys[i].name) != 0)
			continue;
		if (strcmp(name, "Exec") == 0)
			parse->unit->exec_line = (unsigned)line;
		parse->rc = keys[i].set(parse->unit, &keys[i], value);
		if (parse->rc < 0)
			why_set(parse->why, parse->rc, "%s:%d: %s=%s: expected %s", parse->path, line, name, value,
				keys[i].expects);
		return parse->rc == 0;
	}
	parse->rc = why_set(parse->why, -EINVAL, "%s:%d: unknown key %s=", parse->path, line, name);
	return 0;
}

static struct unit *unit_new(const char *name, const char *path)
{
	struct unit *unit = calloc(1, sizeof(*unit));

	if (!unit)
		return NULL;
	*unit = (struct unit){
		.path = strdup(path),
		.exec = strdup(""),
		.version = strdup(""),
		.user = strdup(""),
		.group = strdup(""),
		.working_directory = strdup("/"),
		.environment = calloc(1, sizeof(char *)),
		.start_timeout_us = 10 * USEC_PER_SEC,
		.quiesce_timeout_us = 2 * USEC_PER_SEC,
		.transfer_timeout_us = 30 * USEC_PER_SEC,
		.stop_timeout_us = 10 * USEC_PER_SEC,
		.image_timeout_us = 60 * USEC_PER_SEC,
		.health_interval_us = USEC_PER_SEC,
		.health_timeout_us = 5 * USEC_PER_SEC,
		.health_check_timeout_us = 2 * USEC_PER_SEC,
		.health_failures = 3,
		.bake_us = 30 * USEC_PER_SEC,
		.restart_delay_us = USEC_PER_SEC,
		.images = { .keep = UNIT_IMAGES_KEEP, .max_age_us = UNIT_IMAGES_MAX_AGE_US },
		.journal_bytes = JOURNAL_BYTES_DEFAULT,
		.level = 1,
		.memory_low_bytes = UINT64_C(256) << 20,
		.memory_pressure_percent = 40,
	};
	snprintf(unit->name, sizeof(unit->name), "%s", name);
	if (!unit->path || !unit->exec || !unit->version || !unit->user || !unit->group || !unit->working_directory ||
	    !unit->environment)
		return unit_free(unit);
	return unit;
}

struct unit *unit_free(struct unit *unit)
{
	if (!unit)
		return NULL;
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
	struct parse parse = { .unit = unit, .path = path, .at = text, .why = why };
	int bad;

	if (!unit)
		return why_errno(why, -ENOMEM, "%s", path);
	/* The library's compiled-in defaults cut lines at 200 characters and would read an indented key as more of the last. */
	ini_use_stack = false;
	ini_max_line = ini_initial_alloc = (int)UNIT_FILE_MAX + 2;
	ini_allow_multiline = false;
	ini_allow_inline_comments = false;
	ini_stop_on_first_error = true;
	bad = ini_parse_stream(next_line, &parse, on_value, &parse);
	if (parse.rc == 0 && bad != 0)
		parse.rc = why_set(why, -EINVAL, "%s:%d: neither [Section] nor Key=value", path, bad);
	if (parse.rc == 0 && !*unit->exec)
		parse.rc = why_set(why, -EINVAL, "%s: Exec= is missing", path);
	if (parse.rc == 0)
		parse.rc = unit_command_check(unit, why);
	if (parse.rc < 0) {
		unit_free(unit);
		return parse.rc;
	}
	*ret_unit = unit;
	return 0;
}

/* As text, with a NUL at its end: one byte less than @size at most. */
static int read_file(const char *path, char *buffer, size_t size, struct why *why)
{
	FD_CLEANUP int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t used = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return why_errno(why, -errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return why_set(why, -EINVAL, "%s: not a regular file", path);
	for (;;) {
		ssize_t n = read(fd, buffer + used, size - used);

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
