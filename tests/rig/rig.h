/* SPDX-License-Identifier: MIT */
/* Real processes for tests and the demonstration: a private folder, service files, `upgraded`, `upgradectl`, the load client.
 *
 *     struct rig *rig;
 *     rig_new("rolls", &rig);
 *     rig_cached_write(rig, "cached", &(struct rig_cached){ .port = rig_port(rig), .lines = "Bake=1s\n" });
 *     rig_daemon_start(rig, NULL);
 *     rig_ctl(rig, &answer, "start", "cached", NULL);
 *     load = rig_load_start(rig, port, NULL);
 *     rig_ctl(rig, &answer, "roll", "cached", "v2", NULL);
 *     rig_load_stop(load, &report);
 *     rig_free(rig);
 *
 * Every wait has a deadline. What fails is told on stderr, with what was waited for and the ends of all logs, and returned
 * as -errno; rig_why() has it in words. One thread; one rig at a time in a process, as it reaps all orphans below it.
 *
 * Where programs are: UPG_BIN (default build), for the daemon UPG_DAEMON_BIN (default UPG_BIN), for the example services
 * UPG_EXAMPLES (default UPG_BIN/examples), CRIU: UPG_CRIU (default build/criu/bin/criu if it is there, else criu on PATH).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RIG_NO_CRIU "/nonexistent/criu" /* for rig_daemon_start(): a machine without it */
#define RIG_KILLED 128                  /* + number of the signal: status of a program that one ended */

struct rig;

/** rig_new() - Make build/run/@name-PID; folders there whose owner is dead are removed. Return: 0 or -errno. */
int rig_new(const char *name, struct rig **ret_rig);

/** rig_free() - End everything that was started, wait until all of it was reaped, remove the folder. Return: NULL. */
struct rig *rig_free(struct rig *rig);

const char *rig_folder(const struct rig *rig);  /* absolute */
const char *rig_why(const struct rig *rig);     /* of the last failure */

