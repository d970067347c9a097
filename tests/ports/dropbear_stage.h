/* SPDX-License-Identifier: MIT */
/* The service `dropbear` on a stage of its own, in two versions: with a host key, and with a root whose home is in the rig's folder
 * and who may log in by a key. What goes wrong in here fails the test. */
#pragma once

#include "tests/integration/stage.h"
#include "tests/ports/dropbear_clients.h"

#include <limits.h>

#define SHOWN_US (20 * USEC_PER_SEC)
#define PLACES 5u /* for sessions of one address that have not logged in: MAX_UNAUTH_PER_IP */

extern char dropbear_ports[PATH_MAX / 4]; /* where the versions are */
extern char dropbear_host_key[512];       /* its public half */

void dropbear_open(void);
/** dropbear_close() - Stop it, and wait until its sessions have noticed that their clients are gone: nothing may be left. */
void dropbear_close(void);

#define DROPBEAR_STAGE(suite, seconds) TestSuite(suite, .init = dropbear_open, .fini = stage_abandon, .timeout = seconds)
#define DROPBEAR(suite, name) \
	static void suite##_##name##_scene(void); \
	Test(suite, name) \
	{ \
		suite##_##name##_scene(); \
		dropbear_close(); \
	} \
	static void suite##_##name##_scene(void)

/** dropbear_unit() - Write its service file. @program: path before "-v1"; NULL: as it was built. @options: more of its own. @lines:
 * more of the file. */
void dropbear_unit(const char *program, const char *options, const char *lines);
/** dropbear_serve() - With @lines in its file, and started. */
void dropbear_serve(const char *lines);
/** dropbear_master() - The process of the service in a state such as "serving"; 0: there is none. */
pid_t dropbear_master(const char *state);
/** dropbear_crash() - Kill the version that serves in its bake; @comes_back serves then. */
void dropbear_crash(const char *comes_back);
/** dropbear_undo() - Go back to v1 while the way forward bakes, and be done with it. */
void dropbear_undo(void);

/** dropbear_run() - Run a program. Return: what it has printed; lives until the next call. */
const char *dropbear_run(const char *const argv[]);
void dropbear_write(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** dropbear_make_key() - A key at @path. Return: its public half; lives until the next call. */
const char *dropbear_make_key(const char *path);

/* A session that counts: begun; counting on right now; ended, and nothing of it was wrong. */
void session_begin(struct counter *counter);
void session_counts(struct counter *counter);
void session_end(struct counter *counter);

/** dropbear_log_in() - And out. Return: dbclient's exit status; @errors: what it said, NULL: not wanted. */
int dropbear_log_in(enum ssh_trust trust, char *errors, size_t size);

/* Visitors never log in. */
int dropbear_visit(void);
/** dropbear_is_full() - One visitor more is turned away. */
void dropbear_is_full(void);
/** dropbear_takes_one_more() - One place is free, or is about to be, and no other. Return: the visitor who has it. */
int dropbear_takes_one_more(void);
