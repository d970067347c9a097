/* SPDX-License-Identifier: MIT */
/* What every test of this folder stands on: a rig, the example service called `cached`, and clients whose every answer is
 * checked. A test is a process of its own, so that one stage is enough.
 *
 *     STAGE(rolls, 60);
 *
 *     SCENE(rolls, lose_nothing)
 *     {
 *         stage_serve(&(struct rig_cached){ .lines = "Bake=300ms\n" }, NULL);
 *         stage_load(200);
 *         ctl(0, "roll", "cached", "v2");
 *         stage_load_spotless();
 *     }
 *
 * What goes wrong in here fails the test. After each scene the daemon is ended, and it is a failure if anything is left then.
 */
#pragma once

#include "tests/rig/rig.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct stage {
	struct rig *rig;
	uint16_t port;
	struct rig_load *load;
	unsigned connections; /* of the load */
};

extern struct stage stage;

void stage_open(void);
/** stage_close() - End the daemon, if it runs; nothing may be left. Criterion takes no notice of what fails in a .fini. */
void stage_close(void);
/** stage_abandon() - After a failure: end whatever runs. */
void stage_abandon(void);

#define STAGE(suite, seconds) TestSuite(suite, .init = stage_open, .fini = stage_abandon, .timeout = seconds)
#define SCENE(suite, name) \
	static void suite##_##name##_scene(void); \
	Test(suite, name) \
	{ \
		suite##_##name##_scene(); \
		stage_close(); \
	} \
	static void suite##_##name##_scene(void)

/** stage_unit() - Write the example service's file; the port is chosen once. */
void stage_unit(const struct rig_cached *cached);
/** stage_serve() - The same, then start the daemon (with @criu, see rig_daemon_start()) and the service. */
void stage_serve(const struct rig_cached *cached, const char *criu);

/** stage_load() - Clients that never stop. */
void stage_load(unsigned connections);
/** stage_load_spotless() - End them: every connection lives, no answer was wrong, no request failed, every key is as it
 * should be. */
void stage_load_spotless(void);

/** stage_load_missed_nothing() - The same so far: the clients go on, and not all need be there at this moment. */
void stage_load_missed_nothing(void);

/* upgradectl WORD... must end with @status; what it printed lives until the next call. */
const json_t *stage_ctl(int status, const char *const words[]);
#define ctl(status, ...) stage_ctl(status, (const char *const[]){ __VA_ARGS__, NULL })

/** stage_said() - The roll's or start's answer must hold @text somewhere in its `text`, `cause`, `next` or log lines. */
bool stage_said(const json_t *answer, const char *text);
#define must_say(answer, text) cr_assert(stage_said(answer, text), "\"%s\" is not said in %s", text, json_dumps(answer, 0))

/** stage_pid_of() - The process of @service in a state such as "serving", "parked"; 0: there is none. */
pid_t stage_pid_of(const char *service, const char *state);
/** stage_pid() - That of the service `cached`. */
pid_t stage_pid(const char *state);

/** stage_crash() - Under load, roll to a version that fails after it has taken over. The roll must end as @outcome
 * (NULL: whichever way back it took), and exactly what was written since the commit is taken back, on exactly the
 * connections that were reset. */
void stage_crash(const char *version, const char *outcome);

/** stage_settle() - The second half of that, for a roll that a test has watched by itself. */
void stage_settle(const json_t *roll);

/** stage_comes_back_parked() - What serves is killed in its bake, under load: v1, which lies parked, comes back from memory, and
 * what is lost is what stage_crash() says. */
void stage_comes_back_parked(void);

/** stage_wait_processes() - Until as many processes descend from the test. */
void stage_wait_processes(unsigned n);

/** stage_link() - rig folder/@name becomes a symbolic link to the program @of. */
void stage_link(const char *name, const char *of);
/** stage_copy() - The same as a copy, through a rename. */
void stage_copy(const char *name, const char *of);
/** stage_path() - A path in the rig's folder; valid until the fourth call after this. */
const char *stage_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** stage_images() - How many images of the service lie in the state folder whose name ends with @suffix; "" counts all,
 * ".tmp" the unfinished. */
unsigned stage_images(const char *suffix);

/** stage_wait_log() - Until the daemon has logged @text. */
void stage_wait_log(const char *text);
/** stage_wait_bake() - Until @version serves and the way back is made, whichever it is. */
void stage_wait_bake(const char *version);

/** stage_end_bake() - If one is on, the version that bakes is accepted. */
void stage_end_bake(void);

/** stage_sleep_ms() - For what must last, never for what is hoped to have happened. */
void stage_sleep_ms(unsigned ms);

/* A client that is not measured, for what a test stores itself. All block, at most 10 s. */
int client_open(void);
void client_store(int fd, const char *key, const char *value);
bool client_holds(int fd, const char *key, const char *value);
