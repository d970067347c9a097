/* SPDX-License-Identifier: MIT */
/* The keys of a service file: what each one's value means, and what to expect when a value is bad. */
#include "supervisor/unit/private.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/privileges.h"
#include "base/text_out.h"
#include "base/why.h"
#include "wire/journal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int set_command(struct unit *unit, const struct key *key, const char *value)
{
	struct unit_line line = { key->name, value, 0 };
	char **argv;

	/* Any version will do here; it is expanded when it is run. */
	if (unit_words(unit, &line, "1", &argv, NULL) < 0)
		return -EINVAL;
	unit_command_free(argv);
	return set_string(unit, key, value);
}

static int set_version(struct unit *unit, const struct key *key, const char *value)
{
	return unit_name_check("version", value, NULL) < 0 ? -EINVAL : set_string(unit, key, value);
}

static int set_directory(struct unit *unit, const struct key *key, const char *value)
{
	return *value == '/' ? set_string(unit, key, value) : -EINVAL;
}

/* Whether there is such a user or group is not asked here: the answer may be a network away. A process's start finds out. */
static int set_account(struct unit *unit, const struct key *key, const char *value)
{
	return strpbrk(value, " \t:/,") ? -EINVAL : set_string(unit, key, value);
}

static int set_duration(struct unit *unit, const struct key *key, const char *value)
{
	return unit_duration(value, field(unit, key));
}

/* What is done so often must leave time for everything else. */
#define INTERVAL_MIN_US (10 * USEC_PER_MSEC)

static int set_duration_from(struct unit *unit, const struct key *key, const char *value, uint64_t least_us)
{
	uint64_t us;

	if (unit_duration(value, &us) < 0 || us < least_us)
		return -EINVAL;
	*(uint64_t *)field(unit, key) = us;
	return 0;
}

static int set_positive_duration(struct unit *unit, const struct key *key, const char *value)
{
	return set_duration_from(unit, key, value, 1);
}

static int set_interval(struct unit *unit, const struct key *key, const char *value)
{
	return set_duration_from(unit, key, value, INTERVAL_MIN_US);
}

static int set_interval_or_none(struct unit *unit, const struct key *key, const char *value)
{
	uint64_t us;
	bool is_none = unit_duration(value, &us) == 0 && us == 0;

	return is_none ? set_duration(unit, key, value) : set_interval(unit, key, value);
}

static int set_rollback(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	return unit_rollback_parse(value, &unit->rollback) ? 0 : -EINVAL;
}

/* Return: the index of @value in @words; -EINVAL if it is none of them. */
static int choose(const char *value, const char *const words[])
{
	for (int i = 0; words[i]; i++)
		if (strcmp(value, words[i]) == 0)
			return i;
	return -EINVAL;
}

static int set_unanswered(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = { "keep", "restart", NULL };
	int i = choose(value, words);

	(void)key;
	if (i >= 0)
		unit->ends_unanswered = i == 1;
	return i < 0 ? i : 0;
}

static int set_dirty(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = { [DIRTY_RESET] = "reset", [DIRTY_KEEP] = "keep", NULL };
	int i = choose(value, words);

	(void)key;
	if (i >= 0)
		unit->on_dirty = (enum unit_dirty)i;
	return i < 0 ? i : 0;
}

static int set_journal(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = {
		[UNIT_JOURNAL_NO] = "no", [UNIT_JOURNAL_YES] = "yes", [UNIT_JOURNAL_ALWAYS] = "always", NULL
	};
	int i = choose(value, words);

	(void)key;
	if (i >= 0)
		unit->journal = (enum unit_journal)i;
	return i < 0 ? i : 0;
}

static int set_restart(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = { [RESTART_ON_FAILURE] = "on-failure", [RESTART_NO] = "no", NULL };
	int i = choose(value, words);

	(void)key;
	if (i >= 0)
		unit->restart = (enum unit_restart)i;
	return i < 0 ? i : 0;
}

