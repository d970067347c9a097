/* SPDX-License-Identifier: MIT */
#include "tests/demo/demo.h"

#include "base/base.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- doing it ---- */

static int act(struct demo *demo, const struct scene *scene, int *ret_status)
{
	if (scene->rollback)
		return rig_ctl_show(demo->rig, ret_status, scene->verb, scene->rollback, scene->service, scene->version, NULL);
	return rig_ctl_show(demo->rig, ret_status, scene->verb, scene->service, scene->version, NULL);
}

static struct clients *clients_of(struct demo *demo, const struct scene *scene)
{
	/* While chatd is rolled, the clients of cached are watched: nothing of it may concern them. */
	return strcmp(scene->service, demo->side.service) == 0 ? &demo->side : &demo->main;
}

static bool talks(const struct demo *demo, const struct scene *scene)
{
	return strcmp(scene->service, demo->talk.service) == 0;
}

/* ---- judging it ---- */

static void expect_text(struct demo *demo, struct result *result, const char *what, const char *got, const char *expected)
{
	if (strcmp(got, expected) == 0)
		return;
	result->as_expected = false;
	demo_broken(demo, "%s is \"%s\" and had to be \"%s\"", what, got, expected);
}

static void expect_number(struct demo *demo, struct result *result, const char *what, int64_t got, int64_t expected)
{
	if (got == expected)
		return;
	result->as_expected = false;
	demo_broken(demo, "%s: %" PRId64 ", and it had to be %" PRId64, what, got, expected);
}

static void judge_roll(struct demo *demo, struct result *result, const json_t *service)
{
	const struct scene *scene = result->scene;

	snprintf(result->outcome, sizeof(result->outcome), "%s", rig_text(service, "last_roll.outcome"));
	result->pause_us = rig_number(service, "last_roll.commit_us") > 0 ? rig_number(service, "last_roll.pause_us") : 0;
	expect_number(demo, result, "upgradectl's exit status", result->status, scene->status);
	expect_text(demo, result, "the outcome", result->outcome, scene->outcome);
	if (scene->version)
		expect_text(demo, result, "the version rolled to", rig_text(service, "last_roll.to"), scene->version);
	expect_text(demo, result, "the service", rig_text(service, "state"), "running");
	expect_text(demo, result, "what serves", rig_text(service, "version"), scene->serves);
}

/* The clients know by themselves which connections and writes the dead version's end must have cost, and count as wrong
 * what differs; the supervisor's figures must be the same. */
static int judge_cost(struct demo *demo, struct result *result, const json_t *service, struct rig_load *load)
{
	json_t *settled;
	int rc;

	/* The load client waits to be told when the state it is to judge by was taken; without a way back there is none. */
	if (rig_number(service, "last_roll.resume_us") <= 0)
		return rig_fail(demo->rig, -ENODATA, "the roll did not end in a way back, so there is nothing to settle");
	rc = rig_load_ask(load, &settled, "settle %" PRId64 " %" PRId64, rig_number(service, "last_roll.commit_us"),
			      rig_number(service, "last_roll.resume_us"));

	if (rc < 0)
		return rc;
	result->cost = (struct cost){
		.kept = rig_number(settled, "kept"),
		.reset = rig_number(settled, "reset"),
		.interrupted = rig_number(settled, "interrupted"),
		.reverted = rig_number(settled, "reverted"),
	};
	expect_number(demo, result, "connections that went on, as the supervisor counts",
		      rig_number(service, "last_roll.kept"), result->cost.kept);
	expect_number(demo, result, "connections reset, as the supervisor counts", rig_number(service, "last_roll.reset"),
		      result->cost.reset);
	expect_number(demo, result, "answers that do not fit the state at the commit", rig_number(settled, "wrong"), 0);
	json_decref(settled);
	return 0;
}

static void judge_clients(struct demo *demo, struct result *result, const struct clients *clients, const json_t *report)
{
	expect_number(demo, result, "connections", rig_number(report, "connections"), clients->connections);
	expect_number(demo, result, "wrong answers", rig_number(report, "since_mark.wrong"), 0);
	expect_number(demo, result, "failed requests", rig_number(report, "since_mark.failed"), 0);
	expect_number(demo, result, "lost connections", rig_number(report, "since_mark.lost_connections"), 0);
	if (rig_number(report, "since_mark.answered") <= 0) {
		result->as_expected = false;
		demo_broken(demo, "not one request was answered in this scene");
	}
}

/* ---- showing it ---- */

static void show_clients(const struct result *result, const json_t *report)
{
	bool clean = !rig_number(report, "wrong") && !rig_number(report, "failed") && !rig_number(report, "lost_connections");
	char connections[32], requests[32], ms[32];

	show(clean ? STYLE_GOOD : STYLE_BAD, "     clients  ");
	printf("%s connections, %s requests so far: %" PRId64 " wrong, %" PRId64 " failed, %" PRId64
	       " lost; worst latency here %s\n",
	       show_count(connections, rig_number(report, "connections")), show_count(requests, rig_number(report, "requests")),
	       rig_number(report, "wrong"), rig_number(report, "failed"), rig_number(report, "lost_connections"),
	       show_ms(ms, result->worst_us));
}

static void show_cost(const struct result *result)
{
	show(STYLE_GOOD, "    its cost  ");
	printf("%" PRId64 " connections went on, %" PRId64 " were reset, with %" PRId64 " requests on them; %" PRId64
	       " writes taken back to the commit\n",
	       result->cost.kept, result->cost.reset, result->cost.interrupted, result->cost.reverted);
}

/* ---- a scene ---- */

static int look(struct demo *demo, struct result *result, struct clients *clients)
{
	json_t *service = rig_status(demo->rig, result->scene->service), *report = NULL;
	int rc;

	if (!service)
		return -EPROTO;
	result->as_expected = true;
	judge_roll(demo, result, service);
	rc = result->scene->kind == SCENE_BACK ? judge_cost(demo, result, service, clients->load) : 0;
	json_decref(service);
	if (rc == 0)
		rc = rig_load_ask(clients->load, &report, "report");
	if (rc < 0) {
		result->as_expected = false;
		return rc;
	}
	clients_hear(clients, report);
	result->worst_us = rig_number(report, "since_mark.latency_us.max");
	judge_clients(demo, result, clients, report);
	if (result->scene->kind == SCENE_BACK)
		show_cost(result);
	show_clients(result, report);
	json_decref(report);
	return 0;
}

int scene_run(struct demo *demo, const struct scene *scene)
{
	struct result *result = &demo->results[demo->n_results++];
	struct clients *clients = clients_of(demo, scene);
	int rc;

	*result = (struct result){ .scene = scene, .worst_us = -1 };
	show_title(demo->n_results, scene->title);
	show(STYLE_DIM, "%s\n", scene->story);
	rc = demo_unit_write(demo, scene->service, scene->lines);
	if (rc == 0)
		rc = rig_load_ask(clients->load, NULL, "mark");
	if (rc == 0 && scene->kind == SCENE_BACK)
		rc = rig_load_ask(clients->load, NULL, "crash");
	if (talks(demo, scene))
		talk_before(demo);
	if (rc == 0)
		rc = act(demo, scene, &result->status);
	if (rc == 0 && talks(demo, scene))
		talk_after(demo);
	if (rc == 0)
		rc = look(demo, result, clients);
	return rc;
}
