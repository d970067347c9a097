/* SPDX-License-Identifier: MIT */
/* The beginning of an application's life, with a supervisor and without. */
#include "statefmt/statefmt.h"
#include "tests/shim/fake.h"

#include "base/fd.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(shim_open, .timeout = 60);

static struct app *app;
static struct fake fake;

static void setup(void)
{
	app = app_new();
}

static void teardown(void)
{
	fake_done(&fake);
}

static unsigned entries_of(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

Test(shim_open, does_nothing_without_a_supervisor, .init = setup)
{
	unsigned fds = entries_of("/proc/self/fd"), threads = entries_of("/proc/self/task");
	struct upg_thread *thread;
	struct upg *upg;
	int event;

	unsetenv(WIRE_FD_ENV);
	cr_assert_eq(upg_open(&app->config, &upg), 0);
	cr_assert_eq(upg_fd(upg), -1);
	cr_assert_eq(upg_receive(upg), UPG_FRESH);
	cr_assert_eq(upg_ready(upg), UPG_SERVE);
	thread = upg_thread_enter(upg, "main", NULL);
	cr_assert_eq(upg_point(thread), UPG_GO_ON);
	event = eventfd(0, EFD_CLOEXEC);
	cr_assert_eq(upg_fd_register(upg, event, "event", 1), 0);
	cr_assert_eq(upg_dispatch(upg), UPG_GO_ON);
	cr_assert_eq(upg_fd_claim(upg, "event", 1), -ENOENT);
	upg_close(upg, event, -1);
	upg_refuse(upg, "nobody hears %s", "this");
	upg_thread_leave(thread);
	cr_assert_str_empty(upg_why(upg));
	cr_assert_eq(entries_of("/proc/self/task"), threads);
	cr_assert_eq(entries_of("/proc/self/fd"), fds);
	cr_assert_null(upg_free(upg));
	cr_assert_null(upg_free(NULL));
}

Test(shim_open, refuses_a_channel_that_is_none, .init = setup)
{
	static const char *const bad[] = { "", "x", "3x", "-1", "99999", "99999999999999999999", " " };
	struct upg *upg = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv(WIRE_FD_ENV, bad[i], 1);
		cr_assert_eq(upg_open(&app->config, &upg), -EBADF, "'%s'", bad[i]);
		cr_assert_null(upg);
	}
	unsetenv(WIRE_FD_ENV);
}

Test(shim_open, refuses_types_it_could_not_move, .init = setup)
{
	struct upg_type type = app->config.types[0];
	struct upg_migration migration = { "test.Note", 1, 1, type.descriptor, type.descriptor, NULL };
	struct upg *upg = NULL;

	app->config.types = &type;
	type.version = 0;
	cr_assert_eq(upg_open(&app->config, &upg), -EINVAL);
	type.version = 65536;
	cr_assert_eq(upg_open(&app->config, &upg), -EINVAL);
	type.version = 65535;
	type.name = "";
	cr_assert_eq(upg_open(&app->config, &upg), -EINVAL);
	type.name = "test.Note";
	type.descriptor = NULL;
	cr_assert_eq(upg_open(&app->config, &upg), -EINVAL);
	app->config.n_types = 0;
	app->config.migrations = &migration;
	app->config.n_migrations = 1;
	cr_assert_eq(upg_open(&app->config, &upg), -EINVAL);
	cr_assert_null(upg);
}

static void on_signal(int signal)
{
	(void)signal;
}

Test(shim_open, takes_no_signal_that_somebody_uses, .init = setup)
{
	static const struct {
		void (*handler)(int signal);
		const char *what;
	} all[] = { { on_signal, "handled" }, { SIG_IGN, "ignored" } };
	struct upg *upg = NULL;

	unsetenv(WIRE_FD_ENV);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		signal(SIGUSR1, all[i].handler);
		cr_assert_eq(upg_open(&app->config, &upg), -EEXIST);
		cr_assert_null(upg);
		cr_assert(strstr(upg_why(NULL), "nudge_signal 10 (User defined signal 1) is"), "%s", upg_why(NULL));
		cr_assert(strstr(upg_why(NULL), all[i].what), "%s", upg_why(NULL));
		cr_assert_eq(signal(SIGUSR1, SIG_DFL), all[i].handler, "it took the signal all the same");
	}
	cr_assert_eq(upg_open(&app->config, &upg), 0);
	cr_assert_str_empty(upg_why(NULL));
	upg_free(upg);
	/* Its own handler is no reason to refuse the next one. */
	cr_assert_eq(upg_open(&app->config, &upg), 0);
	upg_free(upg);
}

