/* SPDX-License-Identifier: MIT */
/* Kind=plain with servers that nobody here wrote, as Debian has them: nginx, which takes listeners by a variable of its own, and
 * lighttpd, which knows LISTEN_FDS. Two configurations are two versions. Clients come one after the other, and each of their
 * requests is counted: answered, refused, or cut off. */
#include "tests/integration/callers.h"
#include "tests/integration/stage.h"

#include "base/clock.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(servers, 90);

#define SHOWN_US (20 * USEC_PER_SEC)
#define CALLERS 8u
#define MANY 400u /* requests before anything is done, and after it */
#define REQUEST "GET /index.html HTTP/1.0\r\nHost: here\r\n\r\n"

struct server {
	const char *name;    /* of the service */
	const char *answer;  /* to a request: how it begins */
	const char *lines;   /* of the service file; %1$s: the folder, %2$u: the port, %3$s: where servers lie */
	const char *config;  /* %1$s: the folder, %2$u: the port, %3$s: the version */
	const char *broken;  /* the same, and wrong */
};

static const struct server nginx = {
	.name = "nginx", .answer = "HTTP/1.1 200 ",
	.lines = "Exec=%3$s/usr/sbin/nginx -e stderr -p %1$s -c %1$s/nginx-%%v.conf -g \"daemon off;\"\n"
		 "Listen=127.0.0.1:%2$u\nEnvironment=NGINX=3;\nReady=accepts\nStopSignal=QUIT\n",
	.config = "worker_processes 2;\nuser root;\npid %1$s/nginx-%3$s.pid;\nerror_log stderr warn;\n"
		  "events { worker_connections 512; }\nhttp {\naccess_log off;\nclient_body_temp_path %1$s/body;\n"
		  "proxy_temp_path %1$s/proxy;\nfastcgi_temp_path %1$s/fastcgi;\nuwsgi_temp_path %1$s/uwsgi;\n"
		  "scgi_temp_path %1$s/scgi;\n"
		  "server { listen 127.0.0.1:%2$u; location / { return 200 \"I am %3$s\\n\"; } }\n}\n",
	.broken = "events { }\nhttp { server { listen 127.0.0.1:%2$u; nonsense %1$s%3$s; } }\n",
};

static const struct server lighttpd = {
	.name = "lighttpd", .answer = "HTTP/1.0 200 ",
	.lines = "Exec=%3$s/usr/sbin/lighttpd -D -m %3$s/usr/lib/lighttpd -f %1$s/lighttpd-%%v.conf\n"
		 "Listen=127.0.0.1:%2$u\nReady=accepts\nStopSignal=INT\n",
	.config = "server.systemd-socket-activation = \"enable\"\nserver.bind = \"127.0.0.1\"\nserver.port = %2$u\n"
		  "server.document-root = \"%1$s/www-%3$s\"\nmimetype.assign = (\".html\" => \"text/html\")\n",
	.broken = "server.port = %2$u\nnonsense %1$s%3$s\n",
};

/* ---- the service ---- */

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats stand above */
static void write_config(const struct server *server, const char *format, const char *version)
{
	char text[2048], page[64];

	snprintf(text, sizeof(text), format, rig_folder(stage.rig), (unsigned)stage.port, version);
	write_file(stage_path("%s-%s.conf", server->name, version), text);
	(void)mkdir(stage_path("www-%s", version), 0755);
	snprintf(page, sizeof(page), "I am %s\n", version);
	write_file(stage_path("www-%s/index.html", version), page);
}

static void serve(const struct server *server, const char *more)
{
	char lines[1024], text[2048];
	const char *servers = getenv("UPG_SERVERS");

	cr_assert(servers, "UPG_SERVERS= says where units/setup has unpacked servers");
	stage.port = rig_port(stage.rig);
	write_config(server, server->config, "v1");
	write_config(server, server->config, "v2");
	write_config(server, server->broken, "broken");
	snprintf(lines, sizeof(lines), server->lines, rig_folder(stage.rig), (unsigned)stage.port, servers);
	snprintf(text, sizeof(text), "[Service]\nKind=plain\nVersion=v1\n%s%s", lines, more);
	cr_assert_eq(rig_unit_write(stage.rig, server->name, text), 0);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	ctl(0, "start", server->name);
}
#pragma GCC diagnostic pop

/* ---- who comes ---- */