static int set_start(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = { "by-order", "boot", NULL };
	int i = choose(value, words);

	(void)key;
	if (i >= 0)
		unit->starts_at_boot = i == 1;
	return i < 0 ? i : 0;
}

static const char *const children_words[] = {
	[CHILDREN_HAND_OVER] = "hand-over", [CHILDREN_END] = "end", [CHILDREN_KEEP] = "keep", NULL
};

const char *unit_children_name(enum unit_children children)
{
	return children_words[children];
}

static int set_children(struct unit *unit, const struct key *key, const char *value)
{
	int i = choose(value, children_words);

	(void)key;
	if (i >= 0)
		unit->children = (enum unit_children)i;
	return i < 0 ? i : 0;
}

static int set_level(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = { "work", "request", "protocol", NULL };
	int i = choose(value, words);

	(void)key;
	if (i >= 0)
		unit->level = (unsigned)i + 1;
	return i < 0 ? i : 0;
}

static int set_bool(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = { "no", "yes", NULL };
	int i = choose(value, words);

	if (i >= 0)
		*(bool *)field(unit, key) = i == 1;
	return i < 0 ? i : 0;
}

static int set_choice(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = { "no", "yes", NULL };
	int i = choose(value, words);

	if (i >= 0)
		*(enum unit_choice *)field(unit, key) = i == 1 ? CHOICE_YES : CHOICE_NO;
	return i < 0 ? i : 0;
}

/* "CAP_CHOWN CAP_KILL", "none", "all"; all but some of them: "~CAP_SYS_ADMIN". */
static int set_capabilities(struct unit *unit, const struct key *key, const char *value)
{
	bool but = *value == '~';
	char name[64];
	uint64_t set = 0;

	for (value += but; *value; value += strspn(value, " \t")) {
		size_t n = strcspn(value, " \t");
		int number;

		if (n >= sizeof(name))
			return -EINVAL;
		memcpy(name, value, n);
		name[n] = 0;
		value += n;
		number = capability_number(name);
		if (number >= 0)
			set |= UINT64_C(1) << number;
		else if (strcmp(name, "all") == 0)
			set = UINT64_MAX;
		else if (strcmp(name, "none") != 0)
			return -EINVAL;
	}
	*(uint64_t *)field(unit, key) = but ? ~set : set;
	return 0;
}

static int set_bounding(struct unit *unit, const struct key *key, const char *value)
{
	unit->sets_bounding = true;
	return set_capabilities(unit, key, value);
}

static int set_other_readers(struct unit *unit, const struct key *key, const char *value)
{
	static const char *const words[] = { "refuse", "allow", NULL };
	int i = choose(value, words);

	(void)key;
	if (i >= 0)
		unit->other_readers = i == 1;
	return i < 0 ? i : 0;
}

static int set_verify(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	return unit_verify_parse(value, &unit->verify) ? 0 : -EINVAL;
}

static int set_size(struct unit *unit, const struct key *key, const char *value)
{
	return unit_size(value, field(unit, key));
}

/* The state format has 32 bits for it. */
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

static int number(const char *value, unsigned long min, unsigned long max, unsigned *ret)
{
	unsigned long n;
	char *end;

	if (!isdigit((unsigned char)*value))
		return -EINVAL;
	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || *end || n < min || n > max)
		return -EINVAL;
	*ret = (unsigned)n;
	return 0;
}

static int set_count(struct unit *unit, const struct key *key, const char *value)
{
	return number(value, 0, 1000, field(unit, key));
}

static int set_positive_count(struct unit *unit, const struct key *key, const char *value)
{
	return number(value, 1, 1000, field(unit, key));
}

static int set_nofile(struct unit *unit, const struct key *key, const char *value)
{
	return number(value, 16, 10000000, field(unit, key));
}

