/* SPDX-License-Identifier: MIT */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 10
#define LOOK_AGAIN_MS 10u
#define LOG_TIMEOUT_US (20 * USEC_PER_SEC)
#define PROCESSES_TIMEOUT_US (20 * USEC_PER_SEC)

struct stage stage;

static struct rig_answer last; /* of upgradectl */

/* ---- life ---- */

void stage_open(void)
{
	stage = (struct stage){ 0 };
	cr_assert_eq(rig_new("integration", &stage.rig), 0);
	stage.port = rig_port(stage.rig);
}

void stage_abandon(void)
{
	rig_answer_done(&last);
	stage.load = NULL;
	stage.rig = rig_free(stage.rig);
}

void stage_close(void)
{
	bool load_left = stage.load, images_left = false;
	int rc = 0;

	if (!stage.rig)
		return;
	if (rig_daemon_pid(stage.rig)) {
		rc = rig_daemon_stop(stage.rig);
		images_left = stage_images(".tmp") > 0;
	}
	stage_abandon();
	cr_assert_eq(rc, 0);
	cr_assert_not(images_left, "half images are left behind");
	cr_assert_not(load_left, "the load was never looked at");
}

void stage_unit(const struct rig_cached *cached)
{
	struct rig_cached whole = *cached;

	if (!whole.port)
		whole.port = stage.port;
	if (!whole.options)
		whole.options = "-c 4000";
	cr_assert_eq(rig_cached_write(stage.rig, "cached", &whole), 0);
}

void stage_serve(const struct rig_cached *cached, const char *criu)
{
	stage_unit(cached);
	cr_assert_eq(rig_daemon_start(stage.rig, criu), 0);
	ctl(0, "start", "cached");
}

/* ---- load ---- */

void stage_load(unsigned connections)
{
	struct rig_load_options options = { .connections = connections, .keys = 4, .rate = 3000, .values = "16-600" };

	stage.connections = connections;
	cr_assert_eq(rig_load_start(stage.rig, stage.port, &options, &stage.load), 0);
}

void stage_load_spotless(void)
{
	json_t *report = NULL;
	int status = -1;

	cr_assert_eq(rig_load_stop(stage.load, &report, &status), 0);
	stage.load = NULL;
	cr_assert_eq(rig_number(report, "wrong"), 0);
	cr_assert_eq(rig_number(report, "failed"), 0);
	cr_assert_eq(rig_number(report, "lost_connections"), 0);
	cr_assert_eq(rig_number(report, "connections"), (int64_t)stage.connections);
	cr_assert_gt(rig_number(report, "requests"), (int64_t)stage.connections);
	cr_assert_eq(status, 0);
	json_decref(report);
}

void stage_load_missed_nothing(void)
{
	json_t *report = NULL;

	cr_assert_eq(rig_load_ask(stage.load, &report, "report"), 0);
	if (rig_number(report, "wrong") || rig_number(report, "failed") || rig_number(report, "lost_connections"))
		rig_fail(stage.rig, -EPROTO, "the load client missed something");
	cr_assert_eq(rig_number(report, "wrong"), 0);
	cr_assert_eq(rig_number(report, "failed"), 0);
	cr_assert_eq(rig_number(report, "lost_connections"), 0);
	json_decref(report);
}

void stage_comes_back_parked(void)
{
	pid_t parked = stage_pid("parked");
	json_t *status;

	cr_assert_eq(kill(stage_pid("serving"), SIGKILL), 0);
	rig_reap(stage.rig);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", 10 * USEC_PER_SEC), 0);
	cr_assert_eq(stage_pid("serving"), parked);
	status = rig_status(stage.rig, "cached");
	cr_assert_str_eq(rig_text(json_object_get(status, "last_roll"), "outcome"), "rolled-back-parked");
	stage_settle(json_object_get(status, "last_roll"));
	json_decref(status);
}

void stage_settle(const json_t *roll)
{
	json_t *settled = NULL;

	cr_assert_gt(rig_number(roll, "commit_us"), 0);
	cr_assert_geq(rig_number(roll, "resume_us"), rig_number(roll, "commit_us"), "%s", json_dumps(roll, 0));
	cr_assert_eq(rig_load_ask(stage.load, &settled, "settle %lld %lld", (long long)rig_number(roll, "commit_us"),
				  (long long)rig_number(roll, "resume_us")), 0);
	cr_assert_eq(rig_number(settled, "wrong"), 0);
	cr_assert_eq(rig_number(settled, "served_by_lost"), 0);
	cr_assert_eq(rig_number(settled, "kept"), rig_number(roll, "kept"));
	cr_assert_eq(rig_number(settled, "reset"), rig_number(roll, "reset"));
	cr_assert_eq(rig_number(settled, "kept") + rig_number(settled, "reset"), (int64_t)stage.connections);
	json_decref(settled);
}

void stage_crash(const char *version, const char *outcome)
{
	const json_t *answer;

	cr_assert_eq(rig_load_ask(stage.load, NULL, "crash"), 0);
	answer = ctl(6, "roll", "cached", version);
	if (outcome)
		cr_assert_str_eq(rig_text(answer, "roll.outcome"), outcome);
	cr_assert_gt(rig_number(answer, "roll.reset"), 0, "a version that served none of its connections did not fail late");
	stage_settle(json_object_get(answer, "roll"));
}

/* ---- upgradectl ---- */

