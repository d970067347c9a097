/* SPDX-License-Identifier: MIT */
/* A service as its file defines it: CONFIG_DIR/NAME.conf. */
#pragma once

#include "supervisor/unit/values.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct child_spec;
struct why;

#define UNIT_SUFFIX ".conf"
#define UNIT_FILE_MAX (64u << 10) /* bytes; a larger one is refused */

/* The defaults of struct image_limits, also for a service whose file is gone. */
#define UNIT_IMAGES_KEEP 1u
#define UNIT_IMAGES_MAX_AGE_US UINT64_C(604800000000) /* 7 days */

enum unit_dirty { DIRTY_RESET, DIRTY_KEEP };
enum unit_choice { CHOICE_DEFAULT, CHOICE_NO, CHOICE_YES };
enum unit_children { CHILDREN_HAND_OVER, CHILDREN_END, CHILDREN_KEEP };
enum unit_restart { RESTART_ON_FAILURE, RESTART_NO };

/* What a process of the service knows of us. */
enum unit_kind {
	UNIT_LIBRARY, /* it is linked with libupgrade: state and connections move */
	UNIT_PLAIN,   /* nothing: its listeners are all that moves */
};

/* When one that is UNIT_PLAIN is taken to be ready. */
enum unit_ready {
	READY_NOTIFY,  /* it says READY=1, see sd_notify(3) */
	READY_ACCEPTS, /* it waits for something to come at each listener that it was given, by the kernel's word */
	READY_HEALTH,  /* each check of health has succeeded once */
	READY_STARTED, /* it is its program */
};

enum unit_check_kind { CHECK_COMMAND, CHECK_HTTP, CHECK_TCP };
#define UNIT_CHECKS_MAX 8u

/* One HealthCommand=, HealthHTTP= or HealthTCP=. */
struct unit_check {
	enum unit_check_kind kind;
	unsigned line;
	char *value;            /* with %v, %n, %% unexpanded */
};

#define UNIT_LISTENS_MAX 32u

/* What a Listen= says of its addresses behind them. */
struct unit_listen_options {
	char name[UNIT_NAME_MAX + 1];  /* name=: by which a program claims it; "": by its address alone */
	char user[UNIT_NAME_MAX + 1];  /* user=, group=: whose the path is; "": the service's */
	char group[UNIT_NAME_MAX + 1];
	unsigned mode;                 /* mode= of the path; 0: SocketMode= */
	unsigned backlog;              /* backlog=; 0: ListenBacklog= */
	bool reuse_port;               /* reuseport */
};

/* One address of a Listen=. */
struct unit_listen {
	unsigned line;
	bool is_any;     /* of a bare port, which names two: a machine, or a version, may do without one of them */
	int type;        /* SOCK_STREAM, SOCK_DGRAM */
	char text[128];  /* for people: "127.0.0.1:80", "udp:[::]:53", "/run/web.sock", "@web" */
	/* Of systemd:NAME: what systemd has opened under that name, and given to upgraded. The address is known when that is
	 * looked at: a service file has none. "": it is an address. */
	char systemd[UNIT_NAME_MAX + 1];
	struct unit_listen_options options;
	_Alignas(8) char at[112]; /* a struct sockaddr */
	unsigned at_bytes;
};

/* How much of a service's images stays. */
struct image_limits {
	unsigned keep;           /* how many stay, besides one in use */
	uint64_t max_age_us;     /* 0: no limit */
	uint64_t max_size_bytes; /* of all together; 0: no limit */
};

/* A line of the file as it was taken: for what differs between two files. */
struct unit_setting {
	char *key, *value;
};

/* Counted: a version keeps the service file that it was started with, as the way back to it starts it so again. */
enum unit_journal {
	UNIT_JOURNAL_NO,
	UNIT_JOURNAL_YES,    /* within a bake */
	UNIT_JOURNAL_ALWAYS, /* ... and outside of rolls */
};

