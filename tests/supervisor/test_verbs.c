/* SPDX-License-Identifier: MIT */
/* The verbs, asked of services that have no process: what each says, and that each says it once. */
#include "supervisor/control/verbs.h"

#include "tests/supervisor/asked.h"

#include <errno.h>

static struct place place;
static struct asked asked;

static void set_up(void)
{
	place_open(&place);
	place_write(&place, "web.conf", "[Service]\nExec=/nonexistent/web-%v\nVersion=v1\n");
	asked_init(&asked);
}

static void tear_down(void)
{
	place_close(&place);
}

TestSuite(verbs, .timeout = 20, .init = set_up, .fini = tear_down);

#define VERB(name) UPGRADED__WIRE__VERB__VERB_##name

/* Ask for what needs a version with v2. @fd: comes along, and is claimed or closed; -1: none. */
static void ask_with(int verb, const char *service, int fd)
{
	Upgraded__Wire__Request wire = UPGRADED__WIRE__REQUEST__INIT;
	struct wire_fds fds = { .n = fd >= 0, .fd = { fd } };
	struct errand *errand;

	asked.answers = 0;
	wire.protocol = WIRE_PROTOCOL;
	wire.verb = (Upgraded__Wire__Verb)verb;
	wire.service = wire_text(service);
	wire.version = wire_text(verb == VERB(ROLL) || verb == VERB(PLAN) ? "v2" : "");
	wire.from_file = fd >= 0;
	errand = verbs_run(&place.registry, &wire, &fds, &asked.asker);
	wire_fds_close(&fds);
	cr_assert_eq(asked.answers, 1, "verb %d: %u answers", verb, asked.answers);
	cr_assert_null(asked.asker.service, "verb %d: it was answered, and is still waited for", verb);
	if (errand)
		errand->free(errand);
}

static void says(int verb, const char *service, enum wire_exit code, const char *text)
{
	ask_with(verb, service, -1);
	cr_assert_str_eq(asked.text, text);
	cr_assert_eq(asked.code, code, "verb %d: %d", verb, (int)asked.code);
}

static int some_file(void)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

/* ---- services that there are not ---- */

Test(verbs, say_that_there_is_no_such_service)
{
	static const int numbers[] = { VERB(START), VERB(STOP), VERB(ROLL), VERB(UNDO), VERB(STATUS), VERB(PLAN), VERB(PACK) };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		says(numbers[i], "nobody", WIRE_EXIT_NO_SUCH_SERVICE, "there is no service nobody");
		cr_assert(strstr(asked.cause, "nobody.conf: No such file"), "%s", asked.cause);
		cr_assert_str_eq(asked.next, "upgradectl list shows the services");
	}
}

Test(verbs, say_that_there_is_no_image_of_a_service_either)
{
	says(VERB(IMAGES_SHOW), "nobody", WIRE_EXIT_NO_SUCH_SERVICE, "there is no service nobody, and no image of one");
	says(VERB(IMAGES_LIST), "nobody", WIRE_EXIT_NO_SUCH_SERVICE, "there is no service nobody, and no image of one");
	says(VERB(IMAGES_SHOW), "web", WIRE_EXIT_ERROR, "there is no image of web");
	cr_assert_str_eq(asked.next, "upgradectl images list shows the images");
}

Test(verbs, refuse_what_is_not_fit_before_they_look_for_the_service)
{
	says(VERB(STOP), "../web", WIRE_EXIT_USAGE, "that is no service name");
	says(VERB(UNSPECIFIED), "web", WIRE_EXIT_USAGE, "upgraded does not know this verb");
	says(VERB(SAVE), "web", WIRE_EXIT_USAGE, "save came without a file to write to");
}

/* ---- a service that does not run ---- */

Test(verbs, say_that_a_service_is_not_running)
{
	says(VERB(STOP), "web", WIRE_EXIT_DONE, "web is stopped already");
	says(VERB(ROLL), "web", WIRE_EXIT_NOT_RUNNING, "web is not running");
	cr_assert_str_eq(asked.next, "start it: upgradectl start SERVICE VERSION");
	cr_assert_str_eq(asked.serving, "nothing");
	says(VERB(UNDO), "web", WIRE_EXIT_NOT_RUNNING, "web is not running");
	says(VERB(PLAN), "web", WIRE_EXIT_NOT_RUNNING, "web is not running");
	says(VERB(PACK), "web", WIRE_EXIT_REFUSED, "web: there is no parked version that could become an image");
	cr_assert_str_eq(asked.cause, "no roll is under way");
}

