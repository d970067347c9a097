/* SPDX-License-Identifier: MIT */
#include "tests/demo/demo.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void clients_hear(struct clients *clients, const json_t *report)
{
	clients->requests = rig_number(report, "requests");
	clients->wrong = rig_number(report, "wrong");
	clients->failed = rig_number(report, "failed");
	clients->lost = rig_number(report, "lost_connections");
}

static void show_row(size_t number, const struct result *result)
{
	const struct scene *scene = result->scene;
	char pause[32], worst[32], cost[64] = "";

	if (scene->kind == SCENE_BACK)
		snprintf(cost, sizeof(cost), "%" PRId64 " / %" PRId64, result->cost.kept, result->cost.reset);
	printf("  %2zu  %-44.44s  ", number, scene->title);
	show(result->as_expected ? STYLE_GOOD : STYLE_BAD, "%-18s", result->as_expected ? result->outcome : "UNEXPECTED");
	printf("  %4d  %9s  %10s  %12s\n", result->status, show_ms(pause, result->pause_us),
	       show_ms(worst, result->worst_us), *cost ? cost : "-");
}

void sum_show(const struct demo *demo)
{
	show_title(0, "summary");
	show(STYLE_DIM, "      %-44s  %-18s  %4s  %9s  %10s  %12s\n", "", "outcome", "exit", "pause", "latency", "kept/reset");
	for (size_t i = 0; i < demo->n_results; i++)
		show_row(i + 1, &demo->results[i]);
	show(STYLE_DIM, "      pause: nobody serves between the old version and the new; "
			"latency: the clients' worst in that scene\n");
}

static unsigned count(const struct demo *demo, const char *outcome, enum scene_kind kind)
{
	unsigned n = 0;

	for (size_t i = 0; i < demo->n_results; i++)
		n += demo->results[i].as_expected && demo->results[i].scene->kind == kind &&
		     strcmp(demo->results[i].outcome, outcome) == 0;
	return n;
}

static struct cost crash_cost(const struct demo *demo)
{
	struct cost sum = { 0 };

	for (size_t i = 0; i < demo->n_results; i++) {
		const struct cost *cost = &demo->results[i].cost;

		if (!demo->results[i].scene->crash)
			continue;
		sum.kept += cost->kept;
		sum.reset += cost->reset;
		sum.interrupted += cost->interrupted;
		sum.reverted += cost->reverted;
	}
	return sum;
}

static int64_t longest_pause_us(const struct demo *demo)
{
	int64_t longest = 0;

	for (size_t i = 0; i < demo->n_results; i++)
		if (demo->results[i].pause_us > longest)
			longest = demo->results[i].pause_us;
	return longest;
}

bool sum_judge(struct demo *demo)
{
	const struct clients *main = &demo->main, *side = &demo->side;
	int64_t failed = main->failed + side->failed, wrong = main->wrong + side->wrong, lost = main->lost + side->lost;
	struct cost cost = crash_cost(demo);

	if (demo->n_results != n_scenes)
		demo_broken(demo, "%zu of %zu scenes were played", demo->n_results, n_scenes);
	if (!main->requests || failed || wrong || lost)
		demo_broken(demo, "the clients were not served as they must be");
	if (demo->broken)
		show(STYLE_BAD, "FAILED: %u promises did not hold, see above\n", demo->broken);
	printf("demo: rolls=%u aborts=%u undos=%u rollbacks_parked=%u rollbacks_image=%u requests=%" PRId64 " failed=%" PRId64
	       " wrong=%" PRId64 " lost_connections=%" PRId64 " crash_kept=%" PRId64 " crash_reset=%" PRId64
	       " crash_interrupted=%" PRId64 " crash_reverted=%" PRId64 " max_pause_ms=%.1f\n",
	       count(demo, "done", SCENE_ROLL), count(demo, "refused", SCENE_ABORT) + count(demo, "aborted", SCENE_ABORT),
	       count(demo, "done", SCENE_UNDO), count(demo, "rolled-back-parked", SCENE_BACK),
	       count(demo, "rolled-back-image", SCENE_BACK), main->requests + side->requests, failed, wrong, lost,
	       cost.kept, cost.reset, cost.interrupted, cost.reverted, (double)longest_pause_us(demo) / 1000);
	return demo->broken == 0;
}
