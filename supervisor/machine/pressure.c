/* SPDX-License-Identifier: MIT */
#include "supervisor/machine/pressure.h"

#include "base/why.h"
#include "supervisor/machine/procfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int pressure_available(const char *meminfo, uint64_t *ret_bytes)
{
	return procfs_bytes(meminfo, "MemAvailable", ret_bytes);
}

int pressure_stalled(const char *psi, unsigned *ret_percent)
{
	const char *line = strstr(psi, "some ");
	unsigned percent;

	if (!line || sscanf(line, "some avg10=%3u", &percent) != 1)
		return -ENODATA;
	*ret_percent = percent;
	return 0;
}

void pressure_look(pid_t pid, struct pressure *ret)
{
	struct cgroup_memory group;
	struct cgroup_stalled stalled;
	char text[4096];

	*ret = (struct pressure){ 0 };
	ret->knows_available = procfs_read("/proc/meminfo", text, sizeof(text)) > 0 &&
			       pressure_available(text, &ret->available_bytes) == 0;
	if (cgroup_memory(pid, &group) == 0 && (!ret->knows_available || group.free_bytes < ret->available_bytes)) {
		ret->knows_available = true;
		ret->available_bytes = group.free_bytes;
		ret->group = group;
	}
	ret->knows_stalled = procfs_read("/proc/pressure/memory", text, sizeof(text)) > 0 &&
			     pressure_stalled(text, &ret->stalled_percent) == 0;
	if (cgroup_stalled(pid, &stalled) == 0 && (!ret->knows_stalled || stalled.percent > ret->stalled_percent)) {
		ret->knows_stalled = true;
		ret->stalled_percent = stalled.percent;
		snprintf(ret->stalled, sizeof(ret->stalled), "%s", stalled.path);
	}
}

static bool is_too_little(const struct pressure *pressure, uint64_t limit, struct why *why)
{
	const struct cgroup_memory *group = &pressure->group;
	bool is_part = group->limit_bytes && group->limit_bytes / 4 < limit;

	if (is_part)
		limit = group->limit_bytes / 4;
	if (pressure->available_bytes >= limit)
		return false;
	if (group->limit_bytes)
		why_set(why, 0, "%" PRIu64 " MiB are available under %s/%s, less than %s%" PRIu64 " MiB",
			pressure->available_bytes >> 20, group->path, group->file,
			is_part ? "a quarter of that limit, " : "MemoryLow=, ", limit >> 20);
	else
		why_set(why, 0, "%" PRIu64 " MiB are available, less than the %" PRIu64 " of MemoryLow=",
			pressure->available_bytes >> 20, limit >> 20);
	return true;
}

bool pressure_is_high(const struct pressure *pressure, const struct pressure_limits *limits, struct why *why)
{
	if (pressure->knows_available && limits->available_bytes && is_too_little(pressure, limits->available_bytes, why))
		return true;
	if (pressure->knows_stalled && limits->stalled_percent && pressure->stalled_percent > limits->stalled_percent) {
		why_set(why, 0, "in %u %% of the last 10 s some process%s%s waited for memory, more than the %u of MemoryPressure=",
			pressure->stalled_percent, *pressure->stalled ? " of " : "", pressure->stalled, limits->stalled_percent);
		return true;
	}
	return false;
}