Test(verbs, close_the_file_of_a_save_that_is_refused)
{
	int fd = some_file();

	ask_with(VERB(SAVE), "web", fd);
	cr_assert_eq(asked.code, WIRE_EXIT_NOT_RUNNING);
	cr_assert(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
}

Test(verbs, say_why_a_service_does_not_start)
{
	int fd = some_file();

	says(VERB(START), "web", WIRE_EXIT_ERROR, "web version v1 could not be started");
	cr_assert(strstr(asked.cause, "/nonexistent/web-v1"), "%s", asked.cause);
	cr_assert_str_eq(asked.next, "fix the cause, then start it again");
	/* With a file to load, too; which is not kept. */
	ask_with(VERB(START), "web", fd);
	cr_assert_eq(asked.code, WIRE_EXIT_ERROR);
	says(VERB(STATUS), "web", WIRE_EXIT_NOT_RUNNING, "");
	cr_assert_str_eq(asked.services, "web failed");
	says(VERB(ROLL), "web", WIRE_EXIT_NOT_RUNNING, "web is not running");
	cr_assert(strstr(asked.cause, "/nonexistent/web-v1"), "%s", asked.cause);
}

Test(verbs, say_that_nobody_named_a_version_to_start)
{
	place_write(&place, "web.conf", "[Service]\nExec=/nonexistent/web-%v\n");
	ask_with(VERB(START), "web", -1);
	cr_assert_eq(asked.code, WIRE_EXIT_USAGE);
	cr_assert(strstr(asked.text, "web: no version was named and ") && strstr(asked.text, "web.conf sets no Version="), "%s",
		  asked.text);
}

Test(verbs, say_what_is_wrong_with_a_service_file)
{
	place_write(&place, "web.conf", "[Service]\nExec=/nonexistent/web-%v\nColour=blue\n");
	says(VERB(START), "web", WIRE_EXIT_ERROR, "the service file of web cannot be used");
	cr_assert(strstr(asked.cause, "web.conf:3: unknown key Colour="), "%s", asked.cause);
	cr_assert_str_eq(asked.next, "fix the service file");
	place_remove(&place, "web.conf");
	says(VERB(START), "web", WIRE_EXIT_NO_SUCH_SERVICE, "there is no service web");
}

/* ---- all services ---- */

Test(verbs, list_every_service_that_has_a_file)
{
	says(VERB(LIST), "", WIRE_EXIT_DONE, "");
	cr_assert_str_eq(asked.services, "web stopped");
	place_write(&place, "cache.conf", "");
	says(VERB(LIST), "", WIRE_EXIT_DONE, "");
	cr_assert_str_eq(asked.services, "cache stopped, web stopped");
	says(VERB(STATUS), "", WIRE_EXIT_DONE, "");
	cr_assert_str_eq(asked.services, "cache stopped, web stopped");
	says(VERB(STATUS), "cache", WIRE_EXIT_NOT_RUNNING, "");
	cr_assert_str_eq(asked.services, "cache stopped");
}

Test(verbs, say_that_the_services_cannot_be_listed)
{
	place_remove(&place, "web.conf");
	cr_assert_eq(rmdir(place.config_dir), 0);
	says(VERB(LIST), "", WIRE_EXIT_ERROR, "the services cannot be listed");
	cr_assert(strstr(asked.cause, "No such file"), "%s", asked.cause);
}

Test(verbs, list_no_images_where_there_are_none)
{
	says(VERB(IMAGES_LIST), "", WIRE_EXIT_DONE, "0 images, 0 KiB");
	says(VERB(IMAGES_VERIFY), "web", WIRE_EXIT_DONE, "0 images, all could be restored now");
	says(VERB(IMAGES_GC), "", WIRE_EXIT_DONE, "0 images were removed, 0 bytes; 0 stay");
	cr_assert_eq(asked.n_images, 0);
}

Test(verbs, check_the_machine_and_say_why_images_are_not_there)
{
	place.registry.criu_path = "/nonexistent/criu";
	ask_with(VERB(CHECK), "", -1);
	cr_assert_eq(asked.code, WIRE_EXIT_ERROR);
	cr_assert_str_eq(asked.text, "rolls run, and can go back to the parked process only");
	cr_assert_eq(asked.n_checks, 5);
	cr_assert_not(place.registry.criu_ok);
}