static int set_backlog(struct unit *unit, const struct key *key, const char *value)
{
	return number(value, 1, 1000000, field(unit, key));
}

static int set_mode(struct unit *unit, const struct key *key, const char *value)
{
	char *end;
	unsigned long mode;

	if (*value < '0' || *value > '7')
		return -EINVAL;
	mode = strtoul(value, &end, 8);
	if (*end || mode > 0777)
		return -EINVAL;
	*(unsigned *)field(unit, key) = (unsigned)mode;
	return 0;
}

static int set_lines(struct unit *unit, const struct key *key, const char *value)
{
	unsigned n;

	if (number(value, 0, 10000000, &n) < 0)
		return -EINVAL;
	*(uint64_t *)field(unit, key) = n;
	return 0;
}

/* Less would not let a single long line through. */
static int set_rate_bytes(struct unit *unit, const struct key *key, const char *value)
{
	uint64_t n;

	if (unit_size(value, &n) < 0 || (n != 0 && n < 4096))
		return -EINVAL;
	*(uint64_t *)field(unit, key) = n;
	return 0;
}

static int set_oom(struct unit *unit, const struct key *key, const char *value)
{
	bool negative = *value == '-';
	unsigned n;

	(void)key;
	if (number(value + negative, 0, CHILD_OOM_FIRST, &n) < 0)
		return -EINVAL;
	unit->sets_oom = true;
	unit->oom_score_adj = negative ? -(int)n : (int)n;
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

static int set_kind(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	return unit_kind_parse(value, &unit->kind) ? 0 : -EINVAL;
}

static int set_ready(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	return unit_ready_parse(value, &unit->ready) ? 0 : -EINVAL;
}

static int set_stop_signal(struct unit *unit, const struct key *key, const char *value)
{
	(void)key;
	return unit_signal_parse(value, &unit->stop_signal) ? 0 : -EINVAL;
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
	{ "Kind", "library or plain", set_kind, 0 },
	{ "Ready", "notify, accepts, health or started", set_ready, 0 },
	{ "StopSignal", "TERM, QUIT, INT, HUP, USR1, USR2 or WINCH", set_stop_signal, 0 },
	{ "DrainTimeout", DURATION ", not 0", set_positive_duration, AT(drain_timeout_us) },
	{ "Watchdog", DURATION ", 10ms or more; 0: none", set_interval_or_none, AT(watchdog_us) },
	{ "Version", "a version name of A-Z a-z 0-9 . _ @ -", set_version, AT(version) },
	{ "User", "a user of this machine", set_account, AT(user) },
	{ "Group", "a group of this machine", set_account, AT(group) },
	{ "NoNewPrivileges", "yes or no", set_choice, AT(no_new_privileges) },
	{ "CapabilityBoundingSet", "names such as CAP_KILL, all or none; ~ before them: all but these", set_bounding,
	  AT(bounding) },
	{ "AmbientCapabilities", "names such as CAP_NET_BIND_SERVICE", set_capabilities, AT(ambient) },
	{ "WorkingDirectory", "an absolute path", set_directory, AT(working_directory) },
	{ "Environment", "NAME=value (one for each line)", set_environment, 0 },
	{ "ListenBacklog", "a number from 1 to 1000000", set_backlog, AT(listen_backlog) },
	{ "SocketMode", "a mode in octal such as 0660", set_mode, AT(socket_mode) },
	{ "StartTimeout", DURATION ", not 0", set_positive_duration, AT(start_timeout_us) },
	{ "StartTimeoutMax", DURATION "; 0: ten times StartTimeout=", set_duration, AT(start_timeout_max_us) },
	{ "QuiesceTimeout", DURATION ", not 0", set_positive_duration, AT(quiesce_timeout_us) },
	{ "ChildTimeout", DURATION ", not 0", set_positive_duration, AT(child_timeout_us) },
	{ "TransferTimeout", DURATION ", not 0", set_positive_duration, AT(transfer_timeout_us) },
	{ "StopTimeout", DURATION ", not 0", set_positive_duration, AT(stop_timeout_us) },
	{ "ImageTimeout", DURATION ", not 0", set_positive_duration, AT(image_timeout_us) },
	{ "HealthInterval", DURATION ", 10ms or more", set_interval, AT(health_interval_us) },
	{ "HealthTimeout", DURATION ", not 0", set_positive_duration, AT(health_timeout_us) },
	{ "HealthCheckTimeout", DURATION ", not 0", set_positive_duration, AT(health_check_timeout_us) },
	{ "Heartbeat", DURATION ", 10ms or more; 0: none", set_interval_or_none, AT(heartbeat_us) },
	{ "Unanswered", "keep or restart", set_unanswered, 0 },
	{ "HealthAnswers", "yes or no", set_bool, AT(health_answers) },
	{ "HealthFailures", "a number from 1 to 1000", set_positive_count, AT(health_failures) },
	{ "Bake", DURATION, set_duration, AT(bake_us) },
	{ "RestartDelay", DURATION, set_duration, AT(restart_delay_us) },
	{ "ImagesKeep", "a number up to 1000", set_count, AT(image_limits.keep) },
	{ "ImagesMaxAge", "a duration such as 12h, 7d; 0: no limit", set_duration, AT(image_limits.max_age_us) },
	{ "ImagesMaxSize", "a size such as 20G; 0: no limit", set_size, AT(image_limits.max_size_bytes) },
	{ "Rollback", "auto, parked, image or none", set_rollback, 0 },
	{ "OnRollback", "a command whose program is an absolute path", set_command, AT(on_rollback) },
	{ "OnDirtyConnection", "reset or keep", set_dirty, 0 },
	{ "OtherReaders", "refuse or allow", set_other_readers, 0 },
	{ "Journal", "yes, no or always", set_journal, 0 },
	{ "JournalSize", "a size from 64K, such as 256M", set_journal_size, AT(journal_bytes) },
	{ "StateRecordMax", "a size from 1 below 4G, such as 64M", set_small_size, AT(state_record_max) },
	{ "StateTypesMax", "a number from 1", set_small_size, AT(state_types_max) },
	{ "StateMax", "a size such as 20G; 0: no limit", set_size, AT(state_max) },
	{ "MemoryLow", "a size such as 512M; 0: never", set_size, AT(memory_low_bytes) },
	{ "MemoryPressure", "a percentage from 0 to 100; 0: never", set_percent, AT(memory_pressure_percent) },
	{ "Verify", "none or roundtrip", set_verify, 0 },
	{ "RequireImage", "yes or no", set_bool, AT(require_image) },
	{ "Start", "boot or by-order", set_start, 0 },
	{ "Restart", "on-failure or no", set_restart, 0 },
	{ "QuiesceLevel", "work, request or protocol", set_level, 0 },
	{ "LimitNOFILE", "a number from 16", set_nofile, AT(limit_nofile) },
	{ "Children", "hand-over, end or keep", set_children, 0 },
	{ "LogRate", "a number of lines a second, such as 1000; 0: no limit", set_lines, AT(log_rate) },
	{ "LogRateBytes", "a size from 4K, a second; 0: no limit", set_rate_bytes, AT(log_rate_bytes) },
	{ "OOMScoreAdjust", "a number from -1000 to 1000", set_oom, 0 },
};

_Static_assert(sizeof(keys) / sizeof(keys[0]) + 4 <= UNIT_KEYS_MAX, "callers give room for UNIT_KEYS_MAX keys");

/* This and the checks of health add up, and say by themselves what is wrong with their values. */
#define LISTEN "Listen"

/* Return: HealthCommand=, HealthHTTP= or HealthTCP=; -1: it is none of them. */
static int check_kind(const char *name)
{
	for (int kind = CHECK_COMMAND; kind <= CHECK_TCP; kind++)
		if (strcmp(name, unit_check_key((enum unit_check_kind)kind)) == 0)
			return kind;
	return -1;
}

static int set(struct unit *unit, const struct unit_line *line, struct why *why)
{
	int kind = check_kind(line->key);
	int r;

	if (strcmp(line->key, LISTEN) == 0)
		return unit_listen_add(unit, line, why);
	if (kind >= 0)
		return unit_check_add(unit, (enum unit_check_kind)kind, line, why);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(line->key, keys[i].name) != 0)
			continue;
		if (strcmp(line->key, "Exec") == 0)
			unit->exec_line = line->number;
		r = keys[i].set(unit, &keys[i], line->value);
		if (r == -ENOMEM)
			return why_errno(why, r, "%s:%u: %s=", unit->path, line->number, line->key);
		return r == 0 ? 0 : why_set(why, r, "%s:%u: %s=%s: expected %s", unit->path, line->number, line->key, line->value,
					    keys[i].expects);
	}
	return why_set(why, -EINVAL, "%s:%u: unknown key %s=", unit->path, line->number, line->key);
}