static struct sockaddr_in at_port(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(stage.port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static struct callers *come(const struct server *server)
{
	const struct sockaddr_in address = at_port();
	struct callers *callers =
		callers_start(CALLERS, (const struct sockaddr *)&address, sizeof(address), REQUEST, server->answer);

	callers_await(callers, MANY);
	return callers;
}

static void leave(struct callers *callers, const char *what, unsigned most_cut)
{
	struct callers_report report;

	callers_await(callers, MANY);
	report = callers_stop(callers);
	printf("servers: %s: %u answered, %u refused, %u cut, worst wait %.0f ms\n", what, report.answered, report.refused,
	       report.cut, (double)report.worst_us / 1e3);
	cr_assert_eq(report.refused, 0, "%u requests were refused", report.refused);
	cr_assert_leq(report.cut, most_cut, "%u requests were cut off", report.cut);
}

/* Which version answers? Return: static text. */
static const char *page(void)
{
	const struct sockaddr_in address = at_port();
	FD_CLEANUP int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char text[2048];
	const char *body;
	size_t used = 0;
	ssize_t n;

	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(send(fd, REQUEST, strlen(REQUEST), MSG_NOSIGNAL), (ssize_t)strlen(REQUEST));
	while ((n = recv(fd, text + used, sizeof(text) - 1 - used, 0)) > 0)
		used += (size_t)n;
	text[used] = 0;
	body = strstr(text, "\r\n\r\n");
	return body ? body + 4 : "";
}

static void wait_gone(const struct server *server, const char *state)
{
	for (uint64_t due_us = clock_now_us() + SHOWN_US; stage_pid_of(server->name, state); stage_sleep_ms(5))
		cr_assert_lt(clock_now_us(), due_us, "a process is %s still", state);
}

static void bake(const struct server *server)
{
	ctl(0, "roll", server->name, "v2", "--wait=commit");
	cr_assert_eq(rig_wait_status(stage.rig, server->name, "baking", "v2", SHOWN_US), 0);
}

/* ---- what each goes through ---- */

static void roll_there_and_back(const struct server *server)
{
	struct callers *callers;

	serve(server, "Bake=300ms\n");
	cr_assert_str_eq(page(), "I am v1\n");
	callers = come(server);
	ctl(0, "roll", server->name, "v2");
	wait_gone(server, "draining");
	cr_assert_str_eq(page(), "I am v2\n");
	callers_await(callers, MANY);
	ctl(0, "undo", server->name);
	wait_gone(server, "draining");
	cr_assert_str_eq(page(), "I am v1\n");
	leave(callers, server->name, 0);
	ctl(0, "stop", server->name);
}

static void undo_in_the_bake(const struct server *server)
{
	struct callers *callers;

	serve(server, "Bake=30s\n");
	callers = come(server);
	bake(server);
	callers_await(callers, MANY);
	ctl(0, "undo", server->name);
	wait_gone(server, "draining");
	cr_assert_str_eq(page(), "I am v1\n");
	leave(callers, server->name, 0);
}

static void refuse_a_broken_one(const struct server *server)
{
	struct callers *callers;

	serve(server, "Bake=30s\n");
	callers = come(server);
	must_say(ctl(5, "roll", server->name, "broken"), "nonsense"); /* its own words */
	cr_assert_str_eq(page(), "I am v1\n");
	leave(callers, server->name, 0);
}

static void kill_in_the_bake(const struct server *server)
{
	struct callers *callers;
	unsigned before;

	serve(server, "Bake=30s\n");
	callers = come(server);
	before = rig_processes();
	bake(server);
	callers_await(callers, MANY);
	cr_assert_eq(kill(stage_pid_of(server->name, "serving"), SIGKILL), 0);
	cr_assert_eq(rig_wait_status(stage.rig, server->name, "running", "v1", SHOWN_US), 0);
	/* A worker that was killed and has not ended yet may be the one whom the kernel wakes for a client: then the next client
	 * has others look, so there has to be a next one. */
	stage_wait_processes(before);
	cr_assert_str_eq(page(), "I am v1\n");
	leave(callers, server->name, CALLERS); /* what a process that was killed had in its hands */
}

SCENE(servers, nginx_is_rolled_and_rolled_back_without_a_request_that_fails)
{
	roll_there_and_back(&nginx);
}

SCENE(servers, nginx_is_left_in_the_bake_without_a_request_that_fails)
{
	undo_in_the_bake(&nginx);
}

SCENE(servers, nginx_with_a_wrong_configuration_is_refused_without_a_request_that_fails)
{
	refuse_a_broken_one(&nginx);
}

SCENE(servers, nginx_that_is_killed_in_the_bake_costs_what_it_had_in_its_hands)
{
	kill_in_the_bake(&nginx);
}

SCENE(servers, lighttpd_is_rolled_and_rolled_back_without_a_request_that_fails)
{
	roll_there_and_back(&lighttpd);
}

SCENE(servers, lighttpd_is_left_in_the_bake_without_a_request_that_fails)
{
	undo_in_the_bake(&lighttpd);
}

SCENE(servers, lighttpd_with_a_wrong_configuration_is_refused_without_a_request_that_fails)
{
	refuse_a_broken_one(&lighttpd);
}

SCENE(servers, lighttpd_that_is_killed_in_the_bake_costs_what_it_had_in_its_hands)
{
	kill_in_the_bake(&lighttpd);
}
