/* SPDX-License-Identifier: MIT */
#include "supervisor/pressure.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int pressure_available(const char *meminfo, uint64_t *ret_bytes)
{
	const char *line = strstr(meminfo, "MemAvailable:");
	uint64_t kib;

	if (!line || sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) != 1 || kib > UINT64_MAX >> 10)
		return -ENODATA;
	*ret_bytes = kib << 10;
	return 0;
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

static bool text_read(const char *path, char *text, size_t size)
{
	FD_CLEANUP int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

bool pressure_is_high(const struct pressure_limits *limits, struct why *why)
{
	char text[4096];
	uint64_t available;
	unsigned stalled;

	if (limits->available_bytes && text_read("/proc/meminfo", text, sizeof(text)) &&
	    pressure_available(text, &available) == 0 && available < limits->available_bytes) {
		why_set(why, 0, "%" PRIu64 " MiB are available, less than the %" PRIu64 " of MemoryLow=", available >> 20,
			limits->available_bytes >> 20);
		return true;
	}
	if (limits->stalled_percent && text_read("/proc/pressure/memory", text, sizeof(text)) &&
	    pressure_stalled(text, &stalled) == 0 && stalled > limits->stalled_percent) {
		why_set(why, 0, "in %u %% of the last 10 s some process waited for memory, more than the %u of MemoryPressure=",
			stalled, limits->stalled_percent);
		return true;
	}
	return false;
}
