/* SPDX-License-Identifier: MIT */
/* wire_connect() and wire_listen(): sockets in the file system. */
#include "base/fd.h"
#include "base/why.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(wire_path, .timeout = 20);

static char dir[64];
static char path[4096];
static struct why why;

static void setup(void)
{
	strcpy(dir, "/tmp/wire-path-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
}

static int remove_all(const char *what)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", what);
	return system(command);
}

static void teardown(void)
{
	cr_assert_eq(remove_all(dir), 0);
}

/* Listens at @at, and shows that a message comes through. */
static void expect_conversation(const char *at)
{
	FD_CLEANUP int listener = wire_listen(at, 0600, &why);
	FD_CLEANUP int client = wire_connect(at, &why);
	FD_CLEANUP int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char byte = 0;

	cr_assert_geq(listener, 0, "%s", why.text);
	cr_assert_geq(client, 0, "%s", why.text);
	cr_assert_geq(server, 0);
	cr_assert_eq(send(client, "x", 1, 0), 1);
	cr_assert_eq(recv(server, &byte, 1, 0), 1);
	cr_assert_eq(byte, 'x');
}

Test(wire_path, connects_who_calls_with_who_listens, .init = setup, .fini = teardown)
{
	expect_conversation(path);
}

Test(wire_path, reaches_a_socket_whose_path_is_longer_than_an_address, .init = setup, .fini = teardown)
{
	size_t used = (size_t)snprintf(path, sizeof(path), "%s", dir);

	for (unsigned i = 0; i < 10; i++) {
		used += (size_t)snprintf(path + used, sizeof(path) - used, "/%0100u", i);
		cr_assert_eq(mkdir(path, 0700), 0);
	}
	snprintf(path + used, sizeof(path) - used, "/socket");
	cr_assert_gt(strlen(path), 1000);
	expect_conversation(path);
}

Test(wire_path, takes_a_path_relative_to_the_working_directory, .init = setup, .fini = teardown)
{
	cr_assert_eq(chdir(dir), 0);
	expect_conversation("here");
	cr_assert_eq(access(path, F_OK), -1);
	cr_assert_eq(chdir("/"), 0);
}

Test(wire_path, takes_a_socket_in_the_root_directory)
{
	expect_conversation("/wire-path-test");
	cr_assert_eq(unlink("/wire-path-test"), 0);
}

Test(wire_path, refuses_names_that_cannot_be_sockets, .init = setup, .fini = teardown)
{
	char name[200];

	cr_assert_eq(wire_connect("", &why), -EINVAL);
	snprintf(path, sizeof(path), "%s/", dir);
	cr_assert_eq(wire_listen(path, 0600, &why), -EINVAL);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	cr_assert_eq(wire_connect(path, &why), -ENAMETOOLONG);
	memset(path, 'd', sizeof(path) - 1);
	path[0] = path[sizeof(path) - 3] = '/';
	path[sizeof(path) - 1] = 0;
	cr_assert_eq(wire_connect(path, &why), -ENAMETOOLONG);
}

Test(wire_path, says_what_is_missing, .init = setup, .fini = teardown)
{
	cr_assert_eq(wire_connect(path, &why), -ENOENT);
	cr_assert(strstr(why.text, path), "%s", why.text);
	snprintf(path, sizeof(path), "%s/none/socket", dir);
	cr_assert_eq(wire_listen(path, 0600, &why), -ENOENT);
	cr_assert(strstr(why.text, "/none/"), "%s", why.text);
}

Test(wire_path, gives_the_socket_its_mode, .init = setup, .fini = teardown)
{
	mode_t mask = umask(0);
	FD_CLEANUP int listener = wire_listen(path, 0620, &why);
	struct stat st;

	umask(mask);
	cr_assert_geq(listener, 0, "%s", why.text);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 07777, 0620);
	cr_assert(fcntl(listener, F_GETFD) & FD_CLOEXEC);
	cr_assert(fcntl(listener, F_GETFL) & O_NONBLOCK);
}

Test(wire_path, replaces_a_socket_nobody_answers_on, .init = setup, .fini = teardown)
{
	int stale = wire_listen(path, 0600, &why);

	cr_assert_geq(stale, 0, "%s", why.text);
	fd_close(stale);
	cr_assert_eq(access(path, F_OK), 0);
	expect_conversation(path);
}

Test(wire_path, leaves_a_socket_alone_that_somebody_answers_on, .init = setup, .fini = teardown)
{
	FD_CLEANUP int live = wire_listen(path, 0600, &why);
	struct stat before, after;

	cr_assert_eq(stat(path, &before), 0);
	cr_assert_eq(wire_listen(path, 0600, &why), -EADDRINUSE);
	cr_assert(strstr(why.text, path), "%s", why.text);
	cr_assert_eq(stat(path, &after), 0);
	cr_assert_eq(before.st_ino, after.st_ino);
	cr_assert_geq(wire_connect(path, &why), 0);
	(void)live;
}

Test(wire_path, leaves_a_socket_alone_whose_owner_is_too_busy_to_answer, .init = setup, .fini = teardown)
{
	FD_CLEANUP int live = wire_listen(path, 0600, &why);
	struct stat before, after;

	/* A full backlog answers EAGAIN to a caller that does not wait, and holds up one that does. */
	cr_assert_eq(listen(live, 0), 0);
	cr_assert_geq(wire_connect(path, &why), 0);
	cr_assert_eq(stat(path, &before), 0);
	cr_assert_eq(wire_listen(path, 0600, &why), -EADDRINUSE);
	cr_assert_eq(stat(path, &after), 0);
	cr_assert_eq(before.st_ino, after.st_ino);
}

Test(wire_path, leaves_a_file_alone_that_is_no_socket, .init = setup, .fini = teardown)
{
	FD_CLEANUP int file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	cr_assert_geq(file, 0);
	cr_assert_eq(wire_listen(path, 0600, &why), -EEXIST);
	cr_assert(strstr(why.text, path), "%s", why.text);
	cr_assert_eq(access(path, F_OK), 0, "a file that is not ours was removed");
}
