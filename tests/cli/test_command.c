/* SPDX-License-Identifier: MIT */
/* The whole tool but for main(): a command line in, a fake supervisor's answer, and what is on which stream. */
#include "cli/command.h"
#include "tests/cli/fake_server.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

TestSuite(command, .timeout = 30);

#define TEXT(literal) (__extension__({ static char text_[] = literal; text_; }))

static struct fake_server server;
static struct {
	char *out, *err;
	size_t out_size, err_size;
	int status;
} ran;

static void run_at(const char *socket_path, const char *line)
{
	static char words[256];
	struct term out = { .utf8 = true };
	struct term err = { .utf8 = true };
	struct args args = { 0 };
	struct why why = { "" };
	char *argv[16] = { NULL };
	char *save = NULL;
	int argc = 0;

	snprintf(words, sizeof(words), "upgradectl %s", line);
	for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	cr_assert_eq(args_parse(argc, argv, socket_path, &args, &why), ARGS_RUN, "%s", why.text);
	out.out = open_memstream(&ran.out, &ran.out_size);
	err.out = open_memstream(&ran.err, &ran.err_size);
	cr_assert(out.out && err.out);
	ran.status = command_run(&args, &out, &err);
	fclose(out.out);
	fclose(err.out);
}

static void run(void (*play)(struct fake_server *server, int fd), const char *line)
{
	fake_server_start(&server, play);
	run_at(server.path, line);
	fake_server_stop(&server);
}

static void done(void)
{
	free(ran.out);
	free(ran.err);
	fake_server_free(&server);
}

static void play_roll(struct fake_server *self, int fd)
{
	Upgraded__Wire__Result result;
	Upgraded__Wire__RollReport roll;

	(void)self;
	upgraded__wire__result__init(&result);
	upgraded__wire__roll_report__init(&roll);
	roll.from = TEXT("1");
	roll.to = TEXT("2");
	roll.outcome = TEXT("done");
	result.roll = &roll;
	fake_progress(fd, "standby", "pid 7", 1000);
	fake_progress(fd, "commit", "", 2000);
	fake_result(fd, &result);
}

Test(command, success_is_told_on_stdout_and_progress_on_stderr)
{
	run(play_roll, "roll web 2");
	cr_expect_eq(ran.status, 0);
	cr_expect(strstr(ran.out, "✓ web: 1 -> 2, done\n"), "%s", ran.out);
	cr_expect_str_eq(ran.err, "   0.001s  standby     pid 7\n"
				  "   0.002s  commit\n");
	done();
}

Test(command, sends_what_the_command_line_said)
{
	run(play_roll, "roll web 2 --wait=commit --rollback=image --bake=5s");
	cr_assert(server.asked);
	cr_assert_eq(server.asked->body_case, UPGRADED__WIRE__CONTROL_MESSAGE__BODY_REQUEST);
	cr_expect_eq(server.asked->request->protocol, WIRE_PROTOCOL);
	cr_expect_eq(server.asked->request->verb, UPGRADED__WIRE__VERB__VERB_ROLL);
	cr_expect_str_eq(server.asked->request->service, "web");
	cr_expect_str_eq(server.asked->request->version, "2");
	cr_expect(server.asked->request->wait_commit);
	cr_expect_str_eq(server.asked->request->rollback, "image");
	cr_expect_eq(server.asked->request->bake_us, 5000000u);
	done();
}

Test(command, leaves_out_what_the_command_line_did_not_say)
{
	run(play_roll, "start web");
	cr_assert(server.asked);
	cr_expect_str_eq(server.asked->request->version, "");
	cr_expect_str_eq(server.asked->request->rollback, "");
	cr_expect_eq(server.asked->request->bake_us, 0u);
	cr_expect_not(server.asked->request->wait_commit);
	done();
}

Test(command, quiet_says_nothing_of_a_success)
{
	run(play_roll, "-q roll web 2");
	cr_expect_eq(ran.status, 0);
	cr_expect_str_eq(ran.out, "");
	cr_expect_str_eq(ran.err, "");
	done();
}

Test(command, json_is_one_object_and_nothing_else)
{
	json_t *json;

	run(play_roll, "-o json roll web 2");
	cr_expect_eq(ran.status, 0);
	cr_expect_str_eq(ran.err, "");
	json = json_loads(ran.out, 0, NULL); /* refuses anything after the object */
	cr_assert(json, "%s", ran.out);
	cr_expect_str_eq(json_string_value(json_object_get(json_object_get(json, "roll"), "outcome")), "done");
	json_decref(json);
	done();
}

static void play_code(struct fake_server *self, int fd)
{
	Upgraded__Wire__Result result;

	upgraded__wire__result__init(&result);
	/* The version asked for is the code to answer with. */
	result.code = (uint32_t)strtoul(self->asked->request->version, NULL, 10);
	result.text = TEXT("as it happened");
	fake_result(fd, &result);
}