static int note(struct unit *unit, const struct unit_line *line)
{
	struct unit_setting *grown = reallocarray(unit->settings, unit->n_settings + 1, sizeof(*grown)), *setting;

	if (!grown)
		return -ENOMEM;
	unit->settings = grown;
	setting = &grown[unit->n_settings++];
	*setting = (struct unit_setting){ .key = strdup(line->key), .value = strdup(line->value) };
	return setting->key && setting->value ? 0 : -ENOMEM;
}

int unit_set(struct unit *unit, const struct unit_line *line, struct why *why)
{
	int r = set(unit, line, why);

	return r == 0 && note(unit, line) < 0 ? why_errno(why, -ENOMEM, "%s", unit->path) : r;
}

/* ---- two files compared ---- */

/* Return: the first setting of @key from @at on; NULL: there is none. */
static const struct unit_setting *setting_of(const struct unit *unit, const char *key, size_t at, size_t *ret_next)
{
	for (; at < unit->n_settings; at++) {
		if (strcmp(unit->settings[at].key, key) == 0) {
			*ret_next = at + 1;
			return &unit->settings[at];
		}
	}
	return NULL;
}

bool unit_names(const struct unit *unit, const char *key)
{
	size_t next;

	return setting_of(unit, key, 0, &next) != NULL;
}