struct unit {
	unsigned references;
	struct unit_setting *settings; /* in the order of the file */
	size_t n_settings;
	char name[UNIT_NAME_MAX + 1];
	char *path;             /* of the file */
	char *exec;             /* with %v, %n, %% unexpanded */
	unsigned exec_line;
	char *version;          /* what `start` takes when none is named; "" if not set */
	enum unit_kind kind;
	enum unit_ready ready;
	int stop_signal;        /* by which a process is told to end */
	uint64_t drain_timeout_us; /* how long one of UNIT_PLAIN may take for that after another version has replaced it */
	uint64_t watchdog_us;   /* how often one of UNIT_PLAIN has to say WATCHDOG=1; 0: it need not */
	char *user, *group;     /* "" if not set */
	char *working_directory;
	char **environment;     /* NAME=value, NULL-terminated */
	size_t n_environment;
	uint64_t start_timeout_max_us; /* however much progress is told; 0: ten times the next one */
	uint64_t start_timeout_us, quiesce_timeout_us, transfer_timeout_us, stop_timeout_us;
	uint64_t child_timeout_us; /* how long a version is waited for that waits for a child process before it comes to rest */
	uint64_t bake_us, restart_delay_us, image_timeout_us;
	uint64_t health_interval_us, health_timeout_us, health_check_timeout_us;
	uint64_t heartbeat_us;    /* how often a version is asked for a sign of life outside of bakes; 0: never */
	bool ends_unanswered;     /* one that does not answer there is ended, and Restart= says what follows */
	bool health_answers;      /* a version that answers no client is sick */
	unsigned health_failures; /* of a check, in a row, before it counts */
	struct unit_check checks[UNIT_CHECKS_MAX];
	size_t n_checks;
	struct unit_listen listens[UNIT_LISTENS_MAX];
	size_t n_listens;
	unsigned listen_backlog;  /* how many connections may wait at each; the kernel has a limit of its own */
	unsigned socket_mode;     /* of the paths among them */
	struct image_limits image_limits;
	enum unit_rollback rollback;
	enum unit_dirty on_dirty;
	enum unit_verify verify;
	enum unit_restart restart;
	bool starts_at_boot;    /* when upgraded is started */
	bool require_image;     /* no roll that could not go back by an image */
	enum unit_journal journal;
	bool other_readers;     /* whatever else takes from descriptors that move is the application's business */
	uint64_t journal_bytes;
	unsigned level;         /* enum upg_level as a number */
	uint64_t state_record_max, state_types_max, state_max; /* caps on the state stream; 0: the library's default */
	uint64_t memory_low_bytes;        /* a parked version leaves memory when less is available; 0: never for that */
	unsigned memory_pressure_percent; /* ... when tasks wait for memory for more of the time; 0: never for that */
	enum unit_choice no_new_privileges;
	bool sets_bounding;     /* @bounding counts */
	uint64_t bounding, ambient; /* capabilities, as struct privileges has them */
	unsigned limit_nofile;  /* 0: the supervisor's own */
	enum unit_children children; /* what becomes of processes that a process of the service has started */
	uint64_t log_rate, log_rate_bytes; /* of what one process prints, a second; 0: no limit */
	bool sets_oom;          /* @oom_score_adj counts; otherwise it is the supervisor's own */
	int oom_score_adj;      /* of a version that serves */
};

/** unit_load() - Read @config_dir/@name.conf. Return: 0; -ENOENT: there is none; -EINVAL with file and line in @why; -errno. */
int unit_load(const char *config_dir, const char *name, struct unit **ret_unit, struct why *why);

/** unit_parse() - The same from memory; @path is for messages. */
int unit_parse(const char *name, const char *path, const char *text, struct unit **ret_unit, struct why *why);

/** unit_parse_bytes() - The same from @size bytes that no NUL ends, as what unit_text() wrote was kept. */
int unit_parse_bytes(const char *name, const char *path, const void *data, size_t size, struct unit **ret_unit, struct why *why);

/** unit_start_limit() - How long a start may last, however much progress is told. */
uint64_t unit_start_limit(const struct unit *unit);

/** unit_start_patience() - How long to wait from here on for a start that has lasted @elapsed_us and gets on. Never 0. */
uint64_t unit_start_patience(const struct unit *unit, uint64_t elapsed_us);

/** unit_ref() - One owner more; each calls unit_free(). NULL is allowed. Return: @unit. */
struct unit *unit_ref(struct unit *unit);

/** unit_free() - One owner less; the last one releases it. NULL is allowed. Return: NULL. */
struct unit *unit_free(struct unit *unit);

#define UNIT_KEYS_MAX 64u /* more than there are keys */

/**
 * unit_differs() - Which keys have another value in @a than in @b? Version= and Start= are left out, as they
 * say what to start and when, and not how.
 * @ret_keys: at least UNIT_KEYS_MAX; literals, in the order of the manual.
 *
 * Return: how many.
 */
size_t unit_differs(const struct unit *a, const struct unit *b, const char *ret_keys[]);

/** unit_text() - All keys that were set, as a service file without its comments. @ret_text: the caller's, to be freed. Return: 0;
 * -ENOMEM. */