Test(command, the_result_code_is_the_exit_status)
{
	for (int code = 0; code < (int)upgraded__wire__exit_code__descriptor.n_values; code++) {
		char line[64];

		snprintf(line, sizeof(line), "roll web %d", code);
		run(play_code, line);
		cr_expect_eq(ran.status, code);
		cr_expect_eq(ran.out_size > 0, code == 0, "%s", ran.out);
		cr_expect_eq(ran.err_size > 0, code != 0, "%s", ran.err);
		done();
		snprintf(line, sizeof(line), "-o json roll web %d", code);
		run(play_code, line);
		cr_expect_eq(ran.status, code);
		cr_expect_gt(ran.out_size, 0u);
		cr_expect_eq(ran.err_size, 0u);
		done();
	}
}

Test(command, a_code_from_the_future_is_an_error)
{
	run(play_code, "roll web 256"); /* truncated to eight bits it would be a success */
	cr_expect_eq(ran.status, 1);
	done();
	run(play_code, "roll web 11");
	cr_expect_eq(ran.status, 1);
	done();
	run(play_code, "roll web 4294967295");
	cr_expect_eq(ran.status, 1);
	done();
}

Test(command, no_supervisor_is_an_error_with_advice)
{
	run_at("/nonexistent/control", "list");
	cr_expect_eq(ran.status, 1);
	cr_expect_str_eq(ran.out, "");
	cr_expect(strstr(ran.err, "/nonexistent"), "%s", ran.err);
	cr_expect(strstr(ran.err, "is upgraded running? systemctl status upgraded"), "%s", ran.err);
	done();
}

Test(command, no_supervisor_in_json_is_still_one_object)
{
	json_t *json;

	run_at("/nonexistent/control", "-o json list");
	cr_expect_eq(ran.status, 1);
	cr_expect_str_eq(ran.err, "");
	json = json_loads(ran.out, 0, NULL);
	cr_assert(json, "%s", ran.out);
	cr_expect_eq(json_integer_value(json_object_get(json, "code")), 1);
	cr_expect(strstr(json_string_value(json_object_get(json, "next")), "systemctl status upgraded"));
	json_decref(json);
	done();
}

static void play_silence(struct fake_server *self, int fd)
{
	(void)self;
	fake_progress(fd, "bake", "watching for 1h", 1000);
	fake_wait_closed(fd);
}

Test(command, giving_up_says_that_the_roll_goes_on)
{
	run(play_silence, "roll web 2 --timeout=30ms");
	cr_expect_eq(ran.status, 9);
	cr_expect_str_eq(ran.out, "");
	cr_expect(strstr(ran.err, "gave up waiting after 30ms"), "%s", ran.err);
	cr_expect(strstr(ran.err, "it goes on without this command: upgradectl status web"), "%s", ran.err);
	done();
}

static void play_death(struct fake_server *self, int fd)
{
	(void)self;
	fake_progress(fd, "quiesce", "4 threads", 1000);
}

Test(command, a_supervisor_that_dies_leaves_advice)
{
	run(play_death, "roll web 2");
	cr_expect_eq(ran.status, 1);
	cr_expect(strstr(ran.err, "upgraded went away"), "%s", ran.err);
	cr_expect(strstr(ran.err, "upgradectl status web"), "%s", ran.err);
	done();
}

static void play_garbage(struct fake_server *self, int fd)
{
	(void)self;
	send(fd, "\xff\xff\xff\xff", 4, MSG_NOSIGNAL);
	fake_wait_closed(fd);
}

Test(command, garbage_is_an_error)
{
	run(play_garbage, "check");
	cr_expect_eq(ran.status, 1);
	cr_expect_str_eq(ran.out, "");
	cr_expect(strstr(ran.err, "is no supervisor"), "%s", ran.err);
	done();
}

static void play_stopped_service(struct fake_server *self, int fd)
{
	Upgraded__Wire__Result result;
	Upgraded__Wire__ServiceStatus service;
	Upgraded__Wire__ServiceStatus *services[] = { &service };

	(void)self;
	upgraded__wire__result__init(&result);
	upgraded__wire__service_status__init(&service);
	service.name = TEXT("web");
	service.state = TEXT("stopped");
	result.services = services;
	result.n_services = 1;
	result.code = 3;
	result.text = TEXT("web is not running");
	fake_result(fd, &result);
}

Test(command, status_of_a_stopped_service_is_shown_with_its_code)
{
	run(play_stopped_service, "status web");
	cr_expect_eq(ran.status, 3);
	cr_expect(strstr(ran.out, "● web - stopped"), "%s", ran.out);
	cr_expect_str_eq(ran.err, "");
	done();
}

