/* SPDX-License-Identifier: MIT */
/* Bad input: service files, versions, names, programs that are none of ours, noise on either socket. Each gets one clear
 * message and its exit status, and whoever serves does not notice. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

STAGE(input, 60);

#define SHOWN_US (10 * USEC_PER_SEC)
#define N_SILENT 100

/* ---- service files ---- */

static void write_unit(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void write_unit(const char *fmt, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, fmt);
	cr_assert_gt(vasprintf(&text, fmt, args), 0);
	va_end(args);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
}

/* Where the file is bad, neither a start nor a roll gets anywhere. */
static void is_refused(const char *text, const char *message)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	stage_load(50);
	write_unit("%s", text);
	answer = ctl(5, "roll", "cached", "v2");
	must_say(answer, message);
	must_say(answer, "version v1 (pid ");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	/* With the file mended, the next one goes well. */
	stage_unit(&(struct rig_cached){ .lines = "Bake=100ms\n" });
	ctl(0, "roll", "cached", "v2");
	stage_load_spotless();
	ctl(0, "stop", "cached");
	write_unit("%s", text);
	must_say(ctl(1, "start", "cached"), message);
}

SCENE(input, a_service_file_with_an_unknown_key_is_refused)
{
	is_refused("[Service]\nExec=/bin/x-%v\nColour=blue\n", "cached.conf:3: unknown key Colour=");
}

SCENE(input, a_service_file_with_a_bad_value_is_refused)
{
	is_refused("[Service]\n\nBake=soon\nExec=/bin/x-%v\n", "cached.conf:3: Bake=soon: expected a duration");
}

SCENE(input, a_service_file_without_versions_is_refused)
{
	is_refused("[Service]\nVersion=v1\nExec=/bin/cat\n", "cached.conf:3: Exec=");
}

SCENE(input, a_service_file_that_is_noise_is_refused)
{
	is_refused("[Service]\nExec=/bin/x-%v\n\x01\xff\xfe neither\n", "cached.conf:3:");
}

SCENE(input, a_service_file_whose_program_is_missing_is_refused)
{
	is_refused("[Service]\nVersion=v2\nExec=/nonexistent/server-%v\n", "/nonexistent/server-v2");
}

SCENE(input, a_service_file_whose_program_is_no_program_is_refused)
{
	is_refused("[Service]\nVersion=v2\nUser=root\nExec=/proc/self/../../etc/passwd%v\n", "cached.conf:4: version v2:");
}

SCENE(input, a_version_that_there_is_not_is_refused)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	stage_load(50);
	answer = ctl(5, "roll", "cached", "v9");
	must_say(answer, "cached-v9");
	must_say(answer, "cached.conf:");
	must_say(answer, "nothing was touched");
	must_say(ctl(0, "roll", "cached", "v1"), "runs version v1 already");
	stage_load_spotless();
}

SCENE(input, names_that_are_paths_are_refused_by_the_tool)
{
	static const char *const names[] = { "../cached", "a/b", "/etc/passwd", ".hidden", "..", "" };

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		ctl(2, "roll", "cached", names[i]);
		ctl(2, "roll", names[i], "v2");
		ctl(2, "start", names[i]);
		ctl(2, "status", names[i]);
	}
	ctl(2, "turn", "cached");
	ctl(2, "roll", "cached", "v2", "--rollback=sometimes");
	ctl(2, "roll", "cached", "v2", "--bake=later");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
}

/* ---- programs that are none of ours ---- */

static void serve_actor(const char *version, const char *lines)
{
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	write_unit("[Service]\nExec=%s/cached-%%v\nVersion=%s\nBake=100ms\n%s", rig_folder(stage.rig), version, lines);
}

SCENE(input, a_program_without_the_library_does_not_start)
{
	const json_t *answer;

	stage_link("cached-v1", "/bin/cat");
	stage_link("cached-v2", "/bin/sh");
	serve_actor("v1", "StartTimeout=500ms\n");
	answer = ctl(1, "start", "cached");
	must_say(answer, "pid ");
	write_unit("[Service]\nExec=/bin/sleep%%v 1000\nStartTimeout=500ms\n");
	must_say(ctl(1, "start", "cached", "v1"), "/bin/sleepv1");
	stage_wait_processes(1);
}

SCENE(input, a_program_that_never_says_hello_does_not_start)
{
	stage_link("cached-v1", "/bin/sleep");
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	write_unit("[Service]\nExec=%s/cached-%%v 1000\nStartTimeout=500ms\n", rig_folder(stage.rig));
	must_say(ctl(1, "start", "cached", "v1"), "linked with libupgrade");
	ctl(3, "status", "cached");
	stage_wait_processes(1);
}

