/* SPDX-License-Identifier: MIT */
/* A service as its file defines it: CONFIG_DIR/NAME.conf. */
#pragma once

#include "wire/name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct child_spec;
struct why;

#define UNIT_SUFFIX ".conf"
#define UNIT_NAME_MAX WIRE_NAME_MAX
#define UNIT_FILE_MAX (64u << 10) /* bytes; a larger one is refused */

/* Also of a service whose file is gone. */
#define UNIT_IMAGES_KEEP 1u
#define UNIT_IMAGES_MAX_AGE_US UINT64_C(604800000000) /* 7 days */

enum unit_rollback { ROLLBACK_AUTO, ROLLBACK_PARKED, ROLLBACK_IMAGE, ROLLBACK_NONE };
enum unit_dirty { DIRTY_RESET, DIRTY_KEEP };
enum unit_verify { VERIFY_NONE, VERIFY_ROUNDTRIP };
enum unit_restart { RESTART_ON_FAILURE, RESTART_NO };

enum unit_check_kind { CHECK_COMMAND, CHECK_HTTP, CHECK_TCP };
#define UNIT_CHECKS_MAX 8u

/* One HealthCommand=, HealthHTTP= or HealthTCP=. */
struct unit_check {
	enum unit_check_kind kind;
	unsigned line;
	char *value;            /* with %v, %n, %% unexpanded */
};

/* Of a service's images. */
struct image_limits {
	unsigned keep;           /* how many stay, besides one in use */
	uint64_t max_age_us;     /* 0: no limit */
	uint64_t max_size_bytes; /* of all together; 0: no limit */
};

struct unit {
	char name[UNIT_NAME_MAX + 1];
	char *path;             /* of the file */
	char *exec;             /* with %v, %n, %% unexpanded */
	unsigned exec_line;
	char *version;          /* what `start` takes when none is named; "" if not set */
	char *user, *group;     /* "" if not set */
	char *working_directory;
	char **environment;     /* NAME=value, NULL-terminated */
	size_t n_environment;
	uint64_t start_timeout_us, quiesce_timeout_us, transfer_timeout_us, stop_timeout_us;
	uint64_t bake_us, restart_delay_us, image_timeout_us;
	uint64_t health_interval_us, health_timeout_us, health_check_timeout_us;
	unsigned health_failures; /* of a check, in a row, before it counts */
	struct unit_check checks[UNIT_CHECKS_MAX];
	size_t n_checks;
	struct image_limits images;
	enum unit_rollback rollback;
	enum unit_dirty on_dirty;
	enum unit_verify verify;
	enum unit_restart restart;
	bool require_image;     /* no roll that could not go back by an image */
	bool journal;
	uint64_t journal_bytes;
	unsigned level;         /* enum upg_level as a number */
	uint64_t state_record_max, state_types_max, state_max; /* caps on the state stream; 0: the library's default */
	uint64_t memory_low_bytes;        /* a parked version leaves memory when less is available; 0: never for that */
	unsigned memory_pressure_percent; /* ... when tasks wait for memory for more of the time; 0: never for that */
	unsigned limit_nofile;  /* 0: the supervisor's own */
};

/** unit_name_check() - Service and version names: 1..64 of [A-Za-z0-9._@-], no leading dot. Return: 0 or -EINVAL. */
int unit_name_check(const char *what, const char *name, struct why *why);

/** unit_load() - Read @config_dir/@name.conf. Return: 0; -ENOENT: there is none; -EINVAL with file and line in @why; -errno. */
int unit_load(const char *config_dir, const char *name, struct unit **ret_unit, struct why *why);

/** unit_parse() - The same from memory; @path is for messages. */
int unit_parse(const char *name, const char *path, const char *text, struct unit **ret_unit, struct why *why);
struct unit *unit_free(struct unit *unit); /* NULL allowed; returns NULL */

/**
 * unit_command() - Exec= for one version.
 * @ret_argv: NULL-terminated, one allocation each; release with unit_command_free().
 *
 * Return: 0; -ENOENT, -EACCES, ...: the program is missing or not executable, named.
 */
int unit_command(const struct unit *unit, const char *version, char ***ret_argv, struct why *why);
char **unit_command_free(char **argv);

/** unit_command_check() - Can Exec= be read, and is each version's program another file? Return: 0 or -EINVAL. */
int unit_command_check(const struct unit *unit, struct why *why);

/* A value as it stands in the file, for what is said about it. */
struct unit_line {
	const char *key, *value;
	unsigned number;
};

/** unit_words() - Any key's command: split and expanded as Exec= is; its program is an absolute path. @ret_argv: as
 * unit_command()'s. Return: 0 or -EINVAL. */
int unit_words(const struct unit *unit, const struct unit_line *line, const char *version, char ***ret_argv, struct why *why);

/** unit_expand() - A value that is no command, with %v, %n and %% expanded. @ret_text: the caller's, to be freed. */
int unit_expand(const struct unit *unit, const struct unit_line *line, const char *version, char **ret_text, struct why *why);

/* ---- unit_health.c ---- */

/** unit_check_key() - "HealthCommand", ... */
const char *unit_check_key(enum unit_check_kind kind);

/** unit_check_add() - Take the check that @line states. Return: 0; -EINVAL with file and line in @why; -ENOMEM. */
int unit_check_add(struct unit *unit, enum unit_check_kind kind, const struct unit_line *line, struct why *why);

/** unit_checks_usable() - Can each check be made of this version? Return: 0; -EINVAL with file and line; -ENOMEM. */
int unit_checks_usable(const struct unit *unit, const char *version, struct why *why);

/** unit_check_command(), unit_check_url() - What a check runs or asks for one version; the caller's, as unit_words()' and
 * unit_expand()'s. */
int unit_check_command(const struct unit *unit, const struct unit_check *check, const char *version, char ***ret_argv,
		       struct why *why);
int unit_check_url(const struct unit *unit, const struct unit_check *check, const char *version, char **ret_url, struct why *why);

/* ---- unit_process.c: as whom and with what a process of the service runs ---- */

/** unit_environment() - Environment=, what every service gets, and @more (NAME=value). Return: release with
 * unit_command_free(); NULL if memory is out. */
char **unit_environment(const struct unit *unit, const char *const *more, size_t n_more);

/** unit_identity() - User= and Group= into @spec. Return: 0; -EINVAL: this machine no longer knows them. */
int unit_identity(const struct unit *unit, struct child_spec *spec, struct why *why);

/** unit_duration() - "300ms", "5s", "2min", "1h", "7d", bare seconds. Return: 0 or -EINVAL. */
int unit_duration(const char *text, uint64_t *ret_us);
/** unit_size() - "500", "64K", "16M", "2G", in units of 1024. Return: 0 or -EINVAL. */
int unit_size(const char *text, uint64_t *ret_bytes);
bool unit_rollback_parse(const char *text, enum unit_rollback *ret);
bool unit_verify_parse(const char *text, enum unit_verify *ret);
const char *unit_rollback_name(enum unit_rollback rollback);