Test(shim_open, says_hello_with_its_types_and_migrations, .init = setup, .fini = teardown)
{
	const Upgraded__Wire__Hello *hello;

	app_version_2(app);
	fake_start(&fake, app);
	hello = FAKE_TAKE(&fake, HELLO)->hello;
	cr_assert_eq(hello->protocol, WIRE_PROTOCOL);
	cr_assert_str_eq(hello->service, "notes");
	cr_assert_str_eq(hello->version, "v2");
	cr_assert_eq(hello->pid, fake.pid);
	cr_assert_eq(hello->n_schemas, 1);
	cr_assert_str_eq(hello->schemas[0]->name, "test.Note");
	cr_assert_eq(hello->schemas[0]->version, 2);
	cr_assert_eq(hello->schemas[0]->fingerprint, sf_fingerprint(app->config.types[0].descriptor));
	cr_assert_eq(hello->n_migrations, 2);
	cr_assert_str_eq(hello->migrations[1]->type, "test.Note");
	cr_assert_eq(hello->migrations[1]->from, 2);
	cr_assert_eq(hello->migrations[1]->to, 1);
}

static void keeps_channel_to_itself(struct app *self)
{
	int fd = upg_fd(self->upg);

	APP_MUST(!getenv(WIRE_FD_ENV));
	APP_MUST(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	APP_MUST(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

Test(shim_open, keeps_the_channel_from_processes_it_starts, .init = setup, .fini = teardown)
{
	app->begin = keeps_channel_to_itself;
	fake_start_serving(&fake, app);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_ORPHANED);
}

Test(shim_open, leaves_when_it_is_not_wanted, .init = setup, .fini = teardown)
{
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	fake_say_abort(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
}

Test(shim_open, leaves_when_the_supervisor_vanishes_before_it_served, .init = setup, .fini = teardown)
{
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_LEFT);
}

Test(shim_open, fails_when_it_is_told_nonsense, .init = setup, .fini = teardown)
{
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	fake_say_park(&fake);
	cr_assert_eq(fake_wait(&fake), APP_FAILED);
	cr_assert(strstr(app->why, "park"), "%s", app->why);
}

Test(shim_open, fails_on_garbage, .init = setup, .fini = teardown)
{
	fake_start(&fake, app);
	FAKE_TAKE(&fake, HELLO);
	FAKE_TAKE(&fake, STANDBY);
	cr_assert_eq(send(fake.fd, "\xff\xff\xff", 3, 0), 3);
	cr_assert_eq(fake_wait(&fake), APP_FAILED);
	cr_assert(strstr(app->why, "AppMessage"), "%s", app->why);
}

Test(shim_open, serves_on_when_the_supervisor_vanishes, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	fake_vanish(&fake);
	cr_assert_eq(fake_wait(&fake), APP_ORPHANED);
	cr_assert_eq(app->last_dispatch, UPG_GO_ON);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
}

Test(shim_open, is_not_moved_by_what_does_not_concern_it, .init = setup, .fini = teardown)
{
	fake_start_serving(&fake, app);
	/* Late news of a roll that is over, and what makes no sense at all. */
	fake_say_abort(&fake);
	fake_say_commit(&fake);
	cr_assert_eq(send(fake.fd, "\xff\xff\xff", 3, 0), 3);
	fake_say_ping(&fake, 9);
	cr_assert_eq(FAKE_TAKE(&fake, PONG)->pong->nonce, 9);
	cr_assert_eq(atomic_load(&app->n_aborted), 0);
	cr_assert_neq(app->last_dispatch, UPG_GO_ON);
}

/* ---- upg_become() ---- */

static int start_said;
static enum upg_received started_how;

static int start(enum upg_received how, void *userdata)
{
	APP_MUST(userdata == &start_said);
	started_how = how;
	return start_said;
}

static enum upg_readied become(int says)
{
	const struct upg_config config = { .service = "alone", .version = "v1" };
	enum upg_readied readied;
	struct upg *upg;

	start_said = says;
	cr_assert_eq(upg_open(&config, &upg), 0);
	readied = upg_become(upg, start, &start_said);
	if (readied == UPG_SERVE)
		cr_assert_str_eq(upg_why(upg), "");
	else
		cr_assert(strstr(upg_why(upg), "the application's start: Address already in use"), "%s", upg_why(upg));
	upg_free(upg);
	return readied;
}

Test(shim_open, becomes_what_it_is_to_be_in_one_call)
{
	unsetenv("UPGRADE_FD");
	cr_assert_eq(become(0), UPG_SERVE);
	cr_assert_eq(started_how, UPG_FRESH);
}

Test(shim_open, does_not_serve_when_its_start_fails)
{
	unsetenv("UPGRADE_FD");
	cr_assert_eq(become(-EADDRINUSE), UPG_NOT_READY);
}