/* One actor serves; rolls to the others are refused, by what they have to say for themselves. */
static void is_refused_as_new(const char *version, const char *of, int status, const char *message)
{
	const json_t *answer;
	char name[64];
	pid_t pid;

	stage_link("cached-good", "upg-actor");
	stage_link("cached-better", "upg-actor");
	snprintf(name, sizeof(name), "cached-%s", version);
	stage_link(name, of);
	serve_actor("good", "StartTimeout=700ms\nTransferTimeout=2s\n");
	ctl(0, "start", "cached");
	pid = stage_pid("serving");
	answer = ctl(status, "roll", "cached", version);
	must_say(answer, message);
	cr_assert_eq(stage_pid("serving"), pid);
	stage_wait_processes(2);
	ctl(0, "roll", "cached", "better");
}

SCENE(input, a_program_without_the_library_is_refused_as_new)
{
	is_refused_as_new("foreign", "/bin/cat", 5, "foreign");
}

SCENE(input, a_program_that_never_says_hello_is_refused_as_new)
{
	/* A shell that reads from the channel it was given, and understands nothing. */
	is_refused_as_new("mute", "upg-actor", 5, "linked with libupgrade");
}

SCENE(input, a_version_that_does_not_know_a_type_is_refused)
{
	is_refused_as_new("stranger", "upg-actor", 5, "does not know the type app.Note");
}

SCENE(input, a_version_without_a_migration_path_is_refused)
{
	is_refused_as_new("gap", "upg-actor", 5, "no migration of app.Note from version 1");
}

SCENE(input, a_version_with_other_fields_under_the_same_number_is_refused)
{
	is_refused_as_new("changed", "upg-actor", 5, "not the same fields");
}

SCENE(input, noise_on_the_channel_of_a_new_version_is_refused)
{
	is_refused_as_new("noise", "upg-actor", 5, "(pid ");
}

SCENE(input, noise_after_the_hello_of_a_new_version_is_refused)
{
	/* Old was told by then, so it is called off rather than refused. */
	is_refused_as_new("noise-later", "upg-actor", 6, "(pid ");
}

SCENE(input, noise_on_the_channel_of_the_serving_version_is_ignored)
{
	pid_t pid;

	stage_link("cached-noisy", "upg-actor");
	stage_link("cached-better", "upg-actor");
	serve_actor("noisy", "");
	ctl(0, "start", "cached");
	pid = stage_pid("serving");
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(kill(pid, SIGUSR2), 0); /* more noise */
		cr_assert_eq(stage_pid("serving"), pid);
	}
	ctl(0, "roll", "cached", "better");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "better", SHOWN_US), 0);
}

/* ---- the control socket ---- */

static int control_open(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	cr_assert_lt(strlen(rig_control_path(stage.rig)), sizeof(address.sun_path), "the checkout lies too deep for this test");
	strcpy(address.sun_path, rig_control_path(stage.rig));
	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0, "%s", strerror(errno));
	return fd;
}

SCENE(input, noise_on_the_control_socket_is_answered_and_survived)
{
	static char noise[200000];
	static const size_t sizes[] = { 1, 2, 7, 64, 1000, 4096, 65536, 100000, 200000 };

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	stage_load(50);
	srand(1);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)rand();
	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			int fd = control_open();

			/* Larger than a message may be: the kernel or the daemon says no, and that is fine. */
			(void)send(fd, noise + round, sizes[i], MSG_NOSIGNAL);
			(void)send(fd, noise + round, sizes[i], MSG_NOSIGNAL | MSG_DONTWAIT);
			close(fd);
		}
	}
	ctl(0, "status", "cached");
	ctl(0, "roll", "cached", "v2");
	stage_load_spotless();
}

SCENE(input, descriptors_on_the_control_socket_are_dropped)
{
	char byte = 0, space[CMSG_SPACE(sizeof(int) * 8)];
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fds[8], fd, pipes[2];

	stage_serve(&(struct rig_cached){ 0 }, NULL);
	cr_assert_eq(pipe(pipes), 0);
	for (int i = 0; i < 8; i++)
		fds[i] = pipes[1];
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(header), fds, sizeof(fds));
	fd = control_open();
	cr_assert_eq(sendmsg(fd, &message, MSG_NOSIGNAL), 1);
	close(pipes[1]);
	/* Once the daemon has let its copies go, the pipe is at its end. */
	cr_assert_eq(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	close(fd);
	ctl(0, "status", "cached");
}

SCENE(input, silent_connections_do_not_keep_the_daemon_from_others)
{
	int fds[N_SILENT];

	stage_serve(&(struct rig_cached){ .lines = "Bake=100ms\n" }, NULL);
	for (int i = 0; i < N_SILENT; i++)
		fds[i] = control_open();
	ctl(0, "status", "cached", "--timeout=10s");
	ctl(0, "roll", "cached", "v2", "--timeout=10s");
	for (int i = 0; i < N_SILENT; i++)
		close(fds[i]);
	ctl(0, "status", "cached");
}
