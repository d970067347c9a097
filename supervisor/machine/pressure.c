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

bool pressure_is_high(const struct pressure_limits *limits, struct why *why)
{
	char text[4096];
	uint64_t available;
	unsigned stalled;

	if (limits->available_bytes && procfs_read("/proc/meminfo", text, sizeof(text)) > 0 &&
	    pressure_available(text, &available) == 0 && available < limits->available_bytes) {
		why_set(why, 0, "%" PRIu64 " MiB are available, less than the %" PRIu64 " of MemoryLow=", available >> 20,
			limits->available_bytes >> 20);
		return true;
	}
	if (limits->stalled_percent && procfs_read("/proc/pressure/memory", text, sizeof(text)) > 0 &&
	    pressure_stalled(text, &stalled) == 0 && stalled > limits->stalled_percent) {
		why_set(why, 0, "in %u %% of the last 10 s some process waited for memory, more than the %u of MemoryPressure=",
			stalled, limits->stalled_percent);
		return true;
	}
	return false;
}
