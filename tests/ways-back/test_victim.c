/* SPDX-License-Identifier: MIT */
/* Who is the first to go when memory is short: never the process that has the only whole state. */
#include "tests/integration/stage.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

STAGE(victim, 90);

#define WAIT_US (20 * USEC_PER_SEC)
#define MIB (1ull << 20)

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s: %s", path, strerror(errno));
}

static long long read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long long number = 0;

	cr_assert(file && fscanf(file, "%lld", &number) == 1, "%s: %s", path, strerror(errno));
	fclose(file);
	return number;
}

static long long value_of(const char *state)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", stage_pid(state));
	return read_number(path);
}

static void check_way_back(const char *lines)
{
	stage_serve(&(struct rig_cached){ .lines = lines }, NULL);
	cr_assert_eq(value_of("serving"), 30);
	ctl(0, "roll", "cached", "v2", "--wait=commit");
	stage_wait_bake("v2");
	cr_assert_eq(value_of("serving"), 30);
	if (stage_pid("parked"))
		cr_assert_eq(value_of("parked"), 1000);
	kill(stage_pid("serving"), SIGKILL);
	cr_assert_eq(rig_wait_status(stage.rig, "cached", "running", "v1", WAIT_US), 0);
	cr_assert_eq(value_of("serving"), 30);
}

SCENE(victim, is_the_parked_version_until_it_serves_again)
{
	check_way_back("Bake=60s\nRollback=parked\nOOMScoreAdjust=30\n");
}

SCENE(victim, is_not_the_version_that_came_back_from_its_image)
{
	check_way_back("Bake=60s\nRollback=image\nOOMScoreAdjust=30\n");
}

/* ---- in a control group without room for both ---- */

static const char *const mounts[][3] = {
	{ "/sys/fs/cgroup/memory", "memory.usage_in_bytes", "memory.limit_in_bytes" },
	{ "/sys/fs/cgroup", "memory.current", "memory.max" },
};

/* Return: the row of @mounts in which there is a group now; NULL: this place has none. */
static const char *const *group_make(char *folder, size_t size)
{
	char path[160];

	for (size_t i = 0; i < 2; i++) {
		snprintf(folder, size, "%s/upg-test-victim", mounts[i][0]);
		snprintf(path, sizeof(path), "%s/%s", folder, mounts[i][2]);
		if ((mkdir(folder, 0755) == 0 || errno == EEXIST) && access(path, W_OK) == 0)
			return mounts[i];
		(void)rmdir(folder);
	}
	return NULL;
}

static bool has_swap(void)
{
	char line[256];
	FILE *file = fopen("/proc/swaps", "re");
	unsigned n = 0;

	while (file && fgets(line, sizeof(line), file))
		n++;
	if (file)
		fclose(file);
	return n > 1;
}

#define VALUE_BYTES 100000

/* Values of that size, under their numbers. */
static void fill(unsigned items)
{
	FILE *client = fdopen(client_open(), "r+e");
	char line[64];

	cr_assert_not_null(client);
	for (unsigned i = 0; i < items; i++) {
		fprintf(client, "set key%u 0 0 %d\r\n%0*d\r\n", i, VALUE_BYTES, VALUE_BYTES, 0);
		fflush(client);
		cr_assert(fgets(line, sizeof(line), client) && strcmp(line, "STORED\r\n") == 0);
	}
	fclose(client);
}

static bool still_holds(unsigned item)
{
	FILE *client = fdopen(client_open(), "r+e");
	char line[64] = "", want[64];

	cr_assert_not_null(client);
	fprintf(client, "get key%u\r\n", item);
	fflush(client);
	snprintf(want, sizeof(want), "VALUE key%u 0 %d\r\n", item, VALUE_BYTES);
	cr_assert_not_null(fgets(line, sizeof(line), client));
	fclose(client);
	return strcmp(line, want) == 0;
}

Test(victim, is_the_new_version_where_there_is_no_room_for_both)
{
	char folder[64], path[160], text[32];
	const char *const *names = group_make(folder, sizeof(folder));
	const json_t *answer;
	char *unit = NULL;
	pid_t old;

	if (!names || has_swap()) {
		fprintf(stderr, "victim: no control group with a limit is to be had here\n");
		stage_close();
		return;
	}
	stage_link("cached-v1", "examples/cached-v1");
	stage_link("cached-gorges-loading", "upg-actor");
	cr_assert_gt(asprintf(&unit, "[Service]\nExec=%s/cached-%%v -p %u -m 400\nVersion=v1\nBake=1s\nRollback=parked\n",
			      rig_folder(stage.rig), stage.port), 0);
	cr_assert_eq(rig_unit_write(stage.rig, "cached", unit), 0);
	free(unit);
	cr_assert_eq(rig_daemon_start(stage.rig, NULL), 0);
	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	snprintf(text, sizeof(text), "%d", rig_daemon_pid(stage.rig));
	write_text(path, text);
	ctl(0, "start", "cached");
	fill(800);
	old = stage_pid("serving");
	snprintf(path, sizeof(path), "%s/%s", folder, names[1]);
	snprintf(text, sizeof(text), "%lld", read_number(path) + 30 * (long long)MIB);
	snprintf(path, sizeof(path), "%s/%s", folder, names[2]);
	write_text(path, text);
	answer = ctl(1, "plan", "cached", "gorges-loading");
	cr_assert_not_null(strstr(rig_text(answer, "plan.memory_group"), "upg-test-victim"), "%s", json_dumps(answer, 0));
	answer = ctl(6, "roll", "cached", "gorges-loading");
	must_say(answer, "was killed by SIGKILL while loading record 1 of cached.Item");
	cr_assert_eq(stage_pid("serving"), old);
	cr_assert(still_holds(7));
	stage_close();
	(void)rmdir(folder);
}
