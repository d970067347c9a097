/* SPDX-License-Identifier: MIT */
/* Real processes to image. For each kind of thing a process may have open: `plan` says what will become of it, and a roll to a
 * version that dies, answered by the real CRIU, proves that it was right. tests/integration/apps/upg-menagerie.c keeps one of
 * each, and shows on request that it works. */
#include "tests/integration/chatters.h"
#include "tests/integration/stage.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

STAGE(processes, 90);

#define SHOWN_US (20 * USEC_PER_SEC)

/* ---- the other process: echoes what it gets, and gives a pipe to who asks with a "p" ---- */

static void give_pipe(int connection)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = "" };
	char byte = 'p';
	struct iovec data = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return;
	control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.head), &pair[1], sizeof(int));
	(void)!sendmsg(connection, &message, MSG_NOSIGNAL);
	close(pair[1]);
	/* The read end stays open: this process is the reader for as long as it lives. */
}

static void *echo(void *argument)
{
	int connection = (int)(intptr_t)argument;
	char byte;

	while (recv(connection, &byte, 1, 0) == 1) {
		if (byte == 'p')
			give_pipe(connection);
		else if (send(connection, &byte, 1, MSG_NOSIGNAL) != 1)
			break;
	}
	close(connection);
	return NULL;
}

static void *give(void *argument)
{
	int listener = (int)(intptr_t)argument, connection;

	while ((connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, echo, (void *)(intptr_t)connection) == 0)
			pthread_detach(thread);
	}
	return NULL;
}

static void start_giving(int listener)
{
	pthread_t thread;

	cr_assert_eq(listen(listener, 16), 0);
	cr_assert_eq(pthread_create(&thread, NULL, give, (void *)(intptr_t)listener), 0);
	pthread_detach(thread);
}

static uint16_t be_the_other_process(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct sockaddr_in tcp = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(tcp);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_lt(snprintf(address.sun_path, sizeof(address.sun_path), "%s", stage_path("zoo/giver")),
		     (int)sizeof(address.sun_path));
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	start_giving(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&tcp, sizeof(tcp)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&tcp, &length), 0);
	start_giving(fd);
	return ntohs(tcp.sin_port);
}

/* ---- the menagerie as the service ---- */

static void write_file(const char *kinds, uint16_t tcp, const char *more)
{
	char *text = NULL;

	cr_assert_gt(asprintf(&text,
			      "[Service]\nExec=%s/menagerie-%%v %u %s %s\nBake=1min\nRollback=image\nVersion=v1\n"
			      "Environment=MENAGERIE_TCP=%u\n%s",
			      rig_folder(stage.rig), stage.port, stage_path("zoo"), kinds, tcp, more), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
}

static const char *more_lines = ""; /* of the service file */

/* Each version is a file of its own, as CRIU wants it. */
static void keep(const char *kinds)
{
	stage_copy("menagerie-v1", "upg-menagerie");
	stage_copy("menagerie-v2", "upg-menagerie");
	stage_copy("menagerie-bare", "upg-menagerie");
	cr_assert_eq(mkdir(stage_path("zoo"), 0700), 0);
	write_file(kinds, be_the_other_process(), more_lines);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
}

static const char *ask(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static const char *ask(const char *fmt, ...)
{
	static char text[256];
	int fd = client_open();
	size_t used = 0;
	va_list args;
	ssize_t n;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	cr_assert_gt(send(fd, text, strlen(text), MSG_NOSIGNAL), 0);
	while ((n = recv(fd, text + used, sizeof(text) - 1 - used, 0)) > 0)
		used += (size_t)n;
	text[used] = 0;
	text[strcspn(text, "\n")] = 0;
	close(fd);
	return text;
}

static void works(const char *kind)
{
	cr_assert_str_eq(ask("prove %s\n", kind), "ok", "%s: %s", kind, ask("prove %s\n", kind));
}

/* The running version is planned to be replaced; what is said of it as @kind; NULL: nothing. */
static const json_t *said_of(const json_t *answer, const char *kind)
{
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(answer, "plan"), "obstacles"), i, entry)
		if (strcmp(rig_text(entry, "kind"), kind) == 0)
			return entry;
	return NULL;
}

