/* SPDX-License-Identifier: MIT */
/* The run folder, a real one, and what somebody does to it. The clock stands still but where a test moves it. */
#include "supervisor/control/run_folder.h"

#include "tests/supervisor/asked.h"
#include "supervisor/machine/folder.h"
#include "tests/supervisor/output_log.h"
#include "wire/wire.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#define SETTLED_US (200 * USEC_PER_MSEC)
#define LATER_US (10 * USEC_PER_SEC)

static struct place place;
static struct run_folder *folder;
static char dir[96], control_path[112], lock_path[112];
static uint64_t now_us = USEC_PER_SEC;

static void set_up(void)
{
	struct why why = { 0 };

	log_catch();
	clock_fake(&now_us);
	place_open(&place);
	snprintf(dir, sizeof(dir), "%s/run", place.folder);
	snprintf(control_path, sizeof(control_path), "%s/control", dir);
	snprintf(lock_path, sizeof(lock_path), "%s/lock", dir);
	cr_assert_eq(run_folder_new(dir, NULL, &folder, &why), 0, "%s", why.text);
	cr_assert_eq(run_folder_open(folder, &place.registry, &why), 0, "%s", why.text);
}

static void tear_down(void)
{
	folder = run_folder_free(folder);
	place_close(&place);
	log_release();
}

TestSuite(run_folder, .timeout = 30, .init = set_up, .fini = tear_down);

/* What the kernel has told of the folder is heard, and then it is looked at. */
static void pass(uint64_t us)
{
	cr_assert_eq(loop_turn(place.registry.host.site.loop, 0), 0);
	now_us += us;
	cr_assert_eq(loop_turn(place.registry.host.site.loop, 0), 0);
}

static bool answers(void)
{
	int fd = wire_connect(control_path, NULL);

	fd_close(fd);
	return fd >= 0;
}

static bool is_locked(void)
{
	struct why why = { 0 };
	int fd, r = folder_lock(dir, "lock", 0, &fd, &why);

	fd_close(fd);
	return r == -EWOULDBLOCK;
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
	char command[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	cr_assert_eq(system(command), 0, "%s", command);
}

Test(run_folder, has_a_lock_and_a_socket_for_us_alone)
{
	struct run_folder *other = NULL;
	struct why why = { 0 };
	struct stat st;

	cr_assert(answers());
	cr_assert(stat(control_path, &st) == 0 && (st.st_mode & 0777) == 0600);
	cr_assert_eq(run_folder_new(dir, NULL, &other, &why), -EWOULDBLOCK);
	cr_assert(strstr(why.text, "another upgraded runs in"), "%s", why.text);
	cr_assert_null(other);
}

Test(run_folder, gets_its_socket_back_when_somebody_removes_it)
{
	shell("rm %s", control_path);
	cr_assert_not(answers());
	pass(SETTLED_US);
	cr_assert(answers());
}

Test(run_folder, gets_its_lock_back_when_somebody_removes_it)
{
	shell("rm %s", lock_path);
	pass(SETTLED_US);
	cr_assert(is_locked());
}

Test(run_folder, is_made_anew_when_somebody_removes_it)
{
	for (int i = 0; i < 3; i++) {
		shell("rm -rf %s", dir);
		pass(SETTLED_US);
		cr_assert(answers());
		cr_assert(is_locked());
	}
}

Test(run_folder, is_made_anew_when_somebody_moves_it_away)
{
	shell("mv %s %s.gone", dir, dir);
	pass(SETTLED_US);
	cr_assert(answers());
	cr_assert(is_locked());
	/* What becomes of the folder that was moved is nothing to us any more. */
	shell("rm -rf %s.gone", dir);
	pass(SETTLED_US);
	cr_assert(answers());
}

Test(run_folder, keeps_the_clients_that_are_connected)
{
	int before = wire_connect(control_path, NULL), waiting;
	char byte;

	pass(0);
	waiting = wire_connect(control_path, NULL); /* and was not let in yet */
	cr_assert(before >= 0 && waiting >= 0);
	shell("rm -rf %s", dir);
	run_folder_look(folder);
	pass(SETTLED_US);
	cr_assert(answers());
	cr_assert(recv(before, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "it was dropped");
	cr_assert(recv(waiting, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "it was dropped");
	fd_close(before);
	fd_close(waiting);
}

Test(run_folder, of_somebody_else_is_refused_in_words_and_taken_when_it_is_mended)
{
	if (geteuid() != 0)
		cr_skip_test("to give a folder away needs root");
	shell("rm -rf %s && mkdir %s && chown 65534 %s", dir, dir, dir);
	pass(SETTLED_US);
	cr_assert_not(answers());
	cr_assert(strstr(log_caught(), "belongs to uid 65534, who could change it: chown 0 "), "%s", log_caught());
	cr_assert(strstr(log_caught(), "until that is mended, upgradectl cannot reach upgraded"), "%s", log_caught());
	cr_assert_neq(access(lock_path, F_OK), 0);
	shell("chown 0 %s", dir);
	pass(LATER_US);
	cr_assert(answers());
	cr_assert(is_locked());
}

Test(run_folder, says_once_what_is_wrong)
{
	const char *first;

	shell("rm %s && mkdir %s", control_path, control_path);
	pass(SETTLED_US);
	pass(LATER_US);
	pass(LATER_US);
	first = strstr(log_caught(), "is there already and is no socket");
	cr_assert(first, "%s", log_caught());
	cr_assert_null(strstr(first + 1, "is there already and is no socket"), "%s", log_caught());
	shell("rmdir %s", control_path);
	pass(SETTLED_US);
	cr_assert(answers());
}

Test(run_folder, that_others_may_write_to_is_told_when_it_is_looked_at)
{
	shell("chmod 0777 %s", dir);
	run_folder_look(folder);
	cr_assert(strstr(log_caught(), "can be written to by others"), "%s", log_caught());
	cr_assert(answers());
}

Test(run_folder, leaves_the_place_to_another_daemon_that_has_it)
{
	int lock;

	shell("rm -rf %s && mkdir %s", dir, dir);
	cr_assert_eq(folder_lock(dir, "lock", 0, &lock, NULL), 0);
	pass(SETTLED_US);
	cr_assert_not(answers());
	cr_assert(strstr(log_caught(), "another upgraded runs in"), "%s", log_caught());
	fd_close(lock);
	pass(LATER_US);
	cr_assert(answers());
}

Test(run_folder, that_is_shut_is_left_alone)
{
	run_folder_shut(folder);
	cr_assert_neq(access(control_path, F_OK), 0);
	shell("rm -rf %s", dir);
	run_folder_look(folder);
	pass(LATER_US);
	cr_assert_neq(access(dir, F_OK), 0);
}
