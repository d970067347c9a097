/* SPDX-License-Identifier: MIT */
/* `make demo` runs this in a jail: ports, pids and mounts are its own, and whatever kills it ends all it has started. */
#include "tests/demo/demo.h"

#include "base/base.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS 1000
#define SIDE_CONNECTIONS 20
/* Two cores also run the load client: more would measure the scheduler. */
#define RATE 8000
#define SIDE_RATE 400

void demo_broken(struct demo *demo, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	demo->broken++;
	show(STYLE_BAD, "    NOT SO    %s\n", text);
}

/* ---- the set ---- */

static int chatd_unit_write(struct demo *demo, const char *lines)
{
	char *text;
	int rc;

	if (asprintf(&text, "[Service]\nExec=%s-%%v -p %u\nVersion=v1\n%s", rig_program(demo->rig, "examples/chatd"),
		     demo->talk.port, lines ? lines : "Bake=1s\n") < 0)
		return -ENOMEM;
	rc = rig_unit_write(demo->rig, demo->talk.service, text);
	free(text);
	return rc;
}

int demo_unit_write(struct demo *demo, const char *service, const char *lines)
{
	struct rig_cached cached = { .port = demo->main.port, .lines = lines ? lines : "Bake=1s\n" };

	if (strcmp(service, demo->talk.service) == 0)
		return chatd_unit_write(demo, lines);
	if (strcmp(service, demo->side.service) == 0)
		cached = (struct rig_cached){ .port = demo->side.port, .version = "v1-stuck", .lines = "QuiesceTimeout=500ms\n" };
	return rig_cached_write(demo->rig, service, &cached);
}

static int must_do(struct demo *demo, const char *verb, const char *service)
{
	int status, rc = rig_ctl_show(demo->rig, &status, verb, service, NULL);

	if (rc == 0 && status)
		rc = rig_fail(demo->rig, -ECHILD, "upgradectl %s%s%s ended with status %d", verb, service ? " " : "",
			      service ? service : "", status);
	return rc;
}

/* A service, and clients that do not stop until the end. */
static int start(struct demo *demo, struct clients *clients, unsigned rate)
{
	struct rig_load_options options = { .connections = clients->connections, .rate = rate };
	char n[32], per_second[32];
	int rc = must_do(demo, "start", clients->service);

	if (rc == 0)
		rc = rig_load_start(demo->rig, clients->port, &options, &clients->load);
	if (rc < 0)
		return rc;
	show(STYLE_GOOD, "     clients  ");
	printf("%s connections, never reopened, %s requests a second; every answer is checked\n",
	       show_count(n, clients->connections), show_count(per_second, rate));
	return 0;
}

static int start_all(struct demo *demo)
{
	int rc;

	demo->main.port = rig_port(demo->rig);
	demo->side.port = rig_port(demo->rig);
	demo->talk.port = rig_port(demo->rig);
	show_title(0, "upgraded, and three services in use");
	rc = demo_unit_write(demo, demo->main.service, NULL);
	if (rc == 0)
		rc = demo_unit_write(demo, demo->side.service, NULL);
	if (rc == 0)
		rc = demo_unit_write(demo, demo->talk.service, NULL);
	if (rc == 0)
		rc = rig_daemon_start(demo->rig, NULL);
	if (rc == 0)
		rc = must_do(demo, "check", NULL);
	if (rc == 0)
		rc = start(demo, &demo->main, RATE);
	if (rc == 0)
		rc = start(demo, &demo->side, SIDE_RATE);
	if (rc == 0)
		rc = must_do(demo, "start", demo->talk.service);
	if (rc == 0)
		rc = talk_start(demo);
	return rc;
}

/* ---- the end ---- */

static int stop_clients(struct demo *demo, struct clients *clients)
{
	char requests[32], keys[32];
	json_t *report = NULL;
	int status, rc = rig_load_stop(clients->load, &report, &status);

	clients->load = NULL;
	if (rc < 0)
		return rc;
	clients_hear(clients, report);
	if (status)
		demo_broken(demo, "the clients of %s ended with status %d", clients->service, status);
	show(STYLE_GOOD, "     clients  ");
	printf("of %s: %s requests; at the end all of their %s keys were read once more%s\n", clients->service,
	       show_count(requests, clients->requests), show_count(keys, rig_number(report, "audited")),
	       status ? "" : " and are right");
	json_decref(report);
	return 0;
}

static int stop_all(struct demo *demo)
{
	int rc;

	show_title(0, "the end");
	talk_stop(demo);
	rc = stop_clients(demo, &demo->main);
	if (rc == 0)
		rc = stop_clients(demo, &demo->side);
	if (rc == 0)
		rc = must_do(demo, "stop", demo->main.service);
	if (rc == 0)
		rc = must_do(demo, "stop", demo->talk.service);
	/* The other one is left to the daemon's own end. */
	if (rc == 0)
		rc = rig_daemon_stop(demo->rig);
	return rc;
}

/* What still runs, or lies about, although everything was told to end. */
static void expect_nothing_left(struct demo *demo)
{
	char folder[4096];
	unsigned left = rig_processes();

	snprintf(folder, sizeof(folder), "%s", rig_folder(demo->rig));
	demo->rig = rig_free(demo->rig);
	if (left)
		demo_broken(demo, "%u processes still run", left);
	else if (access(folder, F_OK) == 0)
		demo_broken(demo, "%s is still there", folder);
	else
		show(STYLE_DIM, "     nothing runs any more, and the run folder is gone\n");
}

int main(void)
{
	static struct demo demo = {
		.main = { .service = "cached", .connections = CONNECTIONS },
		.side = { .service = "stuck", .connections = SIDE_CONNECTIONS },
		.talk = { .service = "chatd" },
	};
	bool held;
	int rc;

	setlocale(LC_ALL, "");
	show_init();
	demo.begun_us = clock_now_us();
	rc = rig_new("demo", &demo.rig);
	if (rc < 0)
		return EXIT_FAILURE;
	rc = start_all(&demo);
	for (size_t i = 0; rc == 0 && i < n_scenes; i++)
		rc = scene_run(&demo, &scenes[i]);
	if (rc == 0)
		rc = stop_all(&demo);
	if (rc == 0) {
		expect_nothing_left(&demo);
	} else {
		demo_broken(&demo, "it could not go on: %s", rig_why(demo.rig));
		demo.rig = rig_free(demo.rig);
	}
	sum_show(&demo);
	show(STYLE_DIM, "      %.1f s in all\n\n", (double)(clock_now_us() - demo.begun_us) / (double)USEC_PER_SEC);
	held = sum_judge(&demo);
	/* What nobody could read was not shown. */
	return held && fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}