/* @next takes over, its predecessor becomes an image, and then it dies: the image is what answers. */
static void fall_back_from(const char *next, const char *outcome)
{
	const json_t *answer;
	pid_t pid = stage_pid("serving");

	ctl(0, "roll", "cached", next, "--wait=commit");
	stage_wait_bake(next);
	answer = ctl(0, "status", "cached");
	cr_assert_str_eq(rig_text(answer, "services.0.last_roll.way_back"), "image", "%s", json_dumps(answer, 0));
	ask("die\n");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	answer = ctl(0, "status", "cached");
	cr_assert_str_eq(rig_text(answer, "services.0.last_roll.outcome"), outcome, "%s", json_dumps(answer, 0));
	if (strcmp(outcome, "rolled-back-image") == 0)
		cr_assert_eq(stage_pid("serving"), pid);
}

static void fall_back(const char *outcome)
{
	fall_back_from("v2", outcome);
}

static unsigned lines_of(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned n = 0;
	int c;

	cr_assert_not_null(file);
	while ((c = getc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

/* ---- what comes back as it was: plan has nothing to say of it ---- */

static const char *const unharmed[] = { "log", "removed", "memfd", "pipe", "socketpair", "timerfd", "eventfd",
					"signalfd", "inotify", "null", "pty", "registered-listener", "registered-peer" };
#define N_UNHARMED (sizeof(unharmed) / sizeof(*unharmed))

SCENE(processes, come_back_with_all_that_is_their_own)
{
	const json_t *answer;
	char kinds[512] = "";

	for (size_t i = 0; i < N_UNHARMED; i++)
		snprintf(kinds + strlen(kinds), sizeof(kinds) - strlen(kinds), " %s", unharmed[i]);
	keep(kinds);
	for (size_t i = 0; i < N_UNHARMED; i++)
		works(unharmed[i]);
	answer = ctl(0, "plan", "cached", "v2");
	cr_assert_eq(rig_number(answer, "plan.fatal"), 0, "%s", json_dumps(answer, 0));
	cr_assert_eq(rig_number(answer, "plan.warnings"), 0, "%s", json_dumps(answer, 0));
	fall_back("rolled-back-image");
	for (size_t i = 0; i < N_UNHARMED; i++)
		works(unharmed[i]);
	/* One line of before, one of after. */
	cr_assert_eq(lines_of(stage_path("zoo/log")), 2);
}

/* ---- what comes back, but not as it was: plan warns ---- */

/* A process that keeps @kind: plan warns of it as @as, with @words. */
static void warned(const char *kind, const char *as, const char *words)
{
	const json_t *answer, *said;

	keep(kind);
	works(kind);
	answer = ctl(0, "plan", "cached", "v2");
	said = said_of(answer, as);
	cr_assert_not_null(said, "nothing is said of it: %s", json_dumps(answer, 0));
	cr_assert(json_is_false(json_object_get(said, "fatal")), "%s", json_dumps(said, 0));
	cr_assert(strstr(rig_text(said, "text"), words), "%s", json_dumps(said, 0));
}

SCENE(processes, lose_the_other_end_of_a_pipe)
{
	warned("foreign-pipe", "pipe", "will not be there after a restore");
	fall_back("rolled-back-image");
	cr_assert_str_eq(ask("prove foreign-pipe\n"), "broken write: Broken pipe");
}

SCENE(processes, keep_shared_memory_to_themselves)
{
	warned("shared-memfd", "shared mapping", "a copy of its own");
	fall_back("rolled-back-image");
	works("shared-memfd");
}

SCENE(processes, listen_on_their_path_again)
{
	warned("listener", "unix listener", "nobody listens there while the process is an image");
	fall_back_from("bare", "rolled-back-image");
	works("listener");
}

SCENE(processes, are_not_found_on_a_path_that_their_successor_took)
{
	warned("listener", "unix listener", "if the next version takes its path, it is not found there any more");
	fall_back("rolled-back-image");
	cr_assert(strncmp(ask("prove listener\n"), "broken connect", 14) == 0, "%s", ask("prove listener\n"));
}

SCENE(processes, bring_their_children_along)
{
	more_lines = "Children=end\n";
	warned("child", "child processes", "they go into the image");
	fall_back("rolled-back-image");
	works("child");
	ctl(0, "stop", "cached");
	stage_wait_processes(1);
}

SCENE(processes, lose_a_connection_that_was_not_registered)
{
	warned("tcp", "internet socket", "will be closed after a restore");
	fall_back("rolled-back-image");
	cr_assert(strncmp(ask("prove tcp\n"), "broken write", 12) == 0, "%s", ask("prove tcp\n"));
}

SCENE(processes, have_their_datagram_socket_again)
{
	warned("udp", "internet socket", "is lost");
	fall_back("rolled-back-image");
	works("udp");
}

SCENE(processes, have_a_file_again_where_they_stood_in_it)
{
	warned("file", "file", "must not change after the image");
	fall_back("rolled-back-image");
	works("file");
}

SCENE(processes, cannot_come_back_to_a_file_that_grew)
{
	keep("file");
	works("file");
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	works("file");
	works("file");
	ask("die\n");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_str_eq(rig_text(ctl(0, "status", "cached"), "services.0.last_roll.outcome"), "cold-start");
	stage_wait_log("was changed since the image was taken: it has 10 bytes and had 5");
}

/* ---- what cannot be imaged: plan says so, --require-image refuses ---- */

static void refused(const char *kind, const char *as, const char *words)
{
	const json_t *answer, *said;
	pid_t pid;

	keep(kind);
	works(kind);
	pid = stage_pid("serving");
	answer = ctl(1, "plan", "cached", "v2");
	said = said_of(answer, as);
	cr_assert_not_null(said, "nothing is said of it: %s", json_dumps(answer, 0));
	cr_assert(json_is_true(json_object_get(said, "fatal")), "%s", json_dumps(said, 0));
	cr_assert(strstr(rig_text(said, "text"), words), "%s", json_dumps(said, 0));
	answer = ctl(5, "roll", "cached", "v2", "--require-image");
	must_say(answer, words);
	must_say(answer, "nothing was touched");
	cr_assert_eq(stage_pid("serving"), pid);
	works(kind);
	/* Without the demand the roll is done, and goes back to the process that was kept instead. */
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	ask("die\n");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_str_eq(rig_text(ctl(0, "status", "cached"), "services.0.last_roll.outcome"), "rolled-back-parked");
	works(kind);
}

SCENE(processes, with_half_of_a_unix_connection_have_no_image)
{
	refused("peer", "unix peer", "connected to another process");
}

SCENE(processes, whose_children_stay_with_the_service_have_no_image)
{
	refused("child", "child processes", "they are to go on without it");
	ctl(0, "stop", "cached");
	stage_wait_processes(1);
}

SCENE(processes, with_a_terminal_have_no_image)
{
	refused("terminal", "terminal", "cannot be imaged");
}

SCENE(processes, with_a_removed_file_of_another_name_have_no_image)
{
	refused("renamed", "removed file", "was removed under this name but has others");
}

SCENE(processes, with_io_uring_have_no_image)
{
	struct io_uring_params params = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);

	if (fd < 0)
		cr_skip_test("this kernel gives no io_uring");
	close(fd);
	refused("io_uring", "io_uring", "nothing that CRIU can image");
}

/* ---- what would go on taking from connections beside the next version ---- */

static void is_rolled_only_if_allowed(const char *kind, int status, const char *cause)
{
	const json_t *answer;

	keep(kind);
	answer = ctl(status, "roll", "cached", "bare", "--rollback=parked");
	must_say(answer, cause);
	must_say(answer, "OtherReaders=allow");
	cr_assert_str_eq(rig_text(ctl(0, "status", "cached"), "services.0.version"), "v1");
	write_file(kind, 0, "OtherReaders=allow\n");
	ctl(0, "roll", "cached", "bare", "--rollback=parked", "--wait=commit");
	stage_wait_bake("bare");
}

SCENE(processes, with_io_uring_are_rolled_only_if_that_is_allowed)
{
	struct io_uring_params params = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);

	if (fd < 0)
		cr_skip_test("this kernel gives no io_uring");
	close(fd);
	is_rolled_only_if_allowed("ring", 5, "uses io_uring");
}

SCENE(processes, with_an_unknown_thread_on_a_registered_socket_are_rolled_only_if_that_is_allowed)
{
	is_rolled_only_if_allowed("taker", 6, "waits in recv() of the registered descriptor");
}

/* ---- the examples, as large as they are in earnest ---- */

SCENE(processes, with_a_thousand_connections_and_four_threads_come_back)
{
	const json_t *answer;

	stage_serve(&(struct rig_cached){ .version = "v2",
					  .threads = 4,
					  .lines = "Bake=20s\nRollback=image\nEnvironment=CACHED_BREAK_AFTER=4000\n" }, NULL);
	stage_load(1000);
	answer = ctl(0, "plan", "cached", "v3-crash-after");
	cr_assert(json_is_true(json_object_get(json_object_get(answer, "plan"), "inventory")));
	/* Its listener and the clients'. */
	cr_assert_eq(rig_number(answer, "plan.registered"), 1001);
	cr_assert_eq(rig_number(answer, "plan.fatal"), 0, "%s", json_dumps(answer, 0));
	cr_assert_eq(rig_number(answer, "plan.warnings"), 0, "%s", json_dumps(answer, 0));
	stage_crash("v3-crash-after", "rolled-back-image");
	stage_load_spotless();
}

SCENE(processes, with_threads_blocked_in_read_come_back)
{
	enum { N = 50 };
	struct chatter chatters[N], culprit;
	const json_t *answer;
	char *text = NULL;

	cr_assert_gt(asprintf(&text, "[Service]\nExec=%s-%%v -p %u\nVersion=v1\nBake=1min\nRollback=image\nRequireImage=yes\n",
			      rig_program(stage.rig, "examples/chatd"), stage.port), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", text), 0);
	free(text);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", "cached");
	for (unsigned i = 0; i < N; i++) {
		chatter_open(&chatters[i], stage.port, 0);
		chatter_ask(&chatters[i], "NICK guest%u", i);
		cr_assert_str_eq(chatter_ask(&chatters[i], "JOIN room%u", i), "OK");
	}
	answer = ctl(0, "plan", "cached", "v2-crash");
	cr_assert_eq(rig_number(answer, "plan.registered"), N + 1);
	cr_assert_eq(rig_number(answer, "plan.fatal"), 0, "%s", json_dumps(answer, 0));
	cr_assert_eq(rig_number(answer, "plan.warnings"), 0, "%s", json_dumps(answer, 0));
	ctl(0, "roll", "cached", "v2-crash", "--wait=commit");
	stage_wait_bake("v2-crash");
	chatter_open(&culprit, stage.port, 0);
	chatter_send(&culprit, "CRASH\n");
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", SHOWN_US), 0);
	cr_assert_str_eq(rig_text(ctl(0, "status", "cached"), "services.0.last_roll.outcome"), "rolled-back-image");
	for (unsigned i = 0; i < N; i++) {
		char *who = chatter_list(&chatters[i], "WHO room%u", i);

		cr_assert(strstr(who, "guest"), "%s", who);
		free(who);
		chatter_close(&chatters[i]);
	}
	chatter_close(&culprit);
}