static bool is_alike(const struct unit *a, const struct unit *b, const char *key)
{
	size_t at_a = 0, at_b = 0;

	for (;;) {
		const struct unit_setting *one = setting_of(a, key, at_a, &at_a), *other = setting_of(b, key, at_b, &at_b);

		if (!one || !other)
			return !one && !other;
		if (strcmp(one->value, other->value) != 0)
			return false;
	}
}

size_t unit_differs(const struct unit *a, const struct unit *b, const char *ret_keys[])
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(keys[i].name, "Version") != 0 && strcmp(keys[i].name, "Start") != 0 && !is_alike(a, b, keys[i].name))
			ret_keys[n++] = keys[i].name;
	if (!is_alike(a, b, LISTEN))
		ret_keys[n++] = LISTEN;
	for (int kind = CHECK_COMMAND; kind <= CHECK_TCP; kind++)
		if (!is_alike(a, b, unit_check_key((enum unit_check_kind)kind)))
			ret_keys[n++] = unit_check_key((enum unit_check_kind)kind);
	return n;
}

int unit_text(const struct unit *unit, char **ret_text)
{
	struct text_out out = { 0 };

	text_out_put(&out, "[Service]\n");
	for (size_t i = 0; i < unit->n_settings; i++)
		text_out_print(&out, "%s=%s\n", unit->settings[i].key, unit->settings[i].value);
	return text_out_take(&out, ret_text, NULL);
}