Test(command, output_that_cannot_be_written_is_no_success)
{
	struct args args = { .verb = UPGRADED__WIRE__VERB__VERB_ROLL, .verb_name = "roll", .service = "web", .version = "2" };
	struct term out = { .out = fopen("/dev/full", "w") };
	struct term err = { .out = fopen("/dev/null", "w") };

	cr_assert(out.out && err.out);
	fake_server_start(&server, play_roll);
	args.socket_path = server.path;
	cr_expect_eq(command_run(&args, &out, &err), 1);
	fake_server_stop(&server);
	fclose(out.out);
	fclose(err.out);
	fake_server_free(&server);
}

/* ---- the file of save ---- */

#define STATE_BYTES ((size_t)3 << 20) /* more than a pipe holds */

static void play_save(struct fake_server *self, int fd)
{
	Upgraded__Wire__Result result;
	char *state = malloc(STATE_BYTES);

	cr_assert_not_null(state);
	memset(state, 's', STATE_BYTES);
	upgraded__wire__result__init(&result);
	result.code = fd_write_all(self->file, state, STATE_BYTES, 0) < 0 ? WIRE_EXIT_ERROR : WIRE_EXIT_DONE;
	free(state);
	fake_result(fd, &result);
}

Test(command, a_save_gives_a_pipe_away_and_never_the_file)
{
	char folder[] = "/tmp/test-cli-save-XXXXXX", path[64], line[96], byte;
	struct stat file, given;

	signal(SIGPIPE, SIG_IGN);
	cr_assert(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/state", folder);
	snprintf(line, sizeof(line), "save web %s", path);
	run(play_save, line);
	cr_assert_eq(ran.status, 0, "%s", ran.err);
	cr_assert_eq(stat(path, &file), 0);
	cr_assert_eq((size_t)file.st_size, STATE_BYTES);
	cr_assert_eq(fstat(server.file, &given), 0);
	cr_assert(S_ISFIFO(given.st_mode));
	cr_assert_lt(read(server.file, &byte, 1), 0, "it can be written to only");
	cr_assert_lt(write(server.file, "x", 1), 0, "what comes after the answer goes nowhere");
	unlink(path);
	rmdir(folder);
	done();
}

static void play_refuse(struct fake_server *self, int fd)
{
	Upgraded__Wire__Result result;

	upgraded__wire__result__init(&result);
	result.code = WIRE_EXIT_ERROR;
	result.text = TEXT("web was not saved");
	cr_expect_eq(write(self->file, "half", 4), 4);
	fake_result(fd, &result);
}

Test(command, a_save_that_failed_leaves_no_file)
{
	char folder[] = "/tmp/test-cli-save-XXXXXX", line[96];

	cr_assert(mkdtemp(folder));
	snprintf(line, sizeof(line), "save web %s/state", folder);
	run(play_refuse, line);
	cr_assert_eq(ran.status, 1);
	cr_assert_eq(rmdir(folder), 0, "something is left");
	done();
}

Test(command, a_save_to_a_terminal_is_refused)
{
	int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), output = dup(STDOUT_FILENO);

	if (terminal < 0)
		cr_skip_test("there are no terminals here");
	cr_assert_eq(dup2(terminal, STDOUT_FILENO), STDOUT_FILENO);
	run_at("/nonexistent/control", "save web -");
	dup2(output, STDOUT_FILENO);
	close(output);
	close(terminal);
	cr_assert_eq(ran.status, 1);
	cr_assert(strstr(ran.err, "is a terminal"), "%s", ran.err);
	done();
}

Test(command, no_file_goes_to_a_stranger_who_listens)
{
	char folder[] = "/tmp/test-cli-stranger-XXXXXX", path[64];
	int listener;

	if (geteuid() != 0)
		cr_skip_test("to be two users needs root");
	cr_assert(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/control", folder);
	/* Who listens is who called listen(2). */
	cr_assert_eq(chmod(folder, 0777), 0);
	cr_assert_eq(syscall(SYS_setresuid, (uid_t)-1, (uid_t)65534, (uid_t)-1), 0);
	listener = wire_listen(path, 0600, NULL);
	cr_assert_eq(syscall(SYS_setresuid, (uid_t)-1, (uid_t)0, (uid_t)-1), 0);
	prctl(PR_SET_DUMPABLE, 1); /* a change of user clears it, and the leak checker needs it */
	cr_assert_geq(listener, 0);
	run_at(path, "start web --from /dev/null");
	cr_assert_eq(ran.status, 1);
	cr_assert(strstr(ran.err, "uid 65534"), "%s", ran.err);
	close(listener);
	unlink(path);
	rmdir(folder);
	free(ran.out);
	free(ran.err);
}