int unit_text(const struct unit *unit, char **ret_text);

/**
 * unit_command() - Exec= for one version. Whether the program is there is for its start to find: nobody here looks at the disk.
 * @ret_argv: NULL-terminated, one allocation each; release with unit_command_free().
 *
 * Return: 0; -EINVAL; -ENOMEM.
 */
int unit_command(const struct unit *unit, const char *version, char ***ret_argv, struct why *why);
char **unit_command_free(char **argv);

/* A line of the file, so that an error can name it. */
struct unit_line {
	const char *key, *value;
	unsigned number;
};

/** unit_words() - Split and expand the command that @line states, as Exec= is; its program is an absolute path.
 * @ret_argv: as unit_command()'s. Return: 0 or -EINVAL. */
int unit_words(const struct unit *unit, const struct unit_line *line, const char *version, char ***ret_argv, struct why *why);

/** unit_expand() - Expand %v, %n and %% in a value that is no command. @ret_text: the caller's, to be freed. Return: 0; -EINVAL;
 * -ENOMEM. */
int unit_expand(const struct unit *unit, const struct unit_line *line, const char *version, char **ret_text, struct why *why);

/* ---- checks.c ---- */

/** unit_check_key() - "HealthCommand", ... */
const char *unit_check_key(enum unit_check_kind kind);

/** unit_checks_usable() - Can each check be made of this version? Return: 0; -EINVAL with file and line; -ENOMEM. */
int unit_checks_usable(const struct unit *unit, const char *version, struct why *why);

/** unit_check_command(), unit_check_url() - The command or the address of a check, for one version. Both outputs are owned by the
 * caller: @ret_argv as unit_words()', @ret_url to be freed. Return: 0; -EINVAL with file and line; -ENOMEM. */
int unit_check_command(const struct unit *unit, const struct unit_check *check, const char *version, char ***ret_argv,
		       struct why *why);
int unit_check_url(const struct unit *unit, const struct unit_check *check, const char *version, char **ret_url, struct why *why);

/* ---- plain.c ---- */

/** unit_signal_name() - "SIGQUIT". Return: static text. */
const char *unit_signal_name(int signal);

/** unit_ready_name() - The value of Ready=. */
const char *unit_ready_name(enum unit_ready ready);

/* ---- listen.c ---- */

/** unit_listen_is() - Are these the same address, with sockets of the same type? */
bool unit_listen_is(const struct unit_listen *one, const struct unit_listen *other);
/** unit_listen_names() - Does @of, of a service file, stand for @place? The same address, or what systemd has opened under the same
 * name. */
bool unit_listen_names(const struct unit_listen *of, const struct unit_listen *place);
/** unit_listen_tell() - @place->text, of the address that it has. */
void unit_listen_tell(struct unit_listen *place);
/** unit_listen_family() - AF_INET, AF_INET6, AF_UNIX. */
int unit_listen_family(const struct unit_listen *listen);
/** unit_listen_path() - Return: of a unix socket that has one; else NULL. */
const char *unit_listen_path(const struct unit_listen *listen);

/* ---- process.c: as whom and with what a process of the service runs ---- */

/** unit_environment() - Put together @more (NAME=value), Environment=, and what is passed on from our own; with User= there is no
 * HOME, see unit_identity(). Return: release with unit_command_free(); NULL if memory is out. */
char **unit_environment(const struct unit *unit, const char *const *more, size_t n_more);

/** unit_identity() - Put User= and Group= into @spec. They are looked up by the child: that may take long (LDAP), or forever. @spec
 * borrows from @unit. */
void unit_identity(const struct unit *unit, struct child_spec *spec);

/**
 * unit_users_known() - Does this machine know User= and Group=? Waits for name services, in a child process, for @timeout_us at
 * most.
 *
 * Return: 0; -EINVAL: it does not; UNIT_USERS_SILENT: nobody has answered in time; -errno.
 */
#define UNIT_USERS_SILENT 1
int unit_users_known(const struct unit *unit, uint64_t timeout_us, struct why *why);

/** unit_local_user(), unit_local_group() - The number of a user or a group that this machine's own files have, or that is a number.
 * No name service is asked: the loop must not wait for one. Return: 0; -ENOENT with words. */
int unit_local_user(const char *name, uid_t *ret_uid, struct why *why);
int unit_local_group(const char *name, gid_t *ret_gid, struct why *why);

/** unit_children_name() - The value of Children=. */
const char *unit_children_name(enum unit_children children);