const json_t *stage_ctl(int status, const char *const words[])
{
	const char *word[WORDS_MAX] = { NULL };

	for (size_t i = 0; words[i]; i++) {
		cr_assert_lt(i, (size_t)WORDS_MAX);
		word[i] = words[i];
	}
	rig_answer_done(&last);
	cr_assert_eq(rig_ctl(stage.rig, &last, word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7], word[8],
			     word[9], NULL), 0);
	if (last.status != status)
		rig_fail(stage.rig, -EPROTO, "upgradectl %s %s %s ended with status %d, not %d\n%s%s", word[0],
			 word[1] ? word[1] : "", word[2] ? word[2] : "", last.status, status, last.out, last.err);
	cr_assert_eq(last.status, status);
	return last.json;
}

bool stage_said(const json_t *answer, const char *text)
{
	static const char *const places[] = { "text", "cause", "next", "serving_text" };
	size_t i;
	json_t *line;

	for (i = 0; i < sizeof(places) / sizeof(*places); i++)
		if (strstr(rig_text(answer, places[i]), text))
			return true;
	json_array_foreach(json_object_get(answer, "log_lines"), i, line)
		if (strstr(json_string_value(line), text))
			return true;
	return false;
}

pid_t stage_pid_of(const char *service, const char *state)
{
	json_t *entry = rig_status(stage.rig, service);
	pid_t pid;

	cr_assert_not_null(entry);
	pid = rig_pid_in(entry, state);
	json_decref(entry);
	return pid;
}

pid_t stage_pid(const char *state)
{
	return stage_pid_of("cached", state);
}

/* ---- processes and files ---- */

void stage_sleep_ms(unsigned ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

void stage_wait_processes(unsigned n)
{
	uint64_t due_us = clock_now_us() + PROCESSES_TIMEOUT_US;

	while (rig_reap(stage.rig), rig_processes() != n) {
		if (clock_now_us() >= due_us)
			rig_fail(stage.rig, -ETIMEDOUT, "waited for %u processes, there are %u", n, rig_processes());
		cr_assert_lt(clock_now_us(), due_us);
		stage_sleep_ms(LOOK_AGAIN_MS);
	}
}

void stage_wait_log(const char *text)
{
	uint64_t due_us = clock_now_us() + LOG_TIMEOUT_US;

	for (;;) {
		char *log = rig_daemon_log(stage.rig);
		bool there = strstr(log, text) != NULL;

		free(log);
		if (there)
			return;
		if (clock_now_us() >= due_us)
			rig_fail(stage.rig, -ETIMEDOUT, "waited for upgraded to log \"%s\"", text);
		cr_assert_lt(clock_now_us(), due_us);
		stage_sleep_ms(LOOK_AGAIN_MS);
	}
}

void stage_wait_bake(const char *version)
{
	char text[128];

	snprintf(text, sizeof(text), "bake: watching version %s ", version);
	stage_wait_log(text);
}

const char *stage_path(const char *fmt, ...)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 4];
	int n = snprintf(path, PATH_MAX, "%s/", rig_folder(stage.rig));
	va_list args;

	va_start(args, fmt);
	vsnprintf(path + n, (size_t)(PATH_MAX - n), fmt, args);
	va_end(args);
	return path;
}

void stage_link(const char *name, const char *of)
{
	cr_assert_eq(symlink(*of == '/' ? of : rig_program(stage.rig, of), stage_path("%s", name)), 0);
}

void stage_copy(const char *name, const char *of)
{
	const char *path = stage_path("%s", name), *made = stage_path(".%s.new", name);
	const char *argv[] = { "cp", rig_program(stage.rig, of), made, NULL };
	struct rig_run run = { .argv = argv };
	struct rig_answer answer = { 0 };
	struct rig_child *child;

	cr_assert_eq(rig_run_begin(stage.rig, &run, &child), 0);
	cr_assert_eq(rig_run_wait(child, 10 * USEC_PER_SEC, &answer), 0);
	cr_assert_eq(answer.status, 0);
	rig_answer_done(&answer);
	cr_assert_eq(rename(made, path), 0);
}

unsigned stage_images(const char *suffix)
{
	DIR *dir = opendir(stage_path("state/images/cached"));
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		size_t length = strlen(entry->d_name), end = strlen(suffix);

		/* Beside them lies CRIU's last log. */
		n += entry->d_type == DT_DIR && entry->d_name[0] != '.' && length >= end &&
		     strcmp(entry->d_name + length - end, suffix) == 0;
	}
	if (dir)
		closedir(dir);
	return n;
}

/* ---- a client ---- */

int client_open(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(stage.port) };
	struct timeval patience = { .tv_sec = 10 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Until what came ends with @end. */
static void client_read(int fd, const char *end, char *text, size_t size)
{
	size_t used = 0, length = strlen(end);

	do {
		ssize_t n = recv(fd, text + used, size - 1 - used, 0);

		cr_assert_gt(n, 0, "the connection gave no answer: %s", n < 0 ? strerror(errno) : "closed");
		used += (size_t)n;
		text[used] = '\0';
	} while (used < length || strcmp(text + used - length, end) != 0);
}

void client_store(int fd, const char *key, const char *value)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "set %s 0 0 %zu\r\n%s\r\n", key, strlen(value), value);

	cr_assert_eq(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
	client_read(fd, "\r\n", text, sizeof(text));
	cr_assert_str_eq(text, "STORED\r\n");
}

bool client_holds(int fd, const char *key, const char *value)
{
	char text[512], want[512];
	int n = snprintf(text, sizeof(text), "get %s\r\n", key);

	cr_assert_eq(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
	client_read(fd, "END\r\n", text, sizeof(text));
	snprintf(want, sizeof(want), "VALUE %s 0 %zu\r\n%s\r\nEND\r\n", key, strlen(value), value);
	return strcmp(text, want) == 0;
}

void stage_end_bake(void)
{
	json_t *status = rig_status(stage.rig, "cached");
	bool bakes = strcmp(rig_text(status, "state"), "baking") == 0;

	json_decref(status);
	if (bakes)
		ctl(0, "accept", "cached");
}