/** rig_fail() - Record and print a failure with the ends of all logs. Return: @rc. */
int rig_fail(struct rig *rig, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** rig_program() - Absolute path of a program: rig_program(rig, "upgradectl"), (rig, "examples/cached-v1"). Valid until the
 * next call. */
const char *rig_program(struct rig *rig, const char *name);

/** rig_port() - A TCP port of 127.0.0.1 that nobody uses now. */
uint16_t rig_port(struct rig *rig);

/* ---- service files ---- */

/** rig_unit_write() - The whole text of service @name's file; replaces an earlier one (it is read anew at each start and
 * roll). */
int rig_unit_write(struct rig *rig, const char *name, const char *text);

struct rig_cached {
	uint16_t port;
	unsigned threads;      /* 0: 4 */
	const char *version;   /* Version=; NULL: v1 */
	const char *options;   /* more of cached's options; NULL: none */
	const char *lines;     /* more of the service file: whole lines; NULL: none */
	unsigned files;        /* LimitNOFILE=; 0: 8192 */
};

/** rig_cached_write() - A service file for the example service, ready to roll among all its versions. */
int rig_cached_write(struct rig *rig, const char *name, const struct rig_cached *cached);

/* ---- the daemon ---- */

/** rig_daemon_start() - Start upgraded and wait until it listens. @criu: NULL: the usable one. */
int rig_daemon_start(struct rig *rig, const char *criu);

/** rig_daemon_stop() - SIGTERM; wait until it and all its services have ended. Return: 0; -EBUSY: processes were left
 * behind (they are killed); -errno. */
int rig_daemon_stop(struct rig *rig);

/** rig_daemon_kill() - Send a signal; with SIGKILL, wait for its end. Services are not touched. */
int rig_daemon_kill(struct rig *rig, int signal);
pid_t rig_daemon_pid(const struct rig *rig); /* 0: none runs */
/** rig_daemon_status() - How one ended that nobody ended: as in a struct rig_answer; -1: it runs, or there was none. */
int rig_daemon_status(struct rig *rig);

/** rig_daemon_log() - All it has logged so far; release with free(). */
char *rig_daemon_log(const struct rig *rig);

/** rig_control_path() - The daemon's control socket. */
const char *rig_control_path(const struct rig *rig);

/* ---- programs ---- */

struct rig_answer {
	int status;    /* exit status, or RIG_KILLED + signal */
	char *out;     /* what it wrote, NUL-terminated; "" when not captured */
	char *err;
	json_t *json;  /* @out parsed; NULL if it is not JSON */
};

/** rig_answer_done() - Release and zero; zeroed is allowed. */
void rig_answer_done(struct rig_answer *answer);

struct rig_run {
	const char *const *argv;                        /* argv[0]: absolute path, or a name on PATH; NULL-terminated */
	const char *const *environment;                 /* NAME=value to add; NULL: none */
	const char *cwd;                                /* NULL: the current one */
	bool show;                                      /* both outputs go to our stdout instead of being captured */
	void (*on_line)(void *data, const char *line);  /* each line of stderr as it comes, besides being captured */
	void *data;
};

struct rig_child;

/** rig_run_begin() - Start a program. Return: 0 or -errno. */
int rig_run_begin(struct rig *rig, const struct rig_run *run, struct rig_child **ret_child);
pid_t rig_run_pid(const struct rig_child *child);
/** rig_run_ended() - Whether it has ended by now. Never waits. */
bool rig_run_ended(struct rig_child *child);
int rig_run_kill(struct rig_child *child, int signal);
/** rig_run_wait() - Until it has ended and closed its outputs; @child is gone after it, in any case (killed, if the time is
 * over). @ret_answer: NULL, or release with rig_answer_done(). Return: 0, -ETIMEDOUT or -errno. */
int rig_run_wait(struct rig_child *child, uint64_t timeout_us, struct rig_answer *ret_answer);

/** rig_ctl() - upgradectl -o json ARGUMENT... NULL, at most 60 s. Return: 0 whatever its status, or -errno. */
int rig_ctl(struct rig *rig, struct rig_answer *ret_answer, ...) __attribute__((sentinel));
/** rig_ctl_begin() - The same without waiting. */
int rig_ctl_begin(struct rig *rig, struct rig_child **ret_child, ...) __attribute__((sentinel));
/** rig_ctl_text() - upgradectl ARGUMENT... NULL without -o json; @on_line hears progress as it comes, NULL: nobody. */
int rig_ctl_text(struct rig *rig, struct rig_answer *ret_answer, void (*on_line)(void *data, const char *line), void *data, ...)
	__attribute__((sentinel));
/** rig_ctl_show() - upgradectl ARGUMENT... NULL straight to our stdout. @ret_status: its exit status. */
int rig_ctl_show(struct rig *rig, int *ret_status, ...) __attribute__((sentinel));

/** rig_wait_status() - Until `status SERVICE` says @state (running, rolling, baking, ...) and, if not NULL, @version.
 * Return: 0, -ETIMEDOUT or -errno. */
int rig_wait_status(struct rig *rig, const char *service, const char *state, const char *version, uint64_t timeout_us);

/** rig_status() - The service's entry of `status -o json`, a new reference; NULL on failure (told). */
json_t *rig_status(struct rig *rig, const char *service);

/* ---- the load client ---- */

struct rig_load;

struct rig_load_options {
	unsigned connections;  /* 0: 1000 */
	unsigned keys;         /* of each; 0: 8 */
	unsigned rate;         /* requests per second; 0: 5000 */
	const char *values;    /* MIN-MAX bytes; NULL: 32-1500 */
	unsigned pipeline;     /* 0: 4 */
	unsigned seed;         /* 0: 1 */
	unsigned reopen;       /* connections closed and opened again per second */
};

/** rig_load_start() - Start upg-load against 127.0.0.1:@port and wait until all connections have their keys. @options: NULL:
 * all by default. Return: 0 or -errno. */
int rig_load_start(struct rig *rig, uint16_t port, const struct rig_load_options *options, struct rig_load **ret_load);

/** rig_load_ask() - One command ("report", "mark", "crash", "settle C R", "reopen N", "pause", "continue", "audit"), its answer.
 * @ret_answer: a new reference; NULL: not wanted. Return: 0; -EPROTO: it answered with an error; -errno. */
int rig_load_ask(struct rig_load *load, json_t **ret_answer, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** rig_load_stop() - Audit all keys, take the final report, wait for the exit; @load is gone after it.
 * @ret_status: exit status: 0 if nothing was wrong, failed or lost. Both may be NULL. */
int rig_load_stop(struct rig_load *load, json_t **ret_report, int *ret_status);

/* ---- looking around ---- */

/** rig_number() - Integer at a path such as "since_mark.latency_us.max" in @json; -1 if there is none. */
int64_t rig_number(const json_t *json, const char *path);
/** rig_text() - String at such a path; "" if there is none. Borrowed from @json. */
const char *rig_text(const json_t *json, const char *path);

/** rig_processes() - How many processes descend from this one, zombies included. */
unsigned rig_processes(void);

struct rig_process {
	pid_t pid, parent;
	char state, name[64]; /* as of proc(5) */
};

/** rig_process_list() - All processes there are, *@ret_n of them. It is no snapshot. Release with free(). */
struct rig_process *rig_process_list(size_t *ret_n);
/** rig_process_descends() - Is @from an ancestor of @pid, by this list? */
bool rig_process_descends(const struct rig_process *all, size_t n, pid_t pid, pid_t from);

/** rig_descriptors() - How many are open in @pid; 0: it is not there. */
unsigned rig_descriptors(pid_t pid);

/** rig_pid_in() - Whose state is @state ("serving", "parked"), by an entry of rig_status(); 0: nobody's. */
pid_t rig_pid_in(const json_t *entry, const char *state);

/** rig_memory_kib() - Memory of @pid's own, which no file stands behind; 0: it is not there. */
uint64_t rig_memory_kib(pid_t pid);

/* What is neither a process nor a descriptor, and may be left behind all the same. */
struct rig_traces {
	unsigned mounts;
	unsigned locks; /* on files */
	unsigned rules; /* of the firewall; 0 where nothing can tell */
};

/** rig_traces() - As of now, in the namespaces that this process is in. A lock whose taker is dead counts where it lies in the
 * rig's folder. */
void rig_traces(struct rig *rig, struct rig_traces *ret_traces);

/** rig_reap() - Reap what has ended and became this process's child because the daemon that started it died. */
void rig_reap(const struct rig *rig);
